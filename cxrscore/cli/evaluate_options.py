"""The options of `evaluate` about groups of images and about readers.

In    argv, read by Typer.
Out   annotated types for the arguments of the command.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from cxrscore.cli.options import INPUT

GROUPS = "Groups"  # a heading in the help

Readers = Annotated[
    Literal["majority", "any", "mean", "error"] | None,
    typer.Option(
        "--readers",
        help="What several rows of an image give, with --scores (default: labels.readers of the settings, or "
        "error).",
        rich_help_panel=INPUT,
    ),
]
By = Annotated[
    str | None,
    typer.Option(
        "--by",
        metavar="COLUMNS",
        help="Columns of the label table, such as Sex,AgeBand,ViewPosition, whose groups are measured, too. "
        "AgeBand is made from the column of ages.",
        rich_help_panel=GROUPS,
    ),
]
AgeBands = Annotated[
    str | None,
    typer.Option(
        "--age-bands",
        metavar="AGES",
        help="Ages at which bands begin (default: 18,40,60,80).",
        rich_help_panel=GROUPS,
    ),
]
ByMeasures = Annotated[
    str | None,
    typer.Option(
        "--by-measures",
        metavar="NAMES",
        help="Figures of the groups, separated by commas, or all (default: auc).",
        rich_help_panel=GROUPS,
    ),
]
ByOut = Annotated[
    Path | None,
    typer.Option(
        "--by-out",
        metavar="TABLE",
        help="Table to write, .csv or .parquet, with all figures of all groups.",
        rich_help_panel=GROUPS,
    ),
]
