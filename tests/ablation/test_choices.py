"""A setting is chosen by folds that it is not compared on, once, and the result says what was chosen."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Project
from trainings import Told, stops_at

from cxrscore.ablate import ablate_by_choice
from cxrscore.ablation.choices import best, inner_runs
from cxrscore.ablation.runs import Run
from cxrscore.ablation.sweep import Choice, parse_choice
from cxrscore.core.device import Machine
from cxrscore.core.errors import Stopped, UserError
from cxrscore.core.paths import Layout
from cxrscore.core.signals import Asked
from cxrscore.folds import make_folds
from cxrscore.model.head_variants import settings_of
from cxrscore.train import Keeping
from cxrscore.training.fold_data import read_fold

ALPHA = Choice("alpha", (0.0, 30.0))  # at alpha 30 logits are nothing but messages


@pytest.fixture
def mine(project: Project, tmp_path: Path) -> Project:
    """Three folds, none trained yet."""
    copy = project.copy_to(tmp_path)
    params = copy.params.model_copy(
        update={"folds": copy.params.folds.model_copy(update={"k": 3, "train": [0, 1]})}
    )
    prepared = copy.layout.prepared / "index.csv"
    where = (copy.labels, prepared, copy.layout.folds, copy.layout.balance)
    make_folds(*where, labels=params.labels, params=params.folds)
    return replace(copy, params=params)


def run(
    project: Project, cpu: Machine, *, told: Told | None = None, asked: Asked | None = None, **changes: Any
) -> dict[str, Any]:
    return ablate_by_choice(
        ["independent", "coupling"],
        [0],
        choice=ALPHA,
        keeping=Keeping(every_s=1e9),
        labels_csv=project.labels,
        layout=project.layout,
        params=project.with_settings(**{"epochs": 1, "warmup_epochs": 0.0} | changes),
        machine=cpu,
        progress=told or Told(),
        asked=asked or Asked(),
    )


def inner(project: Project) -> dict[int, list[Run]]:
    head = settings_of(["coupling"], project.params.train.head.model_dump())["coupling"]
    return inner_runs("coupling", head, ALPHA, seed=0, params=project.params, layout=project.layout)


def with_flipped_labels(project: Project, fold: int, folder: Path) -> Project:
    """The same images and folds, and of those in `fold` every label the other way round."""
    with project.layout.folds.open(newline="") as file:
        there = {row["Image_name"] for row in csv.DictReader(file) if row["fold"] == str(fold)}
    with project.labels.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if row["Image_name"] in there:
            row |= {name: str(1 - int(row[name])) for name in project.params.labels.findings}
    data = folder / "data"
    data.mkdir(parents=True)
    with (data / "labels.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    return replace(project.copy_to(folder), data=data)


def test_labels_of_the_fold_that_is_compared_have_no_part_in_the_choice(
    mine: Project, cpu: Machine, tmp_path: Path
) -> None:
    """For fold 0: its labels, the other way round, change no number of its two trainings, though they do of
    fold 1's, which are trained on them.
    """
    before = run(mine, cpu)["heads"]["coupling-chosen"]["chosen"]
    other = with_flipped_labels(mine, 0, tmp_path / "flipped")
    shutil.rmtree(other.layout.ablation)
    after = run(other, cpu)["heads"]["coupling-chosen"]["chosen"]
    assert after["values"]["0"]["0"] == before["values"]["0"]["0"]
    assert after["macro_auc"]["0"]["0"] == before["macro_auc"]["0"]["0"]
    for one, two in zip(inner(mine)[0], inner(other)[0], strict=True):
        for views in (False, True):
            same = (run.layout.scores(1, views=views).read_bytes() for run in (one, two))
            assert len(set(same)) == 1
    of_fold_1 = (inner(mine)[1][0], inner(other)[1][0])
    assert len({run.layout.scores(2, views=False).read_bytes() for run in of_fold_1}) == 2


def test_a_fold_that_is_held_out_is_neither_trained_on_nor_validated_on(mine: Project, cpu: Machine) -> None:
    where: dict[str, Any] = {"labels_csv": mine.labels, "layout": mine.layout, "machine": cpu}
    whole = read_fold(1, labels=mine.params.labels, **where)
    part = read_fold(1, labels=mine.params.labels, held_out=0, **where)
    outer = read_fold(0, labels=mine.params.labels, **where).val
    assert np.array_equal(part.val, whole.val)
    assert set(part.train) == set(whole.train) - set(outer) != set(whole.train)


def test_the_best_value_of_the_inner_fold_trains_on_all_folds_but_the_outer(
    mine: Project, cpu: Machine
) -> None:
    told = Told()
    result = run(mine, cpu, told=told)
    row = result["heads"]["coupling-chosen"]
    assert list(result["heads"]) == ["independent", "coupling-chosen"]
    assert row["chosen"]["setting"] == "alpha"
    for fold in (0, 1):
        areas = []
        for one in inner(mine)[fold]:
            assert (one.fold, one.held_out) == ((fold + 1) % 3, fold)
            areas.append(json.loads(one.layout.summary(one.fold).read_text())["macro_auc"])
        told_areas = row["chosen"]["macro_auc"]["0"][str(fold)]
        assert list(told_areas.values()) == pytest.approx(areas, abs=1e-5)
        chosen = ALPHA.values[int(np.argmax(areas))]
        assert row["chosen"]["values"]["0"][str(fold)] == chosen
        learned = json.loads(mine.layout.experiment("coupling-chosen/seed0").learned(fold).read_text())
        assert learned["head"]["alpha"] == chosen
        assert row["difference"]["low"] <= row["difference"]["macro_auc"] <= row["difference"]["high"]
    (note,) = [line for line in result["notes"] if line.startswith("coupling-chosen: alpha is chosen")]
    assert f"{row['chosen']['values']['0']['1']} for fold 1" in note
    assert json.loads((mine.layout.ablation / "ablation.json").read_text()) == result
    again = Told()
    assert run(mine, cpu, told=again)["heads"]["coupling-chosen"]["chosen"] == row["chosen"]
    assert sum("already trained" in line for line in again.lines) == 2 * 2 + 2 * 2


def test_a_choice_that_was_stopped_goes_on_where_it_was(mine: Project, cpu: Machine) -> None:
    asked = Asked()
    told = Told(stops_at(3, asked, 15))
    with pytest.raises(Stopped):
        run(mine, cpu, told=told, asked=asked, epochs=3)
    later = Told()
    run(mine, cpu, told=later, epochs=3)
    assert later.goes_on


def test_of_equal_values_the_first_is_chosen(tmp_path: Path, project: Project) -> None:
    runs = {}
    for fold, areas in {0: (0.6, 0.6), 1: (0.5, 0.7)}.items():
        runs[fold] = [
            Run("a", 0, 1, project.params, Layout(tmp_path).experiment(f"{fold}{i}"))
            for i in range(len(areas))
        ]
        for one, area in zip(runs[fold], areas, strict=True):
            one.layout.summary(1).parent.mkdir(parents=True)
            one.layout.summary(1).write_text(json.dumps({"macro_auc": area}))
    chosen = best(ALPHA, runs)
    assert chosen.values == {0: 0.0, 1: 30.0}
    assert chosen.areas == {0: [0.6, 0.6], 1: [0.5, 0.7]}


def test_two_folds_leave_nothing_to_train_on(project: Project) -> None:
    with pytest.raises(UserError, match=r"folds.k: 2; --choose validates on a further fold: set it to 3"):
        inner(project)


def test_values_are_read_as_in_params_yaml() -> None:
    heads = {"a": {"kind": "lamp", "graph": "fc", "steps": 1}}
    assert parse_choice("graph=fc,prior", heads) == Choice("graph", ("fc", "prior"))
    assert parse_choice("steps=1,2", heads) == Choice("steps", (1, 2))
    for words, said in (
        ("kind=lamp,agcn", "no head of --heads has 'kind'"),
        ("graph", "give one setting and 2 or more distinct values"),
        ("graph=[fc],[el]", "give one setting and 2 or more distinct values"),
        ("graph=fc,fc", "give one setting and 2 or more distinct values"),
    ):
        with pytest.raises(UserError, match=said.replace("[", r"\[")):
            parse_choice(words, heads)
