"""Tensors by name from a file that others wrote: a pickle, as torch.save writes it, or .safetensors.

In    a path; of a pickle that holds several dictionaries of tensors, which.
Out   name -> tensor, and what stood beside them. Of a pickle tensors alone are loaded (torch.load,
      weights_only): one that asks to run anything is refused with what it asked for.
"""

import pickle
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from cxrscore.core.errors import UserError
from cxrscore.core.safetensors_digest import is_ours
from cxrscore.model.initial_weights import is_pickle
from cxrscore.model.weight_matching import Weights

SHOWN = 10  # names in an error
DEEPEST = 3  # dictionaries within each other that weights are looked for in
DAMAGED = (  # what torch raises for it
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True)
class Loaded:
    """A file's tensors, in its order if `is_ordered`. `entry`: where in a pickle they stood, such as
    state_dict; `beside`: the other entries there.
    """

    weights: Weights
    entry: str = ""
    beside: Sequence[str] = ()
    is_ordered: bool = True


def load_tensors(path: Path, entry: str = "") -> Loaded:
    """Raises UserError for what is neither a .safetensors file nor a pickle of tensors, and for a pickle that
    asks for more, or holds several dictionaries of tensors of which `entry` names none.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; name a file of weights that is there.")
    try:
        ours, weights = is_ours(path), load_file(path)
    except (UserError, OSError, SafetensorError) as error:
        if not is_pickle(path):
            raise UserError(
                f"{path}: neither a readable .safetensors file nor a pickle ({error}); take another file."
            ) from error
        return _chosen(path, _unpickled(path), entry)
    if ours:
        raise UserError(f"{path}: a checkpoint of cxrscore; set train.init to it as it is.")
    if entry:
        raise UserError(f"{path}: --entry {entry}: a .safetensors file has no entries; leave the option out.")
    return Loaded(weights, is_ordered=False)  # safetensors writes tensors by type and name


def _unpickled(path: Path) -> Any:
    """Nothing but tensors, text, numbers and their lists and dictionaries."""
    _refuse_flipped(path)
    try:
        with warnings.catch_warnings(action="ignore"):  # of torch, about protocols and types of storage
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL (\S+)", str(error))
        if asked:
            raise UserError(
                f"{path}: asks to run {asked[1]}, so it holds more than tensors; it was not run. If you "
                "trust the file, load it with the code that wrote it and save its tensors alone: "
                "torch.save(model.state_dict(), NEW)."
            ) from error
        raise UserError(f"{path}: damaged, or not written by torch.save; fetch it again.") from error
    except DAMAGED as error:
        why = (str(error).splitlines() or [""])[0][:200]
        raise UserError(
            f"{path}: damaged, or not a file of tensors ({type(error).__name__}: {why}); fetch it again."
        ) from error


def _refuse_flipped(path: Path) -> None:
    """A zip has a CRC-32 of each member, which torch.load does not look at. Older pickles have none."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            flipped = archive.testzip()
    except (*DAMAGED, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: damaged ({type(error).__name__}: {error}); fetch it again.") from error
    if flipped is not None:
        raise UserError(f"{path}: damaged: its part {flipped} does not match its checksum; fetch it again.")


def _chosen(path: Path, value: Any, entry: str) -> Loaded:
    entries = dict(_entries(value))
    if len(entries) > 1:
        entries.pop("", None)  # such as a step that is counted in a tensor, beside the weights
    if not entries:
        raise UserError(
            f"{path}: no dictionary of named tensors in it; save one by torch.save(model.state_dict(), NEW)."
        )
    names = ", ".join(list(entries)[:SHOWN])
    if entry and entry not in entries:
        raise UserError(f"{path}: --entry {entry}: no such dictionary of tensors; name one of {names}.")
    if not entry and len(entries) > 1:
        raise UserError(f"{path}: {len(entries)} dictionaries of tensors; choose one with --entry: {names}.")
    name = entry or next(iter(entries))
    others = [str(key) for key in value if name and str(key) != name.partition("/")[0]]
    return Loaded(_plain_tensors(path, entries[name]), entry=name, beside=others)


def _entries(value: Any, name: str = "", depth: int = DEEPEST) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every dictionary of text to tensors, by the keys that lead to it; an optimizer's go by numbers."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        return
    if any(isinstance(one, Tensor) for one in value.values()):
        yield name, value
    for key, one in value.items() if depth else ():
        yield from _entries(one, f"{name}/{key}" if name else key, depth - 1)


def _plain_tensors(path: Path, found: Mapping[str, Any]) -> Weights:
    others = [key for key, value in found.items() if not _is_plain(value)]
    if others:
        raise UserError(f"{path}: {others[:SHOWN]} ({len(others)} in all): not plain tensors; remove them.")
    return {key: value.detach() for key, value in found.items()}


def _is_plain(value: Any) -> bool:
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.device.type != "cpu":
        return False  # what is of the meta device has no numbers
    return not (value.is_quantized or value.is_complex())
