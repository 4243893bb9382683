"""Weights of others: only tensors are loaded; keys keep their names, are matched by order, or are refused."""

import argparse
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from conftest import COUPLING, TINY, Door, contents
from safetensors.torch import load_file, save_file
from test_checkpoint import CARD
from torch import Tensor

from cxrscore.convert_weights import (
    conversion_blocks,
    convert_weights,
    match_by_order,
    refuse_lost_order,
)
from cxrscore.core.errors import UserError
from cxrscore.core.text_table import plain_text
from cxrscore.model.backbone import create_backbone
from cxrscore.model.checkpoint import save_checkpoint
from cxrscore.model.heads.registry import head_settings
from cxrscore.model.initial_weights import load_weights
from cxrscore.model.network import CXRModel, build_model, check_backbone

Weights = dict[str, Tensor]


@pytest.fixture
def weights() -> Weights:
    """Of the whole tiny model, random, in a model's own order."""
    return random_weights(timm.create_model(TINY, num_classes=10))


def random_weights(model: torch.nn.Module) -> Weights:
    generator = torch.Generator().manual_seed(0)
    return {
        key: torch.rand(value.shape, generator=generator) + 0.1 if value.is_floating_point() else value
        for key, value in model.state_dict().items()
    }


def saved(path: Path, value: object) -> Path:
    torch.save(value, path)
    return path


def convert(source: Path, backbone: str = TINY, **options: Any) -> dict[str, Any]:
    return convert_weights(source, source.with_name("out.safetensors"), backbone=backbone, **options)


def renamed(weights: Weights) -> Weights:
    return {
        key.replace("conv", "c").replace("bn", "norm").replace("layer", "l"): weights[key] for key in weights
    }


def refusal(source: Path, backbone: str = TINY, **options: Any) -> str:
    """What is said, and that nothing was written."""
    before = contents(source.parent)
    with pytest.raises(UserError, match=r"w\.pth|w\.safetensors|out|--backbone") as refused:
        convert(source, backbone, **options)
    assert contents(source.parent) == before
    return str(refused.value)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_of_the_backbones_names_becomes_a_start(
    tmp_path: Path, weights: Weights, legacy: bool
) -> None:
    torch.save(weights, tmp_path / "w.pth", _use_new_zipfile_serialization=not legacy)
    facts = convert(tmp_path / "w.pth")
    assert (facts["matched_by"], facts["tensors"], facts["left_out"]) == ("name", len(weights), [])
    written = load_file(tmp_path / "out.safetensors")
    assert written.keys() == weights.keys()
    assert all(torch.equal(written[key], weights[key]) for key in weights)
    check_backbone(TINY, size=32, init=str(tmp_path / "out.safetensors"))


@pytest.mark.parametrize(
    ("wrap", "entry", "beside"),
    [
        (lambda w: {"state_dict": w, "epoch": 3}, "state_dict", ["epoch"]),
        (lambda w: {"model": {"state_dict": w}}, "model/state_dict", []),
        (lambda w: {"step": torch.tensor(3), "model_state_dict": w}, "model_state_dict", ["step"]),
        (lambda w: {"optimizer": {"state": {0: {"exp_avg": torch.ones(1)}}}, "ema": w}, "ema", ["optimizer"]),
    ],
)
def test_weights_within_a_trainings_dictionary_are_found(
    tmp_path: Path, weights: Weights, wrap: Callable[[Weights], object], entry: str, beside: list[str]
) -> None:
    facts = convert(saved(tmp_path / "w.pth", wrap(weights)))
    assert (facts["entry"], facts["beside"], facts["tensors"]) == (entry, beside, len(weights))
    assert f"taken from {entry}; beside it: {', '.join(beside) or 'nothing'}" in plain_text(
        conversion_blocks(facts)
    )


def test_of_several_dictionaries_one_is_chosen_by_name(tmp_path: Path, weights: Weights) -> None:
    ema = {key: value + 1 for key, value in weights.items()}
    source = saved(tmp_path / "w.pth", {"state_dict": weights, "state_dict_ema": ema})
    assert "2 dictionaries of tensors; choose one with --entry: state_dict, state_dict_ema" in refusal(source)
    assert "--entry emma: no such dictionary" in refusal(source, entry="emma")
    assert convert(source, entry="state_dict_ema")["beside"] == ["state_dict"]
    assert torch.equal(load_file(tmp_path / "out.safetensors")["bn1.bias"], ema["bn1.bias"])


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("plain", [False, True])
def test_a_pickle_that_runs_code_is_refused_and_not_run(
    tmp_path: Path, weights: Weights, plain: bool
) -> None:
    source, trap = tmp_path / "w.pth", tmp_path / "sprung"
    value = {"state_dict": weights, "hook": Trap(trap)}
    if plain:
        source.write_bytes(pickle.dumps(value))
    else:
        torch.save(value, source)
    assert ("not written by torch.save" if plain else "asks to run") in refusal(source)
    assert not trap.exists()


def test_what_a_pickle_asks_for_is_named(tmp_path: Path, weights: Weights) -> None:
    source = saved(tmp_path / "w.pth", {"state_dict": weights, "args": argparse.Namespace(lr=1)})
    assert "asks to run argparse.Namespace" in refusal(source)
    saved(source, timm.create_model(TINY))
    assert "asks to run timm.models.resnet.ResNet" in refusal(source)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"bn1.bias": None}, r"['bn1.bias'] (1 in all): not plain tensors"),
        ({"bn1.bias": torch.eye(2).to_sparse()}, r"['bn1.bias'] (1 in all): not plain tensors"),
        ({"bn1.bias": torch.zeros(32, device="meta")}, r"['bn1.bias'] (1 in all): not plain tensors"),
        ({"bn1.bias": torch.zeros(32, dtype=torch.complex64)}, r"['bn1.bias'] (1 in all): not plain tensors"),
        ({"bn1.bias": torch.zeros(32, dtype=torch.int8)}, "other type"),
        ({"bn1.bias": torch.full((32,), float("inf"))}, "bn1.bias holds NaN or infinite values"),
        ({"bn1.bias": torch.zeros(3)}, "(3,)  (32,)     other shape"),
        ({"extra": torch.zeros(3)}, "unknown"),
    ],
)
def test_weights_that_cannot_be_right_are_refused_by_name(
    tmp_path: Path, weights: Weights, value: dict[str, Any], told: str
) -> None:
    assert told in refusal(saved(tmp_path / "w.pth", weights | value))


@pytest.mark.parametrize("value", [{}, [], torch.zeros(3), {"epoch": 3}, {0: torch.zeros(3)}])
def test_a_pickle_without_named_tensors_is_refused(tmp_path: Path, value: object) -> None:
    assert "no dictionary of named tensors" in refusal(saved(tmp_path / "w.pth", value))


@pytest.mark.parametrize("size", [0, 3, 3000, -1])
def test_a_file_cut_short_is_refused(tmp_path: Path, weights: Weights, size: int) -> None:
    data = saved(tmp_path / "w.pth", weights).read_bytes()
    (tmp_path / "w.pth").write_bytes(data[:size])
    refusal(tmp_path / "w.pth")


def test_a_flipped_bit_of_a_weight_is_noticed(tmp_path: Path) -> None:
    weights = random_weights(timm.create_model(TINY, num_classes=10))
    data = bytearray(saved(tmp_path / "w.pth", weights).read_bytes())
    data[data.index(weights["bn1.bias"].numpy().tobytes()) + 5] ^= 1
    (tmp_path / "w.pth").write_bytes(data)
    assert "does not match its checksum" in refusal(tmp_path / "w.pth")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module.model."])
def test_a_prefix_is_named_and_removed_on_request(tmp_path: Path, weights: Weights, prefix: str) -> None:
    wrapped = {f"{prefix}{key}": value for key, value in weights.items()} | {"n_averaged": torch.tensor(7)}
    source = saved(tmp_path / "w.pth", wrapped)
    told = refusal(source)
    assert f"{len(weights)} of {len(wrapped)} keys begin with '{prefix}'" in told
    assert f"--strip-prefix {prefix} " in told
    facts = convert(source, prefix=prefix)
    assert (facts["prefix"], facts["left_out"]) == (prefix, ["n_averaged"])
    assert load_file(tmp_path / "out.safetensors").keys() == weights.keys()


def test_of_a_prefix_within_another_the_whole_is_named(tmp_path: Path, weights: Weights) -> None:
    source = saved(tmp_path / "w.pth", {f"module.model.{key}": value for key, value in weights.items()})
    assert "use --strip-prefix module.model. to remove it" in refusal(source, prefix="module.")


def test_a_prefix_that_no_key_has_is_refused_with_those_there_are(tmp_path: Path, weights: Weights) -> None:
    told = refusal(saved(tmp_path / "w.pth", weights), prefix="modul.")
    assert "no key begins with 'modul.'; they begin with bn1, conv1" in told


def test_a_prefix_of_a_safetensors_file_is_removed_too(tmp_path: Path, weights: Weights) -> None:
    save_file({f"module.{key}": value for key, value in weights.items()}, tmp_path / "w.safetensors")
    convert(tmp_path / "w.safetensors", prefix="module")  # the dot goes without saying
    check_backbone(TINY, size=32, init=str(tmp_path / "out.safetensors"))


def test_keys_that_may_not_fit_are_declared_as_for_training(tmp_path: Path, weights: Weights) -> None:
    source = saved(tmp_path / "w.pth", {key: weights[key] for key in weights if not key.startswith("layer4")})
    assert "missing" in refusal(source)
    convert(source, init_except=["layer4.*"])
    check_backbone(TINY, size=32, init=str(tmp_path / "out.safetensors"), init_except=["layer4.*"])


def test_keys_of_another_implementation_are_matched_by_order_to_the_same_outputs(tmp_path: Path) -> None:
    theirs = torchvision.models.mobilenet_v2(weights=None).eval()
    theirs.load_state_dict(random_statistics(theirs.state_dict()))
    source = saved(tmp_path / "w.pth", theirs.state_dict())
    facts = convert(source, "mobilenetv2_100", by_order=True)
    counters = [key for key in theirs.state_dict() if key.endswith("num_batches_tracked")]
    assert facts["left_out"] == [
        key for key in theirs.state_dict() if key in counters or key.startswith("classifier")
    ]
    assert facts["tensors"] == len(theirs.state_dict()) - len(counters) - 2
    ours = create_backbone("mobilenetv2_100", size=64).eval()
    load_weights(ours, "mobilenetv2_100", tmp_path / "out.safetensors")
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, found = theirs.features(x), ours(x)
    assert expected.std() > 1e-3
    assert torch.equal(found, expected)


def random_statistics(weights: Weights) -> Weights:
    """Batch norms whose four parts all count, and mean something else."""
    generator = torch.Generator().manual_seed(0)
    return {
        key: value + 0.1 * torch.rand(value.shape, generator=generator) if value.ndim == 1 else value
        for key, value in weights.items()
    }


def test_matching_by_order_waits_for_its_flag_and_says_that_names_were_not_looked_at(
    tmp_path: Path, weights: Weights
) -> None:
    source = saved(tmp_path / "w.pth", renamed(weights))
    told = refusal(source)
    assert "--by-order takes them so" in told and "Names were not compared" in told
    assert [line.split()[:2] for line in told.splitlines()[1:4]] == [
        ["file", "backbone"],
        ["c1.0.weight", "conv1.0.weight"],
        ["c1.1.weight", "conv1.1.weight"],
    ]
    shown = plain_text(conversion_blocks(convert(source, by_order=True)))
    assert "Names were not compared" in shown
    assert shown.splitlines()[-1].split()[1].startswith("layer4.0.downsample")


CONV, NORM = torch.zeros(4, 3, 3, 3), torch.zeros(4)
EXPECTED = {"stem.weight": CONV, "bn1.weight": NORM, "bn1.bias": NORM, "bn2.weight": NORM, "bn2.bias": NORM}


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        (["s.weight", "n1.bias", "n1.weight", "n2.weight", "n2.bias"], r"n1\.bias would become bn1\.weight"),
        (
            ["s.weight", "bn2.weight", "bn2.bias", "x.weight", "x.bias"],
            r"bn2\.weight would become bn1\.weight",
        ),
        (["a.k", "b.k", "c.k", "d.k", "e.k"], "keys are sorted"),
    ],
)
def test_an_order_that_names_speak_against_is_refused_though_shapes_agree(keys: list[str], told: str) -> None:
    weights = dict(zip(keys, EXPECTED.values(), strict=True))
    pairs = match_by_order(weights, EXPECTED)
    assert [new for _, new in pairs] == list(EXPECTED)
    with pytest.raises(UserError, match=told):
        refuse_lost_order(weights, pairs, EXPECTED)


def test_numbers_and_indices_are_not_matched_by_order() -> None:
    index = torch.zeros(4, dtype=torch.int64)
    weights = dict(zip("abcde", [CONV, index, NORM, NORM, NORM], strict=True))
    with pytest.raises(UserError, match="the first 1 agree"):
        match_by_order(weights, EXPECTED)


def test_every_tensor_reaches_its_key_by_order(tmp_path: Path, weights: Weights) -> None:
    convert(saved(tmp_path / "w.pth", renamed(weights)), by_order=True)
    backbone = create_backbone(TINY, size=32)
    load_weights(backbone, TINY, tmp_path / "out.safetensors")
    assert all(torch.equal(value, weights[key]) for key, value in backbone.state_dict().items())


def backbone_tensors(weights: Weights) -> list[Tensor]:
    return [
        value for key, value in weights.items() if not key.startswith("fc") and not key.endswith("_tracked")
    ]


def test_a_safetensors_file_has_lost_its_order(tmp_path: Path, weights: Weights) -> None:
    save_file(renamed(weights), tmp_path / "w.safetensors")
    assert "names differ" in refusal(tmp_path / "w.safetensors", by_order=True)
    convs = {f"x{i:03}.k": value for i, value in enumerate(backbone_tensors(weights))}  # in the right order
    save_file(convs, tmp_path / "w.safetensors")
    assert ".safetensors files do not keep order" in refusal(tmp_path / "w.safetensors", by_order=True)


@pytest.mark.parametrize(
    "more", [{"head.0.weight": (4, 512), "head.1.weight": (2, 4)}, {"x.weight": (64,), "x.bias": (64,)}]
)
def test_what_is_left_over_is_a_classifier_or_another_model(
    tmp_path: Path, weights: Weights, more: dict[str, tuple[int, ...]]
) -> None:
    body = {key: value for key, value in renamed(weights).items() if not key.startswith("fc")}
    rest = {key: torch.zeros(shape) for key, shape in more.items()}
    told = refusal(saved(tmp_path / "w.pth", body | rest), by_order=True)
    assert all(key in told for key in more)


def test_shapes_that_differ_in_order_are_shown_side_by_side(tmp_path: Path, weights: Weights) -> None:
    other = renamed(weights)
    other["c1.1.bias"] = torch.zeros(7)
    told = refusal(saved(tmp_path / "w.pth", other), by_order=True)
    assert "the first 2 agree" in told
    assert told.splitlines()[2].split() == ["c1.1.bias", "(7,)", "conv1.1.bias", "(16,)"]


def test_an_existing_file_is_never_replaced(tmp_path: Path, weights: Weights) -> None:
    (tmp_path / "out.safetensors").write_text("mine")
    assert "exists" in refusal(saved(tmp_path / "w.pth", weights))


def test_a_backbone_that_timm_does_not_have_is_refused(tmp_path: Path, weights: Weights) -> None:
    source = saved(tmp_path / "w.pth", weights)
    assert "--backbone: timm has no model 'test_resnett'; try test_resnet" in refusal(source, "test_resnett")


def test_a_checkpoint_of_ours_is_used_as_it_is(tmp_path: Path, tiny_model: CXRModel) -> None:
    save_checkpoint(tmp_path / "w.safetensors", tiny_model.state_dict(), CARD)
    assert "set train.init to it as it is" in refusal(tmp_path / "w.safetensors")


def test_the_command_converts_what_training_then_loads(door: Door, tmp_path: Path, weights: Weights) -> None:
    saved(tmp_path / "w.pth", {"state_dict": renamed(weights)})
    words = ["weights", "convert", "w.pth", "out.safetensors", "--backbone", TINY]
    call = door(*words)
    assert (call.code, call.out) == (2, "") and "--by-order" in call.err
    call = door(*words, "--by-order", "--json")
    assert (call.code, call.err) == (0, "")
    assert json.loads(call.out)["matched_by"] == "order"
    model = build_model(TINY, init="out.safetensors", findings=3, head=head_settings(COUPLING), size=32)
    assert torch.equal(model.backbone.state_dict()["bn1.bias"], weights["bn1.bias"])
