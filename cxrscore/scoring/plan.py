"""Which files are scored, and which rows the table will have: decided before any work, never changed by it.

In    a listing, the models' card, perhaps a template.
Out   Plan; UserError where files, ids and columns do not fit together.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cxrscore.checkpoint import Card
from cxrscore.errors import UserError
from cxrscore.files import sha256_bytes
from cxrscore.images import PREPROCESSING
from cxrscore.inputs.listing import Listing
from cxrscore.scoring.rows import Template, check_columns, ids_of, match_template

Fault = tuple[str, str, str, str]  # path, stage, kind, message
STUDY_IN_NAME = re.compile(r"(\d+_\d+)_\d+\.[^.]+$")  # Grand X-Ray SLAM: patient, study, image


@dataclass(frozen=True)
class Studies:
    """`of_file[i]`: the study, a number, of file i. Row r of the table shows study `of_row[r]`; where rows
    are images, `image_of_row[r]` is the file whose row it is.
    """

    of_file: Sequence[int]
    of_row: Sequence[int]
    image_of_row: Sequence[int] | None


@dataclass(frozen=True)
class Plan:
    """`paths`, in the order they are scored, and `ids`, one each. `row_ids`: the table's rows, in order; they
    are `ids` unless rows are studies. `faults`: folders that could not be searched.
    """

    listing: Listing
    paths: Sequence[str]
    ids: Sequence[str]
    row_ids: Sequence[str]
    id_column: str
    columns: Sequence[str]
    faults: Sequence[Fault]
    studies: Studies | None = None

    @cached_property
    def known(self) -> dict[str, tuple[str, str, str]]:
        """Path -> stage, kind, message, of files whose fault the listing could tell."""
        return {path: ("list", kind, message) for path, kind, message in self.listing.file_faults}

    def manifest(self) -> Iterator[tuple[str, int]]:
        """Path and bytes of each file, as they were listed."""
        size_of = dict(zip(self.listing.paths, self.listing.sizes, strict=True))
        return ((path, size_of.get(path, -1)) for path in self.paths)

    def digest(self) -> str:
        """sha256 over the manifest, in order."""
        lines = (f"{size}\t{path}\n" for path, size in self.manifest())
        return sha256_bytes(os.fsencode("".join(lines)))


def make_plan(
    listing: Listing, card: Card, *, template: Template | None, id_kind: str, by_study: bool = False
) -> tuple[Plan, list[str]]:
    """-> the plan, and notes on what is left out. Raises UserError."""
    if card.preprocessing != PREPROCESSING:
        raise UserError(
            f"the models were trained on images prepared as {card.preprocessing}; this version prepares "
            f"{PREPROCESSING}: train again, or score with the version that trained them."
        )
    notes = [*(f"{count} skipped: {reason}" for reason, count in listing.skipped.items()), *listing.notes]
    ids = ids_of(listing.paths, id_kind, notes=notes)
    faults = [(path, "list", kind, message) for path, kind, message in listing.folder_faults]
    if template is not None:
        check_columns(template, card.findings)
    studies = _study_names(listing) if by_study else None
    if template is None:
        if studies is None:
            return Plan(listing, listing.paths, ids, ids, card.id_column, card.findings, faults), notes
        names = sorted(set(studies))
        number = {name: i for i, name in enumerate(names)}
        groups = Studies([number[name] for name in studies], range(len(names)), None)
        return Plan(listing, listing.paths, ids, names, "Study", card.findings, faults, groups), notes
    if studies is None:
        chosen = match_template(template, ids, notes=notes)
        paths = [listing.paths[i] for i in chosen]
        rows = template.ids
        return Plan(listing, paths, rows, rows, template.id_column, template.columns, faults), notes
    return _by_study(listing, ids, studies, template, faults, notes), notes


def _study_names(listing: Listing) -> list[str]:
    """The study of each file: from the table that listed it, else from its name. Raises UserError."""
    if listing.studies:
        return [listing.studies[path] for path in listing.paths]
    matches = [STUDY_IN_NAME.search(Path(path).name) for path in listing.paths]
    unclear = [path for path, match in zip(listing.paths, matches, strict=True) if match is None]
    if unclear:
        raise UserError(
            f"--level study: {len(unclear)} file names do not tell their study as 00000005_001_002.jpg does "
            f"(patient, study, image), first {unclear[0]!r}; score a table with --study-column instead."
        )
    return [match[1] for match in matches if match]


def _by_study(
    listing: Listing,
    ids: Sequence[str],
    studies: Sequence[str],
    template: Template,
    faults: Sequence[Fault],
    notes: list[str],
) -> Plan:
    """The template's rows are studies, or images that each get the mean of their study."""
    names = sorted(set(studies))
    number = {name: i for i, name in enumerate(names)}
    image_of_row = None
    if set(template.ids) <= number.keys():
        of_row = [number[name] for name in template.ids]
    else:
        image_of_row = match_template(template, ids, notes=notes)
        of_row = [number[studies[i]] for i in image_of_row]
    wanted = set(of_row)
    kept = [i for i, name in enumerate(studies) if number[name] in wanted]
    place = {i: at for at, i in enumerate(kept)}
    groups = Studies(
        [number[studies[i]] for i in kept],
        of_row,
        None if image_of_row is None else [place[i] for i in image_of_row],
    )
    return Plan(
        listing,
        [listing.paths[i] for i in kept],
        [ids[i] for i in kept],
        template.ids,
        template.id_column,
        template.columns,
        faults,
        groups,
    )
