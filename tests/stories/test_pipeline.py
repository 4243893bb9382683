"""The pipeline of a new project, run by DVC: everything once, nothing twice, experiments compared."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import make_tiny

from cxrscore.project.create import Source, init_project

pytestmark = pytest.mark.slow  # DVC starts a Python for each stage
STAGES = ["code", "prepare", "folds", "train@0", "train@1", "evaluate", "test", "decide", "report"]
IDENTITY = {f"GIT_{who}_{what}": "tester" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def run(project: Path, *words: str) -> str:
    """A program in the project, where `python` is this one; its stdout."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | IDENTITY | {"PATH": path, "OMP_NUM_THREADS": "1", "CXRSCORE_DEVICE": "cpu"}
    done = subprocess.run(words, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def dvc(project: Path, *words: str) -> str:
    return run(project, sys.executable, "-m", "dvc", *words)


def stages_run(output: str) -> list[str]:
    """The stages that `dvc repro` says it ran, sorted as in STAGES."""
    lines = [line.removeprefix("Running stage '").partition("'") for line in output.splitlines()]
    ran = [name for name, quote, rest in lines if quote and rest == ":"]
    return sorted(ran, key=STAGES.index)


@pytest.fixture(scope="module")
def made(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A tiny project that `dvc repro` has run once and git has committed, and what repro printed."""
    root = tmp_path_factory.mktemp("pipeline")
    shutil.copytree(phantoms / "images", root / "images")
    project = root / "chest"
    test = Source(phantoms / "test_labels.csv", phantoms / "test")
    init_project(project, Source(phantoms / "labels.csv", root / "images", test=test), preset="demo")
    make_tiny(project / "params.yaml")
    output = dvc(project, "repro")
    run(project, "git", "add", ".")
    run(project, "git", "commit", "--quiet", "--message", "a first run")
    return project, output


@pytest.fixture
def project(made: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of its own for a test."""
    return Path(shutil.copytree(made[0], tmp_path / "chest", symlinks=True))


def test_the_first_run_runs_every_stage_and_leaves_every_output(made: tuple[Path, str]) -> None:
    project, output = made
    assert stages_run(output) == STAGES
    files = {str(path.relative_to(project / "out")) for path in (project / "out").rglob("*")}
    assert files >= {"folds.csv", "metrics.json", "report.html", "plots/auc.csv", "code/train.sha256"}
    assert files >= {f"models/fold{fold}.safetensors" for fold in (0, 1)}
    metrics = json.loads((project / "out" / "metrics.json").read_text())
    tested = json.loads((project / "out" / "test_metrics.json").read_text())["test"]
    shown = dvc(project, "metrics", "show", "--precision", "6")
    assert str(metrics["macro_auc"]) in shown and str(tested["macro_auc"]) in shown


def test_git_holds_metrics_and_no_image_nor_model(made: tuple[Path, str]) -> None:
    files = [name for name in run(made[0], "git", "ls-files").split() if not name.endswith(".gitignore")]
    assert {"dvc.lock", "data.dvc", "params.yaml", "out/metrics.json", "out/test_metrics.json"} <= set(files)
    assert not [name for name in files if name.endswith((".jpg", ".safetensors", ".npy", ".html"))]
    assert not [name for name in files if name.startswith(("data/", "out/prepared/", "out/oof/"))]


def test_a_second_run_runs_nothing_but_the_look_at_the_code(project: Path) -> None:
    assert stages_run(dvc(project, "repro")) == ["code"]
    assert run(project, "git", "status", "--porcelain") == ""


def test_other_code_of_a_stage_re_runs_that_stage(project: Path) -> None:
    key = project / "out" / "code" / "report.sha256"
    key.write_text("the report of another version\n")
    status = json.loads(dvc(project, "status", "--json"))
    assert status["report"] == [{"changed deps": {"out/code/report.sha256": "modified"}}]
    assert not {"prepare", "folds", "train@0", "train@1", "evaluate"} & status.keys()


def test_an_experiment_trains_again_and_is_compared_with_the_last_commit(project: Path) -> None:
    before = json.loads((project / "out" / "metrics.json").read_text())["macro_auc"]
    output = dvc(project, "exp", "run", "--set-param", "train.lr=0.02")
    assert stages_run(output) == ["code", "train@0", "train@1", "evaluate", "test", "decide", "report"]
    after = json.loads((project / "out" / "metrics.json").read_text())["macro_auc"]
    every = json.loads(dvc(project, "metrics", "diff", "--json"))
    tested = json.loads((project / "out" / "test_metrics.json").read_text())["test"]
    assert every["out/test_metrics.json"]["test.macro_auc"]["new"] == tested["macro_auc"]
    changes = every["out/metrics.json"]
    assert (changes["macro_auc"]["old"], changes["macro_auc"]["new"]) == (before, after)
    assert "0.02" in (project / "params.yaml").read_text()


def test_dvc_draws_a_line_for_each_finding(made: tuple[Path, str], tmp_path: Path) -> None:
    dvc(made[0], "plots", "show", "--out", str(tmp_path / "plots"))
    page = (tmp_path / "plots" / "index.html").read_text()
    for title, name, axes in (
        ("ROC", "roc", ("fpr", "tpr")),
        ("precision-recall", "pr", ("recall", "precision")),
    ):
        assert f"Out-of-fold {title} curves" in page
        with (made[0] / "out" / "plots" / f"{name}.csv").open(newline="") as file:
            first = next(csv.DictReader(file))
        point = {"finding": first["finding"]} | {axis: first[axis] for axis in axes}
        assert json.dumps(point)[1:-1] in page, "the rows of the table"
    assert page.count('"color": {"field": "finding"') == 2
