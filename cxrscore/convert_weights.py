"""Weights as others save them -> a .safetensors file that train.init takes.

In    a pickle of tensors, alone or within a training's dictionary, or a .safetensors file; a backbone's name.
Out   a new .safetensors file, whole or not there; what was left out, and which keys were renamed to what.

Keys that the backbone has are kept. Where names differ, keys can be matched by order, on request: both lists
are walked side by side, and every shape has to agree. That cannot notice two layers of equal shape that
changed places, so it is refused where the order is known to be lost (.safetensors files, sorted keys), where
a layer's parts would change places (a weight as a bias), and where a key that the backbone has would get
another name.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save
from torch import Tensor

from cxrscore.core.errors import UserError, promise
from cxrscore.core.files import sha256_bytes, write_bytes
from cxrscore.core.text_table import Block, TextTable, column_widths
from cxrscore.model.backbone import create_backbone, map_shape, refuse_unknown
from cxrscore.model.tensor_files import Loaded, load_tensors
from cxrscore.model.weight_matching import (
    COUNTER,
    SHOWN,
    Fit,
    Weights,
    begin_with,
    extra_prefix,
    fit_weights,
    misfit_lines,
    not_finite,
    shape_text,
    table_lines,
    without_prefix,
)
from cxrscore.scoring.output import check_output

OTHER_BACKBONE = "Name the backbone that the file is of by --backbone, or take another file."
UNSORTED = "save it again with its keys in the order of the layers"
NOT_COMPARED = (
    "Names were not compared: order and shape decided, which cannot notice layers of equal shape that "
    "changed places."
)
Pairs = list[tuple[str, str]]


def match_by_order(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Pairs:
    """(key of the file, key of the backbone), in order, counters of batch norms apart. What is left of the
    file at the end is a linear classifier, or nothing. Raises UserError with both lists side by side from
    where they differ.
    """
    mine, theirs = ([key for key in keys if not key.endswith(COUNTER)] for keys in (weights, expected))
    rest = mine[len(theirs) :]
    alike = [_alike(weights[a], expected[b]) for a, b in zip(mine, theirs, strict=False)]
    agreeing = alike.index(False) if False in alike else len(alike)
    if agreeing < len(theirs) or (rest and not _is_classifier([weights[key] for key in rest])):
        raise UserError(
            f"names differ, and so do the shapes in order: {len(mine)} tensors in the file, "
            f"{len(theirs)} in the backbone; the first {agreeing} agree, then come",
            *_side_by_side(weights, mine[agreeing:], expected, theirs[agreeing:]),
            OTHER_BACKBONE,
        )
    return list(zip(mine, theirs, strict=False))


def _alike(mine: Tensor, theirs: Tensor) -> bool:
    return mine.shape == theirs.shape and mine.is_floating_point() == theirs.is_floating_point()


def _is_classifier(rest: Sequence[Tensor]) -> bool:
    """A weight (classes, C, ...) and perhaps its bias: no layer of a deeper model begins a rest so short."""
    weight, *biases = rest
    return weight.ndim >= 2 and [tuple(bias.shape) for bias in biases] in ([], [(weight.shape[0],)])


def _side_by_side(
    weights: Mapping[str, Tensor], mine: Sequence[str], expected: Mapping[str, Tensor], theirs: Sequence[str]
) -> Iterator[str]:
    rows = [["file", "", "backbone", ""]]
    for i in range(min(SHOWN, max(len(mine), len(theirs)))):
        a, b = mine[i] if i < len(mine) else "-", theirs[i] if i < len(theirs) else "-"
        rows.append([a, shape_text(weights, a), b, shape_text(expected, b)])
    return table_lines(rows)


def refuse_lost_order(weights: Mapping[str, Tensor], pairs: Pairs, expected: Mapping[str, Tensor]) -> None:
    """Raises UserError where names say that the order cannot be right, though every shape agrees."""
    if len(weights) > 2 and list(weights) == sorted(weights):
        raise UserError(f"its keys are sorted, so that the order of the layers is lost; {UNSORTED}.")
    parts = {_part(key) for key in expected}
    for old, new in pairs:
        if _part(old) in parts and _part(old) != _part(new):
            raise UserError(
                f"in order, {old} would become {new}, another part of a layer, so that their order is lost; "
                f"{UNSORTED}."
            )
        if old in expected and old != new:
            raise UserError(
                f"in order, {old} would become {new}, but the backbone has a key {old}; {UNSORTED}."
            )


def _part(key: str) -> str:
    return key.rpartition(".")[2]


def convert_weights(
    source: Path,
    output: Path,
    *,
    backbone: str,
    entry: str = "",
    prefix: str = "",
    init_except: Sequence[str] = (),
    by_order: bool = False,
) -> dict[str, Any]:
    """Write the new file and return what went into it. `init_except`: as of train.init_except. Raises
    UserError where the weights cannot be read, are not finite, or do not fit; then nothing was written.
    """
    _refuse_to_replace(output)
    model = _meta_backbone(backbone)
    loaded = load_tensors(source, entry)
    prefix = f"{prefix.rstrip('.')}." if prefix else ""
    weights = _checked(source, loaded.weights, prefix)
    fit = fit_weights(model, backbone, weights)
    left = fit.without(init_except)
    pairs: Pairs = []
    if not left.is_whole:
        _refuse_prefix(source, prefix, extra_prefix(model, backbone, weights, fit)[0], weights)
        pairs = _pairs(source, backbone, loaded, weights, left, by_order=by_order)
        weights = {new: weights[old] for old, new in pairs}
        promise(fit_weights(model, backbone, weights).is_whole, "what is matched by order fits by name")
    data = save({key: value.contiguous().clone() for key, value in weights.items()})  # no two share memory
    write_bytes(output, data)
    kept = {prefix + key for key in (dict(pairs) or weights)}
    return {
        "file": str(output),
        "file_sha256": sha256_bytes(data),
        "backbone": backbone,
        "tensors": len(weights),
        "entry": loaded.entry,
        "beside": loaded.beside,
        "prefix": prefix,
        "matched_by": "order" if pairs else "name",
        "left_out": [key for key in loaded.weights if key not in kept],
        "renamed": [[prefix + old, new, shape_text(weights, new)] for old, new in pairs],
    }


def _refuse_to_replace(output: Path) -> None:
    if output.suffix != ".safetensors":
        raise UserError(f"{output}: the output is a .safetensors file; give it that extension.")
    check_output(output)
    if output.exists():
        raise UserError(f"{output}: exists; choose another name.")


def _meta_backbone(name: str) -> Any:
    """At the size that its published weights are of: layers without numbers."""
    try:
        refuse_unknown(name)
        published: Any = timm.get_pretrained_cfg(name)
        size = published.input_size[-1]
        map_shape(name, size=size)
    except UserError as error:
        raise UserError(f"--backbone: {str(error).removeprefix('train.backbone: ')}") from error
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return create_backbone(name, size=size)


def _checked(source: Path, found: Weights, prefix: str) -> Weights:
    """What stands under the prefix. Raises UserError where nothing does, or not all is finite."""
    weights = without_prefix(found, prefix)
    if not weights:
        firsts = sorted({key.partition(".")[0] for key in found})[:SHOWN]
        raise UserError(
            f"{source}: no key begins with {prefix!r}; they begin with {', '.join(firsts)}: correct "
            "--strip-prefix."
        )
    key = not_finite(weights)
    if key is not None:
        raise UserError(f"{source}: {prefix}{key} holds NaN or infinite values; take another file.")
    return weights


def _refuse_prefix(source: Path, removed: str, more: str, weights: Weights) -> None:
    if more:
        remedy = f"use --strip-prefix {removed}{more} to remove it and leave out keys without it"
        raise UserError(f"{source}: {begin_with(more, weights)}; {remedy}.")


def _pairs(
    source: Path, backbone: str, loaded: Loaded, weights: Weights, left: Fit, *, by_order: bool
) -> Pairs:
    """The keys matched by order. Raises UserError where they cannot be, and unless it was asked for."""
    if 2 * left.met > len(left.expected):  # the names are the backbone's
        fault = f"{source} does not fit the backbone {backbone}."
        raise UserError(fault, *misfit_lines(left), OTHER_BACKBONE)
    try:
        pairs = match_by_order(weights, left.expected)
        if not loaded.is_ordered:
            raise UserError(
                "names differ, and .safetensors files do not keep order; convert what it was made of."
            )
        refuse_lost_order(weights, pairs, left.expected)
    except UserError as error:
        first, *more = error.lines
        raise UserError(f"{source} does not fit the backbone {backbone}: {first}", *more) from error
    if not by_order:
        rows = [["file", "backbone", "shape"]]
        rows += [[old, new, shape_text(weights, old)] for old, new in pairs[:SHOWN]]
        raise UserError(
            f"{source}: names differ from those of the backbone {backbone}; in order, every shape of "
            f"{len(pairs)} tensors agrees; --by-order takes them so. It begins with",
            *table_lines(rows),
            NOT_COMPARED,
        )
    return pairs


def conversion_blocks(facts: Mapping[str, Any]) -> list[Block]:
    """What was written, what was left out and, for keys matched by order, a row for each."""
    lines: list[Block] = [f"{facts['file']}: {facts['tensors']} tensors for {facts['backbone']}"]
    lines.append(f"sha256: {facts['file_sha256']}")
    if facts["entry"]:
        lines.append(f"taken from {facts['entry']}; beside it: {', '.join(facts['beside']) or 'nothing'}")
    if facts["prefix"]:
        lines.append(f"prefix removed: {facts['prefix']}")
    counters = [key for key in facts["left_out"] if key.endswith(COUNTER)]
    others = [key for key in facts["left_out"] if not key.endswith(COUNTER)]
    if others:
        lines.append(f"left out: {', '.join(others)}")
    if counters:
        lines.append(f"left out: {len(counters)} counters of batches ({COUNTER}), which torch counts again")
    if facts["matched_by"] == "name":
        return [*lines, "matched by name"]
    rows = [["file", "backbone", "shape"], *facts["renamed"]]
    told = f"{NOT_COMPARED} Before you rely on it, compare outputs with the model that the file is of."
    return [*lines, told, TextTable(rows, headed=True, widths=column_widths(rows))]
