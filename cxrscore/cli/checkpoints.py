"""The command that adds a digest of the metadata to a checkpoint of an older version.

In    one file, and the name of the new one.
Out   the new file; the metadata on stdout.
"""

from pathlib import Path
from typing import Annotated

import typer

from cxrscore.cli.messages import show
from cxrscore.cli.options import AsJson, Overwrite


def reseal(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="Checkpoint of an older version.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUTPUT", help="New file to write.")],
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Add a SHA-256 of the metadata to an older checkpoint.

    Checkpoints of older versions have a digest of their weights only. The copy that is written has one of
    its metadata too: finding names, sizes and settings. They are printed; compare them with what you know of
    the training, because nothing has protected them so far. Weights that do not match their SHA-256 are
    refused.

    Example: cxrscore reseal old/fold0.safetensors -o out/models/fold0.safetensors
    """
    from cxrscore.reseal import reseal, sealed_blocks

    show(reseal(checkpoint, output, overwrite=overwrite), sealed_blocks, as_json=as_json)
