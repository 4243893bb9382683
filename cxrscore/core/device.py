"""The machine a model runs on: device and number format, chosen by flags, never by params (they must not
invalidate a cache).

In    the words of --device and --dtype.
Out   Machine; a device that is not there is an error, never a silent CPU.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from cxrscore.core.errors import UserError, counted

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Machine:
    """`compile` and `checkpointing` (activations are computed again in the backward) are for training."""

    device: torch.device
    dtype: torch.dtype
    compile: bool = False
    checkpointing: bool = False

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not torch.float32)

    def __str__(self) -> str:
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        return f"{name}, {next(word for word, dtype in DTYPES.items() if dtype is self.dtype)}"


def choose_machine(
    device: str = "auto", dtype: str = "auto", *, compile: bool = False, checkpointing: bool = False
) -> Machine:
    """auto: the first GPU, with bf16 (fp16 before Ampere), or the CPU in fp32 if there is none. Raises
    UserError.
    """
    chosen = _device(device)
    if dtype not in ("auto", *DTYPES):
        raise UserError(f"--dtype {dtype}: one of auto, {', '.join(DTYPES)}.")
    if dtype != "auto":
        return Machine(chosen, DTYPES[dtype], compile, checkpointing)
    if chosen.type != "cuda":
        return Machine(chosen, torch.float32, compile, checkpointing)
    native = torch.cuda.get_device_capability(chosen) >= (8, 0)
    return Machine(chosen, torch.bfloat16 if native else torch.float16, compile, checkpointing)


def _device(word: str) -> torch.device:
    if word == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(word)
    except RuntimeError as error:
        raise UserError(f"--device {word}: one of auto, cpu, cuda, cuda:1, ...") from error
    if word in ("cpu", "cpu:0"):
        return torch.device("cpu")
    if device.type != "cuda":
        raise UserError(f"--device {word}: one of auto, cpu, cuda, cuda:1, ...")
    count = torch.cuda.device_count()
    if (device.index or 0) >= count:
        raise UserError(
            f"--device {word}: this machine has {counted(count, 'CUDA device')}; --device cpu works anywhere."
        )
    return torch.device("cuda", device.index or 0)


@contextmanager
def seeded(machine: Machine, *keys: int) -> Iterator[None]:
    """Inside, torch's generators start from `keys` alone; outside, they are as if nothing had been drawn."""
    seed = int(np.random.SeedSequence(keys).generate_state(1, np.uint64)[0] >> np.uint64(1))
    devices = [machine.device] if machine.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.random.manual_seed(seed)
        yield
