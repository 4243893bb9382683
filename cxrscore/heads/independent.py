"""Each finding for itself: global average pooling, dropout, linear. The paper's ablation baseline."""

from torch import Tensor, nn

from cxrscore.heads.base import Head, HeadOutput


class Independent(Head):
    def __init__(self, *, findings: int, channels: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels, findings)

    def forward(self, features: Tensor) -> HeadOutput:
        """(B, C, h, w) -> logits (B, L)."""
        return HeadOutput(self.classifier(self.dropout(features.mean((2, 3)))))
