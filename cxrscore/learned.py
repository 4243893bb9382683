"""What a head has learned, as arrays with named axes: from training to disk, and from disk to tables.

In    Pictures of a fold's head, some of them an array an image.
Out   out/learned/fold{k}.json; tidy rows, a number each, findings by name.
Axes that are findings have a name in FINDING_AXES.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrscore.errors import UserError
from cxrscore.files import write_text

FINDING_AXES = ("finding", "source", "target", "given")
DIGITS = 6


@dataclass(frozen=True)
class Picture:
    """An array with a name for each axis. `image` is first where there is a value an image."""

    axes: tuple[str, ...]
    values: NDArray[Any]

    def __post_init__(self) -> None:
        assert len(self.axes) == self.values.ndim, (self.axes, self.values.shape)


class Seen:
    """Pictures of many images, batch after batch: of what belongs to a finding the sum over the images that
    show it is kept, of anything else, such as scenes, a value an image.
    """

    def __init__(self, findings: int) -> None:
        self.shown = np.zeros(findings)
        self.sums: dict[str, Picture] = {}
        self.each: dict[str, Picture] = {}

    def add(self, pictures: Mapping[str, Picture], shown: NDArray[np.bool_]) -> None:
        """Of b images; shown (b, L)."""
        self.shown += shown.sum(0)
        for name, picture in pictures.items():
            values = picture.values.astype(float)
            if picture.axes[:2] == ("image", "finding"):
                total = Picture(picture.axes[1:], np.einsum("nl,nl...->l...", shown.astype(float), values))
                self.sums[name] = _plus(self.sums.get(name), total)
            else:
                self.each[name] = _after(self.each.get(name), Picture(picture.axes, values))

    def join(self, other: "Seen") -> None:
        """What another process saw of the images that follow."""
        self.shown += other.shown
        self.sums |= {name: _plus(self.sums.get(name), picture) for name, picture in other.sums.items()}
        self.each |= {name: _after(self.each.get(name), picture) for name, picture in other.each.items()}

    def pictures(self) -> dict[str, Picture]:
        """Of a finding, (L, ...), the mean over the images that show it, NaN where none does."""
        with np.errstate(invalid="ignore"):
            means = {
                name: replace(sums, values=(sums.values.T / self.shown).T) for name, sums in self.sums.items()
            }
        return means | self.each


def _plus(one: Picture | None, other: Picture) -> Picture:
    return replace(one, values=one.values + other.values) if one else other


def _after(one: Picture | None, other: Picture) -> Picture:
    return replace(one, values=np.concatenate([one.values, other.values])) if one else other


def write_learned(path: Path, findings: Sequence[str], pictures: Mapping[str, Picture]) -> None:
    """Whole or not at all. What is not a number, such as a mean over no image, is null."""
    told = {
        name: {"axes": picture.axes, "values": _as_lists(picture.values)}
        for name, picture in pictures.items()
    }
    write_text(path, json.dumps({"findings": list(findings), "pictures": told}) + "\n")


def read_learned(path: Path) -> tuple[list[str], dict[str, Picture]]:
    """-> findings and pictures. Raises UserError."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        pictures = {
            name: Picture(tuple(one["axes"]), np.array(one["values"], dtype=float))
            for name, one in told["pictures"].items()
        }
        return told["findings"], pictures
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; run `dvc repro train`.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: not what `cxrscore train` writes ({error}); run `dvc repro train`."
        ) from error


def tidy_rows(picture: Picture, findings: Sequence[str]) -> Iterator[list[Any]]:
    """One row a number that is defined: a cell for each axis, findings by name, then the number."""
    for place in product(*map(range, picture.values.shape)):
        value = picture.values[place]
        if not np.isnan(value):
            cells = (
                findings[i] if axis in FINDING_AXES else i
                for axis, i in zip(picture.axes, place, strict=True)
            )
            yield [*cells, f"{value:.{DIGITS}g}"]


def _as_lists(values: NDArray[Any]) -> Any:
    rounded = np.round(values.astype(float), DIGITS)
    told = rounded.astype(object)
    told[np.isnan(rounded)] = None
    return told.tolist()
