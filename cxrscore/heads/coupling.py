"""Label-graph refinement: probable findings push each other's logits through a sparse learned matrix.

    p = sigmoid(z),  z' = z + alpha * p @ A,  penalty l1 * sum |A off the diagonal|

A starts at zero, so the head starts as the independent one; its diagonal is masked in the forward. Row =
source, column = target: A[i, j] lets finding i push finding j.
Source: Srivastava, Gupta & Nath, "Learning sparse label couplings for multilabel chest X-ray diagnosis",
III-B.
"""

from typing import Any

import torch
from torch import Tensor, nn

from cxrscore.heads.base import Head, HeadOutput


class Coupling(Head):
    """`prox`: subgradients under AdamW never give exact zeros, so the L1 term can be a soft threshold after
    each step instead: A <- sign(A) * max(|A| - lr * l1, 0), the proximal map of a plain gradient step
    (AdamW's preconditioner is left out of it). `lr_scale`: A's learning rate over the common one. Weight
    decay never touches A.
    """

    def __init__(
        self,
        *,
        findings: int,
        channels: int,
        dropout: float,
        alpha: float,
        l1: float,
        prox: bool,
        lr_scale: float,
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels, findings)
        self.A = nn.Parameter(torch.zeros(findings, findings))
        self.off_diagonal: Tensor
        self.register_buffer("off_diagonal", 1 - torch.eye(findings), persistent=False)
        self.alpha, self.l1, self.prox, self.lr_scale = alpha, l1, prox, lr_scale

    def coupling(self) -> Tensor:
        """(L, L), zero on the diagonal."""
        return self.A * self.off_diagonal

    def forward(self, features: Tensor) -> HeadOutput:
        """(B, C, h, w) -> logits (B, L) and, unless `prox` does its work, the L1 penalty."""
        z = self.classifier(self.dropout(features.mean((2, 3))))
        with torch.autocast(z.device.type, enabled=False):  # couplings are small numbers: fp32
            A = self.coupling().float()
            z = z.float()
            logits = z + self.alpha * z.sigmoid() @ A
            return HeadOutput(logits, {} if self.prox else {"coupling": self.l1 * A.abs().sum()})

    def own_groups(self, lr: float) -> list[dict[str, Any]]:
        return [
            {"params": [self.A], "lr": lr * self.lr_scale, "weight_decay": 0.0, "lr_scale": self.lr_scale}
        ]

    @torch.no_grad()
    def after_step(self, lr: float) -> None:
        if self.prox:
            threshold = lr * self.lr_scale * self.l1
            self.A.copy_(self.A.sign() * (self.A.abs() - threshold).clamp(min=0))

    def learned(self) -> dict[str, Tensor]:
        return {"coupling": self.coupling().detach()}
