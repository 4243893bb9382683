"""An unsealed checkpoint becomes a sealed one by a person's word alone, with every fact before their eyes."""

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import contents, unseal
from safetensors.torch import load_file, save_file
from test_checkpoint import CARD

from cxrscore.core.device import Machine
from cxrscore.core.errors import UserError
from cxrscore.core.files import sha256_file
from cxrscore.core.safetensors_digest import KEY, digest_of
from cxrscore.core.text_table import plain_text
from cxrscore.model.checkpoint import load_fold, save_checkpoint
from cxrscore.model.network import CXRModel
from cxrscore.reseal import reseal, sealed_blocks


@pytest.fixture
def old(tmp_path: Path, tiny_model: CXRModel) -> Path:
    """As a version without seals wrote it."""
    save_checkpoint(tmp_path / "old.safetensors", tiny_model.state_dict(), CARD)
    unseal(tmp_path / "old.safetensors")
    return tmp_path / "old.safetensors"


def put(path: Path, *, card: object = None, **weights: torch.Tensor) -> None:
    """Unsealed, with these weights and this card, and the sha256 that goes with the weights."""
    tensors = load_file(path) | weights
    text = json.dumps({"card": card, "sha256": digest_of(tensors)})
    save_file(tensors, path, metadata={KEY: text})


def old_card(**changes: Any) -> dict[str, Any]:
    card = dataclasses.asdict(CARD) | {"schema": 1} | changes
    return {name: value for name, value in card.items() if value is not ...}


def refused(path: Path, match: str) -> None:
    before = contents(path.parent)
    with pytest.raises(UserError, match=match):
        reseal(path, path.with_name("new.safetensors"), overwrite=False)
    assert contents(path.parent) == before


def test_what_is_resealed_is_the_file_that_training_would_write_today(
    old: Path, tiny_model: CXRModel, tmp_path: Path
) -> None:
    before = old.read_bytes()
    reseal(old, tmp_path / "new.safetensors", overwrite=False)
    save_checkpoint(tmp_path / "today.safetensors", tiny_model.state_dict(), CARD)
    assert (tmp_path / "new.safetensors").read_bytes() == (tmp_path / "today.safetensors").read_bytes()
    assert old.read_bytes() == before


def test_every_fact_is_told_and_the_findings_are_numbered(old: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.safetensors"
    facts = reseal(old, new, overwrite=False)
    assert facts == {"file": str(new), "file_sha256": sha256_file(new), **dataclasses.asdict(CARD)}
    lines = plain_text(sealed_blocks(facts)).splitlines()
    assert [line.split() for line in lines[-3:]] == [["1", "a", "0.1"], ["2", "b", "0.2"], ["3", "c", "0.3"]]
    told = {line.strip().partition(":")[0] for line in lines}
    assert told >= dataclasses.asdict(CARD).keys() - {"findings", "prevalence"} | CARD.head.keys()
    assert "size: 32" in lines
    assert "  kind: coupling" in lines


def test_a_name_that_would_move_the_cursor_is_shown_by_its_escapes(old: Path, tmp_path: Path) -> None:
    put(old, card=old_card(findings=["a", "b\r\x1b[2K", "c"]))
    facts = reseal(old, tmp_path / "new.safetensors", overwrite=False)
    assert r"   2  b\r\x1b[2K  0.2" in plain_text(sealed_blocks(facts)).splitlines()


def test_a_checkpoint_from_before_views_were_written_has_those_of_its_time(
    old: Path, tmp_path: Path, cpu: Machine
) -> None:
    put(old, card=old_card(views=..., weights=..., bit_depth=...))
    reseal(old, tmp_path / "new.safetensors", overwrite=False)
    card = load_fold(tmp_path / "new.safetensors", cpu).card
    assert (card.views, card.weights, card.bit_depth, card.schema) == (["plain", "flip"], "ema", None, 2)


def test_what_is_sealed_already_is_not_sealed_again(tmp_path: Path, tiny_model: CXRModel) -> None:
    save_checkpoint(tmp_path / "f.safetensors", tiny_model.state_dict(), CARD)
    refused(
        tmp_path / "f.safetensors",
        r"f\.safetensors: it has a SHA-256 of its metadata already; use it as it is",
    )


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_damaged_seal_is_not_replaced_by_a_whole_one(
    tmp_path: Path, tiny_model: CXRModel, share: float
) -> None:
    path = tmp_path / "f.safetensors"
    save_checkpoint(path, tiny_model.state_dict(), CARD)
    data = bytearray(path.read_bytes())
    place = data.index(b"Image_name") if share < 0.1 else int(share * len(data))
    data[place] ^= 1
    path.write_bytes(data)
    refused(path, "do not match their SHA-256")


def test_a_seal_that_was_stripped_is_not_replaced(tmp_path: Path, tiny_model: CXRModel) -> None:
    path = tmp_path / "f.safetensors"
    save_checkpoint(path, tiny_model.state_dict(), CARD)
    text = json.dumps({"facts": {"card": dataclasses.asdict(CARD)}, "tensors": digest_of(load_file(path))})
    save_file(load_file(path), path, metadata={KEY: text})
    refused(path, "its facts do not match their SHA-256")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"findings": ["a", "b"]}, "prevalence is .*, not 2 numbers"),
        ({"size": "32"}, "size is '32'"),
        ({"schema": 2}, "schema is 2, not 1"),
        ({"schema": 3}, "schema 3, this version reads up to 2; update cxrscore"),
        ({"backbone": ...}, r"lacks the fields \['backbone'\]"),
        ({"strange": 1}, r"has others, \['strange'\]"),
        ({"backbone": "resnet19"}, "does not build a model: .*timm has no model 'resnet19'"),
        ({"head": {"kind": "independent"}}, "does not build a model: train.head: kind independent lacks"),
        ({"backbone": "test_efficientnet"}, "not this model"),
        ({"findings": ["a", "b", "c", "d"], "prevalence": [0.1] * 4}, "not this model"),
    ],
)
def test_a_card_that_scoring_would_refuse_is_not_sealed(
    old: Path, changes: dict[str, Any], match: str
) -> None:
    put(old, card=old_card(**changes))
    refused(old, match)


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("backbone.bn1.bias", float("nan"), "bn1.bias holds NaN"),
        ("backbone.bn1.bias", float("inf"), "bn1.bias holds NaN or infinite"),
        ("backbone.bn1.running_var", -1.0, "negative variances"),
    ],
)
def test_weights_that_scoring_would_refuse_are_not_sealed(
    old: Path, name: str, value: float, match: str
) -> None:
    put(old, card=old_card(), **{name: torch.full_like(load_file(old)[name], value)})
    refused(old, match)


def test_weights_that_do_not_match_their_old_sha256_are_not_sealed(old: Path) -> None:
    data = bytearray(old.read_bytes())
    data[-5] ^= 1
    old.write_bytes(data)
    refused(old, "its weights do not match")


@pytest.mark.parametrize("card", [None, [], 7, "card"])
def test_what_holds_no_card_is_not_sealed(old: Path, card: object) -> None:
    put(old, card=card)
    refused(old, "it has no metadata card")


def test_what_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    save_file({"w": torch.zeros(1)}, tmp_path / "w.safetensors")
    refused(tmp_path / "w.safetensors", "not a cxrscore checkpoint")
    (tmp_path / "t.safetensors").write_text("text")
    refused(tmp_path / "t.safetensors", r"not a readable \.safetensors file")
    refused(tmp_path / "none.safetensors", r"none\.safetensors: no such file")
    (tmp_path / "folder").mkdir()
    refused(tmp_path / "folder", r"not a readable \.safetensors file \(Is a directory\)")


def test_an_existing_file_is_replaced_only_when_asked(old: Path, tmp_path: Path, cpu: Machine) -> None:
    new = tmp_path / "new.safetensors"
    new.write_text("mine")
    refused(old, r"new\.safetensors: exists; --overwrite replaces it")
    reseal(old, new, overwrite=True)
    assert load_fold(new, cpu).card == CARD


@pytest.mark.parametrize("link", [None, os.link, os.symlink])
def test_the_old_file_is_never_written_to(old: Path, tmp_path: Path, link: Any) -> None:
    new = old if link is None else tmp_path / "new.safetensors"
    if link:
        link(old, new)
    before = contents(tmp_path)
    with pytest.raises(UserError, match=r"this is the input file|not a regular file"):
        reseal(old, new, overwrite=True)
    assert contents(tmp_path) == before


def test_an_output_that_cannot_be_written_is_told(old: Path, tmp_path: Path) -> None:
    for output, match in (
        (tmp_path, "not a regular file"),
        (tmp_path / "no" / "new", "cannot be written to"),
    ):
        with pytest.raises(UserError, match=match):
            reseal(old, output, overwrite=True)


def test_a_resealed_checkpoint_may_score_where_the_old_one_may_not(old: Path, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    reseal(old, tmp_path / "models" / "fold0.safetensors", overwrite=False)
    shutil.move(old, tmp_path / "models" / "fold1.safetensors")
    cpu = Machine(torch.device("cpu"), torch.float32)
    load_fold(tmp_path / "models" / "fold0.safetensors", cpu)
    with pytest.raises(UserError, match="cxrscore reseal"):
        load_fold(tmp_path / "models" / "fold1.safetensors", cpu)
