"""This machine, measured: what `score` and `train` do against what people write by hand, in turn.

In    which of the parts to measure; what was asked for of Settings; the words of --device and --dtype.
Out   a result for JSON: `about` this machine, and for each part its `races` (paired_timing.py says what
      their numbers are) and `facts`. `forward` also stores what `score --compile auto` recalls.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor

from cxrscore import __version__
from cxrscore.benchmarks.decode import bench_decode
from cxrscore.benchmarks.end_to_end import bench_score, stack
from cxrscore.benchmarks.forward import bench_forward
from cxrscore.benchmarks.heads import bench_heads
from cxrscore.benchmarks.random_models import CALIBRATION
from cxrscore.benchmarks.result_tables import text_blocks
from cxrscore.benchmarks.score_statistics import bench_statistics
from cxrscore.benchmarks.step_memory import bench_step_memory
from cxrscore.benchmarks.training import bench_train
from cxrscore.benchmarks.training_setup import TrainingSetup
from cxrscore.core.device import Machine, choose_machine
from cxrscore.core.errors import BrokenPromise
from cxrscore.core.progress import Progress
from cxrscore.phantom import make_phantoms
from cxrscore.scoring.compute_settings import choose_batch_size, choose_scoring_machine, device_name
from cxrscore.scoring.options import Options

__all__ = ["Settings", "bench", "text_blocks"]


@dataclass(frozen=True)
class Settings:
    """`images`: a folder to decode, or phantoms of about `phantom_px` a side, as large as radiographs."""

    images: Path | None = None
    files: int = 32  # two whole batches of a CPU
    phantom_px: int = 2500
    size: int = 380
    backbone: str = "seresnext101_32x4d"
    batch_size: int | None = None
    compile: str = "auto"
    workers: int = 2
    rounds: int = 5


SCORING = Settings()
STATISTICS = Settings(files=107_000)  # rows of scores: the images of a large training set
TRAINING = {  # a phantom as large as a film is drawn in 2 s, one of 1,024 px in 0.4: hundreds can be
    "cpu": Settings(files=64, phantom_px=2000, size=96, backbone="resnet10t", batch_size=32),
    "cuda": Settings(files=768, phantom_px=1024, batch_size=24),  # the paper's recipe
}


def bench(
    what: str, asked: Mapping[str, Any], *, device: str = "auto", dtype: str = "auto", progress: Progress
) -> dict[str, Any]:
    """`what`: all, or one of the parts. `asked`: fields of Settings; of others each part has its own. Raises
    UserError.
    """
    machine, trainer = choose_scoring_machine(device, dtype), choose_machine(device, dtype)
    scoring, training = replace(SCORING, **asked), replace(TRAINING[trainer.device.type], **asked)
    parts: dict[str, tuple[Callable[..., dict[str, Any]], Settings, Machine]] = {
        "decode": (_decode, scoring, machine),
        "forward": (_forward, scoring, machine),
        "heads": (_heads, scoring, machine),
        "score": (_score, scoring, machine),
        "train": (_train, training, trainer),
        "step-memory": (_step_memory, training, trainer),
        "statistics": (_statistics, replace(STATISTICS, **asked), machine),
    }
    result: dict[str, Any] = {"about": _about(parts[what][2] if what in parts else machine)}
    with tempfile.TemporaryDirectory() as folder:
        for name, (part, settings, machine) in parts.items():
            if what in ("all", name):
                result[name] = part(settings, Path(folder), machine=machine, progress=progress)
    return result


def _about(machine: Machine) -> dict[str, Any]:
    packages = ("torch", "torchvision", "timm", "pillow", "simplejpeg")
    return {
        "device": device_name(machine.device),
        "dtype": str(machine.dtype).removeprefix("torch."),
        "cxrscore": f"cxrscore {__version__}",
    } | {package: f"{package} {version(package)}" for package in packages}


def _decode(settings: Settings, work: Path, *, machine: Machine, progress: Progress) -> dict[str, Any]:
    return bench_decode(
        settings.images or _phantoms(settings, work, progress) / "images",
        size=settings.size,
        files=settings.files,
        rounds=settings.rounds,
        workers=settings.workers,
        progress=progress,
    )


def _forward(settings: Settings, work: Path, *, machine: Machine, progress: Progress) -> dict[str, Any]:
    return bench_forward(
        _batch(settings, work, machine),
        backbone=settings.backbone,
        machine=machine,
        rounds=settings.rounds,
        compile=settings.compile != "off",
        progress=progress,
    )


def _heads(settings: Settings, work: Path, *, machine: Machine, progress: Progress) -> dict[str, Any]:
    return bench_heads(
        _batch(settings, work, machine),
        backbone=settings.backbone,
        machine=machine,
        rounds=settings.rounds,
        progress=progress,
    )


def _batch(settings: Settings, work: Path, machine: Machine) -> Tensor:
    """(B, 1, S, S) uint8 for one forward: small phantoms, seconds where full size takes half a minute."""
    folder = work / "small"
    if not folder.exists():
        make_phantoms(folder, images=CALIBRATION, size=2 * settings.size, seed=0, test_share=0.0)
    batch_size = choose_batch_size(settings.batch_size, machine, size=settings.size)
    gray = stack(sorted((folder / "images").iterdir()), size=settings.size)
    return gray.repeat(-(-batch_size // len(gray)), 1, 1, 1)[:batch_size]


def _score(settings: Settings, work: Path, *, machine: Machine, progress: Progress) -> dict[str, Any]:
    phantoms = _phantoms(settings, work, progress)
    (work / "score").mkdir()
    return bench_score(
        phantoms / "images",
        phantoms / "labels.csv",
        work / "score",
        Options(batch_size=settings.batch_size, compile=settings.compile, workers=settings.workers),
        backbone=settings.backbone,
        size=settings.size,
        machine=machine,
        rounds=settings.rounds,
        progress=progress,
    )


def _train(settings: Settings, work: Path, *, machine: Machine, progress: Progress) -> dict[str, Any]:
    phantoms = _phantoms(settings, work, progress)
    return bench_train(
        phantoms / "images",
        phantoms / "labels.csv",
        work,
        _training_setup(settings, machine),
        workers=settings.workers,
        compile=settings.compile == "on",
        rounds=settings.rounds,
        progress=progress,
    )


def _step_memory(settings: Settings, work: Path, *, machine: Machine, progress: Progress) -> dict[str, Any]:
    return bench_step_memory(_training_setup(settings, machine), progress=progress)


def _statistics(settings: Settings, work: Path, *, machine: Machine, progress: Progress) -> dict[str, Any]:
    return bench_statistics(settings.files, rounds=settings.rounds, progress=progress)


def _training_setup(settings: Settings, machine: Machine) -> TrainingSetup:
    if settings.batch_size is None:
        raise BrokenPromise("TRAINING says it")
    return TrainingSetup(settings.backbone, settings.size, settings.batch_size, machine)


def _phantoms(settings: Settings, work: Path, progress: Progress) -> Path:
    """Made once for all parts that want the same."""
    folder = work / f"phantoms-{settings.files}-{settings.phantom_px}"
    if not folder.exists():
        progress.say(f"bench: drawing {settings.files} radiographs of about {settings.phantom_px} px")
        make_phantoms(
            folder,
            images=settings.files,
            size=settings.phantom_px,
            seed=0,
            test_share=0.0,
            workers=max(1, settings.workers),
        )
    return folder
