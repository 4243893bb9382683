"""How far a training is, and the keeping of it.

In    a learner after some step, the folder for its states, the flag that asks to stop.
Out   Course, which resumes where a state on disk ends; Stopped where someone asked.
"""

import signal
import time
from dataclasses import dataclass, field
from typing import Any, NoReturn

from torch import Tensor

from cxrscore.core.errors import Stopped
from cxrscore.core.signals import Asked
from cxrscore.training.learner import Learner
from cxrscore.training.process_group import world
from cxrscore.training.resume_state import StateFolder


@dataclass
class Course:
    """`step` steps of `epoch` are done; `history` has a row for each epoch before it, `best` the one whose
    `weights` were the best to validate.
    """

    epoch: int = 0
    step: int = 0
    losses: list[float] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)

    def __str__(self) -> str:
        """As a person counts, from one."""
        if self.epoch and not self.step:
            return f"after epoch {self.epoch}"
        return f"after {self.step} steps of epoch {self.epoch + 1}"

    def goes_on(self, *, epochs: int, patience: int) -> bool:
        stale = bool(self.best) and self.epoch - 1 - self.best["epoch"] >= patience
        return self.epoch < epochs and not stale

    def end_epoch(self, row: dict[str, Any], weights: dict[str, Tensor]) -> None:
        self.history.append(row)
        if not self.best or row["macro_auc"] > self.best["macro_auc"]:
            self.best = row
            self.weights = {name: tensor.detach().clone() for name, tensor in weights.items()}
        self.epoch, self.step, self.losses = self.epoch + 1, 0, []

    def facts(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("epoch", "step", "losses", "history", "best")}


@dataclass
class Keeper:
    """Writes the state every `every_s` seconds and when the run is asked to stop; the first process does."""

    folder: StateFolder
    asked: Asked
    every_s: float
    written: float = field(default_factory=time.monotonic)

    def resume(self, learner: Learner) -> tuple[Course, list[str]]:
        """The course that was kept, the learner brought there; without one, the beginning. And notes."""
        tensors, facts, notes = self.folder.load()
        if len(set(world().gather(facts.get("learner", {}).get("steps")))) > 1:
            world().refuse(f"{self.folder.folder}: not every process sees the same state there; share it.")
        if not tensors:
            return Course(), notes
        learner.restore(tensors, facts["learner"])
        device = learner.machine.device
        best = {
            name.removeprefix("best."): tensor.to(device)
            for name, tensor in tensors.items()
            if name.startswith("best.")
        }
        course = Course(**facts["course"], weights=best)
        return course, [*notes, f"resuming {course}"]

    def after_step(self, learner: Learner, course: Course) -> None:
        """Raises Stopped where a process was asked to stop, and then the state is on disk."""
        if world().any(self.asked.number > 0):
            self.stop(learner, course)
        if time.monotonic() - self.written >= self.every_s:
            self.keep(learner, course)

    def keep(self, learner: Learner, course: Course) -> None:
        """Write it now, if this process is the one that writes."""
        if world().first:
            self._write(learner, course)

    def stop(self, learner: Learner, course: Course) -> NoReturn:
        """Raises Stopped when the state is on disk."""
        number = max(world().gather(self.asked.number))
        self.asked.holding = True  # what follows is worth waiting for
        self.keep(learner, course)
        world().gather(None)  # nobody leaves before it is written
        where = f"{course}, which {'are' if course.step else 'is'} kept"
        raise Stopped(f"train: {signal.Signals(number).name} {where}", code=128 + number)

    def _write(self, learner: Learner, course: Course) -> None:
        tensors = learner.tensors() | {f"best.{name}": tensor for name, tensor in course.weights.items()}
        facts = {"learner": learner.facts(), "course": course.facts()}
        done = learner.steps + learner.skipped
        self.folder.save(done, tensors, facts)
        self.written = time.monotonic()
