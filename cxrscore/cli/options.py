"""The options: types that several commands share, a project's usual paths, and what an option's words stand
for.

In    argv and CXRSCORE_* environment variables, read by Typer.
Out   annotated types and defaults for a command's arguments; values, or what the words should have been.
"""

from pathlib import Path
from typing import Annotated, get_args

import typer

from cxrscore.core.resources import most_decoders, usable_cores

LabelsCsv = Annotated[Path, typer.Option("--labels", help="Label table.")]
Images = Annotated[Path, typer.Option("--images", help="Folder that the label table's names are in.")]
Out = Annotated[Path, typer.Option("--out", help="Folder of the pipeline's outputs.")]
ParamsFile = Annotated[Path, typer.Option("--params", help="Settings of the pipeline.")]
Device = Annotated[str, typer.Option("--device", envvar="CXRSCORE_DEVICE", help="auto, cpu, cuda or cuda:N.")]
Dtype = Annotated[str, typer.Option("--dtype", envvar="CXRSCORE_DTYPE", help="auto, fp32, bf16 or fp16.")]
Workers = Annotated[
    int, typer.Option("--workers", envvar="CXRSCORE_WORKERS", min=0, max=256, help="Decoders at work.")
]
Root = Annotated[
    Path | None, typer.Option("--root", help="Folder that a CSV's paths are in. Default: its own.")
]
PathColumn = Annotated[str | None, typer.Option("--path-column", help="A CSV's column of paths.")]
Source = Annotated[
    str, typer.Argument(help="Folder, quoted pattern, CSV of paths, .tar or .zip of radiographs.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")]
FollowSymlinks = Annotated[
    bool, typer.Option("--follow-symlinks", help="Follow links that lead out of the folder.")
]
BitDepth = Annotated[
    int | None,
    typer.Option(
        "--bit-depth",
        min=8,
        max=16,
        help="Bits that samples stored in 16 bits have, such as 12; 16: all. Default: as trained.",
    ),
]
Timeout = Annotated[float, typer.Option("--timeout-s", min=0.1, help="Seconds that one file may take.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
CORES = min(16, usable_cores(), most_decoders())
LABELS, IMAGES, OUT, PARAMS = Path("data/labels.csv"), Path("data/images"), Path("out"), Path("params.yaml")


def format_of(output: Path, asked: str | None) -> str:
    """What was asked for, else what the name says; they may not contradict one another."""
    named = {".parquet": "parquet", ".csv": "csv"}.get(output.suffix)
    if asked and named and asked != named:
        raise typer.BadParameter(f"{asked}, but the output is called {output.name}", param_hint="--format")
    return asked or named or "csv"


def fold_list(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    words = text.split(",")
    numbers = {int(word) for word in words if word.strip().isdecimal() and len(word) < 10}
    if len(numbers) != len(words):
        raise typer.BadParameter(
            f"{text!r}: distinct fold numbers with commas between, such as 0,2", param_hint="--folds"
        )
    return tuple(sorted(numbers))


def view_list(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None

    from cxrscore.project.params import View

    names = tuple({"flip": "plain,flip", "none": "plain"}.get(text, text).split(","))
    if names[0] != "plain" or len(set(names)) != len(names) or not set(names) <= set(get_args(View)):
        raise typer.BadParameter(
            f"{text!r}: distinct names of {', '.join(get_args(View))}, plain first, with commas between",
            param_hint="--views",
        )
    return names
