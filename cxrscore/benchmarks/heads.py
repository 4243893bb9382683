"""What label heads cost beside the backbone: parameters, time per image in scoring and training, memory.

In    heads by name (head_variants.py), maps of a backbone, the device and its number format.
Out   Cost of each head: more than the independent one takes. Timings of the backbone and of the heads.

Heads are called as scoring calls them: in evaluation mode and in fp32 whatever the backbone's format; on a
CPU row by row (predict.py says why), on a GPU all rows at once.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cxrscore.benchmarks.head_training import step_bytes, step_seconds
from cxrscore.benchmarks.paired_timing import Timing, in_turn
from cxrscore.benchmarks.random_models import CALIBRATION, HEAD, random_model
from cxrscore.core.device import Machine, seeded
from cxrscore.core.malloc import reused_memory
from cxrscore.core.progress import Progress
from cxrscore.model.head_variants import DEFAULT, REFERENCE, settings_of
from cxrscore.model.heads.base import Head
from cxrscore.model.heads.registry import build_head, head_settings
from cxrscore.model.network import parameter_count
from cxrscore.scoring.compute import FastModel, folded_backbone
from cxrscore.scoring.compute_settings import choose_recipe, dtype_word
from cxrscore.tables.datasets.chexpert import FINDINGS

BACKBONE = "backbone"
TURNS = 10  # of the heads a round: they take milliseconds, and a median of few is noise
LABELLED = 64  # images whose labels a head begins with; their values change no time


@dataclass(frozen=True)
class Cost:
    """More than the independent head has, and takes for an image."""

    parameters: int
    ms: float


def bench_heads(
    gray: Tensor, *, backbone: str, machine: Machine, rounds: int, progress: Progress
) -> dict[str, Any]:
    """`gray` (B, 1, S, S) uint8 on the CPU: the images of one forward."""
    progress.say(f"bench heads: making {backbone}, measuring its convolutions")
    images, size = len(gray), gray.shape[-1]
    model = random_model(backbone, gray[:CALIBRATION], seed=0).to(machine.device)
    gray = gray.to(machine.device)
    shape: dict[str, Any] = {"size": size, "batch_size": images}
    folded = partial(folded_backbone, model, machine)
    recipe = choose_recipe(backbone, folded, machine, **shape, compile="off", forwards=0)
    forward = partial(_forward, FastModel(model, folded(), recipe), gray)
    features = forward()
    turns: dict[str, Any] = {"device": machine.device, "progress": progress}
    progress.start("bench heads, backbone", rounds + 1)
    own = in_turn({BACKBONE: forward}, rounds=rounds, **turns)
    variants = settings_of(DEFAULT, asdict(HEAD))
    heads = build_heads(variants, FINDINGS, channels=features.shape[1], device=machine.device)
    seconds = _head_seconds(heads, features, rounds=rounds, progress=progress)
    format, maps = dtype_word(machine.dtype), " x ".join(map(str, features.shape[1:]))
    whole = Timing(
        f"forwards of {backbone}, {images} images of {size} px, {format}", "image", images, [], own
    )
    what = f"heads on its maps of {maps}, fp32, {rows(images, machine)}"
    race = Timing(what, "image", images, [REFERENCE], seconds)
    facts = _facts(costs(heads, seconds, images), 1e3 * whole.median_s(BACKBONE) / images)
    maps_of: Any = {"features": features.clone(), "findings": len(FINDINGS)}  # made in inference mode
    kept = step_bytes(heads, **maps_of)
    steps = Timing(
        f"training steps of the heads on the same maps, fp32, {images} images at once",
        "image",
        images,
        [REFERENCE],
        step_seconds(heads, **maps_of, rounds=rounds, progress=progress),
    )
    facts |= _training_facts(steps.seconds, kept, images)
    return {"races": [whole.as_json(), race.as_json(), steps.as_json()], "facts": facts}


def _facts(added: Mapping[str, Cost], backbone_ms: float) -> dict[str, dict[str, float]]:
    others = {name: cost for name, cost in added.items() if name != REFERENCE}
    return {
        f"parameters_more_than_{REFERENCE}": {name: cost.parameters for name, cost in others.items()},
        f"ms_per_image_more_than_{REFERENCE}": {name: cost.ms for name, cost in others.items()},
        "that_in_percent_of_the_backbone": {
            name: 100 * cost.ms / backbone_ms for name, cost in others.items()
        },
    }


def _training_facts(
    seconds: Mapping[str, Sequence[float]], kept: Mapping[str, int], images: int
) -> dict[str, dict[str, float]]:
    others = [name for name in kept if name != REFERENCE]
    return {
        f"training_ms_per_image_more_than_{REFERENCE}": {
            name: 1e3 * _more(seconds, name) / images for name in others
        },
        f"training_mib_more_than_{REFERENCE}": {
            name: (kept[name] - kept[REFERENCE]) / 2**20 for name in others
        },
    }


def head_costs(
    variants: Mapping[str, Mapping[str, Any]],
    features: Tensor,
    *,
    findings: Sequence[str],
    rounds: int,
    progress: Progress,
) -> dict[str, Cost]:
    """`variants`: kind and settings by name, as checkpoints state them, the reference among them; features
    (B, C, h, w). Further inputs are unknown, which costs what known ones do.
    """
    heads = build_heads(variants, findings, channels=features.shape[1], device=features.device)
    return costs(heads, _head_seconds(heads, features, rounds=rounds, progress=progress), len(features))


def _head_seconds(
    heads: Mapping[str, Head], features: Tensor, *, rounds: int, progress: Progress
) -> dict[str, list[float]]:
    """Of each head over all maps (B, C, h, w), TURNS times a round."""
    works = {name: partial(_call, head, features) for name, head in heads.items()}
    progress.start("heads, in turn", len(works) * (TURNS * rounds + 1))
    return in_turn(works, device=features.device, rounds=TURNS * rounds, progress=progress)


def build_heads(
    variants: Mapping[str, Mapping[str, Any]],
    findings: Sequence[str],
    *,
    channels: int,
    device: torch.device,
) -> dict[str, Head]:
    """In evaluation mode, ready with what they take from labels, here random ones."""
    y = (np.random.default_rng(0).random((LABELLED, len(findings))) < 0.3).astype(np.int8)
    heads = {}
    for name, settings in variants.items():
        with seeded(Machine(torch.device("cpu"), torch.float32), 0):
            head = build_head(head_settings(settings), findings=len(findings), channels=channels)
        head.begin(y, np.ones(y.shape, dtype=bool), findings=findings)
        heads[name] = head.to(device).eval().requires_grad_(False)
    return heads


def costs(heads: Mapping[str, Head], seconds: Mapping[str, Sequence[float]], images: int) -> dict[str, Cost]:
    """`ms`: the median of each turn's own difference, so what slows the machine for a turn does not enter."""
    reference = parameter_count(heads[REFERENCE])
    found = {}
    for name, head in heads.items():
        found[name] = Cost(parameter_count(head) - reference, 1e3 * _more(seconds, name) / images)
    return found


def _more(seconds: Mapping[str, Sequence[float]], name: str) -> float:
    """The median of each turn's own difference from the reference."""
    pairs = zip(seconds[name], seconds[REFERENCE], strict=True)
    return statistics.median(own - other for own, other in pairs)


def rows(images: int, machine: Machine) -> str:
    """How heads see the images."""
    return "row by row" if machine.device.type == "cpu" else f"{images} rows at once"


@torch.inference_mode()
def _forward(model: FastModel, gray: Tensor) -> Tensor:
    with reused_memory(), torch.backends.cudnn.flags(deterministic=True, allow_tf32=False):
        return model.features(gray)


@torch.inference_mode()
def _call(head: Head, features: Tensor) -> None:
    for part in torch.split(features, 1 if features.device.type == "cpu" else len(features)):
        unknown = (part.new_full((len(part), head.inputs), torch.nan),) if head.inputs else ()
        head(part, None, None, *unknown)
