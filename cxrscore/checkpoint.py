"""One fold's model in one file: weights, and all that scoring needs to know, verified on load.

In    a model and its facts (Card).
Out   a .safetensors file whose metadata hold the card as JSON and a sha256 over the tensors (neither
      safetensors nor torch notices a flipped bit). Nothing is ever unpickled; nothing is loaded that does not
      fit.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from cxrscore.errors import UserError
from cxrscore.files import replacing, sha256_file
from cxrscore.machine import Machine
from cxrscore.model import CXRModel, build_model

SCHEMA = 1
KEY = "cxrscore"


@dataclass(frozen=True)
class Card:
    """What a checkpoint says of itself. `findings` in the order of the logits; `prevalence` of the training
    rows, in that order.
    """

    findings: list[str]
    id_column: str
    backbone: str
    head: dict[str, Any]
    size: int
    preprocessing: str
    fold: int
    k: int
    epoch: int
    macro_auc: float
    prevalence: list[float]
    params: dict[str, Any]
    sha256: dict[str, str]
    versions: dict[str, str]
    schema: int = SCHEMA


@dataclass(frozen=True)
class Fold:
    """A loaded checkpoint: its model in evaluation mode on the machine's device, its card and its file's
    sha256.
    """

    path: Path
    card: Card
    model: CXRModel
    file_sha256: str


def save_checkpoint(path: Path, model: nn.Module, card: Card) -> None:
    """Whole or not at all; the same weights and card give the same bytes."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    facts = json.dumps({"card": asdict(card), "sha256": _digest(tensors)}, sort_keys=True, allow_nan=False)
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata={KEY: facts})  # one entry: safetensors shuffles several
        temporary.chmod(0o644)  # safetensors writes for the owner alone; colleagues score with it


def read_card(path: Path) -> Card:
    """The card alone, without the weights. Raises UserError."""
    facts, _ = _read_metadata(path)
    if facts.get("schema", 0) > SCHEMA:
        raise UserError(
            f"{path}: schema {facts['schema']}, this version reads up to {SCHEMA}; update cxrscore."
        )
    try:
        return Card(**facts)
    except TypeError as error:
        raise UserError(f"{path}: its card does not fit this version ({error}); train again.") from error


def load_fold(path: Path, machine: Machine) -> Fold:
    """Raises UserError for a file that is damaged, not a checkpoint, or holds weights that cannot be
    right.
    """
    card = read_card(path)
    _, stated = _read_metadata(path)
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
    if _digest(tensors) != stated:
        raise UserError(
            f"{path}: the weights do not match their sha256: the file is damaged; restore or train it again."
        )
    _refuse_impossible(path, tensors)
    model = build_model(
        card.backbone, init="none", findings=len(card.findings), head=card.head, size=card.size
    )
    _refuse_unlike(path, model.state_dict(), tensors)
    model.load_state_dict(tensors)
    return Fold(path, card, model.eval().requires_grad_(False).to(machine.device), sha256_file(path))


def _read_metadata(path: Path) -> tuple[dict[str, Any], str]:
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})[KEY])
        return facts["card"], facts["sha256"]
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


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over names, shapes, types and bytes, in the order of names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()


def _refuse_impossible(path: Path, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise UserError(f"{path}: {name} holds NaN or infinite values; train this fold again.")
        if name.endswith("running_var") and (tensor < 0).any():
            raise UserError(f"{path}: {name} holds negative variances; train this fold again.")


def _refuse_unlike(path: Path, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    missing, unknown = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    unlike = [
        name for name in sorted(expected.keys() & found.keys()) if expected[name].shape != found[name].shape
    ]
    if missing or unknown or unlike:
        raise UserError(
            f"{path}: missing {missing[:5]}, unknown {unknown[:5]}, other shape {unlike[:5]}; not this model."
        )
