"""A stage's cache key is the code that it runs: no file less, none more."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import cxrscore
from cxrscore.core.import_closure import closure, fingerprint, imports

STAGES = ("prepare", "folds", "train", "evaluate", "test", "decide", "report")
PRINT_KEYS = (
    "import json; from cxrscore.core.import_closure import fingerprint; "
    f"print(json.dumps({{stage: fingerprint('cxrscore.' + stage) for stage in {STAGES}}}))"
)


def keys(folder: Path) -> dict[str, str]:
    """Each stage's fingerprint by the package that lies in the folder."""
    done = subprocess.run(
        [sys.executable, "-c", PRINT_KEYS], cwd=folder, capture_output=True, text=True, check=True
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package's code and templates, to be copied and changed."""
    folder = tmp_path_factory.mktemp("original")
    ignore = shutil.ignore_patterns("__pycache__", "demo")
    shutil.copytree(Path(cxrscore.__file__).parent, folder / "cxrscore", ignore=ignore)
    return folder


@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("cli/stages.py", set()),
        ("score.py", {"test"}),
        ("cli/terminal.py", set()),
        ("project/params.py", set()),
        ("project/params_file.py", set()),
        ("model/loss.py", {"train"}),
        ("evaluation/figures.py", {"report"}),
        ("report.html.j2", {"report"}),
        ("statistics/roc_area.py", {"train", "evaluate", "test", "decide"}),
        ("tables/stratify.py", {"folds"}),
        ("images/image_store.py", {"prepare", "train", "test"}),
        ("core/errors.py", set(STAGES)),
    ],
)
def test_a_change_re_runs_the_stages_that_run_it_and_no_other(
    original: Path, tmp_path: Path, file: str, stages: set[str]
) -> None:
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    before = keys(original)
    path = tmp_path / "cxrscore" / file
    path.write_text(path.read_text() + "\n")
    after = keys(tmp_path)
    assert {stage for stage in STAGES if after[stage] != before[stage]} == stages


def test_a_key_is_of_the_code_and_not_of_its_place(original: Path) -> None:
    assert keys(original) == {stage: fingerprint(f"cxrscore.{stage}") for stage in STAGES}


def test_imports_inside_functions_count_and_those_for_type_checkers_do_not() -> None:
    assert "cxrscore.score" in imports("cxrscore.cli.scoring")
    assert "cxrscore.project.params_file" in imports("cxrscore.cli.stages")
    assert "cxrscore.project.params" not in imports("cxrscore.train")


def test_a_closure_is_sorted_holds_the_module_itself_and_every_file_is_there() -> None:
    files = closure("cxrscore.report")
    assert files == sorted(set(files))
    assert {"cxrscore/report.py", "cxrscore/report.html.j2"} <= set(files)
    assert all((Path(cxrscore.__file__).parents[1] / name).is_file() for name in files)
