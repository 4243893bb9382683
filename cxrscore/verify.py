"""A score table against what its provenance says of it: its bytes, its models, the files behind its rows.

In    a table that `score` wrote, with its sidecars; perhaps the folder of models and the images.
Out   one Verdict per question: what was compared, and what does not match. Nothing is changed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrscore.core.errors import UserError, counted
from cxrscore.core.files import sha256_file
from cxrscore.core.progress import Progress
from cxrscore.decisions.decision_file import read_decisions, refuse_other_ensemble
from cxrscore.images.decoding.decode import sha256_of
from cxrscore.images.inputs.listing import Listing, list_input
from cxrscore.scoring.decided import NAME, what_is_written
from cxrscore.scoring.output import Outputs
from cxrscore.scoring.provenance import read_provenance
from cxrscore.scoring.row_ids import shown_names, writable
from cxrscore.tables.csv_table import read_table

TOLD = 5  # names in a verdict


@dataclass(frozen=True)
class Verdict:
    """`faults`: a sentence for each thing that does not match; none: it holds."""

    question: str
    faults: Sequence[str] = ()


def verify(
    table: Path,
    *,
    models: Path | None,
    source: str | None,
    inputs: Path | None = None,
    decisions: Path | None = None,
    listed: Mapping[str, Any] | None = None,
    progress: Progress,
) -> Iterator[Verdict]:
    """`listed`: how the images were listed, as `list_input` takes it. Raises UserError where there is no
    provenance to compare with.
    """
    if not table.name:
        raise UserError(f"{table}: not a file name; name the table.")
    files = Outputs(table)
    about = read_provenance(files.provenance)
    decided = about["choices"].get("decisions")
    yield Verdict(f"the table holds {what_is_written(decided)}, by its provenance")
    yield _outputs(files, about["sha256"])
    yield _counts(files, about)
    if models is not None:
        yield _models(models, about["run"]["models"])
    if decisions is None and models is not None and decided is not None:
        decisions = models.parent / NAME
    if decisions is not None:
        yield _decisions(decisions, decided, about["run"])
    if inputs is not None:
        yield _inputs(inputs, about["run"].get("inputs"))
    if source is not None:
        others = [path for path in files.all() if path != Path(source)]
        yield _images(files, list_input(source, exclude=others, **(listed or {})), progress)


def _outputs(files: Outputs, sha256: Mapping[str, str]) -> Verdict:
    """The table and its sidecars may have been renamed together: a provenance names them by their roles."""
    faults = []
    for role, stated in sha256.items():
        path = files.named(role)
        if not path.is_file():
            faults.append(f"{_shown(path)} is missing")
        elif sha256_file(path) != stated:
            faults.append(f"{_shown(path)} has changed: its SHA-256 does not match")
    return Verdict(f"{counted(len(sha256), 'output file')} compared by SHA-256", faults)


def _counts(files: Outputs, about: Mapping[str, Any]) -> Verdict:
    counts, faults = about["counts"], []
    question = f"{counts['listed']} listed = {counts['scored']} scored + {counts['quarantined']} quarantined"
    if counts["listed"] != counts["scored"] + counts["quarantined"]:
        faults.append("the counts do not add up")
    if files.manifest.is_file() and (marks := _column(files.manifest, "fault")) is not None:
        found = marks.count("")
        if found != counts["scored"]:
            faults.append(f"{_shown(files.manifest)} lists {counted(found, 'file')} without a fault")
    if files.table.is_file() and about["choices"]["format"] == "csv" and counts["rows"]:
        ids = _column(files.table, None)
        if ids is None or len(ids) != counts["rows"]:
            rows = "cannot be read" if ids is None else f"has {counted(len(ids), 'row')}"
            faults.append(f"{_shown(files.table)} {rows}, not {counts['rows']}")
    return Verdict(question, faults)


def _column(path: Path, name: str | None) -> list[str] | None:
    """The cells of a column, by default of the first; None where this is no table of text any more."""
    try:
        table = read_table(path)
        return table.column(name) if name else next(iter(table.columns.values()))
    except UserError:
        return None


def _models(folder: Path, stated: Sequence[Mapping[str, Any]]) -> Verdict:
    """By their bytes; a table of an older version may rest on a checkpoint whose facts no seal covered."""
    from cxrscore.core.safetensors_digest import read_sealed  # they import torch
    from cxrscore.model.ensemble import checkpoint_paths

    here = {sha256_file(path): path for path in checkpoint_paths(folder)}
    faults = [
        f"the checkpoint of fold {model['fold']} is missing"
        for model in stated
        if model["sha256"] not in here
    ]
    for path in (here[model["sha256"]] for model in stated if model["sha256"] in here):
        try:
            read_sealed(path)
        except UserError as error:
            faults.append(str(error))
    return Verdict(f"{counted(len(stated), 'checkpoint')} looked up by SHA-256 in {folder}", faults)


def _decisions(path: Path, stated: Mapping[str, Any] | None, run: Mapping[str, Any]) -> Verdict:
    """The file by its bytes, whether it is whole, and of the models that scored."""
    faults = []
    if stated is None:
        faults.append("this table holds the plain mean, by no decisions")
    elif not path.is_file():
        faults.append(f"{_shown(path)} is missing")
    elif sha256_file(path) != stated["sha256"]:
        faults.append(f"{_shown(path)} has changed, or is another file: its SHA-256 does not match")
    else:
        try:
            found, _ = read_decisions(path)
            models = [(model["fold"], model["sha256"]) for model in run["models"]]
            refuse_other_ensemble(path, found, models=models, views=run["views"], findings=run["findings"])
        except UserError as error:
            faults.append(str(error))
    return Verdict("the decisions compared by SHA-256", faults)


def _inputs(table: Path, stated: Mapping[str, Any] | None) -> Verdict:
    faults = []
    if stated is None:
        faults.append("the models of this table read the pixels alone")
    elif stated["table_sha256"] == "none":
        faults.append("scored with --inputs none, and not with a table")
    elif not table.is_file():
        faults.append(f"{_shown(table)} is missing")
    elif sha256_file(table) != stated["table_sha256"]:
        faults.append(f"{_shown(table)} has changed, or is another table: its SHA-256 does not match")
    return Verdict("the table of inputs compared by SHA-256", faults)


def _images(files: Outputs, listing: Listing, progress: Progress) -> Verdict:
    """Each row's bytes once more. Images that came since the run are not its business."""
    manifest = read_table(files.manifest)
    stated = dict(zip(manifest.column("path"), manifest.column("sha256"), strict=True))
    here = dict(zip(shown_names(listing.paths), listing.paths, strict=True))
    fault = dict(zip(manifest.column("path"), manifest.column("fault"), strict=True))
    missing = [
        path for path in stated if path not in here and fault[path] != "VANISHED"
    ]  # not there then, too
    progress.say(f"reading {len(stated):,} files again")
    progress.start("verify", len(stated))
    others = []
    for path, sha256 in stated.items():
        if path in here and sha256 and sha256_of(listing.place(here[path])) != sha256:
            others.append(path)
        progress.advance()
    faults = [
        f"{counted(len(paths), 'file')} {what}: "
        f"{', '.join(paths[:TOLD])}{', ...' if len(paths) > TOLD else ''}"
        for what, paths in (("missing", missing), ("changed: SHA-256 does not match", others))
        if paths
    ]
    return Verdict(f"{counted(len(stated), 'image')} compared by SHA-256", faults)


def _shown(path: Path) -> str:
    return writable(path.name)
