"""What every label head is: a module from feature map to HeadOutput, and three answers with quiet
defaults.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class HeadOutput:
    """logits (B, L); `losses`: named scalars, already weighted, that training adds to the supervised loss."""

    logits: Tensor
    losses: dict[str, Tensor] = field(default_factory=dict)


class Head(nn.Module):
    """(B, C, h, w) features -> HeadOutput."""

    def own_groups(self, lr: float) -> list[dict[str, Any]]:
        """Optimizer groups for parameters that the common group (one rate, weight decay) must not hold."""
        return []

    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Called after each step of the optimizer that holds this head's parameters."""

    def learned(self) -> dict[str, Tensor]:
        """What the head learned about findings among themselves, for reports: name -> matrix."""
        return {}
