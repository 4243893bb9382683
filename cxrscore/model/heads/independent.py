"""Each finding for itself: pooling, dropout, linear. The baseline of every ablation.

Pooling is global average (gap), or global maximum (gmp) as a control: in the read-me of ML-GCN it is most of
that method's gain (https://github.com/megvii-research/ML-GCN).
"""

from collections.abc import Callable

from torch import Tensor, nn

from cxrscore.model.heads.base import Head, HeadOutput

POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "gap": lambda features: features.mean((2, 3)),
    "gmp": lambda features: features.amax((2, 3)),
}


class Independent(Head):
    def __init__(self, *, findings: int, channels: int, dropout: float, pool: str = "gap") -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels, findings)
        self.pool = POOLS[pool]

    def forward(self, features: Tensor, y: Tensor | None = None, mask: Tensor | None = None) -> HeadOutput:
        """(B, C, h, w) -> logits (B, L)."""
        return HeadOutput(self.classifier(self.dropout(self.pool(features))))
