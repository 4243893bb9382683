"""An ensemble held in memory, which scores arrays of pixels as `score` scores files.

In    pixels (n, S, S) uint8, as images/reading.py makes them.
Out   (n, L) float32, the mean over folds and views: the bits that `score` writes, where the recipe (number
      format, images per forward pass, merged convolutions, compiled or not) is the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.device import Machine
from cxrscore.core.errors import UserError, promise
from cxrscore.model.checkpoint import Card
from cxrscore.model.ensemble import load_ensemble, trained_views
from cxrscore.scoring.compute import Engine, build_engine, folded_backbone
from cxrscore.scoring.compute_settings import choose_batch_size, choose_recipe
from cxrscore.scoring.decided import read_decided
from cxrscore.scoring.input_table import Encodings, columns_of, encodings_of, values_in_memory
from cxrscore.scoring.options import Options
from cxrscore.scoring.output import fold_mean


@dataclass(frozen=True)
class Predictor:
    """The engine of a scoring run, and what its models say of themselves."""

    engine: Engine
    card: Card
    batch_size: int
    folds: tuple[int, ...]
    encodings: Encodings
    reduce: Callable[[NDArray[np.float32]], NDArray[np.float32]] = fold_mean  # (F, b, L) -> (b, L)

    @property
    def views(self) -> tuple[str, ...]:
        return tuple(self.engine.views)

    @property
    def columns(self) -> tuple[str, ...]:
        """What the heads read beside the pixels."""
        return columns_of(self.encodings)

    def predict(
        self,
        pixels: NDArray[np.uint8],
        inputs: Any = None,
        *,
        tell: Callable[[str], None] = lambda note: None,
    ) -> NDArray[np.float32]:
        """(n, S, S) and, where there are `columns`, a mapping from these to n values each, or none -> (n, L).
        `tell` gets notes on values that training has not seen. Raises UserError for other pixels or inputs,
        or an image without a finite score; Stopped where the device is lost.
        """
        _check_pixels(pixels, self.card.size)
        values = values_in_memory(inputs, self.encodings, len(pixels), tell=tell)
        probs = np.empty((len(pixels), len(self.card.findings)), np.float32)
        for start in range(0, len(pixels), self.batch_size):
            part = pixels[start : start + self.batch_size].copy(order="C")  # torch takes no negative stride
            own = None if values is None else values[:, start : start + len(part)]
            probs[start : start + len(part)] = self._batch(part, own, start)
        return probs

    def _batch(
        self, pixels: NDArray[np.uint8], inputs: NDArray[np.float32] | None, start: int
    ) -> NDArray[np.float32]:
        by_fold = self.engine.start(_writable(pixels), inputs).result().copy()  # (F, b, L)
        for i in np.flatnonzero(~np.isfinite(by_fold).all(axis=(0, 2))):
            own = None if inputs is None else inputs[:, i : i + 1]
            by_fold[:, i] = self.engine.exactly(pixels[i], own)
            if not np.isfinite(by_fold[:, i]).all():
                raise UserError(
                    f"pixels[{start + i}]: the models gave no finite score, nor did they in fp32; leave the "
                    "image out, or train the models again."
                )
        found = self.reduce(by_fold)
        promise(found.shape == (len(pixels), len(self.card.findings)), f"scores of shape {found.shape}")
        return found


def load_predictor(
    folder: Path,
    machine: Machine,
    *,
    folds: Sequence[int] | None,
    views: Sequence[str] | None,
    batch_size: int | None,
    compile: bool,
    decided: Options | None = None,
) -> Predictor:
    """`views`: those that are averaged, by default the ones that the folds were trained with. `decided`:
    what is given in place of the mean (calibrated, binary, abstain). Raises UserError.
    """
    chosen = read_decided(decided or Options(), folder)
    ensemble = load_ensemble(folder, machine, folds=folds)
    card, averaged = ensemble[0].card, list(views or trained_views(ensemble))
    images = choose_batch_size(batch_size, machine, size=card.size)
    recipe = choose_recipe(
        card.backbone,
        lambda: folded_backbone(ensemble[0].model, machine),
        machine,
        size=card.size,
        batch_size=images,
        compile="on" if compile else "off",
        forwards=0,
    )
    engine = build_engine(ensemble, recipe, machine, views=averaged)
    numbers = tuple(fold.card.fold for fold in ensemble)
    if chosen is None:
        return Predictor(engine, card, images, numbers, encodings_of(ensemble))
    chosen.refuse_other_ensemble(ensemble, averaged)
    return Predictor(engine, card, images, numbers, encodings_of(ensemble), chosen.reduce)


def _check_pixels(pixels: object, size: int) -> None:
    right = f"uint8 of shape (n, {size}, {size}) was expected, as Ensemble.read gives for each image"
    if not isinstance(pixels, np.ndarray):
        raise UserError(f"pixels: a {type(pixels).__name__}; a numpy array of {right}.")
    if pixels.dtype != np.uint8:
        raise UserError(f"pixels: {pixels.dtype} of shape {pixels.shape}; {right}.")
    if pixels.ndim != 3 or pixels.shape[1:] != (size, size):
        one = "; put one image in as pixels[None]" if pixels.shape == (size, size) else ""
        raise UserError(f"pixels: uint8 of shape {pixels.shape}; {right}{one}.")


def _writable(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """torch warns of an array that it could not write to."""
    return pixels if pixels.flags.writeable else pixels.copy()
