"""Rows of the tables of predictions -> what the report shows of them: pictures as SVG, and images by name.

In    rows of auc.csv, correlations.csv, histograms.csv and worst_images.csv (prediction_tables.py).
Out   SVG text; finding -> image names and scores.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cxrscore.evaluation import figures

Rows = Sequence[Mapping[str, str]]
KINDS = {"1": "missed", "0": "false"}


def correlation_picture(rows: Rows, findings: Sequence[str]) -> str:
    """Two panels (L, L): of labels and of predictions, without the diagonal; grey where undefined."""
    index = {name: i for i, name in enumerate(findings)}
    panels = {}
    for title, column in (("labels", "labels"), ("predictions", "scores")):
        matrix = np.full((len(findings), len(findings)), np.nan)
        for row in rows:
            if row[column] and row["finding"] != row["other"]:
                matrix[index[row["finding"]], index[row["other"]]] = float(row[column])
        panels[title] = matrix
    return figures.heat_maps(
        panels, findings, row="finding", column="finding", scale="Pearson correlation", signed=True
    )


def histogram_picture(rows: Rows, findings: Sequence[str]) -> str:
    """One small histogram per finding, as shares of its images."""
    counts = {name: [int(row["images"]) for row in rows if row["finding"] == name] for name in findings}
    return figures.histograms(counts)


def worst_images(rows: Rows, findings: Sequence[str]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Finding -> missed and false -> images, the worst first: name and score."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = {
        name: {kind: [] for kind in KINDS.values()} for name in findings
    }
    for row in rows:
        one = {"image": row["image"], "score": float(row["score"])}
        found[row["finding"]][KINDS[row["label"]]].append(one)
    return found
