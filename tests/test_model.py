"""Backbones by name, their start, and the one place where gray becomes three channels."""

from pathlib import Path

import pytest
import timm
import torch
from conftest import COUPLING, TINY
from safetensors.torch import save_file

from cxrscore.errors import UserError
from cxrscore.machine import Machine, seeded
from cxrscore.model import CXRModel, build_model, parameter_count


def backbone_file(path: Path, **changes: torch.Tensor) -> Path:
    weights = timm.create_model(TINY, pretrained=False, num_classes=10).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in (weights | changes).items()}, path)
    return path


def test_gray_is_repeated_and_normalised_as_imagenet_expects(tiny_model: CXRModel) -> None:
    gray = torch.full((1, 1, 8, 8), 128, dtype=torch.uint8)
    seen = []
    tiny_model.backbone.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    tiny_model.eval()(gray)
    mean, std = (
        torch.tensor(tiny_model.backbone.pretrained_cfg[name]).view(1, 3, 1, 1) for name in ("mean", "std")
    )
    assert torch.allclose(seen[0], ((gray / 255) - mean) / std, atol=1e-6)


def test_a_seed_gives_one_model(cpu: Machine, tiny_model: CXRModel) -> None:
    with seeded(cpu, 0):
        again = build_model(TINY, init="none", findings=3, head=COUPLING)
    assert all(
        torch.equal(a, b)
        for a, b in zip(tiny_model.state_dict().values(), again.state_dict().values(), strict=True)
    )


def test_the_default_backbone_has_the_papers_parameters() -> None:
    model = build_model("seresnext101_32x4d", init="none", findings=14, head=COUPLING)
    imagenet, classifier = 48_955_416, 2048 * 1000 + 1000  # timm's published count, and its head's
    assert parameter_count(model) == imagenet - classifier + 2048 * 14 + 14 + 14 * 14


def test_local_weights_are_loaded_but_for_the_classifier(tmp_path: Path) -> None:
    path = backbone_file(tmp_path / "w.safetensors")
    model = build_model(TINY, init=str(path), findings=3, head=COUPLING)
    expected = timm.create_model(TINY, pretrained=False, num_classes=0).state_dict().keys()
    from safetensors.torch import load_file

    loaded = load_file(path)
    assert all(torch.equal(model.backbone.state_dict()[name], loaded[name]) for name in expected)


def test_weights_that_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    path = backbone_file(tmp_path / "w.safetensors", extra=torch.zeros(1))
    with pytest.raises(UserError, match=r"unknown \['extra'\]"):
        build_model(TINY, init=str(path), findings=3, head=COUPLING)


def test_a_missing_or_broken_weights_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"not weights")
    for name in ("missing.safetensors", "broken.safetensors"):
        with pytest.raises(UserError, match=name):
            build_model(TINY, init=str(tmp_path / name), findings=3, head=COUPLING)


def test_an_unknown_backbone_names_near_ones() -> None:
    with pytest.raises(UserError, match="resnet"):
        build_model("resnet10tt", init="none", findings=3, head=COUPLING)


def test_a_backbone_without_a_feature_map_is_refused() -> None:
    with pytest.raises(UserError, match=r"a map \(B, C, h, w\) is needed"):
        build_model("test_vit", init="none", findings=3, head=COUPLING)


def test_weights_that_cannot_be_fetched_say_how_to_go_on_without_internet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=r"set train\.init to that file"):
        build_model("resnet10t", init="imagenet", findings=3, head=COUPLING)
