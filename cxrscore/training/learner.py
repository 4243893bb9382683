"""What learns: a model, its moving average, its optimizer, and one step of them.

In    gray (b, 1, S, S), y (b, L), mask (b, L) on the device: this process's share of a batch; the step's
      learning rate.
Out   the loss as a float; the model and its average changed, or untouched where something is not finite.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

import torch
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from cxrscore.core.device import Machine, seeded
from cxrscore.core.errors import UserError
from cxrscore.core.user_cache import secure_code_cache
from cxrscore.model.loss import Loss
from cxrscore.model.network import CXRModel
from cxrscore.model.param_groups import parameter_groups
from cxrscore.training.process_group import last_pass_shares, synchronise_batch_norm, world

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {  # adam and sgd: L2 inside the gradient
    "adamw": partial(torch.optim.AdamW, fused=True),
    "adam": partial(torch.optim.Adam, fused=True),
    "sgd": partial(torch.optim.SGD, momentum=0.9),
}


class Learner:
    """`ema` is timm's ModelEmaV3, whose decay after step t is min(ema_decay, 1 - t^(-2/3)); without
    `ema_warmup` it is ema_decay from the first step on, and the average begins at the initial weights.

    `parts`: passes over a batch before a step; batch norm sees a part, over all processes.
    """

    def __init__(  # noqa: PLR0913 - of the section `train` of params.yaml
        self,
        model: CXRModel,
        loss: Loss,
        machine: Machine,
        *,
        weight_decay: float,
        clip_norm: float,
        ema_decay: float,
        ema_warmup: bool = True,
        optimizer: str = "adamw",
        layer_decay: float = 1.0,
        parts: int = 1,
    ) -> None:
        self.model = model.to(machine.device).train()
        self.loss, self.machine, self.clip_norm = loss, machine, clip_norm
        self.parts = parts
        self.ema = ModelEmaV3(self.model, decay=ema_decay, use_warmup=True)
        self.ema_warmup = ema_warmup
        pairs = list(zip(self.averaged.state_dict().values(), self.model.state_dict().values(), strict=True))
        self.floats = [pair for pair in pairs if pair[0].is_floating_point()]
        self.counts = [pair for pair in pairs if not pair[0].is_floating_point()]
        self.buffers = _Buffers(self.model)
        groups = parameter_groups(model, 0.0, layer_decay)  # each step brings its rate
        self.optimizer = OPTIMIZERS[optimizer](groups, lr=0.0, weight_decay=weight_decay)
        self.scaler = torch.amp.GradScaler(machine.device.type, enabled=machine.dtype is torch.float16)
        self.steps = self.skipped = self.skipped_in_a_row = 0
        synchronise_batch_norm(self.model, machine.device)
        if machine.checkpointing:
            _checkpoint_gradients(self.model)
        if machine.compile:
            secure_code_cache()
            self.model.compile(dynamic=False)
        self.head_alone = False
        self.shared = world().share(self.model, machine.device)

    @property
    def averaged(self) -> CXRModel:
        """The model with the moving average of the weights."""
        return cast(CXRModel, self.ema.module)

    def train_head_alone(self, alone: bool) -> None:
        """Whether the backbone, its batch-norm statistics included, stays as it is."""
        if alone != self.head_alone:
            self.head_alone = alone
            self.model.backbone.requires_grad_(not alone)
            self.model.eval()  # the next step puts each part in its mode
            self.shared = world().share(self.model, self.machine.device)

    def step(
        self,
        gray: Tensor,
        y: Tensor,
        mask: Tensor,
        inputs: Tensor | None = None,
        *,
        lr: float,
        keys: tuple[int, ...],
        momentum: float | None = None,
    ) -> float:
        """One update -> the loss over the whole batch. Dropout draws from `keys`, pass and rank alone.
        `momentum`: the optimizer's own where it is None. `inputs` (b, m): of a head that takes further
        values.

        Where the loss, a gradient or a batch-norm statistic is not finite, nothing changes, and the step is
        counted as skipped; the scaler of fp16 finds its scale by such steps.
        """
        if not self.model.training:  # it has been validated
            self.model.train()
            self.model.backbone.train(not self.head_alone)
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group.get("lr_scale", 1.0)
            if momentum is not None:
                _set_momentum(group, momentum)
        self.buffers.keep()
        batch = (gray, y, mask) if inputs is None else (gray, y, mask, inputs)
        loss = self._backward(batch, keys)
        if not math.isfinite(loss) or not self._update():
            self.buffers.restore()
            self.optimizer.zero_grad(set_to_none=True)
            self.skipped += 1
            self.skipped_in_a_row += 1
            return loss
        self.optimizer.zero_grad(set_to_none=True)
        self.skipped_in_a_row = 0
        self.steps += 1
        self.model.head.after_step(self.optimizer)
        self._average()
        return loss

    @torch.no_grad()
    def _average(self) -> None:
        """As ModelEmaV3.update does, which makes two state dicts per step: 5 ms for the paper's model."""
        weight = 1 - (self.ema.get_decay(self.steps) if self.ema_warmup else self.ema.decay)
        torch._foreach_lerp_([mean for mean, _ in self.floats], [now for _, now in self.floats], weight)
        for mean, now in self.counts:
            mean.copy_(now)

    def _backward(self, batch: tuple[Tensor, ...], keys: tuple[int, ...]) -> float:
        """Gradients of the mean over all parts -> the loss; not finite, and the rest is left out, as soon as
        one process has such a part.
        """
        total = 0.0
        for i, part in enumerate(zip(*(t.chunk(self.parts) for t in batch), strict=True)):
            with last_pass_shares(self.shared, last=i == self.parts - 1):
                loss = self._loss(*part, keys=(*keys, i, world().rank))
                value = world().mean(float(loss.detach()))
                total += value / self.parts
                if not math.isfinite(value):
                    break
                passed = self.buffers.copies() if self.machine.checkpointing else None
                self.scaler.scale(loss / self.parts).backward()  # type: ignore[no-untyped-call]
                if passed:
                    self.buffers.put(passed)  # the pass that was computed again moved them again
        return total

    def _loss(self, gray: Tensor, y: Tensor, mask: Tensor, *inputs: Tensor, keys: tuple[int, ...]) -> Tensor:
        with seeded(self.machine, *keys), self.machine.autocast():
            output = self.shared(gray, y, mask, *inputs)
        weight = self.model.head.auxiliary_weight
        further = [weight * self.loss(logits, y, mask) for logits in output.auxiliary.values()]
        return sum([*further, *output.losses.values()], start=self.loss(output.logits, y, mask))

    def _update(self) -> bool:
        """Clip and step; False, and no weight has moved, where a gradient or a statistic is not finite."""
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
        finite = bool((norm + self.buffers.norm()).isfinite())
        if finite:
            self.scaler.step(self.optimizer)
        self.scaler.update()
        return finite

    def tensors(self) -> dict[str, Tensor]:
        """All that a training resumes from, by name; `facts` has the numbers."""
        return {
            **{f"model.{name}": tensor for name, tensor in self.model.state_dict().items()},
            **{f"ema.{name}": tensor for name, tensor in self.averaged.state_dict().items()},
            **{
                f"optimizer.{i}.{name}": tensor
                for i, parameter in enumerate(self._parameters())
                for name, tensor in self.optimizer.state.get(parameter, {}).items()
            },
        }

    def facts(self) -> dict[str, Any]:
        counts = {name: getattr(self, name) for name in ("steps", "skipped", "skipped_in_a_row")}
        return counts | {"scaler": self.scaler.state_dict()}

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Resume from what `tensors` and `facts` of the same training were."""
        self.model.load_state_dict(_under("model.", tensors))
        self.averaged.load_state_dict(_under("ema.", tensors))
        for i, parameter in enumerate(self._parameters()):
            kept = _under(f"optimizer.{i}.", tensors)
            if kept:
                self.optimizer.state[parameter] = {n: _laid_out_as(parameter, t) for n, t in kept.items()}
        if facts["scaler"]:
            self.scaler.load_state_dict(facts["scaler"])
        self.steps, self.skipped = facts["steps"], facts["skipped"]
        self.skipped_in_a_row = facts["skipped_in_a_row"]

    def _parameters(self) -> list[nn.Parameter]:
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]


class _Buffers:
    """A model's buffers, which a step changes before anyone knows whether it counts."""

    def __init__(self, model: nn.Module) -> None:
        self.now = [buffer for buffer in model.buffers() if buffer.numel()]
        self.kept = self.copies()

    def copies(self) -> list[Tensor]:
        return [buffer.clone() for buffer in self.now]

    def keep(self) -> None:
        for kind in {buffer.dtype for buffer in self.now}:
            now = [buffer for buffer in self.now if buffer.dtype is kind]
            torch._foreach_copy_([kept for kept in self.kept if kept.dtype is kind], now)

    def restore(self) -> None:
        self.put(self.kept)

    def put(self, values: list[Tensor]) -> None:
        for buffer, value in zip(self.now, values, strict=True):
            buffer.copy_(value)

    def norm(self) -> Tensor:
        """Not finite where one of them is not."""
        floats = [buffer for buffer in self.now if buffer.is_floating_point()]
        return torch.stack(torch._foreach_norm(floats, ord=torch.inf)).max()


def _set_momentum(group: dict[str, Any], momentum: float) -> None:
    if "betas" in group:
        group["betas"] = (momentum, *group["betas"][1:])
    else:
        group["momentum"] = momentum


def _laid_out_as(parameter: nn.Parameter, kept: Tensor) -> Tensor:
    """In memory as the parameter is, since fused kernels walk both by one pointer; a count of steps is one
    number.
    """
    if kept.shape != parameter.shape:
        return kept.to(parameter.device)
    return torch.empty_like(parameter).copy_(kept)


def _checkpoint_gradients(model: CXRModel) -> None:
    try:
        model.backbone.set_grad_checkpointing(True)  # type: ignore[operator]
    except (AttributeError, AssertionError) as error:
        raise UserError(
            "--checkpointing: this backbone does not support it; leave the option out."
        ) from error


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
