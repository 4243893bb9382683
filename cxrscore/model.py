"""Pixels -> logits: a timm backbone by name and a label head, one module.

In    gray (B, 1, S, S), uint8 or float, 0..255. A radiograph has R = G = B: three channels are made here, on
      the device.
Out   HeadOutput with logits (B, L).
"""

from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from cxrscore.errors import UserError
from cxrscore.heads import Head, HeadOutput, build_head


class CXRModel(nn.Module):
    def __init__(
        self, backbone: nn.Module, head: Head, *, mean: tuple[float, ...], std: tuple[float, ...]
    ) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", 255 * torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(std).view(1, -1, 1, 1))

    def features(self, gray: Tensor) -> Tensor:
        """(B, 1, S, S) -> (B, C, h, w)."""
        pixels = (gray.float() - self.mean) / self.std  # (B, 3, S, S)
        maps: Tensor = self.backbone(pixels.contiguous(memory_format=torch.channels_last))
        return maps

    def forward(self, gray: Tensor) -> HeadOutput:
        output: HeadOutput = self.head(self.features(gray))
        return output


def build_model(name: str, *, init: str, findings: int, head: dict[str, Any]) -> CXRModel:
    """`init`: none, imagenet (timm's weights for that name) or a .safetensors file of backbone weights.

    `head`: its kind and settings, as in params.yaml. Weights are random from torch's current generator.
    """
    backbone = _create(name, pretrained=init == "imagenet")
    if init not in ("none", "imagenet"):
        load_backbone(backbone, Path(init))
    channels = _channels(name, backbone)
    mean, std = backbone.pretrained_cfg["mean"], backbone.pretrained_cfg["std"]
    model = CXRModel(backbone, build_head(findings=findings, channels=channels, **head), mean=mean, std=std)
    return model.to(memory_format=torch.channels_last)


def _create(name: str, *, pretrained: bool) -> Any:
    if not timm.is_model(name):
        close = timm.list_models(f"*{name.split('.')[0][:6]}*")[:5]
        raise UserError(
            f"train.backbone: timm has no model {name!r}; near: {', '.join(close) or 'timm.list_models()'}."
        )
    try:
        return timm.create_model(name, pretrained=pretrained, num_classes=0, global_pool="")
    except (OSError, RuntimeError, ValueError) as error:
        if not pretrained:
            raise
        raise UserError(
            f"train.init: imagenet: the weights of {name} could not be fetched ({type(error).__name__}). "
            "Without internet, save them elsewhere as .safetensors and set train.init to that file or none."
        ) from error


def _channels(name: str, backbone: Any) -> int:
    """C of the last feature map; a backbone that ends in tokens has none and is refused."""
    with torch.no_grad():
        was_training = backbone.training
        features = backbone.eval()(torch.zeros(1, 3, *backbone.pretrained_cfg["input_size"][1:]))
        backbone.train(was_training)
    if features.ndim != 4 or features.shape[1] not in (backbone.num_features, backbone.head_hidden_size):
        raise UserError(
            f"train.backbone: {name} gives {tuple(features.shape)}; a map (B, C, h, w) is needed: a CNN."
        )
    return int(features.shape[1])


def load_backbone(backbone: Any, path: Path) -> None:
    """timm weights from a local .safetensors file; the classifier's own keys are left out, all others must
    fit.
    """
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"train.init: {path}: not a readable .safetensors file ({error}).") from error
    classifier = backbone.pretrained_cfg.get("classifier") or ()
    names = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    weights = {
        key: value
        for key, value in weights.items()
        if not key.startswith(tuple(f"{name}." for name in names))
    }
    expected = backbone.state_dict()
    missing, unknown = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    unlike = [key for key in expected.keys() & weights.keys() if expected[key].shape != weights[key].shape]
    if missing or unknown or unlike:
        raise UserError(
            f"train.init: {path} does not fit the backbone: missing {missing[:5]}, unknown {unknown[:5]}, "
            f"other shape {sorted(unlike)[:5]} ({len(missing)}, {len(unknown)} and {len(unlike)} in all)."
        )
    backbone.load_state_dict(weights)


def parameter_count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
