"""What other people's decoders see in a file, by the rules of cxrscore/images/reading.py in plain code.

In    the bytes of one file; its orientation, which the reader under test found.
Out   per judge the (S, S) gray pixels, or why it does not say. None of them is a decoder of the reader's.

    TIFF   tifffile, with imagecodecs
    JPEG   libjpeg-turbo of another build (imagecodecs), and libjxl, which has a parser of JPEG of its own
    PNG    libpng          GIF   giflib

A judge abstains where what it returns cannot be compared, and why is told. Only for processes that may crash.
"""

import io
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from image_files import LUMA
from numpy.typing import NDArray
from PIL import Image


class Abstains(Exception):
    """The judge does not read this file, or not in a way that can be compared."""


def _gray(samples: NDArray[Any]) -> NDArray[np.float64]:
    """(H, W, 1 to 4) of 8 or 16 bits -> (H, W) in 0..255; alpha last, on black."""
    values = samples.astype(np.float64) / (257 if samples.dtype == np.uint16 else 1)
    channels = values.shape[2]
    gray = values[:, :, :3] @ LUMA if channels >= 3 else values[:, :, 0]
    return gray * values[:, :, -1] / 255 if channels in (2, 4) else gray


def _with_channels(image: NDArray[Any]) -> NDArray[Any]:
    return image[:, :, None] if image.ndim == 2 else image


def _libpng(data: bytes) -> NDArray[np.float64]:
    return _gray(_with_channels(imagecodecs.png_decode(data)))


def _giflib(data: bytes) -> NDArray[np.float64]:
    image = imagecodecs.gif_decode(data)
    if image.ndim == 4 and len(image) == 1:
        image = image[0]
    if image.ndim != 3 or image.shape[2] not in (3, 4):
        raise Abstains(f"an array of shape {image.shape}")
    return _gray(image)


def _libjpeg(data: bytes) -> NDArray[np.float64]:
    return _gray(_with_channels(imagecodecs.jpeg8_decode(data, outcolorspace="GRAYSCALE")))


def _libjxl(data: bytes) -> NDArray[np.float64]:
    data = data.replace(b"Exif\0\0", b"None\0\0")  # it would turn the picture itself
    image = _with_channels(imagecodecs.jpegxl_decode(imagecodecs.jpegxl_encode_jpeg(data)))
    if np.isin(image, (0, 255)).any(-1).mean() > 0.002:
        raise Abstains(
            "colours cut off at 0 or 255: their luma is no longer Y, and what overflows is any decoder's"
        )
    return _gray(image)


def _tifffile(data: bytes) -> NDArray[np.float64]:
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page: Any = file.pages[0]
        image = page.asarray(maxworkers=1)
        tags = {name: page.tags[name].value for name in ("PhotometricInterpretation",) if name in page.tags}
        photometric = int(tags.get("PhotometricInterpretation", 1))  # the rule: black is zero if nobody says
        depth = page.bitspersample
        if page.planarconfig == 2 and image.ndim == 3:
            image = np.moveaxis(image, 0, -1)
        if image.dtype not in (np.uint8, np.uint16, np.bool_) or image.ndim not in (2, 3):
            raise Abstains(f"{image.dtype} samples of shape {image.shape}")
        return _interpreted(_with_channels(image), photometric, depth, page)


def _interpreted(image: NDArray[Any], photometric: int, depth: int, page: Any) -> NDArray[np.float64]:
    """Samples as TIFF's tags mean them."""
    alpha = list(page.extrasamples)[:1]
    if photometric == 3:
        colours = page.colormap.T / 257  # (entries, 3)
        if image.shape[2] != 1:
            raise Abstains("a palette and something else")
        return colours[image[:, :, 0]] @ LUMA
    if photometric not in (0, 1, 2):
        raise Abstains(f"photometric {photometric}")
    values = image.astype(np.float64) * (255 / (2**depth - 1))
    own = 3 if photometric == 2 else 1
    if values.shape[2] < own:
        raise Abstains("fewer samples than colours")
    if alpha == [1] and values.shape[2] > own:  # multiplied already; no colour is brighter than its alpha
        values = np.minimum(values, values[:, :, own : own + 1])
    gray = values[:, :, :3] @ LUMA if own == 3 else values[:, :, 0]
    gray = 255 - gray if photometric == 0 else gray
    return gray * values[:, :, own] / 255 if alpha == [2] and values.shape[2] > own else gray


JUDGES: dict[str, dict[str, Callable[[bytes], NDArray[np.float64]]]] = {
    "TIFF": {"tifffile": _tifffile},
    "JPEG": {"libjpeg-turbo": _libjpeg, "libjxl": _libjxl},
    "PNG": {"libpng": _libpng},
    "GIF": {"giflib": _giflib},
}


def reduced(gray: NDArray[np.float64], orientation: int, *, size: int) -> NDArray[np.uint8]:
    """(H, W) -> (S, S): bilinear, then upright. Source: Exif 2.32, tag 0x0112, corner by corner."""
    eight = Image.fromarray(np.rint(gray).clip(0, 255).astype(np.uint8))
    small = np.asarray(eight.resize((size, size), Image.Resampling.BILINEAR))
    turns: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
        2: np.fliplr,
        3: lambda p: np.rot90(p, 2),
        4: np.flipud,
        5: np.transpose,
        6: lambda p: np.rot90(p, -1),
        7: lambda p: np.rot90(p, 2).T,
        8: np.rot90,
    }
    return turns.get(orientation, np.asarray)(small)


def opinion(judge: str, data: bytes, format: str) -> tuple[NDArray[np.float64] | None, str]:
    """The full-size gray picture that one judge sees; or None and why."""
    try:
        return JUDGES[format][judge](data), ""
    except Exception as error:  # noqa: BLE001 - whatever another library raises, it did not read the file
        return None, f"{type(error).__name__}: {error}"[:120]
