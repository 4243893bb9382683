"""What a seed decides, and its hash, which every machine must give. No torch: a process is started for it.

python tests/programs/seeds.py        # the hashes of this machine
"""

import hashlib
import sys
from collections.abc import Callable

import numpy as np

from cxrscore.images.reading import read_image
from cxrscore.phantoms.cohort import draw_cohort
from cxrscore.phantoms.radiograph import encode, picture
from cxrscore.tables.cooccurrence import label_embeddings
from cxrscore.tables.stratify import stratify, stratify_images

DEMO_IMAGES, DEMO_SIZE, TEST_SHARE = 1700, 96, 0.2
STUDIES = (0, 7, 13, 40, 71)  # of the demo, drawn from the front: with and without findings
COHORT = "76b7355c49bb0068"
PICTURES = "ee8480af69629733"
PREPARED = "6ef5214107c6c843"
FOLDS = "313fad6dfdf19c02"
EMBEDDINGS = "637073c0330d298f"


def digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def cohort_of(seed: int) -> str:
    return digest(repr(draw_cohort(seed, images=3000, test_share=TEST_SHARE)).encode())


def pictures() -> list[bytes]:
    studies = draw_cohort(0, images=DEMO_IMAGES, test_share=TEST_SHARE)
    frontal = [(studies[i], 1) for i in STUDIES]
    lateral = [
        (study, 1 + study.positions.index("Lateral")) for study in studies if "Lateral" in study.positions
    ]
    every = [*frontal, *lateral[::40]]
    return [encode(picture(study, number, size=DEMO_SIZE, seed=0)) for study, number in every]


def prepared() -> bytes:
    """Of pictures that are enlarged, reduced, and decoded at a smaller DCT scale."""
    studies = draw_cohort(0, images=20, test_share=TEST_SHARE)
    files = [encode(picture(studies[i], 1, size=size, seed=0)) for i, size in enumerate((64, 150, 700))]
    return b"".join(read_image(file, size=96).tobytes() for file in files)


def labels() -> tuple[np.ndarray, np.ndarray]:
    studies = draw_cohort(1, images=3000, test_share=0.0)
    return np.array([study.y for study in studies]), np.array([study.patient for study in studies])


def folds() -> bytes:
    y, patient = labels()
    return stratify(y, patient, k=5, seed=0).tobytes() + stratify_images(y[:500], k=3, seed=0).tobytes()


def embeddings() -> bytes:
    """With two findings that nobody has: their singular values are equal, so their vectors are any two."""
    y, _ = labels()
    y = np.concatenate([y, np.zeros((len(y), 2), dtype=y.dtype)], axis=1)
    mask = np.ones(y.shape, dtype=bool)
    return label_embeddings(y, mask, dim=300).tobytes() + label_embeddings(y, mask, dim=5).tobytes()


GOLDEN: dict[str, tuple[Callable[[], str], str]] = {
    "cohort": (lambda: cohort_of(0), COHORT),
    "pictures": (lambda: digest(*pictures()), PICTURES),
    "prepared pixels": (lambda: digest(prepared()), PREPARED),
    "folds": (lambda: digest(folds()), FOLDS),
    "embeddings": (lambda: digest(embeddings()), EMBEDDINGS),
}


if __name__ == "__main__":
    sys.stdout.write("".join(f"{name}: {make()}\n" for name, (make, _) in GOLDEN.items()))
