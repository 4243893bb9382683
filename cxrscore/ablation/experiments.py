"""The same trainings as DVC experiments, one per head and seed: `dvc exp show` lists them beside the others.

In    a committed project; heads by name, seeds.
Out   experiments named ablate-<head>-seed<k>-<fingerprint>, and their out-of-fold tables in a folder. What
      the current commit has already is not run again; a stopped training is resumed from its state.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrscore.ablation.runs import layout_of
from cxrscore.core.device import Machine
from cxrscore.core.errors import Stopped, UserError
from cxrscore.core.files import sha256_file
from cxrscore.core.import_closure import fingerprint as fingerprint_of_code
from cxrscore.core.paths import Layout
from cxrscore.core.progress import Progress
from cxrscore.core.signals import Asked
from cxrscore.training.job import versions
from cxrscore.training.resume_state import fingerprint

if TYPE_CHECKING:
    from cxrscore.project.params import Params

LISTED = re.compile(r"^\s+([0-9a-f]{7,40}) \[(\S+)\]$", re.MULTILINE)  # by `dvc exp list`
LOOK_S = 0.2  # between two looks whether someone asked to stop


def run_experiments(
    heads: Mapping[str, Mapping[str, Any]],
    seeds: Sequence[int],
    *,
    project: Path,
    folder: Path,
    facts: Mapping[str, Any],
    progress: Progress,
    asked: Asked,
) -> dict[str, dict[int, Layout]]:
    """Name -> seed -> where in `folder` the score tables are. `facts`: what decides all trainings alike,
    so that none with others passes for them. Raises UserError; Stopped, and what is done is kept.
    """
    _refuse_uncommitted(project)
    _refuse_changed_data(project)
    called = {
        (name, seed): f"ablate-{name}-seed{seed}-{fingerprint({**facts, 'head': head, 'seed': seed})[:8]}"
        for name, head in heads.items()
        for seed in seeds
    }
    there = _experiments(project)
    for (name, seed), experiment in called.items():
        if experiment in there:
            progress.say(f"ablate: {experiment} already exists")
            continue
        progress.say(f"ablate: {experiment}")
        words = ["exp", "run", "--temp", "--name", experiment, *overrides(heads[name], seed)]
        _dvc(project, words, asked)
    commits = _experiments(project)
    layouts = {name: {seed: layout_of(Layout(folder), name, seed) for seed in seeds} for name in heads}
    for (name, seed), experiment in called.items():
        layout = layouts[name][seed]
        layout.trained.mkdir(parents=True)
        words = ["get", ".", "out/oof", "--rev", commits[experiment], "-o", str(layout.oof)]
        _dvc(project, words, asked)
    return layouts


def facts_of(labels_csv: Path, params: "Params", machine: Machine) -> dict[str, Any]:
    """What decides every training of an ablation, beside its head and seed."""
    return {
        "labels": sha256_file(labels_csv),
        "params": params.model_dump(),
        "code": fingerprint_of_code("cxrscore.train"),
        "versions": versions(),
        "numbers": [machine.device.type, str(machine.dtype)],
    }


def overrides(head: Mapping[str, Any], seed: int) -> list[str]:
    """For `dvc exp run`: the section train.head is taken out and put in whole, or keys of the project's own
    kind would stay.
    """
    section = ",".join(f"{name}:{json.dumps(value)}" for name, value in head.items())
    return ["-S", "~train.head", "-S", f"+train.head={{{section}}}", "-S", f"train.seed={seed}"]


def _refuse_uncommitted(project: Path) -> None:
    command = ["git", "status", "--porcelain", "--untracked-files=no", "--", ".", ":!out/ablation"]
    done = subprocess.run(command, cwd=project, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        raise UserError(
            f"{project.resolve()}: --experiments needs a git repository: {done.stderr.strip()}; run `git "
            "init` "
            "there and commit the project."
        )
    if done.stdout:
        changed = ", ".join(line[3:] for line in done.stdout.splitlines())
        raise UserError(
            f"{project.resolve()}: experiments start from the last commit, and this differs from it: "
            f"{changed}; commit it first (`git add . && git commit`)."
        )


def _refuse_changed_data(project: Path) -> None:
    """Experiments start from the data that DVC has: their scores would be compared with other labels."""
    command = [sys.executable, "-m", "dvc", "data", "status", "--json"]
    done = subprocess.run(command, cwd=project, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        raise UserError(
            f"{project.resolve()}: `dvc data status` failed; correct what DVC names, and repeat the command: "
            f"{done.stderr.strip()}"
        )
    found = json.loads(done.stdout or "{}").get("uncommitted", {})
    if any(str(path).startswith("data") for paths in found.values() for path in paths):
        raise UserError(
            f"{project.resolve()}: data is not what DVC has; run `cxrscore data use` or `dvc add data`, "
            "and commit."
        )


def _experiments(project: Path) -> dict[str, str]:
    """Of the current commit: name -> commit."""
    command = [sys.executable, "-m", "dvc", "exp", "list"]
    done = subprocess.run(command, cwd=project, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        raise UserError(
            f"{project.resolve()}: `dvc exp list` failed; correct what DVC names, and repeat the command: "
            f"{done.stderr.strip()}"
        )
    return {name: commit for commit, name in LISTED.findall(done.stdout)}


def _dvc(project: Path, words: Sequence[str], asked: Asked) -> None:
    """What it says goes to stderr as it comes. Raises UserError; Stopped where someone asks meanwhile."""
    command = [sys.executable, "-m", "dvc", *words]
    # a shell that put us in the background has SIGINT ignored, and DVC would inherit that
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, cwd=project, stdout=2, process_group=0, preexec_fn=heed) as process:
        told = False
        while process.poll() is None:
            if asked.number and not told:
                told = asked.holding = True  # the training writes its state
                os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(LOOK_S)
            except subprocess.TimeoutExpired:
                continue
    if asked.number:
        raise Stopped("ablate: stopped within an experiment; its training is kept", code=128 + asked.number)
    if process.returncode:
        raise UserError(
            f"{project.resolve()}: `dvc {' '.join(words)}` failed; the message of DVC is above. Correct "
            "that, and repeat the command."
        )
