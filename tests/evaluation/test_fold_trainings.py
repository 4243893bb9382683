"""Out-of-fold tables that are cut, or of trainings that differ, are not measured."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Project, as_an_earlier_version_told, unseal

from cxrscore.compare import compare
from cxrscore.core.errors import UserError
from cxrscore.core.progress import Silent
from cxrscore.decide import decide
from cxrscore.evaluate import evaluate
from cxrscore.evaluation.fold_trainings import notes_on_settings
from cxrscore.model.checkpoint import read_card


def measure(project: Project) -> list[str]:
    params = project.params
    done = evaluate(project.labels, project.layout, labels=params.labels, folds=params.folds.train)
    return done.notes


@pytest.mark.parametrize("views", [False, True])
def test_a_table_that_lacks_rows_of_its_fold_is_refused(
    project: Project, tmp_path: Path, views: bool
) -> None:
    copy = project.copy_to(tmp_path)
    table = copy.layout.scores(0, views=views)
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(lines[:-3]))
    message = rf"{table.name}: fold 0 lacks 3 images of the {len(lines) - 1} that .*folds.csv has in it, so"
    with pytest.raises(UserError, match=message):
        measure(copy)


def test_rows_that_were_moved_to_another_fold_are_refused(project: Project, tmp_path: Path) -> None:
    copy = project.copy_to(tmp_path)
    one, other = (copy.layout.scores(fold, views=False) for fold in (0, 1))
    *kept, moved = one.read_text().splitlines(keepends=True)
    one.write_text("".join(kept))
    other.write_text(other.read_text() + moved)
    with pytest.raises(UserError, match=r"fold0.csv: fold 0 lacks 1 image of the .* restore it with"):
        measure(copy)
    one.write_text("".join([*kept, moved]))
    copy.layout.folds.write_text(copy.layout.folds.read_text().replace(",1\n", ",0\n", 1))
    other.write_text("".join(other.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(UserError, match=r"fold0.csv: fold 0 lacks 1 image of the"):
        measure(copy)


def test_whole_tables_of_one_training_are_measured_without_a_word(project: Project) -> None:
    assert not any("checked" in note or "trained with" in note for note in measure(project))


def train(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda card: {"params": {**card["params"], "train": {**card["params"]["train"], **changes}}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (train(lr=0.5), r"train\.lr \(0\.5, not "),
        (train(head={"kind": "independent", "dropout": 0.9}), r"train\.head\.kind"),
        (lambda card: {"sha256": {**card["sha256"], "labels": "0" * 64}}, r"sha256\.labels"),
        (lambda card: {"size": 48}, r"size \(48, not 32\)"),
    ],
    ids=["rate", "head", "labels", "size"],
)
def test_folds_of_other_settings_or_data_are_refused(
    project: Project, tmp_path: Path, change: Callable[[dict[str, Any]], dict[str, Any]], words: str
) -> None:
    copy = project.copy_to(tmp_path)
    as_an_earlier_version_told(copy.layout, 1)
    path = copy.layout.checkpoint(1)
    unseal(path, **change(vars(read_card(path))))
    with pytest.raises(UserError, match=rf"fold1.safetensors: trained otherwise than fold 0: .*{words}"):
        measure(copy)


def test_other_versions_are_a_note_and_so_is_a_setting_that_one_version_lacks(
    project: Project, tmp_path: Path
) -> None:
    copy = project.copy_to(tmp_path)
    as_an_earlier_version_told(copy.layout, 1)
    path = copy.layout.checkpoint(1)
    card = read_card(path)
    older = {name: value for name, value in card.params["train"].items() if name != "ema_warmup"}
    params = {**card.params, "train": older}
    unseal(path, params=params, versions={**card.versions, "torch": "1.0"})
    assert any("trained with torch 1.0 instead of" in note for note in measure(copy))


def test_a_checkpoint_or_fold_table_that_is_not_there_is_noted(project: Project, tmp_path: Path) -> None:
    copy = project.copy_to(tmp_path)
    as_an_earlier_version_told(copy.layout, 0)
    copy.layout.checkpoint(0).unlink()
    copy.layout.folds.unlink()
    notes = measure(copy)
    assert any("no checkpoint of fold 0; whether its settings" in note for note in notes)
    assert any("folds.csv: not there; whether the score tables hold all rows" in note for note in notes)


def test_a_damaged_checkpoint_is_named(project: Project, tmp_path: Path) -> None:
    copy = project.copy_to(tmp_path)
    as_an_earlier_version_told(copy.layout, 1)
    copy.layout.checkpoint(1).write_bytes(b"no checkpoint")
    with pytest.raises(UserError, match=r"fold1.safetensors: damaged, or no checkpoint; restore it with"):
        measure(copy)


@pytest.mark.parametrize("name", ["checkpoint", "scores", "views"])
@pytest.mark.parametrize("command", ["evaluate", "decide", "compare"])
def test_a_file_of_another_training_is_refused(
    project: Project, tmp_path: Path, name: str, command: str
) -> None:
    copy = project.copy_to(tmp_path)
    layout, params = copy.layout, copy.params
    files = {"checkpoint": layout.checkpoint(0)}
    files |= {"scores": layout.scores(0, views=False), "views": layout.scores(0, views=True)}
    path = files[name]
    if name == "checkpoint":
        path.write_bytes(layout.checkpoint(1).read_bytes())
    else:
        path.write_text(path.read_text().replace(",0.5", ",0.4").replace(",0.6", ",0.3"))
    with pytest.raises(UserError, match=rf"{path.name}: not the file that the training of fold 0 wrote, by"):
        if command == "evaluate":
            measure(copy)
        elif command == "decide":
            decide(
                *(copy.labels, layout),
                labels=params.labels,
                folds=params.folds.train,
                params=params.decide,
                test_labels_csv=tmp_path / "none.csv",
            )
        else:
            root = layout.root.parent
            (root / "params.yaml").write_text(json.dumps(params.model_dump(mode="json")))
            compare(str(root), str(root), project=root, labels_csv=copy.labels, progress=Silent())


def test_a_damaged_summary_is_named(project: Project, tmp_path: Path) -> None:
    copy = project.copy_to(tmp_path)
    for text in ("{", "[]", '{"files": 3}'):
        copy.layout.summary(1).write_text(text)
        with pytest.raises(UserError, match=r"summary/fold1.json: damaged; restore it with `dvc checkout`"):
            measure(copy)


def test_folds_of_other_settings_are_told_without_their_checkpoints(project: Project, tmp_path: Path) -> None:
    copy = project.copy_to(tmp_path)
    for fold in (0, 1):
        copy.layout.checkpoint(fold).unlink()
    assert not any("checked" in note for note in measure(copy))
    summary = json.loads(copy.layout.summary(1).read_text())
    summary["training"]["params"]["train"]["lr"] = 0.5
    copy.layout.summary(1).write_text(json.dumps(summary))
    with pytest.raises(UserError, match=r"trained otherwise than fold 0: train\.lr \(0\.5, not"):
        measure(copy)


def test_settings_that_were_changed_and_not_run_are_said(project: Project) -> None:
    params = project.params
    now = {"train": params.train.model_dump(), "prepare": params.prepare.model_dump()}
    assert notes_on_settings(project.layout, [0, 1], now) == []
    now["train"]["head"]["kind"] = "independent"
    now["prepare"]["size"] = 320
    (note,) = notes_on_settings(project.layout, [0, 1], now)
    assert "train.head.kind (" in note and "now independent)" in note and "prepare.size (32, now 320)" in note
