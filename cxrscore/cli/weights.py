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
    file: Annotated[Path, typer.Argument(help="Weights: a pickle (.pth, .pt, .bin) or .safetensors.")],
    output: Annotated[Path, typer.Argument(help="The new .safetensors file to write.")],
    backbone: Annotated[str, typer.Option("--backbone", help="The timm model that they are for.")],
    strip_prefix: Annotated[
        str, typer.Option("--strip-prefix", help="Remove this from the keys, such as module.")
    ] = "",
    entry: Annotated[
        str, typer.Option("--entry", help="Which of several dictionaries of tensors, such as state_dict.")
    ] = "",
    init_except: Annotated[
        list[str] | None,
        typer.Option("--init-except", help="Pattern of keys that may not fit, as in train.init_except."),
    ] = None,
    by_order: Annotated[
        bool, typer.Option("--by-order", help="Where names differ, match keys by order and shape.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Convert weights to a .safetensors file for train.init.

    Tensors alone are loaded from a pickle; nothing in it is run. Names that the backbone has are kept. Other
    names are matched by order with --by-order, if every shape agrees; the table of keys is printed.

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
