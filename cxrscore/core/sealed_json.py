"""Facts in one JSON file under a seal, for what a person may read and nobody should change by hand.

In    facts for JSON.
Out   a file, whole or not at all; the same facts give the same bytes.

The file is {"facts": ..., "seal": ...}; the seal is a sha256 over the facts as JSON with sorted keys. Bytes
that are not those that the facts give are refused, too: a name that occurs twice would leave no trace in what
is read.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cxrscore.core.errors import UserError
from cxrscore.core.files import parse_json, sha256_bytes, write_bytes

LONGEST = 100_000_000  # bytes; a file of ours has a few thousand


class SealedFacts(NamedTuple):
    """Facts whose seal was checked, and the sha256 of the file's bytes."""

    facts: dict[str, Any]
    sha256: str


def write_sealed_json(path: Path, facts: Mapping[str, Any]) -> None:
    """Raises ValueError for facts that are NaN or infinite."""
    write_bytes(path, _rendered(facts))


def read_sealed_json(path: Path, *, made_by: str) -> SealedFacts:
    """`made_by`: the command that makes such a file. Raises UserError."""
    try:
        data = _whole(path)
        facts = parse_json(data)["facts"]
        if not isinstance(facts, dict):
            raise TypeError("its facts are no JSON object")
        whole = data == _rendered(facts)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; run `{made_by}`, which writes it.") from error
    except (OSError, LookupError, TypeError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else "") or f"{type(error).__name__}: {error}"
        raise UserError(
            f"{path}: not a readable file ({why[:200]}); restore it, or run `{made_by}`."
        ) from error
    if not whole:
        raise UserError(
            f"{path}: its facts do not match their SHA-256: the file is damaged or was changed; restore it, "
            f"or run `{made_by}`."
        )
    return SealedFacts(facts, sha256_bytes(data))


def _whole(path: Path) -> bytes:
    if path.exists() and not path.is_file():
        raise ValueError("not a regular file")
    if path.stat().st_size > LONGEST:
        raise ValueError(f"more than {LONGEST:,} bytes")
    return path.read_bytes()


def _rendered(facts: Mapping[str, Any]) -> bytes:
    seal = sha256_bytes(json.dumps(facts, sort_keys=True, allow_nan=False).encode())
    return (json.dumps({"facts": facts, "seal": seal}, indent=1, allow_nan=False) + "\n").encode()
