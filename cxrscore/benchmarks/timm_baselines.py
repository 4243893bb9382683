"""The network as people run it: timm's, in the number formats and layouts that are a line of code away.

In    a CXRModel and images.
Out   name -> a call that gives probabilities (B, L). Pixels are normalised and in place before the clock
      starts.
"""

import copy
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from cxrscore.core.device import Machine
from cxrscore.model.network import CXRModel

PLAIN, COMPILED_TIMM, OPENVINO = "eager fp32", "compiled channels-last, autocast", "OpenVINO"
PRECISION = {torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16"}

Forward = Callable[[], Tensor]


class Plain(nn.Module):
    """(B, 3, S, S) normalised -> logits (B, L): what timm gives who asks for L classes."""

    def __init__(self, model: CXRModel) -> None:
        super().__init__()
        self.backbone, self.head = copy.deepcopy(model.backbone), copy.deepcopy(model.head)

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.head(self.backbone(pixels)).logits
        return logits


def forwards_by_hand(model: CXRModel, gray: Tensor, machine: Machine, *, compile: bool) -> dict[str, Forward]:
    """`gray` on the model's device. Half precision is the machine's, bf16 where that is fp32."""
    half = machine.dtype if machine.dtype is not torch.float32 else torch.bfloat16
    word = str(half).removeprefix("torch.").replace("float", "fp").replace("bfp", "bf")
    autocast = Machine(machine.device, half).autocast
    pixels = ((gray.float() - model.mean) / model.std).contiguous()
    last = pixels.to(memory_format=torch.channels_last)
    halves = last.to(half)
    plain = Plain(model).to(memory_format=torch.contiguous_format).eval()
    channels_last = Plain(model).to(memory_format=torch.channels_last).eval()
    pure = Plain(model).to(half).to(memory_format=torch.channels_last).eval()

    def inferred(network: Callable[[Tensor], Tensor], pixels: Tensor, *, under: bool = False) -> Tensor:
        with torch.inference_mode(), autocast() if under else nullcontext():
            return network(pixels).float().sigmoid()

    lines: dict[str, Forward] = {
        PLAIN: partial(inferred, plain, pixels),
        "eager fp32 channels-last": partial(inferred, channels_last, last),
        f"eager {word} channels-last, autocast": partial(inferred, channels_last, last, under=True),
        f"eager {word} channels-last, pure": partial(inferred, pure, halves),
    }
    if machine.device.type == "cuda" and compile:
        lines[COMPILED_TIMM] = partial(inferred, torch.compile(channels_last), last, under=True)
    if machine.device.type == "cpu" and find_spec("openvino"):
        lines[f"{OPENVINO} {PRECISION[machine.dtype]}"] = _openvino(plain, pixels, machine)
    return lines


def _openvino(plain: nn.Module, pixels: Tensor, machine: Machine) -> Forward:
    import openvino  # type: ignore[import-not-found, unused-ignore]

    converted = openvino.convert_model(plain, example_input=pixels, input=[tuple(pixels.shape)])
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": PRECISION[machine.dtype]}
    compiled = openvino.Core().compile_model(converted, "CPU", options)  # LATENCY: all cores, one call
    host = pixels.numpy()
    return lambda: torch.from_numpy(compiled(host)[0]).sigmoid()
