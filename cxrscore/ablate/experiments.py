"""The same trainings as DVC experiments, one a head and seed: `dvc exp show` lists them beside the others.

In    a committed project; heads by name, seeds.
Out   experiments named ablate-<head>-seed<k>, and their out-of-fold tables in a folder. What the current
      commit has already is not run again; a training that was stopped goes on from its state.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cxrscore.ablate.runs import layout_of
from cxrscore.errors import Stopped, UserError
from cxrscore.layout import Layout
from cxrscore.progress import Progress
from cxrscore.signals import Asked

LISTED = re.compile(r"^\s+([0-9a-f]{7,40}) \[(\S+)\]$", re.MULTILINE)  # by `dvc exp list`
LOOK_S = 0.2  # between two looks whether someone asked to stop


def run_experiments(
    heads: Mapping[str, Mapping[str, Any]],
    seeds: Sequence[int],
    *,
    project: Path,
    folder: Path,
    progress: Progress,
    asked: Asked,
) -> dict[str, dict[int, Layout]]:
    """Name -> seed -> where in `folder` the score tables are. Raises UserError; Stopped, and what is done is
    kept.
    """
    _refuse_uncommitted(project)
    there = _experiments(project)
    for name, head in heads.items():
        for seed in seeds:
            experiment = f"ablate-{name}-seed{seed}"
            if experiment in there:
                progress.say(f"ablate: {experiment} is there")
                continue
            progress.say(f"ablate: {experiment}")
            words = ["exp", "run", "--temp", "--name", experiment, *overrides(head, seed)]
            _dvc(project, words, asked)
    commits = _experiments(project)
    layouts = {name: {seed: layout_of(Layout(folder), name, seed) for seed in seeds} for name in heads}
    for name, of_name in layouts.items():
        for seed, layout in of_name.items():
            layout.trained.mkdir(parents=True)
            commit = commits[f"ablate-{name}-seed{seed}"]
            _dvc(project, ["get", ".", "out/oof", "--rev", commit, "-o", str(layout.oof)], asked)
    return layouts


def overrides(head: Mapping[str, Any], seed: int) -> list[str]:
    """For `dvc exp run`: the section train.head is taken out and put in whole, or keys of the project's own
    kind would stay.
    """
    section = ",".join(f"{name}:{json.dumps(value)}" for name, value in head.items())
    return ["-S", "~train.head", "-S", f"+train.head={{{section}}}", "-S", f"train.seed={seed}"]


def _refuse_uncommitted(project: Path) -> None:
    command = ["git", "status", "--porcelain", "--untracked-files=no", "--", ".", ":!out/ablation"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"{project.resolve()}: --experiments needs a git repository: {done.stderr.strip()}")
    if done.stdout:
        changed = ", ".join(line[3:] for line in done.stdout.splitlines())
        raise UserError(
            f"{project.resolve()}: experiments start from the last commit, and this differs from it: "
            f"{changed}; commit it first (`git add . && git commit`)."
        )


def _experiments(project: Path) -> dict[str, str]:
    """Of the current commit: name -> commit."""
    command = [sys.executable, "-m", "dvc", "exp", "list"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"{project.resolve()}: `dvc exp list` failed: {done.stderr.strip()}")
    return {name: commit for commit, name in LISTED.findall(done.stdout)}


def _dvc(project: Path, words: Sequence[str], asked: Asked) -> None:
    """What it says goes to stderr as it comes. Raises UserError; Stopped where someone asks meanwhile."""
    command = [sys.executable, "-m", "dvc", *words]
    with subprocess.Popen(command, cwd=project, stdout=2, process_group=0) as process:
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
        raise Stopped("ablate: stopped within an experiment; its training is kept", 128 + asked.number)
    if process.returncode:
        raise UserError(
            f"{project.resolve()}: `dvc {' '.join(words)}` failed, DVC says above why; mend that, and give "
            "the command again."
        )
