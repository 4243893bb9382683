"""One fold's model in one file: weights, and all that scoring needs to know, verified on load.

In    a model and its facts (Card).
Out   a sealed .safetensors file whose facts are the card. Nothing is loaded that does not fit.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeGuard

from torch import Tensor

from cxrscore.core.device import Machine
from cxrscore.core.errors import UserError
from cxrscore.core.safetensors_digest import read_facts, read_sealed, write_sealed
from cxrscore.model.backbone import REFUSALS
from cxrscore.model.heads.registry import head_settings
from cxrscore.model.network import CXRModel, build_model

SCHEMA = 2
UNSEALED = 1  # the schema of versions without a seal


@dataclass(frozen=True)
class Card:
    """What a checkpoint says of itself. `findings` in the order of the logits; `prevalence` of the training
    rows, in that order. `views`: what is averaged, names in predict.VIEWS. `weights`: raw, or ema, their
    moving average. `bit_depth`: the declared depth of 16-bit files; None: not declared. What has a default
    here may be missing in unsealed files, and is true of them.
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
    bit_depth: int | None = None
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
    return card_of(path, read_facts(path))


def load_fold(path: Path, machine: Machine) -> Fold:
    """From one reading of the file. Raises UserError for a file that is damaged, not a checkpoint, or holds
    weights that cannot be right.
    """
    sealed = read_sealed(path)
    card = card_of(path, sealed.facts)
    model = model_of(path, card, sealed.tensors)
    return Fold(path, card, model.eval().requires_grad_(False).to(machine.device), sealed.sha256)


def card_of(path: Path, facts: Mapping[str, Any]) -> Card:
    """Raises UserError, which names the field that is not what it should be."""
    if not isinstance(facts.get("card"), dict):
        raise UserError(
            f"{path}: not a fold checkpoint: it has no metadata card; name one that `cxrscore train` wrote."
        )
    return checked_card(path, facts["card"], schema=SCHEMA)


def model_of(path: Path, card: Card, tensors: Mapping[str, Tensor]) -> CXRModel:
    """The model that the card describes, with these weights. Raises UserError where there is none, or where
    they are not its own.
    """
    try:
        model = build_model(
            card.backbone,
            init="none",
            findings=len(card.findings),
            head=head_settings(card.head),
            size=card.size,
        )
    except (AttributeError, UserError, *REFUSALS) as error:
        why = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        raise UserError(
            f"{path}: its card (backbone {card.backbone!r}, head {card.head['kind']!r}) does not build a "
            f"model: {why[:300].rstrip('. ')}. Load it with the version that trained it, or train it again."
        ) from error
    outdated = {f"head.{name}" for name in model.head.outdated()}
    tensors = {name: tensor for name, tensor in tensors.items() if name not in outdated}
    _refuse_unlike(path, model.state_dict(), tensors)
    _refuse_impossible(path, tensors)
    model.load_state_dict(tensors)
    return model


def _refuse_impossible(path: Path, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise UserError(f"{path}: {name} holds NaN or infinite values; train this fold again.")
        if name.endswith("running_var") and (tensor < 0).any():
            raise UserError(f"{path}: {name} holds negative variances; train this fold again.")


def _refuse_unlike(path: Path, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    missing, unknown = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    unlike = [
        name
        for name in sorted(expected.keys() & found.keys())
        if (expected[name].shape, expected[name].dtype) != (found[name].shape, found[name].dtype)
    ]
    if missing or unknown or unlike:
        raise UserError(
            f"{path}: missing {missing[:5]}, unknown {unknown[:5]}, other shape or type {unlike[:5]}; "
            "not this model; train it again."
        )


def checked_card(path: Path, found: Mapping[str, Any], *, schema: int = SCHEMA) -> Card:
    """A card as files of `schema` hold it. Raises UserError with the field, what it is and what it should
    be.
    """
    stated = found.get("schema")
    if _whole(stated) and stated > SCHEMA:
        raise UserError(f"{path}: schema {stated}, this version reads up to {SCHEMA}; update cxrscore.")
    if not _whole(stated) or stated != schema:
        _refuse(path, "schema", stated, str(schema))
    optional = OPTIONAL if schema == UNSEALED else frozenset()
    lacking, unknown = sorted(RULES.keys() - optional - found.keys()), sorted(found.keys() - RULES.keys())
    if lacking or unknown:
        raise UserError(
            f"{path}: its card lacks the fields {_shown(lacking)} and has others, {_shown(unknown)}; "
            "train it again."
        )
    for name, (fits, right) in RULES.items():
        if name in found and not fits(found[name]):
            _refuse(path, name, found[name], right)
    card = Card(**{**found, "schema": SCHEMA})
    if len(card.prevalence) != len(card.findings):
        _refuse(path, "prevalence", card.prevalence, f"{len(card.findings)} numbers, one per finding")
    if card.fold >= card.k:
        _refuse(path, "fold", card.fold, f"a whole number below k = {card.k}")
    if card.id_column in card.findings:
        _refuse(path, "id_column", card.id_column, "a name that no finding has")
    return card


def _refuse(path: Path, name: str, found: object, right: str) -> NoReturn:
    raise UserError(f"{path}: its card's {name} is {_shown(found)}, not {right}; train it again.")


def _shown(found: object) -> str:
    text = repr(found)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _whole(value: Any, low: int = 0, high: int = 1_000_000) -> TypeGuard[int]:
    """Python takes True for a number; a card does not."""
    return type(value) is int and low <= value <= high


def _share(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1


def _text(value: Any) -> bool:
    """Not blank, and without halves of surrogate pairs, which no table can hold."""
    return (
        isinstance(value, str) and bool(value.strip()) and not any("\ud800" <= c <= "\udfff" for c in value)
    )


def _distinct_names(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_text, value)) and len({*value}) == len(value)


def _shares(value: Any) -> bool:
    return isinstance(value, list) and all(map(_share, value))


def _texts_by_name(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_text, [*value, *value.values()]))


def _head(value: Any) -> bool:
    return isinstance(value, dict) and _text(value.get("kind"))


# of each field: what it takes, and the same in words
RULES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "findings": (_distinct_names, "a list of distinct names"),
    "id_column": (_text, "a name"),
    "backbone": (_text, "a timm name"),
    "head": (_head, "settings with a kind, by name"),
    "size": (partial(_whole, low=32, high=4096), "a whole number from 32 to 4096"),
    "preprocessing": (_text, "a name"),
    "fold": (_whole, "a whole number from 0"),
    "k": (partial(_whole, low=1), "a whole number from 1"),
    "epoch": (_whole, "a whole number from 0"),
    "macro_auc": (_share, "a number from 0 to 1"),
    "prevalence": (_shares, "a list of numbers from 0 to 1"),
    "params": (lambda value: isinstance(value, dict), "settings by name"),
    "sha256": (_texts_by_name, "texts by name"),
    "versions": (_texts_by_name, "texts by name"),
    "views": (_distinct_names, "a list of distinct names"),
    "weights": (lambda value: value in ("raw", "ema"), "raw or ema"),
    "bit_depth": (lambda value: value is None or _whole(value, 8, 16), "null or a whole number from 8 to 16"),
    "schema": (_whole, "a whole number"),
}
OPTIONAL = frozenset({"views", "weights", "bit_depth"})  # by a version without seals
