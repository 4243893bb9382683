"""What learns: a model, its moving average, its optimizer, and one step of them.

In    gray (B, 1, S, S), y (B, L), mask (B, L) on the device, the step's learning rate.
Out   the loss as a float; the model and its average changed, or untouched where something is not finite.
"""

import math
from typing import Any, cast

import torch
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor

from cxrscore.loss import Loss
from cxrscore.machine import Machine, seeded
from cxrscore.model import CXRModel


def lr_at(step: int, *, warmup: int, total: int, peak: float) -> float:
    """Rate of step 0..total-1: linear to the peak over `warmup` steps, then half a cosine to zero. Source:
    paper, III-E.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, total - warmup)
    return peak * 0.5 * (1 + math.cos(math.pi * progress))


class Learner:
    """`ema` is what is validated and saved: timm's ModelEmaV3, whose decay after step t is min(ema_decay, 1
    - t^(-2/3)).
    """

    def __init__(
        self,
        model: CXRModel,
        loss: Loss,
        machine: Machine,
        *,
        lr: float,
        weight_decay: float,
        clip_norm: float,
        ema_decay: float,
    ) -> None:
        self.model = model.to(machine.device).train()
        self.loss, self.machine, self.clip_norm = loss, machine, clip_norm
        self.ema = ModelEmaV3(self.model, decay=ema_decay, use_warmup=True)
        self.optimizer = torch.optim.AdamW(_groups(model, lr), lr=lr, weight_decay=weight_decay)
        self.scaler = torch.amp.GradScaler(machine.device.type, enabled=machine.dtype is torch.float16)
        self.steps = self.skipped = self.skipped_in_a_row = 0

    @property
    def averaged(self) -> CXRModel:
        """The model with the moving average of the weights: what is validated and saved."""
        return cast(CXRModel, self.ema.module)

    def step(self, gray: Tensor, y: Tensor, mask: Tensor, *, lr: float, keys: tuple[int, ...]) -> float:
        """One update -> the loss. Dropout draws from `keys` alone.

        Where the loss or a gradient is not finite, nothing changes, batch-norm statistics included, and the
        step is counted as skipped; the scaler of fp16 finds its scale by such steps.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group.get("lr_scale", 1.0)
        statistics = [buffer.clone() for buffer in self.model.buffers()]
        with seeded(self.machine, *keys), self.machine.autocast():
            output = self.model(gray)
        loss = self.loss(output.logits, y, mask) + sum(output.losses.values())
        value = float(loss.detach())
        if not math.isfinite(value) or not self._update(loss):
            for buffer, before in zip(self.model.buffers(), statistics, strict=True):
                buffer.copy_(before)
            self.skipped += 1
            self.skipped_in_a_row += 1
            return value
        self.skipped_in_a_row = 0
        self.steps += 1
        self.model.head.after_step(self.optimizer)
        self.ema.update(self.model, step=self.steps)
        return value

    def _update(self, loss: Tensor) -> bool:
        """Backward, clip and step; False, and no weight has moved, where a gradient is not finite."""
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
        finite = bool(norm.isfinite())
        if finite:
            self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return finite


def _groups(model: CXRModel, lr: float) -> list[dict[str, Any]]:
    """The head's own groups, and one for all other parameters."""
    own = model.head.own_groups(lr)
    taken = {id(parameter) for group in own for parameter in group["params"]}
    return [{"params": [parameter for parameter in model.parameters() if id(parameter) not in taken]}, *own]
