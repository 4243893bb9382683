"""Who is in a synthetic cohort: patients, their studies, the views of each, and the labels.

In    a seed and a number of images; how often findings occur, and together, in a real hospital (below).
Out   Study records, patient by patient. A patient depends on (seed, patient) alone, so that a larger cohort
      begins with the smaller one.
Source of the constants: the training table of CheXpert-v1.0 (Irvin et al., AAAI 2019, arXiv:1901.07031),
187,641 studies of 64,540 patients, one row per study, blank and -1 read as 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import count, islice
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from cxrscore.datasets.chexpert import FINDINGS

CLEAN = FINDINGS.index("No Finding")
LATERAL = len(FINDINGS)  # the last row and column of the copula: whether the study has a lateral view

# fmt: off
PREVALENCE = (
    0.156, 0.123, 0.068, 0.261, 0.048, 0.039, 0.037, 0.494, 0.089, 0.403, 0.013, 0.024, 0.092, 0.564, 0.167,
)
CORRELATION = (  # Pearson's phi, the triangle below the diagonal; last: with a lateral view in the study
    (-0.011,),
    (-0.013, -0.022),
    (0.028, 0.172, -0.016),
    (-0.009, 0.034, -0.011, -0.021),
    (-0.005, -0.023, -0.018, -0.061, 0.026),
    (-0.020, -0.034, 0.012, -0.066, 0.006, -0.005),
    (-0.060, 0.004, -0.063, 0.042, -0.001, -0.030, 0.036),
    (-0.134, -0.117, -0.084, -0.185, -0.070, -0.063, -0.061, -0.308),
    (0.077, 0.035, 0.060, 0.128, -0.012, -0.047, -0.017, 0.210, -0.256),
    (-0.014, -0.011, 0.009, -0.040, 0.004, 0.027, 0.029, 0.013, -0.036, -0.029),
    (-0.021, -0.018, 0.063, -0.010, -0.016, -0.013, 0.025, 0.062, -0.049, -0.034, 0.007),
    (0.005, -0.080, -0.037, -0.130, -0.013, 0.025, 0.012, -0.010, -0.099, -0.042, -0.004, -0.035),
    (0.064, 0.034, 0.002, 0.115, -0.003, -0.051, -0.067, 0.112, -0.078, 0.146, -0.031, -0.071, 0.038),
    (-0.054, -0.016, -0.023, -0.187, 0.003, 0.024, 0.072, -0.130, 0.127, -0.107, 0.074, 0.051, -0.059,
     -0.263),
)
STUDIES = (0.520, 0.173, 0.092, 0.057, 0.039, 0.026, 0.018, 0.014, 0.011, 0.008, 0.007, 0.035)  # 1 .. 12+
# fmt: on
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
    studies = 1 + int(np.searchsorted(np.cumsum(STUDIES), rng.random() * sum(STUDIES)))
    for number in range(1, studies + 1):
        study = stream(seed, patient, number)
        passing = study.standard_normal(len(PREVALENCE))
        z = _copula() @ (np.sqrt(PERSISTENCE) * lasting + np.sqrt(1 - PERSISTENCE) * passing)
        present = z < _thresholds()
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


@cache
def _thresholds() -> NDArray[np.float64]:
    return np.array([NormalDist().inv_cdf(share) for share in PREVALENCE])


@cache
def _copula() -> NDArray[np.float64]:
    """A square root of the latent correlation that gives CORRELATION once cut at the thresholds."""
    lower = np.tril_indices(len(PREVALENCE), -1)
    latent = np.eye(len(PREVALENCE))
    phi = np.array([value for row in CORRELATION for value in row])
    rho = tetrachoric(phi, np.array(PREVALENCE)[lower[0]], np.array(PREVALENCE)[lower[1]])
    rho[(lower[0] == CLEAN) | (lower[1] == CLEAN)] = 0.0  # No Finding follows from the others
    latent[lower] = rho
    latent.T[lower] = rho
    values, vectors = np.linalg.eigh(latent)
    root = np.asarray(vectors * np.sqrt(np.maximum(values, 1e-6)))
    return np.asarray(root / np.linalg.norm(root, axis=1, keepdims=True))


def tetrachoric(
    phi: NDArray[np.float64], p: NDArray[np.float64], q: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Phi of two binary values with shares p and q -> the correlation of the normals behind them; all (n,).

    By bisection on P(both), which is p q + the integral of the bivariate normal density over the correlation
    from 0 to rho (Plackett, Biometrika 1954).
    """
    h, k = (np.array([NormalDist().inv_cdf(share) for share in shares])[:, None] for shares in (p, q))
    both = phi * np.sqrt(p * (1 - p) * q * (1 - q))
    nodes, weights = np.polynomial.legendre.leggauss(24)
    low, high = np.full(len(phi), -0.99), np.full(len(phi), 0.99)
    for _ in range(40):
        rho = 0.5 * (low + high)
        r = 0.5 * rho[:, None] * (nodes + 1)
        density = np.exp(-(h**2 - 2 * r * h * k + k**2) / (2 * (1 - r**2))) / (2 * np.pi * np.sqrt(1 - r**2))
        above = 0.5 * rho * (density @ weights) > both
        low, high = np.where(above, low, rho), np.where(above, rho, high)
    return np.asarray(0.5 * (low + high))
