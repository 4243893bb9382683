"""The command that measures this machine.

In    what to measure, and on what: files, sizes, a backbone; each benchmark has defaults of its own.
Out   a text or JSON on stdout.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from cxrscore.cli.messages import on_terminal, show
from cxrscore.cli.options import CORES, DTYPES, MACHINE, AsJson, Device, Workers

WORKLOAD = "Workload"

BenchDtype = Annotated[
    str,
    typer.Option(
        "--dtype",
        envvar="CXRSCORE_DTYPE",
        help=DTYPES + "auto is what `score` takes, and for training what `train` takes.",
        rich_help_panel=MACHINE,
    ),
]


def bench(
    what: Annotated[
        Literal["all", "decode", "forward", "heads", "score", "train", "step-memory", "statistics"],
        typer.Argument(metavar="WHAT", help="What to measure."),
    ] = "all",
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            help="Folder of radiographs to decode (default: synthetic ones of 2,500 px).",
            rich_help_panel=WORKLOAD,
        ),
    ] = None,
    files: Annotated[
        int | None,
        typer.Option(
            "--files",
            min=1,
            help="Number of files, or rows of scores (default: 32; for training 64 on a CPU, 768 on a GPU; "
            "for statistics 107,000).",
            rich_help_panel=WORKLOAD,
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            "--size",
            min=32,
            max=4096,
            help="Pixels per side (default: 380; 96 for training on a CPU).",
            rich_help_panel=WORKLOAD,
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone",
            help="timm model (default: seresnext101_32x4d; resnet10t for training on a CPU).",
            rich_help_panel=WORKLOAD,
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size",
            min=1,
            max=4096,
            help="Images per batch (default: 16 on a CPU, 256 on a GPU; for training 32 and 24).",
            rich_help_panel=WORKLOAD,
        ),
    ] = None,
    rounds: Annotated[
        int,
        typer.Option(
            "--rounds", min=1, help="Times that each variant is measured.", rich_help_panel=WORKLOAD
        ),
    ] = 5,
    compile_models: Annotated[
        Literal["auto", "on", "off"],
        typer.Option(
            "--compile",
            help="auto measures compiled forward passes, on compiled training as well, off neither.",
            rich_help_panel=MACHINE,
        ),
    ] = "auto",
    workers: Workers = CORES,
    device: Device = "auto",
    dtype: BenchDtype = "auto",
    as_json: AsJson = False,
) -> None:
    """Measure this machine: decoding, scoring, training, figures.

    Each is compared with code that people write by hand, and each label head with the bare backbone. All
    variants take turns in one process; a ratio is the median over rounds. `score --compile auto` uses what
    `bench forward` has measured. Takes some minutes.

    Example: cxrscore bench forward --json
    """
    from cxrscore.bench import bench, text_blocks

    words = {"images": images, "files": files, "size": size, "backbone": backbone, "batch_size": batch_size}
    asked = {name: value for name, value in words.items() if value is not None}
    asked |= {"compile": compile_models, "workers": workers, "rounds": rounds}
    with on_terminal() as progress:
        result = bench(what, asked, device=device, dtype=dtype, progress=progress)
    show(result, text_blocks, as_json=as_json)
