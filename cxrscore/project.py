"""A DVC project around one's own radiographs: `init` makes one, `data use` puts other data into one.

In    a label table and the folder its names are in.
Out   data/labels.csv and data/images tracked by DVC, dvc.yaml, params.yaml with the table's own columns and
      findings.
Images are hard-linked, not copied, where the file system allows, and DVC keeps them so: one copy on disk,
made read-only, so that versioned bytes cannot change under their hash.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from cxrscore.closure import fingerprint
from cxrscore.datasets.describe import describe
from cxrscore.errors import UserError
from cxrscore.files import read_table, write_text

PRESETS = Path(__file__).parent / "presets"
STAGES = ("prepare", "folds", "train", "evaluate", "report")
NULL = "tag:yaml.org,2002:null"  # else a setting that is null is written as nothing at all
IGNORED = "/.cxrscore/\n/.venv/\n/data\n"


def init_project(folder: Path, *, labels_csv: Path, images: Path, preset: str) -> list[str]:
    """-> notes for the person. Nothing is left behind when something is wrong."""
    _check_sources(labels_csv, images)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: exists and is not an empty folder; name a new one.")
    columns = describe(read_table(labels_csv))
    made_here = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        notes = _take_in(folder / "data", labels_csv, images)
        shutil.copy(PRESETS / "pipeline.yaml", folder / "dvc.yaml")
        _write_params(PRESETS / f"{preset}.yaml", folder / "params.yaml", columns)
        write_text(folder / ".gitignore", IGNORED)
        _start_dvc(folder)
        _dvc(folder, "add", "--quiet", "data")
    except BaseException:
        shutil.rmtree(folder) if made_here else _empty(folder)
        raise
    return [*notes, *_notes(columns), "commit the project (`git add . && git commit`) before `dvc exp run`"]


def use_data(project: Path, *, labels_csv: Path, images: Path) -> list[str]:
    """Replace data/ by the given data. `dvc add` over the import would keep it: the demo would come back.

    When something is wrong, the project's data and settings are as they were.
    """
    _check_sources(labels_csv, images)
    if not (project / "dvc.yaml").is_file() or not (project / "params.yaml").is_file():
        raise UserError(f"{project}: no dvc.yaml and params.yaml; run in a project, or use `cxrscore init`.")
    columns = describe(read_table(labels_csv))
    data, tracked = project / "data", project / "data.dvc"
    if data.exists() and (not tracked.exists() or _changed(project)):
        raise UserError(f"{data}: holds changes that DVC has not stored; `dvc add data`, or move them away.")
    fresh, old, old_tracked = project / ".data.new", project / ".data.old", project / ".data.dvc.old"
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        notes = _take_in(fresh, labels_csv, images)
        _move(data, old)
        _move(tracked, old_tracked)
        fresh.rename(data)
        _dvc(project, "add", "--quiet", "data")
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        if old.exists() or old_tracked.exists():
            shutil.rmtree(data, ignore_errors=True)
            _move(old, data)
            _move(old_tracked, tracked)
        raise
    _write_params(project / "params.yaml", project / "params.yaml", columns)
    shutil.rmtree(old, ignore_errors=True)
    old_tracked.unlink(missing_ok=True)
    return [*notes, *_notes(columns)]


def _move(source: Path, target: Path) -> None:
    if source.exists():
        source.rename(target)


def write_code_fingerprints(folder: Path) -> None:
    """One small file a stage: a project that uses an installed cxrscore re-runs a stage when that stage's
    code changed.
    """
    for stage in STAGES:
        write_text(folder / f"{stage}.sha256", fingerprint(f"cxrscore.{stage}") + "\n")


def _check_sources(labels_csv: Path, images: Path) -> None:
    if not labels_csv.is_file():
        raise UserError(f"{labels_csv}: no such label table.")
    if labels_csv.suffix == ".gz":
        raise UserError(f"{labels_csv}: unpack it first (gunzip), so that its versions can be compared.")
    if not images.is_dir():
        raise UserError(f"{images}: no such folder of images.")


def _take_in(data: Path, labels_csv: Path, images: Path) -> list[str]:
    """Link the images and copy the table, which a person may edit, into `data`. -> a note if links failed."""
    copied: list[str] = []

    def place(source: str, target: str) -> None:
        try:
            os.link(source, target)
        except OSError:  # another file system, or one without hard links
            shutil.copy2(source, target)
            copied.append(source)

    shutil.copytree(images, data / "images", copy_function=place, ignore=_hidden)
    shutil.copyfile(labels_csv, data / "labels.csv")
    return [f"{len(copied)} images were copied: the file system does not link them"] if copied else []


def _hidden(_: str, names: list[str]) -> list[str]:
    return [name for name in names if name.startswith(".")]


def _write_params(source: Path, target: Path, columns: dict[str, Any]) -> None:
    """The settings of `source`, comments kept, with the table's own columns."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.indent(mapping=2, sequence=4, offset=2)  # as the presets are, so that a diff shows what changed
    yaml.representer.add_representer(type(None), lambda dumper, _: dumper.represent_scalar(NULL, "null"))
    settings = yaml.load(source.read_text(encoding="utf-8"))
    settings["labels"].update(columns)
    if columns["patient"] is None:
        settings["folds"]["method"] = "image"
    with target.open("w", encoding="utf-8") as file:
        yaml.dump(settings, file)


def _notes(columns: dict[str, Any]) -> list[str]:
    named = f"{len(columns['findings'])} findings: {', '.join(columns['findings'])}"
    missing = "no patient column: folds are by image, and one patient's images may lie on both sides"
    return [named] + [missing] * (columns["patient"] is None)


def _start_dvc(folder: Path) -> None:
    inside = subprocess.run(["git", "rev-parse", "--git-dir"], cwd=folder, capture_output=True, check=False)
    if inside.returncode != 0:
        subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    own = (folder / ".git").exists()
    _dvc(folder, "init", "--quiet", *([] if own else ["--subdir"]))
    for setting, value in (
        ("core.analytics", "false"),
        ("core.check_update", "false"),
        ("cache.type", "hardlink,copy"),
    ):
        _dvc(folder, "config", setting, value)


def _changed(project: Path) -> bool:
    status = json.loads(_dvc(project, "status", "--json", "data.dvc"))
    return any(
        "changed outs" in change
        for changes in status.values()
        for change in changes
        if isinstance(change, dict)
    )


def _dvc(folder: Path, *words: str) -> str:
    """Run dvc in a project. Raises UserError with dvc's own words."""
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *words], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise UserError(f"{folder}: `dvc {' '.join(words)}` failed: {done.stderr.strip()}")
    return done.stdout


def _empty(folder: Path) -> None:
    for child in folder.iterdir():
        shutil.rmtree(child) if child.is_dir() and not child.is_symlink() else child.unlink()
