"""Classifiers made of label embeddings by graph convolutions, over a graph of findings that is learned, too.

    A_hat = D^-1/2 (A + I) D^-1/2,  H = leaky(A_hat E W_1),  classifiers = A_hat H W_2,
    logits = classifiers of the globally max-pooled features,  penalty identity_weight * L * mean |A_hat - I|

Source: Li et al., "Learning category correlations for multi-label image recognition with graph networks"
(A-GCN), equations 1 to 9. The convolutions have no bias, and no activation after the last, as in Chen et al.,
"Multi-label image recognition with graph convolutional networks" (ML-GCN), CVPR 2019.
The paper weighs |A_hat - I| (6), which is read as a mean over entries here, beside a supervised loss that is
a mean over findings (2). Ours is a sum over findings (loss.py), which is L times as much, and so is the
penalty: an `identity_weight` of 1.0 is the paper's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cxrscore.evaluation.head_pictures import Picture
from cxrscore.model.heads.base import Effects, Head, HeadOutput
from cxrscore.model.heads.embeddings import LabelEmbeddings
from cxrscore.tables.cooccurrence import binary_graph, label_edges, reweighted_graph

SMALLEST_DEGREE = 1e-3  # the root of a smaller one would make its neighbours' weights and gradients explode


def normalised(A: Tensor, *, signed: bool) -> Tensor:
    """(L, L) -> D^-1/2 (A + I) D^-1/2. `signed`: D_ii is the sum over j of (A + I)_ij, as in the paper's
    equation 4, but in `guarded` rows, where that has no root, the sum of |A + I|_ij. Without `signed` it is
    the latter in all rows; older checkpoints were trained so. Where A has no negative entry, both are the
    same. No degree is below SMALLEST_DEGREE. Source of the absolute sums: signed graphs, Kunegis et al.,
    "Spectral analysis of signed graphs for clustering, prediction and visualization", SDM 2010.
    """
    linked = _linked(A)
    degrees = linked.abs().sum(1).clamp(min=SMALLEST_DEGREE)
    if signed:
        degrees = torch.where(guarded(A), degrees, linked.sum(1))
    root = degrees.rsqrt()
    return root[:, None] * linked * root


def guarded(A: Tensor) -> Tensor:
    """(L, L) -> (L,) bool: rows of A + I whose sum is below SMALLEST_DEGREE: not positive, or hardly so."""
    return _linked(A).sum(1) < SMALLEST_DEGREE


def _linked(A: Tensor) -> Tensor:
    """A + I."""
    return A + torch.eye(len(A), device=A.device)


GRAPHS: dict[str, Callable[["Agcn", Tensor], Tensor]] = {  # the head and E (L, d) -> A (L, L)
    "learned": lambda head, E: (E @ head.W_phi) @ (E @ head.W_theta).T / len(E),  # equation 5
    "cos": lambda head, E: F.normalize(E) @ F.normalize(E).T,  # 7; a row of zeros: 0 with all, itself too
    "fc": lambda head, E: (E @ head.W_l).T,  # 8, with E (d, L) there
    "dot": lambda head, E: (E @ head.W_phi) @ (E @ head.W_phi).T / len(E),  # 9
    "static": lambda head, E: head.static,  # ML-GCN's of the training fold, less I
    "identity": lambda head, E: E.new_zeros(len(E), len(E)),  # the control: no finding takes from another
}


@dataclass(frozen=True)
class AgcnSettings:
    """As in params.yaml. What has a default may be missing in older checkpoints."""

    dropout: float
    graph: Literal["learned", "cos", "fc", "dot", "static", "identity"]
    threshold: float
    reweight: float
    embeddings: str
    embedding_dim: int
    hidden: int
    identity_weight: float
    degrees: Literal["signed", "absolute"] = "absolute"
    static: Literal["reweighted", "binary"] = "reweighted"
    direction: Literal["paper", "code"] = "paper"
    kind: Literal["agcn"] = "agcn"


class Agcn(Head):
    """`graph` is one of GRAPHS; `degrees` says how `normalised` sums its rows. A static graph has `threshold`
    and `direction` of cooccurrence.label_edges; `static` says whether it is binary, or re-weighted with
    `reweight` as p. `embeddings` and `embedding_dim` are those of LabelEmbeddings; `hidden` is the width
    between the convolutions.

    The static graph lies in the state dict as A of A + I = A', ML-GCN's own matrix with a diagonal. Its rows
    sum to 1 where it is re-weighted, so that A_hat is A' itself; a binary one is normalised by equation 4.
    """

    W_phi: nn.Parameter  # of the graphs that have it alone: DDP refuses a parameter without a gradient
    W_theta: nn.Parameter
    W_l: nn.Parameter
    static: Tensor

    def __init__(self, settings: AgcnSettings, *, findings: int, channels: int) -> None:
        super().__init__()
        self.settings, graph = settings, settings.graph
        named = settings.embeddings
        self.signed = settings.degrees == "signed"
        self.learns = graph in ("learned", "fc", "dot") or (graph == "cos" and named == "learned")
        self.embeddings = LabelEmbeddings(named, findings=findings, dim=settings.embedding_dim)
        dim = self.embeddings.dim
        self.dropout = nn.Dropout(settings.dropout)
        self.W_1, self.W_2 = _weight(dim, settings.hidden), _weight(settings.hidden, channels)
        if graph in ("learned", "dot"):
            self.W_phi = _weight(dim, dim)
        if graph == "learned":
            self.W_theta = _weight(dim, dim)
        if graph == "fc":
            self.W_l = _weight(dim, findings)
        if graph == "static":
            self.register_buffer("static", torch.zeros(findings, findings))

    def begin(self, y: np.ndarray, mask: np.ndarray, *, findings: Sequence[str]) -> None:
        self.embeddings.begin(y, mask, findings=findings)
        settings = self.settings
        if settings.graph == "static":
            linked = label_edges(y, mask, threshold=settings.threshold, direction=settings.direction)
            binary = settings.static == "binary"
            fixed = binary_graph(linked) if binary else reweighted_graph(linked, p=settings.reweight)
            self.static.copy_(torch.from_numpy(fixed - np.eye(len(fixed), dtype=fixed.dtype)))

    def adjacency(self) -> Tensor:
        """A (L, L)."""
        return GRAPHS[self.settings.graph](self, self.embeddings())

    def forward(self, features: Tensor, y: Tensor | None = None, mask: Tensor | None = None) -> HeadOutput:
        """(B, C, h, w) -> logits (B, L) and, where the graph can change, its weighted distance to I."""
        pooled = self.dropout(features.amax((2, 3)))
        with torch.autocast(pooled.device.type, enabled=False):  # degrees and their roots: fp32
            A_hat = normalised(self.adjacency(), signed=self.signed)
            H = F.leaky_relu(A_hat @ (self.embeddings() @ self.W_1), 0.2)  # (L, hidden)
            # that is pooled @ (A_hat @ H @ W_2).T, 0.5 ms instead of 1.6 for a row alone at L 14, C 2048
            logits = (pooled.float() @ self.W_2.T) @ (A_hat @ H).T
            distance = (A_hat - torch.eye(len(A_hat), device=A_hat.device)).abs().mean()
            penalty = self.settings.identity_weight * len(A_hat) * distance
        return HeadOutput(logits, losses={"identity": penalty} if self.learns else {})

    def tracked(self) -> dict[str, float]:
        """How many findings' degrees are not equation 4's, in a graph that can have negative entries."""
        if self.settings.graph in ("static", "identity") or not self.signed:
            return {}
        return {"guarded_rows": int(guarded(self.adjacency()).sum())}

    def learned(self) -> dict[str, Picture]:
        """A_hat: row = the finding whose classifier is made, column = the one it takes from."""
        A_hat = normalised(self.adjacency(), signed=self.signed).detach().cpu().numpy()
        return {"adjacency": Picture(("finding", "source"), A_hat)}

    @property
    def stages(self) -> tuple[str, ...]:
        return ("own", "logit") if self.settings.graph != "identity" else super().stages

    def effects(self, features: Tensor, inputs: Tensor | None = None) -> Effects:
        """A classifier is a sum, and so is its logit: the last convolution gives finding i the part A_hat_ik
        of what node k, H_k W_2, says of the image. `own` is the part of node i, the others' are the pushes.
        """
        if self.settings.graph == "identity":
            return super().effects(features)
        pooled = features.amax((2, 3)).float()
        with torch.autocast(pooled.device.type, enabled=False):
            graph = normalised(self.adjacency(), signed=self.signed)
            H = F.leaky_relu(graph @ (self.embeddings() @ self.W_1), 0.2)
            says = pooled @ self.W_2.T @ H.T  # (B, L), by node
            parts = says[:, :, None] * graph.T  # (B, L, L), source by target
        own = parts.diagonal(dim1=1, dim2=2)
        stages = torch.stack([own, self(features).logits.float()], 1)
        return Effects(stages, parts - torch.diag_embed(own))


def _weight(rows: int, columns: int) -> nn.Parameter:
    """(rows, columns), uniform within 1 / sqrt(columns), as ML-GCN's layers start."""
    bound = columns**-0.5
    return nn.Parameter(torch.empty(rows, columns).uniform_(-bound, bound))
