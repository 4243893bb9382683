"""Tables of predictions are what slow, obvious counting gives."""

from pathlib import Path

import numpy as np
import pytest

from cxrscore.evaluation.joined_scores import Scored
from cxrscore.evaluation.prediction_tables import (
    BINS,
    WORST,
    correlations,
    histogram_rows,
    prediction_tables,
    worst_rows,
)
from cxrscore.tables.label_table import LabelTable

NAMES = ("Edema", "Fracture", "Nodule")


@pytest.fixture
def scored() -> Scored:
    draw = np.random.default_rng(0)
    scores = draw.random((60, 3)).astype(np.float32)
    scores[0, 0] = 1.0
    y = (draw.random((60, 3)) < 0.4).astype(np.int8)
    mask = draw.random((60, 3)) < 0.8
    ids = [f"image{i:02d}" for i in range(60)]
    table = LabelTable(path=Path("labels.csv"), ids=ids, findings=NAMES, y=y, mask=mask, patient=None)
    return Scored(NAMES, scores, table, 0)


def test_a_correlation_is_numpys_over_images_where_both_are_known(scored: Scored) -> None:
    found = correlations(scored.table.y, scored.table.mask)
    for i in range(3):
        for j in range(3):
            both = scored.table.mask[:, i] & scored.table.mask[:, j]
            slow = np.corrcoef(scored.table.y[both, i], scored.table.y[both, j])[0, 1]
            assert found[i, j] == pytest.approx(slow, abs=1e-12)
    header, rows = prediction_tables(scored)["correlations"]
    assert header == ["finding", "other", "labels", "scores"] and len(rows) == 9


def test_a_finding_that_is_the_same_in_all_images_has_no_correlation() -> None:
    values = np.array([[0, 1], [0, 0], [0, 1]])
    found = correlations(values, np.ones((3, 2), dtype=bool))
    assert np.isnan(found[0]).all() and np.isnan(found[1, 0]) and found[1, 1] == pytest.approx(1)


def test_each_image_is_in_one_bin_and_one_is_in_the_last(scored: Scored) -> None:
    rows = histogram_rows(scored)
    for j, name in enumerate(NAMES):
        counts = [count for finding, _, count in rows if finding == name]
        slow = [
            sum(
                i / BINS <= score < (i + 1) / BINS or (i == BINS - 1 and score == 1)
                for score in scored.scores[:, j]
            )
            for i in range(BINS)
        ]
        assert counts == slow and sum(counts) == 60


def test_the_worst_come_first_and_masked_labels_never(scored: Scored) -> None:
    for finding, label, image, score in (rows := worst_rows(scored)):
        i, j = scored.table.ids.index(image), NAMES.index(finding)
        assert scored.table.mask[i, j] and scored.table.y[i, j] == label
        assert float(score) == pytest.approx(float(scored.scores[i, j]), abs=1e-6)
        known = scored.table.mask[:, j] & (scored.table.y[:, j] == label)
        wrong = (
            scored.scores[:, j] > scored.scores[i, j]
            if label == 0
            else scored.scores[:, j] < scored.scores[i, j]
        )
        assert (known & wrong).sum() < WORST
    assert len(rows) == 3 * 2 * WORST
    of_one = [float(score) for finding, label, _, score in rows if (finding, label) == ("Edema", 0)]
    assert of_one == sorted(of_one, reverse=True)
