"""The findings, each drawn as its radiographic sign, by landmarks that both views have.

In    a Film, a Chest and, per finding present, a Sign: how conspicuous it is in this picture, and a
      generator that is the same in every picture of a study, so that a nodule stays where it was.
Out   shapes on the film: `reshape` before the anatomy, IN_LUNG beneath the bones, ON_TOP over them.
Signs as in Hansell et al., "Fleischner Society: glossary of terms for thoracic imaging", Radiology 2008.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from cxrscore.phantoms.anatomy import Build, Chest
from cxrscore.phantoms.devices import draw_devices
from cxrscore.phantoms.film import Film, Floats, Points, exp, ring, spline

BOTH_SIDES = {
    "Pleural Effusion": 0.45,
    "Lung Opacity": 0.45,
    "Atelectasis": 0.35,
    "Pneumonia": 0.25,
    "Consolidation": 0.2,
}


@dataclass(frozen=True)
class Sign:
    strength: float  # 0 invisible .. 1 as in a textbook
    side: int  # 0 the left of the picture, 1 the right
    where: np.random.Generator


def reshape(build: Build, signs: Mapping[str, Sign]) -> Build:
    """What disease does to the shape of heart, mediastinum and diaphragm."""
    if sign := signs.get("Cardiomegaly"):
        build = replace(build, heart=build.heart + sign.strength * sign.where.uniform(0.19, 0.28))
    if sign := signs.get("Enlarged Cardiomediastinum"):
        wider = sign.strength * sign.where.uniform(0.055, 0.09)
        build = replace(build, mediastinum=build.mediastinum + wider)
    if sign := signs.get("Atelectasis"):
        lift = sign.strength * float(sign.where.uniform(0.05, 0.1))
        raised = (lift, 0.0) if sign.side == 0 else (0.0, lift)
        build = replace(build, raised=raised, shift=0.35 * lift * (2 * sign.side - 1))
    return build


def opacity(film: Film, chest: Chest, sign: Sign) -> None:
    """A hazy patch that leaves the vessels visible."""
    for lung in _lungs(chest, sign, "Lung Opacity"):
        centre = chest.spot(lung, sign.where.uniform(0.35, 0.65), sign.where.uniform(0.45, 0.85))
        radii = (sign.where.uniform(0.06, 0.1), sign.where.uniform(0.06, 0.1))
        haze = film.bump(centre, radii, sign.where.uniform(0, 3)) * (0.7 + 0.5 * film.cloud(sign.where, 0.05))
        film.density += chest.masks[lung] * haze * np.float32(0.38 * sign.strength)


def consolidation(film: Film, chest: Chest, sign: Sign) -> None:
    """A dense lobe, sharp at its fissure, in which the bronchi stay dark."""
    for lung in _lungs(chest, sign, "Consolidation"):
        top, base = ((-0.05, 0.48), (0.36, 0.72), (0.58, 1.3))[sign.where.choice(3, p=[0.5, 0.3, 0.2])]
        edge = [chest.spot(lung, across, down)[1] for across, down in ((0.5, top), (0.5, base))]
        slope = sign.where.normal(0, 0.1)
        y = film.y + np.float32(slope) * (film.x - np.float32(chest.hila[lung][0]))
        lobe = chest.masks[lung] * _step(y, edge[0], 0.008) * (1 - _step(y, edge[1], 0.008))
        texture = 0.8 + 0.2 * film.cloud(sign.where, 0.06)
        film.raise_to(lobe * texture * np.float32(sign.strength), 1.25)
        _bronchogram(film, chest, lung, 0.5 * (top + min(base, 1.0)), sign)


def pneumonia(film: Film, chest: Chest, sign: Sign) -> None:
    """Patches that run together in one zone, denser in the middle."""
    for lung in _lungs(chest, sign, "Pneumonia"):
        down = sign.where.uniform(0.35, 0.85)
        total = np.zeros_like(film.density)
        for _ in range(7):
            spot = chest.spot(lung, sign.where.uniform(0.15, 0.85), down + sign.where.uniform(-0.17, 0.17))
            total += film.bump(spot, (sign.where.uniform(0.02, 0.04), sign.where.uniform(0.02, 0.04)))
        lumps = np.minimum(total, 1.3) * (0.45 + 0.9 * film.cloud(sign.where, 0.03))
        film.density += chest.masks[lung] * np.float32(0.5 * sign.strength) * lumps
        _bronchogram(film, chest, lung, down, sign)


def _bronchogram(film: Film, chest: Chest, lung: int, down: float, sign: Sign) -> None:
    root = np.array(chest.hila[lung])
    tips = [np.array(chest.spot(lung, a, down + d)) for a, d in ((0.5, -0.06), (0.62, 0.03), (0.5, 0.1))]
    tubes = [(np.stack([root + 0.35 * (tip - root), tip]), 0.0075) for tip in tips]
    film.stroke(tubes, -0.22 * sign.strength, blur=0.002)


def edema(film: Film, chest: Chest, sign: Sign) -> None:
    """Bat-wing haze about both hila, upper vessels as wide as lower ones, Kerley lines at the bases."""
    for lung, mask in enumerate(chest.masks):
        x, y = chest.hila[lung]
        outwards = np.sign(x) if chest.view == "frontal" else 0.0
        wing = film.bump((x + 0.06 * outwards, y + 0.02), (0.075, 0.13), -0.25 * outwards)
        wing *= np.float32(0.5) * (0.75 + 0.5 * film.cloud(sign.where, 0.025))
        haze = 0.12 + 0.1 * film.cloud(sign.where, 0.02)
        film.density += mask * np.float32(sign.strength) * (wing + haze)
        root, bow = np.array([x, y]), np.array([0.01 * outwards, 0.0])
        tips = [np.array(chest.spot(lung, across, 0.12)) for across in (0.35, 0.5, 0.65)]
        vessels = [(spline(np.stack([root, 0.5 * (root + tip) + bow, tip])), 0.007) for tip in tips]
        film.stroke(vessels, 0.2 * sign.strength, blur=0.003)
        feet = [np.array(chest.spot(lung, 0.985, down)) for down in np.linspace(0.6, 0.95, 8)]
        inwards = np.array([-0.045 * (outwards or 1.0), -0.004])
        film.stroke([(np.stack([foot, foot + inwards]), 0.003) for foot in feet], 0.3 * sign.strength)


def atelectasis(film: Film, chest: Chest, sign: Sign) -> None:
    """Plates: dense bands across the base, thin at their ends; dome and trachea have moved in `reshape`."""
    for lung in _lungs(chest, sign, "Atelectasis"):
        for down in (0.78, 0.92, 0.66)[: int(sign.where.integers(1, 4))]:
            tilt, height = sign.where.normal(0, 0.05), sign.where.uniform(0.022, 0.036)
            near, far = sign.where.uniform(0.05, 0.2), sign.where.uniform(0.85, 0.97)
            start, end = (
                np.array(chest.spot(lung, near, down - tilt)),
                np.array(chest.spot(lung, far, down + tilt)),
            )
            t = np.linspace(0, 1, 12)[:, None]
            band = start + t * (end - start)
            band[1:-1, 1] += sign.where.normal(0, 0.0025, 10)
            thick = np.array([0, 0.5 * height]) * np.sin(np.pi * t) ** 0.5
            plate = film.mask(np.concatenate([band - thick, (band + thick)[::-1]]), blur=0.0045)
            film.raise_to(plate * np.float32(sign.strength), 1.35)
        base = film.bump(chest.spot(lung, 0.45, 1.0), (0.1, 0.035))
        film.density += chest.masks[lung] * base * np.float32(0.3 * sign.strength)


def lesion(film: Film, chest: Chest, sign: Sign) -> None:
    """One mass or a few nodules: round, well defined, alone in clear lung."""
    count = int(sign.where.choice([1, 3, 7], p=[0.4, 0.3, 0.3]))
    for _ in range(count):
        lung = chest.lung_of(int(sign.where.integers(2)))
        centre = chest.spot(lung, sign.where.uniform(0.45, 0.8), sign.where.uniform(0.15, 0.75))
        radius = sign.where.uniform(0.055, 0.085) / count**0.25
        outline = ring(centre, (radius, radius * sign.where.uniform(0.85, 1.15)))[::4]
        outline = outline + sign.where.normal(0, 0.06 * radius, outline.shape)
        film.fill(spline(outline, closed=True), 0.38 * sign.strength, blur=0.004)
        film.density += film.bump(centre, (0.6 * radius, 0.6 * radius)) * np.float32(0.5 * sign.strength)


def effusion(film: Film, chest: Chest, sign: Sign) -> None:
    """Fluid that fills the angle and climbs the wall: a meniscus, from a blunted angle to half the chest."""
    for lung in _lungs(chest, sign, "Pleural Effusion"):
        foot = float(chest.walls[lung][:, 1].max())
        level = foot - (0.04 + sign.where.beta(1.5, 2.0) * 0.3) * (0.4 + 0.6 * sign.strength)
        wall = np.float32(chest.spot(lung, 1.0, 0.85)[0])
        climb = np.float32(0.075) * exp(-np.abs(film.x - wall) / np.float32(0.045))
        whole = np.minimum(1, 20 * chest.masks[lung])  # no seam of lung at its soft edge
        fluid = whole * _step(film.y, level - climb, 0.008)
        film.raise_to(fluid * np.float32(min(1.0, 1.2 * sign.strength)), 1.1)
        veil = chest.masks[lung] * _step(film.y, level - 0.12, 0.06)
        film.density += veil * np.float32(0.12 * sign.strength)


def pneumothorax(film: Film, chest: Chest, sign: Sign) -> None:
    """A dark rim without vessels, the white line of the pleura, and a smaller, denser lung."""
    lung = chest.lung_of(sign.side)
    depth = sign.where.uniform(0.16, 0.45) * (0.5 + 0.5 * sign.strength)
    root = chest.lungs[lung][np.abs(chest.lungs[lung][:, 0] - chest.trachea[-1, 0]).argmin(), 0]
    centre = np.array([root, chest.hila[lung][1] + 0.13])  # the lung hangs on its hilum
    edge = centre + (chest.lungs[lung] - centre) * (1 - np.array([depth, 0.75 * depth]))
    inner = film.mask(edge, blur=0.003) * chest.masks[lung]
    rim = chest.masks[lung] * (1 - inner) * (1 - _step(film.y, float(centre[1]) + 0.1, 0.05))
    rim *= _step(-film.density, -0.75, 0.03)  # air lies before the heart, but does not hide it
    film.blend(rim * np.float32(0.9 * min(1.0, 1.4 * sign.strength)), 0.1)
    film.density += inner * np.float32(0.3 * depth * sign.strength)
    pleura = edge[: len(chest.walls[lung])]
    film.stroke([(pleura[pleura[:, 1] < centre[1] + 0.1], 0.005)], 0.3 * sign.strength)


def pleural_other(film: Film, chest: Chest, sign: Sign) -> None:
    """Thickened pleura: a band along the wall and over the apex, with plaques of calcium."""
    sides = {chest.lung_of(sign.side), chest.lung_of(sign.side + int(sign.where.random() < 0.6))}
    for lung in sorted(sides):
        wall = chest.walls[lung]
        centre = wall.mean(axis=0) * np.array([0.4, 1.0])
        peel = wall + (centre - wall) * (0.1 + 0.1 * sign.where.random((len(wall), 1)))
        film.fill(np.concatenate([wall, spline(peel[::4])[::-1]]), 0.6 * sign.strength, blur=0.003)
        for _ in range(6):
            i = int(sign.where.integers(12, len(wall) - 10))
            plaque = wall[i : i + int(sign.where.integers(3, 8))]
            plaque = plaque + (centre - plaque) * sign.where.uniform(0.1, 0.45)
            plaque = plaque + sign.where.normal(0, 0.0025, plaque.shape)
            film.stroke([(plaque, sign.where.uniform(0.015, 0.028))], 0.5 * sign.strength, blur=0.003)


def fracture(film: Film, chest: Chest, sign: Sign) -> None:
    """Neighbouring ribs that break in one line: a gap, a step, callus, and a bruise that lifts the pleura."""
    lung = chest.lung_of(sign.side)
    first, broken = int(sign.where.integers(1, 3)), int(sign.where.integers(4, 7))
    at = int(sign.where.integers(8, 10))
    inwards = -0.014 * np.sign(chest.ribs[lung][0][-1, 0])
    for rib in chest.ribs[lung][first : first + broken]:
        outer = rib[at + 1 :]
        film.stroke([(rib[at:], 0.021)], -0.14 * sign.strength, blur=0.0015)
        film.stroke([(outer + np.array([inwards, 0.02]), 0.021)], 0.26 * sign.strength, blur=0.0015)
        film.stroke([(rib[at - 3 : at + 1], 0.021)], 0.12 * sign.strength, blur=0.0015)
        film.density += film.bump((rib[at, 0], rib[at, 1] + 0.006), (0.018, 0.016)) * np.float32(
            1.0 * sign.strength
        )
    x, y = chest.ribs[lung][first + broken // 2][-1]
    bruise = film.bump((x, y), (0.045, 0.085)) * chest.masks[lung]
    film.density += bruise * np.float32(0.65 * sign.strength)
    if sign.where.random() < 0.9:
        _surgical_emphysema(film, chest.ribs[lung][first : first + broken], sign)


def _surgical_emphysema(film: Film, ribs: list[Points], sign: Sign) -> None:
    """Air that a broken rib let into the muscles of the chest wall: a darker wall, in dark streaks."""
    edge = np.array([rib[-1] for rib in ribs])
    away = np.array([np.sign(edge[0, 0]), 0.0])
    middle = edge.mean(axis=0) + 0.05 * away
    film.density -= film.bump((middle[0], middle[1]), (0.028, 0.1)) * np.float32(0.36 * sign.strength)
    for _ in range(24):
        along = edge[0] + (edge[-1] - edge[0]) * sign.where.normal(0.5, 0.45)
        start = along + away * sign.where.uniform(0.015, 0.075)
        streak = np.stack(
            [start, start + sign.where.normal([0, 0.05], 0.015), start + sign.where.normal([0, 0.1], 0.02)]
        )
        film.stroke([(spline(streak), sign.where.uniform(0.007, 0.016))], -0.2 * sign.strength, blur=0.005)


def devices(film: Film, chest: Chest, sign: Sign) -> None:
    draw_devices(film, chest, sign.where, sign.strength)


Draw = Callable[[Film, Chest, Sign], None]

IN_LUNG: dict[str, Draw] = {
    "Lung Opacity": opacity,
    "Edema": edema,
    "Pneumonia": pneumonia,
    "Consolidation": consolidation,
    "Atelectasis": atelectasis,
    "Lung Lesion": lesion,
    "Pleural Effusion": effusion,
    "Pneumothorax": pneumothorax,
}
ON_TOP: dict[str, Draw] = {"Pleural Other": pleural_other, "Fracture": fracture, "Support Devices": devices}


def _lungs(chest: Chest, sign: Sign, finding: str) -> list[int]:
    other = int(sign.where.random() < BOTH_SIDES[finding])
    return sorted({chest.lung_of(sign.side), chest.lung_of(sign.side + other)})


def _step(y: Floats, level: float | Floats, softness: float) -> Floats:
    """0 above `level`, 1 below it, (H, W)."""
    return np.asarray(1 / (1 + exp(np.clip((level - y) / np.float32(softness), -30, 30))), dtype=np.float32)
