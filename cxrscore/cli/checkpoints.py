"""The command that seals a checkpoint of an older version.

In    one file, and the name of the new one.
Out   the new file; what it seals on stdout.
"""

from pathlib import Path
from typing import Annotated

import typer

from cxrscore.cli.messages import show
from cxrscore.cli.options import AsJson, Overwrite


def reseal(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint of an older version.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The new file to write.")],
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Seal the facts of a checkpoint from before seals, in a new file.

    Its finding names, sizes and settings are printed: compare them with what you know of the training, for
    nothing has protected them until now. Weights that do not match their sha256 are refused.

    Example: cxrscore reseal old/fold0.safetensors -o out/models/fold0.safetensors
    """
    from cxrscore.reseal import reseal, sealed_blocks

    show(reseal(checkpoint, output, overwrite=overwrite), sealed_blocks, as_json=as_json)
