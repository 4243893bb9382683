"""Labels of images -> labels of their studies, for score tables with one row per study.

In    a LabelTable of images; the ids of the score table's rows.
Out   a LabelTable of studies, and the images of each; None where the ids do not name studies of it.

A study shows a finding where any of its images shows it. It does not show it where all of its images are
known not to; what is left, images without it beside images of which it is not known, is masked.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import counted
from cxrscore.tables.label_table import LabelTable
from cxrscore.tables.polars_frames import places
from cxrscore.tables.study_names import study_in_name


@dataclass(frozen=True)
class Studies:
    """`table`: one row per study, `ids` their names; `images[i]`: the names of the images of row i."""

    table: LabelTable
    images: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


def studies_named(ids: Sequence[str], images: LabelTable) -> Studies | None:
    """The studies of `images`, named as all of `ids` are: patient/study, as a column says it, or as the
    beginning of a file's name (00000005_001 of 00000005_001_002.jpg), as `score --level study` writes them.
    """
    for names in _namings(images):
        if (places(ids, list(dict.fromkeys(names))) >= 0).all():
            return _grouped(images, names)
    return None


def _namings(images: LabelTable) -> Iterator[list[str]]:
    """Ways to name the study of each image; none gives one name to two studies."""
    if images.study is not None:
        yield images.study
        if images.patient is not None:
            owned = zip(images.patient, images.study, strict=True)
            bare = [study.removeprefix(f"{patient}/") for patient, study in owned]
            if len(set(bare)) == len(set(images.study)):
                yield bare
    told = [study_in_name(name) for name in images.ids]
    names = [name for name in told if name is not None]
    if len(names) == len(images):
        yield names


def _grouped(images: LabelTable, names: Sequence[str]) -> Studies:
    order = list(dict.fromkeys(names))
    study = places(names, order)  # (n,) the row of each image's study
    shown, known, count = (np.zeros((len(order), len(images.findings)), dtype=np.int64) for _ in range(3))
    np.add.at(shown, study, (images.y == 1) & images.mask)
    np.add.at(known, study, images.mask)
    np.add.at(count, study, 1)
    members: list[list[str]] = [[] for _ in order]
    for name, row in zip(images.ids, study.tolist(), strict=True):
        members[row].append(name)
    first = np.unique(study, return_index=True)[1]
    positive = shown > 0
    table = replace(
        images.rows(first),
        ids=order,
        y=positive.astype(np.int8),
        mask=positive | (known == count),
        study=None,
        view=None,
        soft=None,
    )
    return Studies(table, tuple(map(tuple, members)), _notes(images, order, shown, known))


def _notes(
    images: LabelTable, order: Sequence[str], shown: NDArray[np.int64], known: NDArray[np.int64]
) -> tuple[str, ...]:
    torn = (shown > 0) & (shown < known)  # (studies, L): some images show it, others do not
    note = (
        f"{images.path}: rows are studies: {counted(len(order), 'study', 'studies')} of "
        f"{counted(len(images), 'labelled image')}; a study shows what any of its images shows."
    )
    if not torn.any():
        return (note,)
    by_finding = Counter(dict(zip(images.findings, torn.sum(0).tolist(), strict=True))).most_common(3)
    most = ", ".join(f"{name} {count}" for name, count in by_finding if count)
    studies = counted(int(torn.any(1).sum()), "study has", "studies have")
    return (note, f"{images.path}: {studies} images that disagree on a finding ({most}).")
