"""What is handed out: the wheel holds the package, the sdist what its tests need, and both say so."""

import email
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TESTS = (
    "test_architecture.py",
    "test_dependencies.py",
    "project/test_params.py",
    "programs/test_breakages.py",
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the unpacked sdist."""
    folder = tmp_path_factory.mktemp("built")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", folder], cwd=ROOT, check=True)
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        archive.extractall(folder, filter="data")
    return folder


def sdist(built: Path) -> Path:
    return next(path for path in built.iterdir() if path.is_dir())


def tracked() -> set[str]:
    """The files that git knows of."""
    if not (ROOT / ".git").exists():
        pytest.skip("not in a repository, as in an unpacked sdist")
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name for name in done.stdout.splitlines() if not name.endswith(".gitignore")}


def test_the_sdist_is_the_repository(built: Path) -> None:
    names = {path.relative_to(sdist(built)).as_posix() for path in sdist(built).rglob("*") if path.is_file()}
    assert tracked() - names == set()


def test_the_wheel_is_the_package_and_nothing_else(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert {name.split("/")[0] for name in names} == {"cxrscore"}
    assert names >= {"cxrscore/py.typed", "cxrscore/presets/demo.yaml", "cxrscore/report.html.j2"}
    assert {name for name in tracked() if name.startswith("cxrscore/")} - names == set()


def test_the_metadata_names_the_python_that_runs_it_and_the_licence(built: Path) -> None:
    """Hatchling refuses a classifier that the index does not know."""
    about = email.message_from_bytes((sdist(built) / "PKG-INFO").read_bytes())
    classifiers = about.get_all("Classifier") or []
    assert f"Programming Language :: Python :: 3.{sys.version_info.minor}" in classifiers
    assert "Operating System :: POSIX :: Linux" in classifiers
    assert (about["Requires-Python"], about["License-Expression"]) == (">=3.11", "Apache-2.0")


@pytest.mark.slow  # 20 s: an unpacked sdist runs some of its own tests
def test_an_unpacked_sdist_passes_its_tests(built: Path) -> None:
    home = sdist(built)
    command = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider"]
    environment = os.environ | {"PYTHONPATH": str(home)}  # before the package that is installed
    words = [f"tests/{name}" for name in TESTS]
    done = subprocess.run([*command, *words], cwd=home, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
