"""The highest memory of training steps in this process: started by step_memory.py, once for each figure.

In    a backbone's name, S, B, --device's and --dtype's words, and whether to checkpoint gradients: 0 or 1.
Out   JSON: `peak_gib` (weights, their average, optimizer and maps; of a GPU what torch has allocated, of a
      CPU what the process has grown by) and `step_s` of the second step.

    python -m cxrscore.benchmarks.step_memory_process resnet10t 96 32 cpu fp32 0
"""

import json
import sys
import time
from pathlib import Path

import torch

from cxrscore.benchmarks.training_setup import LR, TrainingSetup, new_learner
from cxrscore.core.device import choose_machine
from cxrscore.core.errors import UserError
from cxrscore.tables.datasets.chexpert import FINDINGS
from cxrscore.training.augment import warp

STATUS = Path("/proc/self/status")
STEPS = 2  # the optimizer's state is made by the first
GIB = 2**30


def measure(setup: TrainingSetup, *, checkpointing: bool) -> dict[str, float]:
    """Steps of random images."""
    before = _bytes_of_cpu("VmRSS") if setup.machine.device.type == "cpu" else 0
    learner = new_learner(setup, checkpointing=checkpointing)
    device, size = setup.machine.device, setup.size
    gray = torch.randint(0, 256, (setup.batch_size, 1, size, size), dtype=torch.uint8, device=device)
    theta = torch.eye(2, 3, device=device).expand(setup.batch_size, -1, -1)
    y = torch.zeros(setup.batch_size, len(FINDINGS), device=device)
    step_s = 0.0
    for i in range(STEPS):
        begun = time.perf_counter()
        learner.step(warp(gray, theta), y, torch.ones_like(y, dtype=torch.bool), lr=LR, keys=(0, i))
        step_s = time.perf_counter() - begun  # the step has read its loss: the device is done
    highest = (
        torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _bytes_of_cpu("VmHWM") - before
    )
    return {"peak_gib": highest / GIB, "step_s": step_s}


def _bytes_of_cpu(field: str) -> int:
    """Source: proc_pid_status(5)."""
    if not STATUS.exists():
        raise UserError(
            "bench step-memory: on a CPU it is read from /proc, which only Linux has; run it on Linux or a "
            "GPU."
        )
    lines = STATUS.read_text(encoding="utf-8").splitlines()
    line = next(line for line in lines if line.startswith(f"{field}:"))
    return 1024 * int(line.split()[1])


def main() -> None:
    backbone, size, batch_size, device, dtype, checkpointing = sys.argv[1:]
    setup = TrainingSetup(backbone, int(size), int(batch_size), choose_machine(device, dtype))
    sys.stdout.write(json.dumps(measure(setup, checkpointing=checkpointing == "1")) + "\n")


if __name__ == "__main__":
    main()
