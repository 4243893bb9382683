"""What can be refused at once: without torch and timm, which take ten seconds to import.

In    the fold to train, out/folds.csv, the settings.
Out   nothing, or UserError; nothing is written.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cxrscore.errors import UserError
from cxrscore.layout import Layout
from cxrscore.split import read_folds

if TYPE_CHECKING:
    from cxrscore.params import TrainParams


def refuse_early(fold: int, *, layout: Layout, params: "TrainParams") -> None:
    """Raises UserError for a fold that is not there, a batch larger than the data, a missing start."""
    folds = read_folds(layout.folds).fold
    validated = int(np.count_nonzero(folds == fold))
    if not validated:
        raise UserError(f"--fold {fold}: no image is validated in it; folds are 0 to {folds.max()}.")
    if params.batch_size > len(folds) - validated:
        left = len(folds) - validated
        raise UserError(f"train.batch_size: {params.batch_size} is more than the {left} images to train on.")
    if params.init not in ("none", "imagenet") and not Path(params.init).is_file():
        raise UserError(f"train.init: {params.init}: no such file; none, imagenet or a .safetensors file.")
