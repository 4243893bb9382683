"""Training on this machine: single steps, and epochs from files to weights, against what people write.

In    a folder of radiographs and their labels, an empty folder, a Lesson.
Out   two races (train_steps.py, train_epochs.py) and the facts that belong to them.
"""

from pathlib import Path
from typing import Any

import torch

from cxrscore.benchmarks.train_epochs import facts_of_epochs, prepare_all, race_epochs
from cxrscore.benchmarks.train_steps import race_steps
from cxrscore.benchmarks.training_setup import Lesson
from cxrscore.core.errors import UserError
from cxrscore.core.progress import Progress


def bench_train(
    images: Path,
    labels_csv: Path,
    work: Path,
    lesson: Lesson,
    *,
    workers: int,
    compile: bool,
    rounds: int,
    progress: Progress,
) -> dict[str, Any]:
    """Raises UserError where the images do not fill a batch."""
    files = len(list(images.iterdir()))
    if files < lesson.batch_size:
        raise UserError(f"--files {files}: fewer than a batch of {lesson.batch_size}; raise --files.")
    progress.say(f"bench train: preparing {files} images, making {lesson.backbone}")
    data, prepare_s = prepare_all(images, labels_csv, work / "prepared", lesson, workers=workers)
    rows = data.train[: lesson.batch_size]
    gray = torch.from_numpy(data.store.read(rows))[:, None].to(lesson.machine.device)
    turns: dict[str, Any] = {"compile": compile, "rounds": rounds, "progress": progress}
    steps = race_steps(gray, data.y[rows], data.mask[rows], lesson, **turns)
    epochs, paces = race_epochs(images, data, lesson, workers=workers, **turns)
    facts = {"files": files, "workers": workers, **facts_of_epochs(epochs, paces, prepare_s)}
    return {"races": [steps.as_json(), epochs.as_json()], "facts": facts}
