"""One study and the number of an image in it -> the pixels of that radiograph, and the bytes of its file.

In    a Study, the image's number from 1, a size, a seed.
Out   (h, w) uint8, sides within about 15 % of `size`; JPEG bytes.
"""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxrscore.phantoms import frontal, lateral
from cxrscore.phantoms.anatomy import Build, Pose, draw_build, draw_pose
from cxrscore.phantoms.cohort import Study, stream
from cxrscore.phantoms.film import DRAWN_PX, OVERSAMPLE, Film, develop
from cxrscore.phantoms.findings import IN_LUNG, ON_TOP, Sign, reshape
from cxrscore.tables.datasets.chexpert import FINDINGS

INVISIBLE = 0.1  # of the findings in a picture do not show at all
QUALITY = {True: 80, False: 92}  # small pictures have no detail to lose; 92 is what hospitals export


def picture(study: Study, image: int, *, size: int, seed: int) -> NDArray[np.uint8]:
    rng = stream(seed, study.patient, study.number, image)
    places = stream(seed, study.patient, study.number).spawn(len(FINDINGS))
    signs = {
        finding: Sign(_conspicuity(rng), int(place.integers(2)), place)
        for finding, place, present in zip(FINDINGS, places, study.y, strict=True)
        if present
    }
    build = build_of(study, seed=seed)
    position = study.positions[image - 1]
    return expose(build, draw_pose(rng, position), position, signs, size=size, rng=rng)


def build_of(study: Study, *, seed: int) -> Build:
    """The patient's body, from a child of the stream that drew the labels: it tells nothing of them."""
    return draw_build(stream(seed, study.patient).spawn(1)[0], study.sex, study.age)


def _conspicuity(rng: np.random.Generator) -> float:
    return 0.0 if rng.random() < INVISIBLE else float(rng.beta(5, 1.4))


def expose(
    build: Build, pose: Pose, position: str, signs: dict[str, Sign], *, size: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Draw anatomy, findings, bones, devices and marker in that order, and develop: (h, w) uint8."""
    side, aspect = size * rng.uniform(0.94, 1.06), rng.uniform(0.82, 1.2)
    shape = (round(side / aspect**0.5), round(side * aspect**0.5))  # (h, w)
    drawn = min(OVERSAMPLE * min(shape), DRAWN_PX) / min(shape)
    height, width = round(shape[0] * drawn), round(shape[1] * drawn)
    film = Film(height, width, min(height, width) * pose.zoom, pose.tilt, pose.offset)
    build = reshape(build, signs)
    view = lateral if position == "Lateral" else frontal
    chest = view.draw_soft(film, build, pose, rng)
    for finding in [f for f in IN_LUNG if f in signs]:
        IN_LUNG[finding](film, chest, signs[finding])
    view.draw_bones(film, chest, build, pose)
    for finding in [f for f in ON_TOP if f in signs]:
        ON_TOP[finding](film, chest, signs[finding])
    _marker(film, position, rng)
    return develop(film, shape, rng)


def _marker(film: Film, position: str, rng: np.random.Generator) -> None:
    side = -1 if rng.random() < 0.6 else 1
    height = rng.uniform(0.035, 0.05)
    text = {"Lateral": "L"}.get(position, "R" if side < 0 else "L")
    film.write(text, (side * rng.uniform(0.36, 0.44), rng.uniform(-0.48, -0.4)), height)
    if position == "AP" and rng.random() < 0.5:
        film.write("AP PORTABLE", (-side * rng.uniform(0.2, 0.35), rng.uniform(-0.52, -0.47)), 0.6 * height)


def encode(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=QUALITY[max(pixels.shape) < 512], optimize=True)
    return file.getvalue()
