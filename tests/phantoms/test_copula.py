"""Findings of synthetic studies: as common and as often together as in the table they are drawn after."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from numpy.typing import NDArray

from cxrscore.phantoms import copula
from cxrscore.phantoms.cohort import draw_labels
from cxrscore.phantoms.copula import LATERAL, PREVALENCE, ROOT, draw_present
from cxrscore.tables.datasets.chexpert import FINDINGS

CLEAN = FINDINGS.index("No Finding")
# CheXpert-v1.0, as in cxrscore/phantoms/copula.py.
# fmt: off
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
# fmt: on
LOWER = np.tril_indices(len(PREVALENCE), -1)
PHI = np.array([value for row in CORRELATION for value in row])


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


@pytest.fixture(scope="module")
def labels() -> NDArray[np.int8]:
    return draw_labels(3, studies=20_000)


def test_findings_are_as_common_as_in_the_table(labels: NDArray[np.int8]) -> None:
    assert np.abs(labels.mean(axis=0) - PREVALENCE[:LATERAL]).max() < 0.012


def test_findings_occur_together_as_in_the_table(labels: NDArray[np.int8]) -> None:
    lower = np.tril_indices(LATERAL, -1)
    table = [phi for row in CORRELATION[: LATERAL - 1] for phi in row]
    drawn = np.corrcoef(labels.T.astype(np.float64))[lower]
    assert np.abs(drawn - table).max() < 0.06


def test_no_finding_means_no_pathology(labels: NDArray[np.int8]) -> None:
    pathologies = [
        i for i, finding in enumerate(FINDINGS) if finding not in ("No Finding", "Support Devices")
    ]
    clean = labels[:, CLEAN] == 1
    assert clean.any()
    assert not labels[clean][:, pathologies].any()


def test_the_correlation_behind_two_even_coins_is_the_known_sine() -> None:
    """For shares of one half, phi = 2/pi arcsin(rho): Sheppard 1899."""
    phi, half = np.array([-0.5, 0.0, 0.2, 0.6]), np.full(4, 0.5)
    np.testing.assert_allclose(tetrachoric(phi, half, half), np.sin(np.pi / 2 * phi), atol=1e-6)


def test_the_root_is_one_of_the_tables_tetrachoric_correlation() -> None:
    """The nearest one: pairwise correlations have a negative eigenvalue, which is set to 1e-6."""
    latent = np.eye(len(PREVALENCE))
    rho = tetrachoric(PHI, np.array(PREVALENCE)[LOWER[0]], np.array(PREVALENCE)[LOWER[1]])
    latent[LOWER] = np.where((LOWER[0] == CLEAN) | (LOWER[1] == CLEAN), 0, rho)
    latent.T[LOWER] = latent[LOWER]
    values, vectors = np.linalg.eigh(latent)
    nearest = vectors @ np.diag(np.maximum(values, 1e-6)) @ vectors.T  # the same whatever the vectors' signs
    length = np.sqrt(nearest.diagonal())
    np.testing.assert_allclose(ROOT @ ROOT.T, nearest / np.outer(length, length), atol=1e-5)


def test_a_finding_is_present_below_its_threshold() -> None:
    """A draw along one row of the root moves its own finding by the whole, the row's length being 1."""
    threshold = NormalDist().inv_cdf(PREVALENCE[0])
    assert draw_present(ROOT[0] * (threshold - 1e-4))[0]
    assert not draw_present(ROOT[0] * (threshold + 1e-4))[0]


def test_a_sum_on_the_threshold_is_rounded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """In any other order of its terms, some of these sums would come out on the other side."""
    for seed in range(20):
        z = np.random.default_rng(seed).standard_normal(len(ROOT))
        exact = np.array([math.fsum(row * z) for row in ROOT])
        monkeypatch.setattr(copula, "THRESHOLDS", exact)
        assert not draw_present(z).any()
        monkeypatch.setattr(copula, "THRESHOLDS", np.nextafter(exact, np.inf))
        assert draw_present(z).all()
