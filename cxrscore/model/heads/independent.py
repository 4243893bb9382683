"""Each finding for itself: pooling, dropout, linear. The baseline of every ablation.

Pooling is global average (gap), or global maximum (gmp) as a control: in the read-me of ML-GCN it is most of
that method's gain (https://github.com/megvii-research/ML-GCN).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from cxrscore.model.heads.base import Head, HeadOutput

POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "gap": lambda features: features.mean((2, 3)),
    "gmp": lambda features: features.amax((2, 3)),
}


@dataclass(frozen=True)
class IndependentSettings:
    """As in params.yaml. What has a default may be missing in older checkpoints."""

    dropout: float
    pool: Literal["gap", "gmp"] = "gap"
    kind: Literal["independent"] = "independent"


class Independent(Head):
    def __init__(self, settings: IndependentSettings, *, findings: int, channels: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(settings.dropout)
        self.classifier = nn.Linear(channels, findings)
        self.pool = POOLS[settings.pool]

    def forward(self, features: Tensor, y: Tensor | None = None, mask: Tensor | None = None) -> HeadOutput:
        """(B, C, h, w) -> logits (B, L)."""
        return HeadOutput(self.classifier(self.dropout(self.pool(features))))
