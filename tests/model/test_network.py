"""Backbones by name, their start, and the one place where gray becomes three channels."""

import dataclasses
import time
from pathlib import Path

import pytest
import timm
import torch
from conftest import COUPLING, PRESETS, TINY
from test_checkpoint import CARD
from torchvision.transforms import v2

from cxrscore.core.device import Machine, seeded
from cxrscore.core.errors import UserError
from cxrscore.model.backbone import map_shape
from cxrscore.model.checkpoint import load_fold, save_checkpoint
from cxrscore.model.heads.registry import head_settings
from cxrscore.model.loss import build_loss
from cxrscore.model.network import CXRModel, build_model, check_backbone, parameter_count
from cxrscore.project.params_file import read_params
from cxrscore.training.learner import Learner


def test_gray_is_repeated_and_normalised_as_imagenet_expects(tiny_model: CXRModel) -> None:
    gray = torch.full((1, 1, 8, 8), 128, dtype=torch.uint8)
    seen = []
    tiny_model.backbone.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    tiny_model.eval()(gray)
    mean, std = (
        torch.tensor(tiny_model.backbone.pretrained_cfg[name]).view(1, 3, 1, 1) for name in ("mean", "std")
    )
    assert torch.allclose(seen[0], ((gray / 255) - mean) / std, atol=1e-6)


def test_three_equal_channels_give_the_features_and_logits_of_our_one(tiny_model: CXRModel) -> None:
    """What the paper feeds, RGB normalised as torchvision does, against gray that is repeated here."""
    model = tiny_model.eval()
    gray = torch.randint(
        0, 256, (2, 1, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    trained = model.backbone.pretrained_cfg
    rgb = v2.functional.normalize(gray.expand(-1, 3, -1, -1) / 255, trained["mean"], trained["std"])
    with torch.inference_mode():
        theirs = model.backbone(rgb.contiguous(memory_format=torch.channels_last))
        ours = model.features(gray)
        assert torch.allclose(ours, theirs, atol=1e-5, rtol=1e-5)
        assert torch.allclose(model(gray).logits, model.head(theirs).logits, atol=1e-5, rtol=1e-5)


def test_a_seed_gives_one_model(cpu: Machine, tiny_model: CXRModel) -> None:
    with seeded(cpu, 0):
        again = build_model(TINY, init="none", findings=3, head=head_settings(COUPLING), size=32)
    assert all(
        torch.equal(a, b)
        for a, b in zip(tiny_model.state_dict().values(), again.state_dict().values(), strict=True)
    )


def test_the_default_backbone_has_the_papers_parameters() -> None:
    model = build_model("seresnext101_32x4d", init="none", findings=14, head=head_settings(COUPLING), size=32)
    imagenet, classifier = 48_955_416, 2048 * 1000 + 1000  # timm's published count, and its head's
    assert parameter_count(model) == imagenet - classifier + 2048 * 14 + 14 + 14 * 14


def test_a_seed_gives_the_weights_that_timm_gives_it(cpu: Machine) -> None:
    with seeded(cpu, 0):
        ours = build_model(
            TINY, init="none", findings=3, head=head_settings(COUPLING), size=32
        ).backbone.state_dict()
    with seeded(cpu, 0):
        theirs = timm.create_model(TINY, pretrained=False, num_classes=0, global_pool="").state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_the_maps_of_a_cnn_are_timms_bit_by_bit(tiny_model: CXRModel) -> None:
    pixels = torch.rand(2, 3, 32, 32)
    tiny_model.eval()
    assert torch.equal(tiny_model.backbone(pixels), tiny_model.backbone.forward(pixels))


def test_the_default_backbone_is_checked_in_a_moment() -> None:
    map_shape(TINY, size=32)  # timm's own first use
    start = time.perf_counter()
    check_backbone("seresnext101_32x4d", size=380, init="none")
    assert time.perf_counter() - start < 2  # 0.16 s on an idle core


def test_patterns_without_a_file_are_refused() -> None:
    with pytest.raises(UserError, match=r"train\.init_except: \['a\*'\] with train\.init none"):
        check_backbone(TINY, size=32, init="none", init_except=["a*"])


@pytest.mark.parametrize("preset", ["demo", "paper", "strong", "lamp", "a-gcn", "salgl"])
def test_the_backbone_of_a_preset_takes_its_size(preset: str) -> None:
    params = read_params(PRESETS / f"{preset}.yaml")
    train, size = params.train, params.prepare.size
    check_backbone(train.backbone, size=size, init="none", drop_path=train.drop_path)
    assert timm.get_pretrained_cfg(train.backbone).hf_hub_id or train.init == "none"


BACKBONES = ["test_convnext", "test_vit", "test_mambaout", "test_maxvit", "vit_tiny_patch16_dinov3_qkvb"]


@pytest.mark.parametrize("name", BACKBONES)
def test_a_step_of_any_backbone_reaches_its_first_layer(name: str, cpu: Machine) -> None:
    with seeded(cpu, 0):
        model = build_model(
            name, init="none", findings=3, head=head_settings(COUPLING), size=64, drop_path=0.1
        )
    y, mask = (torch.arange(12) % 3 == 0).float().view(4, 3), torch.ones(4, 3, dtype=torch.bool)
    loss = build_loss(y.numpy(), mask.numpy(), kind="zlpr", label_smoothing=0.1, device=cpu.device)
    first = next(parameter for parameter in model.backbone.parameters() if parameter.ndim == 4)
    before = first.detach().clone()
    learner = Learner(model, loss, cpu, weight_decay=0.0, clip_norm=1.0, ema_decay=0.9)
    gray = torch.randint(0, 256, (4, 1, 64, 64), generator=torch.Generator().manual_seed(0))
    assert 0 < learner.step(gray.float(), y, mask, lr=1e-2, keys=(0,)) < 100
    assert learner.skipped == 0
    assert not torch.equal(first, before)


@pytest.mark.parametrize("name", BACKBONES)
def test_a_checkpoint_of_any_backbone_predicts_as_before(name: str, tmp_path: Path, cpu: Machine) -> None:
    model = build_model(
        name, init="none", findings=3, head=head_settings(COUPLING), size=96, drop_path=0.1
    ).eval()
    path = tmp_path / "fold0.safetensors"
    save_checkpoint(path, model.state_dict(), dataclasses.replace(CARD, backbone=name, size=96))
    gray = torch.randint(0, 256, (2, 1, 96, 96), dtype=torch.uint8)
    with torch.no_grad():  # with gradients, attention takes another kernel
        assert torch.equal(load_fold(path, cpu).model(gray).logits, model(gray).logits)
