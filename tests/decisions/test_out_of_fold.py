"""What a fold's thresholds are chosen from has seen nothing of the fold."""

from dataclasses import replace

import numpy as np

from cxrscore.decisions.fold_maps import POOLED, cross_calibrated, fit_sources
from cxrscore.decisions.measured import with_scores
from cxrscore.decisions.out_of_fold import _without
from cxrscore.statistics.sample import Sample


def test_maps_of_all_folds_are_fitted_again_without_the_fold_that_is_measured() -> None:
    draw = np.random.default_rng(2)
    y = (draw.random((180, 1)) < 0.3).astype(np.int8)
    scores = np.clip(0.3 * y + 0.6 * draw.random((180, 1)), 0.01, 0.99)
    whole = Sample(("Mass",), y, np.ones(y.shape, dtype=bool), scores, np.arange(180))
    fold = np.repeat([0, 1, 2], 60)
    mine = fold == 0
    flipped = replace(whole, y=np.where(mine[:, None], 1 - y, y).astype(np.int8))
    found = []
    for sample in (whole, flipped):
        folds = [sample.rows(fold == one) for one in (0, 1, 2)]
        assert fit_sources(folds) == (POOLED,)
        crossed = with_scores(sample, np.concatenate(cross_calibrated(folds)))
        found.append((crossed.scores[~mine], _without(sample, crossed, fold, mine).scores))
    assert not np.array_equal(found[0][0], found[1][0])  # maps of all folds have seen it
    np.testing.assert_array_equal(found[0][1], found[1][1])
