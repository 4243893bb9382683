"""The entry point: one command, one call. The only place that decides what is printed, reads argv and exits;
heavy imports wait inside the commands.

In    argv, CXRSCORE_* environment variables, params.yaml.
Out   results on stdout or in files, progress on stderr; the codes of EXIT_CODES.
"""

from typing import Annotated

import typer

from cxrscore.cli.ablating import ablate
from cxrscore.cli.checkpoints import reseal
from cxrscore.cli.comparing import compare
from cxrscore.cli.exit_codes import exit_code_lines
from cxrscore.cli.explaining import explain
from cxrscore.cli.help_page import HelpIndex, HelpPage
from cxrscore.cli.measured_stages import decide, evaluate, test
from cxrscore.cli.measuring import bench
from cxrscore.cli.projects import data_use, init, phantom
from cxrscore.cli.scoring import check, score, verify
from cxrscore.cli.slow_imports import tell_of_slow_imports
from cxrscore.cli.stages import code, folds, prepare, report, train
from cxrscore.cli.terminal import print_lines
from cxrscore.cli.version import version_lines
from cxrscore.cli.weights import weights_convert
from cxrscore.core.user_cache import name_code_cache

HELP = """Score folders of chest radiographs with an ensemble of models, all versioned with DVC.

Start with `cxrscore init` for your own radiographs, or with `cxrscore phantom` for synthetic ones.
"""
EPILOG = f"""\b
Exit codes:
{exit_code_lines()}

\b
`cxrscore COMMAND --help` explains a command.
`cxrscore --install-completion` lets Tab complete commands and options.
"""


COMMANDS = {  # heading in --help -> names, in that order
    "Start": ("init", "data", "phantom"),
    "Pipeline": ("prepare", "folds", "train", "evaluate", "test", "decide", "report"),
    "Score": ("score", "check", "verify", "explain", "reseal", "weights"),
    "Measure": ("compare", "ablate", "bench"),
}


class Index(HelpIndex):
    def list_commands(self, ctx: object) -> list[str]:
        listed = [name for names in COMMANDS.values() for name in names]
        return [*listed, *(name for name in self.commands if name not in listed)]


app = typer.Typer(
    name="cxrscore",
    cls=Index,
    help=HELP,
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(
    cls=HelpIndex,
    help="Replace the data of a project (data use).",
    no_args_is_help=True,
    rich_markup_mode=None,
)
weights_app = typer.Typer(
    cls=HelpIndex,
    help="Convert backbone weights (weights convert).",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def _version(asked: bool) -> None:
    if asked:
        print_lines(*version_lines())
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            "-V",
            callback=_version,
            is_eager=True,
            help="Print the versions of cxrscore, Python, torch and timm, and the device, and exit.",
        ),
    ] = False,
) -> None:
    name_code_cache()  # before a command imports torch
    tell_of_slow_imports()


HEADING = {name: heading for heading, names in COMMANDS.items() for name in names}
start, pipeline = (init, phantom), (prepare, folds, train, evaluate, test, decide, report)
for command in (*start, *pipeline, score, check, verify, explain, reseal, compare, ablate, bench):
    app.command(cls=HelpPage, rich_help_panel=HEADING[command.__name__])(command)
app.command(cls=HelpPage, hidden=True)(code)
data_app.command("use", cls=HelpPage)(data_use)
app.add_typer(data_app, name="data", rich_help_panel=HEADING["data"])
weights_app.command("convert", cls=HelpPage)(weights_convert)
app.add_typer(weights_app, name="weights", rich_help_panel=HEADING["weights"])
