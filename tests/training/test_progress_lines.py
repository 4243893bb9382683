"""What a training says is enough to plan by: fold k of n, epoch e of n, the best so far, the time left."""

import csv
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import Project
from trainings import Told, stops_at, train

import cxrscore.training.validation
from cxrscore.core.errors import Stopped
from cxrscore.core.signals import Asked
from cxrscore.training.progress_lines import Outlook, crop_factors, left_out, outlook_of, start_in_average
from cxrscore.training.run_state import Course

EPOCHS = {"epochs": 3, "patience": 3, "lr": 1e-2}
EPOCH_LINE = re.compile(
    r"fold 0 \(1 of 2\), epoch ([123]) of 3: train loss \d+\.\d{4}, validation macro-AUC (0\.\d{4}) "
    r"\((?:raw|ema) weights\), (the best so far|best so far (0\.\d{4}) in epoch ([123]))"
    r"(; \d+\.\d images/s, \d+\.\d% of the time waiting for data)?(; time left: (.*))?"
)


@pytest.fixture
def mine(project: Project, tmp_path: Path) -> Project:
    return project.copy_to(tmp_path / "mine")


def epoch_lines(told: Told) -> list[re.Match[str]]:
    found = [EPOCH_LINE.fullmatch(line) for line in told.lines if ", epoch " in line]
    assert all(found), told.lines
    return [match for match in found if match]


def areas(project: Project) -> list[float]:
    with project.layout.history(0).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]  # files keep their count
    return [float(row["macro_auc"]) for row in rows]


def test_each_epoch_is_one_line_that_counts_from_one_and_names_the_best(mine: Project) -> None:
    told = Told()
    train(mine, told=told, **EPOCHS)
    lines, measured = epoch_lines(told), areas(mine)
    assert [line[1] for line in lines] == ["1", "2", "3"]
    for i, line in enumerate(lines):
        best = max(range(i + 1), key=measured.__getitem__)
        assert float(line[2]) == pytest.approx(measured[i], abs=1e-4)
        if best == i:
            assert line[3] == "the best so far"
        else:
            assert (float(line[4]), line[5]) == (pytest.approx(measured[best], abs=1e-4), str(best + 1))
        assert line[6]
    best = max(range(3), key=measured.__getitem__)
    assert told.lines[-1].startswith(f"fold 0 (1 of 2): saving the model of epoch {best + 1}, macro-AUC ")


def test_time_is_left_for_the_fold_and_for_those_that_follow(mine: Project) -> None:
    told = Told()
    train(mine, told=told, **EPOCHS)
    first, second, third = (line[8] for line in epoch_lines(told))
    for left in (first, second):
        assert re.fullmatch(r"about \d+ \w+ for this fold, about \d+ \w+ for all folds", left)
    assert re.fullmatch(r"about \d+ \w+ for all folds", third)


def test_what_is_read_and_built_is_said_before_it_takes_time(mine: Project) -> None:
    told = Told()
    train(mine, told=told, epochs=1)
    assert told.lines[0] == f"fold 0 (1 of 2): reading {mine.layout.prepared}, building test_resnet"


def test_images_that_whole_batches_leave_out_are_said_once(mine: Project) -> None:
    told = Told()
    train(mine, told=told, epochs=2)
    (line,) = (line for line in told.lines if "leaves out" in line)
    assert line == (
        "fold 0 (1 of 2): each epoch trains on 16 of 23 images and leaves out 7, a different 7 in each "
        "epoch, because only whole batches of 8 are used; train.batch_size 7 would leave out 2"
    )


def test_an_epoch_that_was_trained_before_a_stop_has_no_rate(
    mine: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, asked = cxrscore.training.validation.predict_views, Asked()

    def stops(*args: object, **kwargs: object) -> object:
        asked.number = 1
        return usual(*args, **kwargs)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(Stopped, match="SIGHUP after 2 steps of epoch 1"):
        patch.setattr(cxrscore.training.validation, "predict_views", stops)
        train(mine, asked=asked, **EPOCHS)
    told = Told()
    train(mine, told=told, **EPOCHS)
    first, second, third = epoch_lines(told)
    assert (first[6], first[7]) == (None, None)
    assert second[6] and second[8] and third[6]


def test_the_rate_of_a_resumed_epoch_is_of_its_own_steps(mine: Project) -> None:
    asked = Asked()
    with pytest.raises(Stopped, match="SIGTERM after 1 steps of epoch 1, which are kept"):
        train(mine, told=Told(stops_at(1, asked, 15)), asked=asked, **EPOCHS)
    told = Told()
    train(mine, told=told, **EPOCHS)
    assert epoch_lines(told)[0][6]


def course_of(epoch: int, best: int) -> Course:
    return Course(epoch=epoch, best={"epoch": best, "macro_auc": 0.7})


@pytest.mark.parametrize(
    ("patience", "outlook", "course", "fold_s", "all_s"),
    [
        (8, {"folds": [0, 1, 2], "waiting": 2}, course_of(3, 2), "about 50 s", "about 3 min 30 s"),
        (3, {"folds": [0, 1, 2], "waiting": 2}, course_of(3, 2), "at most 50 s", "at most 3 min 30 s"),
        (3, {"folds": [1, 0], "waiting": 0}, course_of(6, 5), "about 20 s", "about 20 s"),
        (3, {"folds": [0, 1], "waiting": 1}, course_of(6, 5), "about 20 s", "at most 1 min 40 s"),
        (3, {"folds": [0, 1], "waiting": 1}, course_of(8, 7), None, "at most 1 min 20 s"),
        (3, {"folds": [0, 1], "waiting": 1}, course_of(5, 1), None, "at most 1 min 20 s"),
        (8, {"folds": [0]}, course_of(3, 2), "about 50 s", None),
        (8, {"folds": [0]}, course_of(8, 7), None, None),
    ],
    ids=["long patience", "patience", "last fold", "too late", "done", "stopped early", "alone", "all done"],
)
def test_an_end_that_may_come_early_is_an_upper_bound(
    patience: int, outlook: dict[str, Any], course: Course, fold_s: str | None, all_s: str | None
) -> None:
    made = Outlook(8, patience, **outlook)
    assert made.time_left(course) == ""  # nothing was measured
    made.seconds += [99.0, 10.0, 12.0, 8.0]  # the first compiles
    parts = [f"{fold_s} for this fold"] if fold_s else []
    parts += [f"{all_s} for all folds"] if all_s else []
    assert made.time_left(course) == (f"time left: {', '.join(parts)}" if parts else "")


def test_folds_that_are_trained_already_take_no_time(project: Project, tmp_path: Path) -> None:
    mine = project.copy_to(tmp_path)
    params = project.params.model_copy(
        update={"folds": project.params.folds.model_copy(update={"train": [0, 1, 2]})}
    )
    assert [outlook_of(fold, params, mine.layout).waiting for fold in (0, 1, 2)] == [2, 1, 0]
    mine.layout.summary(0).unlink()
    assert [outlook_of(fold, params, mine.layout).waiting for fold in (0, 1, 2)] == [2, 2, 1]
    assert [str(outlook_of(fold, params, mine.layout)) for fold in (1, 3)] == ["fold 1 (2 of 3)", "fold 3"]
    assert outlook_of(3, params, mine.layout).waiting == 0


@pytest.mark.parametrize(
    ("images", "changes", "processes", "left", "better"),
    [
        (61, {}, 1, 29, "; train.batch_size 30 would leave out 1"),
        (61, {"accumulate": 4}, 2, 29, "; train.batch_size 24 would leave out 13"),
        (61, {"accumulate": 16}, 2, 29, ""),
        (1000, {}, 1, 8, ""),
    ],
    ids=["half", "a multiple of passes and processes", "no better size", "few"],
)
def test_a_better_batch_size_is_named_where_much_is_left_out(
    project: Project, images: int, changes: dict[str, int], processes: int, left: int, better: str
) -> None:
    params = project.params.train.model_copy(update={"batch_size": 32, **changes})
    assert left_out(images, params, processes=processes) == (
        f"each epoch trains on {images - left:,} of {images:,} images and leaves out {left}, a different "
        f"{left} in each epoch, because only whole batches of 32 are used{better}"
    )
    assert left_out(64, params, processes=processes) == ""


@pytest.mark.parametrize(
    ("folds", "best", "said"),
    [
        ([0], {}, "loss 0.500; left: fold 1 min 15 s"),
        ([0, 1, 2], {}, "loss 0.500; left: fold 1 min 15 s, all folds 3 min 55 s"),
        ([0], {"macro_auc": 0.7}, "loss 0.500; best macro-AUC 0.7000; left: fold 1 min 15 s"),
    ],
    ids=["alone", "of three", "after an epoch"],
)
def test_within_an_epoch_the_time_left_is_that_of_the_fold_and_of_all(
    folds: list[int], best: dict[str, Any], said: str
) -> None:
    made = Outlook(8, 8, 0, folds, len(folds) - 1)
    course = Course(epoch=0, best=best and {"epoch": -1, **best})
    assert made.note(0.5, course, share=0.5, epoch_s=10.0) == said


def test_the_loss_of_a_step_comes_with_fold_best_and_time_left(mine: Project) -> None:
    notes: list[str] = []

    class Noting(Told):
        def start(self, what: str, total: int, **_: Any) -> None:
            notes.append(what)

        def advance(self, steps: int = 1, note: str = "") -> None:
            notes.append(note)

    train(mine, told=Noting(), **EPOCHS)
    assert "fold 0 (1 of 2), epoch 2 of 3" in notes
    steps = [note for note in notes if note.startswith("loss ")]
    assert "best" not in steps[0] and re.search(r"; best macro-AUC 0\.\d{4}; left: fold ", steps[-1])
    assert all(", all folds " in note for note in steps)


@pytest.mark.parametrize(
    ("size", "train_size", "scale", "words"),
    [
        (
            380,
            None,
            (0.84, 1.0),
            r"enlarged by a factor of 1\.09; prepare\.train_size 415 keeps their detail",
        ),
        (380, 414, (0.84, 1.0), r"enlarged by a factor of 1\.00; prepare\.train_size 415 keeps"),
        (380, None, (1.0, 1.0), ""),
        (380, 415, (0.84, 1.0), ""),
        (380, 416, (0.84, 1.0), ""),
        (100, None, (0.16, 1.0), r"enlarged by a factor of 2\.50; prepare\.train_size 200 keeps more of it"),
        (100, 200, (0.16, 1.0), r"enlarged by a factor of 1\.25$"),
        (100, 150, (0.5, 1.0), ""),
        (100, 160, (0.5, 1.0), r"reduced by a factor of 1\.60 .*train_size of 150 or less avoids that"),
    ],
)
def test_crops_that_are_enlarged_or_reduced_by_much_are_told(
    size: int, train_size: int | None, scale: tuple[float, float], words: str
) -> None:
    told = crop_factors(size=size, train_size=train_size, scale=scale)
    assert re.search(words, told) if words else not told


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"ema_warmup": False, "weights": "ema", "ema_decay": 0.999},
            "after 12 steps the moving average still ",
        ),
        ({"ema_warmup": False, "weights": "ema", "ema_decay": 0.7}, ""),
        ({"ema_warmup": True, "weights": "ema", "ema_decay": 0.999}, ""),
        ({"ema_warmup": False, "weights": "best", "ema_decay": 0.999}, ""),
    ],
)
def test_an_average_that_still_holds_its_start_is_told(
    project: Project, changes: dict[str, Any], words: str
) -> None:
    params = project.with_settings(epochs=3, batch_size=8, **changes).train
    told = start_in_average(39, params)
    assert told.startswith(words) if words else told == ""
    if words:
        assert "holds 99% of the initial weights; set train.ema_warmup to true" in told
