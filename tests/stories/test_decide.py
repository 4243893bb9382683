"""Decisions are made out of fold, measured where they were not made, sealed, and of one ensemble."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Door, Project, as_an_earlier_version_told
from sklearn.metrics import recall_score

from cxrscore.api import load_ensemble
from cxrscore.core.device import Machine
from cxrscore.core.errors import UserError
from cxrscore.core.files import sha256_file
from cxrscore.core.paths import Layout
from cxrscore.core.progress import Silent
from cxrscore.core.sealed_json import write_sealed_json
from cxrscore.decide import COLUMNS, Decided, decide
from cxrscore.decisions.calibration import expit
from cxrscore.decisions.decision_file import read_decisions
from cxrscore.decisions.fold_maps import cross_calibrated
from cxrscore.decisions.measured import with_scores
from cxrscore.decisions.thresholds import RULES, TOGETHER, choose_thresholds
from cxrscore.evaluation.joined_scores import join
from cxrscore.report import write_report
from cxrscore.score import score
from cxrscore.scoring.options import Options
from cxrscore.scoring.output import Outputs, fold_mean
from cxrscore.tables.csv_table import write_table
from cxrscore.tables.fold_scores import read_fold_scores, write_fold_scores
from cxrscore.tables.labels import read_labels
from cxrscore.tables.score_table import read_scores, write_scores
from cxrscore.verify import verify

FOLDS = (0, 1)


def many_scores(seed: int, rows: int, findings: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """y (n, L) and scores (F, n, L) that rank well and are badly calibrated."""
    generator = np.random.default_rng(seed)
    z = generator.normal(-0.5, 1.5, (rows, findings))
    y = (generator.random(z.shape) < expit(z)).astype(np.int8)
    noise = generator.normal(0, 0.5, (len(FOLDS), rows, findings))
    return y, expit(0.4 * (z + noise) + 0.3).astype(np.float32), z


@pytest.fixture
def mine(project: Project, tmp_path: Path) -> Project:
    """The checkpoints of the trained project, with labels and scores of 600 patients, and a test of 200."""
    copy = project.copy_to(tmp_path / "mine")
    layout, findings = copy.layout, list(copy.params.labels.findings)
    layout.folds.unlink()  # of other images than ours
    as_an_earlier_version_told(layout, *FOLDS)  # whose scores it does not know
    y, scores, _ = many_scores(0, 600, len(findings))
    data = tmp_path / "data"
    data.mkdir()
    write_labels(data / "labels.csv", "i", y, findings)
    for fold in FOLDS:
        own = np.flatnonzero(np.arange(600) % 2 == fold)
        write_scores(
            layout.scores(fold, views=True), "Image_name", [f"i{n}" for n in own], findings, scores[fold][own]
        )
    y, scores, _ = many_scores(1, 200, len(findings))
    write_labels(data / "test_labels.csv", "t", y, findings)
    layout.test.mkdir()
    models = [(fold, sha256_file(layout.checkpoint(fold))) for fold in FOLDS]
    rows = ((f"t{n}", scores[:, n]) for n in range(200))
    write_fold_scores(layout.test_fold_scores, "Image_name", findings, models, rows)
    return replace(copy, data=data)


def write_labels(path: Path, letter: str, y: np.ndarray, findings: list[str]) -> None:
    columns = ["Image_name", "Patient_ID", "Study", *findings]
    write_table(path, columns, [[f"{letter}{n}", f"{letter}p{n}", "1", *row] for n, row in enumerate(y)])


def run(mine: Project) -> Decided:
    return decide(
        mine.labels,
        mine.layout,
        labels=mine.params.labels,
        folds=list(FOLDS),
        params=mine.params.decide,
        test_labels_csv=mine.data / "test_labels.csv",
    )


def scored(project: Project, mine: Project, out: Path, cpu: Machine, **options: object) -> list[list[str]]:
    score(
        str(project.data / "test"),
        out,
        Options(**{"workers": 0, "folds": FOLDS, "overwrite": True, **options}),
        models=mine.layout.models,
        machine=cpu,
        progress=Silent(),
    )
    with out.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_errors_fall_out_of_fold_and_on_the_test_and_coverage_is_as_promised(mine: Project) -> None:
    found = run(mine).metrics
    for part in (found, found["test"]):
        for name in ("calibration_error", "brier", "log_loss"):
            assert part[name]["after"] < part[name]["before"]
        assert part["coverage"]["present"] == pytest.approx(0.9, abs=0.04)
        assert part["coverage"]["absent"] == pytest.approx(0.9, abs=0.04)
        assert 0.2 < part["calls_kept"] < 1
    assert json.loads(mine.layout.decision_metrics.read_text()) == found
    area = found["test"]["macro_auc"]
    assert "macro_auc" not in found and abs(area["after"] - area["before"]) < 0.01


def test_the_tables_hold_each_rule_and_finding_and_the_report_shows_them(mine: Project) -> None:
    run(mine)
    for name, columns in COLUMNS.items():
        with (mine.layout.decision_tables / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert list(rows[0]) == columns
        assert {row["scores"] for row in rows} == {"out of fold", "test"}
        if name == "thresholds":
            assert len(rows) == 2 * (len(RULES) * len(mine.params.labels.findings) + len(TOGETHER) + 1)
            reached = [float(row["sensitivity"]) for row in rows if row["rule"] == "sensitivity"]
            assert np.mean(reached) == pytest.approx(0.9, abs=0.04)
    write_report(mine.layout, folds=FOLDS)
    page = mine.layout.report.read_text()
    assert "Calibration and abstention" in page and "test, disagreement" in page


def test_one_fold_alone_is_measured_on_parts_that_did_not_choose(mine: Project) -> None:
    settings: dict[str, Any] = {"labels": mine.params.labels, "folds": [0], "params": mine.params.decide}
    found = decide(mine.labels, mine.layout, **settings, test_labels_csv=mine.data / "none.csv")
    decisions, _ = read_decisions(mine.layout.decisions)
    with (mine.layout.decision_tables / "thresholds.csv").open(encoding="utf-8", newline="") as file:
        reached = [float(row["reached"]) for row in csv.DictReader(file) if row["rule"] == "youden"]
    table = read_labels(mine.labels, **mine.params.labels.model_dump())
    sample = join(read_scores(mine.layout.scores(0, views=True)), table).sample()
    probs = np.concatenate(cross_calibrated([sample]))
    chosen = choose_thresholds(with_scores(sample, probs), sensitivity=0.9, specificity=0.9)["youden"]
    np.testing.assert_allclose(chosen, decisions.thresholds["youden"])
    flattered = [
        recall_score(y, p >= t) + recall_score(1 - y, p < t) - 1
        for y, p, t in zip(sample.y.T, probs.T, chosen, strict=True)
    ]
    assert np.mean(reached) < np.mean(flattered) - 0.001  # those are of the images that chose them
    assert found.metrics["coverage"]["present"] == pytest.approx(0.9, abs=0.05)


def test_a_patient_in_two_folds_is_one_patient_and_that_is_said(mine: Project) -> None:
    rows = mine.labels.read_text().splitlines()
    few = [rows[0]] + [
        f"{row.split(',')[0]},p{i % 15},{row.split(',', 2)[2]}" for i, row in enumerate(rows[1:])
    ]
    mine.labels.write_text("\n".join(few) + "\n")
    found = run(mine)
    assert any("15 patients are in more than one fold" in note for note in found.notes)
    assert any(note.startswith("no threshold, as fewer than 20 patients") for note in found.notes)
    decisions, _ = read_decisions(mine.layout.decisions)
    assert np.isnan(decisions.thresholds["youden"]).all()


def test_the_same_scores_give_the_same_bytes(mine: Project) -> None:
    run(mine)
    first = mine.layout.decisions.read_bytes()
    run(mine)
    assert mine.layout.decisions.read_bytes() == first


def test_it_works_without_a_held_out_test(mine: Project) -> None:
    (mine.data / "test_labels.csv").rename(mine.data / "moved.csv")
    found = run(mine)
    assert "test" not in found.metrics and not [note for note in found.notes if "held-out" in note]
    (mine.data / "moved.csv").rename(mine.data / "test_labels.csv")
    mine.layout.test_fold_scores.unlink()
    assert any("run `cxrscore test`" in note for note in run(mine).notes)


def test_too_few_patients_are_named_and_nothing_is_decided_from_them(
    project: Project, tmp_path: Path
) -> None:
    copy = project.copy_to(tmp_path / "few")
    found = decide(
        copy.labels,
        copy.layout,
        labels=copy.params.labels,
        folds=list(FOLDS),
        params=copy.params.decide,
        test_labels_csv=tmp_path / "none.csv",
    )
    assert any(note.startswith("not calibrated, as fewer than 10 patients") for note in found.notes)
    decisions, _ = read_decisions(copy.layout.decisions)
    assert "too few" in decisions.maps.source


def test_scores_of_other_checkpoints_are_refused(mine: Project) -> None:
    text = mine.layout.test_fold_scores.read_text()
    sha256 = sha256_file(mine.layout.checkpoint(0))
    mine.layout.test_fold_scores.write_text(text.replace(sha256, "0" * 64))
    with pytest.raises(UserError, match=r"scores of other checkpoints than those in .*; run `cxrscore test`"):
        run(mine)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace("image", "row", 1) if "image" in text else text[:-20],
        lambda text: text + text.split("\n")[1] + "\n",
        lambda text: text.replace("fold,sha256", "sha256,fold", 1),
        lambda text: "\n".join([*text.split("\n")[:1], *text.split("\n")[2:]]),
        lambda text: text.replace(",0.", ",7.", 1),
    ],
)
def test_a_damaged_table_of_fold_scores_is_refused(mine: Project, damage: Callable[[str], str]) -> None:
    path = mine.layout.test_fold_scores
    path.write_text(damage(path.read_text()))
    with pytest.raises(UserError, match=r"scores.csv.folds.csv.*(run `cxrscore test`|cell)"):
        read_fold_scores(path)


def facts_of(text: str) -> dict[str, object]:
    return dict(json.loads(text))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda text: text[: len(text) // 2], "not a readable file"),
        (lambda text: text.replace('"youden": 0.', '"youden": 0.1', 1), "do not match their SHA-256"),
        (lambda text: text.replace('"seal": "', '"seal": "0', 1), "do not match their SHA-256"),
        (lambda text: text + " ", "do not match their SHA-256"),
        (lambda text: text.replace('"schema": 1', '"schema": 0,\n  "schema": 1', 1), "do not match"),
        (lambda text: json.dumps(facts_of(text)["facts"]), "not a readable file"),
        (lambda text: "[]", "not a readable file"),
        (lambda text: text.replace('"a": ', '"a": NaN, "z": ', 1), "(not a readable file|do not match)"),
        (lambda text: "", "not a readable file"),
    ],
    ids=["half", "threshold", "seal", "blank", "twice", "unsealed", "list", "nan", "empty"],
)
def test_a_file_that_is_damaged_or_was_changed_is_refused(
    mine: Project, damage: Callable[[str], str], words: str
) -> None:
    run(mine)
    path = mine.layout.decisions
    path.write_text(damage(path.read_text()))
    with pytest.raises(UserError, match=rf"decisions.json: .*{words}.*run `cxrscore decide`"):
        read_decisions(path)


def test_a_file_that_is_not_there_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file; run `cxrscore decide`"):
        read_decisions(tmp_path / "decisions.json")


def test_calibrated_calls_and_blanks_are_those_of_the_ensemble(
    project: Project, mine: Project, tmp_path: Path, cpu: Machine
) -> None:
    run(mine)
    plain = scored(project, mine, tmp_path / "plain.csv", cpu, by_fold=True)
    by_fold = read_fold_scores(Outputs(tmp_path / "plain.csv").folds).by_fold
    np.testing.assert_allclose(
        np.array(plain)[1:, 1:].astype(float),
        np.stack([fold_mean(by_fold[:, n]) for n in range(8)]),
        rtol=1e-6,
    )
    decisions, sha256 = read_decisions(mine.layout.decisions)
    table = scored(project, mine, tmp_path / "sub.csv", cpu, calibrated=True)
    np.testing.assert_allclose(
        np.array(table)[1:, 1:].astype(float), decisions.mean(by_fold), rtol=1e-5, atol=1e-7
    )
    about = json.loads(Outputs(tmp_path / "sub.csv").provenance.read_text())
    assert about["choices"]["decisions"]["sha256"] == sha256
    for abstain in (None, "conformal", "disagreement"):
        table = scored(project, mine, tmp_path / "sub.csv", cpu, binary="f1", abstain=abstain)
        cells = np.array(table)[1:, 1:]
        calls = decisions.calls(by_fold, rule="f1", abstain=abstain)
        expected = np.where(np.isnan(calls), "", np.where(calls == 1, "1", "0"))
        np.testing.assert_array_equal(cells, expected)
        assert abstain is not None or (cells != "").all()
        counts = json.loads(Outputs(tmp_path / "sub.csv").provenance.read_text())["counts"]
        assert (counts["decided"], counts["undecided"]) == ((cells != "").sum(), (cells == "").sum())
    verdicts = list(verify(tmp_path / "sub.csv", models=mine.layout.models, source=None, progress=Silent()))
    assert not [fault for verdict in verdicts for fault in verdict.faults]
    assert any("decisions" in verdict.question for verdict in verdicts)
    mine.layout.decisions.write_text(mine.layout.decisions.read_text() + " ")
    verdicts = list(verify(tmp_path / "sub.csv", models=mine.layout.models, source=None, progress=Silent()))
    faults = [fault for verdict in verdicts for fault in verdict.faults]
    assert faults == [
        f"{mine.layout.decisions.name} has changed, or is another file: its SHA-256 does not match"
    ]


def test_the_plain_mean_and_its_provenance_are_the_same_bytes_with_and_without_decisions(
    project: Project, mine: Project, tmp_path: Path, cpu: Machine
) -> None:
    scored(project, mine, tmp_path / "before.csv", cpu)
    run(mine)
    scored(project, mine, tmp_path / "after.csv", cpu)
    assert (tmp_path / "before.csv").read_bytes() == (tmp_path / "after.csv").read_bytes()
    about = json.loads(Outputs(tmp_path / "after.csv").provenance.read_text())
    assert "decisions" not in about["choices"] and set(about["sha256"]) == {"table", "manifest"}
    verdicts = verify(
        tmp_path / "after.csv", models=None, source=None, decisions=mine.layout.decisions, progress=Silent()
    )
    faults = [fault for verdict in verdicts for fault in verdict.faults]
    assert faults == ["this table holds the plain mean, by no decisions"]


def test_a_file_without_a_score_is_filled_with_no_call(
    project: Project, mine: Project, tmp_path: Path, cpu: Machine
) -> None:
    run(mine)
    names = [path.name for path in (project.data / "test").iterdir()]
    template = tmp_path / "rows.csv"
    findings = list(mine.params.labels.findings)
    write_table(template, ["Image_name", *findings], [[name, *findings] for name in [*names, "gone.jpg"]])
    rows = scored(project, mine, tmp_path / "s.csv", cpu, binary="youden", template=template, on_error="fill")
    assert rows[-1] == ["gone.jpg", *[""] * len(findings)]


def test_another_ensemble_is_refused(project: Project, mine: Project, tmp_path: Path, cpu: Machine) -> None:
    run(mine)
    out = tmp_path / "sub.csv"
    with pytest.raises(UserError, match=r"made for folds \[0, 1\], not for \[1\]; use those, or run"):
        scored(project, mine, out, cpu, calibrated=True, folds=(1,))
    with pytest.raises(UserError, match=r"made for the views plain,flip, not for plain; use those with"):
        scored(project, mine, out, cpu, calibrated=True, views=("plain",))
    facts = json.loads(mine.layout.decisions.read_text())["facts"]
    other = Layout(tmp_path / "other")
    facts["models"][1]["sha256"] = "0" * 64
    write_sealed_json(other.decisions, facts)
    with pytest.raises(UserError, match="made for other checkpoints: the SHA-256 of fold 1 is another one"):
        scored(project, mine, out, cpu, calibrated=True, decisions=other.decisions)
    facts["findings"]["Edema"]["calibration"]["maps"][0]["a"] = -1.0
    write_sealed_json(other.decisions, facts)
    with pytest.raises(UserError, match=r"not of the shape of decisions \(a map that does not increase\)"):
        read_decisions(other.decisions)
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (["--binary", "best"], "--binary: 'best'; one of youden, f1"),
        (["--abstain", "conformal"], "--abstain: leaves cells of a table of 0 and 1 blank; give --binary"),
        (["--calibrated", "--binary", "f1"], "--calibrated: writes probabilities"),
        (
            ["--calibrated", "--level", "study"],
            "--level study: --calibrated was decided from scores of single",
        ),
        (["--binary", "f1", "--level", "study"], "--level study: --binary was decided from scores of single"),
    ],
)
def test_choices_that_do_not_go_together_are_refused_before_any_work(
    door: Door, words: list[str], refusal: str
) -> None:
    done = door("score", "nowhere", "-o", "sub.csv", *words)
    assert done.code == 2 and refusal in done.err


def test_the_command_prints_what_it_measured(mine: Project, door: Door, tmp_path: Path) -> None:
    done = door(
        "decide",
        *("--labels", mine.labels, "--test-labels", mine.data / "test_labels.csv", "--out", mine.layout.root),
    )
    assert done.code == 0, done.err
    assert "calibration error" in done.out and "coverage, present" in done.out
    assert mine.layout.decisions.is_file()


def test_an_ensemble_in_memory_decides_as_score_does(
    project: Project, mine: Project, tmp_path: Path, cpu: Machine
) -> None:
    run(mine)
    how = {"folds": FOLDS, "device": "cpu", "dtype": "fp32", "batch_size": 16}
    ensemble = load_ensemble(mine.layout.models, calibrated=True, **how)
    names = sorted(path.name for path in (project.data / "test").iterdir())
    pixels = np.stack([ensemble.read(project.data / "test" / name) for name in names])
    table = scored(project, mine, tmp_path / "s.csv", cpu, calibrated=True)
    np.testing.assert_allclose(
        ensemble.predict(pixels), np.array(table)[1:, 1:].astype(float), rtol=1e-4, atol=1e-6
    )
    calls = load_ensemble(mine.layout.models, binary="f1", abstain="disagreement", **how).predict(pixels)
    assert set(np.unique(calls[~np.isnan(calls)])) <= {0.0, 1.0}
    with pytest.raises(UserError, match="--decisions: nothing is decided by it; give --calibrated"):
        load_ensemble(mine.layout.models, decisions=mine.layout.decisions, **how)
