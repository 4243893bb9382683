"""The door: one command, one call. The only place that says what is printed, reads argv and exits; heavy
imports wait inside the commands.

In    argv, CXRSCORE_* environment variables, params.yaml.
Out   results on stdout or in files, progress on stderr; exit codes 0 done, 1 does not match (verify), 2 mend
      the call, 3 done with quarantined files, 4 stopped and resumable, 5 another run holds the output,
      130 and 143 interrupted and resumable.
"""

from typing import Annotated

import typer

from cxrscore import __version__
from cxrscore.cli.ablating import ablate
from cxrscore.cli.checkpoints import reseal
from cxrscore.cli.measuring import bench
from cxrscore.cli.projects import data_use, init, phantom
from cxrscore.cli.scoring import check, score, verify
from cxrscore.cli.slow_imports import tell_of_slow_imports
from cxrscore.cli.stages import code, evaluate, folds, prepare, report, train
from cxrscore.cli.terminal import print_lines
from cxrscore.cli.weights import weights_convert
from cxrscore.core.user_cache import name_code_cache

app = typer.Typer(
    name="cxrscore",
    help="Score folders of chest radiographs with fold models trained here; every step versioned with DVC.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(help="The project's data.", no_args_is_help=True, rich_markup_mode=None)
weights_app = typer.Typer(help="Files of backbone weights.", no_args_is_help=True, rich_markup_mode=None)


def _version(asked: bool) -> None:
    if asked:
        print_lines(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    name_code_cache()  # before a command imports torch
    tell_of_slow_imports()


# in the order that --help lists them
stages = (prepare, folds, train, evaluate, report)
for command in (*stages, score, check, verify, reseal, ablate, phantom, bench, init):
    app.command()(command)
app.command(hidden=True)(code)
data_app.command("use")(data_use)
app.add_typer(data_app, name="data")
weights_app.command("convert")(weights_convert)
app.add_typer(weights_app, name="weights")
