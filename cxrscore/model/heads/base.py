"""What every label head is: a module from feature map to HeadOutput, and answers with quiet defaults."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NewType

import numpy as np
import torch
from torch import Tensor, nn

from cxrscore.evaluation.head_pictures import Picture

CountFromZero = NewType("CountFromZero", int)  # in a head's settings, where a plain int is 1 or more


@dataclass(frozen=True)
class HeadOutput:
    """logits (B, L). For training: `auxiliary`, further logits (B, L) by name, of which the supervised loss
    is taken, too, times the head's auxiliary_weight; `losses`, scalars by name, already weighted.
    """

    logits: Tensor
    auxiliary: dict[str, Tensor] = field(default_factory=dict)
    losses: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Effects:
    """How the logits of B images came about. `stages` (B, S, L): the logits from the first readout to the
    last, which are the head's. `pushes` (B, L, L), row = source, column = target: what each source has added
    to a target's logit from the first to the last; None where messages do not add up.
    """

    stages: Tensor
    pushes: Tensor | None = None


class Head(nn.Module):
    """(B, C, h, w) features and, in training, y and mask (B, L) of the same images -> HeadOutput. A head with
    `inputs`, so many further values per image, takes these too, (B, inputs), NaN where one is unknown.
    """

    auxiliary_weight = 0.0
    inputs = 0

    def begin(self, y: np.ndarray, mask: np.ndarray, *, findings: Sequence[str]) -> None:
        """Before step 0: what this head takes from the labels of the training rows, y (n, L) 0/1 where mask
        (n, L). It lies in the state dict from then on. Raises UserError.
        """

    def outdated(self) -> tuple[str, ...]:
        """Names in the state of older checkpoints of what no longer exists, as nothing depended on it."""
        return ()

    def own_groups(self, lr: float) -> list[dict[str, Any]]:
        """Optimizer groups for parameters that the common group (one rate, weight decay) must not hold."""
        return []

    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Called after each step of the optimizer that holds this head's parameters."""

    def tracked(self) -> dict[str, float]:
        """What a training's history tells of this head after each epoch: name -> number."""
        return {}

    def learned(self) -> dict[str, Picture]:
        """What the head learned about findings among themselves: name -> picture."""
        return {}

    def look(self, features: Tensor) -> dict[str, Picture]:
        """(B, C, h, w) -> what it does with these images, in evaluation mode: name -> picture, first axis
        `image`.
        """
        return {}

    @property
    def stages(self) -> tuple[str, ...]:
        """What the stages of `effects` are called; one where the head reads its logits once, at its end."""
        return ("logit",)

    def effects(self, features: Tensor, inputs: Tensor | None = None) -> Effects:
        """(B, C, h, w), and (B, inputs) where the head has any -> what happens to these images' logits in
        evaluation mode, in fp32.
        """
        return Effects(self(features).logits.float()[:, None])
