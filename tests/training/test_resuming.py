"""A training that was stopped or killed at any moment ends with the bytes of one that was left alone."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import PROGRAMS, Project, contents
from torch import Tensor
from trainings import Told, snapshots_at_fsync, states, stops_at, train

import cxrscore.train
import cxrscore.training.epochs
import cxrscore.training.validation
from cxrscore.core.errors import Stopped
from cxrscore.core.signals import Asked
from cxrscore.train import Keeping
from cxrscore.training.learner import Learner
from cxrscore.training.resume_state import StateFolder

LONG = {"epochs": 3, "patience": 3, "lr": 1e-2}
STEPS = 2  # of an epoch: 23 images in batches of 8
FORWARDS = 4  # of an epoch's validation: 17 images in batches of 16, by both models


@pytest.fixture
def untrained(project: Project, tmp_path: Path) -> Project:
    """Prepared images and folds, and no output of the train stage."""
    made = project.copy_to(tmp_path / "mine")
    for name in ("models", "oof", "history", "summary"):
        for path in (made.layout.root / name).iterdir():
            path.unlink()
    return made


@pytest.fixture(scope="module")
def alone(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, bytes]]:
    """The outputs of a training that nobody stops, by its settings; each is trained once."""
    done: dict[str, dict[str, bytes]] = {}

    def outputs(**settings: Any) -> dict[str, bytes]:
        key = repr(settings)
        if key not in done:
            mine = project.copy_to(tmp_path_factory.mktemp("alone"))
            train(mine, **settings)
            done[key] = outputs_of_fold_0(mine)
        return done[key]

    return outputs


def outputs_of_fold_0(project: Project) -> dict[str, bytes]:
    found = contents(project.layout.root)
    return {name: data for name, data in found.items() if Path(name).name.startswith("fold0")}


def stop(project: Project, *, step: int, number: int = signal.SIGTERM, **settings: Any) -> str:
    """Train until the step-th step of this run is asked to be the last -> where it was stopped."""
    asked = Asked()
    with pytest.raises(Stopped) as stopped:
        train(project, told=Told(stops_at(step, asked, number)), asked=asked, **settings)
    assert stopped.value.code == 128 + number
    return str(stopped.value)


@pytest.mark.slow
def test_kills_at_any_moment_of_a_step_cost_no_byte() -> None:
    run = subprocess.run(
        [sys.executable, str(PROGRAMS / "training_kills.py"), "--epochs", "6", "--every", "5"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout == "paper-like: identical 3 of 3\naccumulating: identical 3 of 3\n", run.stderr
    assert run.returncode == 0


def test_what_a_kill_leaves_at_any_moment_ends_with_the_same_bytes(
    untrained: Project, alone: Callable[..., dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = untrained.layout.root.parent
    left = snapshots_at_fsync(monkeypatch, mine, lambda: train(untrained, keeping=Keeping(0.0), **LONG))
    assert len(left) > 20
    left, went_on = left[::2], 0  # in pairs: a file, and then the folder that names it
    for snapshot in left:
        shutil.rmtree(mine)
        snapshot.rename(mine)
        told = Told()
        train(untrained, told=told, **LONG)
        went_on += told.goes_on
        assert outputs_of_fold_0(untrained) == alone(**LONG), snapshot
        assert states(untrained) == []
    assert went_on > len(left) / 2


@pytest.mark.parametrize("step", range(1, 3 * STEPS + 1))
def test_stopped_after_any_step_it_ends_with_the_same_bytes(
    untrained: Project, alone: Callable[..., dict[str, bytes]], step: int
) -> None:
    before = contents(untrained.layout.root)
    epoch, done = divmod(step - 1, STEPS)
    where = stop(untrained, step=step, **LONG)
    assert f"SIGTERM after {done + 1} steps of epoch {epoch + 1}, which are kept" in where
    assert contents(untrained.layout.root) == before
    told = Told()
    train(untrained, told=told, **LONG)
    assert f"resuming after {done + 1} steps of epoch {epoch + 1}" in told.lines
    assert outputs_of_fold_0(untrained) == alone(**LONG)
    assert states(untrained) == []


@pytest.mark.parametrize(
    "recipe",
    [
        {"optimizer": "sgd", "schedule": "step", "step_epochs": 1},
        {"optimizer": "adam", "schedule": "one_cycle", "warmup_epochs": 0.0, "weights": "raw"},
        {"optimizer": "sgd", "freeze_epochs": 1, "ema_warmup": False, "weights": "ema"},
    ],
    ids=["sgd", "adam", "thawing"],
)
@pytest.mark.parametrize("step", [1, STEPS + 1])
def test_every_optimizer_and_schedule_resumes_to_the_same_bytes(
    untrained: Project, alone: Callable[..., dict[str, bytes]], step: int, recipe: dict[str, Any]
) -> None:
    settings = LONG | recipe
    stop(untrained, step=step, **settings)
    told = Told()
    train(untrained, told=told, **settings)
    assert told.goes_on
    assert outputs_of_fold_0(untrained) == alone(**settings)


def test_stopped_again_and_again_it_ends_with_the_same_bytes(
    untrained: Project, alone: Callable[..., dict[str, bytes]]
) -> None:
    for _ in range(3 * STEPS):
        stop(untrained, step=1, number=signal.SIGINT, keeping=Keeping(0.0), **LONG)
    train(untrained, **LONG)
    assert outputs_of_fold_0(untrained) == alone(**LONG)


def asked_within(forward: int, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGHUP comes within the forward-th batch that is validated."""
    usual, count = cxrscore.training.validation.predict_views, 0

    def predict_views(*args: Any, **kwargs: Any) -> Tensor:
        nonlocal count
        count += 1
        if count == forward:
            asked.number = signal.SIGHUP
        return usual(*args, **kwargs)

    monkeypatch.setattr(cxrscore.training.validation, "predict_views", predict_views)


@pytest.mark.parametrize("forward", range(1, FORWARDS + 1))
def test_stopped_within_a_validation_it_validates_again(
    untrained: Project,
    alone: Callable[..., dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
    forward: int,
) -> None:
    before, asked = contents(untrained.layout.root), Asked()
    with (
        monkeypatch.context() as patch,
        pytest.raises(Stopped, match="SIGHUP after 2 steps of epoch 2"),
    ):
        asked_within(FORWARDS + forward, asked, patch)
        train(untrained, asked=asked, **LONG)
    assert contents(untrained.layout.root) == before
    train(untrained, **LONG)
    assert outputs_of_fold_0(untrained) == alone(**LONG)


def test_stopped_within_the_last_prediction_it_predicts_again(
    untrained: Project, alone: Callable[..., dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Asked()
    with monkeypatch.context() as patch, pytest.raises(Stopped, match="SIGHUP after epoch 3, which is kept"):
        asked_within(3 * FORWARDS + 1, asked, patch)
        train(untrained, asked=asked, **LONG)
    assert not untrained.layout.scores(0, views=False).exists()
    told = Told()
    train(untrained, told=told, **LONG)
    assert not [line for line in told.lines if ", epoch " in line]  # none is trained again
    assert outputs_of_fold_0(untrained) == alone(**LONG)


def epochs_of(history: bytes) -> list[str]:
    return [row["epoch"] for row in csv.DictReader(history.decode().splitlines())]


def test_patience_counts_the_epochs_before_the_stop(
    untrained: Project, alone: Callable[..., dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    areas = [0.5, 0.6, 0.7, 0.65, 0.66, 0.0]  # by epoch, whatever a processor's rounding makes of them
    usual = cxrscore.training.epochs.validate

    def validate(*args: Any, **kwargs: Any) -> Any:
        row, weights = usual(*args, **kwargs)
        return row | {"macro_auc": areas[row["epoch"]]}, weights

    monkeypatch.setattr(cxrscore.training.epochs, "validate", validate)
    monkeypatch.setattr(cxrscore.train, "macro", lambda _: max(areas))  # the saved file, measured again
    patient = {"epochs": 59, "patience": 2, "lr": 1e-2}
    expected = alone(**patient)
    assert epochs_of(expected["history/fold0.csv"]) == ["0", "1", "2", "3", "4"]
    for step in (STEPS * 4 - 1, 1, STEPS):  # two stale epochs end it, one of them before the stop
        stop(untrained, step=step, **patient)
    told = Told()
    train(untrained, told=told, **patient)
    assert "no better epoch for 2: stopped early" in told.lines
    assert outputs_of_fold_0(untrained) == expected


def test_a_training_that_patience_has_ended_is_not_gone_on_with(
    untrained: Project, alone: Callable[..., dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = {"epochs": 60, "patience": 2, "lr": 1e-2}
    expected, asked = alone(**patient), Asked()
    epochs = len(epochs_of(expected["history/fold0.csv"]))
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        asked_within(FORWARDS * epochs + 1, asked, patch)
        train(untrained, asked=asked, **patient)
    told = Told()
    train(untrained, told=told, **patient)
    assert "no better epoch for 2: stopped early" in told.lines
    assert outputs_of_fold_0(untrained) == expected


def test_the_scale_of_fp16_and_the_skipped_steps_survive(
    untrained: Project, alone: Callable[..., dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    half = LONG | {"dtype": torch.float16}
    usual, scales = Learner._loss, []

    def loud(self: Learner, *args: Any, **kwargs: Any) -> Tensor:
        scales.append(self.scaler.get_scale())
        return usual(self, *args, **kwargs) * 1e3  # fp16 holds no gradient of it at the first scales

    monkeypatch.setattr(Learner, "_loss", loud)
    expected = alone(**half)
    unbroken, scales[:] = list(scales), []
    assert len(set(unbroken)) > 2
    stop(untrained, step=3, **half)
    (path,) = (path for path in states(untrained) if path.name != "lock")
    facts = StateFolder(path.parent).load()[1]["learner"]
    assert facts["scaler"]["scale"] == unbroken[3]
    assert facts["skipped"] > 0
    train(untrained, **half)
    assert scales == unbroken
    assert outputs_of_fold_0(untrained) == expected
    assert json.loads(expected["summary/fold0.json"])["skipped"] >= facts["skipped"]
