"""A training asked to stop from outside ends soon, says how to resume, and that command ends it."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Project, contents
from ruamel.yaml import YAML
from trainings import states

from cxrscore.project.params_file import read_params

STOP_S = 10.0
EPOCHS = 24  # of two steps: seconds after the first epochs have been told
SLOW = """
import sys, torch
from cxrscore.__main__ import main
from cxrscore.training.learner import Learner
usual, count = Learner._loss, 0
def slow(*args, **kwargs):
    global count
    count += 1
    if count == 3:
        sys.stderr.write("sleeps\\n")
        sys.stderr.flush()
        torch.linalg.svdvals(torch.rand(6000, 6000))  # one call of 40 s: until then no handler runs
    return usual(*args, **kwargs)
Learner._loss = slow
main()
"""


def begin(
    arguments: list[str], *, program: tuple[str, ...] = ("-m", "cxrscore"), **environment: str
) -> "subprocess.Popen[str]":
    """As a terminal starts it: at the head of a process group of its own."""
    return subprocess.Popen(
        [sys.executable, *program, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
    )


def read_until(run: "subprocess.Popen[str]", beginning: str) -> list[str]:
    """What it says, up to a line that begins so."""
    said = []
    assert run.stderr
    for line in run.stderr:
        said.append(line)
        if line.startswith(beginning):
            return said
    raise AssertionError(f"exit code {run.wait()}: {''.join(said)}")


def ask(run: "subprocess.Popen[str]", number: signal.Signals) -> list[str]:
    """The lines that it says after the signal; it ends soon."""
    begun = time.monotonic()
    os.killpg(run.pid, number)
    _, said = run.communicate()
    assert time.monotonic() - begun < STOP_S
    return said.splitlines()


@pytest.fixture
def mine(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with a longer training, and none of it done; its folder has a blank in its name."""
    monkeypatch.delenv("CXRSCORE_STATE", raising=False)
    monkeypatch.delenv("DVC_STAGE", raising=False)
    made = project.copy_to(tmp_path / "my project")
    for name in ("models", "oof", "history", "summary"):
        shutil.rmtree(made.layout.root / name)
    yaml = YAML()
    settings = yaml.load(project.layout.root.with_name("params.yaml").read_text())
    settings["train"].update(epochs=EPOCHS, patience=EPOCHS)
    with made.layout.root.with_name("params.yaml").open("w") as file:
        yaml.dump(settings, file)
    return made


def words(project: Project) -> list[str]:
    params = project.layout.root.with_name("params.yaml")
    files = ["--labels", str(project.labels), "--out", str(project.layout.root), "--params", str(params)]
    return ["train", "--fold", "0", *files, "--device", "cpu"]


def trained_alone(project: Project, root: Path) -> dict[str, bytes]:
    """The outputs of the same training that nobody stops."""
    alone = project.copy_to(root)
    settings = read_params(project.layout.root.with_name("params.yaml")).train
    alone.train(0, epochs=settings.epochs, patience=settings.patience)
    return contents(alone.layout.root)


@pytest.mark.slow
def test_ctrl_c_and_then_the_command_it_names_give_the_same_bytes(mine: Project, tmp_path: Path) -> None:
    expected, before = trained_alone(mine, tmp_path / "alone"), contents(mine.layout.root)
    with begin([*words(mine), "--fresh"]) as run:
        read_until(run, "fold 0 (1 of 2), epoch 2 of ")
        *_, told, command = ask(run, signal.SIGINT)
    assert run.returncode == 130
    assert told.startswith("train: SIGINT after ")
    assert told.endswith(" kept. Resume with:")
    assert contents(mine.layout.root) == before
    name, *arguments = shlex.split(command)
    assert (name, arguments) == ("cxrscore", words(mine))  # without --fresh, which would forget it
    with begin(arguments) as run:
        _, said = run.communicate()
    assert (run.returncode, "resuming after " in said) == (0, True)
    assert contents(mine.layout.root) == expected
    assert states(mine) == []


@pytest.mark.slow
def test_sigterm_to_a_stage_of_dvc_names_the_stage(mine: Project) -> None:
    with begin(words(mine), DVC_STAGE="train@0") as run:
        read_until(run, "fold 0 (1 of 2), epoch 2 of ")
        *_, told, command = ask(run, signal.SIGTERM)
    assert run.returncode == 143
    assert told.startswith("train: SIGTERM after ")
    assert command == "dvc repro train@0"
    assert [path.suffix for path in states(mine)] == ["", ".safetensors"]


@pytest.mark.slow
def test_a_step_that_takes_a_minute_is_not_waited_for(mine: Project) -> None:
    with begin([*words(mine), "--state-every-s", "0"], program=("-c", SLOW)) as run:
        read_until(run, "sleeps")
        said = ask(run, signal.SIGTERM)
    assert run.returncode == 143
    assert said[-2] == "stopped within a training step; the last saved state is kept. Resume with:"
    assert shlex.split(said[-1]) == ["cxrscore", *words(mine), "--state-every-s", "0"]
    kept = [path.name for path in states(mine) if path.name != "lock"]
    assert kept == ["state-000000001.safetensors", "state-000000002.safetensors"]
