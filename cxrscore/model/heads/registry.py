"""Label heads by kind. One file and one line here adds a head; one section in params.py lets params.yaml name
it.

In    a head's settings, of its own type; L = `findings`, C = `channels` of the feature map (B, C, h, w).
Out   Head, whose forward gives a HeadOutput: logits (B, L), and what a head adds to the training loss.
"""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from cxrscore.core.errors import UserError
from cxrscore.model.heads.agcn import Agcn, AgcnSettings
from cxrscore.model.heads.base import Head
from cxrscore.model.heads.coupling import Coupling, CouplingSettings
from cxrscore.model.heads.independent import Independent, IndependentSettings
from cxrscore.model.heads.lamp import Lamp, LampSettings
from cxrscore.model.heads.salgl import Salgl, SalglSettings

HeadSettings = IndependentSettings | CouplingSettings | LampSettings | AgcnSettings | SalglSettings
HEADS: dict[type[HeadSettings], type[Head]] = {
    IndependentSettings: Independent,
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
            f"train.head: kind {settings.kind} lacks {lacking} and has others, {unknown}; set those of its "
            "kind, no more and no less."
        )
    return settings(**stated)


def build_head(settings: HeadSettings, *, findings: int, channels: int) -> Head:
    """With random weights. What it takes from training labels comes after, by its `begin`, or with the state
    dict of a trained one.
    """
    return HEADS[type(settings)](settings, findings=findings, channels=channels)
