"""How a run computes: number format, batch, compiled or not, which convolutions are merged.

In    what was asked for, the models, what was measured on this machine.
Out   Recipe. It is part of a run's fingerprint: the same recipe, the same bytes; a resumed run keeps it.
"""

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cxrscore.core.device import DTYPES, Machine, choose_machine
from cxrscore.core.files import is_number
from cxrscore.model.inference_fusion import grouped_convolutions, merge_groups, shapes_seen
from cxrscore.scoring.measurement_cache import recall, store

BATCH = {"cpu": 16, "cuda": 256}
MAX_VIEWS, MAX_VIEWS_SIZE = 896, 380  # beyond 2^31 elements in the largest map bf16 convolutions crawl
WORTH = 0.85  # a merged convolution must take less than this share of the time, or noise would decide
MARGIN = 2.0  # compile where it saves this many times what it costs
WIDEST = 64  # channels in a merged group


@dataclass(frozen=True)
class Recipe:
    """`merge`: the convolution's name -> how many of its groups become one. `batch_size` in images."""

    dtype: str
    batch_size: int
    compile: bool = False
    merge: Mapping[str, int] | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"merge": dict(self.merge or {})}


def choose_scoring_machine(device: str, dtype: str) -> Machine:
    """As `choose_machine`, but `auto` takes bf16 on a CPU that multiplies in it (AVX512-BF16, AMX): scores
    need fewer digits than gradients. Raises UserError.
    """
    machine = choose_machine(device, dtype)
    if dtype == "auto" and machine.device.type == "cpu" and _cpu_has_bf16():
        return Machine(machine.device, torch.bfloat16)
    return machine


def _cpu_has_bf16() -> bool:
    asks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, ask, bool)() for ask in asks)


def choose_batch_size(asked: int | None, machine: Machine, *, size: int) -> int:
    """Images per forward pass: what was asked for, within what convolutions at this image size can take."""
    most = max(1, MAX_VIEWS * MAX_VIEWS_SIZE**2 // size**2)
    return min(asked or BATCH[machine.device.type], most)


def choose_recipe(
    name: str,
    backbone: Callable[[], nn.Module],
    machine: Machine,
    *,
    size: int,
    batch_size: int,
    compile: str,
    forwards: int,
    say: Callable[[str], None] = lambda line: None,
) -> Recipe:
    """`backbone()` as it will compute (folded, on the device, in its number format), timm calls it `name`;
    `forwards`: batches times views times folds; `compile`: auto, on or off. What was not measured here yet is
    measured.
    """
    about = describe(name, machine, size=size, batch_size=batch_size)
    factors = recall(f"merge | {about}")
    if factors != {} and not merges_fit(factors, backbone()):
        try:
            say("measuring which convolutions are faster merged; later runs with these models recall it")
            factors = measure_merges(backbone(), machine, batch_size=batch_size, size=size)
        except torch.OutOfMemoryError:
            factors = {}  # the run will find the batch that fits
        else:
            store(f"merge | {about}", factors)
    words = {"on": True, "off": False}
    figures: Any = recall(f"compile | {about}") if compile not in words else None
    compiled = words.get(compile, are_figures(figures) and compiling_pays(figures, forwards))
    return Recipe(dtype_word(machine.dtype), batch_size, compiled, factors)


def describe(name: str, machine: Machine, *, size: int, batch_size: int) -> str:
    """All that a backbone's speed depends on."""
    device, dtype = device_name(machine.device), dtype_word(machine.dtype)
    return f"{device} | torch {torch.__version__} | {dtype} | {name} | {size} px x {batch_size}"


def device_name(device: torch.device) -> str:
    """The GPU's model; of a CPU its model, the instructions that torch uses there, and its threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_cpu_model()}, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"


def _cpu_model() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def dtype_word(dtype: torch.dtype) -> str:
    """As --dtype says it."""
    return next(word for word, one in DTYPES.items() if one is dtype)


def merges_fit(factors: Any, backbone: nn.Module) -> bool:
    """Whether these are names of its grouped convolutions, and how many of a convolution's groups become one
    as `measure_merges` may find.
    """
    convolutions = grouped_convolutions(backbone)
    return isinstance(factors, dict) and all(
        name in convolutions and type(factor) is int and factor in _factors(convolutions[name])[1:]
        for name, factor in factors.items()
    )


def _factors(conv: nn.Conv2d) -> list[int]:
    """How many groups may become one; 1 is first."""
    each = conv.in_channels // conv.groups
    return [f for f in (1, 2, 4, 8) if conv.groups % f == 0 and (f == 1 or f * each <= WIDEST)]


def are_figures(measured: Any) -> bool:
    """Whether `compiling_pays` can tell by them."""
    names = ("eager_s", "compiled_s", "compile_s")
    return isinstance(measured, dict) and all(is_number(measured.get(name), least=1e-9) for name in names)


def compiling_pays(measured: Mapping[str, float] | None, forwards: int) -> bool:
    """`measured`: seconds per forward pass, `eager_s` and `compiled_s`, and `compile_s` for all folds, as
    `cxrscore bench forward` stores them; without a measurement nothing is compiled.
    """
    if not measured:
        return False
    saved_s = forwards * (measured["eager_s"] - measured["compiled_s"])
    return saved_s > MARGIN * measured["compile_s"]


def measure_merges(backbone: nn.Module, machine: Machine, *, batch_size: int, size: int) -> dict[str, int]:
    """Name -> factor, for the grouped convolutions of `backbone` that are plainly faster merged."""
    convolutions = grouped_convolutions(backbone)
    if not convolutions:
        return {}
    with torch.inference_mode():
        pixels = torch.zeros(1, 3, size, size, device=machine.device, dtype=machine.dtype)
        shapes = shapes_seen(backbone, convolutions, pixels.to(memory_format=torch.channels_last))
        best: dict[tuple[object, ...], int] = {}
        factors = {}
        for name, conv in convolutions.items():
            alike = (conv.in_channels, conv.out_channels, conv.groups, conv.stride, shapes[name])
            if alike not in best:
                inputs = torch.ones(batch_size, *shapes[name], device=machine.device, dtype=machine.dtype)
                best[alike] = _fastest(conv, inputs.to(memory_format=torch.channels_last))
            if best[alike] > 1:
                factors[name] = best[alike]
    return factors


def _fastest(conv: nn.Conv2d, inputs: Tensor) -> int:
    factors = _factors(conv)
    layers = [merge_groups(conv, factor).to(memory_format=torch.channels_last) for factor in factors]
    seconds = interleaved([lambda layer=layer: layer(inputs) for layer in layers], inputs.device, rounds=5)  # type: ignore[misc]
    medians = [statistics.median(times) for times in seconds]
    quickest = min(range(len(factors)), key=medians.__getitem__)
    return factors[quickest] if medians[quickest] < WORTH * medians[0] else 1


def interleaved(works: list[Callable[[], object]], device: torch.device, *, rounds: int) -> list[list[float]]:
    """Seconds of each work, `rounds` times in turn after one unmeasured round: what slows the machine for a
    while slows them all.
    """
    seconds: list[list[float]] = [[] for _ in works]
    for turn in range(rounds + 1):
        for work, times in zip(works, seconds, strict=True):
            _wait(device)
            begun = time.perf_counter()
            work()
            _wait(device)
            if turn:
                times.append(time.perf_counter() - begun)
    return seconds


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
