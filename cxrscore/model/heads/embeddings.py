"""Label embeddings E (L, d) of a head: from the training fold's co-occurrence, learned, or a user's file.

In    which of them; then the training fold's labels.
Out   a module that holds E in the state dict, so that a trained head needs neither labels nor the file.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from cxrscore.core.errors import UserError
from cxrscore.tables.cooccurrence import COMPUTED, label_embeddings, read_embeddings

SMALLEST = 1e-3  # of a row's entries: under it a finding could not be distinguished from nothing


class LabelEmbeddings(nn.Module):
    """`source`: cooccurrence, learned, or the path of a `.npy` file (cooccurrence.read_embeddings says how).
    From co-occurrence there are at most L columns. `dim` is how many there are.
    """

    def __init__(self, source: str, *, findings: int, dim: int) -> None:
        super().__init__()
        self.source = source
        self.dim = min(dim, findings) if source == "cooccurrence" else dim
        self.E: Tensor
        if source == "learned":
            self.register_parameter("E", nn.Parameter(torch.randn(findings, dim) / dim**0.5))  # of length 1
        else:
            self.register_buffer("E", torch.zeros(findings, self.dim))

    def begin(self, y: np.ndarray, mask: np.ndarray, *, findings: Sequence[str]) -> None:
        """As Head.begin. Raises UserError for a file that is not of these findings."""
        if self.source == "cooccurrence":
            E = label_embeddings(y, mask, dim=self.dim)
            lost = [name for name, size in zip(findings, np.abs(E).max(1), strict=True) if size < SMALLEST]
            if lost:
                raise UserError(
                    f"train.head.embedding_dim: {self.dim} columns leave no embedding for {', '.join(lost)}; "
                    f"set it to {len(findings)} or more."
                )
            self.E.copy_(torch.from_numpy(E))
        elif self.source not in COMPUTED:
            self.E.copy_(torch.from_numpy(read_embeddings(Path(self.source), findings, dim=self.dim)))

    def forward(self) -> Tensor:
        """(L, d)."""
        return self.E
