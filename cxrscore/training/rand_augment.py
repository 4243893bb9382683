"""RandAugment of gray training images: some random operations, one after another, of one common magnitude.

In    pixels (B, 1, S, S) float32 in 0..255; rows (B, k, 2) of `draw_operations`; the magnitude, 0..30.
Out   (B, 1, S, S) float32, whole grays in 0..255.
Source: Cubuk et al., "RandAugment", CVPR Workshops 2020, arXiv:1909.13719. Operations, their order and their
levels are those of torchvision's RandAugment; what lies outside the image is black, and pixels are taken from
their nearest neighbour, which are its defaults.

Of the published fourteen operations twelve change a gray image. Identity does not, and Color, which moves the
saturation, is an identity where red, green and blue are equal: it stays, so that each of the others is drawn
as often as it is for a colour picture. The randomness is a pure function of (seed, epoch, sample).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

LEVELS = 31  # magnitudes are levels 0..30, evenly spaced
FARTHEST = 150 / 331  # translations, as a share of the side


@dataclass(frozen=True)
class Operation:
    """`change`: (1, S, S) uint8 and a value -> the same shape. `signed` values are negative half of the time.
    The value goes from `first` at magnitude 0 to `last` at 30; `in_sides`: of which it is a multiple.
    """

    change: Callable[[Tensor, float], Tensor]
    first: float = 0.0
    last: float = 0.0
    signed: bool = False
    in_sides: bool = False

    def value(self, magnitude: int, side: int, sign: int) -> float:
        last = self.last * side if self.in_sides else self.last
        value = float(torch.linspace(self.first, last, LEVELS)[magnitude])
        return sign * value if self.signed else value


def _affine(image: Tensor, *, x: int = 0, y: int = 0, shear: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    """Shears, which are slopes, keep the upper left corner where it is."""
    degrees = [math.degrees(math.atan(slope)) for slope in shear]
    centre = [0.0, 0.0] if any(shear) else None
    moved: Tensor = F.affine(image, angle=0.0, translate=[x, y], scale=1.0, shear=degrees, center=centre)
    return moved


def _posterize(image: Tensor, bits: float) -> Tensor:
    kept: Tensor = F.posterize(image, bits=round(bits))
    return kept


def _factor(adjust: Callable[..., Any]) -> Callable[[Tensor, float], Tensor]:
    return lambda image, value: adjust(image, 1.0 + value)


OPERATIONS = {
    "identity": Operation(lambda image, _: image),
    "shear x": Operation(lambda image, slope: _affine(image, shear=(slope, 0.0)), last=0.3, signed=True),
    "shear y": Operation(lambda image, slope: _affine(image, shear=(0.0, slope)), last=0.3, signed=True),
    "translate x": Operation(
        lambda image, px: _affine(image, x=int(px)), last=FARTHEST, signed=True, in_sides=True
    ),
    "translate y": Operation(
        lambda image, px: _affine(image, y=int(px)), last=FARTHEST, signed=True, in_sides=True
    ),
    "rotate": Operation(lambda image, degrees: F.rotate(image, degrees), last=30.0, signed=True),
    "brightness": Operation(_factor(F.adjust_brightness), last=0.9, signed=True),
    "color": Operation(lambda image, _: image, last=0.9, signed=True),
    "contrast": Operation(_factor(F.adjust_contrast), last=0.9, signed=True),
    "sharpness": Operation(_factor(F.adjust_sharpness), last=0.9, signed=True),
    "posterize": Operation(_posterize, first=8.0, last=4.0),
    "solarize": Operation(lambda image, share: F.solarize(image, threshold=255 * share), first=1.0),
    "autocontrast": Operation(lambda image, _: F.autocontrast(image)),
    "equalize": Operation(lambda image, _: F.equalize(image)),
}


def draw_operations(n: int, *, seed: int, epoch: int, count: int) -> np.ndarray:
    """-> (n, count, 2) int64, row i for sample i: numbers of OPERATIONS, and the signs of their values."""
    u = np.random.default_rng([seed, epoch, 4]).random((n, count, 2))
    return np.stack([np.floor(len(OPERATIONS) * u[..., 0]), np.where(u[..., 1] < 0.5, -1, 1)], -1).astype(int)


def rand_augment(pixels: Tensor, drawn: np.ndarray, *, magnitude: int) -> Tensor:
    """(B, 1, S, S) float32 in 0..255 and rows (B, k, 2) -> the same shape and range."""
    side, operations = pixels.shape[-1], list(OPERATIONS.values())
    changed = []
    for image, rows in zip(pixels.round().clamp(0, 255).to(torch.uint8), drawn.tolist(), strict=True):
        for number, sign in rows:
            operation = operations[number]
            image = operation.change(image, operation.value(magnitude, side, sign))
        changed.append(image)
    return torch.stack(changed).float()
