"""Training on this machine: single steps, and epochs from files to weights, against what people write.

In    a folder of radiographs and their labels, an empty folder, a TrainingSetup.
Out   two races (train_steps.py, train_epochs.py) and the facts that belong to them.
"""

from pathlib import Path
from typing import Any

import torch

from cxrscore.benchmarks.train_epochs import facts_of_epochs, prepare_all, time_epochs
from cxrscore.benchmarks.train_steps import time_steps
from cxrscore.benchmarks.training_setup import TrainingSetup
from cxrscore.core.errors import UserError
from cxrscore.core.progress import Progress


def bench_train(
    images: Path,
    labels_csv: Path,
    work: Path,
    setup: TrainingSetup,
    *,
    workers: int,
    compile: bool,
    rounds: int,
    progress: Progress,
) -> dict[str, Any]:
    """Raises UserError where the images do not fill a batch."""
    files = len(list(images.iterdir()))
    if files < setup.batch_size:
        raise UserError(f"--files {files}: fewer than a batch of {setup.batch_size}; raise --files.")
    progress.say(f"bench train: preparing {files} images, making {setup.backbone}")
    data, prepare_s = prepare_all(images, labels_csv, work / "prepared", setup, workers=workers)
    rows = data.train[: setup.batch_size]
    gray = torch.from_numpy(data.store.read(rows))[:, None].to(setup.machine.device)
    turns: dict[str, Any] = {"compile": compile, "rounds": rounds, "progress": progress}
    steps = time_steps(gray, data.y[rows], data.mask[rows], setup, **turns)
    epochs, paces = time_epochs(images, data, setup, workers=workers, **turns)
    facts = {"files": files, "workers": workers, **facts_of_epochs(epochs, paces, prepare_s)}
    return {"races": [steps.as_json(), epochs.as_json()], "facts": facts}
