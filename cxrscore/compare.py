"""Two runs, or two score tables, measured on the same images: which has the better figures, how sure that is,
and where nobody can tell.

In    two of: a git revision or DVC experiment of a project, `workspace`, another project's folder, a score
      table. Of a run its out-of-fold tables, its held-out test if it has one, its labels and settings.
Out   the figures of metrics.json that both have, with paired intervals, as a dictionary for JSON and as text.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import UserError
from cxrscore.core.paths import Layout
from cxrscore.core.plain_yaml import read_yaml
from cxrscore.core.progress import Progress
from cxrscore.core.text_table import Block, TextTable, column_widths
from cxrscore.evaluation.compared_figures import KINDS, Row, bootstraps, compared
from cxrscore.evaluation.fold_trainings import check_tables, notes_on_patients, notes_on_settings
from cxrscore.evaluation.joined_scores import Scored, join, join_file, label_settings, pool
from cxrscore.evaluation.paired_scores import numbered, paired
from cxrscore.evaluation.verdict_sentences import DIGITS, shown
from cxrscore.project.params_file import read_compared_params
from cxrscore.project.revisions import commit_of, copy_files
from cxrscore.statistics.group_means import group_means
from cxrscore.statistics.verdicts import Seen
from cxrscore.tables.labels import read_labels
from cxrscore.tables.polars_frames import places
from cxrscore.tables.score_file import read_score_file
from cxrscore.tables.score_table import ScoreTable, read_scores

WORKSPACE = "workspace"
LABELS, TEST_LABELS, PARAMS = "data/labels.csv", "data/test_labels.csv", "params.yaml"  # in a project
TEST_SCORES = "out/test/scores.csv"


@dataclass(frozen=True)
class Side:
    """`scored`: out of fold, or a table's; `fold` (n,) of each image, None for a table; `kinds`: other
    scores, by the names of compared_figures.KINDS.
    """

    called: str
    scored: Scored
    fold: NDArray[np.int64] | None = None
    kinds: Mapping[str, Scored] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def compare(
    a: str | ScoreTable, b: str | ScoreTable, *, project: Path, labels_csv: Path | None, progress: Progress
) -> dict[str, Any]:
    """`labels_csv`: what both are measured by; without it runs have their own, and tables the project's.
    Raises UserError.
    """
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(_opened(given, project=project, labels_csv=labels_csv)) for given in (a, b)
        )
        return compare_sides(first, second, progress=progress)


def compare_sides(a: Side, b: Side, *, progress: Progress) -> dict[str, Any]:
    """Raises UserError where they are not of the same images, findings, labels and patients."""
    called = (a.called, b.called)
    one, other = paired(a.scored, b.scored, called=called)
    if np.isnan(one.areas()).all():
        raise UserError(
            f"{one.table.path}: each finding has a single class in these {len(one.scores):,} images, and no "
            "area; choose labels with both."
        )
    kinds, notes = _kinds(a, b)
    fold = a.fold
    if a.fold is not None and b.fold is not None:
        of_b = b.fold[places(a.scored.table.ids, b.scored.table.ids)]
        if not np.array_equal(numbered(a.fold.tolist()), numbered(of_b.tolist())):
            fold = None
            notes.append(
                "the two have other folds: the images are the same, and each is scored by a model that did "
                "not train on it, but by models of other training images; means of folds are left out"
            )
    else:
        fold = None
    seen_by = [
        [] if side.fold is None else notes_on_patients(side.scored.table, side.fold) for side in (a, b)
    ]
    seen: Seen = "" if bool(seen_by[0]) == bool(seen_by[1]) else "A" if seen_by[0] else "B"
    notes += _notes_on_runs(a, b)
    notes += [f"{name}: {note}" for name, found in zip(called, seen_by, strict=True) for note in found]
    progress.start("comparing", bootstraps(kinds, by_fold=fold is not None))
    found = compared(one, other, kinds=kinds, fold=fold, seen=seen, after=progress.advance)
    said = dict.fromkeys([*found.notes, *notes, *a.notes, *b.notes])
    first = {"same_scores": found.same, "summary": list(found.summary)}
    return _result(one, called, found.rows) | first | {"notes": list(said)}


def _kinds(a: Side, b: Side) -> tuple[dict[str, tuple[Scored, Scored]], list[str]]:
    """What both have beside the plain scores, and notes on what only one has, or has of other images."""
    found, notes = {}, []
    for kind, words in KINDS.items():
        called = (f"{a.called} ({words})", f"{b.called} ({words})")
        if kind in a.kinds and kind in b.kinds:
            try:
                found[kind] = paired(a.kinds[kind], b.kinds[kind], called=called)
            except UserError as error:  # of the same images out of fold, or we were not here
                notes.append(f"{words}: not compared ({error})")
        elif (kind in a.kinds or kind in b.kinds) and a.kinds and b.kinds:
            there, other = (a, b) if kind in a.kinds else (b, a)
            notes.append(f"{words}: not compared, as {there.called} has it and {other.called} has not")
    return found, notes


def _notes_on_runs(a: Side, b: Side) -> list[str]:
    runs = sum(side.fold is not None for side in (a, b))
    if runs == 2:
        return [
            "each out-of-fold score is of a training's best epoch by macro-AUC on these very images: that "
            "flatters runs whose epochs scatter more, and no interval here covers it"
        ]
    if runs == 1:
        return [
            "one side is out of fold: nothing shows that the models behind the score table were not trained "
            "on these images, or are not several"
        ]
    return []


@contextmanager
def _opened(given: str | ScoreTable, *, project: Path, labels_csv: Path | None) -> Iterator[Side]:
    """Files of a revision lie in a temporary folder meanwhile."""
    if isinstance(given, ScoreTable):
        yield _table(given, project=project, labels_csv=labels_csv)
    elif given == WORKSPACE:
        yield _run(project, WORKSPACE, labels_csv=labels_csv)
    elif Path(given).is_file():
        yield _table(read_score_file(Path(given)), project=project, labels_csv=labels_csv)
    elif (Path(given) / PARAMS).is_file():
        yield _run(Path(given), given, labels_csv=labels_csv)
    else:
        commit = commit_of(project, given)
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            try:
                side = _revision(project, commit, given, folder, labels_csv=labels_csv)
            except UserError as error:
                raise UserError(*_renamed(error.lines, folder, given)) from error
            yield replace(side, notes=tuple(_renamed(side.notes, folder, given)))


def _renamed(lines: Sequence[str], folder: Path, called: str) -> list[str]:
    """The paths of copies as git writes those of a revision: HEAD~1:data/labels.csv."""
    return [line.replace(f"{folder}/", f"{called}:") for line in lines]


def _revision(project: Path, commit: str, called: str, folder: Path, *, labels_csv: Path | None) -> Side:
    copy_files(project, commit, [PARAMS], folder, called=called)
    layout, folds = Layout(Path("out")), read_compared_params(folder / PARAMS).folds.train
    tables = [str(layout.scores(fold, views=views)) for fold in folds for views in (False, True)]
    tables += [str(layout.summary(fold)) for fold in folds] + [str(layout.folds)]
    labels = [LABELS] if labels_csv is None else []
    copy_files(project, commit, [*tables, *labels, TEST_SCORES, TEST_LABELS], folder, called=called)
    return _run(folder, called, labels_csv=labels_csv)


def _table(scores: ScoreTable, *, project: Path, labels_csv: Path | None) -> Side:
    settings, path = project / PARAMS, _labels_there(labels_csv or project / LABELS)
    declared = read_compared_params(settings).labels if settings.is_file() else None
    joined, notes = join_file(scores, path, labels=declared)
    return Side(scores.source, joined, notes=tuple(notes))


def _run(root: Path, called: str, *, labels_csv: Path | None) -> Side:
    """A project's folder. Raises UserError where something is missing in it."""
    params, layout = read_compared_params(root / PARAMS), Layout(root / "out")
    plain, averaged = (
        [_present(layout.scores(fold, views=views)) for fold in params.folds.train] for views in (False, True)
    )
    labels = labels_csv or root / LABELS
    settings, notes = label_settings(_labels_there(labels), plain[0].id_column, params.labels)
    table = read_labels(labels, **settings | {"findings": plain[0].findings})
    notes = [f"out of fold: {note}" for note in (*notes, *table.notes)]
    parts, by_view = ([join(one, table) for one in scores] for scores in (plain, averaged))
    folds = params.folds.train
    rows = {(fold, False): part.table.ids for fold, part in zip(folds, parts, strict=True)}
    rows |= {(fold, True): part.table.ids for fold, part in zip(folds, by_view, strict=True)}
    changed = notes_on_settings(layout, folds, read_yaml(root / PARAMS).values)
    notes += [*check_tables(layout, rows), *(f"{called}: {note}" for note in changed)]
    kinds = {"views": pool(by_view)}
    if table.study is not None:
        means = [replace(part, scores=group_means(part.scores, part.table.study or ())) for part in by_view]
        kinds["study"] = pool(means)
    test, test_labels = root / TEST_SCORES, root / TEST_LABELS
    if test.is_file() and test_labels.is_file():
        kinds["test"], more = join_file(read_scores(test), test_labels, labels=params.labels)
        notes += [f"{KINDS['test']}: {note}" for note in more]
    fold = np.repeat(folds, [len(part.table.ids) for part in parts]).astype(np.int64)
    return Side(called, pool(parts), fold, kinds, tuple(notes))


def _present(path: Path) -> ScoreTable:
    if not path.is_file():
        raise UserError(
            f"{path}: no out-of-fold scores here; run `dvc repro`, or `dvc pull` where a remote has them."
        )
    return read_scores(path)


def _labels_there(path: Path) -> Path:
    if not path.is_file():
        raise UserError(f"{path}: no such table of labels; use --labels to name one of the scored images.")
    return path


def _result(one: Scored, called: Sequence[str], rows: Sequence[Row]) -> dict[str, Any]:
    """Numbers under the names of metrics.json. What has no interval has null for its ends."""
    patients = one.patients()
    result: dict[str, Any] = {"a": called[0], "b": called[1], "images": len(one.scores)}
    result |= {"patients": patients} if patients is not None else {}
    for row in rows:
        where = result
        for name in row.key[:-1]:
            where = where.setdefault(name, {})
        ends = row.found.difference
        where[row.key[-1]] = {
            "a": _round(row.found.a),
            "b": _round(row.found.b),
            "difference": _round(ends.value),
            "low": _round(ends.low),
            "high": _round(ends.high),
            "verdict": row.verdict.word,
            "more": row.verdict.more,
            "what": row.what,
            "sentence": row.sentence,
        }
    return result


def _round(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), DIGITS)


def figures_of(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The figures of a result, in its order, wherever they stand in it."""
    found: list[dict[str, Any]] = []
    for value in result.values():
        if isinstance(value, Mapping):
            found += [dict(value)] if "verdict" in value else figures_of(value)
    return found


def comparison_blocks(result: Mapping[str, Any]) -> list[Block]:
    """For a person: the table, a sentence for each row of it, and notes. Rows that are the same share one."""
    figures = figures_of(result)
    rows = [["", "A", "B", "difference", "low", "high", "verdict"]]
    rows += [
        [
            one["what"],
            *(shown(one[side]) for side in ("a", "b")),
            *("" if one[end] is None else shown(one[end], sign="+") for end in ("difference", "low", "high")),
            one["verdict"],
        ]
        for one in figures
    ]
    blocks: list[Block] = [f"A: {result['a']}", f"B: {result['b']}", *result["summary"], ""]
    blocks += [TextTable(rows, headed=True, widths=column_widths(rows)), ""]
    if not result["same_scores"]:
        blocks += [one["sentence"] for one in figures if one["verdict"] != "same"]
        same = [one["what"] for one in figures if one["verdict"] == "same"]
        blocks += [f"The figures of A and B are the same in every resample: {'; '.join(same)}."] * bool(same)
        blocks += [""]
    return [*blocks, *result["notes"]]
