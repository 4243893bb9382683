"""What the views of one chest share: the patient's build, the picture's pose, landmarks, the tree of vessels.

In    a random generator, sex, age, the position (AP, PA, Lateral).
Out   Build, Pose and Chest: plain values; lengths are in the body frame of film.py.
"""

from dataclasses import dataclass, field

import numpy as np

from cxrscore.phantoms.film import Floats, Points


@dataclass(frozen=True)
class Build:
    """One patient, and what disease does to the shape of the chest."""

    habitus: float  # 0 thin .. 1 obese
    width: float
    rib_gap: float
    bone: float
    breast: float
    age: float  # 0 young .. 1 old
    heart: float  # the heart's width over the chest's
    mediastinum: float  # half width of the upper mediastinum
    vessels: float
    raised: tuple[float, float] = (0.0, 0.0)  # how far each half of the diaphragm is raised
    shift: float = 0.0  # of heart and trachea, to the right of the picture


@dataclass(frozen=True)
class Pose:
    """One picture: how the patient stood or lay before the machine."""

    turn: float
    tilt: float
    zoom: float
    offset: tuple[float, float]
    crouch: float  # breath not taken: how far the diaphragm stays up
    reach: float  # 1: shoulder blades turned off the lungs (PA); 0: over them (AP)


@dataclass
class Chest:
    """Landmarks of one picture; `lungs`, `walls`, `domes`, `hila`, `ribs`, `masks`: one per lung drawn."""

    view: str
    lungs: list[Points]
    walls: list[Points]
    domes: list[Points]
    hila: list[tuple[float, float]]
    trachea: Points
    heart: tuple[float, float, float]  # x, y, half width
    ribs: list[list[Points]]
    masks: list[Floats] = field(default_factory=list)

    def lung_of(self, side: int) -> int:
        return side % len(self.lungs)

    def spot(self, lung: int, across: float, down: float) -> tuple[float, float]:
        """A point in a lung: `across` from middle 0 to wall 1 (front to back), `down` from apex to base."""
        outline = self.lungs[lung]
        top, base = outline[:, 1].min(), float(np.median(self.domes[lung][:, 1]))
        y = top + down * (base - top)
        rising = np.diff(outline[:, 1], append=outline[:1, 1])
        turn = np.where((outline[:, 1] - y) * (outline[:, 1] + rising - y) <= 0)[0]
        edges = outline[turn, 0] if len(turn) > 1 else outline[:, 0]
        near, far = (
            (edges.min(), edges.max()) if abs(edges.min()) < abs(edges.max()) else (edges.max(), edges.min())
        )
        if self.view == "lateral":
            near, far = edges.min(), edges.max()
        return float(near + across * (far - near)), float(y)


def draw_build(rng: np.random.Generator, sex: str, age: int) -> Build:
    habitus = float(rng.beta(2, 3))
    return Build(
        habitus=habitus,
        width=float(rng.uniform(0.92, 1.06)),
        rib_gap=float(rng.uniform(0.058, 0.066)),
        bone=float(rng.uniform(0.75, 1.25)),
        breast=float(rng.uniform(0.3, 1.0)) if sex == "Female" else 0.15 * habitus,
        age=min(1.0, max(0.0, (age - 30) / 60)),
        heart=float(np.clip(rng.normal(0.452, 0.02), 0.4, 0.52)),
        mediastinum=float(np.clip(rng.normal(0.055, 0.004), 0.045, 0.066)),
        vessels=float(rng.uniform(0.8, 1.2)),
    )


def draw_pose(rng: np.random.Generator, position: str) -> Pose:
    bedside = position == "AP"
    return Pose(
        turn=float(rng.normal(0, 0.012 if bedside else 0.006)),
        tilt=float(rng.normal(0, 0.028 if bedside else 0.015)),
        zoom=float(rng.uniform(1.02, 1.16)),
        offset=(float(rng.normal(0, 0.015)), float(rng.normal(0.05, 0.02))),
        crouch=float(rng.uniform(0.025, 0.085) if bedside else rng.uniform(-0.02, 0.03)),
        reach=float(rng.uniform(0.0, 0.35) if bedside else rng.uniform(0.6, 1.0)),
    )


def branch(
    hilum: tuple[float, float], lung: Points, thickness: float, rng: np.random.Generator
) -> list[tuple[Points, float]]:
    """A tree of vessels from the hilum to the outline of a lung: polylines with their widths."""
    tree: list[tuple[Points, float]] = []
    root = np.array(hilum)
    for goal in lung[rng.choice(len(lung), size=17, replace=False)]:
        ahead = (goal - root) * rng.uniform(0.55, 0.9)
        across = np.array([-ahead[1], ahead[0]]) * rng.normal(0, 0.14)
        knees = root + np.outer([0.1, 0.4, 0.7, 1.0], ahead) + np.outer([0.0, 1.0, 0.8, -0.3], across)
        for i, width in enumerate((0.008, 0.005, 0.0028)):
            tree.append((knees[i : i + 2], thickness * width))
            for side in (-0.35, 0.35):
                twig = ahead * rng.uniform(0.15, 0.3) + side * np.array([-ahead[1], ahead[0]]) * rng.uniform(
                    0.2, 0.9
                )
                tree.append((np.stack([knees[i + 1], knees[i + 1] + twig]), thickness * width * 0.55))
    return tree
