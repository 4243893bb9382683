"""One image file as the scorer reads it; synthetic radiographs.

In    a file; the number, size and seed of phantoms.
Out   gray pixels (S, S) uint8; a folder of images with tables.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from cxrscore.core.errors import Unreadable
from cxrscore.python_api.arguments import PathLike, number, number_or_none, processes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def read_image(path: PathLike, *, size: int, bit_depth: int | None = None) -> "NDArray[np.uint8]":
    """One image file -> gray pixels (size, size) uint8, upright: those that training and scoring see.

    `bit_depth` is what samples stored in 16 bits have, such as 12. The file is decoded in this process,
    without a time limit. Raises Unreadable, whose `kind` is a word such as TRUNCATED, and UserError.

    Examples:
        >>> from cxrscore.api import read_image
        >>> file = sorted(Path("data/test").iterdir())[0]
        >>> pixels = read_image(file, size=64)
        >>> pixels.shape, pixels.dtype
        ((64, 64), dtype('uint8'))
    """
    import numpy as np

    from cxrscore.images.decoding.decode import Wanted, decode_into
    from cxrscore.images.inputs.byte_source import Place

    side = number("size", size, least=1, most=4096)
    depth = number_or_none("bit_depth", bit_depth, least=8, most=16)
    pixels = np.empty((side, side), np.uint8)
    found = decode_into(pixels, 0, str(path), Place(os.fspath(path)), wanted=Wanted(bit_depth=depth))
    if found.fault is not None:
        raise Unreadable(found.fault.kind, f"{path}: {found.fault}")
    return pixels


def phantom(
    out: PathLike, *, images: int = 1000, size: int = 512, seed: int = 0, workers: int | None = None
) -> Path:
    """Make synthetic chest radiographs with labels in a new folder: no patient, no licence. -> the folder,
    which holds images/, labels.csv, test/, test_labels.csv and sample_submission.csv. Raises UserError.

    Examples:
        >>> from cxrscore.api import phantom
        >>> folder = phantom("phantoms", images=4, size=32, workers=1)
        >>> len(list(folder.rglob("*.jpg")))
        4
    """
    from cxrscore.phantom import make_phantoms

    make_phantoms(
        Path(out),
        images=number("images", images, least=1),
        size=number("size", size, least=32, most=4096),
        seed=number("seed", seed, least=0),
        workers=max(1, processes(workers)),
    )
    return Path(out)
