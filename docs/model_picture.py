"""The paper preset's model, from a radiograph to a row of the score table -> docs/pictures/model.svg.

    python docs/generate.py    # calls this module, too

In    cxrscore/presets/paper.yaml, whose numbers the picture shows; the backbone's map, from timm.
Out   SVG text, the same bytes on every machine; tests/test_docs.py holds it to the preset.
Source: figure 1 of Srivastava, Gupta & Nath, "Learning sparse label couplings for multilabel chest X-ray
diagnosis"; drawn again, with what this program does before and after.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from ruamel.yaml import YAML

import cxrscore
from cxrscore.model.backbone import map_shape

PICTURE = Path(__file__).parent / "pictures" / "model.svg"
PRESET = Path(cxrscore.__file__).parent / "presets" / "paper.yaml"
WIDTH, MIDDLE, BOX, TALL, STEP = 600, 190, 292, 36, 58  # pixels: the column's middle, a box, from box to box
SIDE, SMALL = 478, 140  # middle and width of the message's boxes
X, PRIME = "\N{MULTIPLICATION SIGN}", "\N{PRIME}"
NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five"}
STYLE = """
.page { fill: #ffffff } .sheet { fill: #f4f7fa; stroke: #c3c9d0 } .box { fill: #ffffff; stroke: #8a929c }
.head { fill: #fbeee9; stroke: #c8553d } .flow { stroke: #5d6670; stroke-width: 1.6; fill: none }
.tip { fill: #5d6670 } text { fill: #1b1f24; font: 16px system-ui, "DejaVu Sans", sans-serif }
.soft { fill: #5d6670; font-size: 14px } .mid { text-anchor: middle }
.warm { fill: #c8553d } .cool { fill: #0b6e99 } .grid { fill: #ffffff; stroke: #8a929c }
@media (prefers-color-scheme: dark) {
.page { fill: #0d1117 } .sheet { fill: #151b23; stroke: #3d444d } .box { fill: #0d1117; stroke: #7d8590 }
.head { fill: #2d1a15; stroke: #e07b63 } .flow { stroke: #9aa4af } .tip { fill: #9aa4af }
text { fill: #e6edf3 } .soft { fill: #a3adb8 }
.warm { fill: #e07b63 } .cool { fill: #4da3cc } .grid { fill: #0d1117; stroke: #7d8590 }
}
"""
COUPLINGS = (  # row, column, colour
    (0, 3, "warm"),
    (1, 0, "cool"),
    (2, 4, "warm"),
    (3, 5, "warm"),
    (4, 1, "warm"),
    (5, 2, "cool"),
)
VIEWS = {"plain": "as it is", "flip": "mirrored", "zoom": "enlarged", "zoom_flip": "enlarged and mirrored"}


def box(y: float, words: str, *, x: float = MIDDLE, width: float = BOX, kind: str = "box") -> str:
    """Its upper side at y, its middle at x; without words, nothing."""
    if not words:
        return ""
    rect = f'<rect class="{kind}" x="{x - width / 2:g}" y="{y:g}" width="{width:g}" height="{TALL}" rx="6"/>'
    return f'{rect}<text class="mid" x="{x:g}" y="{y + 23:g}">{escape(words)}</text>'


def note(y: float, words: str, *, x: float = MIDDLE + BOX / 2 + 16) -> str:
    """Beside the box at y."""
    return words and f'<text class="soft" x="{x:g}" y="{y + 23:g}">{escape(words)}</text>'


def arrow(*points: tuple[float, float]) -> str:
    """Through these points; its tip at the last one, downwards, or sideways where the last two are level."""
    (x0, y0), (x, y) = points[-2:]
    path = "M" + " L".join(f"{a:g} {b:g}" for a, b in points)
    if y0 == y:
        back = 8 if x < x0 else -8
        tip = f"M{x:g} {y:g} l{back} -5 v10 z"
    else:
        tip = f"M{x:g} {y:g} l-5 -8 h10 z"
    return f'<path class="flow" d="{path}"/><path class="tip" d="{tip}"/>'


def matrix(x: float, y: float) -> str:
    """A small sparse matrix; its upper left corner at x, y."""
    cells = "".join(
        f'<rect class="{kind}" x="{x + 8 * column + 1:g}" y="{y + 8 * row + 1:g}" width="6" height="6"/>'
        for row, column, kind in COUPLINGS
    )
    return f'<rect class="grid" x="{x:g}" y="{y:g}" width="48" height="48"/>{cells}'


def sheets(top: float, bottom: float, count: int) -> str:
    """One on another, as many as there are folds."""
    width, height = WIDTH - 46, bottom - top
    return "".join(
        f'<rect class="sheet" x="{18 + 5 * i}" y="{top + 5 * i:g}" '
        f'width="{width}" height="{height:g}" rx="8"/>'
        for i in reversed(range(count))
    )


def column(y: float, steps: Sequence[tuple[str, str]]) -> list[str]:
    """Boxes from y on, each with its note, joined by arrows."""
    ys = [y + STEP * i for i in range(len(steps))]
    boxes = [box(y, words) + note(y, about) for y, (words, about) in zip(ys, steps, strict=True)]
    return [*boxes, *(arrow((MIDDLE, y + TALL), (MIDDLE, y + STEP)) for y in ys[:-1])]


def message(y: float, alpha: str, findings: int) -> list[str]:
    """Beside the logits at y: what makes the refined ones, one step below."""
    right, left, below = MIDDLE + BOX / 2, SIDE - SMALL / 2, y + STEP
    words = (f"A: {findings} {X} {findings},", "sparse by L1,", "diagonal zero")
    return [
        arrow((right, y + TALL / 2), (left, y + TALL / 2)),
        box(y, "p = sigmoid(z)", x=SIDE, width=SMALL, kind="head"),
        arrow((SIDE, y + TALL), (SIDE, below)),
        box(below, f"{alpha} · p A", x=SIDE, width=SMALL, kind="head"),
        arrow((left, below + TALL / 2), (right, below + TALL / 2)),
        box(below, f"z{PRIME} = z + {alpha} · p A", kind="head"),
        matrix(left, below + TALL + 10),
        *(note(below + TALL + 16 * i - 2, line, x=left + 56) for i, line in enumerate(words)),
    ]


def drawing(preset: Any) -> tuple[list[str], float]:
    """From top to bottom, and how far down it reaches."""
    size, folds, train = preset["prepare"]["size"], preset["folds"]["k"], preset["train"]
    head, findings = train["head"], len(preset["labels"]["findings"])
    channels, rows, columns = map_shape(train["backbone"], size=size)
    before = [
        ("radiograph", "JPEG, PNG, TIFF or GIF"),
        (f"gray, {size} {X} {size}", "colour is turned into gray"),
    ]
    of_model = [
        ("three equal channels", f"3 {X} {size} {X} {size}"),
        (f"backbone {train['backbone']}", f"{channels} {X} {rows} {X} {columns}"),
        ("global average pooling", f"{channels}"),
        (f"dropout {head['dropout']:g}", "in training only"),
        ("linear", f"{findings} findings"),
        ("logits z", ""),
        ("", ""),  # the message's
        ("sigmoid: probabilities", ""),
    ]
    after = [
        (f"mean over {NUMBERS[len(train['views'])]} views", "of probabilities, not of logits"),
        (f"mean over {NUMBERS[folds]} folds", ""),
        ("a row of the score table", f"{findings} probabilities"),
    ]
    top, first, model = 16.0, 16.0 + STEP + TALL, 16.0 + 3 * STEP + 22
    logits, last = model + 5 * STEP, model + 7 * STEP
    end = last + STEP + 30
    views = ("each view by itself:", " and ".join(VIEWS[view] for view in train["views"]))
    parts = [
        sheets(model - 30, last + TALL + 22, folds),
        f'<text class="soft" x="34" y="{model - 9:g}">one model per fold</text>',
        *column(top, before),
        arrow((MIDDLE, first), (MIDDLE, model)),
        *(note(first + 18 * i - 1, words, x=MIDDLE + 16) for i, words in enumerate(views)),
        *column(model, of_model),
        *message(logits, f"{head['alpha']:g}", findings),
        arrow((MIDDLE, last + TALL), (MIDDLE, end)),
        *column(end, after),
    ]
    return parts, end + 2 * STEP + TALL + 16


def picture() -> str:
    preset = YAML(typ="safe", pure=True).load(PRESET.read_text(encoding="utf-8"))
    drawn, height = drawing(preset)
    words = (
        "A radiograph becomes gray pixels. For each view and fold, a backbone, pooling, dropout and a linear "
        "layer give logits z; p is their sigmoid; z plus alpha times p A gives the refined logits. Their "
        "probabilities are averaged over the views, then over the folds."
    )
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" '
        f'height="{height:g}" role="img" aria-labelledby="title about">'
    )
    return "\n".join(
        [
            opening,
            '<title id="title">From a radiograph to a row of the score table</title>',
            f'<desc id="about">{words}</desc>',
            f"<style>{STYLE}</style>",
            f'<rect class="page" width="{WIDTH}" height="{height:g}"/>',
            *drawn,
            "</svg>\n",
        ]
    )


def main() -> None:
    PICTURE.write_text(picture(), encoding="utf-8", newline="\n")
    sys.stdout.write(f"{PICTURE}\n")
