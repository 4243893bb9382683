"""Label-graph refinement: probable findings push each other's logits through a sparse learned matrix.

    p = sigmoid(z),  z' = z + alpha * p @ A
    penalties, over the entries off the diagonal:  l1 * sum |A|  +  mu * sum (A - C)^2

A starts at zero, so the head starts as the independent one; its diagonal is masked in the forward. Row =
source, column = target: A[i, j] lets finding i push finding j.
Source: Srivastava, Gupta & Nath, "Learning sparse label couplings for multilabel chest X-ray diagnosis",
III-B; what they name as future work (V) is off by default: several steps, couplings that depend on the image.

The term with mu is the paper's "consistency-to-cooccurrence constraint", which it names, sets to zero and
gives no formula for. The one here: C[i, j] = P(j | i) - P(j) of the training fold's labels. C is directed as
A is; it is 0 for findings that tell nothing of each other, so that A is not drawn to couplings that are none;
its sign is that of the push; and it stays within 1, where log odds are infinite for a pair that never occurs.
The square draws hardest where A is farthest, and each term keeps its own work: l1 alone makes zeros, and
where the supervised loss says nothing both end at sign(C) * max(|C| - l1 / (2 mu), 0). Both are sums over
entries, so that their weights compare.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cxrscore.evaluation.head_pictures import Picture
from cxrscore.model.heads.base import Effects, Head, HeadOutput
from cxrscore.tables.cooccurrence import centred_conditional, prevalence

SPARSE_BELOW = 0.01  # |A| under this counts as no coupling: at alpha 0.3 it moves a logit by at most 0.003


@dataclass(frozen=True)
class CouplingSettings:
    """As in params.yaml. What has a default may be missing in older checkpoints."""

    dropout: float
    alpha: float
    l1: float
    prox: bool
    lr_scale: float
    steps: int = 1
    centred: bool = False
    conditional: bool = False
    rank: int = 1
    mu: float = 0.0
    kind: Literal["coupling"] = "coupling"


class Coupling(Head):
    """`prox`: subgradients under AdamW never give exact zeros, so the L1 term can be the proximal map of each
    step instead: A <- sign(A) * max(|A| - lr * l1 / (sqrt(v) + eps), 0), with AdamW's own second moment v as
    the metric of the step (a threshold of lr * l1 alone is a thousandth of the step, and changes nothing).
    Source: Yun, Lozano & Yang, "Adaptive proximal gradient methods for structured neural networks", 2021.
    The moving average of A is a mean of sparse matrices: its small entries are small, not zero.

    `lr_scale`: A's learning rate over the common one; 0 keeps A at zero, the control of an ablation. Weight
    decay never touches A. `steps`: the message is sent so often, z <- z + alpha * sigmoid(z) @ A.
    `centred`: p minus the training fold's prevalence, so that A carries no bias where p is calibrated (with
    ASL it lies above the prevalence, and the rest stays in the biases' reach).

    `conditional`: A(x) = A + sum over r of g_r(x) u_r v_r^T with `rank` terms, off the diagonal; the gate
    g = relu(W x + b) of the pooled features closes exactly where it is not needed; v starts at zero, so that
    this, too, starts as the independent head. v bears the penalty as A does; u has length 1. (While v is
    zero u has no gradient, and a penalty on u, divided by its second moment, would end the term at once.)

    `mu`: the weight of the consistency term, on A alone and not on what depends on the image. C is in the
    state dict only where mu is above zero. With `prox` the term stays in the loss, as it is smooth.
    """

    def __init__(self, settings: CouplingSettings, *, findings: int, channels: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(settings.dropout)
        self.classifier = nn.Linear(channels, findings)
        self.A = nn.Parameter(torch.zeros(findings, findings))
        self.off_diagonal: Tensor
        self.register_buffer("off_diagonal", 1 - torch.eye(findings), persistent=False)
        self.settings = settings
        if settings.centred:
            self.prevalence: Tensor
            self.register_buffer("prevalence", torch.zeros(findings))
        if settings.mu:
            self.cooccurrence: Tensor
            self.register_buffer("cooccurrence", torch.zeros(findings, findings))
        if settings.conditional:
            self.gate = nn.Linear(channels, settings.rank)
            nn.init.ones_(self.gate.bias)  # open at first: one that is shut for all images learns nothing
            self.u = nn.Parameter(torch.randn(settings.rank, findings))
            self.v = nn.Parameter(torch.zeros(settings.rank, findings))
        for matrix in self._messages():
            matrix.requires_grad_(settings.lr_scale > 0)

    def begin(self, y: np.ndarray, mask: np.ndarray, *, findings: Sequence[str]) -> None:
        if self.settings.centred:
            self.prevalence.copy_(torch.from_numpy(prevalence(y, mask)))
        if self.settings.mu:
            self.cooccurrence.copy_(torch.from_numpy(centred_conditional(y, mask)))

    def coupling(self) -> Tensor:
        """(L, L), zero on the diagonal."""
        return self.A * self.off_diagonal

    def forward(self, features: Tensor, y: Tensor | None = None, mask: Tensor | None = None) -> HeadOutput:
        """(B, C, h, w) -> logits (B, L) and the penalties: L1, unless `prox` does its work; the consistency
        term, where mu is above zero.
        """
        stages, _ = self._stages(features)
        with torch.autocast(features.device.type, enabled=False):
            return HeadOutput(stages[-1], losses=self._penalties())

    def _stages(self, features: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """-> logits (B, L) before the messages and after each, in fp32; gates (B, rank)."""
        pooled = self.dropout(features.mean((2, 3)))
        z = self.classifier(pooled)
        gates = self.gate(pooled).relu().float() if self.settings.conditional else None
        with torch.autocast(z.device.type, enabled=False):  # couplings are small numbers: fp32
            stages = [z.float()]
            for _ in range(self.settings.steps):
                stages.append(stages[-1] + self._message(stages[-1].sigmoid(), gates))
        return stages, gates

    def _penalties(self) -> dict[str, Tensor]:
        losses = {} if self.settings.prox else {"coupling": self.settings.l1 * self._size()}
        if self.settings.mu:
            apart = self.coupling().float() - self.cooccurrence  # both are zero on the diagonal
            losses["consistency"] = self.settings.mu * apart.square().sum()
        return losses

    def _message(self, p: Tensor, gates: Tensor | None) -> Tensor:
        """(B, L) probabilities and (B, rank) gates -> alpha * p @ A(x), (B, L)."""
        p = self._weighed(p)
        message = p @ self.coupling().float()
        if gates is None:
            return message
        u, v = F.normalize(self.u.float()), self.v.float()
        return message + (gates * (p @ u.T)) @ v - p * (gates @ (u * v))  # the last term: off the diagonal

    def _pushes(self, p: Tensor, gates: Tensor | None) -> Tensor:
        """The terms of `_message`: alpha * p[i] * A(x)[i, j], (B, L, L)."""
        A = self.coupling().float()[None]
        if gates is not None:
            of_image = torch.einsum("br,ri,rj->bij", gates, F.normalize(self.u.float()), self.v.float())
            A = A + of_image * self.off_diagonal
        return self._weighed(p)[:, :, None] * A

    def _weighed(self, p: Tensor) -> Tensor:
        return self.settings.alpha * (p - self.prevalence if self.settings.centred else p)

    def _size(self) -> Tensor:
        """The sum of absolute values that l1 weighs."""
        size = self.coupling().float().abs().sum()
        return size + self.v.float().abs().sum() if self.settings.conditional else size

    def _sparse(self) -> list[nn.Parameter]:
        return [self.A, self.v] if self.settings.conditional else [self.A]

    def _messages(self) -> list[nn.Parameter]:
        return [*self._sparse(), self.u] if self.settings.conditional else self._sparse()

    def own_groups(self, lr: float) -> list[dict[str, Any]]:
        own = {"lr": lr * self.settings.lr_scale, "weight_decay": 0.0, "lr_scale": self.settings.lr_scale}
        return [{"params": self._messages(), **own}]

    @torch.no_grad()
    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        if not self.settings.prox:
            return
        group = next(group for group in optimizer.param_groups if any(p is self.A for p in group["params"]))
        for matrix in self._sparse():
            state = optimizer.state.get(matrix)
            if not state:
                continue
            second_moment = state["exp_avg_sq"] / (1 - group["betas"][1] ** float(state["step"]))
            threshold = group["lr"] * self.settings.l1 / (second_moment.sqrt() + group["eps"])
            matrix.copy_(matrix.sign() * (matrix.abs() - threshold).clamp(min=0))

    def tracked(self) -> dict[str, float]:
        """Of A off the diagonal: the largest entry, and the share that is as good as zero."""
        off = self.coupling().detach().abs()[self.off_diagonal > 0]
        if not len(off):
            return {}
        return {
            "coupling_largest": float(off.max()),
            "coupling_sparse_share": float((off < SPARSE_BELOW).float().mean()),
        }

    def learned(self) -> dict[str, Picture]:
        found = {"coupling": Picture(("source", "target"), self.coupling().detach().cpu().numpy())}
        if self.settings.conditional:
            terms = torch.einsum("ri,rj->rij", F.normalize(self.u), self.v) * self.off_diagonal
            found["coupling_of_gate"] = Picture(("gate", "source", "target"), terms.detach().cpu().numpy())
        return found

    def look(self, features: Tensor) -> dict[str, Picture]:
        """How far each gate is open, an image."""
        if not self.settings.conditional:
            return {}
        gates = self.gate(features.mean((2, 3))).relu()
        return {"gates": Picture(("image", "gate"), gates.detach().float().cpu().numpy())}

    @property
    def stages(self) -> tuple[str, ...]:
        between = (f"step{t}" for t in range(1, self.settings.steps))
        return ("before", *between, "after")

    def effects(self, features: Tensor, inputs: Tensor | None = None) -> Effects:
        """The pushes of all steps are added up: first stage + sum over sources = last stage."""
        stages, gates = self._stages(features)
        with torch.autocast(features.device.type, enabled=False):
            pushes = torch.stack([self._pushes(z.sigmoid(), gates) for z in stages[:-1]]).sum(0)
        return Effects(torch.stack(stages, 1), pushes)
