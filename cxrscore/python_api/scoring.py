"""Radiographs -> probabilities, as `cxrscore score`.

In    a folder, pattern, table or archive of images; fold checkpoints; the options of the command.
Out   Scores. With `out` the command's files are written; without it nothing is kept on disk.
"""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from cxrscore.core.errors import Stopped, UserError
from cxrscore.core.text_table import visible
from cxrscore.python_api.arguments import (
    MODELS,
    Abstain,
    Compile,
    Format,
    IdKind,
    Level,
    OnError,
    PathLike,
    flag,
    fold_numbers,
    number,
    number_or_none,
    one_of,
    path_or_none,
    processes,
    seconds,
    table_format,
    view_names,
)
from cxrscore.python_api.progress import shown_progress
from cxrscore.python_api.records import QuarantineWarning, Scores

if TYPE_CHECKING:
    from cxrscore.scoring.options import Options


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
    inputs: PathLike | None = None,
    calibrated: bool = False,
    binary: str | None = None,
    abstain: Abstain | None = None,
    decisions: PathLike | None = None,
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

    `calibrated`, `binary` (the name of a rule) and `abstain` write what `decide` has decided in place of the
    mean: see the command's options. A cell that is left undecided is null, or NaN in a table of Parquet.

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
        inputs=None if inputs is None else os.fspath(inputs),
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
        calibrated=flag("calibrated", calibrated),
        binary=binary,
        abstain=None if abstain is None else one_of("abstain", abstain, Abstain),
        decisions=path_or_none(decisions),
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
    from cxrscore.python_api.frames import scores_of
    from cxrscore.score import score as story
    from cxrscore.scoring.compute_settings import choose_scoring_machine

    machine = choose_scoring_machine(device, dtype)
    with shown_progress(progress) as shown:
        try:
            outcome = story(os.fspath(source), table, options, models=models, machine=machine, progress=shown)
        except Stopped as stopped:
            if kept:
                raise
            lines = (*stopped.lines, "nothing is kept, as `out` was not given")
            raise Stopped(*lines, code=stopped.code) from stopped
    return scores_of(outcome, table, options, path=table if kept else None)
