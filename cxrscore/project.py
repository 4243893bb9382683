"""A DVC project around one's own radiographs: `init` makes one, `data use` puts other data into one.

In    a label table and the folder its names are in.
Out   data/labels.csv and data/images tracked by DVC, dvc.yaml, params.yaml with the table's own columns.
Images are copied, sharing blocks where the file system can, or linked on request; `init` has DVC's cache link
what is in the project, made read-only, so that versioned bytes cannot change under their hash.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from io import StringIO
from itertools import repeat
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from cxrscore.closure import fingerprint
from cxrscore.datasets.describe import Said, describe
from cxrscore.errors import UserError
from cxrscore.files import half_written, write_text
from cxrscore.inputs.folder import Listing, list_images
from cxrscore.params_file import parse_params
from cxrscore.plain_yaml import read_yaml
from cxrscore.preview import cpu_note, preview
from cxrscore.tables import read_table

PRESETS = Path(__file__).parent / "presets"
STAGES = ("prepare", "folds", "train", "evaluate", "report")
NULL = "tag:yaml.org,2002:null"  # else a setting that is null is written as nothing at all
IGNORED = "/.cxrscore/\n/.venv/\n/data\n/out/.*\n"
PARTS = ("data", "data.dvc")
MARK, SIGNED, DONE = "mark", "cxrscore data use 1\n", "done"  # in .data.old, which a call makes and removes
LINKED = "your originals become read-only, for DVC guards what it versions; --copy leaves them alone"
COPIED = "--link would link them instead, which takes no room and makes your originals read-only"
NO_GIT = (
    "There is no git repository, as after unpacking a downloaded ZIP, and DVC needs one: run `git init && "
    "git add . && git commit -m start` there; or, to do without versions, `dvc config core.no_scm true`."
)
FICLONE = 0x40049409  # Linux: share the blocks of another file. Source: ioctl_ficlone(2)


@dataclass(frozen=True)
class Source:
    """Data that a person has: what was said of the table, which `labels` settings were declared, and whether
    images are linked, which makes them read-only, or copied.
    """

    labels_csv: Path
    images: Path
    said: Said = field(default_factory=Said)
    declared: Mapping[str, str] = field(default_factory=dict)
    link: bool = False


@dataclass(frozen=True)
class Outcome:
    """`hindrances`: what a stage after `prepare` would refuse; with none, `dvc repro` runs."""

    notes: list[str]
    hindrances: list[str]


def init_project(
    folder: Path, source: Source, *, preset: str, say: Callable[[str], None] = lambda _: None
) -> Outcome:
    """Nothing is left behind when something is wrong. `say` is called before files are touched."""
    _refuse_missing(source)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: exists and is not an empty folder; name a new one.")
    if folder.resolve().is_relative_to(source.images.resolve()):
        raise UserError(f"{folder}: lies within the images; name a folder elsewhere.")
    if shutil.which("git") is None:
        raise UserError("git: not found, and DVC needs it; install git.")
    listing = list_images(source.images, follow_symlinks=True)
    settings, outcome = plan(source, listing, settings_of=PRESETS / f"{preset}.yaml")
    made = next((path for path in [*reversed(folder.parents), folder] if not path.exists()), None)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        outcome.notes.extend(_take_in(folder / "data", source, listing, say))
        shutil.copy(PRESETS / "pipeline.yaml", folder / "dvc.yaml")
        write_text(folder / "params.yaml", settings)
        write_text(folder / ".gitignore", IGNORED)
        _start_dvc(folder)
        _dvc(folder, "add", "data")
        subprocess.run(["git", "add", "--", "."], cwd=folder, check=True)  # dvc init has staged its own part
    except BaseException:
        shutil.rmtree(made) if made else _empty(folder)
        raise
    return outcome


def plan(source: Source, listing: Listing, *, settings_of: Path) -> tuple[str, Outcome]:
    """The settings for these data, and what is to be said. Raises UserError for what `dvc repro` would refuse
    at once.
    """
    columns, notes = describe(read_table(source.labels_csv), source.said, files=listing.paths)
    settings = _with_columns(settings_of, columns, source.declared)
    params = parse_params(settings, settings_of)
    table, files, hindrances = preview(source.labels_csv, source.images, listing.paths, params)
    notes += [*table.notes, *files.notes, *cpu_note(params, len(table))]
    if files.missing:
        notes.append(f"{len(files.missing):,} labelled images have no file, such as {files.missing[0]!r}")
    strangers = len(set(listing.paths).difference(files.paths))
    if strangers:
        notes.append(f"{strangers:,} files have no label; they are not trained on")
    return settings, Outcome(notes, hindrances)


def use_data(project: Path, source: Source, *, say: Callable[[str], None] = lambda _: None) -> Outcome:
    """Replace data/ by the given data. `dvc add` over the import would keep it: the demo would come back.

    When something is wrong, the project's data and settings are as they were.
    """
    _refuse_missing(source)
    if not (project / "dvc.yaml").is_file() or not (project / "params.yaml").is_file():
        raise UserError(f"{project}: no dvc.yaml and params.yaml; run in a project, or use `cxrscore init`.")
    listing = list_images(source.images, follow_symlinks=True)
    settings, outcome = plan(source, listing, settings_of=project / "params.yaml")
    outcome.notes.extend(_recover(project))
    data, tracked = project / "data", project / "data.dvc"
    if data.exists() and (not tracked.exists() or _changed(project)):
        raise UserError(
            f"{data}: holds changes that DVC has not stored; run `dvc add data`, or move them away."
        )
    old = project / ".data.old"
    fresh = old / "new"
    write_text(old / MARK, SIGNED)
    try:
        outcome.notes.extend(_take_in(fresh, source, listing, say))
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
    return outcome


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


def _refuse_missing(source: Source) -> None:
    if not source.labels_csv.is_file():
        raise UserError(f"{source.labels_csv}: no such label table; name a CSV file.")
    if source.labels_csv.suffix.lower() == ".gz":
        raise UserError(
            f"{source.labels_csv}: unpack it first (gunzip), so that its versions can be compared."
        )
    if not source.images.is_dir():
        raise UserError(
            f"{source.images}: no such folder of images; name the one that the table's names are in."
        )


def _take_in(data: Path, source: Source, listing: Listing, say: Callable[[str], None]) -> list[str]:
    """Bring the images and the table, which a person may edit, into `data` -> notes."""
    count, size = f"{len(listing.paths):,} images", f"{sum(map(max, listing.sizes, repeat(0))) / 1e6:,.1f} MB"
    say(f"linking {count}; {LINKED}" if source.link else f"copying {count}, {size}; {COPIED}")
    bring = _link if source.link else _copy
    copied = sum(not bring(source.images / path, data / "images" / path) for path in listing.paths)
    shutil.copyfile(source.labels_csv, data / "labels.csv")
    notes = [f"{count:,} files left out: {reason}" for reason, count in listing.skipped.items()]
    notes += [f"{path} is left out: {message}" for path, _, message in listing.faults[:10]]
    if copied and source.link:
        notes.append(f"{copied:,} images were copied: the file system does not link them")
    return notes


def _link(source: Path, target: Path) -> bool:
    """Hard-link the file that `source` leads to; False where it had to be copied."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system, or one without hard links
        return _copy(source, target)
    return True


def _copy(source: Path, target: Path) -> bool:
    """False, as it is no link. Where the file system can, the copy shares the original's blocks."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as original, target.open("xb") as copy:
        try:
            fcntl.ioctl(copy.fileno(), FICLONE, original.fileno())
        except OSError:
            shutil.copyfileobj(original, copy, 1 << 20)
    return False


def _move(source: Path, target: Path) -> None:
    if source.exists():
        source.rename(target)


def _with_columns(source: Path, columns: dict[str, Any], declared: Mapping[str, str]) -> str:
    """The settings of `source`, comments kept, with the table's own columns. Raises UserError."""
    anew = {"patient_ids": "text", "readers": "error"}  # whatever was said of another table
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.indent(mapping=2, sequence=4, offset=2)  # as the presets are, so that a diff shows what changed
    yaml.representer.add_representer(type(None), lambda dumper, _: dumper.represent_scalar(NULL, "null"))
    try:
        settings = yaml.load(read_yaml(source).text)
        settings["labels"].update(columns | anew | dict(declared))
        settings["folds"]["method"] = "image" if columns["patient"] is None else "patient"
    except (KeyError, TypeError, AttributeError, YAMLError) as error:
        raise UserError(f"{source}: sections `labels` and `folds` were expected ({error}).") from error
    text = StringIO()
    yaml.dump(settings, text)
    return text.getvalue()


def _start_dvc(folder: Path) -> None:
    if not _in_git(folder):
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


def _in_git(folder: Path) -> bool:
    asked = subprocess.run(["git", "rev-parse", "--git-dir"], cwd=folder, capture_output=True, check=False)
    return asked.returncode == 0


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
        raise UserError(
            f"{folder}: `dvc {' '.join(words)}` failed; correct what DVC names, and repeat the command:",
            *(f"    {line}" for line in said),
            *([] if _in_git(folder) else [NO_GIT]),
        )
    return done.stdout


def _empty(folder: Path) -> None:
    for child in folder.iterdir():
        _remove(child)
