"""A file's weights -> by a backbone's names and shapes, and what of them does not fit.

In    name -> tensor, as a file holds them; the backbone, which may be on the meta device.
Out   the weights under the backbone's own names; missing, unknown and misshapen keys, side by side.

A checkpoint of ours gives its backbone alone; timm's own filter turns the formats of others into its names
and resamples what depends on the image size; absolute position embeddings of another grid that it leaves are
resampled here (timm.layers.resample_abs_pos_embed); a final norm that the published model applies after
pooling is ours before it; keys of the classifier and of what pools are left out.
"""

import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from math import isqrt
from typing import Any

import timm
import torch
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor

SHOWN = 10  # keys of each kind in a refusal
WRAPPERS = 4  # one within the other, such as module.model.
COUNTER = "num_batches_tracked"  # of a batch norm: torch counts from zero
Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Fit:
    """Weights by the backbone's names, the backbone's own, and by kind the keys that do not fit. `failure`:
    what timm's filter said where it could not read the names.
    """

    weights: Weights
    expected: Mapping[str, Tensor]
    misfits: Mapping[str, list[str]]
    failure: str = ""

    @property
    def is_whole(self) -> bool:
        return not self.failure and not any(self.misfits.values())

    @property
    def met(self) -> int:
        """How many of the backbone's keys there are."""
        return len(self.expected.keys() & self.weights.keys())

    def without(self, patterns: Sequence[str]) -> "Fit":
        """The same but for the misfits that a pattern allows."""
        left = {
            kind: [key for key in keys if not any(fnmatchcase(key, pattern) for pattern in patterns)]
            for kind, keys in self.misfits.items()
        }
        return replace(self, misfits=left)


def fit_weights(backbone: Any, name: str, found: Mapping[str, Tensor]) -> Fit:
    """Of a checkpoint of ours the `backbone.` keys; of a published model all but the classifier."""
    expected: Weights = backbone.state_dict()
    weights, failure = _timm_weights(backbone, backbone_part(found))
    _rename_final_norm(weights, expected)
    _resample_positions(weights, expected)
    own = _keys_of_the_whole(name) - expected.keys()
    weights = {key: value for key, value in weights.items() if key not in own}
    return Fit(weights, expected, _misfits(weights, expected), failure)


def backbone_part(weights: Mapping[str, Tensor]) -> Weights:
    """What stands under `backbone.`, where anything does: the head stays behind."""
    ours = {key.removeprefix("backbone."): weights[key] for key in weights if key.startswith("backbone.")}
    return ours or dict(weights)


def extra_prefix(backbone: Any, name: str, found: Mapping[str, Tensor], fit: Fit) -> tuple[str, Fit]:
    """What wrappers put before the keys, such as `module.`, and how the weights fit without it; no prefix,
    and `fit`, where more of the backbone's keys are met as they are.
    """
    best = "", fit
    for prefix in _likely_prefixes(list(found)):
        stripped = fit_weights(backbone, name, without_prefix(found, prefix))
        if stripped.met > best[1].met:
            best = prefix, stripped
    return best


def _likely_prefixes(keys: Sequence[str]) -> Iterator[str]:
    """The most frequent first component, that with the most frequent second one, and so on."""
    prefix = ""
    for _ in range(WRAPPERS):
        firsts = Counter(key.partition(".")[0] for key in keys if "." in key)
        if not firsts:
            return
        part = f"{firsts.most_common(1)[0][0]}."
        prefix += part
        yield prefix
        keys = [key.removeprefix(part) for key in keys if key.startswith(part)]


def begin_with(prefix: str, keys: Collection[str]) -> str:
    """A clause for an error."""
    having = sum(key.startswith(prefix) for key in keys)
    return f"{having} of {len(keys)} keys begin with {prefix!r}, and the backbone's do not"


def without_prefix(weights: Mapping[str, Tensor], prefix: str) -> Weights:
    """The weights whose keys begin with the prefix, by what follows it."""
    return {key[len(prefix) :]: value for key, value in weights.items() if key.startswith(prefix)}


def not_finite(weights: Mapping[str, Tensor]) -> str | None:
    """The first key that holds NaN or infinite values."""
    for key, value in weights.items():
        if value.is_floating_point() and not value.isfinite().all():
            return key
    return None


def table_lines(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Cells in columns, a line per row; the lines of a UserError."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  " + "  ".join(map(str.ljust, row, widths)).rstrip()


def shape_text(weights: Mapping[str, Tensor], key: str) -> str:
    """Such as (64, 3, 7, 7); - where there is no such key."""
    return str(tuple(weights[key].shape)) if key in weights else "-"


def misfit_lines(fit: Fit) -> Iterator[str]:
    """Shapes side by side, of the first keys of each kind, and how many there are in all."""
    if fit.failure:
        yield f"timm cannot read the names: {fit.failure}"
    rows = [["key", "file", "backbone", ""]]
    for kind, keys in fit.misfits.items():
        for key in keys[:SHOWN]:
            rows.append([key, shape_text(fit.weights, key), shape_text(fit.expected, key), kind])
    if len(rows) > 1:
        yield from table_lines(rows)
    for kind, keys in fit.misfits.items():
        if len(keys) > SHOWN:
            yield f"  {kind}: {len(keys)} in all"


def _timm_weights(backbone: Any, weights: Weights) -> tuple[Weights, str]:
    """What timm would load from this file: its modules know the formats that their models come in. Where its
    filter fails, the weights as they are, and why.
    """
    translate = getattr(sys.modules[type(backbone).__module__], "checkpoint_filter_fn", None)
    if translate is None:
        return weights, ""
    try:
        return dict(translate(dict(weights), backbone)), ""
    except (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        return weights, f"{type(error).__name__}: {error}"


def _rename_final_norm(weights: Weights, expected: Mapping[str, Tensor]) -> None:
    for part in ("weight", "bias"):
        after, before = f"fc_norm.{part}", f"norm.{part}"
        if after in weights and after not in expected and before in expected and before not in weights:
            weights[before] = weights.pop(after)


def _resample_positions(weights: Weights, expected: Mapping[str, Tensor]) -> None:
    """pos_embed (1, prefix + h * w, C) of another square grid, where the prefix is as long."""
    if "pos_embed" not in weights or "pos_embed" not in expected:
        return
    old, new = weights["pos_embed"], expected["pos_embed"]
    if old.ndim != 3 or new.ndim != 3 or old.shape[1] == new.shape[1]:
        return
    side = isqrt(new.shape[1])
    prefix = new.shape[1] - side * side
    if prefix == old.shape[1] - isqrt(old.shape[1]) ** 2:
        weights["pos_embed"] = resample_abs_pos_embed(old, [side, side], num_prefix_tokens=prefix)


def _keys_of_the_whole(name: str) -> set[str]:
    """The keys of the published model with a classifier: those that ours lacks pool or classify."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return set(timm.create_model(name, pretrained=False, num_classes=1).state_dict())


def _misfits(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, list[str]]:
    missing = expected.keys() - weights.keys()
    both = expected.keys() & weights.keys()
    return {
        "missing": sorted(key for key in missing if not key.endswith(COUNTER)),
        "unknown": sorted(weights.keys() - expected.keys()),
        "other shape": sorted(key for key in both if expected[key].shape != weights[key].shape),
        "other type": sorted(key for key in both if _is_of_other_type(key, weights[key], expected[key])),
    }


def _is_of_other_type(key: str, mine: Tensor, theirs: Tensor) -> bool:
    """Whole numbers for fractions, such as quantized weights without their scale, or the reverse."""
    return mine.is_floating_point() != theirs.is_floating_point() and not key.endswith(COUNTER)
