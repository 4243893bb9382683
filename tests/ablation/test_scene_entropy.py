"""The entropies of scenes stand beside the heads that have scenes, and beside no other."""

import math
from pathlib import Path

import numpy as np
import pytest

from cxrscore.ablation.scene_entropy import scene_entropies, scene_notes
from cxrscore.core.paths import Layout
from cxrscore.evaluation.head_pictures import Picture, write_learned


def learn(layout: Layout, fold: int, *scenes: list[float]) -> None:
    pictures = {"scenes": Picture(("image", "scene"), np.array(scenes))} if scenes else {}
    write_learned(layout.learned(fold), ["Edema"], pictures, head={"kind": "any"})


def test_entropies_are_means_over_folds_and_seeds_of_heads_with_several_scenes(tmp_path: Path) -> None:
    names = ("independent", "salgl-1", "salgl-2", "salgl-no-entropy", "elsewhere")
    layouts = {name: {seed: Layout(tmp_path / name / str(seed)) for seed in (0, 1)} for name in names}
    for seed in (0, 1):
        for fold in (0, 1):
            learn(layouts["independent"][seed], fold)
            learn(layouts["salgl-1"][seed], fold, [1.0], [1.0])
            learn(layouts["salgl-no-entropy"][seed], fold, [0.75, 0.25], [0.75, 0.25])
    learn(layouts["salgl-2"][0], 0, [1.0, 0.0], [0.0, 1.0])
    learn(layouts["salgl-2"][0], 1, [1.0, 0.0], [1.0, 0.0])
    for fold in (0, 1):
        learn(layouts["salgl-2"][1], fold, [0.0, 1.0], [1.0, 0.0])
    found = scene_entropies(layouts, [0, 1])
    assert found.keys() == {"salgl-2", "salgl-no-entropy"}
    three_of_four = {"per_image": 0.0, "of_mean": 0.75 * math.log(2), "of_shares": 0.75 * math.log(2)}
    assert found["salgl-2"] == pytest.approx(three_of_four | {"most": math.log(2)}, abs=1e-5)
    mixed = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    expected = {"per_image": mixed, "of_mean": mixed, "of_shares": 0.0, "most": math.log(2)}
    assert found["salgl-no-entropy"] == pytest.approx(expected, abs=1e-5)
    (note,) = scene_notes(found)
    assert "salgl-2 0.520 (an image's own 0.000, at most 0.693); salgl-no-entropy 0.000 (an" in note
    assert scene_notes({}) == []
