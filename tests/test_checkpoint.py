"""A checkpoint says what it is, and a damaged, mixed or incomplete set is refused before anything is
scored.
"""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from conftest import COUPLING, TINY
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from cxrscore.checkpoint import SCHEMA, Card, load_fold, read_card, save_checkpoint
from cxrscore.ensemble import load_ensemble, trained_views
from cxrscore.errors import UserError
from cxrscore.machine import Machine, seeded
from cxrscore.model import CXRModel, build_model
from cxrscore.sealed import KEY

CARD = Card(
    findings=["a", "b", "c"],
    id_column="Image_name",
    backbone=TINY,
    head=COUPLING,
    size=32,
    preprocessing="v1",
    fold=0,
    k=2,
    epoch=1,
    macro_auc=0.75,
    prevalence=[0.1, 0.2, 0.3],
    params={"lr": 1e-3},
    sha256={"labels": "0"},
    versions={"cxrscore": "0"},
)


def save_folds(folder: Path, cpu: Machine, **second: object) -> None:
    """Two folds with different weights; `second` changes the second one's card."""
    for fold, changes in ((0, {}), (1, second)):
        with seeded(cpu, fold):
            model = build_model(TINY, init="none", findings=3, head=COUPLING, size=32)
        save_checkpoint(
            folder / f"fold{fold}.safetensors",
            model.state_dict(),
            dataclasses.replace(CARD, **{"fold": fold} | changes),
        )


def test_what_is_loaded_is_what_was_saved(tmp_path: Path, tiny_model: CXRModel, cpu: Machine) -> None:
    path = tmp_path / "fold0.safetensors"
    save_checkpoint(path, tiny_model.state_dict(), CARD)
    loaded = load_fold(path, cpu)
    assert loaded.card == CARD
    gray = torch.zeros(1, 1, 32, 32)
    assert torch.equal(loaded.model(gray).logits, tiny_model.eval()(gray).logits)


def test_the_same_model_gives_the_same_bytes(tmp_path: Path, tiny_model: CXRModel) -> None:
    for name in ("a", "b"):
        save_checkpoint(tmp_path / name, tiny_model.state_dict(), CARD)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("where", [0.3, 0.6, 0.99])
def test_one_flipped_bit_in_the_weights_is_noticed(
    tmp_path: Path, tiny_model: CXRModel, cpu: Machine, where: float
) -> None:
    path = tmp_path / "fold0.safetensors"
    save_checkpoint(path, tiny_model.state_dict(), CARD)
    data = bytearray(path.read_bytes())
    data[int(where * len(data))] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        load_fold(path, cpu)


@pytest.mark.parametrize("content", [b"", b"\x80\x04pickle", b"\x00" * 64])
def test_what_is_no_checkpoint_is_refused_and_never_unpickled(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "fold0.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match="not a readable checkpoint"):
        read_card(path)


def test_a_truncated_file_is_refused(tmp_path: Path, tiny_model: CXRModel) -> None:
    path = tmp_path / "fold0.safetensors"
    save_checkpoint(path, tiny_model.state_dict(), CARD)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match="not a readable checkpoint"):
        read_card(path)


def test_another_programs_weights_are_named_as_such(tmp_path: Path) -> None:
    save_file({"w": torch.zeros(1)}, tmp_path / "w.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="not a cxrscore checkpoint"):
        read_card(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [("bn1.running_var", -1.0, "negative variances"), ("bn1.bias", float("nan"), "NaN")],
)
def test_weights_that_cannot_be_right_are_refused(
    tmp_path: Path, tiny_model: CXRModel, cpu: Machine, name: str, value: float, word: str
) -> None:
    with torch.no_grad():
        next(tensor for key, tensor in tiny_model.state_dict().items() if key.endswith(name)).fill_(value)
    save_checkpoint(tmp_path / "f.safetensors", tiny_model.state_dict(), CARD)
    with pytest.raises(UserError, match=word):
        load_fold(tmp_path / "f.safetensors", cpu)


def test_a_newer_schema_asks_for_a_newer_version(tmp_path: Path, tiny_model: CXRModel) -> None:
    save_checkpoint(
        tmp_path / "f.safetensors", tiny_model.state_dict(), dataclasses.replace(CARD, schema=SCHEMA + 1)
    )
    with pytest.raises(UserError, match="update cxrscore"):
        read_card(tmp_path / "f.safetensors")


def test_a_checkpoint_from_before_views_were_written_has_those_of_its_time(
    tmp_path: Path, tiny_model: CXRModel, cpu: Machine
) -> None:
    path = tmp_path / "fold0.safetensors"
    save_checkpoint(path, tiny_model.state_dict(), CARD)
    with safe_open(path, framework="pt") as file:
        facts = json.loads(file.metadata()[KEY])
    del facts["card"]["views"], facts["card"]["weights"]
    save_file(load_file(path), path, metadata={KEY: json.dumps(facts)})
    card = load_fold(path, cpu).card
    assert (card.views, card.weights, card.schema) == (["plain", "flip"], "ema", 1)


def with_views(folder: Path, cpu: Machine, *views: list[str]) -> None:
    """Two folds, each trained for its own views, their cards and settings say."""
    save_folds(folder, cpu)
    for fold, names in enumerate(views):
        saved = load_fold(folder / f"fold{fold}.safetensors", cpu)
        settings = {"train": {"lr": 1e-3, "views": names}}
        card = dataclasses.replace(saved.card, views=names, params=settings)
        save_checkpoint(saved.path, saved.model.state_dict(), card)


def test_folds_of_the_same_views_are_scored_with_them(tmp_path: Path, cpu: Machine) -> None:
    with_views(tmp_path, cpu, ["plain", "zoom"], ["plain", "zoom"])
    assert trained_views(load_ensemble(tmp_path, cpu)) == ["plain", "zoom"]


def test_folds_of_different_views_load_and_need_a_word_on_which_to_use(tmp_path: Path, cpu: Machine) -> None:
    with_views(tmp_path, cpu, ["plain"], ["plain", "zoom"])
    ensemble = load_ensemble(tmp_path, cpu)
    with pytest.raises(
        UserError, match=r"fold1.safetensors: views is plain,zoom, but plain in .*; say with --views"
    ):
        trained_views(ensemble)
    assert trained_views(load_ensemble(tmp_path, cpu, folds=[1])) == ["plain", "zoom"]


def test_views_of_a_newer_version_are_named(tmp_path: Path, cpu: Machine) -> None:
    with_views(tmp_path, cpu, ["plain", "spin"], ["plain", "spin"])
    with pytest.raises(UserError, match=r"knows no view spin; update cxrscore, or say with --views"):
        trained_views(load_ensemble(tmp_path, cpu))


def test_an_ensemble_comes_in_the_order_of_its_folds(tmp_path: Path, cpu: Machine) -> None:
    save_folds(tmp_path, cpu)
    (tmp_path / "fold0.safetensors").rename(tmp_path / "z.safetensors")
    assert [fold.card.fold for fold in load_ensemble(tmp_path, cpu)] == [0, 1]
    assert [fold.card.fold for fold in load_ensemble(tmp_path, cpu, folds=[1])] == [1]


def test_a_missing_fold_must_be_left_out_by_name(tmp_path: Path, cpu: Machine) -> None:
    save_folds(tmp_path, cpu)
    (tmp_path / "fold1.safetensors").unlink()
    with pytest.raises(UserError, match="--folds"):
        load_ensemble(tmp_path, cpu)
    with pytest.raises(UserError, match=r"\[0, 7\] are needed"):
        load_ensemble(tmp_path, cpu, folds=[0, 7])


@pytest.mark.parametrize(
    "change",
    [
        {"findings": ["b", "a", "c"]},
        {"size": 64},
        {"preprocessing": "v2"},
        {"k": 3},
        {"params": {"lr": 2e-3}},
        {"sha256": {"labels": "1"}},
    ],
    ids=["findings in another order", "size", "preprocessing", "k", "settings", "data"],
)
def test_folds_that_do_not_belong_together_are_refused(
    tmp_path: Path, cpu: Machine, change: dict[str, object]
) -> None:
    save_folds(tmp_path, cpu, **change)
    with pytest.raises(UserError, match="one ensemble needs one training"):
        load_ensemble(tmp_path, cpu)


def test_a_mixture_names_the_setting_that_differs(tmp_path: Path, cpu: Machine) -> None:
    save_folds(tmp_path, cpu, params={"lr": 2e-3})
    with pytest.raises(UserError, match=r"params\.lr is 0\.002, but 0\.001 in"):
        load_ensemble(tmp_path, cpu)


def test_the_same_fold_twice_is_refused(tmp_path: Path, cpu: Machine) -> None:
    save_folds(tmp_path, cpu)
    (tmp_path / "fold1.safetensors").write_bytes((tmp_path / "fold0.safetensors").read_bytes())
    with pytest.raises(UserError, match=r"folds \[0, 0\] are there"):
        load_ensemble(tmp_path, cpu)


def test_an_empty_folder_says_how_to_get_models(tmp_path: Path, cpu: Machine) -> None:
    with pytest.raises(UserError, match="dvc repro"):
        load_ensemble(tmp_path, cpu)
