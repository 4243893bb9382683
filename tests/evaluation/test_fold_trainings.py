"""Out-of-fold tables that are cut, or of trainings that differ, are not measured."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Project, unseal

from cxrscore.core.errors import UserError
from cxrscore.evaluate import evaluate
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
    path = copy.layout.checkpoint(1)
    unseal(path, **change(vars(read_card(path))))
    with pytest.raises(UserError, match=rf"fold1.safetensors: trained otherwise than fold 0: .*{words}"):
        measure(copy)


def test_other_versions_are_a_note_and_so_is_a_setting_that_one_version_lacks(
    project: Project, tmp_path: Path
) -> None:
    copy = project.copy_to(tmp_path)
    path = copy.layout.checkpoint(1)
    card = read_card(path)
    older = {name: value for name, value in card.params["train"].items() if name != "ema_warmup"}
    params = {**card.params, "train": older}
    unseal(path, params=params, versions={**card.versions, "torch": "1.0"})
    assert any("trained with torch 1.0 instead of" in note for note in measure(copy))


def test_a_checkpoint_or_fold_table_that_is_not_there_is_noted(project: Project, tmp_path: Path) -> None:
    copy = project.copy_to(tmp_path)
    copy.layout.checkpoint(0).unlink()
    copy.layout.folds.unlink()
    notes = measure(copy)
    assert any("no checkpoint of fold 0; whether its settings" in note for note in notes)
    assert any("folds.csv: not there; whether the score tables hold all rows" in note for note in notes)


def test_a_damaged_checkpoint_is_named(project: Project, tmp_path: Path) -> None:
    copy = project.copy_to(tmp_path)
    copy.layout.checkpoint(1).write_bytes(b"no checkpoint")
    with pytest.raises(UserError, match=r"fold1.safetensors: damaged, or no checkpoint; restore it with"):
        measure(copy)
