"""Several processes on this node, one a GPU, started and watched by torch's own launcher.

In    the words of a `cxrscore train` call and the number of processes; each of them runs those very words.
Out   nothing, or how it ended: Stopped where someone asked or a process was lost, Ended with a process's own
      exit code, after that one has said what it had to say.
"""

import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from cxrscore.core.errors import Stopped, UserError, counted
from cxrscore.core.resources import usable_cores

LOOK_S = 0.2  # between two looks whether all processes are alive


class Ended(Exception):
    """A process ended with `code` and has said why."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exit code {code}")
        self.code = code


def launched() -> bool:
    """Whether torch's launcher has started this process; a RANK alone may be of something else."""
    return {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys()


def local_device(device: str) -> str:
    """`auto` of a process that torch's launcher started: the GPU of its number on this node."""
    if device == "auto" and launched() and torch.cuda.is_available():
        return f"cuda:{os.environ['LOCAL_RANK']}"
    return device


def check_devices(device: str, processes: int) -> None:
    """Raises UserError where `processes` have no GPU each."""
    count = torch.cuda.device_count()
    if device == "auto" and processes > count:
        raise UserError(
            f"--gpus {processes}: this machine has {counted(count, 'CUDA device')}; give at most that many, "
            "or use --device cpu, where the processes share the CPU."
        )
    if device not in ("auto", "cpu"):
        raise UserError(
            f"--device {device}: with --gpus each process has a device of its own; leave the option out."
        )


def launch(words: Sequence[str], processes: int) -> None:
    """Run `python -m cxrscore <words>` so many times, as ranks 0 to processes - 1 of one world."""
    for name in logging.root.manager.loggerDict:
        if name.startswith("torch.distributed"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # we say it, in one sentence
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // processes)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=f"cxrscore-{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,  # the next call resumes from the kept state
        monitor_interval=LOOK_S,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "cxrscore", *words)
    except SignalException as asked:
        raise Ended(128 + int(asked.sigval)) from asked  # the first process has said how to resume
    except ChildFailedError as failed:
        raise _ending(failed.failures) from failed


def _ending(failures: Mapping[int, Any]) -> Exception:
    """Of several that failed, one killed from outside is the cause, else one with a word of its own: the
    others only lost their peer.
    """
    codes = {rank: failure.exitcode for rank, failure in sorted(failures.items())}
    killed = {rank: -code for rank, code in codes.items() if code < 0 and -code != signal.SIGTERM}
    if killed:
        rank, number = next(iter(killed.items()))
        name = signal.Signals(number).name
        return Stopped(f"train: process {rank} was ended by {name}; the last saved state is kept")
    told = [code for code in codes.values() if code not in (1, 4)]
    return Ended(next(iter([*told, *codes.values()])))
