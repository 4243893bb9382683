"""A contact sheet: normal chests, then each finding as plain as it gets, with its name.

In    a path, the side of one picture, a seed.
Out   a PNG: rows of seven pictures.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cxrscore.core.files import replacing
from cxrscore.phantoms.anatomy import draw_build, draw_pose
from cxrscore.phantoms.cohort import CLEAN
from cxrscore.phantoms.findings import Sign
from cxrscore.phantoms.radiograph import expose
from cxrscore.tables.datasets.chexpert import FINDINGS

COLUMNS = 7
PLAIN = (("No Finding", "PA"), ("No Finding", "AP"), ("No Finding", "Lateral"))
BESIDE = (  # other devices, and what some findings look like from the side
    ("Support Devices", "AP"),
    ("Support Devices", "Lateral"),
    ("Pleural Effusion", "Lateral"),
    ("Consolidation", "Lateral"),
    ("Cardiomegaly", "Lateral"),
)


def contact_sheet(path: Path, *, size: int, seed: int) -> None:
    """Write the sheet; the findings that differ only in the findings beside them look alike here too."""
    shown = [
        *PLAIN,
        *((f, "PA" if f != "Support Devices" else "AP") for f in FINDINGS if f != FINDINGS[CLEAN]),
        *BESIDE,
    ]
    caption = max(14, size // 16)
    rows = -(-len(shown) // COLUMNS)
    sheet = Image.new("L", (COLUMNS * size, rows * (size + caption)))
    draw = ImageDraw.Draw(sheet)
    for i, (finding, position) in enumerate(shown):
        left, top = i % COLUMNS * size, i // COLUMNS * (size + caption)
        tile = _tile(finding, position, size=size, rng=np.random.default_rng([seed, i]))
        sheet.paste(tile, (left + (size - tile.width) // 2, top + caption + (size - tile.height) // 2))
        font = ImageFont.load_default(size=0.72 * caption)
        draw.text(
            (left + size // 2, top + caption // 2),
            f"{finding} ({position})",
            fill=255,
            font=font,
            anchor="mm",
        )
    with replacing(path) as temporary:
        sheet.save(temporary, "PNG")


def _tile(finding: str, position: str, *, size: int, rng: np.random.Generator) -> Image.Image:
    signs = {} if finding == FINDINGS[CLEAN] else {finding: Sign(1.0, int(rng.integers(2)), rng.spawn(1)[0])}
    build = draw_build(rng, str(rng.choice(["Male", "Female"])), int(rng.integers(30, 80)))
    pixels = expose(build, draw_pose(rng, position), position, signs, size=size, rng=rng)
    tile = Image.fromarray(pixels)
    tile.thumbnail((size - 4, size - 4))
    return tile
