"""Folder -> table: `cxrscore score` against the loop that a notebook would write, the same files and models.

In    a folder of radiographs; a backbone's name, S, the device and its number format.
Out   a Timing from the call to the written table, workers' start and models' loading included, imports not;
      how far the two tables are apart; how often each opens a file; on a GPU also how far its table is from
      the CPU's in fp32.
"""

import csv
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cxrscore.benchmarks.notebook_scoring import notebook_loop
from cxrscore.benchmarks.paired_timing import Timing, in_turn
from cxrscore.benchmarks.random_models import CALIBRATION, save_folds
from cxrscore.core.device import Machine
from cxrscore.core.errors import promise
from cxrscore.core.progress import Progress, Silent
from cxrscore.images.reading import read_image
from cxrscore.score import score
from cxrscore.scoring.options import Options
from cxrscore.statistics.roc_area import auc_by_finding, macro
from cxrscore.tables.datasets.chexpert import FINDINGS

NOTEBOOK, OURS = "notebook loop", "cxrscore score"
FOLDS = 3  # of the paper
PARITY = 128  # images scored on the CPU too
FEWEST_FOR_AUC = 100
_opened: list[str] | None = None  # paths, while someone counts


class Told(Silent):
    """Keeps the last line that was said: what a run's time went to."""

    last = ""

    def say(self, text: str) -> None:
        self.last = text


def bench_score(
    images: Path,
    labels_csv: Path,
    work: Path,
    options: Options,
    *,
    backbone: str,
    size: int,
    machine: Machine,
    rounds: int,
    progress: Progress,
) -> dict[str, Any]:
    """`images` holds radiographs and nothing else, `labels_csv` their truth; `work` is an empty folder."""
    progress.say(f"bench score: making {FOLDS} folds of {backbone}")
    models, files = work / "models", sorted(images.iterdir())
    models.mkdir()
    checkpoints = save_folds(models, backbone, stack(files[:CALIBRATION], size=size), size=size, folds=FOLDS)
    options = replace(options, overwrite=True, views=("plain", "flip"))
    one = replace(options, folds=(0,), views=("plain",))
    run = partial(_score, models=models, machine=machine)
    network: dict[str, Any] = {
        "backbone": backbone,
        "findings": FINDINGS,
        "size": size,
        "device": machine.device,
    }
    loop = partial(notebook_loop, checkpoints=checkpoints, **network)
    table, its_table, told, told_one = work / "ours.csv", work / "notebook.csv", Told(), Told()
    both: dict[str, Callable[[], object]] = {
        NOTEBOOK: partial(loop, images, its_table, workers=options.workers),
        OURS: partial(run, images, table, options, progress=told),
    }
    alone = {f"{OURS}, one fold, no flip": partial(run, images, work / "one.csv", one, progress=told_one)}
    progress.start("bench score", (len(both) + len(alone)) * (rounds + 1))
    turns = partial(in_turn, device=machine.device, rounds=rounds, progress=progress)
    what = f"end to end, {len(files)} files"
    races = [
        Timing(f"{what}, {FOLDS} folds with flip", "image", len(files), [NOTEBOOK], turns(both)),
        Timing(f"{what}, one fold", "image", len(files), [], turns(alone)),
    ]
    facts = {
        "largest_difference_of_the_tables": difference(table, its_table),
        "opens_of_a_file": _opens(files[0], work, run, loop, options),
        "time": {"folds_with_flip": told.last, "one_fold": told_one.last},
    }
    if machine.device.type == "cuda":
        facts["against_cpu_fp32"] = _parity(files[:PARITY], labels_csv, work, run, options)
    return {"races": [race.as_json() for race in races], "facts": facts}


def stack(files: Sequence[Path], *, size: int) -> Tensor:
    """-> (n, 1, S, S) uint8."""
    pixels = np.stack([read_image(file.read_bytes(), size=size) for file in files])
    return torch.from_numpy(pixels)[:, None]


def _score(
    images: Path, out_csv: Path, options: Options, *, models: Path, machine: Machine, progress: Progress
) -> None:
    score(str(images), out_csv, options, models=models, machine=machine, progress=progress)


def _opens(
    file: Path, work: Path, run: Callable[..., None], loop: Callable[..., None], options: Options
) -> dict[str, int]:
    """How often each opens one file; both without workers, whose files we would not see."""
    alone = _copied([file], work / "alone")
    calls: dict[str, Callable[[], None]] = {
        NOTEBOOK: lambda: loop(alone, work / "alone_notebook.csv", workers=0),
        OURS: lambda: run(alone, work / "alone.csv", replace(options, workers=0), progress=Silent()),
    }
    return {name: count_opens(alone / file.name, call) for name, call in calls.items()}


def count_opens(path: Path, call: Callable[[], object]) -> int:
    """How often `call` opens the file at `path` in this process."""
    global _opened
    _listen_for_good()
    _opened = []
    try:
        call()
        return _opened.count(str(path))
    finally:
        _opened = None


@cache
def _listen_for_good() -> None:
    """Once, and after the timing: Python has no way to take a hook back."""
    sys.addaudithook(_listen)


def _listen(event: str, words: tuple[object, ...]) -> None:
    if event == "open" and _opened is not None and isinstance(words[0], str | os.PathLike):
        _opened.append(os.fspath(words[0]))


def _copied(files: Sequence[Path], folder: Path) -> Path:
    folder.mkdir()
    for file in files:
        shutil.copy(file, folder)
    return folder


def _parity(
    files: Sequence[Path], labels_csv: Path, work: Path, run: Callable[..., None], options: Options
) -> dict[str, float]:
    """This device's table against the CPU's in fp32; areas under the curve where there are images enough."""
    images = _copied(files, work / "parity")
    cpu, here = work / "cpu.csv", work / "here.csv"
    run(images, here, options, progress=Silent())
    exact = replace(options, compile="off", batch_size=None)
    run(images, cpu, exact, machine=Machine(torch.device("cpu"), torch.float32), progress=Silent())
    facts = {"images": float(len(files)), "largest_difference": difference(here, cpu)}
    if len(files) >= FEWEST_FOR_AUC:
        facts["macro_auc_difference"] = abs(_macro_auc(here, labels_csv) - _macro_auc(cpu, labels_csv))
    return facts


def _macro_auc(table_csv: Path, labels_csv: Path) -> float:
    scores, truth = read_cells(table_csv), read_cells(labels_csv)
    y = np.array([truth[name] for name in scores])
    return macro(auc_by_finding(y, np.ones(y.shape, dtype=bool), np.array(list(scores.values()))))


def difference(table_csv: Path, other_csv: Path) -> float:
    """The largest between two cells of the same file and finding."""
    table, other = read_cells(table_csv), read_cells(other_csv)
    promise(table.keys() == other.keys(), "tables of different files")
    return max(float(np.abs(row - other[name]).max()) for name, row in table.items())


def read_cells(table_csv: Path) -> Mapping[str, NDArray[np.float64]]:
    """File's name -> (L,), in the order of FINDINGS."""
    with table_csv.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {row["Image_name"]: np.array([float(row[name]) for name in FINDINGS]) for row in rows}
