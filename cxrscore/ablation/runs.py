"""The trainings of an ablation: each head, seed and fold is one call of the train stage, unless it is done.

In    names of heads, seeds, the project's settings.
Out   out/ablation/<head>/seed<k>/ with what the train stage writes, and done/fold<k>.json: a run is done when
      that holds the fingerprint of exactly this training (settings, data, folds, code, versions) and the
      sha256 of its scores.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from cxrscore.ablation.sweep import with_head
from cxrscore.core.device import Machine
from cxrscore.core.errors import UserError
from cxrscore.core.files import read_json, sha256_file, write_text
from cxrscore.core.paths import Layout
from cxrscore.core.progress import Progress, duration
from cxrscore.core.signals import Asked
from cxrscore.train import Keeping, train_fold
from cxrscore.training.job import identity, read_job

if TYPE_CHECKING:
    from cxrscore.project.params import Params


@dataclass(frozen=True)
class Run:
    """One fold's training: the project's settings but for head and seed, outputs of its own. `held_out`: a
    further fold that it neither trains on nor validates on.
    """

    variant: str
    seed: int
    fold: int
    params: "Params"
    layout: Layout
    held_out: int | None = None

    def __str__(self) -> str:
        return f"{self.variant}, seed {self.seed}, fold {self.fold}"


def plan(
    heads: Mapping[str, Mapping[str, Any]],
    seeds: Sequence[int],
    *,
    params: "Params",
    layout: Layout,
    own: Mapping[str, "Params"] | None = None,
) -> list[Run]:
    """`heads`: settings by name; `own`: other settings of the project, by name. All folds of folds.train."""
    of = own or {}
    return [
        Run(name, seed, fold, with_head(of.get(name, params), head, seed), layout_of(layout, name, seed))
        for name, head in heads.items()
        for seed in seeds
        for fold in params.folds.train
    ]


def layout_of(layout: Layout, variant: str, seed: int) -> Layout:
    return layout.experiment(f"{variant}/seed{seed}")


def train_all(
    runs: Sequence[Run],
    *,
    labels_csv: Path,
    machine: Machine,
    progress: Progress,
    keeping: Keeping,
    asked: Asked,
) -> None:
    """Trains what is not done, after all runs are looked through. Raises UserError, which names the run;
    Stopped, Busy. What is done is kept.
    """
    refuse_bad_rows(runs, labels_csv=labels_csv, machine=machine)
    seconds: list[float] = []
    for i, run in enumerate(runs, 1):
        begun = time.monotonic()
        data: dict[str, Any] = {"labels_csv": labels_csv, "layout": run.layout, "params": run.params}
        try:
            job = read_job(run.fold, **data, machine=machine, held_out=run.held_out)
            fingerprint = identity(job, machine)
            if is_done(run, fingerprint):
                progress.say(f"ablate: {run} is already trained ({i} of {len(runs)})")
                continue
            left = f", about {duration(mean(seconds) * (len(runs) - i + 1))} left" if seconds else ""
            progress.say(f"ablate: {run} ({i} of {len(runs)}{left})")
            done_mark(run).unlink(missing_ok=True)
            how: dict[str, Any] = {"machine": machine, "progress": progress, "keeping": keeping}
            train_fold(run.fold, **data, **how, asked=asked, held_out=run.held_out)
            seconds.append(time.monotonic() - begun)
            mark_done(run, fingerprint, seconds=seconds[-1])
        except UserError as fault:
            raise _named(run, fault) from fault


def refuse_bad_rows(runs: Sequence[Run], *, labels_csv: Path, machine: Machine) -> None:
    """Before the first of them is trained. Raises UserError, which names the run: for a backbone that does
    not exist, copies that were not prepared, a column that is missing or of words in one fold alone.
    """
    for run in runs:
        data: dict[str, Any] = {"labels_csv": labels_csv, "layout": run.layout, "params": run.params}
        try:
            read_job(run.fold, **data, machine=machine, held_out=run.held_out)
        except UserError as fault:
            raise _named(run, fault) from fault


def _named(run: Run, fault: UserError) -> UserError:
    return UserError(f"ablate: {run}: {fault} Or list only the other heads with --heads.")


def done_mark(run: Run) -> Path:
    return run.layout.trained / "done" / f"fold{run.fold}.json"


def mark_done(run: Run, fingerprint: str, *, seconds: float) -> None:
    facts = {
        "seconds": round(seconds, 1),
        "fingerprint": fingerprint,
        "scores_sha256": sha256_file(run.layout.scores(run.fold, views=False)),
    }
    done_mark(run).parent.mkdir(exist_ok=True)
    write_text(done_mark(run), json.dumps(facts, indent=1) + "\n")


def minutes_of(layouts: Mapping[int, Layout], folds: Sequence[int]) -> float | None:
    """Of all trainings of a row, each of the call that ended it; None where that is unknown."""
    marks = [layout.trained / "done" / f"fold{fold}.json" for layout in layouts.values() for fold in folds]
    try:
        return round(sum(float(read_json(mark)["seconds"]) for mark in marks) / 60, 2)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_done(run: Run, fingerprint: str) -> bool:
    """Whether exactly this training has left all its outputs, and its scores are still what it wrote."""
    scores = run.layout.scores(run.fold, views=False)
    try:
        found = read_json(done_mark(run))
        told = (found["fingerprint"], found["scores_sha256"])
        return bool(told == (fingerprint, sha256_file(scores)))
    except (OSError, ValueError, KeyError, TypeError):
        return False
