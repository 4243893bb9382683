"""Training on more images than memory holds: how soon the first step comes, and what memory the epochs take.

    python tests/programs/large.py                          150,000 rows of 380 px, 5 epochs
    python tests/programs/large.py --rows 3000 --size 64 --epochs 8

The shards are sparse files, which take no disk. The run is a process of its own: the train stage with a tiny
model, whose epochs are cut short after 20 steps and whose validation scores 96 images and says the same of
all others; what an epoch costs before its first step, and the areas, are those of all rows.
Out: seconds until the first step, imports included, and for how many of them this process had a core; memory
after each epoch, in MB, and the share of time that steps waited for data. Exit code 1 where a limit is
passed; the limits are for a machine with nothing else to do.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

import cxrscore.train
import cxrscore.training.epochs
from cxrscore.core.device import Machine
from cxrscore.core.files import sha256_bytes, write_text
from cxrscore.core.paths import Layout
from cxrscore.core.progress import Silent
from cxrscore.images.image_store import INDEX_COLUMNS, SHARD_ROWS
from cxrscore.project.params import Params
from cxrscore.project.params_file import read_params
from cxrscore.tables.csv_table import write_table
from cxrscore.tables.fold_table import Folds, write_folds
from cxrscore.train import train_fold
from cxrscore.training.fold_data import FoldData

DEMO = Path(cxrscore.__file__).parent / "presets" / "demo.yaml"
STEPS, VALIDATED = 20, 96
SOONEST_S, ANON_MB, GROWTH_MB = 20.0, 3000.0, 50.0


def settings(*, size: int, epochs: int) -> Params:
    """The demo's, for the tiny model, without an early stop. A small batch: 24 images of 380 px are 1.7 GB of
    activations, among which nobody would see what the rows take.
    """
    params = read_params(DEMO)
    tiny = {"backbone": "test_resnet", "batch_size": 8, "epochs": epochs, "patience": epochs}
    changed = {
        "prepare": params.prepare.model_copy(update={"size": size}),
        "train": params.train.model_copy(update=tiny),
    }
    return params.model_copy(update=changed)


def make_large(root: Path, *, rows: int, size: int) -> None:
    """labels.csv and out/ as prepare and folds leave them: three images per study, two studies per
    patient.
    """
    labels, layout = read_params(DEMO).labels, Layout(root / "out")
    patient = [f"patient{i // 6:06}" for i in range(rows)]
    study = [f"study{i // 3 % 2 + 1}" for i in range(rows)]
    ids = [f"{patient[i]}/{study[i]}/image{i:06}.jpg" for i in range(rows)]
    y = np.random.default_rng(0).integers(0, 2, (rows, len(labels.findings))).tolist()
    cells = zip(ids, patient, study, y, strict=True)
    write_table(
        root / "labels.csv",
        [labels.id, str(labels.patient), str(labels.study), *labels.findings],
        ([*names, *row] for *names, row in cells),
    )
    folds = Folds(ids, patient, np.arange(rows) // 6 % 3)
    write_folds(layout.folds, folds, id=labels.id, patient=labels.patient)
    write_text(layout.prepared / "about.json", '{"preprocessing": "sparse", "bit_depth": null}\n')
    for shard in range(-(-rows // SHARD_ROWS)):
        shape = (min(SHARD_ROWS, rows - shard * SHARD_ROWS), size, size)
        path = layout.prepared / f"shard-{shard:05}.npy"
        np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)  # type: ignore[no-untyped-call]
    black = sha256_bytes(bytes(size * size))
    index = ((ids[i], f"{i:064x}", 2048, 2048, *divmod(i, SHARD_ROWS), black) for i in range(rows))
    write_table(layout.prepared / "index.csv", [labels.id, *INDEX_COLUMNS], index)


@dataclass
class Gauge(Silent):
    """Reads the clock at the first step, and memory (MB) after each epoch."""

    begun: float
    first_step_s: float = 0.0
    anon: list[float] = field(default_factory=list)

    def advance(self, steps: int = 1, note: str = "") -> None:
        if note and not self.first_step_s:
            self.first_step_s = time.monotonic() - self.begun
            busy = time.process_time()
            sys.stdout.write(f"first step after {self.first_step_s:.1f} s, of which {busy:.1f} on a core\n")

    def say(self, text: str) -> None:
        if ", epoch " in text:
            mb = memory()
            self.anon.append(mb["RssAnon"])
            found = ", ".join(f"{name} {mb[name]:,.0f} MB" for name in ("RssAnon", "RssFile", "VmHWM"))
            sys.stdout.write(f"epoch {len(self.anon)}: {found}; {text.split('; ')[1]}\n")

    @property
    def growth(self) -> float:
        """MB from the second epoch, when all that is made once is there, to the last."""
        return self.anon[-1] - self.anon[1]


def memory() -> dict[str, float]:
    """MB, by the kernel's names."""
    lines = (line.split() for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
    return {line[0].rstrip(":"): int(line[1]) / 1e3 for line in lines if line[-1] == "kB"}


def cut_batches(batches: Callable[..., Any]) -> Callable[..., Iterator[Any]]:
    """The first STEPS of them."""

    def few(*args: Any, **settings: Any) -> Iterator[Any]:
        with closing(batches(*args, **settings)) as stream:
            yield from islice(stream, STEPS)

    return few


def cut_validation(predict_rows: Callable[..., Any]) -> Callable[..., Any]:
    """Scores of the first rows, for all rows."""

    def few(model: Any, data: FoldData, **settings: Any) -> Any:
        found = predict_rows(model, replace(data, val=data.val[:VALIDATED]), **settings)
        return found[:, np.arange(len(data.val)) % VALIDATED]

    return few


def train_cut(root: Path, *, size: int, epochs: int, begun: float) -> Gauge:
    """The train stage of fold 0; changes cxrscore in this process."""
    epochs_of = cxrscore.training.epochs
    epochs_of.batches = cut_batches(epochs_of.batches)
    epochs_of.predict_rows = cxrscore.train.predict_rows = cut_validation(epochs_of.predict_rows)
    gauge = Gauge(begun)
    train_fold(
        0,
        labels_csv=root / "labels.csv",
        layout=Layout(root / "out"),
        params=settings(size=size, epochs=epochs),
        machine=Machine(torch.device("cpu"), torch.float32),
        progress=gauge,
    )
    return gauge


def run(root: Path, *, size: int, epochs: int, begun: float) -> int:
    torch.set_num_threads(1)
    gauge = train_cut(root, size=size, epochs=epochs, begun=begun)
    passed = [
        f"{what}: {found:,.1f} {unit}, at most {most:,.0f}\n"
        for what, found, most, unit in (
            ("first step", gauge.first_step_s, SOONEST_S, "s"),
            ("anonymous memory", max(gauge.anon), ANON_MB, "MB"),
            ("growth", gauge.growth, GROWTH_MB, "MB"),
        )
        if found > most
    ]
    sys.stdout.writelines(passed)
    return int(bool(passed))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=150_000)
    parser.add_argument("--size", type=int, default=380)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.run:
        root, begun = words.run
        return run(Path(root), size=words.size, epochs=words.epochs, begun=float(begun))
    with tempfile.TemporaryDirectory() as name:
        make_large(Path(name), rows=words.rows, size=words.size)
        begun = time.monotonic()
        child = [sys.executable, __file__, *sys.argv[1:], "--run", name, str(begun)]
        return subprocess.run(child, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
