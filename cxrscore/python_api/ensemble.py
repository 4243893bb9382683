"""An ensemble in memory: pixels that are arrays already -> probabilities.

In    fold checkpoints; gray pixels (n, S, S) uint8, or one image file.
Out   Ensemble; probabilities (n, L) float32, those of `score`.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cxrscore.core.text_table import visible
from cxrscore.python_api.arguments import (
    MODELS,
    Abstain,
    CompileNow,
    PathLike,
    flag,
    fold_numbers,
    number_or_none,
    one_of,
    path_or_none,
    view_names,
)
from cxrscore.python_api.images import read_image

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cxrscore.scoring.predictor import Predictor


@dataclass(frozen=True)
class Ensemble:
    """Trained folds in memory, from `load_ensemble`. `size`: pixels per side (S); `bit_depth`: the declared
    depth of 16-bit files, None where none was declared; `inputs`: columns that the models read beside the
    pixels, such as Sex and Age.
    """

    findings: tuple[str, ...]
    size: int
    views: tuple[str, ...]
    folds: tuple[int, ...]
    bit_depth: int | None
    _predictor: "Predictor" = field(repr=False)
    inputs: tuple[str, ...] = ()

    def predict(
        self,
        pixels: "NDArray[np.uint8]",
        inputs: Mapping[str, Sequence[object]] | Literal["none"] | None = None,
    ) -> "NDArray[np.float32]":
        """Probabilities of gray images: (n, S, S) uint8 -> (n, L) float32, the mean over folds and views.

        Column j belongs to `findings[j]`. The numbers are those of `score`, bit for bit, on the same machine
        with the same device, dtype, batch_size and compile; a row does not depend on the other rows. Raises
        UserError for pixels of another type or shape, and for an image that gives no finite number.

        Models that read columns beside the pixels (the field `inputs`) need these: a mapping from each column
        to one value per image, None where it is unknown; or "none", and all of them are unknown. A value that
        training has not seen is warned of; a number far from those of training is refused.

        Examples:
            >>> import numpy as np
            >>> from cxrscore.api import load_ensemble
            >>> ensemble = load_ensemble("out/models", device="cpu")
            >>> pixels = np.zeros((2, ensemble.size, ensemble.size), np.uint8)
            >>> probs = ensemble.predict(pixels)
            >>> probs.shape == (2, len(ensemble.findings)), probs.dtype
            (True, dtype('float32'))
        """
        return self._predictor.predict(
            pixels, inputs, tell=lambda note: warnings.warn(visible(note), stacklevel=5)
        )

    def read(self, path: PathLike, *, bit_depth: int | None = None) -> "NDArray[np.uint8]":
        """The pixels (S, S) uint8 of one image file, as `score` would see them. `bit_depth`: of samples
        stored in 16 bits, by default as in training. Raises Unreadable.

        Examples:
            >>> from cxrscore.api import load_ensemble
            >>> ensemble = load_ensemble("out/models", device="cpu")
            >>> file = sorted(Path("data/test").iterdir())[0]
            >>> ensemble.read(file).shape == (ensemble.size, ensemble.size)
            True
        """
        return read_image(path, size=self.size, bit_depth=bit_depth or self.bit_depth)


def load_ensemble(
    models: PathLike = MODELS,
    *,
    folds: Sequence[int] | None = None,
    views: Sequence[str] | None = None,
    calibrated: bool = False,
    binary: str | None = None,
    abstain: Abstain | None = None,
    decisions: PathLike | None = None,
    batch_size: int | None = None,
    compile: CompileNow = "off",
    device: str = "auto",
    dtype: str = "auto",
) -> Ensemble:
    """The fold checkpoints of a folder, in memory: all of them, or exactly those in `folds`.

    `views` are averaged, by default those of the training: plain, flip, zoom, zoom_flip, plain first.
    `batch_size` is images per forward pass (default: 16 on a CPU, 256 on a GPU). `compile` is on or off:
    whether it pays depends on the number of images, which only `score` knows. With `calibrated`, or `binary`
    (the name of a rule) and perhaps `abstain`, `predict` gives what `decide` has decided in place of the
    mean: calibrated probabilities, or 0 and 1, and NaN for what is left undecided. Raises UserError for a
    missing fold, folds of different trainings, or a damaged file.

    Examples:
        >>> from cxrscore.api import load_ensemble
        >>> ensemble = load_ensemble("out/models", device="cpu")
        >>> ensemble.findings[:2], ensemble.views
        (('Atelectasis', 'Cardiomegaly'), ('plain', 'flip'))
    """
    averaged, chosen = view_names(views), fold_numbers(folds)
    images = number_or_none("batch_size", batch_size, least=1, most=4096)
    compiled = one_of("compile", compile, CompileNow) == "on"

    from cxrscore.scoring.compute_settings import choose_scoring_machine
    from cxrscore.scoring.options import Options
    from cxrscore.scoring.predictor import load_predictor

    decided = Options(
        calibrated=flag("calibrated", calibrated),
        binary=binary,
        abstain=None if abstain is None else one_of("abstain", abstain, Abstain),
        decisions=path_or_none(decisions),
    )
    predictor = load_predictor(
        Path(models),
        choose_scoring_machine(device, dtype),
        folds=chosen,
        views=averaged,
        batch_size=images,
        compile=compiled,
        decided=decided,
    )
    card = predictor.card
    return Ensemble(
        findings=tuple(card.findings),
        size=card.size,
        views=predictor.views,
        folds=predictor.folds,
        bit_depth=card.bit_depth,
        _predictor=predictor,
        inputs=predictor.columns,
    )
