"""Scene-aware label graph: findings that occur together, in scenes like this image's, inform each other.

    alpha_i = softmax over positions j of w . tanh(U v_j * V t_i),  f_i = sum_j alpha_ij v_j
    pi = softmax(W mean_j v_j),  the largest is the image's scene
    P_k[i, j] = images of scene k that show i and j / images of scene k that show i
    h_i = f_i, then T times h_i <- GRU(sum over j != i of P[j, i] h_j, h_i) with P = sum_k pi_k P_k
    z_i = w_i . tanh(Linear [f_i, h_i]) + b_i
    loss: entropy_weight * (mean entropy of pi - entropy of the mean pi + log K)

Counts start at zero, and messages with them. They never forget: an image counts once per epoch, in the scene
that it had then.
Source: Zhu et al., "Scene-aware label graph learning for multi-label image classification", ICCV 2023, 3.
Their P, b and Phi_a of equations 1 and 2, for a linear Phi_a, are one linear map to a number, whose constant
the softmax takes away: one vector w. Phi_c of equation 15 is not described: one layer and tanh here; b_i is
ours. Beside a supervised loss that is summed over findings (loss.py) an entropy_weight of 1 is L times
lighter than beside the paper's mean (17).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cxrscore.core.all_reduce import summed
from cxrscore.core.errors import BrokenPromise
from cxrscore.evaluation.head_pictures import Picture
from cxrscore.model.heads.base import Head, HeadOutput
from cxrscore.model.heads.embeddings import LabelEmbeddings

COUNT_AXES = ("scene", "given", "finding")


@dataclass(frozen=True)
class SalglSettings:
    """As in params.yaml."""

    dropout: float
    scenes: int
    steps: int
    mixture: Literal["soft", "hard"]
    embeddings: str
    embedding_dim: int
    joint_dim: int
    entropy_weight: float
    kind: Literal["salgl"] = "salgl"


class Salgl(Head):
    """`scenes` K, `steps` T, `joint_dim` the length of w. `mixture`: soft, or hard, the P of the image's
    scene alone. `embeddings`, `embedding_dim`: see LabelEmbeddings.

    Counts are integers: they stay exact, and the moving average copies them. Where labels are masked, P
    divides by the images that show i and in which j is known. A label counts as shown above 0.5: with mixup,
    the labels of the image that is shown most.
    """

    def __init__(self, settings: SalglSettings, *, findings: int, channels: int) -> None:
        super().__init__()
        self.embeddings = LabelEmbeddings(settings.embeddings, findings=findings, dim=settings.embedding_dim)
        self.U = nn.Linear(channels, settings.joint_dim, bias=False)
        self.V = nn.Linear(self.embeddings.dim, settings.joint_dim, bias=False)
        self.w = nn.Linear(settings.joint_dim, 1, bias=False)
        self.W = nn.Linear(channels, settings.scenes, bias=False)
        self.dropout = nn.Dropout(settings.dropout)
        self.gru = nn.GRUCell(channels, channels)
        self.readout = nn.Linear(2 * channels, channels)
        self.classifier = nn.Linear(channels, findings)
        self.settings = settings
        self.together: Tensor
        self.given: Tensor
        self.images: Tensor
        pairs = (settings.scenes, findings, findings)
        self.register_buffer("together", torch.zeros(pairs, dtype=torch.int64))
        self.register_buffer("given", torch.zeros(pairs, dtype=torch.int64))
        self.register_buffer("images", torch.zeros(settings.scenes, dtype=torch.int64))

    def begin(self, y: np.ndarray, mask: np.ndarray, *, findings: Sequence[str]) -> None:
        self.embeddings.begin(y, mask, findings=findings)

    def forward(self, features: Tensor, y: Tensor | None = None, mask: Tensor | None = None) -> HeadOutput:
        """(B, C, h, w) -> logits (B, L), fp32, and in training the scenes' loss. This batch's labels are
        counted after its graph was made: within it, they would be the answer.
        """
        pi = self.scenes(features)
        graph = self.graph(pi)
        f = self.dropout(self.attention(features) @ features.flatten(2).mT)  # (B, L, C)
        joint = torch.cat([f, self.propagated(f, graph)], -1)
        logits = (self.readout(joint).tanh() * self.classifier.weight).sum(-1) + self.classifier.bias
        if not self.training:
            return HeadOutput(logits)
        if y is not None:
            if mask is None:
                raise BrokenPromise("labels without a mask")
            self._count(pi.argmax(1), shown=(y > 0.5) & mask, known=mask)
        return HeadOutput(logits, losses={"scenes": self.settings.entropy_weight * scene_loss(pi)})

    def attention(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, L, h * w), fp32: how much of each position goes into a finding's vector."""
        regions = self.U(features.flatten(2).mT)  # (B, m, d1)
        labels = self.V(self.embeddings())  # (L, d1)
        joint = (regions[:, None] * labels[:, None]).tanh_()  # (B, L, m, d1), the largest here: in place
        alpha: Tensor = self.w(joint).squeeze(-1).float().softmax(-1)
        return alpha

    def scenes(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> pi (B, K)."""
        with torch.autocast(features.device.type, enabled=False):  # logs of shares, and which one is largest
            pi: Tensor = self.W(features.float().mean((2, 3))).softmax(1)
            return pi

    def cooccurrence(self) -> Tensor:
        """P (K, L, L): of scene k's images that show i, the share that show j; 0 where no image shows i."""
        return self.together / self.given.clamp(min=1)

    def graph(self, pi: Tensor) -> Tensor:
        """(B, K) -> each image's P (B, L, L), zero on the diagonal."""
        if self.settings.mixture == "hard":
            pi = F.one_hot(pi.argmax(1), pi.shape[1])
        P = self.cooccurrence() * (1 - torch.eye(self.given.shape[1], device=pi.device))
        if torch.compiler.is_compiling():
            # in one compiled graph with the counting, the backward computes P again, after this batch is
            # counted: with torch 2.15 W learned from its own labels
            torch._dynamo.graph_break()
        return (pi[:, :, None, None] * P).sum(1)  # in fp32; messages are as exact as autocast's

    def propagated(self, f: Tensor, graph: Tensor) -> Tensor:
        """(B, L, C) and (B, L, L) -> (B, L, C) after T messages along graph[given, finding]."""
        h = f
        for _ in range(self.settings.steps):
            message = graph.mT @ h
            h = self.gru(message.flatten(0, 1), h.flatten(0, 1)).view_as(h)
        return h

    @torch.no_grad()
    def _count(self, scene: Tensor, *, shown: Tensor, known: Tensor) -> None:
        """(B,) and (B, L), of this process -> the counts, with those of all processes."""
        given = shown[:, :, None]
        seen = (
            (self.together, given & shown[:, None]),
            (self.given, given & known[:, None]),
            (self.images, torch.ones_like(scene)),
        )
        for counts, new in seen:
            counts.add_(summed(torch.zeros_like(counts).index_add_(0, scene, new.long())))

    def tracked(self) -> dict[str, float]:
        """Of all images counted so far: 1 / K where scenes are of one size, 1 where one has them all."""
        return {"largest_scene_share": int(self.images.max()) / max(1, int(self.images.sum()))}

    def learned(self) -> dict[str, Picture]:
        """Co-occurrence is NaN, not 0, where no image shows the given one."""
        seen = self.cooccurrence().masked_fill(self.given == 0, torch.nan)
        return {
            "scene_counts": Picture(COUNT_AXES, self.together.cpu().numpy()),
            "scene_cooccurrence": Picture(COUNT_AXES, seen.cpu().numpy()),
        }

    def look(self, features: Tensor) -> dict[str, Picture]:
        """Where each finding's vector comes from, and the scenes."""
        attention = self.attention(features).view(len(features), -1, *features.shape[2:])
        return {
            "attention": Picture(("image", "finding", "row", "column"), attention.cpu().numpy()),
            "scenes": Picture(("image", "scene"), self.scenes(features).cpu().numpy()),
        }


def scene_loss(pi: Tensor) -> Tensor:
    """(B, K), fp32 -> scalar >= 0: 0 where each image is of one scene, and scenes have equal shares of the
    batch (where a step has several passes, of each). Source: the paper's equations 9 to 11.

    The mean pi is that of all processes' images. `summed` hands its gradient on once for each process, and
    their mean is then the gradient of one process with all images.
    """
    total = summed(F.pad(pi.sum(0), (0, 1), value=len(pi)))  # (K + 1,), the last is how many images
    return entropy(pi).mean() - entropy(total[:-1] / total[-1]) + math.log(pi.shape[1])


def entropy(p: Tensor) -> Tensor:
    """(..., K) -> (...), in nats, 0 log 0 = 0, there with a finite gradient."""
    return -(p * p.clamp(min=torch.finfo(p.dtype).tiny).log()).sum(-1)
