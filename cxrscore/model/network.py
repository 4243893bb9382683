"""Pixels -> logits: a timm backbone by name and a label head, one module.

In    gray (B, 1, S, S), uint8 or float, 0..255. A radiograph has R = G = B: three channels are made here, on
      the device.
Out   HeadOutput with logits (B, L).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cxrscore.core.errors import UserError
from cxrscore.model.backbone import create_backbone, map_shape
from cxrscore.model.heads.base import Head, HeadOutput
from cxrscore.model.heads.registry import HeadSettings, build_head
from cxrscore.model.initial_weights import fitting_weights, load_weights, weights_path


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

    def forward(
        self,
        gray: Tensor,
        y: Tensor | None = None,
        mask: Tensor | None = None,
        inputs: Tensor | None = None,
    ) -> HeadOutput:
        """In training with y and mask (B, L) of the same images; `inputs` (B, m) if the head takes any."""
        further = () if inputs is None else (inputs,)
        output: HeadOutput = self.head(self.features(gray), y, mask, *further)
        return output


def check_backbone(
    name: str, *, size: int, init: str, init_except: Sequence[str] = (), drop_path: float = 0.0
) -> None:
    """Raises UserError for all that build_model would refuse, before any work and without weights in memory
    but those of a local file; published weights that are not here need an answer of their server.
    """
    map_shape(name, size=size, drop_path=drop_path)
    _refuse_patterns_without_file(init, init_except)
    path = weights_path(name, init, fetch=False)
    if path is not None:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            backbone = create_backbone(name, size=size)
        fitting_weights(backbone, name, path, init_except)


def build_model(
    name: str,
    *,
    init: str,
    findings: int,
    head: HeadSettings,
    size: int,
    init_except: Sequence[str] = (),
    drop_path: float = 0.0,
) -> CXRModel:
    """`init`: none, imagenet (timm's weights for that name) or a .safetensors file of backbone weights, of
    which `init_except` names keys that may not fit; `size`: the prepared side S.

    Weights are random from torch's current generator.
    """
    channels, _, _ = map_shape(name, size=size, drop_path=drop_path)
    _refuse_patterns_without_file(init, init_except)
    backbone = create_backbone(name, size=size, drop_path=drop_path)
    path = weights_path(name, init, fetch=True)
    if path is not None:
        load_weights(backbone, name, path, init_except)
    mean, std = backbone.pretrained_cfg["mean"], backbone.pretrained_cfg["std"]
    model = CXRModel(backbone, build_head(head, findings=findings, channels=channels), mean=mean, std=std)
    return model.to(memory_format=torch.channels_last)


def _refuse_patterns_without_file(init: str, init_except: Sequence[str]) -> None:
    if init == "none" and init_except:
        raise UserError(
            f"train.init_except: {list(init_except)} with train.init none; remove the patterns, or set "
            "train.init to the file whose keys they name."
        )


def parameter_count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
