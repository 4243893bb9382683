"""How much memory a training step takes, with and without gradient checkpointing.

In    a TrainingSetup.
Out   facts: of each the peak in GiB and the seconds of a step, from a process of its own
      (step_memory_process.py).
"""

import json
import subprocess
import sys
from typing import Any

from cxrscore.benchmarks.training_setup import TrainingSetup
from cxrscore.core.errors import UserError
from cxrscore.core.progress import Progress
from cxrscore.scoring.compute_settings import dtype_word


def bench_step_memory(setup: TrainingSetup, *, progress: Progress) -> dict[str, Any]:
    ways = {"plain": False, "gradient checkpointing": True}
    progress.start("bench step-memory", len(ways))
    facts: dict[str, Any] = {"training_step": str(setup)}
    for name, checkpointing in ways.items():
        facts[name] = peak_memory(setup, checkpointing=checkpointing)
        progress.advance(1, name)
    return {"races": [], "facts": facts}


def peak_memory(setup: TrainingSetup, *, checkpointing: bool) -> dict[str, float]:
    """-> peak_gib and step_s. Raises UserError where the process ends without: mostly for want of memory."""
    device, dtype = str(setup.machine.device), dtype_word(setup.machine.dtype)
    words = [
        setup.backbone,
        str(setup.size),
        str(setup.batch_size),
        device,
        dtype,
        str(int(checkpointing)),
    ]
    command = [sys.executable, "-m", "cxrscore.benchmarks.step_memory_process", *words]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        raise UserError(
            f"bench step-memory: a step of {setup} ended with {done.returncode} ({last}); try a smaller "
            "--batch-size."
        )
    peak: dict[str, float] = json.loads(done.stdout)
    return peak
