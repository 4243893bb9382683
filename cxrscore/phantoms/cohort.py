"""Who is in a synthetic cohort: patients, their studies, the views of each, and the labels.

In    a seed and a number of images; how often findings occur, and together, in a real hospital (below).
Out   Study records, patient by patient. A patient depends on (seed, patient) alone, so that a larger cohort
      begins with the smaller one.
Source of the constants: the training table of CheXpert-v1.0 (Irvin et al., AAAI 2019, arXiv:1901.07031),
187,641 studies of 64,540 patients, one row per study, blank and -1 read as 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count, islice

import numpy as np
from numpy.typing import NDArray

from cxrscore.phantoms.copula import LATERAL, PREVALENCE, draw_present
from cxrscore.tables.datasets.chexpert import FINDINGS

CLEAN = FINDINGS.index("No Finding")
STUDIES = (0.520, 0.173, 0.092, 0.057, 0.039, 0.026, 0.018, 0.014, 0.011, 0.008, 0.007, 0.035)  # 1 .. 12+
CLEAN_SHARE = 0.565  # of the studies without any pathology; the others are silent in the table
PERSISTENCE = 0.3  # of the copula's variance is the patient's: phi between two studies is 0.04 to 0.5
AP_WITH_LATERAL = 0.15  # AP in place of PA, among studies with a lateral view
PA_ALONE = 0.014  # PA in place of AP, among studies without one
REPEATED = {False: 0.016, True: 0.054}  # a view taken twice, in studies without and with a lateral view
MALE = 0.594
AGE = (60.4, 17.8)  # mean and standard deviation, years


@dataclass(frozen=True)
class Study:
    patient: int
    number: int
    sex: str
    age: int
    positions: tuple[str, ...]  # one per image: AP, PA, Lateral
    y: tuple[int, ...]  # (14,) 0/1, in the order of FINDINGS
    test: bool


def stream(seed: int, patient: int, study: int = 0, image: int = 0) -> np.random.Generator:
    """The randomness of one patient, study or image; studies and images count from 1."""
    return np.random.default_rng([seed, patient, study, image])


def draw_cohort(seed: int, *, images: int, test_share: float) -> list[Study]:
    """The first `images` images of an endless cohort: the last study may be cut short."""
    studies: list[Study] = []
    left = images
    for study in _all_studies(seed, test_share):
        if left <= 0:
            break
        studies.append(replace(study, positions=study.positions[:left]))
        left -= len(study.positions)
    return studies


def draw_labels(seed: int, *, studies: int) -> NDArray[np.int8]:
    """(studies, 14) 0/1."""
    return np.array([study.y for study in islice(_all_studies(seed, 0.0), studies)], dtype=np.int8)


def _all_studies(seed: int, test_share: float) -> Iterator[Study]:
    for patient in count(1):
        yield from _patient(seed, patient, test_share)


def _patient(seed: int, patient: int, test_share: float) -> Iterator[Study]:
    rng = stream(seed, patient)
    test = bool(rng.random() < test_share)
    sex = "Male" if rng.random() < MALE else "Female"
    age = int(np.clip(rng.normal(*AGE), 18, 90))
    lasting = rng.standard_normal(len(PREVALENCE))
    up_to = np.cumsum(STUDIES)  # `sum` rounds differently from Python 3.12 on
    studies = 1 + int(np.searchsorted(up_to, rng.random() * up_to[-1]))
    for number in range(1, studies + 1):
        study = stream(seed, patient, number)
        passing = study.standard_normal(len(PREVALENCE))
        present = draw_present(np.sqrt(PERSISTENCE) * lasting + np.sqrt(1 - PERSISTENCE) * passing)
        clean = not np.delete(present, [CLEAN, FINDINGS.index("Support Devices"), LATERAL]).any()
        present[CLEAN] = clean and study.random() < CLEAN_SHARE
        y = tuple(int(value) for value in present[:LATERAL])
        yield Study(patient, number, sex, age, _positions(study, lateral=bool(present[LATERAL])), y, test)


def _positions(rng: np.random.Generator, *, lateral: bool) -> tuple[str, ...]:
    if lateral:
        views = ["AP" if rng.random() < AP_WITH_LATERAL else "PA", "Lateral"]
    else:
        views = ["PA" if rng.random() < PA_ALONE else "AP"]
    if rng.random() < REPEATED[lateral]:
        views.append(str(rng.choice(views)))
    return tuple(views)
