"""One process of several that train the same folds, and what it saw of them.

    RANK=0 WORLD_SIZE=2 LOCAL_RANK=0 MASTER_ADDR=localhost MASTER_PORT=29500 \\
        python tests/programs/training_ranks.py <folder with data and out> <folder for what is seen>

Each case trains into outputs of its own, <case>/out in the second folder, which its first process makes. For
each case the rows and the loss of every step go to <case>-<rank>.json, and what the run ended with.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import cxrscore.training.epochs
from cxrscore.core.device import Machine
from cxrscore.core.errors import UserError
from cxrscore.core.paths import Layout
from cxrscore.core.progress import Silent
from cxrscore.core.safetensors_digest import digest_of
from cxrscore.project.params_file import read_params
from cxrscore.train import train_fold
from cxrscore.training.learner import Learner
from cxrscore.training.process_group import joined, world

sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("", "fixtures")]  # pytest has them
from conftest import Project
from some_heads import ONE_OF_EACH, SETTINGS, head_params


def without_dropout(name: str) -> Any:
    """Its draws are not the same in one process and in two."""
    return head_params(SETTINGS[name] | {"dropout": 0.0})


CPU = Machine(torch.device("cpu"), torch.float32)
HEAD = without_dropout("coupling")
PLAIN = {"head": HEAD, "batch_size": 8, "epochs": 2, "lr": 1e-3}
CASES: dict[str, dict[str, Any]] = {
    "batch norm": {},
    "batch norm, accumulating": {"accumulate": 2},
    "layer norm": {"backbone": "test_convnext"},
    "layer norm, accumulating": {"backbone": "test_convnext", "accumulate": 2},
    **{f"batch norm, {name}": {"head": without_dropout(name)} for name in ONE_OF_EACH},
    "one process has a pixel that is not finite": {},
    "a batch that does not divide": {"batch_size": 7},
    "another seed in one process": {},
}
POISONED, SEEDS = "one process has a pixel that is not finite", "another seed in one process"
POISONED_STEP = 1


@contextmanager
def recorded(seen: dict[str, Any], *, poisoned: bool) -> Iterator[None]:
    """Within, `seen` gets the rows, the loss and the counts of each step; a poisoned process meets inf."""
    usual_batches, usual_step = cxrscore.training.epochs.batches, Learner.step
    seen |= {"rows": [], "losses": [], "skipped": [], "weights": ""}

    def batches(*args: Any, **kwargs: Any) -> Iterator[Any]:
        for chunk, gray in usual_batches(*args, **kwargs):
            seen["rows"].append(chunk.tolist())
            yield chunk, gray

    def step(self: Learner, gray: Tensor, *rest: Any, **kwargs: Any) -> float:
        if poisoned and len(seen["losses"]) == POISONED_STEP:
            gray[1, 0, 3, 3] = torch.inf
        loss = usual_step(self, gray, *rest, **kwargs)
        seen["losses"].append(loss)
        seen["skipped"].append(self.skipped)
        seen["weights"] = digest_of(self.tensors())
        return loss

    cxrscore.training.epochs.batches, Learner.step = batches, step  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        cxrscore.training.epochs.batches, Learner.step = usual_batches, usual_step  # type: ignore[method-assign]


def train_case(project: Project, case: str) -> dict[str, Any]:
    """-> what this process saw: see `recorded`; `fault`, `code` where it did not come to the end."""
    seen: dict[str, Any] = {"fault": "", "code": 0}
    changes = PLAIN | CASES[case] | ({"seed": world().rank} if case == SEEDS else {})
    last = world().rank == world().size - 1
    with recorded(seen, poisoned=case == POISONED and last):
        try:
            train_fold(
                0,
                labels_csv=project.labels,
                layout=project.layout,
                params=project.with_settings(**changes),
                machine=CPU,
                progress=Silent(),
            )
        except UserError as error:
            seen["fault"] = str(error)
        except SystemExit as leaving:
            seen["code"] = leaving.code
    return seen


def written_under(folder: Path) -> list[str]:
    """Grows by each path there that this process opens for writing, makes, renames or removes."""
    paths: list[str] = []

    def look(event: str, args: tuple[Any, ...]) -> None:
        changing = event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.truncate")
        opening = event == "open" and (args[1] or "r")[0] in "wax"
        if (changing or opening) and str(args[0]).startswith(str(folder)):
            paths.append(f"{event} {args[0]}")

    sys.addaudithook(look)
    return paths


def main() -> None:
    source, folder = Path(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    base = Project(source / "data", read_params(source / "params.yaml"), Layout(source / "out"))
    with joined(CPU) as everyone:
        if everyone.first:
            for case in CASES:
                base.copy_to(folder / case)
        everyone.gather(None)
        written = written_under(folder)
        for case in CASES:
            project = Project(base.data, base.params, Layout(folder / case / "out"))
            seen = train_case(project, case) | {"written": list(written)}
            written.clear()
            (folder / f"{case}-{everyone.rank}.json").write_text(json.dumps(seen))
            written.clear()


if __name__ == "__main__":
    main()
