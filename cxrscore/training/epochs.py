"""The epochs of a training: order, warps, steps, validation of the raw weights and of their average.

In    a learner, the fold's rows, the settings, how far it is (Course).
Out   the course at its end: one row per epoch, the best weights and whose they are, raw or ema.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from cxrscore.statistics.roc_area import auc_by_finding, macro
from cxrscore.training.augment import (
    cutout,
    draw_blanks,
    draw_cutouts,
    draw_jitters,
    draw_mixes,
    draw_warps,
    epoch_order,
    jitter,
    mix,
    warp,
)
from cxrscore.training.batches import batches
from cxrscore.training.fold_data import FoldData
from cxrscore.training.learner import Learner
from cxrscore.training.process_group import rank_rows, world
from cxrscore.training.progress_lines import QUIET_S, Outlook
from cxrscore.training.rand_augment import draw_operations, rand_augment
from cxrscore.training.run_state import Course, Keeper
from cxrscore.training.schedule import lr_at, momentum_at
from cxrscore.training.validation import predict_rows

if TYPE_CHECKING:
    from cxrscore.core.progress import Progress
    from cxrscore.project.params import AugmentParams, TrainParams


class Diverged(Exception):
    """The numbers are not finite any more; what was best until then is in the course."""

    def __init__(self, message: str, course: Course) -> None:
        super().__init__(message)
        self.course = course


@dataclass
class Pace:
    """How fast an epoch went: images of all processes, seconds, and how many of them this one waited. A run
    that was stopped does what is left of the `whole` epoch, perhaps nothing.
    """

    images: int = 0
    whole: int = 0
    seconds: float = 0.0
    waiting_s: float = 0.0

    def __str__(self) -> str:
        share = self.waiting_s / max(self.seconds, 1e-9)
        rate = self.images / max(self.seconds, 1e-9)
        return f"{rate:.1f} images/s, {share:.1%} of the time waiting for data"


def fit(
    learner: Learner,
    data: FoldData,
    params: "TrainParams",
    *,
    keeper: Keeper,
    progress: "Progress",
    outlook: Outlook,
) -> Course:
    """Raises Stopped where someone asks, Diverged where nothing is finite any more."""
    course, notes = keeper.resume(learner)
    for note in notes:
        progress.say(note)
    while course.goes_on(epochs=params.epochs, patience=params.patience):
        begun = time.perf_counter()
        pace = train_epoch(
            learner,
            data,
            params,
            course,
            progress=progress,
            outlook=outlook,
            after_step=lambda: keeper.after_step(learner, course),
        )
        progress.start(
            f"{outlook}, validation of epoch {course.epoch + 1}", 2 * len(data.val), quiet_s=QUIET_S
        )
        row, weights = validate(learner, data, params, course, keeper=keeper, after=progress.advance)
        course.end_epoch(row, weights)
        if pace.images:
            validating_s = time.perf_counter() - begun - pace.seconds
            outlook.seconds.append(pace.seconds * pace.whole / pace.images + validating_s)
        progress.say(_sentence(row, pace, course, outlook))
        keeper.after_step(learner, course)
    if course.epoch < params.epochs:
        progress.say(f"no better epoch for {params.patience}: stopped early")
    return course


def train_epoch(
    learner: Learner,
    data: FoldData,
    params: "TrainParams",
    course: Course,
    *,
    progress: "Progress",
    outlook: Outlook | None = None,
    after_step: Callable[[], None] = lambda: None,
) -> Pace:
    """The steps of the epoch that are not done yet. Each image's place and warp are functions of (seed,
    epoch, image), a step's dropout of (seed, epoch, step): nothing else enters.
    """
    seed, epoch = params.seed, course.epoch
    order = epoch_order(data.train, seed=seed, epoch=epoch)
    rows = rank_rows(order, batch_size=params.batch_size, parts=params.accumulate, world=world())
    n, device = len(data.store), learner.machine.device
    size = data.store.size
    changed = pixel_changes(n, params.augment, size=size, seed=seed, epoch=epoch, device=device)
    mixup = params.augment.mixup
    share = torch.from_numpy(draw_mixes(n, seed=seed, epoch=epoch, mixup=mixup)).to(device)
    inputs = _with_blanks(data, seed=seed, epoch=epoch)
    learner.train_head_alone(epoch < params.freeze_epochs)
    outlook = outlook or Outlook(params.epochs, params.patience)
    left = (len(rows) - course.step) * params.batch_size
    progress.start(outlook.at(epoch), left, quiet_s=QUIET_S)
    pace = Pace(whole=len(rows) * params.batch_size)
    stream = batches(
        data.crops, rows[course.step :].ravel(), batch_size=rows.shape[1], device=device, whole_only=True
    )
    begun = time.perf_counter()
    for chunk, gray in _waited(stream, pace):
        at = torch.from_numpy(chunk).to(device, non_blocking=True)
        batch = changed(gray, chunk), data.targets[at], data.mask[at]
        batch = mix(*batch, share[at]) if mixup else batch
        own = None if inputs is None else inputs[at]
        rate = rate_of(learner.steps, params, steps=len(rows))
        loss = learner.step(*batch, own, **rate, keys=(seed, epoch, course.step))
        course.step += 1
        course.losses += [loss] if math.isfinite(loss) else []
        pace.images += params.batch_size
        if learner.skipped_in_a_row > params.max_bad_steps:
            raise Diverged(f"no finite loss in {learner.skipped_in_a_row} steps in a row", course)
        pace.seconds = time.perf_counter() - begun
        progress.advance(params.batch_size, _note(loss, pace, course, outlook, batch=params.batch_size))
        after_step()
    pace.seconds = time.perf_counter() - begun
    return pace


def pixel_changes(
    n: int, augment: "AugmentParams", *, size: int, seed: int, epoch: int, device: torch.device
) -> Callable[[Tensor, np.ndarray], Tensor]:
    """An epoch's changes of the n images' pixels: (B, 1, T, T) uint8 and their rows -> (B, 1, S, S) float32
    in 0..255, S is `size`.
    """
    low, high = augment.scale
    warps: dict[str, Any] = {"scale": (low, high), "square": augment.square}
    warps |= {"flip": augment.flip, "degrees": augment.degrees}
    theta = torch.from_numpy(draw_warps(n, seed=seed, epoch=epoch, **warps)).to(device)
    colours = draw_jitters(n, seed=seed, epoch=epoch, jitter=augment.jitter)
    operations = draw_operations(n, seed=seed, epoch=epoch, count=augment.rand_ops)
    centres = torch.from_numpy(draw_cutouts(n, seed=seed, epoch=epoch)).to(device)

    def changed(gray: Tensor, chunk: np.ndarray) -> Tensor:
        at = torch.from_numpy(chunk).to(device, non_blocking=True)
        pixels = warp(gray, theta[at], size=size)
        if augment.jitter:
            pixels = jitter(pixels, colours[chunk])
        if augment.rand_ops:
            pixels = rand_augment(pixels, operations[chunk], magnitude=augment.rand_magnitude)
        return cutout(pixels, centres[at], side=augment.cutout) if augment.cutout else pixels

    return changed


def rate_of(step: int, params: "TrainParams", *, steps: int) -> dict[str, Any]:
    """Learning rate and momentum of a step; an epoch has `steps`."""
    total = params.epochs * steps
    lr = lr_at(
        step,
        schedule=params.schedule,
        warmup=round(params.warmup_epochs * steps),
        every=params.step_epochs * steps,
        total=total,
        peak=params.lr,
    )
    return {"lr": lr, "momentum": momentum_at(step, schedule=params.schedule, total=total)}


def _with_blanks(data: FoldData, *, seed: int, epoch: int) -> torch.Tensor | None:
    """The head's further inputs (n, m), where it takes any, some of them unknown in this epoch."""
    if data.inputs is None:
        return None
    blank = torch.from_numpy(draw_blanks(*data.inputs.shape, seed=seed, epoch=epoch))
    return data.inputs.masked_fill(blank.to(data.inputs.device), math.nan)


def _waited(stream: Iterator[Any], pace: Pace) -> Iterator[Any]:
    """The stream's batches, the time that each is waited for added up."""
    while True:
        begun = time.perf_counter()
        batch = next(stream, None)
        pace.waiting_s += time.perf_counter() - begun
        if batch is None:
            return
        yield batch


def validate(
    learner: Learner,
    data: FoldData,
    params: "TrainParams",
    course: Course,
    *,
    keeper: Keeper,
    after: Callable[[int], None] = lambda images: None,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """-> the epoch's row, and the weights that it is judged and kept by: the average's, the raw ones, or the
    better of the two.
    """
    models = {"ema": learner.averaged, "raw": learner.model}
    areas = {}
    for name, model in models.items():
        scores = predict_rows(
            model,
            data,
            views=("plain",),
            batch_size=validation_batch(params),
            machine=learner.machine,
            asked=keeper.asked,
            after=after,
        )
        if scores is None:
            keeper.stop(learner, course)
        areas[name] = _area(data, scores)
    better = max(areas, key=lambda name: np.nan_to_num(areas[name], nan=-1.0))
    kept = better if params.weights == "best" else params.weights
    if math.isnan(areas[kept]):
        raise Diverged(f"the scores after epoch {course.epoch + 1} are not finite", course)
    row = {
        "epoch": course.epoch,
        "train_loss": float(np.mean(course.losses)) if course.losses else math.nan,
        "macro_auc": areas[kept],
        **{f"{name}_macro_auc": area for name, area in areas.items()},
        "skipped": learner.skipped,
        "weights": kept,
    }
    return row | models[kept].head.tracked(), models[kept].state_dict()


def validation_batch(params: "TrainParams") -> int:
    """Images per forward pass, in each process: without gradients twice what one process would take fit."""
    return 2 * params.batch_size // params.accumulate


def _area(data: FoldData, scores: Any) -> float:
    """Macro-AUC on the validated rows; NaN where a score is not finite."""
    if not np.isfinite(scores).all():
        return math.nan
    return macro(auc_by_finding(*data.truth(data.val), scores[0]))


def _note(loss: float, pace: Pace, course: Course, outlook: Outlook, *, batch: int) -> str:
    """Within an epoch. Until one is done, its own steps are the measure, and validations are left out."""
    epoch_s = outlook.epoch_s() if outlook.seconds else pace.seconds * pace.whole / pace.images
    return outlook.note(loss, course, share=course.step * batch / pace.whole, epoch_s=epoch_s)


def _sentence(row: dict[str, Any], pace: Pace, course: Course, outlook: Outlook) -> str:
    """Of an epoch that is done. One that was trained before a stop, and only validated now, has no pace."""
    best = f"best so far {course.best['macro_auc']:.4f} in epoch {course.best['epoch'] + 1}"
    parts = [
        f"{outlook.at(row['epoch'])}: train loss {row['train_loss']:.4f}, validation macro-AUC "
        f"{row['macro_auc']:.4f} ({row['weights']} weights), "
        + ("the best so far" if course.best is row else best),
        str(pace) if pace.images else "",
        outlook.time_left(course),
    ]
    return "; ".join(part for part in parts if part)
