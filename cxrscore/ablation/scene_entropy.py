"""How certain and how even the scenes of the compared heads are, on validated images: the paper's table 5.

In    what the trainings of each head and seed learned (out/learned), where it is there.
Out   by head, the mean over seeds and folds of scene_matching.entropies; a note for the table.
Heads without scenes, or with one, have none. Trainings that are DVC experiments bring their scores alone.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from cxrscore.core.paths import Layout
from cxrscore.evaluation.head_pictures import read_learned
from cxrscore.evaluation.scene_matching import entropies

DIGITS = 5


def scene_entropies(
    layouts: Mapping[str, Mapping[int, Layout]], folds: Sequence[int]
) -> dict[str, dict[str, float]]:
    """Name -> seed -> where its trainings are -> name -> entropies, in nats, and `most`, the logarithm of the
    number of scenes. Raises UserError for a damaged file.
    """
    found = {}
    for name, of_seeds in layouts.items():
        paths = [layout.learned(fold) for layout in of_seeds.values() for fold in folds]
        pictures = [read_learned(path).pictures.get("scenes") for path in paths if path.exists()]
        scenes = [picture for picture in pictures if picture is not None and picture.values.shape[1] > 1]
        if scenes:
            each = [entropies(picture) for picture in scenes]
            means = {key: round(float(np.mean([one[key] for one in each])), DIGITS) for key in each[0]}
            found[name] = means | {"most": round(math.log(scenes[0].values.shape[1]), DIGITS)}
    return found


def scene_notes(found: Mapping[str, Mapping[str, float]]) -> list[str]:
    """One note for all heads with scenes, or none."""
    told = [
        f"{name} {of['of_shares']:.3f} (an image's own {of['per_image']:.3f}, at most {of['most']:.3f})"
        for name, of in found.items()
    ]
    return [f"entropy of the scenes' shares of validated images: {'; '.join(told)}"] if told else []
