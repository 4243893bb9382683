"""A DVC project around one's own radiographs: `init` makes one, `data use` puts other data into one.

In    a label table and the folder its names are in.
Out   data/labels.csv and data/images tracked by DVC, dvc.yaml, params.yaml with the table's own columns.
Images are hard-linked, not copied, where the file system allows, and `init` has DVC keep them so: one copy
on disk, made read-only, so that versioned bytes cannot change under their hash.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from cxrscore.closure import fingerprint
from cxrscore.datasets.describe import describe
from cxrscore.errors import UserError
from cxrscore.files import Table, half_written, read_table, write_text
from cxrscore.inputs.folder import list_images
from cxrscore.plain_yaml import read_yaml

PRESETS = Path(__file__).parent / "presets"
STAGES = ("prepare", "folds", "train", "evaluate", "report")
NULL = "tag:yaml.org,2002:null"  # else a setting that is null is written as nothing at all
IGNORED = "/.cxrscore/\n/.venv/\n/data\n/out/.*\n"
PARTS = ("data", "data.dvc")
MARK, SIGNED, DONE = "mark", "cxrscore data use 1\n", "done"  # in .data.old, which a call makes and removes
LINKED = "images are hard-linked; a cache that links too, as init sets it, makes them read-only"


def init_project(folder: Path, *, labels_csv: Path, images: Path, preset: str) -> list[str]:
    """-> notes for the person. Nothing is left behind when something is wrong."""
    table = _read_sources(labels_csv, images)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: exists and is not an empty folder; name a new one.")
    if folder.resolve().is_relative_to(images.resolve()):
        raise UserError(f"{folder}: lies within the images; name a folder elsewhere.")
    if shutil.which("git") is None:
        raise UserError("git was not found; DVC needs it: install git.")
    columns, notes = describe(table)
    settings = _with_columns(PRESETS / f"{preset}.yaml", columns)
    made = next((path for path in [*reversed(folder.parents), folder] if not path.exists()), None)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        notes += _take_in(folder / "data", labels_csv, images, table.columns[columns["id"]])
        shutil.copy(PRESETS / "pipeline.yaml", folder / "dvc.yaml")
        write_text(folder / "params.yaml", settings)
        write_text(folder / ".gitignore", IGNORED)
        _start_dvc(folder)
        _dvc(folder, "add", "data")
    except BaseException:
        shutil.rmtree(made) if made else _empty(folder)
        raise
    return [*notes, "commit the project (`git add . && git commit`) before `dvc exp run`"]


def use_data(project: Path, *, labels_csv: Path, images: Path) -> list[str]:
    """Replace data/ by the given data. `dvc add` over the import would keep it: the demo would come back.

    When something is wrong, the project's data and settings are as they were.
    """
    table = _read_sources(labels_csv, images)
    if not (project / "dvc.yaml").is_file() or not (project / "params.yaml").is_file():
        raise UserError(f"{project}: no dvc.yaml and params.yaml; run in a project, or use `cxrscore init`.")
    columns, notes = describe(table)
    settings = _with_columns(project / "params.yaml", columns)
    notes += _recover(project)
    data, tracked = project / "data", project / "data.dvc"
    if data.exists() and (not tracked.exists() or _changed(project)):
        raise UserError(f"{data}: holds changes that DVC has not stored; `dvc add data`, or move them away.")
    old = project / ".data.old"
    fresh = old / "new"
    write_text(old / MARK, SIGNED)
    try:
        notes += _take_in(fresh, labels_csv, images, table.columns[columns["id"]])
        for part in (data, tracked):
            if not part.exists():
                (old / f"{part.name}.absent").touch()
            _move(part, old / part.name)
        fresh.rename(data)
        _dvc(project, "add", "data")
        write_text(project / "params.yaml", settings)
    except BaseException:
        _recover(project)
        raise
    (old / DONE).touch()  # what it has made counts from now on
    _clear(old)
    return notes


def _recover(project: Path) -> list[str]:
    """What a call that did not end had moved to .data.old goes back to its place; what it had made goes.
    Raises UserError where a person has made either.
    """
    old = project / ".data.old"
    if not old.exists() or not _marked(old):
        return []
    interrupted = not (old / DONE).exists()
    moved = [part for part in PARTS if (old / part).exists() or (old / f"{part}.absent").exists()]
    for part in moved if interrupted else ():
        if (old / "new").exists() and (project / part).exists():  # else it is the new one
            raise UserError(
                f"{project / part}: was made after a call had been interrupted; move it away, and the one "
                "before comes back."
            )
    for part in moved if interrupted else ():
        _remove(project / part)
        _move(old / part, project / part)
    _clear(old)
    return ["an earlier call had been interrupted; what it had done was undone first"] * interrupted


def _marked(old: Path) -> bool:
    """False for one that was not marked yet, which then goes. Raises UserError where it is somebody's own."""
    with suppress(OSError, UnicodeDecodeError):
        if (old / MARK).read_text(encoding="utf-8") == SIGNED:
            return True
    for half in half_written(old, MARK) if old.is_dir() else ():
        half.unlink()
    try:
        old.rmdir()
    except OSError as error:
        raise UserError(
            f"{old}: no mark says that `data use` made it, and it would be deleted; move it away. What an "
            "earlier version had moved there goes back by hand."
        ) from error
    return False


def _clear(old: Path) -> None:
    """The mark goes last: without it nothing here would be deleted."""
    for name in ("new", *PARTS, *(f"{part}.absent" for part in PARTS), DONE, MARK):
        _remove(old / name)
    with suppress(OSError):  # others' files
        old.rmdir()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_code_fingerprints(folder: Path) -> None:
    """One small file a stage: an installed cxrscore re-runs just the stages whose code changed."""
    for stage in STAGES:
        write_text(folder / f"{stage}.sha256", fingerprint(f"cxrscore.{stage}") + "\n")


def _read_sources(labels_csv: Path, images: Path) -> Table:
    if not labels_csv.is_file():
        raise UserError(f"{labels_csv}: no such label table.")
    if labels_csv.suffix.lower() == ".gz":
        raise UserError(f"{labels_csv}: unpack it first (gunzip), so that its versions can be compared.")
    if not images.is_dir():
        raise UserError(f"{images}: no such folder of images.")
    return read_table(labels_csv)


def _take_in(data: Path, labels_csv: Path, images: Path, ids: Iterable[str]) -> list[str]:
    """Link the images and copy the table, which a person may edit, into `data` -> notes. Raises UserError."""
    listing = list_images(images, follow_symlinks=True)
    labelled = set(ids)
    found = labelled & set(listing.paths)
    if not found:
        raise UserError(
            f"{images}: none of the {len(labelled):,} images of {labels_csv} is here; they are named like "
            f"{min(labelled)!r}, the files like {listing.paths[0]!r}."
        )
    copied = sum(not _link(images / path, data / "images" / path) for path in listing.paths)
    shutil.copyfile(labels_csv, data / "labels.csv")
    notes = [f"{count:,} files left out: {reason}" for reason, count in listing.skipped.items()]
    notes += [f"{path} is left out: {message}" for path, _, message in listing.faults[:10]]
    if copied:
        notes.append(f"{copied:,} images were copied: the file system does not link them")
    if copied < len(listing.paths):
        notes.append(LINKED)
    if len(found) < len(labelled):
        notes.append(f"{len(labelled) - len(found):,} labelled images have no file")
    if len(found) < len(listing.paths):
        notes.append(f"{len(listing.paths) - len(found):,} files have no label; they are not trained on")
    return notes


def _link(source: Path, target: Path) -> bool:
    """Hard-link the file that `source` leads to; False where it had to be copied."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)
        return False
    return True


def _move(source: Path, target: Path) -> None:
    if source.exists():
        source.rename(target)


def _with_columns(source: Path, columns: dict[str, Any]) -> str:
    """The settings of `source`, comments kept, with the table's own columns. Raises UserError."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.indent(mapping=2, sequence=4, offset=2)  # as the presets are, so that a diff shows what changed
    yaml.representer.add_representer(type(None), lambda dumper, _: dumper.represent_scalar(NULL, "null"))
    try:
        settings = yaml.load(read_yaml(source).text)
        settings["labels"].update(columns | {"patient_ids": "text"})  # whatever was said of another table
        settings["folds"]["method"] = "image" if columns["patient"] is None else "patient"
    except (KeyError, TypeError, AttributeError, YAMLError) as error:
        raise UserError(f"{source}: sections `labels` and `folds` were expected ({error}).") from error
    text = StringIO()
    yaml.dump(settings, text)
    return text.getvalue()


def _start_dvc(folder: Path) -> None:
    inside = subprocess.run(["git", "rev-parse", "--git-dir"], cwd=folder, capture_output=True, check=False)
    if inside.returncode != 0:
        subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    own = (folder / ".git").exists()
    _dvc(folder, "init", *([] if own else ["--subdir"]))
    for setting, value in (
        ("core.analytics", "false"),
        ("core.check_update", "false"),
        ("cache.type", "hardlink,copy"),
    ):
        _dvc(folder, "config", setting, value)
    (folder / ".dvc" / "plots").mkdir()
    shutil.copy(
        PRESETS / "curves.json", folder / ".dvc" / "plots"
    )  # a line a finding: DVC has no such template


def _changed(project: Path) -> bool:
    status = json.loads(_dvc(project, "status", "--json", "data.dvc"))
    changes = [change for entries in status.values() for change in entries if isinstance(change, dict)]
    return any("changed outs" in change for change in changes)


def _dvc(folder: Path, *words: str) -> str:
    """Run dvc in a project. Raises UserError with dvc's own words."""
    command = [sys.executable, "-m", "dvc", *words]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, encoding="utf-8", errors="surrogateescape", check=False
    )
    if done.returncode != 0:
        said = (done.stderr + done.stdout).strip().splitlines()  # set in, so that none looks like ours
        raise UserError(f"{folder}: `dvc {' '.join(words)}` failed:", *(f"    {line}" for line in said))
    return done.stdout


def _empty(folder: Path) -> None:
    for child in folder.iterdir():
        _remove(child)
