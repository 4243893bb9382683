"""Tensors and facts in one .safetensors file under one seal: neither safetensors nor torch notices a flipped
bit, and a changed fact is as wrong as a changed weight.

In    name -> tensor, facts for JSON.
Out   a file, whole or not at all; the same tensors and facts give the same bytes. Nothing is ever unpickled.

Its one metadata entry is JSON, {"facts": ..., "seal": ..., "tensors": ...}: `tensors` is a sha256 over the
tensors, `seal` one over the facts and `tensors`. Facts are so checked without reading a tensor, and no facts
go with other tensors.
"""

import hashlib
import json
import math
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from cxrscore.core.errors import UserError
from cxrscore.core.files import replacing, sha256_bytes

KEY = "cxrscore"
LENGTH = 8  # bytes that tell the header's length; what follows them is JSON
LONGEST_HEADER = 100_000_000  # safetensors reads none that is longer
DEEPEST = 20  # levels of facts; a card has six
MALFORMED = (AttributeError, LookupError, RecursionError, TypeError, ValueError)  # of JSON of another shape
Entry = dict[str, Any]


@dataclass(frozen=True)
class Sealed:
    """A file that was read once: what it holds, both seals checked, and the sha256 of its bytes."""

    facts: dict[str, Any]
    tensors: dict[str, Tensor]
    sha256: str


def write_sealed(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Raises ValueError for facts that are NaN or infinite, which JSON has no word for."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    digest = digest_of(plain)
    text = _canonical({"facts": facts, "tensors": digest, "seal": _seal(facts, digest)})
    with replacing(path) as temporary:
        try:
            save_file(plain, temporary, metadata={KEY: text})  # one entry: safetensors shuffles several
        except SafetensorError as error:
            raise _of_the_system(error, path) from error
        temporary.chmod(0o644)  # safetensors writes for the owner alone; colleagues score with it


def _of_the_system(error: SafetensorError, path: Path) -> Exception:
    """A full disk is an OSError, whichever library meets it."""
    number = re.search(r"os error (\d+)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1])), str(path)) if number else error


def read_sealed(path: Path) -> Sealed:
    """Facts and tensors of the same bytes, read once, so that a file that is replaced meanwhile is never half
    the one and half the other. Raises UserError where they do not match their seals.
    """
    data = read_whole(path)
    entry = entry_of(path, data)
    facts = facts_of(path, entry)
    return Sealed(facts, tensors_of(path, data, entry["tensors"]), sha256_bytes(data))


def read_facts(path: Path) -> dict[str, Any]:
    """The facts alone, without reading the tensors. Raises UserError where they do not match their seal."""
    return facts_of(path, _own(path, _read_header(path)))


def is_ours(path: Path) -> bool:
    """Whether it has our metadata entry, whatever that says. Raises UserError where that cannot be
    determined.
    """
    return _read_header(path) is not None


def read_whole(path: Path) -> bytes:
    """Raises UserError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def entry_of(path: Path, data: bytes) -> Entry:
    """Our metadata entry, not checked against any seal. Raises UserError."""
    try:
        text = _entry_text(data[LENGTH : LENGTH + _header_length(data)], len(data))
    except MALFORMED as error:
        raise _unreadable(path, error) from error
    return _own(path, text)


def is_unsealed(entry: Entry) -> bool:
    """Whether it is of the time when a sha256 covered the tensors alone."""
    return entry.keys() == {"card", "sha256"}


def tensors_of(path: Path, data: bytes, stated: object) -> dict[str, Tensor]:
    """Name -> tensor on the CPU. Raises UserError where they do not match the sha256 that is stated."""
    try:
        tensors = load(data)
        found = digest_of(tensors)
    except (AssertionError, RuntimeError, SafetensorError, *MALFORMED) as error:
        raise _unreadable(path, error) from error
    if found != stated:
        refuse_damaged(path, "its weights")
    return tensors


def refuse_damaged(path: Path, what: str) -> NoReturn:
    raise UserError(
        f"{path}: {what} do not match their SHA-256: the file is damaged or was changed; "
        "restore or train it again."
    )


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over names, shapes, types and bytes, in the order of names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        if tensor.numel():
            digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def facts_of(path: Path, entry: Entry) -> dict[str, Any]:
    """Raises UserError where they do not match their seal, or have none."""
    if is_unsealed(entry):
        raise UserError(
            f"{path}: a checkpoint of an older version, without a SHA-256 of its metadata, such as finding "
            f"names. If you trust it, `cxrscore reseal {shlex.quote(str(path))} -o NEW` prints the metadata "
            "and writes a copy that has one."
        )
    facts, digest = entry.get("facts"), entry.get("tensors")
    whole = entry.keys() == {"facts", "seal", "tensors"} and isinstance(facts, dict)
    if not whole or entry["seal"] != _seal(facts, digest):
        refuse_damaged(path, "its facts")
    return dict(entry["facts"])


def _seal(facts: object, digest: object) -> str:
    return sha256_bytes(_canonical({"facts": facts, "tensors": digest}).encode())


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, allow_nan=False)


def _read_header(path: Path) -> str | None:
    """The text of our entry, None where there is none. Raises UserError."""
    try:
        with path.open("rb") as file:
            start = file.read(LENGTH)
            return _entry_text(file.read(_header_length(start)), os.fstat(file.fileno()).st_size)
    except (OSError, *MALFORMED) as error:
        raise _unreadable(path, error) from error


def _header_length(start: bytes) -> int:
    length = int.from_bytes(start[:LENGTH], "little")
    if len(start) < LENGTH or length > LONGEST_HEADER:
        raise ValueError("it does not begin with the length of a header")
    return length


def _entry_text(header: bytes, size: int) -> str | None:
    """Raises what JSON of another shape makes Python raise, and for a file of another size than it tells."""
    about = _parse(header.decode())
    metadata = about.pop("__metadata__", {})
    expected = LENGTH + len(header) + max((one["data_offsets"][1] for one in about.values()), default=0)
    if size != expected:
        raise ValueError(f"{size:,} bytes, and its header describes {expected:,}")
    text = metadata.get(KEY)
    if not isinstance(text, str | None):
        raise TypeError("its metadata are not text")
    return text


def _own(path: Path, text: str | None) -> Entry:
    if text is None:
        raise UserError(
            f"{path}: a .safetensors file, but not a cxrscore checkpoint: it has no {KEY!r} entry; name one "
            "that "
            "`cxrscore train` wrote."
        )
    try:
        entry = _parse(text)
        _refuse_deep(entry)
    except MALFORMED as error:
        raise _unreadable(path, error) from error
    if not isinstance(entry, dict):
        raise _unreadable(path, TypeError(f"its {KEY!r} entry is no JSON object"))
    return entry


def _parse(text: str) -> Any:
    """JSON as its standard has it, with no name twice in an object."""
    return json.loads(text, object_pairs_hook=_distinct, parse_constant=_finite, parse_float=_finite)


def _distinct(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice in one object")
    return found


def _refuse_deep(value: Any, levels: int = DEEPEST) -> None:
    """What Python can still read, it may no longer be able to copy or compare."""
    if levels == 0:
        raise ValueError(f"nested deeper than {DEEPEST} levels")
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for one in inner:
        _refuse_deep(one, levels - 1)


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text[:20]} is not a finite number")
    return number


def _unreadable(path: Path, error: BaseException) -> UserError:
    if isinstance(error, FileNotFoundError):
        return UserError(f"{path}: no such file; name a checkpoint that is there.")
    why = (error.strerror if isinstance(error, OSError) else "") or f"{type(error).__name__}: {error}"
    return UserError(f"{path}: not a readable .safetensors file ({why[:200]}); restore or train it again.")
