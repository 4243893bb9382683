"""The options that several commands share: their types, a project's usual paths, and how lists are read.

In    argv and CXRSCORE_* environment variables, read by Typer.
Out   annotated types and defaults for the arguments of commands; values, or an error that says what is valid.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from cxrscore.core.errors import UserError
from cxrscore.project.option_rules import default_decoders, fold_numbers, resamples, view_names

INPUT, OUTPUT, RESUMING, MACHINE, GROUPS = (
    "Input",
    "Output",
    "Resuming",
    "Machine",
    "Groups",
)  # headings in a command's help

LabelsCsv = Annotated[Path, typer.Option("--labels", help="Label table, a CSV file.", rich_help_panel=INPUT)]
Images = Annotated[
    Path,
    typer.Option("--images", help="Folder of the images named in the label table.", rich_help_panel=INPUT),
]
Out = Annotated[
    Path, typer.Option("--out", help="Folder for the outputs of the pipeline.", rich_help_panel=OUTPUT)
]
ParamsFile = Annotated[
    Path, typer.Option("--params", help="Settings of the pipeline.", rich_help_panel=INPUT)
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        envvar="CXRSCORE_DEVICE",
        help="auto, cpu, cuda or cuda:N. auto takes the first GPU, or the CPU if there is none.",
        rich_help_panel=MACHINE,
    ),
]
DTYPES = "auto, fp32, bf16 or fp16. "
TrainingDtype = Annotated[  # as choose_machine takes it
    str,
    typer.Option(
        "--dtype",
        envvar="CXRSCORE_DTYPE",
        help=DTYPES + "auto is bf16 on a GPU, but fp16 before Ampere (compute capability 8.0), and fp32 on a "
        "CPU.",
        rich_help_panel=MACHINE,
    ),
]
ScoringDtype = Annotated[  # as choose_scoring_machine takes it
    str,
    typer.Option(
        "--dtype",
        envvar="CXRSCORE_DTYPE",
        help=DTYPES
        + "auto is bf16, but fp16 on GPUs before Ampere (compute capability 8.0) and fp32 on CPUs "
        "without AVX512-BF16 and AMX.",
        rich_help_panel=MACHINE,
    ),
]


def _workers(help: str) -> Any:
    return typer.Option(
        "--workers",
        envvar="CXRSCORE_WORKERS",
        min=0,
        max=256,
        help=f"{help} (default: one per core, at most 16).",
        show_default=False,
        rich_help_panel=MACHINE,
    )


Workers = Annotated[int, _workers("Decoding processes; 0 decodes in the main process")]
DrawingWorkers = Annotated[int, _workers("Processes that draw images; 0 is the same as 1")]
Root = Annotated[
    Path | None,
    typer.Option(
        "--root",
        help="Folder that the paths in a CSV are relative to (default: the folder of the CSV).",
        rich_help_panel=INPUT,
    ),
]
PathColumn = Annotated[
    str | None,
    typer.Option(
        "--path-column",
        help="Column of a CSV that holds the paths (default: the one called path, or similar).",
        rich_help_panel=INPUT,
    ),
]
Source = Annotated[
    str,
    typer.Argument(
        metavar="INPUT", help="A folder, quoted glob pattern, CSV of paths, .tar or .zip of radiographs."
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace an existing output.", rich_help_panel=OUTPUT)
]
FollowSymlinks = Annotated[
    bool,
    typer.Option(
        "--follow-symlinks",
        help="Follow symbolic links that lead out of the folder.",
        rich_help_panel=INPUT,
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON for a program to read.", rich_help_panel=OUTPUT)
]
Resamples = Annotated[
    int,
    typer.Option(
        "--resamples",
        min=0,
        max=100_000,
        callback=lambda number: resamples(number, called="--resamples"),
        help="Resamples of the patients, for intervals, at least 100 (0: no intervals).",
        rich_help_panel=OUTPUT,
    ),
]
StateEvery = Annotated[
    float,
    typer.Option(
        "--state-every-s",
        min=0,
        help="Seconds between saved training states: at most this much work is lost if the process is "
        "killed.",
        rich_help_panel=RESUMING,
    ),
]
CORES = default_decoders()
LABELS, IMAGES, OUT, PARAMS = Path("data/labels.csv"), Path("data/images"), Path("out"), Path("params.yaml")
TEST_LABELS, TEST_IMAGES = Path("data/test_labels.csv"), Path("data/test")


def fold_list(text: str | None) -> tuple[int, ...] | None:
    """0,2 -> (0, 2). Raises UserError."""
    if text is None:
        return None
    words = text.split(",")
    numbers = [int(word) if word.strip().isdecimal() and len(word) < 10 else word for word in words]
    return fold_numbers(numbers, called="--folds", such_as="0,2 (separated by commas)")


def name_list(text: str | None) -> tuple[str, ...]:
    """Sex, View Position -> (Sex, View Position)."""
    return tuple(filter(None, (word.strip() for word in (text or "").split(","))))


def age_list(text: str) -> tuple[int, ...]:
    """40,60,80 -> (40, 60, 80). Raises UserError."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() and len(word) < 4 for word in words):
        raise UserError(f"--age-bands {text}: list whole years, separated by commas, such as 18,40,60,80.")
    return tuple(map(int, words))


def view_list(text: str | None) -> tuple[str, ...] | None:
    """plain,zoom -> (plain, zoom); flip and none are short. Raises UserError."""
    if text is None:
        return None
    return view_names({"flip": "plain,flip", "none": "plain"}.get(text, text).split(","), called="--views")
