"""The lateral chest, the patient facing the left edge: both lungs lie over one another and are drawn as one.

In    a Film, a Build, a Pose.
Out   shapes on the film, and the Chest: the same landmarks as the frontal view has, for a single lung.
"""

import numpy as np

from cxrscore.phantoms.anatomy import Build, Chest, Pose, branch
from cxrscore.phantoms.film import Film, Points, exp, points, ring, spline


def draw_soft(film: Film, build: Build, pose: Pose, rng: np.random.Generator) -> Chest:
    """Everything but the bones, which lie over the findings of the lung."""
    chest = landmarks(build, pose)
    _trunk(film, build)
    _lung(film, chest, build, rng)
    _heart(film, chest, build)
    return chest


def landmarks(build: Build, pose: Pose) -> Chest:
    dome = 0.1 - pose.crouch - max(build.raised)
    back = spline(
        points(
            (0.03, -0.36), (0.12, -0.345), (0.2, -0.25), (0.245, -0.1), (0.25, 0.06), (0.225, dome + 0.165)
        )
    )
    front = spline(
        points((-0.235, dome + 0.05), (-0.225, -0.02), (-0.17, -0.18), (-0.07, -0.32), (0.03, -0.36))
    )
    floor = spline(
        points(
            (0.225, dome + 0.165),
            (0.15, dome + 0.05),
            (0.02, dome),
            (-0.13, dome + 0.005),
            (-0.235, dome + 0.05),
        )
    )
    size = np.array([build.width, 1.0])
    trachea = spline(points((-0.03, -0.6), (0.0, -0.35), (0.035, -0.08)))
    heart = (-0.11 + 0.12 * (build.heart - 0.45), dome - 0.055, 0.105 + 0.45 * (build.heart - 0.45))
    ribs = [[_rib(y, build) for y in -0.34 + np.arange(9) * build.rib_gap * 0.95]]
    return Chest(
        "lateral",
        [np.concatenate([back, floor, front]) * size],
        [back * size],
        [floor * size],
        [(0.03, -0.04)],
        trachea,
        heart,
        ribs,
    )


def _rib(y: float, build: Build) -> Points:
    t = np.linspace(0, 1, 12)
    x = 0.255 - 0.4 * t - 0.06 * max(0.0, -y)
    return np.stack([x * build.width, y + 0.05 * np.sin(np.pi * t) * 0.4 + 0.15 * t**1.3], axis=1)


def _trunk(film: Film, build: Build) -> None:
    fat = 0.03 + 0.06 * build.habitus
    bust = 0.1 * build.breast
    outline = spline(
        points(
            (-0.06, -0.75),
            (-0.1, -0.42),
            (-0.15 - 0.5 * fat, -0.3),
            (-0.225 - fat, -0.12),
            (-0.25 - fat - bust, 0.04),
            (-0.25 - fat - 0.4 * bust, 0.16),
            (-0.25 - 1.6 * fat, 0.32),
            (-0.24 - 1.6 * fat, 0.9),
            (0.27 + fat, 0.9),
            (0.285 + fat, 0.2),
            (0.315 + fat, -0.05),
            (0.29 + fat, -0.26),
            (0.2, -0.42),
            (0.18, -0.75),
        )
    )
    trunk, thick = film.mask(outline, blur=0.008), film.mask(outline, blur=0.06)
    film.density += trunk * np.float32(0.35) + thick * np.float32(0.5 + 0.3 * build.habitus)
    film.density += trunk * np.float32(0.35) / (1 + exp((np.float32(0.14) - film.y) / np.float32(0.04)))
    arms = points((-0.12, -0.75), (-0.13, -0.4), (0.02, -0.28), (0.16, -0.26), (0.3, -0.38), (0.34, -0.75))
    film.fill(spline(arms), 0.38, blur=0.03)


def _lung(film: Film, chest: Chest, build: Build, rng: np.random.Generator) -> None:
    lung = chest.lungs[0]
    mask = film.mask(lung, blur=0.005)
    chest.masks.append(mask)
    air = (
        np.float32(0.36 + 0.2 * build.habitus) - np.float32(0.35) * film.y
    )  # darker towards the base, as a clean spine is
    air += np.float32(0.04) * film.cloud(rng, 0.02) + np.float32(0.2) * (1 - film.mask(lung, blur=0.04))
    film.blend(mask * np.float32(0.95), 0.0)
    film.density += mask * np.float32(0.95) * air
    film.stroke(branch(chest.hila[0], lung, 1.2 * build.vessels, rng), 0.16, blur=0.0025)
    film.density += np.float32(0.3) * film.bump(chest.hila[0], (0.035, 0.045))


def _heart(film: Film, chest: Chest, build: Build) -> None:
    x, y, r = chest.heart
    floor = y + 0.075
    outline = points(
        (x - 0.09, floor),
        (x - 1.05 * r, y),
        (x - 0.8 * r, y - 0.75 * r),
        (x + 0.1 * r, y - 1.2 * r),
        (x + 0.95 * r, y - 0.7 * r),
        (x + 1.15 * r, y),
        (x + 0.9 * r, floor),
        (x, floor + 0.03),
    )
    film.raise_to(film.mask(spline(outline, closed=True), blur=0.008) * np.float32(0.9), 0.92)
    wide = build.mediastinum
    arch = spline(
        points((-0.06, -0.08), (-0.06, -0.17), (0.0, -0.215), (0.08, -0.18), (0.12, -0.05), (0.14, 0.2))
    )
    film.stroke([(arch, 0.8 * wide)], 0.16 + 1.5 * max(0.0, wide - 0.06), blur=0.008)
    front = points((-0.17, -0.2), (-0.1, -0.32), (0.0, -0.36), (0.0, -0.1), (-0.1, -0.06))
    film.fill(spline(front, closed=True), 0.05 + 5.0 * max(0.0, wide - 0.062), blur=0.02)
    film.stroke([(chest.trachea, 0.036)], -0.25, blur=0.005)


def draw_bones(film: Film, chest: Chest, build: Build, pose: Pose) -> None:
    bone = build.bone
    film.stroke([(rib, 0.02) for rib in chest.ribs[0]], 0.1 * bone, blur=0.002)
    film.stroke([(rib, 0.011) for rib in chest.ribs[0]], -0.04 * bone, blur=0.002)
    spine = np.stack([np.interp(np.linspace(0, 1, 16), np.linspace(0, 1, 5), [0.14, 0.21, 0.235, 0.22, 0.19]),
                      np.linspace(-0.42, 0.6, 16)], axis=1)  # fmt: skip
    column = spline(spine)
    film.stroke([(column, 0.07)], 0.16 * bone, blur=0.004)
    across = np.array([0.036, -0.004])
    film.stroke([(np.stack([p - across, p + across]), 0.01) for p in spine], -0.13 * bone, blur=0.003)
    film.stroke([(column + np.array([0.055, 0.01]), 0.02)], 0.1 * bone, blur=0.006)
    sternum = spline(points((-0.14, -0.27), (-0.2, -0.14), (-0.245, 0.04)))
    film.stroke([(sternum - np.array([0.012, 0]), 0.018)], 0.2 * bone, blur=0.003)
    blade = points((0.2, -0.36), (0.27, -0.2), (0.29, -0.02))
    film.stroke([(spline(blade), 0.012)], 0.13 * bone, blur=0.003)
    film.fill(ring((0.06 + pose.turn, -0.36), (0.05, 0.05)), 0.12 * bone, blur=0.006)
