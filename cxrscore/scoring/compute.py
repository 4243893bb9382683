"""Batches of gray pixels -> the probabilities of each fold: the models made fast, and what they do on faults.

In    (B, S, S) uint8 on the host, as the decoders leave them.
Out   (F, B, L) float32: each fold's mean over views. The same recipe gives the same bytes.

Rows go through `predict_folds`, as in validation; only the models differ: batch norms are folded into
convolutions in fp32, weights and maps are in the recipe's number format, the head stays in fp32.
"""

import gc
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cxrscore.core.device import DTYPES, Machine
from cxrscore.core.errors import Stopped, UserError, promise
from cxrscore.core.user_cache import secure_code_cache
from cxrscore.model.checkpoint import Fold
from cxrscore.model.heads.base import HeadOutput
from cxrscore.model.inference_fusion import fold_batchnorms, merge_all, pool_quickly
from cxrscore.model.network import CXRModel
from cxrscore.model.predict import Reading, pad, pad_inputs, predict_folds, probabilities
from cxrscore.scoring.compute_settings import Recipe


def folded_backbone(model: CXRModel, machine: Machine) -> nn.Module:
    """The backbone as scoring computes it, before the choices that a Recipe makes."""
    backbone, _ = fold_batchnorms(model.backbone)
    pool_quickly(backbone)
    return backbone.to(machine.device, machine.dtype).to(memory_format=torch.channels_last)


class FastModel:
    """The two halves of a CXRModel, quick: gray -> features -> HeadOutput. Raises UserError where it is to be
    compiled and others could write where compiled code is kept.
    """

    def __init__(self, model: CXRModel, backbone: nn.Module, recipe: Recipe) -> None:
        if recipe.merge:
            merge_all(backbone, recipe.merge)
        self.body: Any = _Body(model, backbone.to(memory_format=torch.channels_last), DTYPES[recipe.dtype])
        if recipe.compile:
            secure_code_cache()
            freezing = model.mean.device.type == "cpu"  # there it packs weights and fuses activations
            self.body = torch.compile(self.body, dynamic=False, options={"freezing": freezing})
        self.label_head = model.head

    def features(self, gray: Tensor) -> Tensor:
        maps: Tensor = self.body(gray)
        return maps

    def head(self, features: Tensor, *, inputs: Tensor | None = None) -> HeadOutput:
        return _finite(_headed(self.label_head, features, inputs))


class ExactModel:
    """A CXRModel as it was trained, in fp32."""

    def __init__(self, model: CXRModel) -> None:
        self.label_head = model.head
        self.features = model.features

    def head(self, features: Tensor, *, inputs: Tensor | None = None) -> HeadOutput:
        return _finite(_headed(self.label_head, features, inputs))


def _headed(head: nn.Module, features: Tensor, inputs: Tensor | None) -> HeadOutput:
    output: HeadOutput = head(features) if inputs is None else head(features, inputs=inputs)
    return output


def _finite(output: HeadOutput) -> HeadOutput:
    """An infinite logit becomes NaN: its sigmoid would be 0 or 1, and look right."""
    return HeadOutput(torch.where(output.logits.isfinite(), output.logits, torch.nan))


class _Body(nn.Module):
    """(b, 1, S, S) uint8 -> (b, C, h, w) fp32, by a backbone in another number format."""

    def __init__(self, model: CXRModel, backbone: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.backbone, self.dtype = backbone, dtype
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", model.mean)
        self.register_buffer("std", model.std)

    def forward(self, gray: Tensor) -> Tensor:
        pixels = (gray.float() - self.mean) / self.std
        maps: Tensor = self.backbone(pixels.to(self.dtype, memory_format=torch.channels_last))
        return maps.float()


@dataclass
class Pending:
    """Probabilities, or what else is read, under way on the device."""

    probs: Tensor
    done: "torch.cuda.Event | None" = None

    def result(self) -> NDArray[np.float32]:
        """(F, B, L), once they are there. Raises Stopped where the device was lost."""
        with _device_faults():
            if self.done is not None:
                self.done.synchronize()
            probs: NDArray[np.float32] = self.probs.numpy()
        return probs


@dataclass
class Engine:
    """The ensemble on its device. `chunk`: images per forward pass, halved where memory does not last;
    `halvings` tells each time that was so, as the chunk it went down to. `inputs`: values per image that the
    heads read beside the pixels, (F, b, inputs), those of the first b images of a batch, NaN where unknown.
    `reading`: what is taken of each view and fold, and averaged.
    """

    models: Sequence[FastModel]
    exact: Sequence[ExactModel]
    machine: Machine
    findings: int
    views: Sequence[str]
    chunk: int
    halvings: list[int] = field(default_factory=list)
    inputs: int = 0
    reading: Reading = probabilities

    @property
    def ahead(self) -> int:
        """Batches that may be under way while the next one is brought."""
        return 0 if self.machine.device.type == "cpu" else 1

    @property
    def shape(self) -> tuple[int, int]:
        """F and L."""
        return len(self.models), self.findings

    def take_halvings(self) -> tuple[int, ...]:
        """Those since the last call."""
        taken, self.halvings[:] = tuple(self.halvings), ()
        return taken

    def start(self, pixels: NDArray[np.uint8], inputs: NDArray[np.float32] | None = None) -> Pending:
        """`send` and `launch`."""
        return self.launch(self.send(pixels), inputs)

    def send(self, pixels: NDArray[np.uint8]) -> Tensor:
        """(B, S, S) -> (B, 1, S, S) on the device. Raises Stopped."""
        with _device_faults():
            return self._to_device(pixels)

    def launch(self, gray: Tensor, inputs: NDArray[np.float32] | None = None) -> Pending:
        """Begin on (B, 1, S, S); on a GPU this returns before the work is done. Raises Stopped."""
        with _device_faults():
            values = self._values(inputs)
            probs = self._with_less_memory(gray, None if values is None else pad_inputs(values, len(gray)))
            if self.machine.device.type == "cpu":
                return Pending(probs)
            host = torch.empty(probs.shape, pin_memory=True)
            host.copy_(probs, non_blocking=True)
            done = torch.cuda.Event()  # type: ignore[no-untyped-call]
            done.record(torch.cuda.current_stream(self.machine.device))  # not of the device torch is at
            return Pending(host, done)

    def exactly(
        self, pixels: NDArray[np.uint8], inputs: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """(F, L), or what else is read, of one image (S, S) and its inputs (F, 1, m), in fp32, by the models
        as they were trained.
        """
        fp32 = Machine(self.machine.device, torch.float32)
        gray = torch.from_numpy(pixels.copy())[None, None].to(fp32.device)
        with _device_faults(), _exact_math():
            probs = self._read(self.exact, gray, fp32, self._values(inputs))[:, 0]
            exact: NDArray[np.float32] = probs.cpu().numpy()
        return exact

    def _values(self, inputs: NDArray[np.float32] | None) -> Tensor | None:
        promise((inputs is None) == (self.inputs == 0), f"heads of {self.inputs} inputs were given others")
        return None if inputs is None else torch.from_numpy(inputs.copy()).to(self.machine.device)

    def _to_device(self, pixels: NDArray[np.uint8]) -> Tensor:
        host = torch.from_numpy(pixels)[:, None]
        if self.machine.device.type == "cpu":
            return host
        ours = torch.cuda.current_stream(self.machine.device)
        copies = torch.cuda.Stream(self.machine.device)  # type: ignore[no-untyped-call]  # one of a pool
        with torch.cuda.stream(copies):
            gray = host.pin_memory().to(self.machine.device, non_blocking=True)
        ours.wait_stream(copies)
        gray.record_stream(ours)
        return gray

    def _with_less_memory(self, gray: Tensor, inputs: Tensor | None) -> Tensor:
        """All rows by forwards of `chunk` images; where memory does not last, by half as many, from the first
        row again.
        """
        while True:
            try:
                return self._forward(gray, inputs)
            except torch.OutOfMemoryError as error:
                short = str(error)
            except RuntimeError as error:
                if "can't allocate memory" not in str(error):
                    raise
                short = str(error)
            if self.chunk == 1:
                raise Stopped(
                    f"a forward pass of one image needs more memory than there is ({short.splitlines()[0]})"
                )
            self.chunk //= 2  # only here, outside `except`: the error holds on to what it could not use
            self.halvings.append(self.chunk)
            gc.collect()
            if self.machine.device.type == "cuda":
                torch.cuda.empty_cache()

    def _forward(self, gray: Tensor, inputs: Tensor | None) -> Tensor:
        fp32 = Machine(self.machine.device, torch.float32)  # no autocast: the models hold their format
        parts = []
        with _exact_math():
            for first in range(0, len(gray), self.chunk):
                rows = slice(first, first + self.chunk)
                part, own = gray[rows], None if inputs is None else pad_inputs(inputs[:, rows], self.chunk)
                probs = self._read(self.models, pad(part, self.chunk), fp32, own)
                parts.append(probs[:, : len(part)])
        return torch.cat(parts, dim=1)

    def _read(
        self,
        models: Sequence[FastModel] | Sequence[ExactModel],
        gray: Tensor,
        machine: Machine,
        inputs: Tensor | None,
    ) -> Tensor:
        how: dict[str, Any] = {"views": self.views, "machine": machine, "reading": self.reading}
        return predict_folds(models, gray, inputs=inputs, **how)


def build_engine(
    folds: Sequence[Fold], recipe: Recipe, machine: Machine, *, views: Sequence[str], chunk: int | None = None
) -> Engine:
    """`machine` says the number format; the fp32 models stay beside, for rows that come out as no number.
    `chunk`: what a resumed run had come down to. Raises UserError where models are to be compiled and
    cannot be.
    """
    models = [FastModel(fold.model, folded_backbone(fold.model, machine), recipe) for fold in folds]
    exact = [ExactModel(fold.model) for fold in folds]
    card = folds[0].card
    size, inputs = chunk or recipe.batch_size, folds[0].model.head.inputs
    engine = Engine(models, exact, machine, len(card.findings), views, size, inputs=inputs)
    if recipe.compile:
        _compile(engine, card.size)
    return engine


def _compile(engine: Engine, size: int) -> None:
    """A first forward, which is when torch compiles."""
    try:
        values = np.full((len(engine.models), engine.chunk, engine.inputs), np.nan, np.float32)
        pixels = np.zeros((engine.chunk, size, size), np.uint8)
        engine.start(pixels, values if engine.inputs else None).result()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"--compile: torch cannot compile the models here ({reason}); on a CPU, "
            "install a C++ compiler; or use --compile off."
        ) from error


def _exact_math() -> "AbstractContextManager[None]":
    """cudnn by the same kernels each time, and fp32 as fp32; on a CPU it is so anyway."""
    flags: AbstractContextManager[None] = torch.backends.cudnn.flags(deterministic=True, allow_tf32=False)
    return flags


@contextmanager
def _device_faults() -> Iterator[None]:
    """After an illegal access, an ECC error or a lost device the process cannot use it any more."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        if "CUDA error" not in str(error):
            raise
        raise Stopped(f"the device was lost: {str(error).splitlines()[0]}") from error
