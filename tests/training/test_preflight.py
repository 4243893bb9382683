"""What is plainly wrong is said at once: before torch is imported, and before anything is written."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Project, contents

from cxrscore.core.errors import UserError
from cxrscore.core.paths import Layout
from cxrscore.project.params import AugmentParams
from cxrscore.training.preflight import refuse_early, undeclared_files

MIXING = AugmentParams(
    scale=[0.9, 1.0],
    square=False,
    flip=0.5,
    degrees=0.0,
    jitter=0.0,
    rand_ops=0,
    rand_magnitude=9,
    cutout=0.0,
    mixup=0.2,
)
WRONG = [
    (7, {}, r"--fold 7: there are no images in it; folds are from 0 to 1"),
    (0, {"batch_size": 64}, r"train.batch_size: 64 is more than the \d+ images to train on"),
    (0, {"init": "gone.safetensors"}, r"train.init: gone.safetensors: no such file"),
    (
        0,
        {"accumulate": 3},
        r"train.batch_size: 8 cannot be split into 3 passes of 1 processes; .* multiple of 3",
    ),
    (
        0,
        {"epochs": 1, "schedule": "one_cycle", "warmup_epochs": 0.0},
        r"train.schedule: one_cycle has no rise in \d steps?; it needs 4 or more: raise train.epochs",
    ),
    (0, {"batch_size": 6, "accumulate": 2, "augment": MIXING}, r"mixup: .* in odd pieces; .* multiple of 4"),
]


@pytest.mark.parametrize(
    ("fold", "changes", "message"), WRONG, ids=["fold", "batch", "init", "accumulate", "cycle", "mixup"]
)
def test_a_training_that_cannot_be_is_refused(
    project: Project, fold: int, changes: dict[str, object], message: str
) -> None:
    params = project.with_settings(**changes).train
    with pytest.raises(UserError, match=message):
        refuse_early(fold, layout=project.layout, params=params)
    refuse_early(0, layout=project.layout, params=project.params.train)


def test_the_command_says_it_without_torch_and_writes_nothing(project: Project) -> None:
    before = contents(project.layout.root.parent)
    words = ["train", "--fold", "7", "--out", project.layout.root, "--params"]
    words.append(project.layout.root.parent / "params.yaml")
    code = (
        "import atexit, sys; from cxrscore.__main__ import main;"
        "atexit.register(lambda: print('torch' in sys.modules)); main()"
    )
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "False\n")
    assert "error: --fold 7: there are no images in it" in done.stderr
    assert contents(project.layout.root.parent) == before


def test_more_processes_than_the_batch_has_pieces_are_refused(project: Project) -> None:
    with pytest.raises(UserError, match=r"8 cannot be split into 1 passes of 3 processes"):
        refuse_early(0, layout=project.layout, params=project.params.train, processes=3)


def test_an_output_that_is_a_file_is_refused(project: Project, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(UserError, match=r"not writable; name another --out"):
        refuse_early(0, layout=Layout(tmp_path / "out"), params=project.params.train)


def test_before_there_are_folds_the_command_is_named(project: Project, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"out/folds.csv: no such file; `cxrscore folds` makes it"):
        refuse_early(0, layout=Layout(tmp_path / "out"), params=project.params.train)


def test_a_file_that_settings_name_and_the_pipeline_does_not_is_found(
    project: Project, tmp_path: Path
) -> None:
    pipeline = tmp_path / "dvc.yaml"
    train = project.with_settings(init="weights/backbone.safetensors").train
    assert undeclared_files(train, pipeline) == []
    pipeline.write_text("stages:\n  train:\n    deps:\n      - data/labels.csv\n")
    assert undeclared_files(train, pipeline) == [Path("weights/backbone.safetensors")]
    assert undeclared_files(project.params.train, pipeline) == []
    pipeline.write_text("stages:\n  train:\n    deps:\n      - weights/backbone.safetensors\n")
    assert undeclared_files(train, pipeline) == []
