"""The options of `score`, and what `check` and `verify` share with it, each under its heading.

In    argv and CXRSCORE_* environment variables, read by Typer.
Out   annotated types for the arguments of commands.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from cxrscore.cli.options import INPUT, MACHINE, OUTPUT

MODELS, DECISIONS, FAILURES = "Models", "Decisions", "Failures"
DEPTH = (
    "Bits in use of samples stored in 16 bits, such as 12, for images that do not state it; 16 takes them as "
    "they are (default: {}). Needed if files are quarantined as UNDECLARED_DEPTH."
)

StudyColumn = Annotated[
    str | None,
    typer.Option(
        "--study-column",
        help="Column of a CSV that holds the study, for --level study.",
        rich_help_panel=INPUT,
    ),
]
BitDepth = Annotated[
    int | None,
    typer.Option(
        "--bit-depth",
        min=8,
        max=16,
        help=DEPTH.format("as the models were trained"),
        rich_help_panel=INPUT,
    ),
]
CheckedDepth = Annotated[
    int | None,
    typer.Option("--bit-depth", min=8, max=16, help=DEPTH.format("none is declared"), rich_help_panel=INPUT),
]
Models = Annotated[
    Path, typer.Option("--models", help="Folder of the fold checkpoints.", rich_help_panel=MODELS)
]
Folds = Annotated[
    str | None,
    typer.Option("--folds", help="Folds to use, such as 0,2 (default: all).", rich_help_panel=MODELS),
]
Views = Annotated[
    str | None,
    typer.Option(
        "--views",
        help="Views for test-time augmentation, such as plain,flip,zoom,zoom_flip; flip is short for "
        "plain,flip and none for plain (default: as the models were trained).",
        rich_help_panel=MODELS,
    ),
]
Inputs = Annotated[
    str | None,
    typer.Option(
        "--inputs",
        metavar="TABLE",
        help="CSV file with the columns that models read beside the pixels, such as Sex and Age; none takes "
        "all of them as unknown (default: refused if the models read any).",
        rich_help_panel=MODELS,
    ),
]
Output = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="OUTPUT", help="Score table to write.", rich_help_panel=OUTPUT),
]
Template = Annotated[
    Path | None,
    typer.Option(
        "--template",
        help="Sample submission whose rows, order and columns are kept (default: a row for each file).",
        rich_help_panel=OUTPUT,
    ),
]
IdKind = Annotated[
    Literal["relpath", "name", "stem"],
    typer.Option(
        "--id",
        help="Id of a row: the file's path, its name, or its name without the extension.",
        rich_help_panel=OUTPUT,
    ),
]
Level = Annotated[
    Literal["image", "study"],
    typer.Option(
        "--level",
        help="One row per image, or one per study with the mean over its images.",
        rich_help_panel=OUTPUT,
    ),
]
TableFormat = Annotated[
    Literal["csv", "parquet"] | None,
    typer.Option(
        "--format",
        help="Table format (default: from the extension of OUTPUT, or csv).",
        rich_help_panel=OUTPUT,
    ),
]
Std = Annotated[
    bool,
    typer.Option(
        "--std",
        help="Write a second table with the standard deviation over folds.",
        rich_help_panel=OUTPUT,
    ),
]
Calibrated = Annotated[
    bool,
    typer.Option(
        "--calibrated",
        help="Write calibrated probabilities: each model's by its own map of `decide`, then their mean.",
        rich_help_panel=DECISIONS,
    ),
]
Binary = Annotated[
    str | None,
    typer.Option(
        "--binary",
        metavar="RULE",
        help="Write 0 and 1, by the thresholds that `decide` chose: youden, f1, accuracy, sensitivity, "
        "specificity, micro_f1, cf1, example_f1 or subset_accuracy.",
        rich_help_panel=DECISIONS,
    ),
]
Abstain = Annotated[
    Literal["conformal", "disagreement"] | None,
    typer.Option(
        "--abstain",
        help="With --binary, leave cells blank: those whose other label is not ruled out at the coverage of "
        "`decide` (not the share of written cells that are right), or those the models do not agree on.",
        rich_help_panel=DECISIONS,
    ),
]
DecisionsFile = Annotated[
    Path | None,
    typer.Option(
        "--decisions",
        help="File that `decide` wrote (default: decisions.json beside the folder of --models).",
        rich_help_panel=DECISIONS,
    ),
]
CsvSafe = Annotated[
    bool,
    typer.Option(
        "--csv-safe",
        help="Put ' before ids that a spreadsheet would run as a formula (those that begin with =, +, - or "
        "@). Use it if the table will be opened in one; ids then differ from the file names.",
        rich_help_panel=OUTPUT,
    ),
]
OnError = Annotated[
    Literal["quarantine", "fail", "fill"],
    typer.Option(
        "--on-error",
        help="A file that cannot be scored: leave out its row, stop without a table, or write the training "
        "prevalences in its row (blanks with --binary).",
        rich_help_panel=FAILURES,
    ),
]
MaxErrors = Annotated[
    int | None,
    typer.Option(
        "--max-errors",
        min=0,
        help="Files that may fail before the run stops (default: 1 % of the files, at least 10). Raise it "
        "if many damaged files are expected.",
        rich_help_panel=FAILURES,
    ),
]
Timeout = Annotated[
    float,
    typer.Option(
        "--timeout-s",
        min=0.1,
        help="Seconds that decoding one file may take; a file that takes longer is tried once more. Raise "
        "it on slow storage.",
        rich_help_panel=FAILURES,
    ),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Resume a run that was stopped.", rich_help_panel=FAILURES)
]
ShardRows = Annotated[
    int,
    typer.Option(
        "--shard-rows",
        min=1,
        help="Rows saved at a time: at most this many are lost if the process is killed.",
        rich_help_panel=FAILURES,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        min=1,
        max=4096,
        help="Images per forward pass (default: 16 on a CPU, 256 on a GPU).",
        rich_help_panel=MACHINE,
    ),
]
Compile = Annotated[
    Literal["auto", "on", "off"],
    typer.Option(
        "--compile",
        help="Compile the models with torch.compile. auto does so if `bench forward` measured a gain here.",
        rich_help_panel=MACHINE,
    ),
]
