"""What is plainly wrong is said at once: before torch is imported, and before anything is written."""

import subprocess
import sys

import pytest
from conftest import Project, contents

from cxrscore.errors import UserError
from cxrscore.training.early import refuse_early

WRONG = [
    (7, {}, r"--fold 7: no image is validated in it; folds are 0 to 1"),
    (0, {"batch_size": 64}, r"train.batch_size: 64 is more than the \d+ images to train on"),
    (0, {"init": "gone.safetensors"}, r"train.init: gone.safetensors: no such file"),
]


@pytest.mark.parametrize(("fold", "changes", "message"), WRONG, ids=["fold", "batch", "init"])
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
    assert "error: --fold 7: no image is validated in it" in done.stderr
    assert contents(project.layout.root.parent) == before
