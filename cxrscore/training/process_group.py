"""The processes that train one model together, each on its part of every batch.

In    RANK, WORLD_SIZE, LOCAL_RANK of torch's launcher (`torchrun`, or `cxrscore train --gpus`), or one
      process.
Out   World: who we are, sums and gatherings over all, a model whose gradients and batch-norm statistics are
      those of the whole batch. What is trained depends on the number of processes only as rounding does.
"""

import ctypes
import inspect
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn, TypeVar, cast

import torch
import torch.distributed as dist
from timm.layers.norm_act import convert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from cxrscore.core.all_reduce import summed
from cxrscore.core.device import Machine
from cxrscore.core.errors import Stopped, UserError
from cxrscore.training.launch import launched

PR_SET_PDEATHSIG = 1  # linux/prctl.h
SILENCE_S = 1800  # so long may one process wait for another that validates; a dead one shows at once
LOST = ("gloo", "Connection", "NCCL", "ProcessGroup")  # how torch's errors name a peer that is gone
# synchronise_batch_norm keeps buffers alike; newer versions of torch deprecate the second name
NAMES = ("forward_sync_buffers", "broadcast_buffers")
BUFFERS_ARE_OURS: dict[str, Any] = {
    next(name for name in NAMES if name in inspect.signature(DistributedDataParallel).parameters): False
}
T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """`rank` of `size` processes; what a host tells the others goes through `host`."""

    rank: int = 0
    size: int = 1
    host: dist.ProcessGroup | None = None

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes and speaks."""
        return self.rank == 0

    def mean(self, value: float) -> float:
        """Over all processes; NaN where one of them has it."""
        return self._sum(value) / self.size

    def any(self, flag: bool) -> bool:
        return self._sum(float(flag)) > 0

    def gather(self, thing: T) -> list[T]:
        """Everyone's `thing`, by rank, in every process."""
        if self.size == 1:
            return [thing]
        things: list[Any] = [None] * self.size
        dist.all_gather_object(things, thing, group=self.host)
        return things

    def agreed(self, work: Callable[[], T]) -> T:
        """`work()`; where it is a UserError in one process, all of them end."""
        result: T | None = None
        fault = ""
        try:
            result = work()
        except UserError as error:
            fault = str(error)
        faults = [fault for fault in self.gather(fault) if fault]
        if faults:
            self.refuse(faults[0])
        return cast(T, result)

    def refuse(self, fault: str) -> NoReturn:
        """All processes come here, and the first one says it."""
        if self.first:
            raise UserError(fault)
        sys.exit(2)

    def share(self, model: nn.Module, device: torch.device) -> nn.Module:
        """The module to call in training: its gradients are the mean over all processes."""
        if self.size == 1:
            return model
        devices = [device] if device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=devices, **BUFFERS_ARE_OURS)

    def _sum(self, value: float) -> float:
        if self.size == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(total, group=self.host)
        return float(total)


ALONE = World()
_joined = [ALONE]  # as torch has one default process group per process


def world() -> World:
    """The processes that train together, this one among them: those of `joined`, or this one alone."""
    return _joined[-1]


@contextmanager
def joined(machine: Machine) -> Iterator[World]:
    """The world that torch's launcher has made; within the `with`, `world()` gives it, too. Without a
    launcher, this process alone.

    Raises Stopped where another process is lost.
    """
    if not launched():
        yield ALONE
        return
    _end_with_the_launcher()
    backend = "nccl" if machine.device.type == "cuda" else "gloo"
    timeout = timedelta(seconds=SILENCE_S)
    dist.init_process_group(backend, timeout=timeout, device_id=machine.device if backend == "nccl" else None)
    host = cast(dist.ProcessGroup, dist.new_group(backend="gloo", timeout=timeout))
    try:
        _joined.append(World(dist.get_rank(), dist.get_world_size(), host))
        yield world()
    except RuntimeError as error:
        if not any(word in str(error) for word in LOST):
            raise
        raise Stopped("train: another process of this training is lost") from error
    finally:
        _joined[1:] = []
        dist.destroy_process_group()


def _end_with_the_launcher() -> None:
    """Where it is killed, its processes are asked to stop: they would continue, and hold the lock of the run.
    Source: prctl(2).
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def rank_rows(rows: Any, *, batch_size: int, parts: int, world: World) -> Any:
    """An epoch's rows (n,) -> (steps, batch_size / world.size), this process's of each step: a part of the
    batch is cut in `world.size` pieces, so that with any number of processes a part holds the same images.
    """
    steps = len(rows) // batch_size
    pieces = rows[: steps * batch_size].reshape(steps, parts, world.size, -1)
    return pieces[:, :, world.rank].reshape(steps, -1)


def last_pass_shares(model: nn.Module, *, last: bool) -> AbstractContextManager[Any]:
    """Gradients are exchanged once per step, in the backward of its last pass."""
    if isinstance(model, DistributedDataParallel) and not last:
        return cast(AbstractContextManager[Any], model.no_sync())
    return nullcontext()


def synchronise_batch_norm(model: nn.Module, device: torch.device) -> None:
    """In place: statistics over the images of all processes. torch's own kernel needs a GPU; on a CPU the
    same is done here, slower.
    """
    if world().size == 1:
        return
    if device.type == "cuda":
        convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.forward = _forward_of(module)  # type: ignore[method-assign,assignment]


def _forward_of(module: Any) -> Callable[[Tensor], Tensor]:
    """What a batch norm computes, timm's with an activation in it too, with statistics of all processes."""
    usual = module.forward

    def forward(x: Tensor) -> Tensor:
        if not module.training:
            return cast(Tensor, usual(x))
        y = _normalised_over_all(module, x)
        return cast(Tensor, module.act(module.drop(y))) if hasattr(module, "act") else y

    return forward


def _normalised_over_all(module: Any, x: Tensor) -> Tensor:
    """(b, C, ...) of each process -> normalised by mean and variance over the images of all, running
    statistics moved. Source: Ioffe & Szegedy 2015, algorithm 1.
    """
    values = x.float()
    axes = [axis for axis in range(x.ndim) if axis != 1]
    shape = [1, -1] + [1] * (x.ndim - 2)
    total = summed(torch.cat([values.sum(axes), values.new_tensor([float(values[:, 0].numel())])]))
    count = total[-1].detach()
    mean = total[:-1] / count
    centred = values - mean.view(shape)
    var = summed(centred.square().sum(axes)) / count
    with torch.no_grad():
        momentum = module.momentum or 0.0
        module.running_mean.lerp_(mean, momentum)
        module.running_var.lerp_(var * count / (count - 1), momentum)
        module.num_batches_tracked += 1
    y = centred * torch.rsqrt(var + module.eps).view(shape)
    return cast(Tensor, (y * module.weight.view(shape) + module.bias.view(shape)).to(x.dtype))
