"""Files -> updated weights, an epoch at a time: the epoch of `cxrscore train` against a notebook's loop.

In    a folder of radiographs, their labels, a TrainingSetup, an empty folder for the prepared images.
Out   a Timing over whole epochs of equally many steps, the notebook's workers started before; what preparing
      has cost, once; which share of our epochs is waiting for images.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from cxrscore.benchmarks.notebook_training import LabelledRadiographs, NotebookTraining
from cxrscore.benchmarks.paired_timing import Timing, in_turn
from cxrscore.benchmarks.training_setup import (
    LABELS,
    Section,
    TrainingSetup,
    every_image,
    new_learner,
    recipe,
)
from cxrscore.core.malloc import reused_memory
from cxrscore.core.progress import Progress, Silent
from cxrscore.prepare import prepare
from cxrscore.scoring.compute_settings import dtype_word
from cxrscore.training.epochs import Pace, train_epoch
from cxrscore.training.fold_data import FoldData
from cxrscore.training.learner import Learner
from cxrscore.training.run_state import Course

NOTEBOOK, OURS = "notebook loop", "cxrscore train"
EPOCHS = 3  # of the paper


def prepare_all(
    images: Path, labels_csv: Path, out: Path, setup: TrainingSetup, *, workers: int
) -> tuple[FoldData, float]:
    """-> the data of training, and the seconds that decoding every image once has taken."""
    params: Any = Section(size=setup.size, train_size=None, bit_depth=None, max_unreadable=0.0)
    begun = time.perf_counter()
    prepare(labels_csv, images, out, labels=LABELS, params=params, workers=workers, progress=Silent())
    prepare_s = time.perf_counter() - begun
    return every_image(labels_csv, out, setup.machine), prepare_s


def time_epochs(
    images: Path,
    data: FoldData,
    setup: TrainingSetup,
    *,
    workers: int,
    compile: bool,
    rounds: int,
    progress: Progress,
) -> tuple[Timing, dict[str, list[Pace]]]:
    """-> the race, and the pace of each of our epochs."""
    radiographs = LabelledRadiographs(images, data.store.ids, data.y.cpu(), setup)
    lines: dict[str, Callable[[], object]] = {
        NOTEBOOK: NotebookTraining(radiographs, setup, workers=workers).epoch
    }
    paces: dict[str, list[Pace]] = {}
    for name, compiled in ((OURS, False), (f"{OURS}, compiled", True))[: 1 + compile]:
        paces[name] = []
        lines[name] = partial(_epochs, new_learner(setup, compile=compiled), data, setup, rounds, paces[name])
    progress.start("bench train, epochs", len(lines) * (rounds + 1))
    seconds = in_turn(lines, device=setup.machine.device, rounds=rounds, progress=progress)
    steps = len(data.train) // setup.batch_size
    what = f"training epochs, end to end: {setup}, {steps} steps, ours {dtype_word(setup.machine.dtype)}"
    return Timing(what, "image", steps * setup.batch_size, [NOTEBOOK], seconds), paces


def _epochs(learner: Learner, data: FoldData, setup: TrainingSetup, rounds: int, paces: list[Pace]) -> None:
    """The next epoch of training `rounds` epochs after the one that does not count."""
    params = recipe(setup, epochs=rounds + 1)
    with reused_memory():
        paces.append(train_epoch(learner, data, params, Course(epoch=len(paces)), progress=Silent()))


def facts_of_epochs(race: Timing, paces: dict[str, list[Pace]], prepare_s: float) -> dict[str, Any]:
    waiting = {
        name: statistics.median(pace.waiting_s / pace.seconds for pace in line[1:])
        for name, line in paces.items()
    }
    with_preparing_s = prepare_s + EPOCHS * race.median_s(OURS)
    return {
        "preparing_every_image_once_s": prepare_s,
        f"times_the_notebook_loop_over_{EPOCHS}_epochs_with_preparing": EPOCHS
        * race.median_s(NOTEBOOK)
        / with_preparing_s,
        "share_of_an_epoch_waiting_for_images": waiting,
    }
