"""The command that compares two runs, or two score tables, on the same images.

In    two names: of revisions, experiments, folders or tables; perhaps labels.
Out   a table, a sentence for each of its rows, and notes on stdout.
"""

from pathlib import Path
from typing import Annotated

import typer

from cxrscore.cli.messages import on_terminal, show
from cxrscore.cli.options import INPUT, AsJson

WHAT = (
    "A git revision, DVC experiment, `workspace`, another project's folder, or a score table (CSV, Parquet)."
)


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help=WHAT)],
    b: Annotated[str, typer.Argument(metavar="B", help="What to compare with A: the same kinds.")],
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            help="Label table to measure both by (default: a run's own, for a score table the project's).",
            rich_help_panel=INPUT,
        ),
    ] = None,
    project: Annotated[
        Path,
        typer.Option(
            "--project",
            help="Folder of the project that revisions and experiments are of.",
            rich_help_panel=INPUT,
        ),
    ] = Path(),
    as_json: AsJson = False,
) -> None:
    """Compare two runs or score tables, with paired intervals.

    Shows what `dvc metrics diff` shows, areas under the ROC curve and the other figures of metrics.json: B's
    less A's, each with a 95 % interval over patients and a sentence: better, worse, or cannot tell, and then
    how many more patients would be needed. Both have to score the same images. The workspace is not touched.

    Example: cxrscore compare HEAD workspace
    """
    from cxrscore.compare import compare, comparison_blocks

    with on_terminal() as progress:
        result = compare(a, b, project=project, labels_csv=labels, progress=progress)
    show(result, comparison_blocks, as_json=as_json)
