"""Trainings killed in the middle: whatever the step, the next call ends with the same bytes.

    python tests/programs/training_kills.py         30 kills, one at each of 30 steps for each of two recipes
    python tests/programs/training_kills.py --every 7
    python tests/programs/training_kills.py --epochs 6 --every 5   shorter runs: two steps per epoch

A run is a child process that ends by SIGKILL inside its n-th step: before it, between the optimizer and the
average, or after it, in turn. The state is written after each step, or every few of them, in turn, and after
every third kill the newest one is torn. The same call is given again, and its end is compared with a run
that was left alone: weights, average, optimizer, counters, checkpoint, out-of-fold tables, history.
"""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timm.utils.model_ema import ModelEmaV3

import cxrscore.train
from cxrscore.core.device import Machine
from cxrscore.core.progress import Silent
from cxrscore.core.safetensors_digest import write_sealed
from cxrscore.phantom import make_phantoms
from cxrscore.train import Keeping, train_fold
from cxrscore.training.learner import Learner
from cxrscore.training.resume_state import KEPT

sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("", "fixtures")]  # pytest has them
from conftest import COUPLING, Project, contents, make_project
from kills import ended, forked
from some_heads import head_params

EPOCHS, STEPS = 15, 2  # of a run, of an epoch
PLACES = ("before", "within", "after")
PROX = head_params(COUPLING | {"dropout": 0.2, "prox": True, "lr_scale": 2.0})
RECIPES: dict[str, dict[str, Any]] = {
    "paper-like": {"batch_size": 8, "lr": 1e-2},
    "accumulating": {
        "batch_size": 8,
        "accumulate": 2,
        "lr": 1e-2,
        "layer_decay": 0.8,
        "freeze_epochs": 2,
        "head": PROX,
    },
}


@dataclass(frozen=True)
class Kill:
    """In step `step` at `place`; the state is written every `every_s` seconds."""

    step: int
    place: str
    every_s: float


class Written(Silent):
    """Keeps each line that is said, in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def say(self, text: str) -> None:
        with self.path.open("a") as file:
            file.write(text + "\n")


def train(project: Project, recipe: dict[str, Any], *, every_s: float = 1e9) -> int:
    train_fold(
        0,
        labels_csv=project.labels,
        layout=project.layout,
        params=project.with_settings(**recipe),
        machine=Machine(torch.device("cpu"), torch.float32),
        progress=Written(project.layout.root.parent / "told.txt"),
        keeping=Keeping(every_s),
    )
    return 0


def keep_the_end(path: Path) -> None:
    """In this process the learner's last state goes to `path`, for it is dropped when all is done."""
    usual = cxrscore.train.fit

    def fit(learner: Learner, *args: Any, **kwargs: Any) -> Any:
        course = usual(learner, *args, **kwargs)
        write_sealed(path, learner.tensors(), {"learner": learner.facts(), "course": course.facts()})
        return course

    cxrscore.train.fit = fit  # type: ignore[assignment]


def die(kill: Kill) -> None:
    """In this process the step that `kill` names is the last."""
    count = 0

    def dying(call: Callable[..., Any], place: str) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            if place == kill.place and count == kill.step:
                os.kill(os.getpid(), signal.SIGKILL)
            result = call(*args, **kwargs)
            if place == "before":
                count += 1
                if kill.place == "after" and count == kill.step + 1:
                    os.kill(os.getpid(), signal.SIGKILL)
            return result

        return called

    Learner.step = dying(Learner.step, "before")  # type: ignore[method-assign]
    ModelEmaV3.get_decay = dying(ModelEmaV3.get_decay, "within")


def trained_alone(project: Project, recipe: dict[str, Any]) -> dict[str, bytes]:
    assert ended(forked(lambda: _to_the_end(project, recipe))) == 0
    return contents(project.layout.root)


def _to_the_end(project: Project, recipe: dict[str, Any]) -> int:
    keep_the_end(project.layout.root / "end.safetensors")
    return train(project, recipe)


def killed(project: Project, recipe: dict[str, Any], kill: Kill) -> int:
    def work() -> int:
        die(kill)
        return train(project, recipe, every_s=kill.every_s)

    return ended(forked(work))


def tear(project: Project) -> None:
    """The newest state loses its end, as where a disk lied about what it had written."""
    states = sorted(project.layout.root.parent.glob(".cxrscore/training/*/state-*"))
    if states:
        os.truncate(states[-1], states[-1].stat().st_size - 1)


def kills(steps: range) -> list[Kill]:
    return [Kill(step, PLACES[step % 3], 0.0 if step % 2 else 0.08) for step in steps]


def faults_of(
    project: Project, root: Path, recipe: dict[str, Any], kill: Kill, expected: dict[str, bytes]
) -> list[str]:
    """What differs after the kill and the same call again; empty where nothing does."""
    mine = project.copy_to(root)
    code = killed(mine, recipe, kill)
    faults = [] if code == -signal.SIGKILL else [f"exit code {code} instead of a kill"]
    if mine.layout.checkpoint(0).exists():
        faults.append("a checkpoint of a training that was not done")
    if kill.step % 3 == 2:
        tear(mine)
    states = len(list(root.glob(".cxrscore/training/*/state-*")))
    if ended(forked(lambda: _to_the_end(mine, recipe))) != 0:
        faults.append("does not go on")
    goes_on = "resuming after" in (root / "told.txt").read_text()
    if goes_on != (states > (kill.step % 3 == 2)):
        faults.append(f"{states} states, and the run {'goes on' if goes_on else 'begins anew'}")
    if kill.every_s == 0 and states != min(kill.step + (kill.place == "after"), KEPT):
        faults.append(f"{states} states were kept")
    found = contents(mine.layout.root)
    faults += [f"{name} differs" for name in expected | found if expected.get(name) != found.get(name)]
    if list(root.glob(".cxrscore/training/*")):
        faults.append("the state is left over")
    return faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="every n-th step")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of each run")
    args = parser.parse_args()
    torch.set_num_threads(1)
    wrong = []
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        assert ended(forked(lambda: make_phantoms(root / "data", images=48, size=48, seed=0) or 0)) == 0
        project = make_project(root / "data", root / "project")
        for name, changes in RECIPES.items():
            recipe = changes | {"epochs": args.epochs, "patience": args.epochs}
            alone = project.copy_to(root / name)
            expected = trained_alone(alone, recipe)
            steps = range(0, STEPS * args.epochs, args.every)
            for kill in kills(steps):
                found = faults_of(project, root / f"{name}-{kill.step}", recipe, kill, expected)
                wrong += [f"{name}, {kill}: {fault}" for fault in found]
            bad = len({line.split(":")[0] for line in wrong if line.startswith(name)})
            sys.stdout.write(f"{name}: identical {len(steps) - bad} of {len(steps)}\n")
            sys.stdout.flush()
    sys.stdout.writelines(f"WRONG {line}\n" for line in wrong)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
