"""A journal with all rows -> the table and what goes with it, each whole, the table last.

In    a run that is done, and what it is (Setup).
Out   the files beside one another, and the Outcome; UserError where there should be no table.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import UserError, counted, promise
from cxrscore.core.files import move_into_place, sha256_file
from cxrscore.scoring.decided import what_is_written
from cxrscore.scoring.output import (
    ROLES,
    fold_mean,
    fold_spread,
    scored_rows,
    write_errors,
    write_manifest,
    write_probabilities,
)
from cxrscore.scoring.provenance import first_difference, read_provenance, write_provenance
from cxrscore.scoring.row_plan import Fault
from cxrscore.scoring.run import Run
from cxrscore.scoring.setup import Setup
from cxrscore.tables.fold_scores import write_fold_scores

CHOICES = ("id_kind", "level", "on_error", "format", "std", "csv_safe")


@dataclass(frozen=True)
class Outcome:
    """What a run did. `errors_csv` is there exactly where something is quarantined."""

    listed: int
    scored: int
    quarantined: int
    notes: Sequence[str]
    errors_csv: Path | None


def finish(run: Run, setup: Setup) -> Outcome:
    """Every output is written in the journal's folder, where a kill leaves no litter, and then moved."""
    files, plan, options = setup.files, setup.plan, setup.options
    faults = [*plan.faults, *_faults(run)]
    listed, scored = len(plan.paths) + len(plan.faults), len(plan.paths) - run.faults
    promise(listed == scored + len(faults), "a file is neither scored nor quarantined")
    _refuse_nothing(plan.listing.source, faults, scored, fail=options.on_error == "fail")
    staged = _Staged(run.journal.folder)
    write_manifest(staged.place(files.manifest), plan, run.journal)
    if faults:
        write_errors(staged.place(files.errors), faults)
    rows, called = _write_tables(run, setup, staged)
    made = dict(staged.at)
    write_provenance(
        staged.place(files.provenance),
        setup.identity,
        source=plan.listing.source,
        choices=_choices(setup),
        counts={"listed": listed, "scored": scored, "quarantined": len(faults), "rows": rows} | called,
        kinds=[kind for _, _, kind, _ in faults],
        compute={"computed_in_fp32": run.exact, "turned_upright": run.turned, "halved_to": run.halvings},
        outputs={files.role(path): at for path, at in made.items()},
    )
    for path in (files.errors, files.manifest, files.std, files.folds, files.provenance, files.table):
        if path in staged.at:
            move_into_place(staged.at[path], path)
        else:
            path.unlink(missing_ok=True)  # an older run's would speak of this one
    notes = [*setup.notes, *_notes(run), *_note_on_calls(setup, called)]
    return Outcome(listed, scored, len(faults), notes, files.errors if faults else None)


def _notes(run: Run) -> Iterator[str]:
    """What happened that nobody asked for."""
    if run.turned:
        yield f"{counted(run.turned, 'image')} rotated or flipped according to the EXIF orientation"
    if run.exact:
        yield f"{counted(run.exact, 'image')} computed again in fp32, as the first score was not finite"
    if run.halvings:
        yield (
            f"not enough memory for a whole batch: {counted(run.halvings[-1], 'image')} per forward "
            "pass at the end"
        )


def _note_on_calls(setup: Setup, counts: Mapping[str, int]) -> list[str]:
    """Of a table of calls, whose header is that of any other."""
    if setup.decided is None or "undecided" not in counts:
        return []
    without = setup.decided.without_threshold()
    columns = f"; there is no threshold for {', '.join(without)}" if without else ""
    cells = f"{counts['decided']:,} cells decided, {counts['undecided']:,} blank"
    return [f"{setup.files.table}: {what_is_written(setup.decided.facts())}: {cells}{columns}"]


def _choices(setup: Setup) -> dict[str, Any]:
    """What shapes the table without being in the fingerprint: a journal serves any of it."""
    plan = setup.plan
    chosen = {name: value for name, value in asdict(setup.options).items() if name in CHOICES}
    chosen |= {"columns": [plan.id_column, *plan.columns], "rows_sha256": plan.rows_digest()}
    return chosen | ({"decisions": setup.decided.facts()} if setup.decided else {})


class _Staged:
    """Where each output lies until it is moved into place."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.at = folder, dict[Path, Path]()

    def place(self, path: Path) -> Path:
        self.at[path] = self.folder / f"{len(self.at)}.made"  # a table's own name may be long, or `lock`
        return self.at[path]


def _faults(run: Run) -> Iterator[Fault]:
    for rows in run.journal.rows():
        paths = run.plan.paths[rows.start : rows.start + len(rows.files)]
        for path, file in zip(paths, rows.files, strict=True):
            if file.fault is not None:
                stage, kind, message = file.fault
                yield path, stage, kind, message


def _refuse_nothing(source: str, faults: Sequence[Fault], scored: int, *, fail: bool) -> None:
    """Raises UserError where no table should be written: nothing was scored, or all had to be."""
    if faults and (fail or not scored):
        first = "; ".join(f"{path} ({kind}: {message})" for path, _, kind, message in faults[:10])
        remedy = "repair or remove them." if scored else "name the folder of the radiographs."
        raise UserError(
            f"{source}: {counted(len(faults), 'file')} could not be scored; {remedy} First: {first}."
        )


def _write_tables(run: Run, setup: Setup, staged: _Staged) -> tuple[int, dict[str, int]]:
    """The table and, where they were asked for, the spread over folds and each fold's scores; -> rows and,
    of calls, how many cells are decided and how many are not.
    """
    files, options, filling = setup.files, setup.options, setup.options.on_error == "fill"
    prevalence = np.mean([fold.card.prevalence for fold in setup.ensemble], axis=0).astype(np.float32)
    unknown = np.full_like(prevalence, np.nan)

    def write(path: Path, reduce: _Reduce, blank: NDArray[np.float32]) -> int:
        rows = _reduced(run, reduce, blank if filling else None)
        return write_probabilities(
            staged.place(path),
            run.plan,
            rows,
            findings=setup.findings,
            csv_safe=options.csv_safe,
            format=options.format,
        )

    decided = setup.decided
    if options.std:
        write(files.std, decided.spread if decided else fold_spread, unknown)
    if options.by_fold:
        models = [(fold.card.fold, fold.file_sha256) for fold in setup.ensemble]
        by_fold = (
            (name, values) for name, values in scored_rows(run.plan, run.journal) if values is not None
        )
        place = staged.place(files.folds)
        write_fold_scores(place, run.plan.id_column, setup.findings, models, by_fold)
    if decided is None:
        return write(files.table, fold_mean, prevalence), {}
    if decided.binary is None:
        return write(files.table, decided.reduce, prevalence), {}
    counts = {"decided": 0, "undecided": 0}

    def called(by_fold: NDArray[np.float32]) -> NDArray[np.float32]:
        calls = decided.reduce(by_fold)
        blank = int(np.isnan(calls).sum())
        counts["decided"] += calls.size - blank
        counts["undecided"] += blank
        return calls

    rows = write(files.table, called, unknown)
    return rows, counts


_Reduce = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def _reduced(
    run: Run, reduce: _Reduce, blank: NDArray[np.float32] | None
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Rows of (L,); one without a score is left out, or gets `blank`."""
    for name, values in scored_rows(run.plan, run.journal):
        if values is not None:
            yield name, reduce(values)
        elif blank is not None:
            yield name, blank


def finished_before(setup: Setup) -> Outcome:
    """What an earlier call of the same run has done. Raises UserError where that was another run."""
    files = setup.files
    about = read_provenance(files.provenance)
    earlier = {**about["run"], **about["choices"]}
    difference = first_difference(earlier, {**setup.identity, **_choices(setup)})
    if difference is not None:
        name, before, now = difference
        told = f"{name} {before}, now {now}"
        if name.partition(".")[0] == "decisions":
            one, other = (what_is_written(run.get("decisions")) for run in (earlier, _choices(setup)))
            told = f"{one}, now {other}" if one != other else "other decisions"
        raise UserError(f"{files.table}: from a finished run with {told}; --overwrite replaces it.")
    for path in map(files.named, ROLES):
        stated = about["sha256"].get(files.role(path))
        if stated != (sha256_file(path) if path.exists() else None):
            raise UserError(
                f"{path}: changed or removed since it was written; --overwrite writes all files again."
            )
    counts = about["counts"]
    errors = files.errors if counts["quarantined"] else None
    return Outcome(
        counts["listed"],
        counts["scored"],
        counts["quarantined"],
        [*setup.notes, *_note_on_calls(setup, counts), "already finished; nothing to do"],
        errors,
    )
