"""The held-out test: images that no fold was trained on, scored by all of them with all views, and measured.

In    data/test_labels.csv and the folder of its images; out/models; data/labels.csv, whose patients may not
      be tested, and out/prepared/index.csv, by which test images with the bytes of a training image count.
Out   out/test/scores.csv, beside it .folds.csv (each fold's own scores), .std.csv (their spread, where there
      are two or more), .manifest.csv (which bytes made which row) and, where a file could not be read,
      .errors.csv; statistics.csv, every figure with its interval; out/test_metrics.json, all under `test`.
Source: Srivastava, Gupta & Nath, "Learning sparse label couplings for multilabel chest X-ray diagnosis", IV:
the mean of three folds and flip views on a held-out test is the figure it leads with.
"""

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cxrscore.core.device import Machine
from cxrscore.core.errors import UserError, counted
from cxrscore.core.files import write_text
from cxrscore.core.paths import Layout
from cxrscore.core.progress import Progress
from cxrscore.evaluate import Measured, by_study, summarise, undefined
from cxrscore.evaluation.held_out import read_test_labels
from cxrscore.evaluation.joined_scores import join, unknown_patients
from cxrscore.evaluation.statistics_table import statistics_of, write_statistics
from cxrscore.images.inputs.folder import list_images
from cxrscore.prepare import find_files
from cxrscore.score import score
from cxrscore.scoring.finish import Outcome
from cxrscore.scoring.options import Options
from cxrscore.scoring.output import Outputs
from cxrscore.statistics.estimates import RESAMPLES
from cxrscore.tables.csv_table import read_table, write_table
from cxrscore.tables.labels import read_labels
from cxrscore.tables.score_table import read_scores

if TYPE_CHECKING:
    from cxrscore.project.params import Params


def test(
    test_labels_csv: Path,
    images: Path,
    *,
    labels_csv: Path,
    layout: Layout,
    params: "Params",
    machine: Machine,
    progress: Progress,
    workers: int,
    resamples: int = RESAMPLES,
) -> Measured:
    """Raises UserError, also where a test patient is one of training; Busy; Stopped, and then the next call
    resumes it. `resamples` of the patients make the intervals; 0: none.
    """
    training = read_labels(labels_csv, **params.labels.model_dump())
    table, notes = read_test_labels(test_labels_csv, training, labels=params.labels)
    listing = list_images(images, follow_symlinks=True)  # DVC may link to its cache, which lies elsewhere
    files = find_files(images, listing, table.ids, max_unreadable=params.prepare.max_unreadable)
    trained = set(read_table(_index(layout)).column("sha256"))
    scored_csv = layout.test / "scores.csv"
    _make(scored_csv.parent)
    gone = set(files.missing)
    there = [name for name in table.ids if name not in gone]
    if not there:
        raise UserError(f"{images}: none of the images of {test_labels_csv} is there; name their folder.")
    with tempfile.TemporaryDirectory() as folder:
        template = Path(folder) / "rows.csv"
        write_table(
            template, [params.labels.id, *table.findings], [[name, *table.findings] for name in there]
        )
        options = Options(
            template=template,
            folds=tuple(params.folds.train),
            inputs=str(test_labels_csv) if getattr(params.train.head, "inputs", ()) else None,
            workers=workers,
            compile="off",
            by_fold=True,
            std=len(params.folds.train) > 1,
        )
        outcome = _scored(images, scored_csv, options, layout.models, machine, progress)
    Outputs(scored_csv).provenance.unlink()  # the time and the device: other bytes each time
    _refuse_many_unreadable(outcome, images, len(table), most=params.prepare.max_unreadable)
    scored = join(read_scores(scored_csv), table)
    identical, of_identical = _identical_files(scored_csv, trained)
    metrics = summarise(scored) | by_study([scored]) | {"identical_files": identical}
    metrics |= _spread(Outputs(scored_csv).std)
    statistics = statistics_of(scored, resamples=resamples, progress=progress)
    write_statistics(layout.test / "statistics.csv", statistics)
    write_text(layout.test_metrics, json.dumps({"test": metrics}, indent=1) + "\n")
    notes += [*files.notes, *scored.notes, *undefined(scored), *of_identical]
    notes += unknown_patients(scored, resamples=resamples)
    if len(table) > outcome.scored:
        notes.append(f"{len(table) - outcome.scored} of {counted(len(table), 'test image')} without a score")
    return Measured(metrics, notes, scored, statistics)


def _scored(
    images: Path, scored_csv: Path, options: Options, models: Path, machine: Machine, progress: Progress
) -> Outcome:
    """Resumes a run that was stopped, unless it was of other models or images."""
    begun = Outputs(scored_csv).journal.exists()
    how: Any = {"models": models, "machine": machine, "progress": progress}
    if begun:
        try:
            return score(str(images), scored_csv, replace(options, resume=True), **how)
        except UserError as error:
            progress.say(f"test: starting over ({error})")
    return score(str(images), scored_csv, replace(options, overwrite=True), **how)


def _spread(std_csv: Path) -> dict[str, dict[str, float]]:
    """`spread`: of each finding the standard deviation over folds, mean over images. Source: figure 6."""
    if not std_csv.is_file():
        return {}
    table = read_scores(std_csv)
    means = table.probs.mean(0, dtype=np.float64)
    return {"spread": {name: round(float(m), 5) for name, m in zip(table.findings, means, strict=True)}}


def _index(layout: Layout) -> Path:
    """Of the training images, by which test images that are among them are found."""
    path = layout.prepared / "index.csv"
    if not path.is_file():
        raise UserError(f"{layout.prepared}: no prepared images here; run `dvc repro prepare`.")
    return path


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"{folder}: a file is in the place of this folder; move it away.") from error


def _refuse_many_unreadable(outcome: Outcome, images: Path, total: int, *, most: float) -> None:
    lost = total - outcome.scored
    if lost / total <= most:
        return
    listed = f"; {outcome.errors_csv} lists those that are there" if outcome.errors_csv else ""
    raise UserError(
        f"{images}: {lost} of {counted(total, 'test image')} cannot be read, more than "
        f"prepare.max_unreadable ({most:g}){listed}: repair them, or raise it."
    )


def _identical_files(scored_csv: Path, trained: set[str]) -> tuple[int, list[str]]:
    """How many test images are, byte for byte, files of training by another name, and a note on them."""
    manifest = read_table(Outputs(scored_csv).manifest)
    files = zip(manifest.column("path"), manifest.column("sha256"), strict=True)
    twice = [path for path, sha256 in files if sha256 in trained]
    number = counted(len(twice), "test image is a file", "test images are files")
    note = f"{number} of training by another name, such as {{}}: the models know them."
    return len(twice), [note.format(repr(path)) for path in twice[:1]]
