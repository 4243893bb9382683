"""Whole JPEG files: from Pillow, and by hand with any order of scans.

In    planes (H, W) and a script: per scan the components, the first and last coefficient, and of successive
      approximation the bits before and after, as in the scan's header.
Out   JPEG bytes, of any sampling; each scan can be taken out again.
Source: ITU-T T.81, annexes F and G.
"""

import struct
from collections.abc import Callable, Sequence
from io import BytesIO
from itertools import product

import numpy as np
from image_files import LUMA, Whole, exif, scene
from numpy.typing import NDArray
from PIL import Image

ZIGZAG = sorted(range(64), key=lambda k: (k // 8 + k % 8, k % 8 if (k // 8 + k % 8) % 2 == 0 else k // 8))
STEP = 6  # every coefficient is quantised by this
Scan = tuple[
    tuple[int, ...], int, int, int, int
]  # components, first and last coefficient, bits before, after
Unit = list[tuple[int, list[int]]]  # a component and a block's coefficients, of each block that goes together
SEQUENTIAL = {
    "one scan": [((0, 1, 2), 0, 63, 0, 0)],
    "a scan per component": [((0,), 0, 63, 0, 0), ((1,), 0, 63, 0, 0), ((2,), 0, 63, 0, 0)],
    "luma, then chroma": [((0,), 0, 63, 0, 0), ((1, 2), 0, 63, 0, 0)],
}
PROGRESSIVE = {
    "DC, then AC": [((0, 1, 2), 0, 0, 0, 0), *(((c,), 1, 63, 0, 0) for c in (0, 1, 2))],
    "DC by component, AC in bands": [
        *(((c,), 0, 0, 0, 0) for c in (0, 1, 2)),
        *(((c,), *band, 0, 0) for band in ((1, 5), (6, 20), (21, 63)) for c in (2, 0, 1)),
    ],
    "DC refined": [
        ((0, 1, 2), 0, 0, 0, 2),
        ((0, 1, 2), 0, 0, 2, 1),
        *(((c,), 1, 63, 0, 0) for c in (0, 1, 2)),
        ((0, 1, 2), 0, 0, 1, 0),
    ],
}


def coefficients(plane: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(H, W), sides multiples of 8 -> (blocks, 64) quantised, in zigzag order."""
    k = np.arange(8)
    basis = np.cos((2 * k[None] + 1) * k[:, None] * np.pi / 16) / 2
    basis[0] /= np.sqrt(2)
    height, width = plane.shape
    blocks = (plane - 128.0).reshape(height // 8, 8, width // 8, 8).transpose(0, 2, 1, 3)
    return np.rint((basis @ blocks @ basis.T) / STEP).astype(np.int64).reshape(-1, 64)[:, ZIGZAG]


def _magnitude(value: int) -> tuple[int, str]:
    """How many bits a value takes, and these; negative ones count from below."""
    size = abs(value).bit_length()
    return size, f"{value if value > 0 else value + (1 << size) - 1:0{size}b}" if size else ""


def _ac_bits(block: Sequence[int]) -> str:
    text, run = "", 0
    last = max((k for k, value in enumerate(block) if value), default=-1)
    for value in block[: last + 1]:
        if value == 0:
            run += 1
            continue
        text += f"{0xF0:08b}" * (run // 16)
        size, bits = _magnitude(value)
        text += f"{run % 16 << 4 | size:08b}{bits}"
        run = 0
    return text


def units(
    components: Sequence[int], blocks: list[list[list[int]]], sampling: Sequence[tuple[int, int]], across: int
) -> list[Unit]:
    """The minimum coded units of a scan: one block of its only component, or of each as many as are sampled;
    `across`: how many of those stand in a row.
    """
    if len(components) == 1:
        (c,) = components
        return [[(c, block)] for block in blocks[c]]
    found = []
    for row, column in product(
        range(len(blocks[0]) // (across * sampling[0][0] * sampling[0][1])), range(across)
    ):
        unit = []
        for c in components:
            wide, high = sampling[c]
            places = product(range(row * high, (row + 1) * high), range(column * wide, (column + 1) * wide))
            unit += [(c, blocks[c][y * across * wide + x]) for y, x in places]
        found.append(unit)
    return found


def scan_bits(scan: Scan, units: list[Unit]) -> bytes:
    """Every symbol's code is the symbol itself, in four bits (DC) or eight (AC)."""
    components, first, last, before, after = scan
    text, previous = [], dict.fromkeys(components, 0)
    for unit in units:
        for c, values in unit:
            if before:  # the next bit of the DC coefficient
                text.append(str(values[0] >> after & 1))
                continue
            if first == 0:
                dc = values[0] >> after
                size, bits = _magnitude(dc - previous[c])
                text.append(f"{size:04b}{bits}")
                previous[c] = dc
            if last:
                ac = values[max(first, 1) : last + 1]
                text.append(_ac_bits(ac) + (f"{0:08b}" if ac[-1] == 0 else ""))
    joined = "".join(text)
    joined = joined.ljust(-(-len(joined) // 8) * 8, "1")
    return int(joined, 2).to_bytes(len(joined) // 8, "big").replace(b"\xff", b"\xff\0")


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def scripted(
    planes: Sequence[NDArray[np.uint8]],
    script: Sequence[Scan],
    *,
    progressive: bool,
    sampling: Sequence[tuple[int, int]] = ((1, 1),) * 3,
    restart_every: int = 0,
) -> bytes:
    """A JPEG of one or three planes (Y, Cb, Cr) whose scans are these. `sampling`: across and down, of planes
    whose sides are as many eights; `restart_every` so many units.
    """
    height, width = (max(plane.shape[axis] for plane in planes) for axis in (0, 1))
    across = width // (8 * max(wide for wide, _ in sampling))
    blocks = [coefficients(plane).tolist() for plane in planes]
    frame = struct.pack(">BHHB", 8, height, width, len(planes))
    frame += b"".join(
        bytes([c + 1, wide << 4 | high, 0]) for c, (wide, high) in enumerate(sampling[: len(planes)])
    )
    dc = bytes([0, 0, 0, 0, 15, *[0] * 12, *range(15)])
    ac = bytes([0x10, *[0] * 7, 255, *[0] * 8, *range(255)])
    out = b"\xff\xd8" + segment(0xDB, b"\0" + bytes([STEP] * 64))
    out += segment(0xC2 if progressive else 0xC0, frame) + segment(0xC4, dc) + segment(0xC4, ac)
    out += segment(0xDD, struct.pack(">H", restart_every)) if restart_every else b""
    for scan in script:
        components, first, last, before, after = scan
        ids = b"".join(bytes([c + 1, 0]) for c in components)
        head = bytes([len(components)]) + ids + bytes([first, last, before << 4 | after])
        out += segment(0xDA, head)
        coded = units(components, blocks, sampling, across)
        every = restart_every or len(coded)
        for n, at in enumerate(range(0, len(coded), every)):
            out += bytes([0xFF, 0xD0 + (n - 1) % 8]) if n else b""
            out += scan_bits(scan, coded[at : at + every])
    return out + b"\xff\xd9"


def scans_of(data: bytes) -> tuple[bytes, list[bytes], bytes]:
    """What stands before the first scan, each scan with the tables before it, and the end marker."""
    pieces, at = [], 2
    pieces_start, scans = 2, []
    while data[at + 1] != 0xD9:
        marker = data[at + 1]
        (length,) = struct.unpack_from(">H", data, at + 2)
        at += 2 + length
        if marker == 0xDA:
            while data[at] != 0xFF or data[at + 1] in (0, *range(0xD0, 0xD8)):
                at += 1
            scans.append(data[pieces_start:at])
            pieces_start = at
        elif not scans:
            pieces.append(data[pieces_start:at])
            pieces_start = at
    return data[:2] + b"".join(pieces), scans, data[at:]


def planes(channels: int) -> list[NDArray[np.uint8]]:
    """Y, or Y, Cb and Cr, of the scene."""
    if channels == 1:
        return [scene()[:, :, 0]]
    ycc = np.asarray(Image.fromarray(scene(3)).convert("YCbCr"))
    return [ycc[:, :, c] for c in range(3)]


def sampled_planes(sampling: Sequence[tuple[int, int]], *, side: int = 96) -> list[NDArray[np.uint8]]:
    """Y, Cb and Cr of a square scene, each as small as its sampling says."""
    ycc = Image.fromarray(scene(3, width=side, height=side)).convert("YCbCr").split()
    widest, tallest = (max(one[i] for one in sampling) for i in (0, 1))
    sizes = [(side * wide // widest, side * high // tallest) for wide, high in sampling]
    return [np.asarray(one.resize(size, Image.Resampling.BOX)) for one, size in zip(ycc, sizes, strict=True)]


def scripted_whole(name: str, *, progressive: bool, channels: int = 3) -> Whole:
    script = (PROGRESSIVE if progressive else SEQUENTIAL)[name]
    if channels == 1:
        script = [((0,), *scan[1:]) for scan in script if 0 in scan[0]]
    made = planes(channels)
    process, colour = "progressive" if progressive else "sequential", "colour" if channels == 3 else "gray"
    data = scripted(made, script, progressive=progressive)
    return Whole(f"JPEG {process}, scripted", f"JPEG {colour} {process}, {name}", data, made[0].astype(float))


def pillow_whole(channels: int, *, large: bool = False, turned: int = 1, **how: object) -> Whole:
    """From Pillow; its default script has 6 scans for gray and 10 for colour where `progressive` is given."""
    samples = scene(channels, width=384, height=320) if large else scene(channels)
    if turned > 1:
        how = how | {"exif": b"Exif\0\0" + exif(turned)}
    file = BytesIO()
    Image.fromarray(samples.squeeze()).save(file, "JPEG", **({"quality": 92} | how))
    gray = samples.astype(float) @ LUMA if channels == 3 else samples[:, :, 0].astype(float)
    words = [f"{name}={value}" for name, value in how.items() if name != "exif"] + [f"turned {turned}"] * (
        turned > 1
    )
    process = "progressive" if how.get("progressive") else "baseline"
    kind = "gray" if channels == 1 else "colour"
    group = f"JPEG {process} {kind}{' large' if large else ''}"
    return Whole(group, " ".join([group, *words]), file.getvalue(), gray)


def jpegs() -> list[Callable[[], Whole]]:
    made: list[Callable[[], Whole]] = []
    for channels in (1, 3):
        ways: list[dict[str, object]] = [{}, {"progressive": True}, {"restart_marker_blocks": 5}]
        ways += [{"restart_marker_rows": 1, "progressive": True}, {"optimize": True}, {"large": True}]
        ways += [{"large": True, "progressive": True}, {"turned": 6}, {"quality": 60}]
        if channels == 3:
            ways += [{"subsampling": s, "progressive": p} for s in (0, 1, 2) for p in (False, True)]
            ways += [{"keep_rgb": True}, {"keep_rgb": True, "progressive": True}]
        made += [(lambda c=channels, h=how: pillow_whole(c, **h)) for how in ways]
        made += [
            (lambda c=channels, n=name, p=progressive: scripted_whole(n, progressive=p, channels=c))
            for progressive, scripts in ((False, SEQUENTIAL), (True, PROGRESSIVE))
            for name in scripts
        ]
    return made
