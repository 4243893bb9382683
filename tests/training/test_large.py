"""Training on many images: no epoch adds to its memory, and its start takes time by the row."""

import time
from pathlib import Path

import large
import pytest

import cxrscore.train
import cxrscore.training.epochs
from cxrscore.core.device import Machine
from cxrscore.core.paths import Layout
from cxrscore.training.fold_data import read_fold

EPOCHS = 6


@pytest.fixture
def whole_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What train_cut cuts short in this process is whole again after the test."""
    for module, name in (
        (cxrscore.training.epochs, "batches"),
        (cxrscore.training.epochs, "predict_rows"),
        (cxrscore.train, "predict_rows"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name))


@pytest.mark.usefixtures("whole_again")
def test_no_epoch_leaves_memory_behind(tmp_path: Path) -> None:
    large.make_large(tmp_path, rows=3000, size=64)
    gauge = large.train_cut(tmp_path, size=64, epochs=EPOCHS, begun=time.monotonic())
    assert len(gauge.anon) == EPOCHS
    assert gauge.growth < 8, gauge.anon  # MB; an epoch's pixels as the model sees them are 2.6 MB


def seconds_to_read(root: Path, rows: int, machine: Machine) -> float:
    """Of this thread alone: other processes are not counted."""
    large.make_large(root, rows=rows, size=32)
    labels = large.settings(size=32, epochs=1).labels
    taken = []
    for _ in range(3):
        begun = time.thread_time()
        data = read_fold(
            0, labels_csv=root / "labels.csv", layout=Layout(root / "out"), labels=labels, machine=machine
        )
        taken.append(time.thread_time() - begun)
    assert len(data.store) == rows
    return min(taken)


def test_start_up_takes_time_by_the_row_and_no_more(tmp_path: Path, cpu: Machine) -> None:
    few, many = (seconds_to_read(tmp_path / str(rows), rows, cpu) for rows in (2000, 20000))
    assert many < 30 * few  # ten times as many; pairs of rows would be a hundred times
