"""Training steps on a batch that lies on the device: Learner.step against timm in a bare loop.

In    gray (B, 1, S, S) uint8, y and mask (B, L) on the device; a TrainingSetup.
Out   a Timing. Ours warps the images, clips, averages the weights and looks whether all is finite; the bare
      loop has its pixels augmented and normalised before the clock starts and does none of this. Both
      compute in the machine's number format.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import timm
import torch
from torch import Tensor, nn

from cxrscore.benchmarks.notebook_training import loss_by_hand
from cxrscore.benchmarks.paired_timing import Timing, in_turn
from cxrscore.benchmarks.training_setup import DEGREES, FLIP, LR, SCALE, TrainingSetup, new_learner
from cxrscore.core.malloc import reused_memory
from cxrscore.core.progress import Progress
from cxrscore.scoring.compute_settings import dtype_word
from cxrscore.training.augment import draw_warps, warp

BARE, OURS = "timm, bare loop", "cxrscore"
STEPS = {"cpu": 2, "cuda": 20}  # that a call takes: a short one is lost in the noise

Steps = Callable[[], None]


def time_steps(
    gray: Tensor,
    y: Tensor,
    mask: Tensor,
    setup: TrainingSetup,
    *,
    compile: bool,
    rounds: int,
    progress: Progress,
) -> Timing:
    """`compile`: each way once more, with its backbone compiled in the round that does not count."""
    lines: dict[str, Steps] = {}
    for ending, compiled in (("", False), (", compiled", True))[: 1 + compile]:
        lines[BARE + ending] = bare_steps(gray, y, setup, compile=compiled)
        lines[OURS + ending] = our_steps(gray, y, mask, setup, compile=compiled)
    progress.start("bench train, steps", len(lines) * (rounds + 1))
    device = setup.machine.device
    seconds = in_turn(lines, device=device, rounds=rounds, progress=progress)
    what = f"training steps, compute only: {setup}, {dtype_word(setup.machine.dtype)}"
    against = [line for line in lines if line.startswith(BARE)]
    return Timing(what, "image", STEPS[device.type] * len(gray), against, seconds)


def our_steps(gray: Tensor, y: Tensor, mask: Tensor, setup: TrainingSetup, *, compile: bool) -> Steps:
    learner = new_learner(setup, compile=compile)
    drawn = draw_warps(len(gray), seed=0, epoch=0, scale=SCALE, flip=FLIP, degrees=DEGREES)
    theta = torch.from_numpy(drawn).to(gray.device)

    def steps() -> None:
        with reused_memory():  # as `train` does
            for i in range(STEPS[gray.device.type]):
                learner.step(warp(gray, theta), y, mask, lr=LR, keys=(0, i))

    return steps


def bare_steps(gray: Tensor, y: Tensor, setup: TrainingSetup, *, compile: bool) -> Steps:
    """Eager, plain NCHW, AdamW as it comes, autocast."""
    network: Any = timm.create_model(setup.backbone, num_classes=y.shape[1])
    model: nn.Module = network.to(gray.device).train()
    if compile:
        model.compile()
    mean, std = (
        torch.tensor(network.pretrained_cfg[name], device=gray.device).view(1, 3, 1, 1)
        for name in ("mean", "std")
    )
    pixels = ((gray.float() / 255 - mean) / std).contiguous()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR)
    scaler = torch.amp.GradScaler(gray.device.type, enabled=setup.machine.dtype is torch.float16)
    return partial(_bare_steps, model, optimizer, scaler, pixels, y, setup)


def _bare_steps(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    pixels: Tensor,
    y: Tensor,
    setup: TrainingSetup,
) -> None:
    for _ in range(STEPS[pixels.device.type]):
        optimizer.zero_grad()
        with setup.machine.autocast():
            logits = model(pixels)
        scaler.scale(loss_by_hand(logits, y)).backward()  # type: ignore[no-untyped-call]
        scaler.step(optimizer)
        scaler.update()
