"""Scene-aware label graph: findings that occur together, in scenes like this image's, inform each other.

    alpha_i = softmax over positions j of w . tanh(U v_j * V t_i),  f_i = sum_j alpha_ij v_j
    pi = softmax(W mean_j v_j),  the largest is the image's scene
    P_k[i, j] = images of scene k that show i and j / images of scene k that show i
    h_i = f_i, then T times h_i <- gated update of h_i by sum over j != i of P[j, i] h_j, P = sum_k pi_k P_k
    z_i = w_i . tanh(Linear [f_i, h_i]) + b_i
    loss: entropy_weight * L * (mean entropy of pi - entropy of the mean pi + log K)

Counts start at zero, and messages with them. They never forget: an image counts once per epoch, in the scene
that it had then.
Source: Zhu et al., "Scene-aware label graph learning for multi-label image classification", ICCV 2023, 3.
Their P, b and Phi_a of equations 1 and 2, for a linear Phi_a, are one linear map to a number, whose constant
the softmax takes away: one vector w. Phi_c of equation 15 is not described: one layer and tanh here; b_i is
ours. The supervised loss is summed over findings (loss.py) where equation 17 is their mean, hence the L: an
entropy_weight is the lambda of equation 18.
T = 0 is semantic attention alone (table 4): no scenes, no counts, no update. h_i would be f_i, and one linear
layer of [f_i, f_i] is one of f_i.
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
from cxrscore.model.heads.base import CountFromZero, Effects, Head, HeadOutput
from cxrscore.model.heads.embeddings import LabelEmbeddings

COUNT_AXES = ("scene", "given", "finding")


@dataclass(frozen=True)
class SalglSettings:
    """As in params.yaml."""

    dropout: float
    scenes: int
    steps: CountFromZero
    mixture: Literal["soft", "hard"]
    embeddings: str
    embedding_dim: int
    joint_dim: int
    entropy_weight: float
    cell: Literal["paper", "torch"] = "torch"  # of checkpoints that do not say
    kind: Literal["salgl"] = "salgl"


class GatedUpdate(nn.Module):
    """(n, C) messages a and states h -> (n, C) states, with the reset gate inside, U (r * h):

        z = sigmoid(W_z a + U_z h),  r = sigmoid(W_r a + U_r h)
        h <- (1 - z) * h + z * tanh(W a + U (r * h))

    torch's GRUCell has r * (U h + b) instead, 1 - z for z, and biases. Source: the works that equation 14
    cites, which print the same: Li et al., "Gated graph sequence neural networks", ICLR 2016, equations 3 to
    6; Chen et al., "Learning semantic-specific graph representation", ICCV 2019. The b that the former adds
    to a message is not in equation 13.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.W = nn.Linear(channels, 3 * channels, bias=False)  # W_z, W_r and W
        self.U_gates = nn.Linear(channels, 2 * channels, bias=False)  # U_z and U_r
        self.U = nn.Linear(channels, channels, bias=False)

    def forward(self, message: Tensor, h: Tensor) -> Tensor:
        channels = h.shape[1]
        gates, new = self.W(message).split([2 * channels, channels], 1)
        z, r = (gates + self.U_gates(h)).sigmoid().chunk(2, 1)
        updated: Tensor = (1 - z) * h + z * (new + self.U(r * h)).tanh()
        return updated


class Salgl(Head):
    """`scenes` K, `steps` T, `joint_dim` the length of w. `mixture`: soft, or hard, the P of the image's
    scene alone. `embeddings`, `embedding_dim`: see LabelEmbeddings. `cell`: the paper's GatedUpdate, or
    torch's GRUCell, which checkpoints have that do not say.

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
        self.settings = settings
        self.dropout = nn.Dropout(settings.dropout)
        if settings.steps:
            self._add_graph(findings, channels)
        self.readout = nn.Linear(channels * (2 if settings.steps else 1), channels)
        self.classifier = nn.Linear(channels, findings)

    def _add_graph(self, findings: int, channels: int) -> None:
        """What messages need: scenes, counts, and the gated update."""
        settings = self.settings
        W = nn.Linear(channels, settings.scenes, bias=False)
        # one scene's share is 1, whatever W is; it is drawn all the same, so that a seed's other weights stay
        self.W = W if settings.scenes > 1 else None
        self.gru = GatedUpdate(channels) if settings.cell == "paper" else nn.GRUCell(channels, channels)
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
        if not self.settings.steps:
            return HeadOutput(self._logits(self._vectors(features)))
        pi = self.scenes(features)
        graph = self.graph(pi)
        f = self._vectors(features)
        logits = self._logits(torch.cat([f, self.propagated(f, graph)], -1))
        if not self.training:
            return HeadOutput(logits)
        if y is not None:
            if mask is None:
                raise BrokenPromise("labels without a mask")
            self._count(pi.argmax(1), shown=(y > 0.5) & mask, known=mask)
        weight = self.settings.entropy_weight * logits.shape[1]
        return HeadOutput(logits, losses={"scenes": weight * scene_loss(pi)})

    def _vectors(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> f (B, L, C)."""
        f: Tensor = self.dropout(self.attention(features) @ features.flatten(2).mT)
        return f

    def _logits(self, joint: Tensor) -> Tensor:
        """(B, L, C or 2 C) -> (B, L)."""
        logits: Tensor = (self.readout(joint).tanh() * self.classifier.weight).sum(-1)
        return logits + self.classifier.bias

    def attention(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, L, h * w), fp32: how much of each position goes into a finding's vector."""
        regions = self.U(features.flatten(2).mT)  # (B, m, d1)
        labels = self.V(self.embeddings())  # (L, d1)
        joint = (regions[:, None] * labels[:, None]).tanh_()  # (B, L, m, d1), the largest here: in place
        alpha: Tensor = self.w(joint).squeeze(-1).float().softmax(-1)
        return alpha

    def scenes(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> pi (B, K)."""
        if self.W is None:
            return features.new_ones(len(features), 1, dtype=torch.float32)
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
        if not self.settings.steps:
            return {}
        return {"largest_scene_share": int(self.images.max()) / max(1, int(self.images.sum()))}

    def learned(self) -> dict[str, Picture]:
        """Co-occurrence is NaN, not 0, where no image shows the given one."""
        if not self.settings.steps:
            return {}
        seen = self.cooccurrence().masked_fill(self.given == 0, torch.nan)
        return {
            "scene_counts": Picture(COUNT_AXES, self.together.cpu().numpy()),
            "scene_cooccurrence": Picture(COUNT_AXES, seen.cpu().numpy()),
        }

    def look(self, features: Tensor) -> dict[str, Picture]:
        """Where each finding's vector comes from, and the scenes."""
        attention = self.attention(features).view(len(features), -1, *features.shape[2:])
        looked = {"attention": Picture(("image", "finding", "row", "column"), attention.cpu().numpy())}
        if self.settings.steps:
            looked["scenes"] = Picture(("image", "scene"), self.scenes(features).cpu().numpy())
        return looked

    @property
    def stages(self) -> tuple[str, ...]:
        return ("alone", "logit") if self.settings.steps else super().stages

    def effects(self, features: Tensor, inputs: Tensor | None = None) -> Effects:
        """`alone`: by the same weights and as many updates, each with an empty message. What one finding told
        another goes through gates and a tanh, and is not a term of its own.
        """
        if not self.settings.steps:
            return super().effects(features)
        f, graph = self._vectors(features), self.graph(self.scenes(features))
        found = [self._logits(torch.cat([f, self.propagated(f, P)], -1)) for P in (0 * graph, graph)]
        return Effects(torch.stack(found, 1).float())

    def outdated(self) -> tuple[str, ...]:
        return () if self.settings.scenes > 1 else ("W.weight",)


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
