"""Commands for files of weights that others have made.

In    a file, and the name of the new one.
Out   the new file; what went into it on stdout.
"""

from pathlib import Path
from typing import Annotated

import typer

from cxrscore.cli.messages import show
from cxrscore.cli.options import AsJson


def weights_convert(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="Weights to convert: a pickle (.pth, .pt, .bin) or .safetensors."
        ),
    ],
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="New .safetensors file to write.")],
    backbone: Annotated[str, typer.Option("--backbone", help="timm model that the weights are for.")],
    strip_prefix: Annotated[
        str, typer.Option("--strip-prefix", help="Prefix to remove from the keys, such as module.")
    ] = "",
    entry: Annotated[
        str,
        typer.Option(
            "--entry", help="Dictionary of tensors to take if there are several, such as state_dict."
        ),
    ] = "",
    init_except: Annotated[
        list[str] | None,
        typer.Option(
            "--init-except",
            help="Pattern of keys that may be missing or of another shape, as in train.init_except.",
        ),
    ] = None,
    by_order: Annotated[
        bool, typer.Option("--by-order", help="Match keys by order and shape if their names differ.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Convert backbone weights to a .safetensors file.

    The new file can be used as train.init. Only tensors are loaded from a pickle; no code in it is run. If
    the names differ from those of the backbone, --by-order matches keys by order, provided that every shape
    agrees; the table of keys is printed.

    Example: cxrscore weights convert resnet10t.pth resnet10t.safetensors --backbone resnet10t
    """
    from cxrscore.convert_weights import conversion_blocks, convert_weights

    facts = convert_weights(
        file,
        output,
        backbone=backbone,
        entry=entry,
        prefix=strip_prefix,
        init_except=init_except or (),
        by_order=by_order,
    )
    show(facts, conversion_blocks, as_json=as_json)
