"""A DVC project around a user's own radiographs: `init` makes one, `data use` puts other data into one.

In    a label table and the folder its names are in.
Out   data/labels.csv and data/images tracked by DVC, dvc.yaml, params.yaml with the table's own columns.
Images are copied, sharing blocks where the file system can, or linked on request; `init` has DVC's cache link
what is in the project, made read-only, so that versioned bytes cannot change under their hash.
"""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from itertools import repeat
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from cxrscore.core.errors import UserError, counted
from cxrscore.core.files import write_text
from cxrscore.core.import_closure import fingerprint
from cxrscore.core.plain_yaml import read_yaml
from cxrscore.evaluation.held_out import read_test_labels
from cxrscore.images.inputs.file_list import Listing
from cxrscore.images.inputs.folder import list_images
from cxrscore.prepare import find_files
from cxrscore.project.data_files import (
    DONE,
    MARK,
    SIGNED,
    clear_replaced,
    copy_file,
    link_file,
    move,
    remove,
    replace_settings,
    undo_interrupted,
)
from cxrscore.project.dvc_commands import has_changed, run_dvc, stage_all, start_dvc, unstage_all
from cxrscore.project.params_file import parse_params
from cxrscore.project.pipeline_file import pipeline_text, with_test
from cxrscore.project.preview import cpu_note, preview
from cxrscore.tables.csv_table import Table
from cxrscore.tables.datasets.describe import Said, describe
from cxrscore.tables.datasets.registry import BLANK, label_code
from cxrscore.tables.foreign_table import read_foreign_table
from cxrscore.tables.labels import read_labels

PRESETS = Path(__file__).parents[1] / "presets"
STAGES = ("prepare", "folds", "train", "evaluate", "test", "decide", "report")
TRAINED, HELD_OUT = ("images", "labels.csv"), ("test", "test_labels.csv")  # names in data/
NULL = "tag:yaml.org,2002:null"  # else a setting that is null is written as nothing at all
IGNORED = "/.cxrscore/\n/.venv/\n/data\n/out/.*\n/dvc_plots\n"
LINKED = "your originals become read-only, as DVC protects what it versions; --copy does not touch them"
COPIED = "--link would link them instead, which takes no space but makes your originals read-only"


@dataclass(frozen=True)
class Source:
    """Data that a person has: what was said of the table, which `labels` settings were declared, whether
    images are linked, which makes them read-only, or copied; perhaps `test`, the data of a held-out test.
    """

    labels_csv: Path
    images: Path
    said: Said = field(default_factory=Said)
    declared: Mapping[str, str] = field(default_factory=dict)
    link: bool = False
    test: "Source | None" = None


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
        raise UserError(f"{folder}: exists and is not empty; name a new folder.")
    if folder.resolve().is_relative_to(source.images.resolve()):
        raise UserError(f"{folder}: lies within the images; name a folder elsewhere.")
    if shutil.which("git") is None:
        raise UserError("git: not found, and DVC needs it; install git.")
    listing = list_images(source.images, follow_symlinks=True)
    settings, outcome = plan(source, listing, settings_of=PRESETS / f"{preset}.yaml")
    held_out = _plan_test(source, settings, outcome)
    made = next((path for path in [*reversed(folder.parents), folder] if not path.exists()), None)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        outcome.notes.extend(_take_in(folder / "data", source, listing, say))
        if source.test and held_out:
            outcome.notes.extend(_take_in(folder / "data", source.test, held_out, say, test=True))
        say("setting up git and DVC, which takes a few seconds")
        write_text(folder / "dvc.yaml", with_test(pipeline_text(), wanted=source.test is not None))
        write_text(folder / "params.yaml", settings)
        write_text(folder / ".gitignore", IGNORED)
        start_dvc(folder)
        run_dvc(folder, "add", "data")
        stage_all(folder)
    except BaseException:
        unstage_all(folder)
        shutil.rmtree(made) if made else _empty(folder)
        raise
    return outcome


def plan(source: Source, listing: Listing, *, settings_of: Path, workers: int = 1) -> tuple[str, Outcome]:
    """The settings for these data, and what is to be said. Raises UserError for what `dvc repro` would refuse
    at once.
    """
    _refuse_odd_bytes(listing)
    table = read_foreign_table(source.labels_csv)
    columns, notes = describe(table, source.said, files=listing.paths)
    _refuse_unclear_blanks(source, table, columns["findings"])
    settings = _with_columns(settings_of, columns, source.declared)
    params = parse_params(settings, settings_of)
    labels, files, hindrances = preview(source.labels_csv, source.images, listing, params, workers=workers)
    notes += [*labels.notes, *files.notes, *cpu_note(params, len(labels))]
    if files.missing:
        notes.append(
            f"{counted(len(files.missing), 'labelled image has', 'labelled images have')} no file, such as "
            f"{files.missing[0]!r}"
        )
    strangers = len(set(listing.paths).difference(files.paths))
    if strangers:
        notes.append(f"{counted(strangers, 'file has', 'files have')} no label and will not be used")
    return settings, Outcome(notes, hindrances)


def _plan_test(source: Source, settings: str, outcome: Outcome) -> Listing | None:
    """The images of the held-out test, looked at as the stage `test` will. Raises UserError."""
    test = source.test
    if test is None:
        return None
    _refuse_missing(test)
    params = parse_params(settings, source.labels_csv)
    training = read_labels(source.labels_csv, **params.labels.model_dump())
    table, notes = read_test_labels(test.labels_csv, training, labels=params.labels)
    listing = list_images(test.images, follow_symlinks=True)
    _refuse_odd_bytes(listing)
    files = find_files(test.images, listing, table.ids, max_unreadable=params.prepare.max_unreadable)
    outcome.notes.extend([f"held-out test: {counted(len(table), 'image')}", *notes, *files.notes])
    return listing


def _refuse_unclear_blanks(source: Source, table: Table, findings: Sequence[str]) -> None:
    """A preset's word on blanks is not on those of several readers. Raises UserError."""
    if source.declared.get("readers", "error") == "error" or "blank" in source.declared:
        return
    blanks = sum(label_code(cell) == BLANK for name in findings for cell in table.columns.get(name, []))
    if blanks:
        raise UserError(
            f"{source.labels_csv}: {counted(blanks, 'label')} of several readers left blank; use --blank to "
            "say whether a blank means absent (zero) or unknown (ignore)."
        )


def _refuse_odd_bytes(listing: Listing) -> None:
    """DVC knows no other names. Raises UserError."""
    odd = [path for path in listing.paths if path != path.encode(errors="replace").decode()]
    if odd:
        raise UserError(
            f"{listing.source}: {counted(len(odd), 'file name is', 'file names are')} not UTF-8, such as "
            f"{os.fsencode(odd[0])!r}, and DVC accepts only UTF-8; rename them."
        )


def use_data(project: Path, source: Source, *, say: Callable[[str], None] = lambda _: None) -> Outcome:
    """Replace data/ by the given data. `dvc add` over the import would keep it: the demo would come back.

    When something is wrong, the project's data and settings are as they were.
    """
    _refuse_missing(source)
    if not (project / "dvc.yaml").is_file() or not (project / "params.yaml").is_file():
        raise UserError(f"{project}: no dvc.yaml and params.yaml; run in a project, or use `cxrscore init`.")
    undone = undo_interrupted(project)  # before settings are read, which it may have changed
    listing = list_images(source.images, follow_symlinks=True)
    settings, outcome = plan(source, listing, settings_of=project / "params.yaml")
    held_out = _plan_test(source, settings, outcome)
    pipeline = (project / "dvc.yaml").read_text(encoding="utf-8")
    stages = with_test(pipeline, wanted=source.test is not None)
    outcome.notes.extend(undone)
    data, tracked = project / "data", project / "data.dvc"
    if data.exists() and (not tracked.exists() or has_changed(project)):
        raise UserError(
            f"{data}: holds changes that DVC has not stored; run `dvc add data`, or move them away."
        )
    old = project / ".data.old"
    fresh = old / "new"
    write_text(old / MARK, SIGNED)
    try:
        outcome.notes.extend(_take_in(fresh, source, listing, say))
        if source.test and held_out:
            outcome.notes.extend(_take_in(fresh, source.test, held_out, say, test=True))
        for part in (data, tracked):
            if not part.exists():
                (old / f"{part.name}.absent").touch()
            move(part, old / part.name)
        fresh.rename(data)
        run_dvc(project, "add", "data")
        replace_settings(project, old, {"dvc.yaml": stages, "params.yaml": settings})
    except BaseException:
        undo_interrupted(project)
        raise
    (old / DONE).touch()  # what it has made counts from now on
    clear_replaced(old)
    if source.test is None:
        remove(project / "out" / "test")
        remove(project / "out" / "test_metrics.json")  # of other images
    return outcome


def write_code_fingerprints(folder: Path) -> None:
    """One small file per stage: an installed cxrscore re-runs just the stages whose code changed."""
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
            f"{source.images}: no such folder; name the folder of the images that the table lists."
        )


def _take_in(
    data: Path, source: Source, listing: Listing, say: Callable[[str], None], *, test: bool = False
) -> list[str]:
    """Bring the images and the table, which a person may edit, into `data` -> notes."""
    count, size = (
        counted(len(listing.paths), "image"),
        f"{sum(map(max, listing.sizes, repeat(0))) / 1e6:,.1f} MB",
    )
    say(f"linking {count}; {LINKED}" if source.link else f"copying {count}, {size}; {COPIED}")
    bring = link_file if source.link else copy_file
    images, labels = (
        (data / "test", data / "test_labels.csv") if test else (data / "images", data / "labels.csv")
    )
    copied = sum(not bring(source.images / path, images / path) for path in listing.paths)
    shutil.copyfile(source.labels_csv, labels)
    notes = [f"{counted(count, 'file')} left out: {reason}" for reason, count in listing.skipped.items()]
    notes += [f"{path} is left out: {message}" for path, _, message in listing.faults[:10]]
    if copied and source.link:
        notes.append(f"{counted(copied, 'image')} copied, as the file system does not support links")
    return notes


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


def _empty(folder: Path) -> None:
    for child in folder.iterdir():
        remove(child)
