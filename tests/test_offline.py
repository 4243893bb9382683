"""What docs/offline.md says: a wheel, a folder, no network, and every command works away from the clone."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from conftest import TINY, Project

pytestmark = pytest.mark.slow  # a new environment, and torch is imported again
ROOT = Path(__file__).parents[1]
NOWHERE = "http://127.0.0.1:9"  # the port of discard: nobody answers
PROXIES = ("http_proxy", "https_proxy", "all_proxy")
OFFLINE = {name: NOWHERE for proxy in PROXIES for name in (proxy, proxy.upper())}
OFFLINE |= {"HF_HUB_OFFLINE": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def without_network() -> list[str]:
    """The words before a command that take its network away, where the machine lets us; else none."""
    words = ["unshare", "--net", "--map-root-user"]
    known = shutil.which("unshare") is not None
    return words if known and subprocess.run([*words, "true"], capture_output=True).returncode == 0 else []


def run(*words: str | Path, cwd: Path) -> str:
    """A program without network; its stdout."""
    environment = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")
    }
    environment |= OFFLINE | {"CXRSCORE_DEVICE": "cpu"}
    done = subprocess.run(
        [*without_network(), *map(str, words)], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`cxrscore` of an environment that was made from a folder of wheels.

    The packages that it depends on are lent by this environment and stand for their wheels in the folder: pip
    checks their versions against the metadata, and has to take cxrscore itself from the folder.
    """
    root = tmp_path_factory.mktemp("offline")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", root / "wheels", cwd=ROOT)
    run(sys.executable, "-m", "venv", "env", cwd=root)
    python, pip = (root / "env" / "bin" / name for name in ("python", "pip"))
    run(pip, "uninstall", "--yes", "setuptools", cwd=root)  # Python 3.11's is older than torch asks for
    others = root / "others"
    others.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith(("cxrscore", "_cxrscore", "pip", "_virtualenv")):
            (others / entry.name).symlink_to(entry)
    (site,) = run(python, "-c", "import site; print(*site.getsitepackages())", cwd=root).split()
    (Path(site) / "others.pth").write_text(f"{others}\n")
    run(pip, "install", "--no-index", "--find-links", "wheels", "cxrscore", cwd=root)
    return root / "env" / "bin" / "cxrscore"


def test_the_wheel_is_what_runs(installed: Path, tmp_path: Path) -> None:
    code = "import cxrscore; print(cxrscore.__file__)"
    assert str(installed.parents[1]) in run(installed.parent / "python", "-c", code, cwd=tmp_path)
    assert "score" in run(installed, "--help", cwd=tmp_path)


def test_an_installed_wheel_checks_scores_and_verifies(
    installed: Path, project: Project, tmp_path: Path
) -> None:
    images, models = project.data / "test", project.layout.models
    run(installed, "check", images, cwd=tmp_path)
    run(installed, "score", images, "-o", "sub.csv", "--models", models, cwd=tmp_path)
    run(installed, "verify", "sub.csv", "--models", models, "--input", images, cwd=tmp_path)
    assert len((tmp_path / "sub.csv").read_text().splitlines()) == 1 + len([*images.iterdir()])


def test_an_installed_wheel_makes_a_project(installed: Path, project: Project, tmp_path: Path) -> None:
    images = shutil.copytree(project.data / "images", tmp_path / "images")
    words = ["--labels", project.labels, "--images", images, "--preset", "demo"]
    path = f"{installed.parent}{os.pathsep}{os.environ['PATH']}"
    environment = f"PATH={path}"
    run("env", environment, installed, "init", "chest", *words, cwd=tmp_path)
    assert (tmp_path / "chest" / "dvc.yaml").is_file()


def test_weights_carried_by_hand_start_a_training(installed: Path, project: Project, tmp_path: Path) -> None:
    """The page's own command, but for a small backbone and weights that need no download."""
    page = (ROOT / "docs" / "offline.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^python -c '(import timm;.*?)'$", page, re.MULTILINE | re.DOTALL)
    assert "pretrained=True" in code
    code = code.replace("pretrained=True", "pretrained=False").replace("seresnext101_32x4d", TINY)
    run(installed.parent / "python", "-c", code, cwd=tmp_path)
    mine = project.copy_to(tmp_path / "mine")
    params = tmp_path / "params.yaml"
    settings = project.layout.root.with_name("params.yaml").read_text()
    params.write_text(settings.replace("init: none", "init: weights.safetensors"))
    assert "weights.safetensors" in params.read_text()
    words = ["--labels", mine.labels, "--out", mine.layout.root, "--params", params]
    run(installed, "train", "--fold", "0", *words, cwd=tmp_path)
    facts = json.loads((mine.layout.root / "summary" / "fold0.json").read_text())
    assert facts["steps"] > 0
