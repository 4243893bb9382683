"""Forwards of the backbone: ours against the same network as people run it.

In    a backbone's name and the images of one forward; the device and its number format.
Out   a Timing over eager fp32 and half precision, timm compiled (on a GPU), OpenVINO (where installed) and
      ours; what compiling costs, which `score --compile auto` recalls; how much of the rate of a plain
      matrix product is reached; how far probabilities are from those in fp32.
"""

import copy
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from cxrscore.benchmarks.paired_timing import Timing, in_turn
from cxrscore.benchmarks.random_models import CALIBRATION, random_model
from cxrscore.benchmarks.timm_baselines import COMPILED_TIMM, PLAIN, Forward, Plain, forwards_by_hand
from cxrscore.core.device import Machine
from cxrscore.core.errors import BrokenPromise
from cxrscore.core.malloc import reused_memory
from cxrscore.core.progress import Progress
from cxrscore.core.user_cache import INDUCTOR, TRITON
from cxrscore.model.network import CXRModel
from cxrscore.model.predict import predict_folds
from cxrscore.scoring.compute import FastModel, folded_backbone
from cxrscore.scoring.compute_settings import Recipe, choose_recipe, describe, interleaved
from cxrscore.scoring.measurement_cache import store

OURS, OURS_COMPILED = "cxrscore", "cxrscore compiled"
FOLDS = 3  # of the paper; each is compiled for itself
ROWS = {"cpu": 2048, "cuda": 8192}  # of the matrix product: 30 ms on two cores, 1.5 ms on an H200


def bench_forward(
    gray: Tensor, *, backbone: str, machine: Machine, rounds: int, compile: bool, progress: Progress
) -> dict[str, Any]:
    """`gray` (B, 1, S, S) uint8 on the CPU: the images of one forward."""
    progress.say(f"bench forward: making {backbone}, measuring its convolutions")
    batch_size, size = len(gray), gray.shape[-1]
    model = random_model(backbone, gray[:CALIBRATION], seed=0).to(machine.device)
    gray = gray.to(machine.device)
    shape: dict[str, Any] = {"size": size, "batch_size": batch_size}
    folded = partial(folded_backbone, model, machine)
    recipe = choose_recipe(backbone, folded, machine, **shape, compile="off", forwards=0)
    lines = forwards_by_hand(model, gray, machine, compile=compile)
    lines[OURS] = _ours(model, gray, machine, recipe)
    compile_s: dict[str, float] = {}
    with _empty_compiler_cache():
        if compile:
            progress.say("bench forward: compiling, which takes up to a few minutes")
            lines[OURS_COMPILED], compile_s = _ours_compiled(model, gray, machine, recipe)
        progress.start("bench forward", len(lines) * (rounds + 1))
        seconds = in_turn(lines, device=machine.device, rounds=rounds, progress=progress)
    against = [line for line in (PLAIN, COMPILED_TIMM) if line in lines]
    race = Timing(
        f"forwards of {backbone}, {batch_size} images of {size} px", "image", batch_size, against, seconds
    )
    if compile:
        keep_for_auto(race, compile_s, backbone, machine, **shape)
    facts = {
        "largest_difference_from_fp32": _differences(lines),
        **_floor(model, gray, machine, race.median_s(OURS_COMPILED if compile else OURS)),
        "merged_convolutions": len(recipe.merge or {}),
        "compile_s": compile_s,
    }
    return {"races": [race.as_json()], "facts": facts}


def keep_for_auto(
    race: Timing,
    compile_s: Mapping[str, float],
    name: str,
    machine: Machine,
    *,
    size: int,
    batch_size: int,
) -> None:
    """Store what `choose_recipe` recalls of the backbone that timm calls `name`."""
    figures = {
        "eager_s": race.median_s(OURS),
        "compiled_s": race.median_s(OURS_COMPILED),
        "compile_s": compile_s["first_fold"] + (FOLDS - 1) * compile_s["next_fold"],
    }
    store(f"compile | {describe(name, machine, size=size, batch_size=batch_size)}", figures)


def _ours(model: CXRModel, gray: Tensor, machine: Machine, recipe: Recipe) -> Forward:
    """As scoring's Engine does it from uint8 on, without the way to the device and back."""
    fast = FastModel(model, folded_backbone(model, machine), recipe)
    fp32 = Machine(machine.device, torch.float32)  # no autocast: the model holds its format

    def forward() -> Tensor:
        with reused_memory(), torch.backends.cudnn.flags(deterministic=True, allow_tf32=False):
            return predict_folds([fast], gray, views=["plain"], machine=fp32)[0]

    return forward


def _ours_compiled(
    model: CXRModel, gray: Tensor, machine: Machine, recipe: Recipe
) -> tuple[Forward, dict[str, float]]:
    """-> the compiled forward; seconds until the first fold's is done, and then another fold's."""
    other = copy.deepcopy(model)
    for parameter in other.backbone.parameters():
        parameter.data.mul_(1.01)  # the compiler's caches would know the same weights
    folds = [_ours(fold, gray, machine, replace(recipe, compile=True)) for fold in (model, other)]
    compile_s = []
    for forward in folds:  # the first call compiles
        begun = time.perf_counter()
        forward()
        compile_s.append(time.perf_counter() - begun)
    return folds[0], dict(zip(("first_fold", "next_fold"), compile_s, strict=True))


@contextmanager
def _empty_compiler_cache() -> Iterator[None]:
    """What compiling costs is what it costs a machine that has not done it yet."""
    names = (INDUCTOR, TRITON)
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            os.environ[INDUCTOR] = folder
            yield
    finally:
        for name in names:
            os.environ.pop(name, None)
        os.environ.update(before)


def _differences(lines: Mapping[str, Forward]) -> dict[str, float]:
    probs = {name: forward().cpu() for name, forward in lines.items()}
    return {name: (one - probs[PLAIN]).abs().max().item() for name, one in probs.items() if name != PLAIN}


def _floor(model: CXRModel, gray: Tensor, machine: Machine, forward_s: float) -> dict[str, float]:
    """How near a forward comes to the rate of a plain matrix product in the same number format."""
    rows = ROWS[machine.device.type]
    matrix = torch.randn(rows, rows, device=machine.device).to(machine.dtype)
    (times,) = interleaved([lambda: matrix @ matrix], machine.device, rounds=10)
    floor = 2e-12 * rows**3 / statistics.median(times)
    gmac = count_gmac(Plain(model), gray[:1])
    reached = 2e-3 * gmac * len(gray) / forward_s
    return {
        "gmac_per_image": gmac,
        "tflops_reached": reached,
        "tflops_of_a_matrix_product": floor,
        "share_of_a_matrix_product": reached / floor,
    }


def count_gmac(model: nn.Module, gray: Tensor) -> float:
    """10^9 multiplications and additions of convolutions and linear layers, for one image."""
    total = 0

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            raise BrokenPromise(f"{type(layer).__name__} has no multiplications to count")
        total += output.numel() * layer.weight[0].numel()

    hooks = [
        layer.register_forward_hook(note)
        for layer in model.modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    with torch.inference_mode():
        model(gray.float().expand(-1, 3, -1, -1))
    for hook in hooks:
        hook.remove()
    return total / 1e9
