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
    """`prox`: subgradients under AdamW never give exact zeros, so the L1 term can be the proximal map of each
    step instead: A <- sign(A) * max(|A| - lr * l1 / (sqrt(v) + eps), 0), with AdamW's own second moment v as
    the metric of the step (a threshold of lr * l1 alone is a thousandth of the step, and changes nothing).
    Source: Yun, Lozano & Yang, "Adaptive proximal gradient methods for structured neural networks", 2021.
    The moving average of A is a mean of sparse matrices: its small entries are small, not zero.
    `lr_scale`: A's learning rate over the common one. Weight decay never touches A.
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
    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        if not self.prox or self.A not in optimizer.state:
            return
        group = next(group for group in optimizer.param_groups if any(p is self.A for p in group["params"]))
        state = optimizer.state[self.A]
        second_moment = state["exp_avg_sq"] / (1 - group["betas"][1] ** float(state["step"]))
        threshold = group["lr"] * self.l1 / (second_moment.sqrt() + group["eps"])
        self.A.copy_(self.A.sign() * (self.A.abs() - threshold).clamp(min=0))

    def learned(self) -> dict[str, Tensor]:
        return {"coupling": self.coupling().detach()}
