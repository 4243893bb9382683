"""What a head has learned, as arrays with named axes: from training to disk, to tables, and back.

In    Pictures of a fold's head, some of them with a value per image.
Out   out/learned/fold{k}.json; tidy rows, a number each, findings by name; the mean of such rows over folds.
Axes that are findings have a name in FINDING_AXES.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import UserError, promise
from cxrscore.core.files import read_json, write_text

FINDING_AXES = ("finding", "source", "target", "given")
DIGITS = 6  # significant ones: what is small stays apart from what is zero
PICTURES: dict[str, tuple[str, ...]] = {  # what heads learn, and its axes on disk
    "coupling": ("source", "target"),
    "coupling_of_gate": ("gate", "source", "target"),
    "gates": ("image", "gate"),
    "adjacency": ("finding", "source"),
    "prior_graph": ("finding", "source"),
    "given_graph": ("finding", "source"),
    "probes": ("finding", "step", "part"),
    "attention_labels": ("finding", "step", "source"),
    "attention_inputs": ("finding", "step", "input"),
    "attention_tokens": ("finding", "step", "row", "column"),
    "attention": ("finding", "row", "column"),
    "scenes": ("image", "scene"),
    "scene_counts": ("scene", "given", "finding"),
    "scene_cooccurrence": ("scene", "given", "finding"),
}
TABLES = {f"{name}{kind}" for name in PICTURES for kind in ("", "_shares", "_by_view")}
TABLES |= {"coupling_sparsity", "scenes_entropy", "scenes_images"}
TAUS = (0.0, 1e-4, 1e-3, 1e-2, 1e-1)


@dataclass(frozen=True)
class Picture:
    """An array with a name for each axis. `image` is first where there is a value per image."""

    axes: tuple[str, ...]
    values: NDArray[Any]

    def __post_init__(self) -> None:
        promise(len(self.axes) == self.values.ndim, f"{self.axes} for values of shape {self.values.shape}")


class Seen:
    """Pictures of many images, batch after batch: of what belongs to a finding the sum over the images that
    show it is kept, of anything else, such as scenes, a value per image.
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


@dataclass(frozen=True)
class Learned:
    """What the file of a fold holds; `head`, the kind and settings of what has learned it."""

    findings: list[str]
    head: dict[str, Any]
    pictures: dict[str, Picture]


def write_learned(
    path: Path, findings: Sequence[str], pictures: Mapping[str, Picture], *, head: Mapping[str, Any]
) -> None:
    """Whole or not at all. What is no finite number, such as a mean over no image, is null."""
    told = {
        name: {"axes": picture.axes, "values": _as_lists(picture.values)}
        for name, picture in pictures.items()
    }
    facts = {"findings": list(findings), "head": dict(head), "pictures": told}
    write_text(path, json.dumps(facts) + "\n")


def _as_lists(values: NDArray[Any]) -> Any:
    if values.ndim:
        return [_as_lists(part) for part in values]
    return float(_number(values)) if np.isfinite(values) else None


def _number(value: Any) -> str:
    if float(value).is_integer():
        return str(int(value))  # counts are whole; a proximal step leaves -0.0
    return f"{value:.{DIGITS}g}"


def read_learned(path: Path) -> Learned:
    """null is NaN. Raises UserError."""
    try:
        told = read_json(path)
        findings = told["findings"]
        pictures = {name: _picture(one, findings) for name, one in told["pictures"].items()}
        return Learned(findings, dict(told["head"]), pictures)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; run `dvc repro train`.") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise UserError(
            f"{path}: not what `cxrscore train` writes ({error}); run `dvc repro train`."
        ) from error


def _picture(told: Mapping[str, Any], findings: Sequence[str]) -> Picture:
    axes, values = tuple(told["axes"]), np.array(told["values"], dtype=float)
    if values.ndim != len(axes) or not values.size:
        raise ValueError(f"axes {axes}, shape {values.shape}")
    if any(n != len(findings) for axis, n in zip(axes, values.shape, strict=True) if axis in FINDING_AXES):
        raise ValueError(f"axes {axes}, shape {values.shape}, {len(findings)} findings")
    return Picture(axes, values)


def tidy_rows(picture: Picture, findings: Sequence[str], inputs: Sequence[str] = ()) -> Iterator[list[Any]]:
    """One row per number that is defined: a cell for each axis, findings by name, and so the axis `input`
    where `inputs` names its columns; then the number.
    """
    names = dict.fromkeys(FINDING_AXES, findings) | ({"input": inputs} if inputs else {})
    for place in product(*map(range, picture.values.shape)):
        value = picture.values[place]
        if not np.isnan(value):
            cells = (
                names[axis][i] if axis in names else i for axis, i in zip(picture.axes, place, strict=True)
            )
            yield [*cells, _number(value)]


def mean_of_rows(rows: Collection[Mapping[str, str]], findings: Sequence[str]) -> Picture:
    """Tidy rows of all folds, `fold`, a cell for each axis, `value`, one row at least -> the mean over the
    folds that have a number there, NaN where none has.
    """
    axes = tuple(next(iter(rows)))[1:-1]
    index = {name: i for i, name in enumerate(findings)}
    places = np.array(
        [[index[row[axis]] if axis in FINDING_AXES else int(row[axis]) for axis in axes] for row in rows]
    )
    shape = [len(findings) if axis in FINDING_AXES else places[:, i].max() + 1 for i, axis in enumerate(axes)]
    sums, counts = np.zeros(shape), np.zeros(shape)
    np.add.at(sums, tuple(places.T), [float(row["value"]) for row in rows])
    np.add.at(counts, tuple(places.T), 1)
    return Picture(axes, np.divide(sums, counts, out=np.full(shape, np.nan), where=counts > 0))


def sparsity_rows(coupling: Picture) -> Iterator[list[Any]]:
    """(L, L) -> of each tau in TAUS, tau and the share of entries off the diagonal with |A| < tau; with tau
    0, the share that is zero exactly. A single finding has no such entry and no row.
    """
    sizes = np.abs(coupling.values[~np.eye(len(coupling.values), dtype=bool)])
    for tau in TAUS if len(sizes) else ():
        yield [f"{tau:g}", _number((sizes < tau if tau else sizes == 0).mean())]
