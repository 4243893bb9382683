"""What a project asks of DVC and git, and their words where they refuse.

In    a project's folder.
Out   a repository with a DVC project in it; whether tracked data have changed; UserError with their words.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from cxrscore.core.errors import UserError

PRESETS = Path(__file__).parents[1] / "presets"
NO_GIT = (
    "There is no git repository, as after unpacking a downloaded ZIP, and DVC needs one: run `git init && "
    "git add . && git commit -m start` there; or, to do without versions, `dvc config core.no_scm true`."
)


def start_dvc(folder: Path) -> None:
    if not in_git(folder):
        subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    own = (folder / ".git").exists()
    run_dvc(folder, "init", *([] if own else ["--subdir"]))
    for setting, value in (
        ("core.analytics", "false"),
        ("core.check_update", "false"),
        ("cache.type", "hardlink,copy"),
    ):
        run_dvc(folder, "config", setting, value)
    (folder / ".dvc" / "plots").mkdir()
    shutil.copy(
        PRESETS / "curves.json", folder / ".dvc" / "plots"
    )  # one line per finding: DVC has no such template


def stage_all(folder: Path) -> None:
    """Whole: `dvc init` has staged its own part."""
    subprocess.run(["git", "add", "--", "."], cwd=folder, check=True)


def unstage_all(folder: Path) -> None:
    """What a call that failed has put into the index, which may be a repository's around the project."""
    words = ["rm", "--cached", "--force", "-r", "--quiet", "--ignore-unmatch", "--", "."]
    subprocess.run(["git", *words], cwd=folder, capture_output=True, check=False)


def in_git(folder: Path) -> bool:
    asked = subprocess.run(["git", "rev-parse", "--git-dir"], cwd=folder, capture_output=True, check=False)
    return asked.returncode == 0


def has_changed(project: Path) -> bool:
    status = json.loads(run_dvc(project, "status", "--json", "data.dvc"))
    changes = [change for entries in status.values() for change in entries if isinstance(change, dict)]
    return any("changed outs" in change for change in changes)


def run_dvc(folder: Path, *words: str) -> str:
    """Run dvc in a project. Raises UserError with dvc's own words."""
    command = [sys.executable, "-m", "dvc", *words]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, encoding="utf-8", errors="surrogateescape", check=False
    )
    if done.returncode != 0:
        said = (done.stderr + done.stdout).strip().splitlines()  # set in, so that none looks like ours
        raise UserError(
            f"{folder}: `dvc {' '.join(words)}` failed; correct what DVC names, and repeat the command:",
            *(f"    {line}" for line in said),
            *([] if in_git(folder) else [NO_GIT]),
        )
    return done.stdout
