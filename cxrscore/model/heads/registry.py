"""Label heads by kind. One file and one line here adds a head; one section in params.py lets params.yaml name
it.

In    a head's settings, of its own type; L = `findings`, C = `channels` of the feature map (B, C, h, w).
Out   Head, whose forward gives a HeadOutput: logits (B, L), and what a head adds to the training loss.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from cxrscore.core.errors import UserError
from cxrscore.model.heads.agcn import Agcn, AgcnSettings
from cxrscore.model.heads.base import CountFromZero, Head
from cxrscore.model.heads.coupling import Coupling, CouplingSettings
from cxrscore.model.heads.independent import Independent, IndependentSettings
from cxrscore.model.heads.lamp import Lamp, LampSettings
from cxrscore.model.heads.mlp import Mlp, MlpSettings
from cxrscore.model.heads.salgl import Salgl, SalglSettings
from cxrscore.tables.tabular_inputs import Encoding

HeadSettings = (
    IndependentSettings | MlpSettings | CouplingSettings | LampSettings | AgcnSettings | SalglSettings
)
HEADS: dict[type[HeadSettings], type[Head]] = {
    IndependentSettings: Independent,
    MlpSettings: Mlp,
    CouplingSettings: Coupling,
    LampSettings: Lamp,
    AgcnSettings: Agcn,
    SalglSettings: Salgl,
}
KINDS: dict[str, type[HeadSettings]] = {settings.kind: settings for settings in HEADS}


def head_settings(stated: Mapping[str, Any]) -> HeadSettings:
    """What params.yaml or a checkpoint states, in the type of its kind. Raises UserError."""
    if stated["kind"] not in KINDS:
        raise UserError(f"train.head.kind: {stated['kind']!r} is not a head; there are {', '.join(KINDS)}.")
    settings = KINDS[stated["kind"]]
    needed = {field.name for field in fields(settings) if field.default is MISSING}
    lacking = sorted(needed - stated.keys())
    unknown = sorted(stated.keys() - {field.name for field in fields(settings)})
    if lacking or unknown:
        raise UserError(
            f"train.head: kind {settings.kind} lacks the keys {lacking} and does not know {unknown}; set "
            "exactly the keys of that kind."
        )
    for name, kind in _types(settings).items():
        if name in stated and not _fits(stated[name], kind):
            raise UserError(
                f"train.head.{name}: {stated[name]!r} does not fit kind {settings.kind}; set {_needed(kind)}."
            )
    return settings(**stated)


def _types(settings: type[HeadSettings]) -> dict[str, Any]:
    """Of what can be stated: None only stands for what an older checkpoint does not state."""
    hints = get_type_hints(settings).items()
    return {
        name: next(one for one in get_args(hint) if one is not NoneType)
        if NoneType in get_args(hint)
        else hint
        for name, hint in hints
    }


def _fits(value: Any, kind: Any) -> bool:
    """Counts are whole numbers from 1, weights and rates finite numbers from 0."""
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if kind == Sequence[str]:
        texts = isinstance(value, list | tuple) and all(isinstance(one, str) and one for one in value)
        return texts and len({*value}) == len(value)
    if kind == Sequence[Mapping[str, Any]]:
        return isinstance(value, list | tuple) and all(map(_is_encoding, value))
    if kind is bool or kind is str:
        return type(value) is kind
    if kind is int or kind is CountFromZero:
        return type(value) is int and value >= (1 if kind is int else 0)
    return type(value) in (int, float) and 0 <= value < math.inf


def _is_encoding(value: Any) -> bool:
    try:
        Encoding.told(value)
    except ValueError:
        return False
    return True


def _needed(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    names: dict[Any, str] = {bool: "true or false", str: "a text", float: "a number from 0"}
    names |= {int: "a whole number from 1", CountFromZero: "a whole number from 0"}
    names |= {Sequence[str]: "a list of distinct texts"}
    names |= {Sequence[Mapping[str, Any]]: "a list of encodings, as `cxrscore train` writes them"}
    return names[kind]


def build_head(settings: HeadSettings, *, findings: int, channels: int) -> Head:
    """With random weights. What it takes from training labels comes after, by its `begin`, or with the state
    dict of a trained one.
    """
    return HEADS[type(settings)](settings, findings=findings, channels=channels)
