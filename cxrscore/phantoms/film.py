"""Shapes in body coordinates -> density on a film -> the gray pixels of a radiograph.

In    points (n, 2) float in the body frame: x to the right, y down, the origin in the middle of the picture,
      1 the shorter side; densities, where 1 is about the soft tissue of the trunk.
Out   `density` (H, W) float32, to which every shape adds; `develop` turns it into (h, w) uint8.
The same bytes on every processor: `exp` and `power` round a float64 result to float32, because float32
versions differ between SIMD levels (AVX-512's power is an ulp off in one value of five, AVX2's in one of
1,500), and an ulp decides a gray level where a value is cut to uint8.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Floats = NDArray[np.float32]
Points = NDArray[np.float64]

OVERSAMPLE = 2  # shapes are drawn without antialiasing, at twice the size of a small picture
DRAWN_PX = 1250  # a detector is not sharper: larger pictures are enlarged before their grain is added
GRAIN = (3.5, 5.2)  # gray levels, standard deviation: 1.7 bits per pixel at 2,500 px and quality 92


def points(*xy: tuple[float, float]) -> Points:
    return np.array(xy, dtype=np.float64)


def spline(corners: Points, *, closed: bool = False, steps: int = 8) -> Points:
    """Catmull-Rom curve through (n, 2) corners -> (m, 2)."""
    ends = (corners[-1:], corners[:2]) if closed else (corners[:1], corners[-1:])
    padded = np.concatenate([ends[0], corners, ends[1]])
    p0, p1, p2, p3 = (padded[i : len(padded) - 3 + i, None, :] for i in range(4))
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    curve = 0.5 * (
        2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * (p1 - p2) + p3 - p0) * t**3
    )
    flat = curve.reshape(-1, 2)
    return flat if closed else np.concatenate([flat, corners[-1:]])


def exp(x: NDArray[np.floating[Any]]) -> Floats:
    """e^x of float32, the nearest float32: libraries' float64 differ by an ulp, 2^-29 of one of float32."""
    return np.asarray(np.exp(x, dtype=np.float64), dtype=np.float32)


def power(x: Floats, exponent: np.float32) -> Floats:
    """x^exponent of float32, the nearest float32."""
    return np.asarray(np.power(x, exponent, dtype=np.float64), dtype=np.float32)


def ring(centre: tuple[float, float], radii: tuple[float, float]) -> Points:
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    return np.stack([centre[0] + radii[0] * np.cos(angle), centre[1] + radii[1] * np.sin(angle)], axis=1)


@dataclass
class Film:
    """An exposed film: where the body frame lies on it, and the density so far."""

    height: int
    width: int
    scale: float
    tilt: float
    offset: tuple[float, float]
    density: Floats = field(init=False)
    x: Floats = field(init=False)
    y: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.density = np.zeros((self.height, self.width), dtype=np.float32)
        across = (np.arange(self.width, dtype=np.float32) - self.width / 2)[None, :] / self.scale
        down = (np.arange(self.height, dtype=np.float32) - self.height / 2)[:, None] / self.scale
        across, down = across - self.offset[0], down - self.offset[1]
        cos, sin = math.cos(self.tilt), math.sin(self.tilt)
        self.x, self.y = across * cos + down * sin, down * cos - across * sin  # (H, W) each, the body frame

    def pixels(self, shape: Points) -> Points:
        cos, sin = math.cos(self.tilt), math.sin(self.tilt)
        x, y = shape[:, 0], shape[:, 1]
        turned = np.stack([x * cos - y * sin, x * sin + y * cos], axis=1)  # no BLAS
        middle = np.array([self.width / 2, self.height / 2])
        return np.asarray((turned + np.array(self.offset)) * self.scale + middle)

    def mask(self, shape: Points, *, blur: float = 0.003) -> Floats:
        """The inside of a closed curve, (H, W) in [0, 1]; `blur` is the softness of its edge."""
        image = Image.new("L", (self.width, self.height))
        ImageDraw.Draw(image).polygon(_pairs(self.pixels(shape)), fill=255)
        return _unit(image.filter(ImageFilter.GaussianBlur(max(0.6, blur * self.scale))))

    def fill(self, shape: Points, density: float, *, blur: float = 0.003) -> None:
        soft = max(0.6, blur * self.scale)
        corners = self.pixels(shape)
        box = self._box(corners, margin=3 * soft + 2)
        if box is None:
            return
        image = Image.new("L", (box[2] - box[0], box[3] - box[1]))
        ImageDraw.Draw(image).polygon(_pairs(corners - np.array(box[:2])), fill=255)
        self._add(image, box, soft, density)

    def raise_to(self, mask: Floats, density: float) -> None:
        """Make the masked part at least this dense: organs that overlap do not add up as lines do."""
        self.density += mask * np.maximum(np.float32(density) - self.density, 0)

    def blend(self, mask: Floats, density: float) -> None:
        self.density += mask * (np.float32(density) - self.density)

    def stroke(self, lines: Iterable[tuple[Points, float]], density: float, *, blur: float = 0.001) -> None:
        """Add polylines, each with its width; where lines of one call cross, the density is not doubled."""
        drawn = [(self.pixels(line), width * self.scale) for line, width in lines]
        if not drawn:
            return
        soft = max(0.6, blur * self.scale)
        box = self._box(
            np.concatenate([line for line, _ in drawn]), margin=3 * soft + max(w for _, w in drawn) + 2
        )
        if box is None:
            return
        image = Image.new("L", (box[2] - box[0], box[3] - box[1]))
        draw = ImageDraw.Draw(image)
        for line, width_px in drawn:
            whole = max(1, round(width_px))
            shade = round(255 * min(1.0, width_px / whole))  # a line thinner than a pixel is a fainter line
            draw.line(
                _pairs(line - np.array(box[:2])),
                fill=shade,
                width=whole,
                joint="curve" if whole > 3 else None,
            )
        self._add(image, box, soft, density)

    def bump(self, centre: tuple[float, float], radii: tuple[float, float], angle: float = 0.0) -> Floats:
        """A soft hill of height 1, (H, W); `radii` are its standard deviations."""
        dx, dy = self.x - np.float32(centre[0]), self.y - np.float32(centre[1])
        cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
        along, across = (
            (dx * cos + dy * sin) / np.float32(radii[0]),
            (dy * cos - dx * sin) / np.float32(radii[1]),
        )
        return exp(np.float32(-0.5) * (along * along + across * across))

    def cloud(self, rng: np.random.Generator, grain: float) -> Floats:
        """Smooth random texture, (H, W) in [0, 1], in spots `grain` wide; uses `rng` alike at any size."""
        cells = round(1.2 / grain)
        image = Image.fromarray(rng.integers(0, 256, (cells, cells), dtype=np.uint8))
        return _unit(image.resize((self.width, self.height), Image.Resampling.BICUBIC))

    def write(self, text: str, at: tuple[float, float], height: float) -> None:
        image = Image.new("L", (self.width, self.height))
        where = tuple(self.pixels(points(at))[0])
        font = ImageFont.load_default(size=max(6.0, height * self.scale))
        ImageDraw.Draw(image).text(where, text, fill=255, font=font, anchor="mm")
        self.density = np.maximum(self.density, _unit(image) * 3)  # lead stops everything

    def _box(self, corners: Points, margin: float) -> tuple[int, int, int, int] | None:
        low, high = np.floor(corners.min(axis=0) - margin), np.ceil(corners.max(axis=0) + margin)
        left, top = max(0, int(low[0])), max(0, int(low[1]))
        right, bottom = min(self.width, int(high[0])), min(self.height, int(high[1]))
        return (left, top, right, bottom) if left < right and top < bottom else None

    def _add(self, image: Image.Image, box: tuple[int, int, int, int], soft: float, density: float) -> None:
        shade = _unit(image.filter(ImageFilter.GaussianBlur(soft)))
        self.density[box[1] : box[3], box[0] : box[2]] += np.float32(density) * shade


def develop(film: Film, shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Density -> (h, w) uint8: exposure, window and grain as one machine and one reader would set them."""
    exposure, gamma = rng.uniform(1.2, 1.7), rng.uniform(1.15, 1.6)
    low, high = rng.uniform(0.0, 0.05), rng.uniform(0.93, 1.02)
    light = 1 - exp(np.float32(-exposure) * np.maximum(film.density, 0))
    image = Image.fromarray(light)
    seen = np.asarray(image.resize((shape[1], shape[0]), Image.Resampling.BICUBIC))
    seen = power(np.clip((seen - low) / (high - low), 0, 1), np.float32(gamma))
    averaged = min(1.0, min(shape) / 2500) ** 0.25  # what is left of the grain of a picture made smaller
    grain = rng.standard_normal(shape, dtype=np.float32) * np.float32(averaged * rng.uniform(*GRAIN))
    return np.asarray(np.clip(255 * seen + grain, 0, 255), dtype=np.uint8)


def _pairs(corners: Points) -> list[tuple[float, float]]:
    return [(x, y) for x, y in corners.tolist()]


def _unit(image: Image.Image) -> Floats:
    return np.asarray(image, dtype=np.float32) / np.float32(255)
