"""File bytes -> S x S: one core of ours against Pillow's RGB path and torchvision's full decode.

In    files of radiographs, read beforehand: the disk is not measured.
Out   a Timing for JPEG and one for PNG, where there are such files; how far our pixels are from those of a
      full decode, in 1/255; what the worker processes bring in a second.
"""

import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms.v2 import functional

from cxrscore.benchmarks.paired_timing import Timing, in_turn
from cxrscore.core.errors import Unreadable, UserError, promise
from cxrscore.core.progress import Progress
from cxrscore.images.decoding.pool import decode_batches
from cxrscore.images.inputs.byte_source import Places
from cxrscore.images.inputs.listing import list_input
from cxrscore.images.reading import HEAD_BYTES, read_image, sniff

PILLOW, TORCHVISION, OURS = "Pillow RGB", "torchvision RGB", "cxrscore"
POOL_S = 1.0  # of one core's work for the pool, times rounds
POOL_BATCH = 8
EIGHT_BITS = ("1", "L", "LA", "P", "RGB", "RGBA")  # Pillow makes no sense of deeper samples' gray


@dataclass(frozen=True)
class File:
    """One file's bytes, once more as torchvision wants them, and how far our pixels are from all of them."""

    data: bytes
    tensor: torch.Tensor
    off: list[float]  # the mean absolute difference, of 255; empty for more than eight bits


def bench_decode(
    folder: Path, *, size: int, files: int, rounds: int, workers: int, progress: Progress
) -> dict[str, Any]:
    """At most `files` of the folder's, evenly spaced. Raises UserError where none can be read."""
    listing = list_input(str(folder))
    asked = evenly_spaced(listing.paths, files)
    opened = {path: _open(folder / path, size=size) for path in asked}
    kinds: dict[str, list[File]] = {}
    for file in opened.values():
        if file is not None:
            kinds.setdefault(str(sniff(file.data[:HEAD_BYTES])), []).append(file)
    if not kinds:
        raise UserError(f"{folder}: no file there that all three decoders read; name a folder of JPEGs.")
    readable = [path for path, file in opened.items() if file is not None]
    progress.start("bench decode", 3 * (rounds + 1) * len(readable))
    with _one_thread():
        races = [
            _race(kind, these, size=size, rounds=rounds, progress=progress)
            for kind, these in sorted(kinds.items())
        ]
    one_by_one_s = sum(race.median_s(OURS) for race in races)
    facts = {
        "difference_of_255": {kind: _difference(these) for kind, these in sorted(kinds.items())},
        "pool": _pool(
            listing, readable * (POOL_BATCH + int(rounds * POOL_S / one_by_one_s)), size=size, workers=workers
        ),
        "files_that_one_of_the_three_cannot_read": len(asked) - len(readable),
    }
    return {"races": [race.as_json() for race in races], "facts": facts}


def evenly_spaced(paths: Sequence[str], count: int) -> list[str]:
    return [paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, count).round().astype(int))]


def _open(path: Path, *, size: int) -> File | None:
    """None where one of the three does not read it: `cxrscore check` says why."""
    try:
        data = path.read_bytes()
        tensor = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        ours = read_image(data, size=size)
        by_pillow(data, size=size)
        by_torchvision(tensor, size=size)
    except (Unreadable, OSError, ValueError, RuntimeError):
        return None
    off = [float(np.abs(ours - full).mean()) for full in full_decode(data, size=size)]
    return File(data, tensor, off)


def by_pillow(data: bytes, *, size: int) -> NDArray[np.uint8]:
    """(S, S, 3), as most notebooks have it."""
    image = Image.open(BytesIO(data)).convert("RGB")
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def by_torchvision(data: torch.Tensor, *, size: int) -> torch.Tensor:
    """(3, S, S) uint8."""
    with warnings.catch_warnings():  # microseconds
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # since 0.29: the same decoders move to torchcodec
        pixels = decode_image(data, mode=ImageReadMode.RGB)
    small: torch.Tensor = functional.resize(pixels, [size, size], antialias=True)
    return small


def full_decode(data: bytes, *, size: int) -> Iterator[NDArray[np.float32]]:
    """(S, S) gray, 0..255, from every pixel and without rounding; nothing for more than eight bits."""
    image = Image.open(BytesIO(data))
    if image.mode in EIGHT_BITS:
        gray = ImageOps.exif_transpose(image).convert("L").convert("F")
        yield np.asarray(gray.resize((size, size), Image.Resampling.BILINEAR))


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _race(kind: str, files: Sequence[File], *, size: int, rounds: int, progress: Progress) -> Timing:
    """Interleaved file by file; a round's seconds are the sum over files."""
    totals = {name: np.zeros(rounds) for name in (PILLOW, TORCHVISION, OURS)}
    for file in files:
        works: dict[str, Callable[[], object]] = {
            PILLOW: partial(by_pillow, file.data, size=size),
            TORCHVISION: partial(by_torchvision, file.tensor, size=size),
            OURS: partial(read_image, file.data, size=size),
        }
        seconds = in_turn(works, device=torch.device("cpu"), rounds=rounds, progress=progress)
        for name, times in seconds.items():
            totals[name] += times
    what = f"decode and resize to {size} px on one core, {len(files)} {kind}"
    seconds = {name: total.tolist() for name, total in totals.items()}
    return Timing(what, "image", len(files), (PILLOW, TORCHVISION), seconds)


def _difference(files: Sequence[File]) -> dict[str, float]:
    """Mean over files, and the worst file's; nothing where no file has eight bits."""
    off = [one for file in files for one in file.off]
    return {"mean": statistics.mean(off), "worst_file": max(off)} if off else {}


def _pool(listing: Places, paths: Sequence[str], *, size: int, workers: int) -> dict[str, float]:
    """From the first batch on: a run of 100,000 files starts its workers once."""
    begun = time.perf_counter()
    batches = decode_batches(listing, paths, size=size, batch_size=POOL_BATCH, workers=workers)
    with closing(batches):
        start = len(next(batches).items)
        first_s = time.perf_counter() - begun
        rest = sum(len(batch.items) for batch in batches)
    rest_s = time.perf_counter() - begun - first_s
    promise(start + rest == len(paths) > start, "every file has a row, and there is a second batch")
    return {"workers": workers, "images_per_s": rest / rest_s, "first_batch_s": first_s}
