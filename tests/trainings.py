"""Calls of the train stage that a test stops, changes and listens to."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Project

from cxrscore.core.device import Machine
from cxrscore.core.progress import Silent
from cxrscore.core.signals import Asked
from cxrscore.train import Keeping, train_fold

NEVER = Keeping(every_s=1e9)  # only a stop writes a state


@dataclass
class Told(Silent):
    """Keeps each line that is said; `each_step` is called within every step."""

    each_step: Callable[[], None] = lambda: None
    lines: list[str] = field(default_factory=list)

    def advance(self, steps: int = 1, note: str = "") -> None:
        if note:  # without one, it tells of the steps of an earlier run
            self.each_step()

    def say(self, text: str) -> None:
        self.lines.append(text)

    @property
    def goes_on(self) -> bool:
        return any(line.startswith("goes on after") for line in self.lines)


def stops_at(step: int, asked: Asked, number: int) -> Callable[[], None]:
    """What asks to stop, with signal `number`, within the step-th step that this run does."""
    left = step

    def each_step() -> None:
        nonlocal left
        left -= 1
        if not left:
            asked.number = number

    return each_step


def train(
    project: Project,
    *,
    told: Told | None = None,
    asked: Asked | None = None,
    keeping: Keeping = NEVER,
    dtype: torch.dtype = torch.float32,
    **changes: Any,
) -> None:
    """Fold 0 on the CPU, with these settings of train changed."""
    train_fold(
        0,
        labels_csv=project.labels,
        layout=project.layout,
        params=project.with_settings(**changes),
        machine=Machine(torch.device("cpu"), dtype),
        progress=told or Told(),
        keeping=keeping,
        asked=asked,
    )


def snapshots_at_fsync(patch: pytest.MonkeyPatch, folder: Path, work: Callable[[], object]) -> list[Path]:
    """Copies of the folder, beside it, before each fsync of the work: what SIGKILL would leave then."""
    folder.mkdir(exist_ok=True)
    usual, left = os.fsync, list[Path]()

    def fsync(handle: int) -> None:
        left.append(Path(shutil.copytree(folder, folder.with_name(f"{folder.name} left {len(left)}"))))
        usual(handle)

    with patch.context() as context:
        context.setattr(os, "fsync", fsync)
        work()
    return left


def states(project: Project) -> list[Path]:
    """All that is kept of trainings beside the project's outputs."""
    return sorted(path for path in project.layout.root.parent.glob(".cxrscore/training/*/*"))
