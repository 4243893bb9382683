"""What the commands do, as Python functions: for notebooks, scripts and other programs.

In    paths, arrays and plain keyword arguments, named as the options of the command of the same name.
Out   arrays, polars frames and small records of them. Nothing is printed unless `progress=True`.

    from cxrscore.api import evaluate, load_ensemble, score

Paths are text or `pathlib.Path`, relative to the current folder. `workers` are decoding processes: by default
one per core, 16 at most; with 0 this process decodes, and a file that crashes a decoder takes it along.
`device` is auto, cpu, cuda or cuda:N; `dtype` is auto, fp32, bf16 or fp16.

All functions raise `UserError` for what the caller can mend; it says what was found, where, and what would be
right. Where it names an option such as --overwrite, the argument `overwrite` is meant. `Busy` says that
another run holds an output, `Stopped` that a run ended early and what it did is kept: a full disk, too many
files that cannot be read, or Ctrl-C in the main thread.

Heavy libraries are imported when a function first needs them: this module itself imports none.
"""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from cxrscore.calls.arguments import (
    Compile,
    CompileNow,
    Format,
    IdKind,
    Level,
    OnError,
    PathLike,
    flag,
    fold_numbers,
    label_settings,
    number,
    number_or_none,
    one_of,
    path_or_none,
    processes,
    seconds,
    table_format,
    view_names,
)
from cxrscore.calls.records import Checked, Evaluation, FoldTable, Prepared, QuarantineWarning, Scores
from cxrscore.core.errors import Busy, Stopped, Unreadable, UserError
from cxrscore.core.text_table import visible

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import ArrayLike, NDArray

    from cxrscore.core.progress import Progress
    from cxrscore.scoring.options import Options
    from cxrscore.scoring.predictor import Predictor
    from cxrscore.tables.label_table import LabelTable

__all__ = [
    "Busy",
    "Checked",
    "Ensemble",
    "Evaluation",
    "FoldTable",
    "Prepared",
    "QuarantineWarning",
    "Scores",
    "Stopped",
    "Unreadable",
    "UserError",
    "check",
    "evaluate",
    "folds",
    "labels_frame",
    "load_ensemble",
    "phantom",
    "prepare",
    "read_image",
    "read_labels",
    "report",
    "score",
    "stratify",
    "train",
    "verify",
]

LABELS, IMAGES, OUT, MODELS, PARAMS = "data/labels.csv", "data/images", "out", "out/models", "params.yaml"


@dataclass(frozen=True)
class Ensemble:
    """Trained folds in memory, from `load_ensemble`. `size`: pixels per side (S); `bit_depth`: the declared
    depth of 16-bit files, None where none was declared.
    """

    findings: tuple[str, ...]
    size: int
    views: tuple[str, ...]
    folds: tuple[int, ...]
    bit_depth: int | None
    _predictor: "Predictor" = field(repr=False)

    def predict(self, pixels: "NDArray[np.uint8]") -> "NDArray[np.float32]":
        """Probabilities of gray images: (n, S, S) uint8 -> (n, L) float32, the mean over folds and views.

        Column j belongs to `findings[j]`. The numbers are those of `score`, bit for bit, on the same machine
        with the same device, dtype, batch_size and compile; a row does not depend on the other rows. Raises
        UserError for pixels of another type or shape, and for an image that gives no finite number.

        Examples:
            >>> import numpy as np
            >>> from cxrscore.api import load_ensemble
            >>> ensemble = load_ensemble("out/models", device="cpu")
            >>> pixels = np.zeros((2, ensemble.size, ensemble.size), np.uint8)
            >>> probs = ensemble.predict(pixels)
            >>> probs.shape == (2, len(ensemble.findings)), probs.dtype
            (True, dtype('float32'))
        """
        return self._predictor.predict(pixels)

    def read(self, path: PathLike, *, bit_depth: int | None = None) -> "NDArray[np.uint8]":
        """The pixels (S, S) uint8 of one image file, as `score` would see them. `bit_depth`: of samples
        stored in 16 bits, by default as in training. Raises Unreadable.

        Examples:
            >>> from cxrscore.api import load_ensemble
            >>> ensemble = load_ensemble("out/models", device="cpu")
            >>> file = sorted(Path("data/test").iterdir())[0]
            >>> ensemble.read(file).shape == (ensemble.size, ensemble.size)
            True
        """
        return read_image(path, size=self.size, bit_depth=bit_depth or self.bit_depth)


def score(
    source: PathLike,
    *,
    models: PathLike = MODELS,
    out: PathLike | None = None,
    template: PathLike | None = None,
    id: IdKind = "relpath",
    root: PathLike | None = None,
    path_column: str | None = None,
    study_column: str | None = None,
    folds: Sequence[int] | None = None,
    views: Sequence[str] | None = None,
    bit_depth: int | None = None,
    level: Level = "image",
    format: Format | None = None,
    std: bool = False,
    csv_safe: bool = False,
    on_error: OnError = "quarantine",
    max_errors: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    follow_symlinks: bool = False,
    batch_size: int | None = None,
    compile: Compile = "auto",
    shard_rows: int = 256,
    timeout_s: float = 8.0,
    workers: int | None = None,
    device: str = "auto",
    dtype: str = "auto",
    progress: bool = False,
) -> Scores:
    """One row of probabilities per radiograph: the mean over views and folds.

    `source` is a folder, a pattern, a CSV of paths, a .tar or a .zip. With `out`, the files of `cxrscore
    score -o OUT` are written, byte for byte; a run that was stopped resumes with `resume=True`. Without it
    nothing is kept on disk. `template` is a sample submission whose rows, order and columns are kept.

    Files that cannot be read have no row (with `on_error="fill"`: the training prevalences); they are in
    `Scores.errors`, and a QuarantineWarning names the first. Raises UserError, Busy, and Stopped.

    Examples:
        >>> from cxrscore.api import score
        >>> scores = score("data/test", models="out/models", device="cpu", workers=1)
        >>> scores.listed == scores.scored + scores.quarantined == len(scores.table)
        True
        >>> scores.table.columns[:3]
        ['Image_name', 'Atelectasis', 'Cardiomegaly']
        >>> scores.errors.columns
        ['path', 'stage', 'kind', 'message']
    """
    from cxrscore.scoring.options import Options

    options = Options(
        template=path_or_none(template),
        id_kind=one_of("id", id, IdKind),
        root=path_or_none(root),
        path_column=path_column,
        study_column=study_column,
        follow_symlinks=flag("follow_symlinks", follow_symlinks),
        folds=fold_numbers(folds),
        bit_depth=number_or_none("bit_depth", bit_depth, least=8, most=16),
        views=view_names(views),
        level=one_of("level", level, Level),
        batch_size=number_or_none("batch_size", batch_size, least=1, most=4096),
        compile=one_of("compile", compile, Compile),
        workers=processes(workers),
        timeout_s=seconds("timeout_s", timeout_s, least=0.1),
        shard_rows=number("shard_rows", shard_rows, least=1),
        overwrite=flag("overwrite", overwrite),
        resume=flag("resume", resume),
        on_error=one_of("on_error", on_error, OnError),
        max_errors=number_or_none("max_errors", max_errors, least=0),
        format=table_format(path_or_none(out), format),
        std=flag("std", std),
        csv_safe=flag("csv_safe", csv_safe),
    )
    run: dict[str, Any] = {"models": Path(models), "device": device, "dtype": dtype, "progress": progress}
    if out is not None:
        scores = _score(source, Path(out), options, **run)
    elif resume or overwrite:
        raise UserError(
            "out: not given, so there is nothing to resume or to overwrite; name the table's file."
        )
    else:
        with TemporaryDirectory(prefix="cxrscore-") as folder:
            scores = _score(source, Path(folder) / "scores.parquet", options, kept=False, **run)
    if scores.quarantined:
        path, _, kind, message = scores.errors.row(0)
        rows = "hold the training prevalences" if on_error == "fill" else "have no row"
        warnings.warn(
            f"{scores.quarantined:,} of {scores.listed:,} files could not be scored and {rows}; `errors` "
            f"names them, the first is {visible(path)} ({kind}: {visible(message)})",
            QuarantineWarning,
            stacklevel=2,
        )
    return scores


def load_ensemble(
    models: PathLike = MODELS,
    *,
    folds: Sequence[int] | None = None,
    views: Sequence[str] | None = None,
    batch_size: int | None = None,
    compile: CompileNow = "off",
    device: str = "auto",
    dtype: str = "auto",
) -> Ensemble:
    """The fold checkpoints of a folder, in memory: all of them, or exactly those in `folds`.

    `views` are averaged, by default those of the training: plain, flip, zoom, zoom_flip, plain first.
    `batch_size` is images per forward pass (default: 16 on a CPU, 256 on a GPU). `compile` is on or off:
    whether it pays depends on the number of images, which only `score` knows. Raises UserError for a missing
    fold, folds of different trainings, or a damaged file.

    Examples:
        >>> from cxrscore.api import load_ensemble
        >>> ensemble = load_ensemble("out/models", device="cpu")
        >>> ensemble.findings[:2], ensemble.views
        (('Atelectasis', 'Cardiomegaly'), ('plain', 'flip'))
    """
    averaged, chosen = view_names(views), fold_numbers(folds)
    images = number_or_none("batch_size", batch_size, least=1, most=4096)
    compiled = one_of("compile", compile, CompileNow) == "on"

    from cxrscore.scoring.compute_settings import choose_scoring_machine
    from cxrscore.scoring.predictor import load_predictor

    predictor = load_predictor(
        Path(models),
        choose_scoring_machine(device, dtype),
        folds=chosen,
        views=averaged,
        batch_size=images,
        compile=compiled,
    )
    card = predictor.card
    return Ensemble(
        findings=tuple(card.findings),
        size=card.size,
        views=predictor.views,
        folds=predictor.folds,
        bit_depth=card.bit_depth,
        _predictor=predictor,
    )


def read_image(path: PathLike, *, size: int, bit_depth: int | None = None) -> "NDArray[np.uint8]":
    """One image file -> gray pixels (size, size) uint8, upright: those that training and scoring see.

    `bit_depth` is what samples stored in 16 bits have, such as 12. The file is decoded in this process,
    without a time limit. Raises Unreadable, whose `kind` is a word such as TRUNCATED, and UserError.

    Examples:
        >>> from cxrscore.api import read_image
        >>> file = sorted(Path("data/test").iterdir())[0]
        >>> pixels = read_image(file, size=64)
        >>> pixels.shape, pixels.dtype
        ((64, 64), dtype('uint8'))
    """
    import numpy as np

    from cxrscore.images.decoding.decode import decode_into
    from cxrscore.images.inputs.byte_source import Place

    side = number("size", size, least=1, most=4096)
    depth = number_or_none("bit_depth", bit_depth, least=8, most=16)
    pixels = np.empty((side, side), np.uint8)
    found = decode_into(pixels, 0, str(path), Place(os.fspath(path)), bit_depth=depth)
    if found.fault is not None:
        raise Unreadable(found.fault.kind, f"{path}: {found.fault}")
    return pixels


def evaluate(
    scores: "PathLike | Scores | pl.DataFrame | None" = None,
    labels: PathLike = LABELS,
    *,
    out: PathLike = OUT,
    params: PathLike = PARAMS,
) -> Evaluation:
    """Scores against labels: areas under the ROC curve and average precision, by finding and their means.

    `scores` is a table that `score` wrote or returned, or a frame with ids in its first column and one column
    of probabilities per finding. `labels` is read as the section `labels` of `params` says; where there is
    no such file, as a plain table of 0 and 1. Without `scores` the out-of-fold tables of a project are
    measured, and its metrics.json and plots are written, as the stage of the pipeline does. Raises UserError.

    Examples:
        >>> from cxrscore.api import evaluate, score
        >>> scores = score("data/test", device="cpu", workers=1)
        >>> found = evaluate(scores, "data/test_labels.csv")
        >>> found.findings.columns
        ['finding', 'images', 'positives', 'auc', 'average_precision']
        >>> 0 <= found.macro_auc <= 1
        True
    """
    from cxrscore.calls.evaluation import evaluation_of
    from cxrscore.calls.frames import scores_in
    from cxrscore.core.paths import Layout
    from cxrscore.evaluate import evaluate as story
    from cxrscore.evaluate import evaluate_table
    from cxrscore.project.params_file import read_params

    if scores is None:
        settings = read_params(Path(params))
        done = story(Path(labels), Layout(Path(out)), labels=settings.labels, folds=settings.folds.train)
    else:
        declared = read_params(Path(params)).labels if Path(params).exists() else None
        done = evaluate_table(scores_in(scores), Path(labels), labels=declared)
    return evaluation_of(done)


def read_labels(
    path: PathLike = LABELS,
    *,
    params: PathLike | None = None,
    format: Literal["table", "chexpert", "nih"] | None = None,
    id: str | None = None,
    patient: str | None = None,
    patient_pattern: str | None = None,
    study: str | None = None,
    patient_ids: Literal["text", "number", "distinct"] | None = None,
    findings: Sequence[str] = (),
    blank: Literal["zero", "ignore", "error"] | None = None,
    uncertain: Literal["zero", "one", "ignore", "error"] | None = None,
    readers: Literal["error", "majority", "any", "mean"] | None = None,
) -> "LabelTable":
    """A label table: `ids`, `findings`, `y` (n, L) int8 of 0 and 1, `mask` (n, L) bool, `patient`, `study`.

    What is not given is as the section `labels` of `params` says; without `params`, as in a plain table:
    `id` is a column named as images are (Image_name, Image Index, Path, ...), else the first; there are no
    patients and studies; a blank label, one of -1 and a second row of an image are errors; and `findings`
    have to be listed. Where `mask` is False the label is unknown, and `y` is 0. Raises UserError.

    Examples:
        >>> from cxrscore.api import read_labels
        >>> table = read_labels("data/labels.csv", patient="Patient_ID", findings=["Edema", "Fracture"])
        >>> table.y.shape == table.mask.shape == (len(table.ids), 2)
        True
        >>> read_labels("data/labels.csv", params="params.yaml").findings[:2]
        ('Atelectasis', 'Cardiomegaly')
    """
    from cxrscore.evaluation.joined_scores import PLAIN
    from cxrscore.project.params_file import read_params
    from cxrscore.tables import labels
    from cxrscore.tables.datasets.column_names import IDS, named
    from cxrscore.tables.foreign_table import read_foreign_table

    settings = {**PLAIN, "findings": []} if params is None else read_params(Path(params)).labels.model_dump()
    given = {
        "format": format,
        "id": id,
        "patient": patient,
        "patient_pattern": patient_pattern,
        "study": study,
        "patient_ids": patient_ids,
        "findings": list(findings) or None,
        "blank": blank,
        "uncertain": uncertain,
        "readers": readers,
    }
    settings |= {name: value for name, value in given.items() if value is not None}
    if "id" not in settings:
        columns = list(read_foreign_table(Path(path)).columns)
        settings["id"] = named(columns, IDS) or columns[0]
    return labels.read_labels(Path(path), **label_settings(settings))


def labels_frame(table: "LabelTable") -> "pl.DataFrame":
    """A label table as a frame: id, then patient, study, view, sex and age where they are known, then one
    Int8 column per finding, null where the label is unknown.

    Examples:
        >>> from cxrscore.api import labels_frame, read_labels
        >>> frame = labels_frame(read_labels("data/labels.csv", params="params.yaml"))
        >>> frame.columns[:4], frame["Edema"].dtype
        (['id', 'patient', 'study', 'view'], Int8)
    """
    from cxrscore.calls.frames import labels_frame as frame_of

    return frame_of(table)


def stratify(
    y: "ArrayLike", patient: Sequence[Any] | None = None, *, k: int = 5, seed: int = 0
) -> "NDArray[np.int64]":
    """(n, L) labels of 0 and 1 -> (n,) int64, the fold from 0 to k - 1 in which each image is validated.

    Findings and pairs of findings are spread evenly, and no patient lies in two folds. Without `patient` the
    images are dealt one by one, and those of one patient may lie in several folds. The same for the same
    seed on every machine. Raises UserError, as for more folds than patients.

    Examples:
        >>> from cxrscore.api import stratify
        >>> y = [[1, 0], [0, 1], [1, 0], [0, 1]]
        >>> fold = stratify(y, ["a", "b", "c", "d"], k=2)
        >>> sorted(fold.tolist())
        [0, 0, 1, 1]
    """
    import numpy as np

    from cxrscore.tables import stratify as stratification

    number("k", k, least=2)
    number("seed", seed, least=0)
    labels = np.asarray(y)
    if labels.ndim != 2 or not np.isin(labels, (0, 1)).all():
        raise UserError(f"y: an array of shape {labels.shape}; labels of 0 and 1, (n, L), were expected.")
    if patient is None:
        return stratification.stratify_images(labels, k=k, seed=seed)
    if len(patient) != len(labels):
        raise UserError(f"patient: {len(patient)} of {len(labels)} images; give one for each row of y.")
    return stratification.stratify(labels, patient, k=k, seed=seed)


def prepare(
    labels: PathLike = LABELS,
    images: PathLike = IMAGES,
    *,
    out: PathLike = OUT,
    params: PathLike = PARAMS,
    workers: int | None = None,
    progress: bool = False,
) -> Prepared:
    """Decode every labelled image once to S x S, and store it in OUT/prepared. Raises UserError.

    Examples:
        >>> from cxrscore.api import prepare
        >>> prepared = prepare(workers=1)
        >>> len(prepared.index) > 0, len(prepared.quarantine)
        (True, 0)
    """
    import polars as pl

    from cxrscore.calls.frames import read_frame
    from cxrscore.core.paths import Layout
    from cxrscore.prepare import prepare as story
    from cxrscore.project.params_file import read_params

    decoders = processes(workers)
    settings, folder = read_params(Path(params)), Layout(Path(out)).prepared
    with _shown(progress) as shown:
        notes = story(
            Path(labels),
            Path(images),
            folder,
            labels=settings.labels,
            params=settings.prepare,
            workers=decoders,
            progress=shown,
        )
    whole = dict.fromkeys(("width", "height", "shard", "row"), pl.Int64)
    index, quarantine = read_frame(folder / "index.csv", whole), read_frame(folder / "quarantine.csv")
    return Prepared(index, quarantine, tuple(notes))


def folds(labels: PathLike = LABELS, *, out: PathLike = OUT, params: PathLike = PARAMS) -> FoldTable:
    """Assign patients, or images, to folds; write OUT/folds.csv and OUT/balance.json. Raises UserError.

    Examples:
        >>> from cxrscore.api import folds
        >>> folds().table.columns
        ['Image_name', 'Patient_ID', 'fold']
    """
    import polars as pl

    from cxrscore.calls.frames import read_frame
    from cxrscore.core.paths import Layout
    from cxrscore.folds import make_folds, remove_stale
    from cxrscore.project.params_file import read_params

    settings, layout = read_params(Path(params)), Layout(Path(out))
    notes = make_folds(
        Path(labels),
        layout.prepared / "index.csv",
        layout.folds,
        layout.balance,
        labels=settings.labels,
        params=settings.folds,
    )
    stale = remove_stale(layout, params=settings.folds)
    return FoldTable(read_frame(layout.folds, {"fold": pl.Int64}), (*notes, *stale))


def train(
    fold: int,
    *,
    labels: PathLike = LABELS,
    out: PathLike = OUT,
    params: PathLike = PARAMS,
    fresh: bool = False,
    state_every_s: float = 300.0,
    compile: bool = False,
    checkpointing: bool = False,
    device: str = "auto",
    dtype: str = "auto",
    progress: bool = False,
) -> Path:
    """Train one fold's model -> its checkpoint; its out-of-fold tables are written beside it, in OUT/oof.

    A run that was stopped resumes when the same call is made again, unless it is `fresh`. In one process: for
    several GPUs use the command, `cxrscore train --gpus N`. Raises UserError, Busy, and Stopped.

    Examples:
        >>> from cxrscore.api import train
        >>> train(0, device="cpu").name
        'fold0.safetensors'
    """
    from cxrscore.core.paths import Layout
    from cxrscore.project.params_file import read_params
    from cxrscore.training.preflight import refuse_early

    number("fold", fold, least=0)
    keep_every_s = seconds("state_every_s", state_every_s, least=0)
    flags = {"compile": flag("compile", compile), "checkpointing": flag("checkpointing", checkpointing)}
    settings, layout = read_params(Path(params)), Layout(Path(out))
    refuse_early(fold, layout=layout, params=settings.train)

    from cxrscore.core.device import choose_machine
    from cxrscore.core.signals import asked_to_stop
    from cxrscore.train import Keeping, train_fold

    machine = choose_machine(device, dtype, **flags)
    with asked_to_stop() as asked, _shown(progress) as shown:
        train_fold(
            fold,
            labels_csv=Path(labels),
            layout=layout,
            params=settings,
            machine=machine,
            progress=shown,
            keeping=Keeping(keep_every_s, flag("fresh", fresh)),
            asked=asked,
        )
    return layout.checkpoint(fold)


def report(*, out: PathLike = OUT, params: PathLike = PARAMS) -> Path:
    """Write OUT/report.html from what `evaluate()` has measured, and return its path. Raises UserError.

    Examples:
        >>> from cxrscore.api import evaluate, report
        >>> found = evaluate()
        >>> report().name
        'report.html'
    """
    from cxrscore.core.paths import Layout
    from cxrscore.project.params_file import read_params
    from cxrscore.report import write_report

    layout = Layout(Path(out))
    write_report(layout, folds=read_params(Path(params)).folds.train)
    return layout.report


def check(
    source: PathLike,
    *,
    size: int = 380,
    bit_depth: int | None = None,
    root: PathLike | None = None,
    path_column: str | None = None,
    follow_symlinks: bool = False,
    timeout_s: float = 8.0,
    workers: int | None = None,
    progress: bool = False,
) -> Checked:
    """Read every file as `score` would, and list what it would quarantine; needs no model. Raises UserError.

    Examples:
        >>> from cxrscore.api import check
        >>> found = check("data/test", size=32, workers=1)
        >>> found.listed == found.readable, found.errors.columns
        (True, ['path', 'stage', 'kind', 'message'])
    """
    import polars as pl

    from cxrscore.calls.frames import ERRORS
    from cxrscore.check import check as story

    with _shown(progress) as shown:
        found = story(
            os.fspath(source),
            size=number("size", size, least=32, most=4096),
            bit_depth=number_or_none("bit_depth", bit_depth, least=8, most=16),
            workers=processes(workers),
            timeout_s=seconds("timeout_s", timeout_s, least=0.1),
            listed={
                "root": path_or_none(root),
                "path_column": path_column,
                "follow_symlinks": follow_symlinks,
            },
            exclude=(),
            progress=shown,
        )
    shapes = [(width, height, images) for (width, height), images in sorted(found.shapes.items())]
    return Checked(
        listed=found.listed,
        readable=found.readable,
        errors=pl.DataFrame(found.faults, ERRORS, orient="row"),
        shapes=pl.DataFrame(shapes, dict.fromkeys(("width", "height", "images"), pl.Int64), orient="row"),
        turned_upright=found.turned,
        notes=tuple(found.notes),
    )


def verify(
    table: PathLike,
    *,
    models: PathLike | None = None,
    source: PathLike | None = None,
    root: PathLike | None = None,
    path_column: str | None = None,
    follow_symlinks: bool = False,
    progress: bool = False,
) -> "pl.DataFrame":
    """A table that `score` wrote against its provenance -> question, holds (bool) and faults (a list of
    sentences): its bytes and counts; its models and its images where they are named. Raises UserError.

    Examples:
        >>> from cxrscore.api import score, verify
        >>> scores = score("data/test", out="checked.csv", overwrite=True, device="cpu", workers=1)
        >>> verdicts = verify("checked.csv", models="out/models", source="data/test")
        >>> verdicts["holds"].to_list()
        [True, True, True, True]
    """
    import polars as pl

    from cxrscore.verify import verify as story

    listed = {"root": path_or_none(root), "path_column": path_column, "follow_symlinks": follow_symlinks}
    with _shown(progress) as shown:
        verdicts = list(
            story(
                Path(table),
                models=path_or_none(models),
                source=None if source is None else os.fspath(source),
                listed=listed,
                progress=shown,
            )
        )
    rows = [(verdict.question, not verdict.faults, list(verdict.faults)) for verdict in verdicts]
    schema: dict[str, Any] = {"question": pl.String, "holds": pl.Boolean, "faults": pl.List(pl.String)}
    return pl.DataFrame(rows, schema, orient="row")


def phantom(
    out: PathLike, *, images: int = 1000, size: int = 512, seed: int = 0, workers: int | None = None
) -> Path:
    """Make synthetic chest radiographs with labels in a new folder: no patient, no licence. -> the folder,
    which holds images/, labels.csv, test/, test_labels.csv and sample_submission.csv. Raises UserError.

    Examples:
        >>> from cxrscore.api import phantom
        >>> folder = phantom("phantoms", images=4, size=32, workers=1)
        >>> len(list(folder.rglob("*.jpg")))
        4
    """
    from cxrscore.phantom import make_phantoms

    make_phantoms(
        Path(out),
        images=number("images", images, least=1),
        size=number("size", size, least=32, most=4096),
        seed=number("seed", seed, least=0),
        workers=max(1, processes(workers)),
    )
    return Path(out)


def _score(
    source: PathLike,
    table: Path,
    options: "Options",
    *,
    models: Path,
    device: str,
    dtype: str,
    progress: bool,
    kept: bool = True,
) -> Scores:
    """The story's run, and its files as frames; not `kept`, they lie in a folder that is about to go."""
    from cxrscore.calls.frames import scores_of
    from cxrscore.score import score as story
    from cxrscore.scoring.compute_settings import choose_scoring_machine

    machine = choose_scoring_machine(device, dtype)
    with _shown(progress) as shown:
        try:
            outcome = story(os.fspath(source), table, options, models=models, machine=machine, progress=shown)
        except Stopped as stopped:
            if kept:
                raise
            lines = (*stopped.lines, "nothing is kept, as `out` was not given")
            raise Stopped(*lines, code=stopped.code) from stopped
    return scores_of(outcome, table, options, path=table if kept else None)


@contextmanager
def _shown(progress: bool) -> "Iterator[Progress]":
    """Progress on stderr, as the commands write it, or none."""
    if not progress:
        from cxrscore.core.progress import Silent

        yield Silent()
        return

    from cxrscore.cli.messages import on_terminal

    with on_terminal() as terminal:
        yield terminal
