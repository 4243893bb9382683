"""A fold learns from its own rows only, and the file that is saved is the file that was measured."""

import csv
import dataclasses
import hashlib
import json
import math
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY, Project, contents
from safetensors.torch import load_file, save_file
from sklearn.metrics import roc_auc_score

from cxrscore.core.device import Machine, seeded
from cxrscore.core.errors import UserError
from cxrscore.core.progress import Silent
from cxrscore.core.safetensors_digest import KEY
from cxrscore.images.reading import read_image
from cxrscore.model.checkpoint import load_fold, read_card
from cxrscore.model.heads.registry import head_settings
from cxrscore.model.network import build_model
from cxrscore.model.predict import VIEWS
from cxrscore.project.params import AugmentParams, IndependentHead, TrainParams
from cxrscore.tables.score_table import read_scores
from cxrscore.train import build_learner
from cxrscore.training.augment import cutout, draw_cutouts, draw_jitters, epoch_order, jitter
from cxrscore.training.epochs import train_epoch
from cxrscore.training.fold_data import FoldData, read_fold
from cxrscore.training.job import _refuse_what_has_seen
from cxrscore.training.learner import Learner
from cxrscore.training.rand_augment import draw_operations, rand_augment
from cxrscore.training.run_state import Course

INDEPENDENT = {"kind": "independent", "dropout": 0.0, "pool": "gap"}


@pytest.fixture
def mine(project: Project, tmp_path: Path) -> Project:
    return project.copy_to(tmp_path)


def read(project: Project, fold: int, cpu: Machine) -> FoldData:
    return read_fold(
        fold,
        labels_csv=project.labels,
        layout=project.layout,
        labels=project.params.labels,
        machine=cpu,
    )


def pixels_of(data: FoldData) -> np.ndarray:
    """(n, S, S) uint8, of all images."""
    return data.store.read(np.arange(len(data.store)))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def with_labels(project: Project, folder: Path, rows: list[dict[str, str]]) -> Project:
    """The project with another label table; images are not read when training."""
    folder.mkdir()
    with (folder / "labels.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return dataclasses.replace(project, data=folder)


def swap(path: Path, column: str | None = None) -> None:
    """Exchange two rows of a table, or two cells of one column."""
    rows = rows_of(path)
    if column is None:
        rows[3], rows[7] = rows[7], rows[3]
    else:
        rows[3][column], rows[7][column] = rows[7][column], rows[3][column]
    path.write_text(
        "\n".join(map(",".join, [rows[0], *(row.values() for row in rows)])) + "\n", encoding="utf-8"
    )


def macro_auc(project: Project, ids: list[str], probs: np.ndarray) -> float:
    """By scikit-learn, over the findings with both classes."""
    y_of = {row["Image_name"]: row for row in rows_of(project.labels)}
    columns = [[int(y_of[name][finding]) for name in ids] for finding in project.params.labels.findings]
    return float(
        np.mean([roc_auc_score(y, p) for y, p in zip(columns, probs.T, strict=True) if len(set(y)) == 2])
    )


def test_each_row_has_the_pixels_and_the_labels_of_its_own_image(
    project: Project, cpu: Machine, tmp_path: Path
) -> None:
    turned = with_labels(project, tmp_path / "data", rows_of(project.labels)[::-1])
    data = read(turned, 0, cpu)
    y_of = {row["Image_name"]: row for row in rows_of(project.labels)}
    pixels = data.store.read(np.arange(len(data.store)))
    assert data.store.ids == list(y_of)
    for i, name in enumerate(data.store.ids):
        assert (pixels[i] == read_image((project.data / "images" / name).read_bytes(), size=32)).all()
        assert data.y[i].tolist() == [int(y_of[name][finding]) for finding in data.findings]


@pytest.mark.parametrize("column", [None, "Image_name"])
def test_folds_in_another_order_than_the_images_are_refused(
    mine: Project, cpu: Machine, column: str | None
) -> None:
    swap(mine.layout.folds, column)
    with pytest.raises(UserError, match=r"folds.csv: made for other images than .*dvc repro folds"):
        read(mine, 0, cpu)


@pytest.mark.parametrize(
    ("column", "message"),
    [(None, "shards and rows do not count up"), ("Image_name", "made for other images")],
)
def test_an_index_with_two_rows_exchanged_is_refused(
    mine: Project, cpu: Machine, column: str | None, message: str
) -> None:
    swap(mine.layout.prepared / "index.csv", column)
    with pytest.raises(UserError, match=message):
        read(mine, 0, cpu)


def test_prepared_pixels_that_changed_stop_a_training_and_change_no_output(mine: Project) -> None:
    """Half a shard of zeros, in a file of the same size and time."""
    shard = mine.layout.prepared / "shard-00000.npy"
    about, data = shard.stat(), bytearray(shard.read_bytes())
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    shard.write_bytes(data)
    os.utime(shard, ns=(about.st_atime_ns, about.st_mtime_ns))
    before = contents(mine.layout.trained)
    with pytest.raises(
        UserError, match=r"shard-00000\.npy: damaged: the pixels of .* `dvc repro --force prepare`"
    ):
        mine.train(0)
    assert contents(mine.layout.trained) == before


def test_images_prepared_for_another_depth_are_refused(mine: Project, cpu: Machine) -> None:
    prepare = mine.params.prepare.model_copy(update={"bit_depth": 12})
    mine = dataclasses.replace(mine, params=mine.params.model_copy(update={"prepare": prepare}))
    with pytest.raises(
        UserError, match=r"prepared with bit_depth None, prepare\.bit_depth is 12; run `dvc repro"
    ):
        mine.train(0)


def test_an_image_that_lost_its_label_is_refused(project: Project, cpu: Machine, tmp_path: Path) -> None:
    fewer = with_labels(project, tmp_path / "data", rows_of(project.labels)[1:])
    with pytest.raises(UserError, match=r"1 image without a row in .*labels.csv; run `dvc repro prepare`"):
        read(fewer, 0, cpu)


def test_folds_cover_every_image_once_and_share_no_patient(project: Project, cpu: Machine) -> None:
    patient_of = {row["Image_name"]: row["Patient_ID"] for row in rows_of(project.labels)}
    validated: list[str] = []
    for fold in project.params.folds.train:
        data = read(project, fold, cpu)
        train, val = ([data.store.ids[row] for row in rows] for rows in (data.train, data.val))
        assert not {patient_of[name] for name in train} & {patient_of[name] for name in val}
        assert sorted(train + val) == sorted(patient_of)
        assert read_scores(project.layout.scores(fold, views=False))[1] == val
        validated += val
    assert sorted(validated) == sorted(patient_of)


def trained(project: Project, cpu: Machine) -> dict[str, torch.Tensor]:
    """Weights, average and optimizer after an epoch of steps; which of the two is saved, validation says."""
    data = read(project, 0, cpu)
    learner = build_learner(0, data, project.params.train, machine=cpu)
    train_epoch(learner, data, project.params.train, Course(), progress=Silent())
    return learner.tensors()


def test_the_labels_of_validation_reach_no_weight(project: Project, cpu: Machine, tmp_path: Path) -> None:
    mine, expected = project, trained(project, cpu)
    validated = set(read_scores(mine.layout.scores(0, views=False))[1])
    rows = rows_of(mine.labels)
    for row in rows:
        if row["Image_name"] in validated:
            row.update({name: str(1 - int(row[name])) for name in mine.params.labels.findings})
    found = trained(with_labels(mine, tmp_path / "data", rows), cpu)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("ema_decay", [0.0, 0.999])
def test_raw_weights_and_average_are_both_measured_and_the_better_is_saved(
    mine: Project, cpu: Machine, ema_decay: float
) -> None:
    mine.train(0, epochs=3, lr=1e-2, ema_decay=ema_decay)
    rows, card = rows_of(mine.layout.history(0)), read_card(mine.layout.checkpoint(0))
    for row in rows:
        assert float(row["macro_auc"]) == max(float(row["ema_macro_auc"]), float(row["raw_macro_auc"]))
        if ema_decay == 0:  # then the average is the weights
            assert row["ema_macro_auc"] == row["raw_macro_auc"]
    best = max(rows, key=lambda row: float(row["macro_auc"]))
    better = "ema" if best["macro_auc"] == best["ema_macro_auc"] else "raw"
    assert (str(card.epoch), card.weights) == (best["epoch"], better)
    assert json.loads(mine.layout.summary(0).read_text())["weights"] == better


@pytest.mark.parametrize("weights", ["raw", "ema"])
def test_both_are_measured_and_the_ones_that_are_asked_for_are_compared_and_saved(
    mine: Project, cpu: Machine, weights: str
) -> None:
    mine.train(0, epochs=4, patience=4, lr=1e-2, ema_decay=0.5, ema_warmup=False, weights=weights)
    rows, card = rows_of(mine.layout.history(0)), read_card(mine.layout.checkpoint(0))
    for row in rows:
        assert row["macro_auc"] == row[f"{weights}_macro_auc"]
    assert any(row["ema_macro_auc"] != row["raw_macro_auc"] for row in rows)
    best = max(rows, key=lambda row: float(row[f"{weights}_macro_auc"]))
    assert (str(card.epoch), card.weights) == (best["epoch"], weights)


def test_the_rate_follows_the_schedule_of_the_settings(
    project: Project, cpu: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, usual, rates = read(project, 0, cpu), Learner.step, list[tuple[float, float | None]]()

    def step(self: Learner, *args: Any, lr: float, momentum: float | None, **named: Any) -> float:
        rates.append((lr, momentum))
        return usual(self, *args, lr=lr, momentum=momentum, **named)

    monkeypatch.setattr(Learner, "step", step)
    for schedule, warmup in (("step", 0.0), ("one_cycle", 0.0)):
        recipe = {"schedule": schedule, "warmup_epochs": warmup, "step_epochs": 2, "epochs": 3, "lr": 0.5}
        params = project.with_settings(**recipe).train
        learner, course = build_learner(0, data, params, machine=cpu), Course()
        for epoch in range(3):
            train_epoch(learner, data, params, course, progress=Silent())
            course = Course(epoch=epoch + 1)
    n = len(data.train) // project.params.train.batch_size
    assert rates[: 3 * n] == [*[(0.5, None)] * 2 * n, *[(pytest.approx(0.05), None)] * n]
    assert (rates[3 * n], rates[-1]) == (pytest.approx((0.02, 0.95)), pytest.approx((2e-6, 0.95)))


def test_a_start_from_what_has_seen_the_validated_images_is_refused(mine: Project, cpu: Machine) -> None:
    other = str(mine.layout.checkpoint(1))
    with pytest.raises(UserError, match=r"train.init: .*fold1.* has seen images that fold 0 is validated on"):
        mine.train(0, init=other)
    mine.train(1, init=other, epochs=1)  # it went through the same rows only
    assert read_card(mine.layout.checkpoint(1)).sha256["init"]


def test_a_start_whose_past_cannot_be_read_is_refused(mine: Project, tmp_path: Path) -> None:
    """It may have seen the images: it is not taken for a stranger's."""
    weights, sources = load_file(mine.layout.checkpoint(1)), read_card(mine.layout.checkpoint(1)).sha256
    for name, card, match in (
        ("stripped", {"facts": {}}, "its facts do not match"),
        ("unsealed", {"card": {}, "sha256": ""}, "cxrscore reseal"),
        ("odd", 7, "not a readable"),
    ):
        path = tmp_path / f"{name}.safetensors"
        save_file(weights, path, metadata={KEY: json.dumps(card)})
        with pytest.raises(UserError, match=match):
            _refuse_what_has_seen(0, sources, path)
        with pytest.raises(UserError, match=rf"train\.init: .*{match}"):
            mine.train(0, init=str(path))
    save_file(weights, tmp_path / "theirs.safetensors", metadata={"format": "pt"})
    _refuse_what_has_seen(0, sources, tmp_path / "theirs.safetensors")


def test_a_training_that_diverges_keeps_its_best_as_a_checkpoint(
    mine: Project, cpu: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = Learner._loss

    def poisoned(learner: Learner, *args: Any, **kwargs: Any) -> torch.Tensor:
        return usual(learner, *args, **kwargs) * (math.nan if learner.steps >= 4 else 1.0)

    monkeypatch.setattr(Learner, "_loss", poisoned)
    before = contents(mine.layout.root)
    with pytest.raises(
        UserError, match=r"no finite loss in 3 steps.*epoch \d.*is kept: .*good.safetensors"
    ) as told:
        mine.train(0, epochs=9, max_bad_steps=2)
    kept = load_fold(Path(re.search(r"kept: (\S+)\.", str(told.value)).group(1)), cpu)
    assert contents(mine.layout.root) == before
    assert f"macro-AUC {kept.card.macro_auc:.4f}" in str(told.value)


@pytest.mark.parametrize("fold", [0, 1])
def test_what_is_saved_is_what_was_measured(project: Project, cpu: Machine, fold: int) -> None:
    saved = load_fold(project.layout.checkpoint(fold), cpu)
    for averaged in (False, True):
        id_column, ids, findings, written, *_ = read_scores(project.layout.scores(fold, views=averaged))
        assert (id_column, findings) == ("Image_name", saved.card.findings)
        pixels = [read_image((project.data / "images" / name).read_bytes(), size=32) for name in ids]
        gray = torch.from_numpy(np.stack(pixels)[:, None])
        views = [gray, gray.flip(-1)] if averaged else [gray]
        probs = torch.stack([saved.model(view).logits.sigmoid() for view in views]).mean(0)
        assert probs.numpy() == pytest.approx(written, abs=1e-6)
        if not averaged:
            assert macro_auc(project, ids, written) == pytest.approx(saved.card.macro_auc, abs=1e-9)


def test_the_card_names_the_views_and_their_table_is_the_mean_over_them(mine: Project, cpu: Machine) -> None:
    mine.train(0, epochs=1, views=["plain", "zoom", "zoom_flip"])
    saved = load_fold(mine.layout.checkpoint(0), cpu)
    assert saved.card.views == ["plain", "zoom", "zoom_flip"]
    _, ids, _, written, *_ = read_scores(mine.layout.scores(0, views=True))
    pixels = [read_image((mine.data / "images" / name).read_bytes(), size=32) for name in ids]
    gray = torch.from_numpy(np.stack(pixels)[:, None])
    probs = [saved.model(VIEWS[name](gray)).logits.sigmoid() for name in saved.card.views]
    assert torch.stack(probs).mean(0).numpy() == pytest.approx(written, abs=1e-6)


def test_the_best_epoch_is_kept_and_each_epoch_has_its_row(mine: Project) -> None:
    mine.train(0, epochs=4, patience=4, lr=1e-2)
    history, card = rows_of(mine.layout.history(0)), read_card(mine.layout.checkpoint(0))
    areas = [float(row["macro_auc"]) for row in history]
    assert [row["epoch"] for row in history] == ["0", "1", "2", "3"]
    assert all(float(row["train_loss"]) > 0 for row in history)
    assert (card.epoch, card.macro_auc) == (int(np.argmax(areas)), pytest.approx(max(areas), abs=1e-6))


def test_patience_stops_after_so_many_epochs_without_a_better_one(mine: Project) -> None:
    mine.train(0, epochs=60, patience=2)
    epochs = len(rows_of(mine.layout.history(0)))
    assert epochs < 60
    assert epochs - 1 - read_card(mine.layout.checkpoint(0)).epoch == 2


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(project: Project, tmp_path: Path) -> None:
    first = contents(project.layout.root)
    mine = project.copy_to(tmp_path)
    mine.layout.checkpoint(0).unlink()
    mine.train(0)
    assert contents(mine.layout.root) == first
    mine.train(0, seed=1)
    assert contents(mine.layout.root) != first


def test_the_card_names_the_very_data_it_was_trained_on(project: Project) -> None:
    card = read_card(project.layout.checkpoint(1))
    files = {
        "labels": project.labels,
        "folds": project.layout.folds,
        "images": project.layout.prepared / "index.csv",
    }
    assert card.sha256 == {
        name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()
    }
    assert (card.fold, card.k, card.size) == (1, 2, 32)
    params = project.params
    assert card.params == {"labels": params.labels.model_dump(), "train": params.train.model_dump()}


@pytest.mark.parametrize(
    ("fold", "changes", "message"),
    [
        (2, {}, r"--fold 2: there are no images in it; folds are from 0 to 1"),
        (0, {"batch_size": 64}, r"train.batch_size: 64 is more than the \d+ images to train on"),
        (0, {"backbone": "resnetx"}, r"train.backbone: timm has no model 'resnetx'"),
        (
            0,
            {"batch_size": 2, "lr": 1e30, "max_bad_steps": 3},
            r"not? .*finite.* 4 steps in a row; lower train.lr\.",
        ),
        (0, {"lr": 1e30}, r"the scores after epoch 1 are not finite; lower train.lr\."),
    ],
    ids=["no such fold", "batch too large", "no such backbone", "loss not finite", "scores not finite"],
)
def test_a_training_that_cannot_be_done_writes_nothing(
    mine: Project, fold: int, changes: dict[str, object], message: str
) -> None:
    before = contents(mine.layout.root)
    with pytest.raises(UserError, match=message):
        mine.train(fold, **changes)
    assert contents(mine.layout.root) == before


def test_uncertain_labels_that_are_ignored_count_nowhere(mine: Project, cpu: Machine, tmp_path: Path) -> None:
    rows = rows_of(mine.labels)
    for i, row in enumerate(rows):
        row["Edema"] = "-1"
        row["Support Devices"] = "-1" if i % 3 == 0 else row["Support Devices"]
    doubtful = with_labels(mine, tmp_path / "data", rows)
    doubtful.train(
        0, labels={"uncertain": "ignore"}, epochs=1, weight_decay=0.0, head=IndependentHead(**INDEPENDENT)
    )
    saved = load_fold(mine.layout.checkpoint(0), cpu)
    _, ids, findings, probs, *_ = read_scores(mine.layout.scores(0, views=False))
    y_of = {row["Image_name"]: row for row in rows}
    areas = []
    for finding, scores in zip(findings, probs.T, strict=True):
        known = [i for i, name in enumerate(ids) if y_of[name][finding] != "-1"]
        y = [int(y_of[ids[i]][finding]) for i in known]
        areas += [roc_auc_score(y, scores[known])] if len(set(y)) == 2 else []
    assert saved.card.macro_auc == pytest.approx(np.mean(areas), abs=1e-9)
    trained = [row["Support Devices"] for row in rows if row["Image_name"] not in ids]
    share = trained.count("1") / (len(trained) - trained.count("-1"))
    device, edema = findings.index("Support Devices"), findings.index("Edema")
    assert saved.card.prevalence[device] == pytest.approx(share, abs=1e-6)
    with seeded(cpu, mine.params.train.seed, 0):
        new = build_model(TINY, init="none", findings=len(findings), head=head_settings(INDEPENDENT), size=32)
    moved = (saved.model.head.classifier.bias - new.head.classifier.bias).abs()
    assert moved[edema] < 1e-7 < moved[device]


def unmoved(project: Project, **changes: Any) -> TrainParams:
    """Settings under which an image keeps its pixels, but for these changes."""
    still = {"scale": [1.0, 1.0], "square": True, "flip": 0.0, "degrees": 0.0, "jitter": 0.0, "mixup": 0.0}
    still |= {"rand_ops": 0, "rand_magnitude": 9, "cutout": 0.0}
    return project.with_settings(augment=AugmentParams(**still | changes)).train


def test_each_step_has_the_labels_of_its_pixels(
    project: Project, cpu: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    params, data = unmoved(project, jitter=0.0), read(project, 0, cpu)
    truth = {
        pixels.tobytes(): (y.tolist(), mask.tolist())
        for pixels, y, mask in zip(pixels_of(data), data.y, data.mask, strict=True)
    }
    usual, met = Learner.step, list[bytes]()

    def step(
        self: Learner, gray: torch.Tensor, y: torch.Tensor, mask: torch.Tensor, *args: Any, **named: Any
    ) -> float:
        for image, its_y, its_mask in zip(gray, y, mask, strict=True):
            met.append(image.round().to(torch.uint8).numpy().tobytes())
            assert (its_y.tolist(), its_mask.tolist()) == truth[met[-1]]
        return usual(self, gray, y, mask, *args, **named)

    monkeypatch.setattr(Learner, "step", step)
    train_epoch(build_learner(0, data, params, machine=cpu), data, params, Course(), progress=Silent())
    assert len(truth) == len(data.store)
    assert len(met) == len(set(met)) == params.batch_size * (len(data.train) // params.batch_size)


def test_each_image_is_jittered_by_its_own_factors_of_the_epoch(
    project: Project, cpu: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    params, data = unmoved(project, jitter=0.3), read(project, 0, cpu)
    seen: dict[bytes, list[float]] = {}

    def watched(pixels: torch.Tensor, drawn: Any) -> torch.Tensor:
        for image, factors in zip(pixels.round().to(torch.uint8), drawn.tolist(), strict=True):
            seen[image.numpy().tobytes()] = factors
        return jitter(pixels, drawn)

    monkeypatch.setattr("cxrscore.training.epochs.jitter", watched)
    learner = build_learner(0, data, params, machine=cpu)
    train_epoch(learner, data, params, Course(epoch=1), progress=Silent())
    expected = draw_jitters(len(data.store), seed=params.seed, epoch=1, jitter=0.3)
    assert len(seen) == params.batch_size * (len(data.train) // params.batch_size)
    for row in data.train:
        pixels = data.store.read([row])[0].tobytes()
        assert seen.get(pixels, expected[row].tolist()) == expected[row].tolist()


def test_each_image_has_its_own_operations_and_its_own_square(
    project: Project, cpu: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And cutout comes last: its square is not turned or brightened."""
    params, data = unmoved(project, rand_ops=2, rand_magnitude=12, cutout=0.4), read(project, 0, cpu)
    usual, met = Learner.step, list[torch.Tensor]()

    def step(self: Learner, gray: torch.Tensor, *args: Any, **named: Any) -> float:
        met.extend(gray.clone())
        return usual(self, gray, *args, **named)

    monkeypatch.setattr(Learner, "step", step)
    train_epoch(build_learner(0, data, params, machine=cpu), data, params, Course(epoch=1), progress=Silent())
    n, seed = len(data.store), params.seed
    gray = torch.from_numpy(data.store.read(range(n))).reshape(n, 1, data.store.size, data.store.size).float()
    operations = draw_operations(n, seed=seed, epoch=1, count=2)
    centres = torch.from_numpy(draw_cutouts(n, seed=seed, epoch=1))
    expected = cutout(rand_augment(gray, operations, magnitude=12), centres, side=0.4)
    order = epoch_order(data.train, seed=seed, epoch=1)[: len(met)]
    apart = [(found - expected[row]).abs().max() for found, row in zip(met, order, strict=True)]
    assert len(met) == params.batch_size * (len(data.train) // params.batch_size)
    assert max(apart) < 1e-3


def test_a_training_deletes_no_temporary_files_but_its_own(project: Project, tmp_path: Path) -> None:
    mine = project.copy_to(tmp_path)
    theirs = (".fold0.thesis.tex.tmp", ".fold0.notes.4711.tmp", ".fold0.csv.tmp", ".fold00.csv.1.tmp")
    for name in (*theirs, ".fold0.safetensors.4711.tmp", ".fold0.views.csv.4711.tmp"):
        (mine.layout.models / name).write_text("years")
    mine.train(0, epochs=1)
    assert sorted(path.name for path in mine.layout.models.glob(".*")) == sorted(theirs)


def test_a_fold_table_that_was_edited_to_split_a_patient_is_not_trained_on(
    project: Project, tmp_path: Path
) -> None:
    mine = project.copy_to(tmp_path)
    text = mine.layout.folds.read_text()
    rows = [line.split(",") for line in text.splitlines()[1:]]
    of_one = Counter(patient for _, patient, _ in rows)
    name, patient, fold = next(row for row in rows if of_one[row[1]] > 1)
    line = f"{name},{patient},{fold}\n"
    mine.layout.folds.write_text(text.replace(line, f"{name},{patient},{1 - int(fold)}\n"))
    with pytest.raises(UserError, match=f"patient '{patient}' lies in two folds.*dvc repro folds"):
        mine.train(0)
