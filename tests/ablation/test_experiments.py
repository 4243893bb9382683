"""The ablation as DVC experiments: one per head and seed, with that head alone in its settings, run once."""

import shutil
import signal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_tiny
from ruamel.yaml import YAML
from test_pipeline import IDENTITY, dvc, run
from trainings import Told

from cxrscore.ablate import ablate_by_experiments
from cxrscore.ablation.experiments import _dvc, facts_of, overrides
from cxrscore.core.device import Machine
from cxrscore.core.errors import Stopped, UserError
from cxrscore.core.paths import Layout
from cxrscore.core.signals import Asked
from cxrscore.model.head_variants import settings_of
from cxrscore.project.create import Source, init_project
from cxrscore.project.params_file import read_params


@pytest.fixture(scope="module")
def made(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A committed project that nothing has run in: one fold, one epoch, and no stage beyond training."""
    project = tmp_path_factory.mktemp("experiments") / "chest"
    init_project(project, Source(phantoms / "labels.csv", phantoms / "images"), preset="demo")
    make_tiny(project / "params.yaml")
    text = (project / "params.yaml").read_text()
    text = text.replace("train: [0, 1]", "train: [0]").replace("epochs: 2", "epochs: 1")
    (project / "params.yaml").write_text(text)
    pipeline = YAML(typ="safe").load(project / "dvc.yaml")
    stages = {name: stage for name, stage in pipeline["stages"].items() if name not in ("evaluate", "report")}
    YAML().dump({"stages": stages}, project / "dvc.yaml")
    run(project, "git", "add", ".")
    run(project, "git", "commit", "--quiet", "--message", "a project")
    return project


@pytest.fixture
def chest(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of its own for a test, where stages find this `python`."""
    for name, value in {**IDENTITY, "CXRSCORE_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", run(tmp_path, "printenv", "PATH").strip())
    return Path(shutil.copytree(made, tmp_path / "chest", symlinks=True))


def by_experiments(project: Path, told: Told, machine: Machine) -> dict[str, Any]:
    return ablate_by_experiments(
        ["independent", "coupling"],
        [0],
        project=project,
        asked=Asked(),
        labels_csv=project / "data" / "labels.csv",
        layout=Layout(project / "out"),
        params=read_params(project / "params.yaml"),
        machine=machine,
        progress=told,
    )


@pytest.mark.slow
def test_heads_are_experiments_that_run_once_and_give_the_table(chest: Path, cpu: Machine) -> None:
    told, again = Told(), Told()
    result = by_experiments(chest, told, cpu)
    names = sorted(dvc(chest, "exp", "list", "--name-only").split())
    assert [name.rpartition("-")[0] for name in names] == [
        "ablate-coupling-seed0",
        "ablate-independent-seed0",
    ]
    shown = run(chest, "git", "for-each-ref", "--format=%(refname)", f"refs/exps/**/{names[1]}")
    settings = YAML(typ="safe").load(StringIO(run(chest, "git", "show", f"{shown.strip()}:params.yaml")))
    own = read_params(chest / "params.yaml").train.head.model_dump()
    assert settings["train"]["head"] == settings_of(["independent"], own)["independent"]
    assert (chest / "out" / "ablation" / "table.csv").is_file()
    assert (
        by_experiments(chest, again, cpu)["heads"]["coupling"]["folds"]
        == result["heads"]["coupling"]["folds"]
    )
    assert again.lines[:2] == [f"ablate: {name} already exists" for name in sorted(names, reverse=True)]


def test_labels_that_dvc_does_not_have_are_refused(chest: Path, cpu: Machine) -> None:
    labels = chest / "data" / "labels.csv"
    text = labels.read_text()
    labels.unlink()  # it is a link to the cache
    labels.write_text(text.replace(",1,", ",0,"))
    with pytest.raises(UserError, match=r"data is not what DVC has; run `cxrscore data use`"):
        by_experiments(chest, Told(), cpu)


def test_what_decides_a_training_is_in_the_name_of_its_experiment(chest: Path, cpu: Machine) -> None:
    params = read_params(chest / "params.yaml")
    labels = chest / "data" / "labels.csv"
    facts = facts_of(labels, params, cpu)
    other = params.model_copy(update={"train": params.train.model_copy(update={"lr": 0.5})})
    half = Machine(cpu.device, torch.bfloat16)
    assert facts == facts_of(labels, params, cpu)
    assert facts != facts_of(labels, other, cpu)
    assert facts != facts_of(labels, params, half)
    assert facts != facts_of(chest / "params.yaml", params, cpu)


def test_a_project_that_differs_from_its_last_commit_is_refused(chest: Path, cpu: Machine) -> None:
    with (chest / "params.yaml").open("a") as file:
        file.write("# mine\n")
    with pytest.raises(UserError, match=r"differs from it: params\.yaml; commit it first"):
        by_experiments(chest, Told(), cpu)


def test_without_git_there_are_no_experiments(tmp_path: Path, chest: Path, cpu: Machine) -> None:
    (chest / ".git").rename(tmp_path / "git")
    with pytest.raises(UserError, match="--experiments needs a git repository: fatal: not a git repository"):
        by_experiments(chest, Told(), cpu)


def test_what_dvc_refuses_is_a_fault_to_mend(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"`dvc get \. out/oof --rev none` failed; the message of DVC is above"
    ):
        _dvc(tmp_path, ["get", ".", "out/oof", "--rev", "none"], Asked())


def test_who_asks_to_stop_stops_dvc_too(tmp_path: Path) -> None:
    with pytest.raises(Stopped, match="its training is kept") as stop:
        _dvc(tmp_path, ["get", ".", "out/oof"], Asked(signal.SIGTERM))
    assert stop.value.code == 143


def test_a_head_replaces_the_section_whole() -> None:
    head = {"kind": "independent", "dropout": 0.1, "pool": "gap"}
    section = '+train.head={kind:"independent",dropout:0.1,pool:"gap"}'
    assert overrides(head, 3) == ["-S", "~train.head", "-S", section, "-S", "train.seed=3"]
