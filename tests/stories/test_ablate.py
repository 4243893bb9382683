"""Every head is trained as the project trains its own, once, and the table says what those trainings give."""

import csv
import errno
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import COUPLING, Project, contents
from sklearn.metrics import roc_auc_score
from trainings import Told, stops_at

import cxrscore.train
from cxrscore.ablate import ablate, table_blocks
from cxrscore.ablation.sweep import Sweep, with_head
from cxrscore.ablation.table import RESAMPLES, cells, compare, notes_of, read_scored
from cxrscore.core.device import Machine
from cxrscore.core.errors import Stopped, UserError
from cxrscore.core.paths import Layout
from cxrscore.core.signals import Asked
from cxrscore.core.text_table import plain_text
from cxrscore.model.head_variants import CHANGES, DEFAULT, choose, settings_of
from cxrscore.statistics import bootstrap
from cxrscore.statistics.bootstrap import FEWEST_IN_FOLD
from cxrscore.statistics.roc_area import auc_by_finding, macro
from cxrscore.tables.fold_table import read_folds
from cxrscore.tables.labels import LabelTable
from cxrscore.tables.score_table import write_scores
from cxrscore.train import Keeping

FINDINGS = ("Edema", "Pneumonia")
EMA_WARMUP = "error: --sweep: 'ema_warmup' is not a number that coupling has; write train.ema_warmup."


@pytest.fixture
def mine(project: Project, tmp_path: Path) -> Project:
    return project.copy_to(tmp_path)


def run(
    project: Project,
    *names: str,
    seeds: tuple[int, ...] = (0,),
    told: Told | None = None,
    asked: Asked | None = None,
    cpu: Machine,
    **changes: Any,
) -> dict[str, Any]:
    return ablate(
        names,
        seeds,
        labels_csv=project.labels,
        layout=project.layout,
        params=project.with_settings(**changes),
        machine=cpu,
        progress=told or Told(),
        keeping=Keeping(every_s=1e9),
        asked=asked or Asked(),
    )


def trained(told: Told) -> list[str]:
    """The runs that were begun, without those that were done."""
    lines = [line.removeprefix("ablate: ") for line in told.lines if line.startswith("ablate: ")]
    return [line.partition(" (")[0] for line in lines if "(" in line and "already trained" not in line]


@pytest.fixture
def every_area_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few patients make it: of a small project's others too few are left."""
    monkeypatch.setattr(bootstrap, "FEWEST_IN_FOLD", 1)


@pytest.mark.usefixtures("every_area_counts")
def test_a_head_is_trained_as_the_project_trains_its_own(mine: Project, cpu: Machine) -> None:
    """The project's head is the coupling: its ablation gives the very bytes of the train stage."""
    before = contents(mine.layout.root)
    result = run(mine, "independent", "coupling", "coupling-frozen", cpu=cpu)
    after = contents(mine.layout.root)
    assert {name: after[name] for name in before} == before
    for folder in ("models", "oof", "history", "summary", "learned"):
        own = contents(mine.layout.experiment("coupling/seed0").trained / folder)
        assert own == contents(mine.layout.root / folder), folder
    heads = result["heads"]
    folds = json.loads(mine.layout.metrics.read_text())["folds"]
    assert heads["coupling"]["folds"] == {fold: folds[fold]["macro_auc"] for fold in ("0", "1")}
    assert heads["coupling"]["macro_auc"] == pytest.approx(folds["mean"]["macro_auc"], abs=2e-5)
    assert heads["coupling-frozen"]["difference"] == {"macro_auc": 0.0, "low": 0.0, "high": 0.0}
    assert heads["coupling"]["parameters"] == 14 * 14
    assert heads["independent"]["parameters"] == heads["independent"]["ms"] == 0
    check_what_is_written(mine.layout.ablation, result)


def check_what_is_written(folder: Path, result: dict[str, Any]) -> None:
    """The result, as data, table and picture; git leaves the models out."""
    assert json.loads((folder / "ablation.json").read_text()) == result
    with (folder / "table.csv").open(newline="") as file:
        assert list(csv.reader(file)) == cells(result)
    assert ">coupling<" in (folder / "ablation.svg").read_text()
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    listed = ["git", "ls-files", "--others", "--exclude-standard"]
    kept = subprocess.run(listed, cwd=folder, check=True, capture_output=True, text=True).stdout.split()
    tables = [".gitignore", "ablation.json", "ablation.svg", "gains.csv", "gains.svg", "table.csv"]
    assert sorted(kept) == tables


def test_nothing_is_trained_twice_and_what_changed_is_trained_again(mine: Project, cpu: Machine) -> None:
    first, second, third, fourth = Told(), Told(), Told(), Told()
    once = run(mine, "independent", cpu=cpu, told=first, epochs=1)
    assert trained(first) == ["independent, seed 0, fold 0", "independent, seed 0, fold 1"]
    again = run(mine, "independent", cpu=cpu, told=second, epochs=1)
    assert trained(second) == []
    assert again["heads"]["independent"]["folds"] == once["heads"]["independent"]["folds"]
    (mine.layout.experiment("independent/seed0").trained / "done" / "fold1.json").unlink()
    run(mine, "independent", cpu=cpu, told=third, epochs=1)
    assert trained(third) == ["independent, seed 0, fold 1"]
    run(mine, "independent", cpu=cpu, told=fourth, epochs=1, lr=1e-3)
    assert trained(fourth) == trained(first)


def test_a_stopped_ablation_goes_on_where_it_was(mine: Project, tmp_path: Path, cpu: Machine) -> None:
    asked, told = Asked(), Told()
    alone = mine.copy_to(tmp_path / "alone")
    run(alone, "independent", cpu=cpu)
    told.each_step = stops_at(6, asked, signal.SIGTERM)  # two epochs of two steps per fold: in the second
    with pytest.raises(Stopped, match="SIGTERM after 2 steps of epoch 1, which are kept") as stop:
        run(mine, "independent", cpu=cpu, told=told, asked=asked)
    assert stop.value.code == 143
    assert not mine.layout.ablation.joinpath("table.csv").exists()
    told = Told()
    run(mine, "independent", cpu=cpu, told=told)
    assert trained(told) == ["independent, seed 0, fold 1"] and told.goes_on
    at_once, in_two = (
        {
            name: re.sub(rb'"seconds": [0-9.]+', b"", data)
            for name, data in contents(one.layout.experiment("independent/seed0").trained).items()
        }
        for one in (alone, mine)
    )
    assert in_two == at_once


def test_a_run_that_fails_is_named_and_the_finished_ones_are_kept(mine: Project, cpu: Machine) -> None:
    run(mine, "independent", cpu=cpu, epochs=1, max_bad_steps=1)
    wild = mine.params.train.head.model_copy(update={"alpha": 1e38})
    before = contents(mine.layout.ablation / "independent")
    with pytest.raises(UserError, match=r"ablate: project, seed 0, fold 0: train: .* lower train\.lr"):
        run(mine, "independent", "project", cpu=cpu, epochs=1, head=wild, max_bad_steps=1)
    assert contents(mine.layout.ablation / "independent") == before


def bad_rows(project: Project) -> dict[str, tuple[tuple[str, ...] | Sweep, dict[str, Any], str]]:
    """What a row lacks -> the rows, changed settings, and the refusal's words."""
    lamp = settings_of(["lamp-fc"], COUPLING)["lamp-fc"] | {"inputs": ["Gender"]}
    head = with_head(project.params, lamp, 0).train.head
    return {
        "backbone": (Sweep("project", "train.backbone", ["resnet10t", "resnet10x"]), {}, "resnet10x"),
        "larger copies": (Sweep("project", "prepare.train_size", [None, 48]), {}, "train_size is 48"),
        "steps": (Sweep("project", "train.schedule", ["cosine", "one_cycle"]), {"epochs": 1}, "no rise in"),
        "column": (("independent", "project"), {"head": head}, "no column 'Gender'"),
    }


@pytest.mark.parametrize("lacking", ["backbone", "larger copies", "steps", "column"])
def test_a_bad_row_is_refused_before_the_first_training(mine: Project, cpu: Machine, lacking: str) -> None:
    """The bad row is the last one: those before it could be trained."""
    compared, changes, said = bad_rows(mine)[lacking]
    told = Told()
    with pytest.raises(UserError, match=rf"ablate: .*, seed 0, fold [01]: .*{said}.* list only the other"):
        ablate(
            compared,
            [0],
            labels_csv=mine.labels,
            layout=mine.layout,
            params=mine.with_settings(**{"warmup_epochs": 0.0} | changes),
            machine=cpu,
            progress=told,
            keeping=Keeping(every_s=1e9),
            asked=Asked(),
        )
    assert trained(told) == [] and not [*mine.layout.ablation.rglob("*.safetensors")]


def test_a_column_that_has_words_in_one_fold_alone_is_refused_before_the_first_training(
    mine: Project, tmp_path: Path, cpu: Machine
) -> None:
    """Fold 0 could be trained: its training rows are of fold 1, where a cell is a word, so it is a column of
    categories there; the training rows of fold 1 are all numbers.
    """
    folds = read_folds(mine.layout.folds)
    of_fold = dict(zip(folds.ids, folds.fold, strict=True))
    with mine.labels.open(newline="") as file:
        header, *rows = csv.reader(file)
    at = header.index("Image_name")
    ages = [str(of_fold[row[at]] + 40) for row in rows]
    ages[next(i for i, row in enumerate(rows) if of_fold[row[at]] == 1)] = "forty"
    labels_csv = tmp_path / "aged.csv"
    with labels_csv.open("w", newline="") as file:
        csv.writer(file).writerows(
            [[*header, "Years"], *([*row, age] for row, age in zip(rows, ages, strict=True))]
        )
    lamp = settings_of(["lamp-fc"], COUPLING)["lamp-fc"] | {"inputs": ["Years"]}
    head = with_head(mine.params, lamp, 0).train.head
    told = Told()
    with pytest.raises(UserError, match=r"project, seed 0, fold 1: .*'Years' is 'forty', and the models"):
        ablate(
            ("independent", "project"),
            [0],
            labels_csv=labels_csv,
            layout=mine.layout,
            params=mine.with_settings(head=head),
            machine=cpu,
            progress=told,
            keeping=Keeping(every_s=1e9),
            asked=Asked(),
        )
    assert trained(told) == []


@pytest.mark.usefixtures("every_area_counts")
def test_seeds_are_averaged_and_their_spread_is_told(mine: Project, cpu: Machine) -> None:
    row = run(mine, "independent", seeds=(0, 5), cpu=cpu, epochs=1)["heads"]["independent"]
    summaries = {
        seed: [
            json.loads(mine.layout.experiment(f"independent/seed{seed}").summary(fold).read_text())
            for fold in (0, 1)
        ]
        for seed in (0, 5)
    }
    means = [np.mean([one["macro_auc"] for one in of_seed]) for of_seed in summaries.values()]
    assert list(row["seeds"].values()) == pytest.approx(means, abs=2e-5)
    assert row["macro_auc"] == pytest.approx(np.mean(means), abs=2e-5)
    assert row["seed_sd"] == pytest.approx(np.std(means, ddof=1), abs=2e-5)


@pytest.mark.parametrize("name", CHANGES)
def test_every_variant_is_a_head_that_params_yaml_could_hold(project: Project, name: str) -> None:
    (head,) = settings_of([name], project.params.train.head.model_dump()).values()
    params = with_head(project.params, head, 3)
    assert params.train.head.model_dump() == head
    assert (params.train.seed, params.train.head.dropout) == (3, project.params.train.head.dropout)
    assert (
        params.train.model_copy(update={"head": project.params.train.head, "seed": 0}) == project.params.train
    )


def test_a_row_is_what_its_name_says_whatever_the_projects_own_head_is() -> None:
    independent = {"kind": "independent", "dropout": 0.2, "pool": "gap"}
    paper = settings_of(["coupling"], independent)["coupling"]
    assert (paper["alpha"], paper["l1"], paper["steps"], paper["dropout"]) == (0.3, 1e-3, 1, 0.2)
    own = paper | {"lr_scale": 0.0, "prox": True}
    found = settings_of(["coupling", "coupling-frozen", "coupling-prox", "project"], own)
    assert found["coupling"] == paper
    assert found["coupling-frozen"] == paper | {"lr_scale": 0.0}
    assert found["coupling-prox"] == paper | {"prox": True}
    assert found["project"] == own
    assert choose(None, own) == [*DEFAULT, "project"]
    assert choose(None, paper) == choose(None, independent) == list(DEFAULT)


def test_names_and_kinds_are_chosen_and_the_reference_is_always_there() -> None:
    assert len(DEFAULT) == 13
    assert choose("coupling", COUPLING) == ["independent", "coupling"]
    assert choose("salgl,lamp-el", COUPLING) == ["independent", "lamp-el", "salgl-1", "salgl-2"]
    assert choose("salgl-no-entropy,salgl-attention", COUPLING)[1:] == ["salgl-attention", "salgl-no-entropy"]
    assert choose("coupling-prox,independent", COUPLING) == ["independent", "coupling-prox"]
    assert choose("project", COUPLING) == ["independent", "project"]
    with pytest.raises(UserError, match=r"no head 'lmap'; there are independent, .*, lamp, agcn, salgl"):
        choose("lamp,lmap", COUPLING)


def test_any_head_can_be_what_the_others_are_compared_with() -> None:
    assert choose("lamp-fc", COUPLING, reference="lamp-el") == ["lamp-el", "independent", "lamp-fc"]
    assert choose(None, COUPLING, reference="mlp")[0] == "mlp"
    assert sorted(choose(None, COUPLING, reference="mlp")) == sorted(choose(None, COUPLING))
    with pytest.raises(UserError, match=r"--reference: no head 'agcn'; name one of independent, .*project"):
        choose(None, COUPLING, reference="agcn")


def test_differences_between_two_heads_are_of_the_same_resamples_whichever_is_the_reference(
    tmp_path: Path,
) -> None:
    layouts, labels = scored_by_hand(tmp_path, {"independent": 1, "a": 2, "b": 3}, patient=None)
    plain = compare(read_scored(layouts, [0, 1], labels))
    turned = {name: layouts[name] for name in ("b", "independent", "a")}
    found = compare(scored := read_scored(turned, [0, 1], labels))
    assert "difference" not in found["b"] and "gains" not in found["b"]
    between = found["a"]["difference"]
    assert between["macro_auc"] == pytest.approx(plain["a"]["macro_auc"] - plain["b"]["macro_auc"], abs=2e-5)
    assert between["low"] < between["macro_auc"] < between["high"]
    ends = plain["b"]["difference"]  # of the opposite sign: the same resamples from the other side
    back = found["independent"]["difference"]
    assert [back["macro_auc"], back["low"], back["high"]] == pytest.approx(
        [-ends["macro_auc"], -ends["high"], -ends["low"]], abs=2e-5
    )
    notes = notes_of(scored, patients=False, timed="here")
    assert notes[0].startswith("difference: from b, with")
    assert any("over that of b" in note for note in notes)


def scored_by_hand(
    folder: Path, heads: Mapping[str, int], *, patient: list[str] | None
) -> tuple[dict[str, dict[int, Layout]], LabelTable]:
    """Score tables of 40 images in two folds, a seed of chance a head."""
    draw = np.random.default_rng(0)
    y = (draw.random((40, 2)) < 0.4).astype(np.int8)
    ids = [f"{i}.png" for i in range(40)]
    table = LabelTable(Path("labels.csv"), ids, FINDINGS, y, np.ones(y.shape, dtype=bool), patient)
    layouts = {}
    for name, seed in heads.items():
        layout = Layout(folder).experiment(name)
        scores = np.random.default_rng(seed).random((40, 2), dtype=np.float32)
        for fold in (0, 1):
            path = layout.scores(fold, views=False)
            write_scores(path, "id", ids[fold::2], FINDINGS, scores[fold::2])
        layouts[name] = {0: layout}
    return layouts, table


def test_the_difference_is_that_of_the_means_over_folds(tmp_path: Path) -> None:
    layouts, table = scored_by_hand(tmp_path, {"independent": 1, "other": 2}, patient=None)
    scored = read_scored(layouts, [0, 1], table)
    rows = compare(scored)
    means = [
        np.mean([macro(auc_by_finding(t.y, t.mask, s)) for t, s in zip(scored.truth, folds, strict=True)])
        for (folds,) in scored.ways.values()
    ]
    difference = rows["other"]["difference"]
    assert difference["macro_auc"] == pytest.approx(means[1] - means[0], abs=1e-5)
    assert difference["low"] < difference["macro_auc"] < difference["high"]
    assert "difference" not in rows["independent"]
    assert compare(scored) == rows


def test_a_note_says_what_was_resampled(tmp_path: Path) -> None:
    patients = [f"p{i // 4}" for i in range(40)]
    for patient, words in ((patients, "10 patients (40 images)"), (None, "40 images (40 images)")):
        layouts, table = scored_by_hand(tmp_path, {"independent": 1, "other": 2}, patient=patient)
        notes = notes_of(read_scored(layouts, [0, 1], table), patients=patient is not None, timed="here")
        assert f"from {RESAMPLES:,} resamples of {words}" in notes[0]
        assert any("not the randomness of training (seed 0)" in note for note in notes)
        assert any("labels.patient is null" in note for note in notes) == (patient is None)


def test_what_too_few_patients_show_is_left_out_and_named(tmp_path: Path) -> None:
    """In fold 0 four images show the first; in fold 1 none shows the second: that is no area to leave out."""
    layouts, table = scored_by_hand(tmp_path, {"independent": 1, "other": 2}, patient=None)
    table.y[:] = np.arange(40)[:, None] % 4 < 2
    table.y[0::2, 0] = np.arange(20) < FEWEST_IN_FOLD - 1
    table.y[1::2, 1] = 0
    scored = read_scored(layouts, [0, 1], table)
    assert scored.left_out == {FINDINGS[0]: [0]}
    (first, second) = scored.truth
    for name, row in compare(scored).items():
        (of_first, of_second) = scored.ways[name][0]
        areas = [
            roc_auc_score(first.y[:, 1], of_first[:, 1]),
            roc_auc_score(second.y[:, 0], of_second[:, 0]),
        ]
        assert list(row["folds"].values()) == pytest.approx(areas, abs=1e-5)
    (told,) = [note for note in notes_of(scored, patients=False, timed="") if "left out" in note]
    assert told == (
        "left out, as fewer than 5 images of the fold or 20 of such folds show it, or do not: "
        f"{FINDINGS[0]} in fold 0"
    )


def test_a_fold_with_nothing_well_shown_counts_all_and_says_so(tmp_path: Path) -> None:
    layouts, table = scored_by_hand(tmp_path, {"independent": 1, "other": 2}, patient=None)
    table.y[0::2] = np.arange(20)[:, None] < FEWEST_IN_FOLD - 1
    scored = read_scored(layouts, [0, 1], table)
    assert not scored.left_out and scored.truth[0].mask.all()
    notes = notes_of(scored, patients=False, timed="")
    assert any(
        note.startswith("folds 0, 1: no finding is shown by 5 images, and by 20 of all") for note in notes
    )


def test_tables_of_other_images_are_not_compared(tmp_path: Path) -> None:
    layouts, table = scored_by_hand(tmp_path, {"independent": 1, "other": 2}, patient=None)
    shutil.copy(layouts["other"][0].scores(0, views=False), layouts["other"][0].scores(1, views=False))
    with pytest.raises(UserError, match=r"other/oof/fold1.csv: holds other images or findings .*; remove it"):
        read_scored(layouts, [0, 1], table)
    with pytest.raises(UserError, match=r"holds other images or findings than the reference table"):
        read_scored({"independent": layouts["independent"]}, [0, 1], replace(table, findings=("A", "B")))


def test_a_table_for_a_person_is_aligned_and_has_the_notes_below() -> None:
    row = {"macro_auc": 0.5, "folds": {"0": 0.5}, "parameters": 0, "ms": 0.0, "minutes": 1.0}
    ends = {"macro_auc": 0.01, "low": -0.02, "high": 0.04}
    result = {
        "heads": {
            "independent": row,
            "lamp-fc": row | {"difference": ends, "parameters": 12345, "ms": 1.234, "minutes": 2.04},
        },
        "notes": ["a note"],
    }
    assert plain_text(table_blocks(result)).splitlines() == [
        "head         macro_auc    fold0  difference       low      high  parameters    ms  minutes",
        "independent    0.50000  0.50000                                           0     0      1.0",
        "lamp-fc        0.50000  0.50000    +0.01000  -0.02000  +0.04000       12345  1.23      2.0",
        "",
        "a note",
    ]


def call(
    project: Project, params: Path, *words: str, python: tuple[str, ...] = ()
) -> "subprocess.Popen[str]":
    files = ["--labels", str(project.labels), "--out", str(project.layout.root), "--params", str(params)]
    return subprocess.Popen(
        [sys.executable, *python, "-m", "cxrscore", "ablate", *words, *files, "--device", "cpu"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--heads", "lmap"], "error: --heads: no head 'lmap'; there are independent,"),
        (["--seeds", "0,0"], "error: --seeds: '0,0'; give distinct numbers, separated by commas"),
        (["--choose", "alpha=0.1"], "error: --choose: 'alpha=0.1'; give one setting and 2 or more distinct"),
        (["--choose", "alpha=0,0"], "error: --choose: 'alpha=0,0'; give one setting and 2 or more distinct"),
        (["--reference", "lamp"], "error: --reference: no head 'lamp'; name one of independent,"),
        (["--sweep", "ema_warmup=true,false", "--heads", "coupling"], EMA_WARMUP),
        (
            ["--heads", "lamp-fc", "--choose", "alpha=0,1"],
            "error: --choose: no head of --heads has 'alpha'; use one of auxiliary_weight, dim,",
        ),
        (
            ["--heads", "lamp-fc", "--choose", "auxiliary_weight=0,-1"],
            "error: --choose: lamp-fc: auxiliary_weight: a number of at least 0 is needed, not -1.",
        ),
    ],
    ids=[
        "head",
        "seeds",
        "one value",
        "twice",
        "reference",
        "no section",
        "another's setting",
        "out of range",
    ],
)
def test_a_wrong_word_is_refused_before_torch_is_imported(
    project: Project, words: list[str], said: str
) -> None:
    params = project.layout.root.with_name("params.yaml")
    process = call(project, params, *words, python=("-X", "importtime"))
    out, err = process.communicate()
    lines = [line for line in err.splitlines() if not line.startswith("import time:")]
    assert (process.returncode, out, len(lines)) == (2, "", 1)
    assert lines[0].startswith(said)
    imported = {line.rpartition("|")[2].strip() for line in err.splitlines()}
    assert "pydantic" in imported and "torch" not in imported


def test_an_ablation_folder_that_is_a_file_is_refused(project: Project, mine: Project) -> None:
    mine.layout.ablation.write_text("")
    process = call(mine, project.layout.root.with_name("params.yaml"))
    out, err = process.communicate()
    assert (process.returncode, out) == (2, "")
    assert err.startswith("error: ") and "out/ablation: not writable" in err


@pytest.mark.slow
def test_sigterm_names_the_command_that_goes_on(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DVC_STAGE", raising=False)
    mine, params = project.copy_to(tmp_path), tmp_path / "params.yaml"
    text = project.layout.root.with_name("params.yaml").read_text()
    params.write_text(text.replace("epochs: 2", "epochs: 99").replace("patience: 3", "patience: 99"))
    with call(mine, params, "--heads", "independent") as process:
        assert process.stderr
        next(line for line in process.stderr if line.startswith("fold 0 (1 of 2), epoch 2 of "))
        os.killpg(process.pid, signal.SIGTERM)
        out, err = process.communicate()
    *_, told, command = err.splitlines()
    assert (process.returncode, out) == (143, "")
    assert told.startswith("train: SIGTERM after ") and told.endswith("kept. Resume with:")
    assert shlex.split(command)[:4] == ["cxrscore", "ablate", "--heads", "independent"]


def test_a_run_whose_scores_are_not_what_it_wrote_is_trained_again(mine: Project, cpu: Machine) -> None:
    result = run(mine, "independent", cpu=cpu, epochs=1)
    layout = mine.layout.experiment("independent/seed0")
    scores, mark = layout.scores(0, views=False), layout.trained / "done" / "fold0.json"
    whole, done = scores.read_bytes(), mark.read_bytes()
    for path, spoilt in (
        (scores, b"".join(whole.splitlines(keepends=True)[:-3])),
        (mark, b"null"),
        (mark, done.replace(b"scores_sha256", b"other")),
    ):
        path.write_bytes(spoilt)
        told = Told()
        assert (
            run(mine, "independent", cpu=cpu, epochs=1, told=told)["heads"].keys() == result["heads"].keys()
        )
        assert trained(told) == ["independent, seed 0, fold 0"]
        assert scores.read_bytes() == whole


def test_a_training_that_fails_while_it_writes_is_not_taken_for_the_one_before(
    mine: Project, cpu: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "learned")

    before = run(mine, "independent", cpu=cpu, epochs=1)["heads"]["independent"]["folds"]
    with monkeypatch.context() as patch:
        patch.setattr(cxrscore.train, "write_learned", full)
        with pytest.raises(Stopped, match="no space left"):
            run(mine, "independent", cpu=cpu, epochs=1, lr=0.02)
    assert run(mine, "independent", cpu=cpu, epochs=1)["heads"]["independent"]["folds"] == before
