"""Two runs or tables are compared row by row, and nothing is said that the figures do not bear."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from conftest import Door
from scored_projects import FINDINGS, TESTED, commit, empty_workspace, git, make_run, start, write_params
from trainings import Told

from cxrscore import api
from cxrscore.ablation import table as ablation_table
from cxrscore.compare import compare, comparison_blocks, figures_of
from cxrscore.core.errors import UserError
from cxrscore.core.paths import Layout
from cxrscore.core.text_table import plain_text
from cxrscore.evaluate import evaluate, evaluate_table
from cxrscore.project.params_file import read_compared_params
from cxrscore.tables.csv_table import read_table, write_table
from cxrscore.tables.labels import read_labels
from cxrscore.tables.score_table import read_scores


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two commits: noisy scores, then clearer ones; the second lies in the workspace, too."""
    root = tmp_path_factory.mktemp("compared") / "chest"
    make_run(root, seed=1, noise=3.0, test=True)
    start(root)
    commit(root, "noisy")
    make_run(root, seed=2, noise=1.0, test=True)
    commit(root, "clear")
    return root


@pytest.fixture
def chest(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "chest"))


def compared(a: object, b: object, project: Path, labels: Path | None = None) -> dict[str, Any]:
    return compare(str(a), str(b), project=project, labels_csv=labels, progress=Told())


def mean_of(result: dict[str, Any], kind: str) -> dict[str, Any]:
    """The first mean over findings of this kind of scores."""
    return figures_of(result[kind] if kind else result)[0]


def test_the_figures_are_those_of_metrics_json(chest: Path) -> None:
    """As evaluate writes them, for the workspace; and of the commit before, from the cache alone."""
    params = read_compared_params(chest / "params.yaml")
    metrics = evaluate(
        chest / "data" / "labels.csv", Layout(chest / "out"), labels=params.labels, folds=[0, 1, 2]
    ).metrics
    result = compared("HEAD~1", "workspace", chest)
    assert result["macro_auc"]["b"] == metrics["macro_auc"]
    assert {name: one["b"] for name, one in result["auc"].items()} == metrics["auc"]
    for kind in ("views", "study"):
        assert result[kind]["macro_auc"]["b"] == metrics[kind]["macro_auc"]
    assert result["folds"]["mean"]["macro_auc"]["b"] == pytest.approx(
        metrics["folds"]["mean"]["macro_auc"], abs=2e-5
    )
    tested = evaluate_table(
        read_scores(chest / "out/test/scores.csv"), chest / "data/test_labels.csv", labels=params.labels
    ).metrics
    for there, theirs in ((result, metrics), (result["test"], tested)):
        for key in ("map", "ap_all", "brier", "calibration_error"):
            assert there[key]["b"] == theirs[key]
            assert there[key]["difference"] == pytest.approx(there[key]["b"] - there[key]["a"], abs=2e-5)
            few = there is result and key in ("map", "ap_all")  # 80 patients in all
            assert (there[key]["low"] is None) == (few or key == "calibration_error")
    assert "noise in its bins" in result["calibration_error"]["sentence"]
    assert result["test"]["macro_auc"]["a"] < result["test"]["macro_auc"]["b"]
    assert (result["images"], result["patients"]) == (240, 80)


def test_clearer_scores_are_better_and_the_other_way_round_worse(chest: Path) -> None:
    there, back = compared("HEAD~1", "HEAD", chest), compared("HEAD", "HEAD~1", chest)
    for kind in ("", "views", "folds"):
        one, other = (mean_of(result, kind) for result in (there, back))
        assert (one["verdict"], other["verdict"]) == ("better", "worse")
        assert one["low"] == pytest.approx(-other["high"], abs=2e-5) and one["low"] > 0
        assert one["difference"] == pytest.approx(one["b"] - one["a"], abs=2e-5)
    for key, sign in (("map", 1), ("ap_all", 1), ("brier", -1)):  # a lower Brier score is a better one
        one, other = there["test"][key], back["test"][key]
        assert (one["verdict"], other["verdict"]) == ("better", "worse")
        assert one["difference"] * sign > 0
    assert "Brier score (lower is better): B is better than A, by 0." in there["brier"]["sentence"]


def test_a_fresh_clone_with_a_cache_and_no_workspace_is_enough(chest: Path) -> None:
    full = compared("HEAD~1", "HEAD", chest)
    empty_workspace(chest)
    assert compared("HEAD~1", "HEAD", chest) == full
    assert git(chest, "status", "--porcelain") == ""
    with pytest.raises(UserError, match=r"fold0\.csv: no out-of-fold scores here; run `dvc repro`, or"):
        compared("HEAD", "workspace", chest)


def test_an_experiment_and_another_project_are_compared_as_well(chest: Path, tmp_path: Path) -> None:
    head = git(chest, "rev-parse", "HEAD")
    git(chest, "update-ref", f"refs/exps/{head[:2]}/{head[2:]}/noisy-mole", git(chest, "rev-parse", "HEAD~1"))
    by_name, by_commit = compared("noisy-mole", "HEAD", chest), compared("HEAD~1", "HEAD", chest)
    assert by_name["macro_auc"] == by_commit["macro_auc"] and by_name["a"] == "noisy-mole"
    other = make_run(tmp_path / "other", seed=1, noise=3.0, test=True)
    assert compared(other, "workspace", chest)["macro_auc"] == by_commit["macro_auc"]


def test_a_run_that_is_compared_with_itself_is_the_same_and_that_is_said_once(chest: Path) -> None:
    result = compared("HEAD", "workspace", chest)
    for one in figures_of(result):
        assert one["verdict"] == ("no interval" if one["low"] is None else "same")
        if one["low"] is not None:
            assert (one["difference"], one["low"], one["high"]) == (0, 0, 0)
            assert "are the same in every resample" in one["sentence"]
    assert result["same_scores"] and not compared("HEAD~1", "HEAD", chest)["same_scores"]
    text = plain_text(comparison_blocks(result))
    assert text.splitlines()[2] == "A and B hold the same scores, so each figure of A is that of B."
    assert text.count("the same scores") == 1 and "cannot tell" not in text and "resample." not in text


def test_other_scores_of_the_same_ranks_have_the_same_areas_and_one_sentence_for_them(
    chest: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(chest / "out", tmp_path / "other" / "out").parent
    for name in ("data", "params.yaml"):
        (shutil.copytree if name == "data" else shutil.copy)(chest / name, other / name)
    for path in (other / "out" / "oof").glob("*.csv"):
        frame = pl.read_csv(path)
        frame.with_columns(pl.col(name) / 2 for name in FINDINGS).write_csv(path)
    result = compared("workspace", other, chest)
    assert not result["same_scores"] and result["macro_auc"]["verdict"] == "same"
    assert result["brier"]["verdict"] in ("better", "worse")
    text = plain_text(comparison_blocks(result))
    assert text.splitlines()[2] == "A and B hold the same scores: held-out test."
    assert text.count("same in every resample") == 1
    assert "same in every resample: macro-AUC; " in text and f"; {FINDINGS[0]}; {FINDINGS[1]};" in text


def test_the_mean_of_folds_has_the_interval_of_an_ablation(tmp_path: Path) -> None:
    """`ablate` averages within folds over 2,000 resamples, of which these are the first 1,000."""
    # of 12 patients four show it in each fold; 18 are enough for a fold, and too few for an interval
    for rare in (0, 12, 18):
        a = make_run(tmp_path / f"a{rare}", seed=1, noise=2.0, rare=rare)
        b = make_run(tmp_path / f"b{rare}", seed=2, noise=1.5, rare=rare)
        labels = read_labels(
            a / "data" / "labels.csv", **read_compared_params(a / "params.yaml").labels.model_dump()
        )
        layouts = {"independent": {0: Layout(a / "out")}, "other": {0: Layout(b / "out")}}
        scored = ablation_table.read_scored(layouts, [0, 1, 2], labels)
        theirs = ablation_table.compare(scored)["other"]["difference"]
        result = compared(a, b, tmp_path)
        ours = result["folds"]["mean"]["macro_auc_shown" if rare else "macro_auc"]
        assert bool(scored.left_out) == bool(rare)
        assert ours["difference"] == pytest.approx(theirs["macro_auc"], abs=2e-5)
        for end in ("low", "high"):
            assert ours[end] == pytest.approx(theirs[end], abs=0.01)
        if rare:
            assert scored.left_out == {FINDINGS[2]: [0, 1, 2]}
            assert result["folds"]["mean"]["macro_auc"]["verdict"] == "no interval"


def test_a_rare_finding_has_no_interval_and_a_mean_without_it_has(tmp_path: Path) -> None:
    a = make_run(tmp_path / "a", seed=1, noise=3.0, rare=3)
    b = make_run(tmp_path / "b", seed=2, noise=1.0, rare=3)
    result = compared(a, b, tmp_path)
    assert result["auc"][FINDINGS[2]]["low"] is None and result["macro_auc"]["low"] is None
    assert f"({'too few patients show ' + FINDINGS[2]}, or do not)" in result["macro_auc"]["sentence"]
    assert result["macro_auc"]["verdict"] == result["auc"][FINDINGS[2]]["verdict"] == "no interval"
    assert result["summary"] == [
        "macro-AUC has no interval here: 1 of 3 findings is shown, or not shown, by fewer than 20 patients; "
        "read the row of the other 2 (macro-AUC, rare findings left out)."
    ]
    assert [result[f"{key}_shown"]["verdict"] for key in ("macro_auc", "map", "brier")] == ["better"] * 3
    assert result["map"]["verdict"] == result["brier"]["verdict"] == "no interval"
    assert any(note.startswith("rare findings") and note.endswith(FINDINGS[2]) for note in result["notes"])
    assert "of the 2 intervals by finding" in " ".join(result["notes"])


def test_other_folds_are_said_and_their_means_are_left_out(tmp_path: Path) -> None:
    a, b = make_run(tmp_path / "a", seed=1), make_run(tmp_path / "b", seed=2, by=1)
    result = compared(a, b, tmp_path)
    assert "folds" not in result and "macro_auc" in result
    assert any(note.startswith("the two have other folds") for note in result["notes"])
    assert "folds" in compared(a, a, tmp_path)


def test_a_side_that_is_higher_because_its_models_saw_the_patients_is_not_called_better(
    tmp_path: Path,
) -> None:
    whole = make_run(tmp_path / "whole", seed=1, noise=3.0, test=True)
    divided = make_run(tmp_path / "divided", seed=2, noise=1.0, divide=True, test=True)
    for a, b, higher in ((whole, divided, "B"), (divided, whole, "A")):
        result = compared(a, b, tmp_path)
        told = [result["macro_auc"], result["views"]["macro_auc"], result["study"]["macro_auc"]]
        told += result["auc"].values()
        assert {one["verdict"] for one in told} == {"cannot tell"}
        assert f"cannot tell; {higher} is higher, by " in result["macro_auc"]["sentence"]
        assert result["macro_auc"]["low"] * result["macro_auc"]["high"] > 0  # shown all the same
        assert result["test"]["macro_auc"]["verdict"] == {"B": "better", "A": "worse"}[higher]
        notes = [note for note in result["notes"] if "models have seen other images of patients" in note]
        assert len(notes) == 1 and notes[0].startswith(f"{divided}: 66 patients are in more than one fold")


def test_a_side_that_is_lower_though_its_models_saw_the_patients_is_called_worse(tmp_path: Path) -> None:
    whole = make_run(tmp_path / "whole", seed=1, noise=1.0)
    divided = make_run(tmp_path / "divided", seed=2, noise=3.0, divide=True)
    assert compared(whole, divided, tmp_path)["macro_auc"]["verdict"] == "worse"
    both = compared(divided, make_run(tmp_path / "other", seed=3, noise=1.0, divide=True), tmp_path)
    assert both["macro_auc"]["verdict"] == "better" and "folds" in both
    assert sum("models have seen other images" in note for note in both["notes"]) == 2


def test_without_patients_images_are_the_units_and_that_is_said(tmp_path: Path) -> None:
    a, b = (make_run(tmp_path / name, seed=i, noise=2.5, patients=False) for i, name in enumerate("ab"))
    result = compared(a, b, tmp_path)
    assert "patients" not in result and "study" not in result
    text = " ".join(result["notes"])
    assert "1,000 resamples of 240 images, the same" in text and "each image counts as one" in text
    sentences = " ".join(one["sentence"] for one in figures_of(result))
    assert "patients" not in sentences and "more images would be needed" in sentences


def test_a_held_out_test_of_one_side_or_of_other_images_is_left_out_and_said(tmp_path: Path) -> None:
    a, b = make_run(tmp_path / "a", seed=1, test=True), make_run(tmp_path / "b", seed=2)
    result = compared(a, b, tmp_path)
    assert "test" not in result
    assert any(f"held-out test: not compared, as {a} has it and {b}" in note for note in result["notes"])
    make_run(b, seed=2, test=True)
    labels = b / "data" / "test_labels.csv"
    labels.write_text(labels.read_text().replace("test", "other"))
    scores = b / "out" / "test" / "scores.csv"
    scores.write_text(scores.read_text().replace("test", "other"))
    result = compared(a, b, tmp_path)
    assert "test" not in result and any("no image in common" in note for note in result["notes"])


def test_notes_on_labels_say_of_which_images_they_are(chest: Path) -> None:
    notes = compared("HEAD~1", "HEAD", chest)["notes"]
    told = [note for note in notes if "none of the findings" in note]
    assert [note.split(":")[0] for note in told] == ["out of fold", "held-out test"]


def test_other_labels_are_refused_and_one_table_measures_both(chest: Path, tmp_path: Path) -> None:
    labels = chest / "data" / "labels.csv"
    first = tmp_path / "first.csv"
    shutil.copy(labels, first)
    table = read_table(labels)
    cells = {name: list(table.column(name)) for name in ("Image_name", "Patient_ID", "Study", *FINDINGS)}
    cells["Edema"][0] = str(1 - int(cells["Edema"][0]))
    write_table(labels, list(cells), zip(*cells.values(), strict=True))
    with pytest.raises(UserError, match=r"workspace: other labels than HEAD: 1 label differs in 1 image"):
        compared("HEAD", "workspace", chest)
    result = compared("HEAD~1", "workspace", chest, labels=first)
    labels.unlink()
    shutil.copy(first, labels)
    assert result["macro_auc"] == compared("HEAD~1", "workspace", chest)["macro_auc"]


def test_what_is_wrong_at_a_revision_is_named_as_git_names_it(chest: Path) -> None:
    labels = chest / "data" / "labels.csv"
    labels.write_text(labels.read_text().replace(",0,", ",x,", 1))
    commit(chest, "bad labels")
    with pytest.raises(UserError, match=r"HEAD:data/labels\.csv:\d+: .*'x'"):
        compared("HEAD~1", "HEAD", chest)
    (chest / "params.yaml").write_text("labels: 3\n")
    git(chest, "commit", "--quiet", "--all", "--message", "bad settings")
    with pytest.raises(UserError, match=r"HEAD:params\.yaml:1: labels: "):
        compared("HEAD~2", "HEAD", chest)


def test_settings_of_training_that_this_version_does_not_know_do_not_matter(chest: Path) -> None:
    with (chest / "params.yaml").open("a") as file:
        file.write("later: {key: 1}\n")
    commit(chest, "of a later version")
    assert compared("HEAD~1", "HEAD", chest)["macro_auc"]["difference"] == 0


def test_other_trained_folds_are_other_images(chest: Path) -> None:
    write_params(chest, train=(0, 1))
    with pytest.raises(UserError, match=r"workspace: other images than HEAD: \d+ images only in HEAD \('"):
        compared("HEAD", "workspace", chest)


def test_an_image_of_two_folds_is_refused(chest: Path) -> None:
    shutil.copy(chest / "out/oof/fold0.csv", chest / "out/oof/fold1.csv")
    with pytest.raises(UserError, match=r"oof: an image was validated in two folds: .* train again"):
        compared("HEAD", "workspace", chest)


@pytest.fixture
def tables(chest: Path, tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """The held-out scores of both commits: CSV, and Parquet in another order."""
    first = make_run(tmp_path / "first", seed=1, noise=3.0, test=True) / "out" / "test" / "scores.csv"
    frame = pl.read_csv(chest / "out" / "test" / "scores.csv").reverse()
    frame.write_parquet(tmp_path / "second.parquet")
    yield first, tmp_path / "second.parquet"


def test_score_tables_are_compared_by_labels(chest: Path, tables: tuple[Path, Path]) -> None:
    result = compared(*tables, chest, labels=chest / "data" / "test_labels.csv")
    whole = compared("HEAD~1", "HEAD", chest)["test"]["macro_auc"]
    assert result["macro_auc"]["b"] == whole["b"] > result["macro_auc"]["a"]
    assert not {"views", "study", "folds", "test"} & result.keys()
    assert (result["images"], result["patients"]) == (TESTED, TESTED // 2)


def test_tables_need_labels_and_those_of_their_images(chest: Path, tables: tuple[Path, Path]) -> None:
    with pytest.raises(UserError, match=r"labels\.csv: no such table of labels; use --labels to name"):
        compared(*tables, chest.parent / "elsewhere")
    tested = chest / "data" / "test_labels.csv"
    told = rf"none of its 400 rows is in .*labels\.csv, and all are in {tested}; name that with --labels"
    with pytest.raises(UserError, match=rf"{told} {tested}\."):
        compared(*tables, chest)
    few = pl.read_csv(tested)[1:]
    few.write_csv(tested)
    with pytest.raises(UserError, match=r"scores\.csv: 400 rows are not in .*labels\.csv"):
        compared(*tables, chest)
    tested.write_bytes(b"\x00")
    with pytest.raises(UserError, match=r"scores\.csv: 400 rows are not in .*labels\.csv"):
        compared(*tables, chest)
    bad = chest / "bad.parquet"
    bad.write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"bad\.parquet: damaged Parquet .*; write or fetch"):
        compared(bad, bad, chest)


def test_a_run_against_a_table_says_what_nobody_can_see(chest: Path, tables: tuple[Path, Path]) -> None:
    parts = [pl.read_csv(chest / f"out/oof/fold{fold}.csv") for fold in range(3)]
    whole = chest / "whole.csv"
    pl.concat(parts).write_csv(whole)
    result = compared("HEAD~1", whole, chest)
    assert result["macro_auc"]["verdict"] == "better"
    assert any("one side is out of fold" in note for note in result["notes"])
    with pytest.raises(UserError, match=r"no image in common with HEAD"):
        compared("HEAD", tables[0], chest, labels=_both_labels(chest))


def _both_labels(chest: Path) -> Path:
    path = chest / "both.csv"
    names = ("labels.csv", "test_labels.csv")
    pl.concat([pl.read_csv(chest / "data" / name) for name in names]).write_csv(path)
    return path


def test_findings_of_one_class_are_left_out_and_none_at_all_is_refused(tmp_path: Path) -> None:
    a, b = make_run(tmp_path / "a", seed=1), make_run(tmp_path / "b", seed=2)
    for count in (1, 3):
        for root in (a, b):
            path = root / "data" / "labels.csv"
            frame = pl.read_csv(path).with_columns(pl.lit(0).alias(name) for name in FINDINGS[:count])
            frame.write_csv(path)
        if count == 1:
            assert list(compared(a, b, tmp_path)["auc"]) == list(FINDINGS[1:])
    with pytest.raises(UserError, match=r"labels\.csv: each finding has a single class .*; choose labels"):
        compared(a, b, tmp_path)


def test_the_command_prints_a_table_sentences_and_notes_or_json(door: Door, chest: Path) -> None:
    call = door("compare", "HEAD~1", "HEAD", "--project", chest)
    assert call.code == 0 and call.out.splitlines()[:2] == ["A: HEAD~1", "B: HEAD"]
    assert "macro-AUC: B is better than A, by 0." in call.out
    assert "of the 3 intervals by finding leave out 0; where nothing differs, 0.15 of 3" in call.out
    found = json.loads(door("compare", "HEAD~1", "HEAD", "--project", chest, "--json").out)
    for one in (found["macro_auc"], *found["auc"].values()):
        assert one.keys() >= {"a", "b", "difference", "low", "high", "verdict"}
        assert one["low"] <= one["difference"] <= one["high"]
    refused = door("compare", "HEAD", "nothing", "--project", chest)
    assert refused.code == 2 and refused.err.startswith("error: nothing: no revision or experiment of")


def test_the_function_gives_a_frame_and_takes_scores_in_memory(chest: Path) -> None:
    found = api.compare("HEAD~1", "HEAD", project=chest)
    assert found.findings["finding"].to_list() == list(FINDINGS)
    assert found.macro_auc["verdict"] == "better" and found.figures["b"] == "HEAD"
    frame = pl.concat([pl.read_csv(chest / f"out/oof/fold{fold}.csv") for fold in range(3)])
    again = api.compare("HEAD~1", frame, project=chest)
    assert np.allclose(again.findings["b"], found.findings["b"], atol=1e-5)
