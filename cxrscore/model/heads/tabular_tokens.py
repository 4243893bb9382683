"""Sex, age, view -> tokens beside those of the image, one per column.

In    values (B, m) float32 as tables/tabular_inputs.py encodes them, NaN where a value is unknown.
Out   tokens (B, m, d), fp32.

    number z      z w + v        category i      E[i]        unknown     a learned vector of the column

Source: Lanchantin, Sekhon & Qi, "Neural message passing for multi-label classification", ECML PKDD 2019, 2.1,
where a component of the input may be "one of the tabular features", embedded by a learned matrix.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cxrscore.core.errors import promise
from cxrscore.tables.tabular_inputs import Encoding

SPREAD = 0.5**0.5  # of an entry, as that of the sines and cosines in the image's tokens


class TabularTokens(nn.Module):
    """Without the dropout of the image's tokens: a training leaves out whole values instead."""

    def __init__(self, encodings: Sequence[Encoding], *, dim: int) -> None:
        super().__init__()
        self.columns = nn.ModuleList(
            NumberToken(dim) if encoding.numeric else CategoryToken(len(encoding.categories), dim)
            for encoding in encodings
        )

    def forward(self, values: Tensor) -> Tensor:
        promise(values.shape[1] == len(self.columns), f"values {values.shape}, {len(self.columns)} columns")
        return torch.stack([column(values[:, i]) for i, column in enumerate(self.columns)], 1)


class NumberToken(nn.Module):
    """(B,) -> (B, d)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.w, self.v, self.unknown = (nn.Parameter(SPREAD * torch.randn(dim)) for _ in range(3))

    def forward(self, values: Tensor) -> Tensor:
        known = values.nan_to_num(0.0)[:, None] * self.w + self.v
        return torch.where(values.isnan()[:, None], self.unknown, known)


class CategoryToken(nn.Module):
    """(B,) places -> (B, d). The last row of the table is the unknown one's."""

    def __init__(self, categories: int, dim: int) -> None:
        super().__init__()
        self.E = nn.Parameter(SPREAD * torch.randn(categories + 1, dim))

    def forward(self, values: Tensor) -> Tensor:
        unknown = len(self.E) - 1
        return F.embedding(values.nan_to_num(float(unknown)).long(), self.E)
