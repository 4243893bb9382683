"""A picture is whole or refused: whichever strip, tile, plane, frame, pass or scan is left out of a file.

The files are made by hand, so that each unit can be taken out on purpose; the whole file is read right.
"""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
from image_files import (
    COLOURS,
    Whole,
    a_gif,
    a_palette,
    at_depth,
    gifs,
    passes_of,
    png_chunks,
    png_of,
    png_rows,
    png_whole,
    pngs,
    scene,
)
from jpeg_files import (
    PROGRESSIVE,
    SEQUENTIAL,
    Scan,
    jpegs,
    pillow_whole,
    sampled_planes,
    scans_of,
    scripted,
    scripted_whole,
)
from numpy.typing import NDArray
from PIL import Image
from tiff_files import COMPRESSIONS, KINDS, Tiff, tiff_parts, tiff_whole

from cxrscore.core.errors import Unreadable
from cxrscore.images.reading import read_image

S = 32
RARE = (
    "2 bit",
    "4 bit",
    "gray+alpha",
    "zero is white",
    "RGB 16 bit raw",  # in planes
    "RGBA 16 bit raw",
)  # read right or said to be unsupported


def resized(gray: NDArray[np.float64]) -> NDArray[np.int64]:
    image = Image.fromarray(np.rint(gray).clip(0, 255).astype(np.uint8))
    return np.asarray(image.resize((S, S), Image.Resampling.BILINEAR)).astype(int)


def read(data: bytes) -> NDArray[np.uint8] | str:
    """The pixels, or the kind of the fault."""
    try:
        return read_image(data, size=S)
    except Unreadable as error:
        return error.kind


def accepted(files: Iterator[tuple[str, bytes]]) -> str:
    """Which of the files were read, and how many there were; empty where all were refused."""
    kinds = {what: read(data) for what, data in files}
    assert kinds and "WORKER_CRASH" not in {kind for kind in kinds.values() if isinstance(kind, str)}
    read_ones = [what for what, kind in kinds.items() if not isinstance(kind, str)]
    return f"{len(read_ones)} of {len(kinds)} read: {'; '.join(read_ones[:6])}" if read_ones else ""


def assert_read_right(whole: Whole) -> None:
    pixels = read(whole.data)
    rare = whole.name.startswith("TIFF") and any(word in whole.name for word in RARE)
    if isinstance(pixels, str):
        assert rare and pixels.startswith("UNSUPPORTED"), f"{whole.name} is refused: {pixels}"
    else:
        far = np.abs(pixels - resized(whole.gray)).mean()
        assert far < 1, f"{whole.name} is read {far:.1f} of 255 away"


# The whole file


@pytest.mark.parametrize("make", [pngs, gifs, jpegs], ids=["PNG", "GIF", "JPEG"])
def test_a_whole_file_of_every_variant_is_read_right(make: Callable[[], list[Callable[[], Whole]]]) -> None:
    upright = [whole for one in make() if "turned" not in (whole := one()).name]
    assert len(upright) > 30
    for whole in upright:
        assert_read_right(whole)


@pytest.mark.parametrize("order", "<>", ids=["little endian", "big endian"])
@pytest.mark.parametrize("planar", [False, True], ids=["chunky", "planar"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_tiff_of_every_variant_is_read_right(kind: str, planar: bool, order: str) -> None:
    if planar and KINDS[kind][0] == 1:
        planar = False  # one channel has no planes
    for compression, layout in product(COMPRESSIONS, ("strips", "tiles")):
        predictors = (
            (1, 2) if compression in ("LZW", "deflate") and KINDS[kind][1:] in ((8, 1), (8, 2)) else (1,)
        )
        for predictor in predictors:
            assert_read_right(
                tiff_whole(
                    kind,
                    compression=compression,
                    layout=layout,
                    order=order,
                    planar=planar,
                    predictor=predictor,
                )
            )


# TIFF

Lists = tuple[list[int], list[int]]
WAYS: dict[str, Callable[[list[int], list[int], int], Lists]] = {
    "dropped": lambda starts, sizes, i: (starts[:i] + starts[i + 1 :], sizes[:i] + sizes[i + 1 :]),
    "without an offset": lambda starts, sizes, i: (replaced(starts, i, 0), sizes),
    "without bytes": lambda starts, sizes, i: (starts, replaced(sizes, i, 0)),
    "blank": lambda starts, sizes, i: (replaced(starts, i, 0), replaced(sizes, i, 0)),
    "its neighbour": lambda starts, sizes, i: (
        replaced(starts, i, starts[i - 1]),
        replaced(sizes, i, sizes[i - 1]),
    ),
    "in the header": lambda starts, sizes, i: (replaced(starts, i, 4), sizes),
    "partly its neighbour": lambda starts, sizes, i: (replaced(starts, i, starts[i] - 4), sizes),
    "beyond the end": lambda starts, sizes, i: (replaced(starts, i, 10**6), sizes),
    "half": lambda starts, sizes, i: (starts, replaced(sizes, i, sizes[i] // 2)),
}


def replaced(numbers: list[int], at: int, number: int) -> list[int]:
    return [*numbers[:at], number, *numbers[at + 1 :]]


def without_a_unit(parts: Tiff, way: str) -> Iterator[tuple[str, bytes]]:
    """A new file for each unit that is missing in this way."""
    for i in range(len(parts.units)):
        yield f"unit {i}", parts.laid_out(lambda starts, sizes, i=i: WAYS[way](starts, sizes, i))


made = cache(tiff_parts)
TIFF_LAYOUTS = {
    "strips": ("gray", "strips", False),
    "16 bit strips": ("gray 16 bit", "strips", False),
    "1 bit strips": ("gray 1 bit", "strips", False),
    "tiles": ("gray", "tiles", False),
    "palette tiles": ("palette", "tiles", False),
    "RGB strips": ("RGB", "strips", False),
    "planar strips": ("RGB", "strips", True),
    "planar tiles": ("RGBA", "tiles", True),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("layout", TIFF_LAYOUTS)
def test_a_tiff_without_one_strip_or_tile_is_refused(layout: str, compression: str, way: str) -> None:
    kind, cut, planar = TIFF_LAYOUTS[layout]
    for order in "<>":
        parts, _ = made(kind, compression=compression, layout=cut, order=order, planar=planar)
        assert not accepted(without_a_unit(parts, way))


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("kind", ["gray", "gray, zero is white", "gray 16 bit", "gray 4 bit"])
def test_a_tiff_that_lost_its_depth_is_not_read_as_one_of_single_bits(kind: str, compression: str) -> None:
    parts, _ = made(kind, compression=compression)
    lost = replace(parts, tags={tag: parts.tags[tag] for tag in parts.tags if tag != 258})
    assert not accepted([("without its depth", lost.laid_out())])


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("layout", ["strips", "one strip", "tiles"])
@pytest.mark.parametrize("kind", ["RGB", "RGBA"])
def test_a_tiff_without_one_of_its_planes_is_refused(kind: str, layout: str, compression: str) -> None:
    parts, samples = made(kind, compression=compression, layout=layout, planar=True)
    channels = samples.shape[2]
    n = len(parts.units) // channels

    def chosen(units: list[int | None]) -> bytes:
        """The file with the places of these units; None is a place of zeros."""

        def places(starts: list[int], sizes: list[int]) -> Lists:
            return tuple([0 if i is None else one[i] for i in units] for one in (starts, sizes))  # type: ignore[return-value]

        return parts.laid_out(places)

    def files() -> Iterator[tuple[str, bytes]]:
        every = list(range(n * channels))
        for c in range(channels):
            before, after = every[: c * n], every[(c + 1) * n :]
            other = range((c - 1) % channels * n, (c - 1) % channels * n + n)
            yield f"plane {c} dropped", chosen([*before, *after])
            yield f"plane {c} blank", chosen([*before, *[None] * n, *after])
            yield f"plane {c} is another", chosen([*before, *other, *after])

    assert not accepted(files())


# TIFF without byte counts

MEASURED = ("raw", "deflate", "PackBits")


@pytest.mark.parametrize("compression", MEASURED)
@pytest.mark.parametrize("layout", ["strips", "one strip", "rows", "tiles"])
@pytest.mark.parametrize("kind", ["gray", "gray 1 bit", "gray 16 bit", "palette", "RGB", "planar RGB"])
def test_a_tiff_without_byte_counts_is_read_right_where_they_can_be_measured(
    kind: str, layout: str, compression: str
) -> None:
    planar, kind = kind.startswith("planar"), kind.removeprefix("planar ")
    for order in "<>":
        how = {"compression": compression, "layout": layout, "order": order, "planar": planar}
        parts, _ = made(kind, **how)
        whole = tiff_whole(kind, **how)
        assert_read_right(replace(whole, data=parts.laid_out(counted=False)))
        assert_read_right(replace(whole, data=pixels_last(parts)))


def pixels_last(parts: Tiff) -> bytes:
    """The file without byte counts; nothing stands behind its pixels."""
    size = len(parts.laid_out(counted=False))
    moved = parts.laid_out(lambda starts, sizes: ([at + size - 8 for at in starts], sizes), counted=False)
    return moved + b"".join(unit + bytes(len(unit) % 2) for unit in parts.units[:-1]) + parts.units[-1]


def test_a_tiff_without_byte_counts_of_lzw_is_refused_with_a_remedy() -> None:
    parts, _ = made("gray", compression="LZW")
    with pytest.raises(Unreadable, match="how many bytes of LZW a strip has; save it as PNG"):
        read_image(parts.laid_out(counted=False), size=S)


OFFSETS = (
    "dropped",
    "without an offset",
    "its neighbour",
    "in the header",
    "partly its neighbour",
    "beyond the end",
)


@pytest.mark.parametrize("way", OFFSETS)
@pytest.mark.parametrize("compression", MEASURED)
@pytest.mark.parametrize("layout", TIFF_LAYOUTS)
def test_a_tiff_without_byte_counts_and_one_strip_or_tile_is_refused(
    layout: str, compression: str, way: str
) -> None:
    kind, cut, planar = TIFF_LAYOUTS[layout]
    parts, _ = made(kind, compression=compression, layout=cut, planar=planar)

    def files() -> Iterator[tuple[str, bytes]]:
        for i in range(len(parts.units)):
            yield (
                f"unit {i}",
                parts.laid_out(lambda starts, sizes, i=i: WAYS[way](starts, sizes, i), counted=False),
            )

    assert not accepted(files())


@pytest.mark.parametrize("compression", MEASURED)
@pytest.mark.parametrize("kind", ["gray", "gray 16 bit", "RGB"])
def test_without_byte_counts_a_size_or_depth_that_is_not_that_of_the_bytes_is_refused(
    kind: str, compression: str
) -> None:
    parts, _ = made(kind, compression=compression)
    other = [(256, 48), (256, 95), (256, 97), (257, 79), (257, 81), (278, 12), (278, 14)]  # tags and values

    def changed(tags: dict[int, tuple[int, list[int]]], last: bytes = parts.units[-1]) -> bytes:
        return replace(parts, tags=tags, units=[*parts.units[:-1], last]).laid_out(counted=False)

    def files() -> Iterator[tuple[str, bytes]]:
        for tag, number in other:
            yield f"{tag} of {number}", changed(parts.tags | {tag: (4, [number])})
        yield "no depth", changed({tag: parts.tags[tag] for tag in parts.tags if tag != 258})
        yield "cut", changed(parts.tags, parts.units[-1][:-4])
        yield "longer", changed(parts.tags, parts.units[-1] + bytes(9))

    assert not accepted(files())


def test_byte_counts_of_zero_say_that_there_are_no_bytes() -> None:
    parts, _ = made("gray", compression="raw")
    assert read(parts.laid_out(lambda starts, sizes: (starts, [0] * len(sizes)))) == "INCOMPLETE"


# PNG


def png_names() -> list[str]:
    return [f"{colour}-{depth}-{'adam7' if interlaced else 'plain'}" for colour, depth, interlaced in PNGS]


PNGS = [
    (colour, depth, interlaced)
    for colour, depth in (
        (0, 1),
        (0, 4),
        (0, 8),
        (0, 16),
        (2, 8),
        (2, 16),
        (3, 2),
        (3, 8),
        (4, 8),
        (6, 8),
        (6, 16),
    )
    for interlaced in (False, True)
]


def hand_made_png(colour: int, depth: int, interlaced: bool) -> list[tuple[bytes, bytes]]:
    """Chunks of a PNG, with its pixels in several IDAT."""
    return png_chunks(png_whole(colour, depth, interlaced=interlaced).data)


@pytest.mark.parametrize(("colour", "depth", "interlaced"), PNGS, ids=png_names())
def test_a_png_without_one_chunk_of_pixels_or_its_palette_is_refused(
    colour: int, depth: int, interlaced: bool
) -> None:
    chunks = hand_made_png(colour, depth, interlaced)
    needed = [i for i, (kind, _) in enumerate(chunks) if kind in (b"IHDR", b"PLTE", b"IDAT", b"IEND")]
    assert not accepted((f"{chunks[i][0]!r} at {i}", png_of(chunks[:i] + chunks[i + 1 :])) for i in needed)


@pytest.mark.parametrize(("colour", "depth"), sorted({(colour, depth) for colour, depth, _ in PNGS}))
def test_an_interlaced_png_without_one_pass_or_row_is_refused(colour: int, depth: int) -> None:
    chunks = hand_made_png(colour, depth, True)
    passes = [
        png_rows(one, depth) for one in passes_of(at_depth(scene(COLOURS[colour]), depth), interlaced=True)
    ]
    before = [one for one in chunks if one[0] not in (b"IDAT", b"IEND")]

    def png(rows: bytes) -> bytes:
        return png_of([*before, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")])

    assert not isinstance(read(png(b"".join(passes))), str)
    assert not accepted((f"pass {i}", png(b"".join(passes[:i] + passes[i + 1 :]))) for i in range(7))
    assert not accepted((f"passes from {i}", png(b"".join(passes[:i]))) for i in range(7))
    assert not accepted((f"-{n} bytes", png(b"".join(passes)[:-n])) for n in (1, 10, 97))


# GIF


@pytest.mark.parametrize("interlaced", [False, True], ids=["rows in order", "interlaced"])
@pytest.mark.parametrize("missing", [1, 20])
@pytest.mark.parametrize("side", ["left", "top", "right", "bottom"])
def test_a_gif_frame_that_leaves_a_side_of_the_screen_empty_is_refused(
    side: str, missing: int, interlaced: bool
) -> None:
    indices = scene()[:, :, 0]
    height, width = indices.shape
    wider, higher = missing * (side in ("left", "right")), missing * (side in ("top", "bottom"))
    corner = (missing * (side == "left"), missing * (side == "top"))
    data = a_gif(
        indices,
        palette=a_palette(256),
        interlaced=interlaced,
        screen=(width + wider, height + higher),
        corner=corner,
    )
    assert not accepted(iter([(side, data)]))


@pytest.mark.parametrize("end", [True, False], ids=["end code", "no end code"])
@pytest.mark.parametrize("interlaced", [False, True], ids=["rows in order", "interlaced"])
@pytest.mark.parametrize("depth", [1, 2, 4, 7, 8])
def test_gif_codes_that_end_before_the_last_pixel_are_refused(
    depth: int, interlaced: bool, end: bool
) -> None:
    indices = at_depth(scene(), depth)[:, :, 0]
    bits = max(depth, 2)

    def files() -> Iterator[tuple[str, bytes]]:
        for percent in (0, 1, 5, 20, 50, 80, 95, 99, "all but one"):

            def cut(codes: list[tuple[int, int]], p: int | str = percent) -> list[tuple[int, int]]:
                n = len(codes) - 2 if isinstance(p, str) else 1 + (len(codes) - 3) * p // 100
                return codes[:n] + [((1 << bits) + 1, codes[n][1])] * end

            yield f"{percent} %", a_gif(indices, palette=a_palette(2**depth), interlaced=interlaced, keep=cut)

    assert not accepted(files())


@pytest.mark.parametrize("ending", [b"", b"\0;", b"\0\0\0;", b"\0;junk"], ids=repr)
def test_a_gif_that_lacks_only_its_end_mark_or_has_zeros_before_it_is_read_right(ending: bytes) -> None:
    for make in gifs():
        whole = make()
        assert_read_right(replace(whole, data=whole.data[:-1] + ending))


@pytest.mark.parametrize("interlaced", [False, True], ids=["rows in order", "interlaced"])
def test_a_gif_that_was_cut_before_its_last_block_is_closed_is_refused(interlaced: bool) -> None:
    data = a_gif(scene()[:, :, 0], palette=a_palette(256), interlaced=interlaced)

    def files() -> Iterator[tuple[str, bytes]]:
        for cut in (*range(2, 300), *range(300, len(data), 50)):
            yield f"-{cut} bytes", data[:-cut]
            yield f"-{cut} bytes, zeros for them", data[:-cut] + bytes(cut)
            yield f"-{cut} bytes, closed", data[:-cut] + b";"
        yield "zeros for its end mark", data[:-1] + b"\0"
        yield "zeros behind its last block", data[:-1] + bytes(500)
        yield "other bytes for its end mark", data[:-1] + b"junk"
        yield "a comment that is cut", data[:-1] + b"!\xfe\7scan"

    assert not accepted(files())


@pytest.mark.parametrize("ended", [b"", b"\0;"], ids=["no end mark", "zeros before it"])
def test_gif_codes_that_end_early_are_refused_without_an_end_mark_too(ended: bytes) -> None:
    def cut(codes: list[tuple[int, int]]) -> list[tuple[int, int]]:
        return [*codes[:-2], codes[-1]]

    data = a_gif(scene()[:, :, 0], palette=a_palette(256), keep=cut)
    assert not accepted(iter([("one code less", data[:-1] + ended)]))


@pytest.mark.parametrize(
    "extension",
    [b"!\xff\x0bNETSCAPE2.0\3\1\0\0\0", b"!\xff\x0bANIMEXTS1.0\3\1\0\0\0", b"!\xf9\4\0\x0a\0\0\0"],
    ids=["NETSCAPE", "ANIMEXTS", "delay"],
)
def test_an_animation_without_an_end_mark_may_lack_frames_and_is_refused(extension: bytes) -> None:
    data = a_gif(scene()[:, :, 0], palette=a_palette(256))
    frame = 13 + 3 * 256
    moving = data[:frame] + extension + data[frame:]
    assert not isinstance(read(moving), str)
    assert read(moving[:-1]) == "TRUNCATED"


# JPEG

ODD = {  # across x down, of Y, Cb and Cr: what TurboJPEG has no name for
    "1 x 3": ((1, 3), (1, 1), (1, 1)),
    "3 x 1": ((3, 1), (1, 1), (1, 1)),
    "4 x 2": ((4, 2), (1, 1), (1, 1)),
    "2 x 4": ((2, 4), (1, 1), (1, 1)),
    "3 x 2": ((3, 2), (1, 1), (1, 1)),
    "chroma bigger than luma": ((1, 1), (2, 2), (1, 1)),
    "one chroma wider": ((1, 1), (1, 1), (2, 1)),
    "each its own": ((4, 1), (2, 1), (1, 1)),
    "fractions": ((3, 1), (2, 1), (1, 1)),
}
USUAL = {
    "4:4:4": ((1, 1), (1, 1), (1, 1)),
    "4:4:4, 3 x 1 each": ((3, 1), (3, 1), (3, 1)),
    "4:2:2": ((2, 1), (1, 1), (1, 1)),
    "4:2:2, of 2 x 2": ((2, 2), (1, 2), (1, 2)),
    "4:2:0": ((2, 2), (1, 1), (1, 1)),
    "4:4:0": ((1, 2), (1, 1), (1, 1)),
    "4:1:1": ((4, 1), (1, 1), (1, 1)),
    "4:4:1": ((1, 4), (1, 1), (1, 1)),
}
SCANS: dict[str, tuple[list[Scan], dict[str, Any]]] = {
    "one scan": (SEQUENTIAL["one scan"], {"progressive": False}),
    "restarts": (SEQUENTIAL["one scan"], {"progressive": False, "restart_every": 2}),
    "a scan per component": (SEQUENTIAL["a scan per component"], {"progressive": False}),
    "progressive": (PROGRESSIVE["DC, then AC"], {"progressive": True}),
}


@pytest.mark.parametrize("scans", SCANS)
@pytest.mark.parametrize("sampling", USUAL)
def test_a_jpeg_of_a_usual_sampling_is_read_right(sampling: str, scans: str) -> None:
    planes, (script, how) = sampled_planes(USUAL[sampling]), SCANS[scans]
    data = scripted(planes, script, sampling=USUAL[sampling], **how)
    assert_read_right(Whole("JPEG", f"JPEG {sampling}, {scans}", data, planes[0].astype(float)))


@pytest.mark.parametrize("scans", SCANS)
@pytest.mark.parametrize("sampling", ODD)
def test_a_jpeg_of_an_odd_sampling_is_refused_with_its_sampling_and_a_remedy(
    sampling: str, scans: str
) -> None:
    """Pillow reads most of them, and paints what was cut from them."""
    planes, (script, how) = sampled_planes(ODD[sampling]), SCANS[scans]
    data = scripted(planes, script, sampling=ODD[sampling], **how)
    named = ", ".join(f"{wide} x {high}" for wide, high in ODD[sampling])
    with pytest.raises(
        Unreadable, match=rf"^its components are sampled {named}, [^()]*; save it as PNG"
    ) as caught:
        read_image(data, size=S)
    assert caught.value.kind == "UNSUPPORTED_FORMAT"


def scan_files(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Without one scan, tables kept; and ended after each but the last."""
    head, scans, end = scans_of(data)
    assert head + b"".join(scans) + end == data
    for i, scan in enumerate(scans):
        tables = scan[: scan.index(b"\xff\xda")]
        yield f"scan {i} left out", head + b"".join([*scans[:i], tables, *scans[i + 1 :]]) + end
        if i:
            yield f"ended after scan {i - 1}", head + b"".join(scans[:i]) + end


def many_scans() -> dict[str, Whole]:
    made = [
        pillow_whole(channels, progressive=True, **how)
        for channels in (1, 3)
        for how in ({}, {"large": True}, {"restart_marker_rows": 1}, {"quality": 60})
    ]
    made += [pillow_whole(3, progressive=True, subsampling=subsampling) for subsampling in (0, 1)]
    made += [pillow_whole(3, progressive=True, keep_rgb=True)]
    made += [scripted_whole(name, progressive=False) for name in SEQUENTIAL]
    made += [
        scripted_whole(name, progressive=True, channels=channels)
        for name in PROGRESSIVE
        for channels in (1, 3)
    ]
    return {whole.name: whole for whole in made}


MANY_SCANS = many_scans()


@pytest.mark.parametrize("name", MANY_SCANS)
def test_a_jpeg_without_one_of_its_scans_is_refused(name: str) -> None:
    assert not accepted(scan_files(MANY_SCANS[name].data))


@pytest.mark.parametrize("progressive", [False, True], ids=["baseline", "progressive"])
@pytest.mark.parametrize("channels", [1, 3], ids=["gray", "colour"])
def test_a_jpeg_without_one_restart_interval_is_refused(channels: int, progressive: bool) -> None:
    whole = pillow_whole(channels, restart_marker_rows=1, progressive=progressive)
    head, scans, end = scans_of(whole.data)

    def files() -> Iterator[tuple[str, bytes]]:
        for n, scan in enumerate(scans):
            marks = [at for at in range(len(scan) - 1) if scan[at] == 0xFF and 0xD0 <= scan[at + 1] <= 0xD7]
            for start, stop in pairwise(marks):
                cut = scan[:start] + scan[stop:]
                yield f"scan {n}, byte {start}", head + b"".join([*scans[:n], cut, *scans[n + 1 :]]) + end

    assert not accepted(files())
