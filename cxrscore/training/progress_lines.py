"""What a person reads of a training: which fold of how many, which epoch, the best so far, the time left.

In    the fold, folds.train and which of them are trained; the settings; how far it is, and how long epochs
      took.
Out   Words for Progress. They count epochs from one, as people do; files and Course count from zero.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cxrscore.core.errors import counted
from cxrscore.core.paths import Layout
from cxrscore.core.progress import duration
from cxrscore.training.run_state import Course

if TYPE_CHECKING:
    from cxrscore.project.params import Params, TrainParams

QUIET_S = 180.0  # a shorter epoch has one line, when it is done
REDUCED = 1.5  # by more than this a crop, bilinear and not smoothed, may alias; at 2 each pixel just counts
MUCH = 0.05  # of the images: so many left out of each epoch are worth another batch size


@dataclass
class Outlook:
    """`folds`: folds.train. `waiting`: how many of the others will be trained after this one. `seconds`: of
    each epoch that this run has done, as if it had done all its steps.
    """

    epochs: int
    patience: int
    fold: int = 0
    folds: Sequence[int] = ()
    waiting: int = 0
    seconds: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        if self.fold not in self.folds:
            return f"fold {self.fold}"
        return f"fold {self.fold} ({self.folds.index(self.fold) + 1} of {len(self.folds)})"

    def at(self, epoch: int) -> str:
        return f"{self}, epoch {epoch + 1} of {self.epochs}"

    def epoch_s(self) -> float:
        """Of a usual epoch: the first also compiles and fills caches."""
        return statistics.median(self.seconds[1:] or self.seconds)

    def fold_left_s(self, course: Course, *, share: float, epoch_s: float) -> float:
        """`share` of the course's epoch is done."""
        on = course.goes_on(epochs=self.epochs, patience=self.patience)
        return (self.epochs - course.epoch - share) * epoch_s if on else 0.0

    def others_left_s(self, epoch_s: float) -> float:
        """Of the folds that follow; they are taken to need as many epochs of the same length."""
        return self.waiting * self.epochs * epoch_s

    def note(self, loss: float, course: Course, *, share: float, epoch_s: float) -> str:
        """Within an epoch, of which `share` is done: a line of 80 columns below the live bar."""
        mine = self.fold_left_s(course, share=share, epoch_s=epoch_s)
        best = f"; best macro-AUC {course.best['macro_auc']:.4f}" if course.best else ""
        whole = f", all folds {duration(mine + self.others_left_s(epoch_s))}" if len(self.folds) > 1 else ""
        return f"loss {loss:.3f}{best}; left: fold {duration(mine)}{whole}"

    def time_left(self, course: Course) -> str:
        """After an epoch; empty where nothing was measured or nothing is left."""
        if not self.seconds:
            return ""
        mine = self.fold_left_s(course, share=0.0, epoch_s=self.epoch_s())
        others = self.others_left_s(self.epoch_s())
        mine_early = bool(mine) and self._may_stop_early(course.best.get("epoch", course.epoch))
        early = mine_early or (self.waiting > 0 and self._may_stop_early(0))
        parts = [f"{_bound(mine_early)} {duration(mine)} for this fold"] if mine else []
        if others or (mine and len(self.folds) > 1):
            parts.append(f"{_bound(early)} {duration(mine + others)} for all folds")
        return f"time left: {', '.join(parts)}" if parts else ""

    def _may_stop_early(self, best: int) -> bool:
        """Whether patience can end a fold whose best epoch is `best` before its last."""
        return best + 1 + self.patience < self.epochs


def outlook_of(fold: int, params: "Params", layout: Layout) -> Outlook:
    """DVC trains each fold in a process of its own, in the order of folds.train: those that have no summary
    and those that come later are still to be trained.
    """
    folds, train = params.folds.train, params.train
    if fold not in folds:
        return Outlook(train.epochs, train.patience, fold)
    at = folds.index(fold)
    waiting = [
        other for i, other in enumerate(folds) if i > at or (i < at and not layout.summary(other).is_file())
    ]
    return Outlook(train.epochs, train.patience, fold, folds, len(waiting))


def left_out(images: int, params: "TrainParams", *, processes: int) -> str:
    """What an epoch of whole batches does not train on, and which batch size would use more of it; empty
    where that is nothing.
    """
    size = params.batch_size
    rest = images % size
    if not rest:
        return ""
    pieces = params.accumulate * processes * (2 if params.augment.mixup else 1)
    sizes = [other for other in range(size, size // 2, -1) if other % pieces == 0]
    better = min(sizes, key=lambda other: images % other)
    words = (
        f"each epoch trains on {images - rest:,} of {images:,} images and leaves out {rest:,}, a different "
        f"{rest:,} in each epoch, because only whole batches of {size} are used"
    )
    if rest <= MUCH * images or images % better == rest:
        return words
    return f"{words}; train.batch_size {better} would leave out {images % better:,}"


def start_in_average(images: int, params: "TrainParams") -> str:
    """How much of the initial weights, random ones in the head, the moving average holds at the end; empty
    where it is little, or where the better of average and raw weights is kept.
    """
    steps = params.epochs * (images // params.batch_size)
    share = params.ema_decay**steps
    if params.ema_warmup or params.weights != "ema" or share < MUCH:
        return ""
    return (
        f"after {counted(steps, 'step')} the moving average still holds {share:.0%} of the initial weights; "
        "set train.ema_warmup to true, train.weights to best, or a lower train.ema_decay"
    )


def crop_factors(*, size: int, train_size: int | None, scale: Sequence[float]) -> str:
    """Which crops are enlarged, or reduced by so much that detail may alias; empty where none are. A crop
    that keeps a share s of the area of a T x T copy has about T sqrt(s) pixels to a side, and comes out as S.
    """
    side = train_size or size
    smallest, largest = (side * math.sqrt(share) for share in scale)
    if size > smallest:
        words = f"the smallest random crops are enlarged by a factor of {size / smallest:.2f}"
        whole = math.ceil(size / math.sqrt(scale[0]))
        if whole <= 2 * size:
            return f"{words}; prepare.train_size {whole} keeps their detail"
        return words + (f"; prepare.train_size {2 * size} keeps more of it" if side < 2 * size else "")
    if largest > REDUCED * size:
        return (
            f"the largest random crops are reduced by a factor of {largest / size:.2f} without smoothing: "
            f"fine detail may alias; a prepare.train_size of {math.floor(REDUCED * size)} or less avoids that"
        )
    return ""


def _bound(early: bool) -> str:
    return "at most" if early else "about"
