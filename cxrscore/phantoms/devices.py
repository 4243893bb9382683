"""Support devices: tubes, lines, leads and boxes, over everything else.

In    a Film, a Chest, a generator, a strength.
Out   one to three kinds of device on the film, anchored at trachea, heart and wall.
"""

from collections.abc import Callable

import numpy as np

from cxrscore.phantoms.anatomy import Chest
from cxrscore.phantoms.film import Film, Points, points, ring, spline

SHARE = {
    "line": 0.55,
    "tube": 0.45,
    "leads": 0.6,
    "pacemaker": 0.25,
    "wires": 0.25,
}  # a guess at a hospital's mix


def draw_devices(film: Film, chest: Chest, rng: np.random.Generator, strength: float) -> None:
    chosen = [kind for kind, share in SHARE.items() if rng.random() < share] or ["leads"]
    for kind in chosen:
        DEVICES[kind](film, chest, rng, strength)


def _line(film: Film, chest: Chest, rng: np.random.Generator, strength: float) -> None:
    """A central line: from the neck or beneath the clavicle to the upper vena cava."""
    tip = chest.trachea[-1] + np.array([-0.035, 0.03 + rng.uniform(0, 0.06)])
    start = (
        points((-0.3, -0.42), (-0.2, -0.31)) if rng.random() < 0.5 else points((-0.1, -0.6), (-0.07, -0.35))
    )
    if chest.view == "lateral":
        start = points((0.0, -0.6), (-0.05, -0.3))
    path = np.concatenate([start, [tip + np.array([-0.005, -0.12]), tip]])
    film.stroke([(spline(path), 0.0095)], 0.65 * strength)


def _tube(film: Film, chest: Chest, rng: np.random.Generator, strength: float) -> None:
    """A tube in the trachea that ends above the carina, and one through the gullet into the stomach."""
    inside = chest.trachea[: len(chest.trachea) - int(rng.integers(2, 5))]
    walls = [(inside + np.array([d, 0]), 0.005) for d in (-0.009, 0.009)]
    film.stroke(walls, 0.6 * strength)
    x = float(chest.trachea[-1][0]) + 0.015
    gullet = points(
        (x, -0.6), (x, -0.2), (x + 0.01, 0.1), (x + 0.03, 0.22), (x + 0.1, 0.29), (x + 0.16, 0.27)
    )
    film.stroke([(spline(gullet), 0.0095)], 0.65 * strength)


def _leads(film: Film, chest: Chest, rng: np.random.Generator, strength: float) -> None:
    """Electrodes on the skin, their wires leaving the picture."""
    for x, y in ((-0.27, -0.25), (0.27, -0.25), (0.25, 0.17), (-0.2, 0.2))[: int(rng.integers(2, 5))]:
        spot = np.array([x, y]) + rng.normal(0, 0.03, 2)
        film.fill(ring((float(spot[0]), float(spot[1])), (0.019, 0.02)), 0.75 * strength, blur=0.0015)
        film.stroke([(ring((float(spot[0]), float(spot[1])), (0.024, 0.026)), 0.004)], 0.25 * strength)
        way = np.stack(
            [
                spot,
                spot + rng.normal([0, 0.1], 0.06),
                spot * 1.2 + rng.normal(0, 0.1, 2),
                [0.8 * np.sign(x), rng.uniform(-0.2, 0.6)],
            ]
        )
        film.stroke([(spline(way), 0.008)], 0.5 * strength)


def _pacemaker(film: Film, chest: Chest, rng: np.random.Generator, strength: float) -> None:
    """A box beneath the left clavicle, with leads to the right side of the heart."""
    x, y, half = chest.heart
    box = np.array([0.24, -0.23]) if chest.view == "frontal" else np.array([-0.2, -0.24])
    box = box + rng.normal(0, 0.012, 2)
    film.fill(spline(box + 1.2 * _BOX, closed=True), 1.3 * strength, blur=0.0015)
    entry = box + np.array([-0.03, -0.045])
    for end in ((x - 0.5 * half, y), (x + 0.55 * half, y + 0.1)):
        way = np.stack(
            [
                box + np.array([-0.03, 0.0]),
                entry,
                [0.3 * box[0], -0.25],
                [x - 0.4 * half, y - 0.1],
                [x - 0.35 * half, y + 0.03],
                end,
            ]
        )
        film.stroke([(spline(way), 0.009)], 0.65 * strength)


def _wires(film: Film, chest: Chest, rng: np.random.Generator, strength: float) -> None:
    """Wires that close a split breastbone, and clips beside them."""
    loops: list[tuple[Points, float]] = []
    for y in np.linspace(-0.17, 0.12, 6):
        x = (
            chest.heart[0] * 0.3
            if chest.view == "frontal"
            else -0.25 + 0.25 * max(0.0, 0.0 - float(y)) ** 0.8
        )
        size = (0.02, 0.011) if chest.view == "frontal" else (0.007, 0.011)
        loops.append((ring((x + rng.normal(0, 0.003), float(y)), size), 0.007))
    film.stroke(loops, 0.75 * strength)


_BOX: Points = points(
    (-0.042, -0.02),
    (-0.02, -0.036),
    (0.025, -0.036),
    (0.042, -0.012),
    (0.036, 0.028),
    (0.0, 0.038),
    (-0.036, 0.026),
)
DEVICES: dict[str, Callable[[Film, Chest, np.random.Generator, float], None]] = {
    "line": _line,
    "tube": _tube,
    "leads": _leads,
    "pacemaker": _pacemaker,
    "wires": _wires,
}
