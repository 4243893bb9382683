"""Two ways of scoring the same images -> both in one order, so that every row of one is a row of the other.

In    two Scored: scores with the truth of the same rows.
Out   the same, the second's rows and findings in the order of the first's. Raises UserError where images,
      findings, labels or patients are not the same.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import UserError, counted
from cxrscore.evaluation.joined_scores import Scored
from cxrscore.tables.polars_frames import places

MANY = 5  # images that a refusal names


def paired(a: Scored, b: Scored, *, called: tuple[str, str]) -> tuple[Scored, Scored]:
    """`called`: what errors name the two. One of them may know no patients, and gets the other's."""
    columns = _columns(a, b, called)
    rows = _rows(a.table.ids, b.table.ids, called)
    table = b.table.rows(rows)
    table = replace(table, findings=tuple(a.findings), y=table.y[:, columns], mask=table.mask[:, columns])
    second = replace(b, findings=a.findings, scores=b.scores[rows][:, columns], table=table)
    _refuse_other_truth(a, second, called)
    if a.table.patient is None or table.patient is None:
        patient = a.table.patient or table.patient
        return with_patients(a, patient), with_patients(second, patient)
    _refuse_other_patients(a, second, called)
    return a, with_patients(second, a.table.patient)  # which may be spelt in another way


def with_patients(scored: Scored, patient: list[str] | None) -> Scored:
    return replace(scored, table=replace(scored.table, patient=patient))


def numbered(names: Sequence[object]) -> NDArray[np.int64]:
    """(n,) groups as numbers, in the order of their first rows: the same for the same groups of rows."""
    known: dict[object, int] = {}
    return np.array([known.setdefault(name, len(known)) for name in names], dtype=np.int64)


def _columns(a: Scored, b: Scored, called: tuple[str, str]) -> list[int]:
    there, other = called
    if set(a.findings) != set(b.findings):
        alone = [
            f"only {name} scores {', '.join(sorted(mine))}"
            for name, mine in (
                (there, set(a.findings) - set(b.findings)),
                (other, set(b.findings) - set(a.findings)),
            )
            if mine
        ]
        raise UserError(
            f"{other}: other findings than {there}: {'; '.join(alone)}; choose two of the same findings, or "
            "remove the columns from score tables."
        )
    return [list(b.findings).index(name) for name in a.findings]


def _rows(ids: Sequence[str], of_b: Sequence[str], called: tuple[str, str]) -> NDArray[np.int64]:
    """(n,) where each image of the first stands in the second. Raises UserError unless the sets are equal."""
    there, other = called
    rows = places(ids, of_b)
    missing = int((rows < 0).sum())
    extra = len(of_b) - (len(ids) - missing)
    if missing == len(ids):
        raise UserError(
            f"{other}: no image in common with {there} ({of_b[0]!r} and {ids[0]!r}, for example); choose two "
            "that score the same images under the same names."
        )
    if missing or extra:
        of_a = set(ids)
        parts = [
            f"{counted(count, 'image')} only in {name} ({_some(mine)})"
            for count, name, mine in (
                (missing, there, [ids[i] for i in np.flatnonzero(rows < 0).tolist()]),
                (extra, other, [name for name in of_b if name not in of_a]),
            )
            if count
        ]
        raise UserError(
            f"{other}: other images than {there}: {' and '.join(parts)}; a paired comparison needs the same "
            "images on both sides: train the same folds, or remove the other rows from score tables. Scores "
            "that `cxrscore score` writes are of other images than those out of fold."
        )
    return rows


def _refuse_other_truth(a: Scored, b: Scored, called: tuple[str, str]) -> None:
    there, other = called
    differ = (a.table.mask != b.table.mask) | (a.table.mask & (a.table.y != b.table.y))
    if not differ.any():
        return
    i, j = map(int, np.argwhere(differ)[0])
    words = [_label(one, i, j) for one in (a, b)]
    raise UserError(
        f"{other}: other labels than {there}: {counted(int(differ.sum()), 'label differs', 'labels differ')} "
        f"in {counted(int(differ.any(1).sum()), 'image')}, such as {a.findings[j]} of {a.table.ids[i]!r} "
        f"({words[0]} and {words[1]}); use --labels to measure both by one table."
    )


def _label(scored: Scored, i: int, j: int) -> str:
    return str(int(scored.table.y[i, j])) if scored.table.mask[i, j] else "unknown"


def _refuse_other_patients(a: Scored, b: Scored, called: tuple[str, str]) -> None:
    there, other = called
    differ = numbered(a.table.patient or ()) != numbered(b.table.patient or ())
    if differ.any():
        i = int(np.flatnonzero(differ)[0])
        raise UserError(
            f"{other}: other patients than {there} for the same images, from {a.table.ids[i]!r} on; use "
            "--labels to measure both by one table."
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:MANY])) + (", ..." if len(names) > MANY else "")
