"""Each finding for itself, with one hidden layer between the pooled features and the logits.

    logits = W_2 dropout(relu(W_1 pool(features) + b_1)) + b_2

The baseline beside which message passing has to show that messages gain more than further weights do.
Source: "Emb + MLP" of Lanchantin, Sekhon & Qi, arXiv:1904.08049, 8.4: four layers over the mean of embedded
features. Here the backbone embeds, so that two are left; its dropout is not described.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from cxrscore.model.heads.base import Head, HeadOutput
from cxrscore.model.heads.independent import POOLS


@dataclass(frozen=True)
class MlpSettings:
    """As in params.yaml."""

    dropout: float
    hidden: int
    pool: Literal["gap", "gmp"]
    kind: Literal["mlp"] = "mlp"


class Mlp(Head):
    """`hidden`: width of the layer between."""

    def __init__(self, settings: MlpSettings, *, findings: int, channels: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(channels, settings.hidden)
        self.dropout = nn.Dropout(settings.dropout)
        self.classifier = nn.Linear(settings.hidden, findings)
        self.pool = POOLS[settings.pool]

    def forward(self, features: Tensor, y: Tensor | None = None, mask: Tensor | None = None) -> HeadOutput:
        """(B, C, h, w) -> logits (B, L)."""
        return HeadOutput(self.classifier(self.dropout(self.hidden(self.pool(features)).relu())))
