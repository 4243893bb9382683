"""Label heads: a backbone's last feature map -> logits. One file and one line here adds a head; one section
in params.py lets params.yaml name it.

In    features (B, C, h, w); in training y and mask (B, L), too.
Out   HeadOutput: logits (B, L), and what a head adds to the training loss.
"""

from typing import Any

from cxrscore.model.heads.agcn import Agcn
from cxrscore.model.heads.base import Head, HeadOutput
from cxrscore.model.heads.coupling import Coupling
from cxrscore.model.heads.independent import Independent
from cxrscore.model.heads.lamp import Lamp
from cxrscore.model.heads.salgl import Salgl

HEADS: dict[str, type[Head]] = {
    "independent": Independent,
    "coupling": Coupling,
    "lamp": Lamp,
    "agcn": Agcn,
    "salgl": Salgl,
}

__all__ = ["HEADS", "Head", "HeadOutput", "build_head"]


def build_head(kind: str, *, findings: int, channels: int, **settings: Any) -> Head:
    """The head named `kind` for L = `findings` labels over a feature map of C = `channels`, with the settings
    of its section in params.yaml. What it takes from training labels comes after, by its `begin`, or with the
    state dict of a trained one.
    """
    return HEADS[kind](findings=findings, channels=channels, **settings)
