"""Label heads: a backbone's last feature map -> logits. One file and one line here adds a head.

In    features (B, C, h, w).
Out   HeadOutput: logits (B, L), and what a head adds to the training loss.
"""

from typing import Any

from cxrscore.heads.base import Head, HeadOutput
from cxrscore.heads.coupling import Coupling
from cxrscore.heads.independent import Independent

HEADS: dict[str, type[Head]] = {"coupling": Coupling, "independent": Independent}

__all__ = ["HEADS", "Head", "HeadOutput", "build_head"]


def build_head(kind: str, *, findings: int, channels: int, **settings: Any) -> Head:
    """The head named `kind` for L = `findings` labels over a feature map of C = `channels`."""
    return HEADS[kind](findings=findings, channels=channels, **settings)
