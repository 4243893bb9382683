"""A checkpoint says what it is, and a damaged, mixed or incomplete set is refused before anything is
scored.
"""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import COUPLING, TINY
from safetensors.torch import save_file

from cxrscore.core.device import Machine, seeded
from cxrscore.core.errors import UserError
from cxrscore.core.safetensors_digest import write_sealed
from cxrscore.model.checkpoint import SCHEMA, Card, load_fold, read_card, save_checkpoint
from cxrscore.model.ensemble import load_ensemble, trained_views
from cxrscore.model.heads.registry import head_settings
from cxrscore.model.network import CXRModel, build_model

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
            model = build_model(TINY, init="none", findings=3, head=head_settings(COUPLING), size=32)
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
    with pytest.raises(UserError, match=r"not a readable \.safetensors file"):
        read_card(path)


def test_a_truncated_file_is_refused(tmp_path: Path, tiny_model: CXRModel) -> None:
    path = tmp_path / "fold0.safetensors"
    save_checkpoint(path, tiny_model.state_dict(), CARD)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match=r"not a readable \.safetensors file"):
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


LONG = "x" * 1000
ODD: dict[str, tuple[dict[str, Any], str]] = {
    "findings that are text": ({"findings": "abc"}, r"findings is 'abc', not a list of distinct names"),
    "no findings": ({"findings": [], "prevalence": []}, r"findings is \[\], not a list of distinct names"),
    "a finding twice": ({"findings": ["a", "b", "a"]}, r"findings is .*, not a list of distinct names"),
    "a blank finding": ({"findings": ["a", " ", "c"]}, r"findings is .*, not a list of distinct names"),
    "a finding that is a list": ({"findings": ["a", ["b"], "c"]}, r"findings is .*, not a list of"),
    "half a surrogate pair": ({"findings": ["a", "\ud800", "c"]}, r"findings is .*, not a list of"),
    "the id column": ({"id_column": "b"}, r"id_column is 'b', not a name that no finding has"),
    "an id column without a name": ({"id_column": ""}, r"id_column is '', not a name"),
    "a backbone that is a number": ({"backbone": 7}, r"backbone is 7, not a timm name"),
    "a head without a kind": ({"head": {"dropout": 0.1}}, r"head is .*, not settings with a kind"),
    "a head that is text": ({"head": "coupling"}, r"head is 'coupling', not settings with a kind"),
    "a head of an odd kind": ({"head": {"kind": ["coupling"]}}, r"head is .*, not settings with a kind"),
    "a size of 0": ({"size": 0}, r"size is 0, not a whole number from 32 to 4096"),
    "a huge size": ({"size": 10**30}, r"size is 10+, not a whole number from 32 to 4096"),
    "a size in halves": ({"size": 32.0}, r"size is 32\.0, not a whole number"),
    "a size that is text": ({"size": "32"}, r"size is '32', not a whole number"),
    "a size that is true": ({"size": True}, r"size is True, not a whole number"),
    "no preprocessing": ({"preprocessing": None}, r"preprocessing is None, not a name"),
    "a fold that is not one of k": ({"fold": 2}, r"fold is 2, not a whole number below k = 2"),
    "a fold that is true": ({"fold": True}, r"fold is True, not a whole number from 0"),
    "a fold below 0": ({"fold": -1}, r"fold is -1, not a whole number from 0"),
    "no folds": ({"k": 0}, r"k is 0, not a whole number from 1"),
    "an epoch below 0": ({"epoch": -1}, r"epoch is -1, not a whole number from 0"),
    "an area above 1": ({"macro_auc": 1.5}, r"macro_auc is 1\.5, not a number from 0 to 1"),
    "an area that is true": ({"macro_auc": True}, r"macro_auc is True, not a number from 0 to 1"),
    "an area that is text": ({"macro_auc": "0.7"}, r"macro_auc is '0\.7', not a number from 0 to 1"),
    "a huge area": ({"macro_auc": 10**400}, r"macro_auc is 10+\.\.\., not a number from 0 to 1"),
    "too few prevalences": ({"prevalence": [0.1]}, r"prevalence is \[0\.1\], not 3 numbers, one per finding"),
    "a prevalence above 1": ({"prevalence": [0.1, 2, 0.3]}, r"prevalence is .*, not a list of numbers"),
    "a prevalence that is text": ({"prevalence": [0.1, "0.2", 0.3]}, r"prevalence is .*, not a list of"),
    "settings that are a list": ({"params": []}, r"params is \[\], not settings by name"),
    "hashes that are numbers": ({"sha256": {"labels": 0}}, r"sha256 is \{'labels': 0\}, not texts by name"),
    "versions that are text": ({"versions": "0.1"}, r"versions is '0\.1', not texts by name"),
    "views that are text": ({"views": "plain"}, r"views is 'plain', not a list of distinct names"),
    "no views": ({"views": []}, r"views is \[\], not a list of distinct names"),
    "weights of an odd kind": ({"weights": "best"}, r"weights is 'best', not raw or ema"),
    "weights that are a list": ({"weights": ["ema"]}, r"weights is \['ema'\], not raw or ema"),
    "a bit depth of 7": ({"bit_depth": 7}, r"bit_depth is 7, not null or a whole number from 8 to 16"),
    "a bit depth that is true": ({"bit_depth": True}, r"bit_depth is True, not null or a whole number"),
    "a schema that is text": ({"schema": "2"}, r"schema is '2', not 2"),
    "a schema that is true": ({"schema": True}, r"schema is True, not 2"),
    "an older schema under a seal": ({"schema": 1}, r"schema is 1, not 2"),
    "an unknown field": ({"flip": True}, r"has others, \['flip'\]"),
    "a very long text": ({"size": LONG}, r"size is 'x{76}\.\.\., not a whole number"),
}


def save_odd(path: Path, model: CXRModel, card: object) -> None:
    """Sealed as it should be, whatever the card says."""
    write_sealed(path, model.state_dict(), {"card": card})


@pytest.mark.parametrize("kind", ODD)
def test_a_card_of_odd_values_is_refused_with_the_field_and_what_would_be_right(
    tmp_path: Path, tiny_model: CXRModel, cpu: Machine, kind: str
) -> None:
    changes, match = ODD[kind]
    path = tmp_path / "fold0.safetensors"
    save_odd(path, tiny_model, dataclasses.asdict(CARD) | changes)
    for read in (read_card, lambda path: load_fold(path, cpu)):
        with pytest.raises(UserError, match=rf"^{path}: its card.*{match}"):
            read(path)


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Card)])
def test_a_card_lacks_no_field(tmp_path: Path, tiny_model: CXRModel, name: str) -> None:
    path = tmp_path / "fold0.safetensors"
    card = {key: value for key, value in dataclasses.asdict(CARD).items() if key != name}
    save_odd(path, tiny_model, card)
    with pytest.raises(UserError, match=r"schema is None" if name == "schema" else rf"lacks .*\['{name}'\]"):
        read_card(path)


@pytest.mark.parametrize("card", [None, [], "card", 7, [CARD.findings]])
def test_a_card_is_an_object(tmp_path: Path, tiny_model: CXRModel, card: object) -> None:
    save_odd(tmp_path / "f.safetensors", tiny_model, card)
    with pytest.raises(UserError, match="not a fold checkpoint: it has no metadata card"):
        read_card(tmp_path / "f.safetensors")


@pytest.mark.parametrize(
    "changes",
    [{"bit_depth": 12}, {"macro_auc": 1}, {"prevalence": [0, 1, 0.5]}, {"weights": "raw"}, {"params": {}}],
    ids=lambda changes: next(iter(changes)),
)
def test_values_at_the_ends_of_their_ranges_are_fine(
    tmp_path: Path, tiny_model: CXRModel, changes: dict[str, Any]
) -> None:
    save_checkpoint(tmp_path / "f.safetensors", tiny_model.state_dict(), dataclasses.replace(CARD, **changes))
    assert read_card(tmp_path / "f.safetensors") == dataclasses.replace(CARD, **changes)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"backbone": "resnet19"}, "timm has no model 'resnet19'"),
        ({"backbone": "../etc/passwd"}, "timm has no model"),
        ({"backbone": "hf-hub:a/b"}, "timm has no model"),
        ({"backbone": "test_vit", "size": 100}, "100 does not fit"),
        ({"head": {"kind": "oracle"}}, "head.kind: 'oracle' is not a head; there are"),
        (
            {"head": COUPLING | {"dro0out": 0.1}},
            r"does not know \['dro0out'\]; set exactly the keys of that kind",
        ),
        ({"head": COUPLING | {"findings": 4}}, r"does not know \['findings'\]"),
        (
            {"head": {"kind": "coupling", "dropout": 0.1}},
            r"lacks the keys \['alpha', 'l1', 'lr_scale', 'prox'\]",
        ),
        (
            {"head": COUPLING | {"steps": 0}},
            "train.head.steps: 0 does not fit kind coupling; set a whole number",
        ),
        ({"head": COUPLING | {"steps": "1"}}, "train.head.steps: '1' does not fit"),
        (
            {"head": COUPLING | {"prox": 1}},
            "train.head.prox: 1 does not fit kind coupling; set true or false",
        ),
        ({"head": COUPLING | {"alpha": "0.3"}}, "train.head.alpha: '0.3' does not fit"),
        (
            {"head": COUPLING | {"l1": None}},
            "train.head.l1: None does not fit kind coupling; set a number from 0",
        ),
        ({"head": COUPLING | {"dropout": 7.0}}, "ValueError: dropout probability"),
        ({"head": COUPLING | {"dropout": "much"}}, "train.head.dropout: 'much' does not fit"),
        ({"head": {"kind": "independent", "dropout": 0.1, "pool": "sum"}}, "set one of gap, gmp"),
        ({"head": COUPLING | {"conditional": True, "rank": -1}}, "train.head.rank: -1 does not fit"),
    ],
)
def test_a_card_that_builds_no_model_is_an_error_to_mend(
    tmp_path: Path, tiny_model: CXRModel, cpu: Machine, changes: dict[str, Any], why: str
) -> None:
    path = tmp_path / "fold0.safetensors"
    save_checkpoint(path, tiny_model.state_dict(), dataclasses.replace(CARD, **changes))
    with pytest.raises(UserError, match=rf"^{path}: its card .* does not build a model: .*{why}"):
        load_fold(path, cpu)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.int32, torch.complex64])
def test_weights_of_another_type_are_not_this_model(
    tmp_path: Path, tiny_model: CXRModel, cpu: Machine, dtype: torch.dtype
) -> None:
    weights = tiny_model.state_dict()
    weights["mean"] = weights["mean"].to(dtype)
    save_checkpoint(tmp_path / "f.safetensors", weights, CARD)
    with pytest.raises(UserError, match=r"other shape or type \['mean'\]; not this model"):
        load_fold(tmp_path / "f.safetensors", cpu)


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
        UserError,
        match=r"fold1.safetensors: views is plain,zoom, but plain in .*; choose the views with --views",
    ):
        trained_views(ensemble)
    assert trained_views(load_ensemble(tmp_path, cpu, folds=[1])) == ["plain", "zoom"]


def test_views_of_a_newer_version_are_named(tmp_path: Path, cpu: Machine) -> None:
    with_views(tmp_path, cpu, ["plain", "spin"], ["plain", "spin"])
    with pytest.raises(
        UserError, match=r"does not have the view spin; update cxrscore, or choose the views with --views"
    ):
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
        {"bit_depth": 12},
        {"k": 3},
        {"params": {"lr": 2e-3}},
        {"sha256": {"labels": "1"}},
    ],
    ids=["findings in another order", "size", "preprocessing", "bit depth", "k", "settings", "data"],
)
def test_folds_that_do_not_belong_together_are_refused(
    tmp_path: Path, cpu: Machine, change: dict[str, object]
) -> None:
    save_folds(tmp_path, cpu, **change)
    with pytest.raises(UserError, match="an ensemble needs folds of one training"):
        load_ensemble(tmp_path, cpu)


def test_a_mixture_names_the_setting_that_differs(tmp_path: Path, cpu: Machine) -> None:
    save_folds(tmp_path, cpu, params={"lr": 2e-3})
    with pytest.raises(UserError, match=r"params\.lr is 0\.002, but 0\.001 in"):
        load_ensemble(tmp_path, cpu)


def test_the_same_fold_twice_is_refused(tmp_path: Path, cpu: Machine) -> None:
    save_folds(tmp_path, cpu)
    (tmp_path / "fold1.safetensors").write_bytes((tmp_path / "fold0.safetensors").read_bytes())
    with pytest.raises(UserError, match=r"folds \[0, 0\] were found"):
        load_ensemble(tmp_path, cpu)


def test_an_empty_folder_says_how_to_get_models(tmp_path: Path, cpu: Machine) -> None:
    with pytest.raises(UserError, match="dvc repro"):
        load_ensemble(tmp_path, cpu)
