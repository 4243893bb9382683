"""Layer-wise rates: every parameter once, each layer a factor slower than the one above, the head at 1."""

import pytest
import timm
import torch
from conftest import COUPLING, TINY
from timm.optim import param_groups_layer_decay
from torch import nn

from cxrscore.core.errors import UserError
from cxrscore.model.heads.registry import head_settings
from cxrscore.model.network import CXRModel, build_model
from cxrscore.model.param_groups import Group, parameter_groups

LR = 0.01


def model_of(name: str) -> CXRModel:
    return build_model(name, init="none", findings=3, head=head_settings(COUPLING), size=32)


def scales(model: CXRModel, groups: list[Group]) -> dict[str, float]:
    scale = {id(parameter): group["lr_scale"] for group in groups for parameter in group["params"]}
    return {name: scale[id(parameter)] for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("name", [TINY, "test_convnext", "test_vit", "test_efficientnet", "test_mambaout"])
@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
def test_every_parameter_is_in_exactly_one_group(name: str, layer_decay: float) -> None:
    model = model_of(name)
    grouped = [id(p) for group in parameter_groups(model, LR, layer_decay) for p in group["params"]]
    assert sorted(grouped) == sorted(id(parameter) for parameter in model.parameters())


def test_without_decay_there_is_one_group_and_the_heads_own() -> None:
    model = model_of(TINY)
    common, own = parameter_groups(model, LR, 1.0)
    assert common.keys() == {"params"}
    assert own["params"] == [model.head.A]
    assert own["weight_decay"] == 0.0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            TINY,  # a stem and four stages of one block
            {
                "backbone.conv1.0.weight": 5,
                "backbone.layer1.0.conv1.weight": 4,
                "backbone.layer4.0.conv1.weight": 1,
            },
        ),
        (
            "test_vit",  # an embedding and six blocks; timm counts the last norm to the last block
            {"backbone.pos_embed": 7, "backbone.blocks.0.norm1.weight": 6, "backbone.norm.weight": 1},
        ),
        (
            "test_convnext",  # a stem and (1, 2, 4, 2) blocks; the last norm stands by the head
            {
                "backbone.stem.0.weight": 10,
                "backbone.stages.0.blocks.0.conv_dw.weight": 9,
                "backbone.head.norm.weight": 0,
            },
        ),
    ],
)
def test_a_layers_rate_falls_by_its_distance_from_the_head(name: str, expected: dict[str, int]) -> None:
    model = model_of(name)
    found = scales(model, parameter_groups(model, LR, 0.5))
    assert {key: found[key] for key in expected} == {key: 0.5**n for key, n in expected.items()}
    assert {found[key] for key in found if key.startswith("head.")} == {1.0}


@pytest.mark.parametrize(
    "name", [TINY, "test_convnext", "test_vit", "test_efficientnet", "swin_tiny_patch4_window7_224"]
)
def test_the_rates_are_timms_own(name: str) -> None:
    whole = timm.create_model(name, pretrained=False)
    named = {id(parameter): f"backbone.{key}" for key, parameter in whole.named_parameters()}
    theirs = {
        named[id(parameter)]: group["lr_scale"]
        for group in param_groups_layer_decay(whole, layer_decay=0.7)
        for parameter in group["params"]
    }
    model = model_of(name)
    ours = scales(model, parameter_groups(model, LR, 0.7))
    shared = theirs.keys() & ours.keys()
    assert len(shared) > 5
    assert {key: ours[key] for key in shared} == pytest.approx({key: theirs[key] for key in shared})


def test_only_the_heads_own_groups_have_a_weight_decay_of_their_own() -> None:
    model = model_of("test_vit")
    groups = parameter_groups(model, LR, 0.5)
    torch.optim.AdamW(groups, lr=LR, weight_decay=0.05)
    assert [group["weight_decay"] for group in groups] == [0.05] * (len(groups) - 1) + [0.0]


def test_a_backbone_that_does_not_tell_its_layers_is_refused() -> None:
    model = model_of(TINY)
    silent = nn.Conv2d(3, 3, 1)
    silent.pretrained_cfg = {"architecture": "silent"}  # type: ignore[assignment]
    model.backbone = silent
    with pytest.raises(UserError, match=r"train\.layer_decay: timm does not list the layers of silent"):
        parameter_groups(model, LR, 0.5)
