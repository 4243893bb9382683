"""The frontal chest: a patient's build and a picture's pose -> soft tissue, lungs, heart, vessels, bones.

In    a Film, a Build (the patient, and what disease did to the shape), a Pose (how the picture was taken).
Out   shapes on the film, and the Chest: the landmarks by which findings are drawn.
Image left is the patient's right, as on a viewing box: lung 0 is the right one.
"""

import numpy as np

from cxrscore.phantoms.anatomy import Build, Chest, Pose, branch
from cxrscore.phantoms.film import Film, Points, exp, points, ring, spline

SIDES = (-1, 1)


def draw_soft(film: Film, build: Build, pose: Pose, rng: np.random.Generator) -> Chest:
    """Everything but the bones, which lie over the findings of the lung."""
    chest = landmarks(build, pose)
    _trunk(film, build, pose)
    _lungs(film, chest, build, rng)
    _mediastinum(film, chest, build, pose)
    _below(film, chest, build, rng)
    return chest


def landmarks(build: Build, pose: Pose) -> Chest:
    lungs, walls, domes, hila = [], [], [], []
    shift = pose.turn + build.shift
    for side, raised in zip(SIDES, build.raised, strict=True):
        width = build.width * (1 + side * 0.6 * pose.turn)
        dome = 0.2 - pose.crouch - raised + (0.025 if side > 0 else 0.0)
        foot = dome + 0.085 + 0.25 * raised
        wall = spline(
            points(
                (0.05, -0.32),
                (0.095, -0.365),
                (0.16, -0.35),
                (0.225, -0.275),
                (0.275, -0.15),
                (0.312, 0.0),
                (0.335, 0.5 * foot + 0.02),
                (0.343, foot),
            )
        )
        floor = spline(
            points(
                (0.343, foot), (0.29, dome + 0.027), (0.21, dome), (0.13, dome + 0.008), (0.03, dome + 0.05)
            )
        )
        size = np.array([side * width, 1.0])
        lungs.append(np.concatenate([wall, floor]) * size + np.array([0.3 * shift, 0]))
        walls.append(wall * size + np.array([0.3 * shift, 0]))
        domes.append(floor * size + np.array([0.3 * shift, 0]))
        hila.append((side * 0.085 * width + shift, -0.045 - 0.02 * (side > 0)))
    trachea = spline(points((0.2 * shift, -0.6), (0.4 * shift, -0.3), (shift + 0.004, -0.13)))
    heart = (
        shift + 0.012 + 0.17 * (build.heart - 0.3),
        0.085 - 0.6 * pose.crouch,
        build.heart * 0.34 * build.width,
    )
    return Chest("frontal", lungs, walls, domes, hila, trachea, heart, _ribs(walls, build))


def _ribs(walls: list[Points], build: Build) -> list[list[Points]]:
    """Per side the back ribs, top to bottom; each runs from the spine to the chest wall."""
    ribs: list[list[Points]] = []
    t = np.linspace(0, 1, 14)
    for side, wall in zip(SIDES, walls, strict=True):
        order = np.argsort(wall[4:, 1], kind="stable")
        rows: list[Points] = []
        for i in range(10):
            y0 = -0.375 + i * build.rib_gap
            y = y0 - 0.028 * np.sin(np.pi * np.minimum(1.0, t * 1.3)) + (0.03 + 0.0105 * i) * t**2.2
            edge = abs(float(np.interp(y[-1], wall[4:, 1][order], wall[4:, 0][order]))) + 0.008
            rows.append(np.stack([side * (0.035 + t * (edge - 0.035)), y], axis=1))
        ribs.append(rows)
    return ribs


def _trunk(film: Film, build: Build, pose: Pose) -> None:
    fat = 0.055 + 0.11 * build.habitus
    side = 0.335 * build.width + fat
    top = -0.37 - 0.03 * pose.reach
    half = points(
        (0.085 + 0.05 * build.habitus, -0.75),
        (0.09 + 0.05 * build.habitus, -0.47),
        (0.2, top - 0.035),
        (0.36, top),
        (0.47, top + 0.06),
        (0.52, -0.15),
        (side + 0.06, -0.1 + 0.06 * pose.reach),
        (side, 0.05),
        (side + 0.01, 0.3),
        (side + 0.03, 0.8),
    )
    outline = np.concatenate([half, half[::-1] * np.array([-1, 1])])
    trunk = film.mask(outline, blur=0.008)
    thick = film.mask(outline, blur=0.05)
    film.density += trunk * np.float32(0.42) + thick * np.float32(0.35 + 0.3 * build.habitus)
    film.density += (
        trunk * np.float32(0.5) / (1 + exp((np.float32(0.16 - pose.crouch) - film.y) / np.float32(0.05)))
    )
    for s in SIDES:
        arm = points(
            (0.44, -0.34),
            (0.7, -0.25),
            (0.75, 0.8),
            (0.56 - 0.04 * pose.reach, 0.8),
            (0.53 - 0.06 * pose.reach, 0.1),
        )
        film.fill(arm * np.array([s, 1]), 0.62, blur=0.012)


def _lungs(film: Film, chest: Chest, build: Build, rng: np.random.Generator) -> None:
    """Air replaces tissue; what is in front of and behind the lung stays."""
    air = np.float32(0.2 + 0.17 * build.habitus)
    texture = film.cloud(rng, 0.02)
    for lung, hilum in zip(chest.lungs, chest.hila, strict=True):
        mask = film.mask(lung, blur=0.0045)
        chest.masks.append(mask)
        inside = air + np.float32(0.12) * film.bump(hilum, (0.11, 0.14)) + np.float32(0.035) * texture
        inside += np.float32(0.12) * np.clip(film.y + np.float32(0.02), 0, 1)
        rim = np.float32(0.3) * (1 - film.mask(lung, blur=0.03))
        film.density += mask * np.float32(0.97) * (inside + rim - film.density)
        film.stroke(branch(hilum, lung, build.vessels, rng), 0.19, blur=0.002)
        film.density += np.float32(0.16) * film.bump(hilum, (0.028, 0.055), -0.3 * np.sign(hilum[0]))


def _mediastinum(film: Film, chest: Chest, build: Build, pose: Pose) -> None:
    shift = pose.turn + build.shift
    wide = build.mediastinum
    half = points(
        (0.06, -0.5), (0.5 * wide + 0.03, -0.36), (wide, -0.25), (wide, -0.17), (0.055, -0.06), (0.05, 0.4)
    )
    column = np.concatenate([half, half[::-1] * np.array([-1, 1])]) + np.array([0.6 * shift, 0])
    knob = 0.034 + 0.02 * build.age + 0.35 * (wide - 0.055)
    aorta = ring((shift + 0.036 + 0.3 * (wide - 0.055), -0.17), (knob, knob * 1.1))
    film.raise_to(film.mask(spline(column, closed=True), blur=0.007), 0.95 + max(0.0, 2 * (wide - 0.07)))
    film.raise_to(film.mask(aorta, blur=0.005), 1.0)
    film.raise_to(film.mask(heart_outline(chest, build), blur=0.006), 1.05 + max(0.0, build.heart - 0.5))
    film.density += np.float32(0.12) * film.bump((chest.heart[0], chest.heart[1] + 0.04), (0.1, 0.09))
    film.stroke([(chest.trachea, 0.036)], -0.34, blur=0.005)
    carina = chest.trachea[-1]
    bronchi = [(np.stack([carina, carina + np.array([s * 0.055, 0.06])]), 0.02) for s in SIDES]
    film.stroke(bronchi, -0.16, blur=0.005)


def heart_outline(chest: Chest, build: Build) -> Points:
    x, y, r = chest.heart
    globe = max(0.0, build.heart - 0.5) * 0.35  # a large heart is also a rounder one
    floor = y + 0.15
    corners = points(
        (-0.36 * r - 0.03, y - 0.16 - globe * 0.3),
        (-0.62 * r, y - 0.07),
        (-0.8 * r, y + 0.03),
        (-0.76 * r, y + 0.1),
        (-0.5 * r, floor),
        (0.3 * r, floor + 0.02),
        (1.08 * r, floor - 0.01),
        (1.22 * r, y + 0.085),
        (1.05 * r + globe * 0.2, y + 0.01),
        (0.7 * r + globe * 0.4, y - 0.075),
        (0.42 * r + 0.012, y - 0.14),
        (0.2 * r, y - 0.2),
    )
    return spline(corners + np.array([x, 0]), closed=True)


def _below(film: Film, chest: Chest, build: Build, rng: np.random.Generator) -> None:
    """The stomach's gas under the left dome, and the breasts."""
    dome = float(chest.domes[1][:, 1].min())
    gas = (0.13 + rng.uniform(-0.03, 0.03), dome + 0.06 + rng.uniform(0, 0.02))
    film.fill(
        ring(gas, (rng.uniform(0.02, 0.055), rng.uniform(0.015, 0.03))), -rng.uniform(0.1, 0.55), blur=0.006
    )
    for side in SIDES:
        size = build.breast
        centre = (side * 0.2 * build.width, 0.08 + 0.08 * size)
        film.fill(ring(centre, (0.13 + 0.04 * size, 0.12 + 0.05 * size)), 0.2 * size, blur=0.012)


def draw_bones(film: Film, chest: Chest, build: Build, pose: Pose) -> None:
    bone = build.bone
    back = [rib for side in chest.ribs for rib in side]
    film.stroke([(rib, 0.021) for rib in back], 0.15 * bone, blur=0.0015)
    film.stroke([(rib, 0.012) for rib in back], -0.05 * bone, blur=0.0015)
    film.stroke([(_front(rib), 0.022) for rib in back], 0.075 * bone, blur=0.002)
    film.stroke([(wall, 0.012) for wall in chest.walls], 0.1 * bone, blur=0.003)
    _spine(film, build, pose)
    for side in SIDES:
        flip = np.array([side, 1.0])
        lift = 0.03 * pose.crouch / 0.05
        clavicle = spline(
            points(
                (0.03, -0.275),
                (0.1, -0.285),
                (0.2, -0.335 - lift),
                (0.3, -0.36 - lift),
                (0.38, -0.365 - lift),
            )
        )
        film.stroke([(clavicle * flip + np.array([pose.turn * 0.9, 0]), 0.024)], 0.2 * bone, blur=0.002)
        film.stroke([(clavicle * flip + np.array([pose.turn * 0.9, 0]), 0.012)], -0.07 * bone, blur=0.002)
        film.fill(ring((side * 0.44, -0.3), (0.045, 0.05)), 0.28 * bone, blur=0.004)
        film.stroke([(points((0.47, -0.27), (0.53, 0.2)) * flip, 0.05)], 0.25 * bone, blur=0.004)
        blade = points(
            (0.4, -0.31), (0.3, -0.335), (0.265, -0.2), (0.31, -0.03), (0.33, -0.05), (0.38, -0.24)
        )
        blade = (blade + np.array([0.055 * pose.reach, 0])) * flip
        film.fill(blade, 0.09 * bone, blur=0.004)
        film.stroke([(blade[2:5], 0.008)], 0.14 * bone, blur=0.002)


def _front(rib: Points) -> Points:
    """The front part of a rib: from the chest wall inwards and down, to its cartilage."""
    edge = rib[-1]
    t = np.linspace(0, 1, 10)
    reach = 0.62 * abs(edge[0])
    x = np.sign(edge[0]) * (abs(edge[0]) - reach * np.sin(0.5 * np.pi * t) ** 1.4)
    return np.stack([x, edge[1] + 0.03 * np.sin(np.pi * t) + 0.085 * t], axis=1)


def _spine(film: Film, build: Build, pose: Pose) -> None:
    x = 0.25 * pose.turn
    film.stroke([(points((x, -0.7), (x, 0.8)), 0.075)], 0.09 * build.bone, blur=0.004)
    levels = np.arange(-0.6, 0.7, build.rib_gap)
    discs = [(points((x - 0.036, y), (x + 0.036, y)), 0.008) for y in levels]
    film.stroke(discs, -0.1 * build.bone, blur=0.002)
    middle = levels + 0.45 * build.rib_gap
    spines = [(points((x, y - 0.012), (x, y + 0.012)), 0.009) for y in middle]
    pedicles = [
        (points((x + s * 0.023, y - 0.006), (x + s * 0.023, y + 0.006)), 0.01) for y in middle for s in SIDES
    ]
    film.stroke(spines + pedicles, 0.12 * build.bone, blur=0.002)
