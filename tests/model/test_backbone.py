"""Any timm model gives maps in their right places, or says at once which size or setting would be right."""

from collections.abc import Iterator

import pytest
import timm
import torch
from torch import Tensor, nn

from cxrscore.core.errors import UserError
from cxrscore.model.backbone import create_backbone, map_shape

FAMILIES = {
    "test_resnet": (96, (96, 3, 3)),
    "test_convnext": (96, (64, 3, 3)),
    "test_vit": (96, (64, 6, 6)),
    "test_vit4": (96, (96, 6, 6)),  # fc_norm
    "test_vit_relpos": (96, (96, 6, 6)),  # no class token
    "test_mambaout": (96, (256, 3, 3)),  # channels last
    "test_maxvit": (96, (128, 3, 3)),
    "swin_tiny_patch4_window7_224": (96, (768, 3, 3)),  # channels last, windows of a stated image size
    "eva02_tiny_patch14_224": (98, (192, 7, 7)),
    "vit_tiny_patch16_dinov3_qkvb": (96, (192, 6, 6)),  # five tokens before the grid
    "hiera_tiny_224": (96, (768, 3, 3)),  # tokens in an order of its own inside
}


@pytest.mark.parametrize("name", FAMILIES)
def test_maps_are_what_the_meta_device_foretold(name: str) -> None:
    size, shape = FAMILIES[name]
    assert map_shape(name, size=size) == shape
    with torch.no_grad():
        maps = create_backbone(name, size=size).eval()(torch.zeros(2, 3, size, size))
    assert maps.shape == (2, *shape)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_place_of_the_map_answers_to_its_place_in_the_image(name: str) -> None:
    size, (_, h, w) = FAMILIES[name]
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        backbone = create_backbone(name, size=size).eval()
        image = torch.randn(1, 3, size, size, generator=generator)
        for i, j in ((0, w - 1), (h - 1, 0)):  # a grid that is turned or shifted fails one of the two
            other, s = image.clone(), size // h
            other[..., i * s : (i + 1) * s, j * s : (j + 1) * s] += 3 * torch.randn(
                3, s, s, generator=generator
            )
            change = (backbone(other) - backbone(image)).square().sum(1)[0]  # (h, w)
            assert abs(int(change.argmax()) // w - i) + abs(int(change.argmax()) % w - j) <= 1


def test_tokens_keep_their_numbers_on_the_way_to_the_map() -> None:
    backbone = create_backbone("test_vit", size=96).eval()
    image = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        maps, tokens = backbone(image), backbone.forward(image)  # forward: timm's own, without our hook
    assert torch.equal(maps[0, :, 2, 5], tokens[0, 1 + 2 * 6 + 5])


def test_finding_out_draws_nothing_from_the_generator() -> None:
    before = torch.get_rng_state()
    for name, (size, _) in FAMILIES.items():
        map_shape(name, size=size, drop_path=0.1 if name != "test_mambaout" else 0.0)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_name_that_nobody_knows_names_near_ones() -> None:
    with pytest.raises(UserError, match=r"train\.backbone: timm has no model 'resnet10tt'; try .*resnet"):
        map_shape("resnet10tt", size=32)


def test_weights_that_nobody_knows_name_those_there_are() -> None:
    with pytest.raises(UserError, match=r"no weights 'foo' of resnet50; name one of a1_in1k"):
        map_shape("resnet50.foo", size=32)


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("test_vit", 100, r"prepare\.size: 100 .*patches of 16 px .* leave out 4 px .*: 96, 112\."),
        ("vit_tiny_patch16_224", 380, r"prepare\.size: 380 does not fit .* choose one that fits: 368, 384\."),
        (
            "test_convnext",
            98,
            r"patches of 4 px would leave out 2 px of each side; choose one that fits: 96, 100\.",
        ),
        ("inception_v3", 32, r"prepare\.size: 32 does not fit .*Kernel size.*; choose one that fits: 96\."),
        ("efficientformer_l1", 380, r"prepare\.size: 380 does not fit .*; choose one that fits: 224\."),
    ],
)
def test_a_size_that_does_not_fit_names_the_nearest_that_do(name: str, size: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        map_shape(name, size=size)


@pytest.mark.parametrize("name", ["crossvit_9_240", "efficientvim_m1"])
def test_a_backbone_without_map_or_tokens_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"train\.backbone: .* a map \(B, C, h, w\) or a square of tokens"):
        map_shape(name, size=256)


def test_stochastic_depth_is_refused_by_name_where_there_is_none() -> None:
    with pytest.raises(
        UserError, match=r"train\.drop_path: vgg11 has no stochastic depth; set it to 0\.0, not 0\.1"
    ):
        map_shape("vgg11", size=224, drop_path=0.1)


def test_stochastic_depth_reaches_the_blocks() -> None:
    rates = [
        getattr(module, "drop_prob", 0)
        for module in create_backbone("test_vit", size=96, drop_path=0.2).modules()
    ]
    assert max(rate or 0 for rate in rates) == pytest.approx(0.2)


class _Counting(nn.Module):
    """A map that asks for a number, which layers without numbers cannot give."""

    num_features, num_classes = 8, 0

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=4, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        maps: Tensor = self.conv(image)
        return maps * (1 + 0 * maps.sum().item())


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    from timm.models import _registry

    def cxrscore_counting(pretrained: bool = False, **settings: object) -> nn.Module:
        return _Counting()

    cxrscore_counting.__module__ = __name__
    monkeypatch.setitem(_registry._model_entrypoints, "cxrscore_counting", cxrscore_counting)
    monkeypatch.setitem(
        _registry._model_pretrained_cfgs,
        "cxrscore_counting",
        timm.models.PretrainedCfg(input_size=(3, 64, 64)),
    )
    monkeypatch.setitem(_registry._model_default_cfgs, "cxrscore_counting", timm.models.DefaultCfg())
    yield "cxrscore_counting"


def test_a_model_that_needs_numbers_is_measured_with_numbers(counting: str) -> None:
    before = torch.get_rng_state()
    assert map_shape(counting, size=64) == (8, 16, 16)
    assert torch.equal(torch.get_rng_state(), before)
