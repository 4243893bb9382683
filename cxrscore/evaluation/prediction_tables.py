"""Scores and truth of the same images -> tables of how predictions lie, and of the images scored worst.

In    Scored: (n, L) probabilities with y and mask.
Out   name -> columns and rows: correlations.csv, histograms.csv, worst_images.csv.
Source: Srivastava, Gupta & Nath, "Learning sparse label couplings for multilabel chest X-ray diagnosis":
figure 5 (Pearson correlations of labels and of predictions), figure 8 (histograms), IV (mistakes).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrscore.evaluation.joined_scores import Scored

BINS = 20  # of probabilities, each 0.05 wide
WORST = 5  # images per finding and label
DIGITS = 4  # of correlations: sums over images differ in their last bits between processors
Table = tuple[list[str], list[list[Any]]]
Floats = NDArray[np.float64]


def prediction_tables(scored: Scored) -> dict[str, Table]:
    """Name -> columns and rows, findings by name."""
    return {
        "correlations": (["finding", "other", "labels", "scores"], correlation_rows(scored)),
        "histograms": (["finding", "from", "images"], histogram_rows(scored)),
        "worst_images": (["finding", "label", "image", "score"], worst_rows(scored)),
    }


def correlations(values: NDArray[Any], known: NDArray[np.bool_]) -> Floats:
    """(n, L) values and which are known -> (L, L) Pearson correlations, each over the images where both are
    known; NaN where one of the two is constant there.
    """
    findings = values.shape[1]
    found = np.full((findings, findings), np.nan)
    for i in range(findings):
        for j in range(i, findings):
            both = known[:, i] & known[:, j]
            found[i, j] = found[j, i] = _pearson(values[both, i], values[both, j])
    return found


def _pearson(one: NDArray[Any], other: NDArray[Any]) -> float:
    if not len(one) or (one == one[0]).all() or (other == other[0]).all():
        return np.nan
    a, b = (part.astype(np.float64) - part.astype(np.float64).mean() for part in (one, other))
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def correlation_rows(scored: Scored) -> list[list[Any]]:
    """One row for each ordered pair of findings; blank: undefined."""
    of_labels = correlations(scored.table.y, scored.table.mask)
    of_scores = correlations(scored.scores, np.ones_like(scored.table.mask))
    return [
        [finding, other, _cell(of_labels[i, j]), _cell(of_scores[i, j])]
        for i, finding in enumerate(scored.findings)
        for j, other in enumerate(scored.findings)
    ]


def histogram_rows(scored: Scored) -> list[list[Any]]:
    """Images by finding and bin of its probability, named by the bin's lower edge; 1 is in the last bin."""
    places = np.minimum((scored.scores.astype(np.float64) * BINS).astype(np.int64), BINS - 1)
    rows = []
    for name, of_finding in zip(scored.findings, places.T, strict=True):
        counts = np.bincount(of_finding, minlength=BINS)
        rows += [[name, f"{i / BINS:g}", int(count)] for i, count in enumerate(counts)]
    return rows


def worst_rows(scored: Scored) -> list[list[Any]]:
    """Of each finding the WORST images that show it and are scored lowest, then those that do not and are
    scored highest, the worst first; of equal ones, by name.
    """
    rows = []
    for j, finding in enumerate(scored.findings):
        for label in (1, 0):
            of_label = np.flatnonzero(scored.table.mask[:, j] & (scored.table.y[:, j] == label))
            order = sorted(of_label.tolist(), key=_wrong_first(scored.scores[:, j], scored.table.ids, label))
            rows += [
                [finding, label, scored.table.ids[i], f"{scored.scores[i, j]:.7g}"] for i in order[:WORST]
            ]
    return rows


def _wrong_first(scores: NDArray[Any], ids: Sequence[str], label: int) -> Any:
    sign = 1 if label else -1
    return lambda i: (sign * float(scores[i]), ids[i])


def _cell(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.{DIGITS}f}"
