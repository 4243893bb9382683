"""One fold's model in one file: weights, and all that scoring needs to know, verified on load.

In    a model and its facts (Card).
Out   a sealed .safetensors file whose metadata hold the card as JSON. Nothing is loaded that does not fit.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from cxrscore.errors import UserError
from cxrscore.files import sha256_file
from cxrscore.machine import Machine
from cxrscore.model import CXRModel, build_model
from cxrscore.sealed import read_facts, read_tensors, write_sealed

SCHEMA = 1


@dataclass(frozen=True)
class Card:
    """What a checkpoint says of itself. `findings` in the order of the logits; `prevalence` of the training
    rows, in that order. `views`: what is averaged, names in predict.VIEWS. `weights`: raw, or ema, their
    moving average. What has a default here is missing in older files, and true of them.
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
    views: list[str] = field(default_factory=lambda: ["plain", "flip"])
    weights: str = "ema"
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


def save_checkpoint(path: Path, weights: Mapping[str, Tensor], card: Card) -> None:
    """Whole or not at all; the same weights, a model's state_dict(), and card give the same bytes."""
    write_sealed(path, weights, {"card": asdict(card)})


def read_card(path: Path) -> Card:
    """The card alone, without the weights. Raises UserError."""
    facts = read_facts(path).get("card")
    if not isinstance(facts, dict):
        raise UserError(f"{path}: no checkpoint of a fold: it has no card.")
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
    tensors = read_tensors(path)
    _refuse_impossible(path, tensors)
    model = build_model(
        card.backbone, init="none", findings=len(card.findings), head=card.head, size=card.size
    )
    _refuse_unlike(path, model.state_dict(), tensors)
    model.load_state_dict(tensors)
    return Fold(path, card, model.eval().requires_grad_(False).to(machine.device), sha256_file(path))


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
