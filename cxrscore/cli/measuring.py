"""The command that measures this machine.

In    what to measure, and on what: files, sizes, a backbone; what is not said is the benchmark's to choose.
Out   a text or JSON on stdout.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from cxrscore.cli.messages import on_terminal, show
from cxrscore.cli.options import CORES, AsJson, Device, Dtype, Workers


def bench(
    what: Annotated[
        Literal["all", "decode", "forward", "heads", "score", "train", "step-memory"],
        typer.Argument(help="What to measure."),
    ] = "all",
    images: Annotated[
        Path | None, typer.Option("--images", help="Radiographs to decode. Default: phantoms, 2,500 px.")
    ] = None,
    files: Annotated[
        int | None, typer.Option("--files", min=1, help="How many. Default: 32; training: 64, GPU: 768.")
    ] = None,
    size: Annotated[
        int | None,
        typer.Option("--size", min=32, max=4096, help="Pixels a side. Default: 380; CPU training: 96."),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option("--backbone", help="timm name. Default: seresnext101_32x4d; CPU training: resnet10t."),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size",
            min=1,
            max=4096,
            help="Images per batch. Default: forwards 16, GPU 256; training 32, GPU 24.",
        ),
    ] = None,
    compile_models: Annotated[
        Literal["auto", "on", "off"],
        typer.Option("--compile", help="off: no compiled forwards; on: compiled training too."),
    ] = "auto",
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Turns that each way is timed.")] = 5,
    workers: Workers = CORES,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: AsJson = False,
) -> None:
    """Measure this machine: decoding, forwards, scoring and training against what people write by hand; and
    what each label head adds to the backbone.

    All ways take turns in one process; a ratio is the median over rounds. `score --compile auto` recalls what
    `bench forward` has measured. It takes some minutes.

    Example: cxrscore bench forward --json
    """
    from cxrscore.bench import bench, text_blocks

    words = {"images": images, "files": files, "size": size, "backbone": backbone, "batch_size": batch_size}
    asked = {name: value for name, value in words.items() if value is not None}
    asked |= {"compile": compile_models, "workers": workers, "rounds": rounds}
    with on_terminal() as progress:
        result = bench(what, asked, device=device, dtype=dtype, progress=progress)
    show(result, text_blocks, as_json=as_json)
