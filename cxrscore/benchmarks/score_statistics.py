"""Areas under the ROC curve, and their resamples over patients: cxrscore, and scikit-learn in a loop.

In    how many rows of scores; the machine's cores are shared out by the code itself.
Out   two races: the areas of all findings at once, and one resample of them; and facts.

The rows are as in the large chest radiograph datasets: 14 findings, from one image in 300 to one in three,
scores in fp32, and 3.6 images per patient on average.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cxrscore.benchmarks.paired_timing import Timing, in_turn
from cxrscore.core.progress import Progress
from cxrscore.statistics.bootstrap import replicates
from cxrscore.statistics.roc_area import Ranked, auc_by_finding, ranked

FINDINGS = 14
PER_PATIENT = 3.6  # images: NIH ChestX-ray14 has 112,120 of 30,805 patients
RESAMPLES = 20  # of ours in a round; the loop takes seconds for one
OURS, SKLEARN, LOOP = "cxrscore", "scikit-learn", "loop over rows with scikit-learn"


@dataclass(frozen=True)
class Scores:
    """y, mask, scores (n, L) and patient (n,), numbers from 0 without gaps."""

    y: NDArray[np.int8]
    mask: NDArray[np.bool_]
    scores: NDArray[np.float32]
    patient: NDArray[np.int64]


def bench_statistics(rows: int, *, rounds: int, progress: Progress) -> dict[str, Any]:
    made = random_scores(rows)
    progress.start("bench statistics", 4 * (rounds + 1))
    turns: dict[str, Any] = {"device": torch.device("cpu"), "rounds": rounds, "progress": progress}
    areas = in_turn({SKLEARN: lambda: sklearn_areas(made), OURS: lambda: our_areas(made)}, **turns)
    figures = prepared(made)  # once for all resamples
    ours = partial(our_resamples, figures, made.patient, RESAMPLES)
    seconds = in_turn({LOOP: lambda: one_resample(made, 0), OURS: ours}, **turns)
    seconds[OURS] = [taken / RESAMPLES for taken in seconds[OURS]]
    what = f"areas of {FINDINGS} findings, {rows:,} rows"
    patients = 1 + int(made.patient.max())
    resampled = f"{what}, of {patients:,} patients drawn with replacement"
    again = Timing(resampled, "resample", 1, [LOOP], seconds)
    return {
        "races": [Timing(what, "area", FINDINGS, [SKLEARN], areas).as_json(), again.as_json()],
        "facts": {
            "largest_difference_from_scikit_learn": float(
                np.nanmax(np.abs(our_areas(made) - sklearn_areas(made)))
            ),
            "seconds_for_1,000_resamples": 1000 * again.median_s(OURS),
        },
    }


def random_scores(rows: int, *, seed: int = 0) -> Scores:
    """Every label is known. The last patients have the images that are over: a few have many."""
    draw = np.random.default_rng(seed)
    y = (draw.random((rows, FINDINGS)) < np.geomspace(1 / 300, 1 / 3, FINDINGS)).astype(np.int8)
    scores = 1 / (1 + np.exp(2 - 1.2 * y - draw.standard_normal(y.shape)))
    patients = max(1, int(rows / PER_PATIENT))
    more = (patients * draw.random(rows - patients) ** 2).astype(np.int64)
    patient = draw.permutation(np.append(np.arange(patients), more))
    return Scores(y, np.ones(y.shape, dtype=bool), scores.astype(np.float32), patient)


def our_areas(made: Scores) -> NDArray[np.float64]:
    return auc_by_finding(made.y, made.mask, made.scores)


def sklearn_areas(made: Scores) -> NDArray[np.float64]:
    """NaN where there is one class, as in few rows."""
    from sklearn.metrics import roc_auc_score  # takes a second

    columns = zip(made.y.T, made.scores.T, strict=True)
    return np.array([roc_auc_score(y, score) if len(np.unique(y)) == 2 else np.nan for y, score in columns])


def prepared(made: Scores) -> dict[int, Ranked]:
    columns = zip(made.y.T, made.mask.T, made.scores.T, strict=True)
    return {j: ranked(*column) for j, column in enumerate(columns)}


def our_resamples(
    figures: Mapping[int, Ranked], patient: NDArray[np.int64], resamples: int
) -> NDArray[np.float64]:
    """-> (L, R)."""
    generator = np.random.default_rng(0)
    found = replicates(figures, patient, resamples=resamples, generator=generator)
    return np.stack([found[j] for j in figures])


def one_resample(made: Scores, seed: int) -> NDArray[np.float64]:
    """-> (L,), as people write it: the rows of each patient that is drawn, one after another."""
    order = np.argsort(made.patient, kind="stable")
    starts = np.searchsorted(made.patient[order], np.arange(made.patient.max() + 2))
    drawn = np.random.default_rng(seed).integers(len(starts) - 1, size=len(starts) - 1)
    rows = np.concatenate([order[starts[p] : starts[p + 1]] for p in drawn])
    return sklearn_areas(Scores(made.y[rows], made.mask[rows], made.scores[rows], made.patient[rows]))
