"""Random changes of training images: crop, flip and rotation as one batched warp on the device, then colour
jitter, RandAugment (rand_augment.py), cutout, and mixup.

In    pixels (B, 1, S, S) uint8 on the device, theta (B, 2, 3) float32: where each output point lies in the
      input.
Out   (B, 1, S, S) float32 in 0..255; the input may be larger, (B, 1, T, T), so that small crops keep detail.
The randomness is a pure function of (seed, epoch, sample): neither batch size, order nor workers change it.
Law: torchvision's RandomResizedCrop (area share, log-uniform aspect 3/4 to 4/3, ten tries, then the whole
image), then a horizontal flip, then a rotation. Fused, a rotated corner shows the image beyond the crop
instead of black; black remains beyond the image.
Cutout (DeVries & Taylor, 2017, arXiv:1708.04552) blanks a square whose centre is uniform over the image, so
that part of it may lie outside.
Mixup (Zhang et al., ICLR 2018, arXiv:1710.09412) blends neighbours of a batch, (0, 1), (2, 3) and so on: a
batch split into even parts, over passes or GPUs, mixes the same images.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

TRIES = 10  # of RandomResizedCrop.get_params
BLANKED = 0.1  # of the values of further inputs
LOG_ASPECT = np.log(4 / 3)
BLANK = 255 * 0.449  # of cutout, which zeroes normalised pixels: the mean of ImageNet's three channel means


def draw_warps(
    n: int,
    *,
    seed: int,
    epoch: int,
    scale: tuple[float, float],
    flip: float,
    degrees: float,
    square: bool = False,
) -> np.ndarray:
    """-> theta (n, 2, 3) float32, row i for sample i, in the coordinates of torch's affine_grid (-1..1, x
    first). `square` crops have an aspect ratio of 1: with scale s, s they are random crops of one size.
    """
    u = np.random.default_rng([seed, epoch, 1]).random((n, 2 * TRIES + 4))
    log_aspect = 0.0 if square else LOG_ASPECT
    width, height = _crop_sides(u[:, :TRIES], u[:, TRIES : 2 * TRIES], scale, log_aspect)
    x0 = (1 - width) * (2 * u[:, -4] - 1)
    y0 = (1 - height) * (2 * u[:, -3] - 1)
    mirror = np.where(u[:, -2] < flip, -1.0, 1.0)
    angle = np.deg2rad(degrees) * (2 * u[:, -1] - 1)
    cos, sin = np.cos(angle), np.sin(angle)
    rows = [[width * mirror * cos, -width * mirror * sin, x0], [height * sin, height * cos, y0]]
    return np.array(rows, dtype=np.float32).transpose(2, 0, 1)


def _crop_sides(
    u_area: np.ndarray, u_aspect: np.ndarray, scale: tuple[float, float], log_aspect: float
) -> tuple[np.ndarray, np.ndarray]:
    """(n, TRIES) uniforms -> width and height (n,) as shares of the image's: the first try that fits, or
    the whole image.
    """
    area = scale[0] + (scale[1] - scale[0]) * u_area
    aspect = np.exp(log_aspect * (2 * u_aspect - 1))
    width, height = np.sqrt(area * aspect), np.sqrt(area / aspect)
    fits = (width <= 1) & (height <= 1)
    first = fits.argmax(1)[:, None]
    found = fits.any(1)
    width, height = (np.take_along_axis(sides, first, 1)[:, 0] for sides in (width, height))
    return np.where(found, width, 1.0), np.where(found, height, 1.0)


def warp(pixels: Tensor, theta: Tensor, *, size: int | None = None) -> Tensor:
    """(B, 1, T, T) uint8 and (B, 2, 3) -> (B, 1, S, S) float32, bilinear, black outside the image. S is
    `size`, else T. Nothing is smoothed before: T is at most 2 S, so that no pixel is skipped (params.py), and
    at 1.5 S crops are as sharp as if they were cut out of the full picture (docs/decisions.md).
    """
    size = size or pixels.shape[-1]
    grid = F.affine_grid(theta, [len(pixels), 1, size, size], align_corners=False)
    return F.grid_sample(pixels.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def draw_jitters(n: int, *, seed: int, epoch: int, jitter: float) -> np.ndarray:
    """-> (n, 3) float32, row i for sample i: a factor of brightness, a factor of contrast, both uniform in
    1 - jitter to 1 + jitter, and 1 where brightness comes first, 0 where contrast does. All of it is
    torchvision's ColorJitter(brightness=jitter, contrast=jitter).
    """
    u = np.random.default_rng([seed, epoch, 3]).random((n, 3))
    factors = 1 + jitter * (2 * u[:, :2] - 1)
    return np.column_stack([factors, u[:, 2] < 0.5]).astype(np.float32)


def jitter(pixels: Tensor, drawn: np.ndarray) -> Tensor:
    """(B, 1, S, S) float32 in 0..255 and rows (B, 3) of `draw_jitters` -> the same shape and range."""
    from torchvision.transforms.v2.functional import adjust_brightness, adjust_contrast

    jittered = []
    for image, (brightness, contrast, brightness_first) in zip(pixels / 255, drawn.tolist(), strict=True):
        steps = [(adjust_brightness, brightness), (adjust_contrast, contrast)]
        for adjust, factor in steps if brightness_first else reversed(steps):
            image = adjust(image, factor)
        jittered.append(image)
    return 255 * torch.stack(jittered)


def draw_cutouts(n: int, *, seed: int, epoch: int) -> np.ndarray:
    """-> (n, 2) float32 in [0, 1), row i for sample i: the square's centre, down and across."""
    return np.random.default_rng([seed, epoch, 5]).random((n, 2), dtype=np.float32)


def cutout(pixels: Tensor, centre: Tensor, *, side: float) -> Tensor:
    """(B, 1, S, S) float32 and (B, 2) -> the same shape; `side` of the square as a share of the image's."""
    size = pixels.shape[-1]
    length = round(side * size)
    first = (centre * size).floor() - length // 2  # (B, 2)
    along = torch.arange(size, device=pixels.device)
    inside = (along >= first[..., None]) & (along < first[..., None] + length)  # (B, 2, S)
    hole = inside[:, 0, :, None] & inside[:, 1, None, :]
    return pixels.masked_fill(hole[:, None], BLANK)


def draw_mixes(n: int, *, seed: int, epoch: int, mixup: float) -> np.ndarray:
    """-> lam (n,) float32 in [1/2, 1], row i for sample i: its own share beside its neighbour's.

    From Beta(mixup, mixup), the larger side, so that an image stays the main part of itself; all 1 for mixup
    0.
    """
    if mixup == 0:
        return np.ones(n, dtype=np.float32)
    lam = np.random.default_rng([seed, epoch, 2]).beta(mixup, mixup, n)
    return np.maximum(lam, 1 - lam).astype(np.float32)


def mix(pixels: Tensor, y: Tensor, mask: Tensor, lam: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(B, 1, S, S) float, (B, L), (B, L) bool and (B,) -> the same, each image with its neighbour's share.

    A finding is known where both know it. An image whose lam is 1, and the last of an odd batch, comes back
    as it was.
    """
    partner = _neighbours(len(pixels), pixels.device)
    own = lam.view(-1, 1, 1, 1)
    mixed = own * pixels + (1 - own) * pixels[partner]
    own = lam.view(-1, 1)
    truth = own * y + (1 - own) * y[partner]
    return mixed, truth, mask & (mask[partner] | (own == 1))


def _neighbours(n: int, device: torch.device) -> Tensor:
    """(n,) 1, 0, 3, 2, ...; the last of an odd number is its own."""
    return (torch.arange(n, device=device) ^ 1).clamp(max=n - 1)


def draw_blanks(n: int, columns: int, *, seed: int, epoch: int) -> np.ndarray:
    """-> (n, columns) bool, row i for sample i: values that are unknown in this epoch, so that a head learns
    what to make of one that is.
    """
    return np.random.default_rng([seed, epoch, 16]).random((n, columns)) < BLANKED


def epoch_order(rows: np.ndarray, *, seed: int, epoch: int) -> np.ndarray:
    """The training rows (n,) in this epoch's order, a function of (seed, epoch, rows)."""
    return np.random.default_rng([seed, epoch, 0]).permutation(rows)
