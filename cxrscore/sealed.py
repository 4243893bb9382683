"""Tensors and facts in one .safetensors file with a sha256 over the tensors: neither safetensors nor torch
notices a flipped bit.

In    name -> tensor, facts for JSON.
Out   a file, whole or not at all; the same tensors and facts give the same bytes. Nothing is ever unpickled.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from cxrscore.errors import UserError
from cxrscore.files import replacing, sha256_file

KEY = "cxrscore"


def write_sealed(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """`facts` without the name sha256, which is the seal's own."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps({**facts, "sha256": _digest(plain)}, sort_keys=True, allow_nan=False)
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


def read_facts(path: Path) -> dict[str, Any]:
    """The facts alone, and the tensors' stated sha256. Raises UserError."""
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})[KEY])
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file.") from error
    except KeyError as error:
        raise UserError(
            f"{path}: a .safetensors file, but not a cxrscore checkpoint: it has no {error} entry."
        ) from error
    except (OSError, SafetensorError, ValueError) as error:
        raise UserError(
            f"{path}: not a readable checkpoint ({error}); sha256 {sha256_file(path)}."
        ) from error
    if not isinstance(facts, dict) or "sha256" not in facts:
        raise UserError(f"{path}: not a readable checkpoint: its sha256 is missing.")
    return facts


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Name -> tensor on the CPU. Raises UserError where they do not match their sha256."""
    stated = read_facts(path)["sha256"]
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
    if _digest(tensors) != stated:
        raise UserError(
            f"{path}: the weights do not match their sha256: the file is damaged; restore or train it again."
        )
    return tensors


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over names, shapes, types and bytes, in the order of names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        if tensor.numel():
            digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
