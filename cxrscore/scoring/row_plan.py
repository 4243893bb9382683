"""Which files are scored, and which rows the table will have: decided before any work, never changed by it.

In    a listing, the models' card, perhaps a template.
Out   Plan; UserError where files, ids and columns do not fit together.
"""

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from cxrscore.core.errors import UserError, counted
from cxrscore.core.files import sha256_bytes
from cxrscore.images.inputs.listing import Listing
from cxrscore.images.reading import PREPROCESSING
from cxrscore.scoring.faults import Cause, known_faults
from cxrscore.scoring.journal import Listed
from cxrscore.scoring.row_ids import (
    Template,
    check_columns,
    ids_of,
    match_template,
    shown_names,
    without_file,
)
from cxrscore.tables.study_names import study_in_name

if TYPE_CHECKING:  # `check` needs no model, and importing torch takes ten seconds
    from cxrscore.model.checkpoint import Card

Fault = tuple[str, str, str, str]  # path, stage, kind, message


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
    def known(self) -> dict[str, Cause]:
        """Path -> stage, kind, message, of files whose fault the listing could tell."""
        return known_faults(self.listing)

    def manifest(self) -> Iterator[Listed]:
        """Path, bytes and times of change of each file, as it was listed; -1: unknown."""
        size_of = dict(zip(self.listing.paths, self.listing.sizes, strict=True))
        for path in self.paths:
            place = self.listing.place(path)
            yield path, size_of[path], place.changed_ns, place.status_ns

    def digest(self) -> str:
        """sha256 over the manifest, in order, over where in an archive each file lies, and over the hashes
        that the listing declares.
        """
        digest = hashlib.sha256()
        for path, size, changed, _ in self.manifest():
            declared, offset = self.listing.sha256.get(path, ""), self.listing.place(path).offset
            digest.update(os.fsencode(f"{size}\t{changed}\t{offset}\t{declared}\t{path}\n"))
        return digest.hexdigest()

    def rows_digest(self) -> str:
        """sha256 over the table's rows: their ids, and which files each shows."""
        shown = None
        if self.studies is not None:
            images = self.studies.image_of_row
            shown = [list(self.studies.of_file), list(self.studies.of_row), images and list(images)]
        return sha256_bytes(json.dumps([list(self.row_ids), shown]).encode())


def make_plan(
    listing: Listing,
    card: "Card",
    *,
    template: Template | None,
    id_kind: str,
    by_study: bool = False,
    fill: bool = False,
) -> tuple[Plan, list[str]]:
    """-> the plan, and notes on what is left out. `fill`: an id of the template without a file is a row of a
    file that is not there. Raises UserError.
    """
    if card.preprocessing != PREPROCESSING:
        raise UserError(
            f"--models: trained on images prepared as {card.preprocessing}; this version prepares "
            f"{PREPROCESSING}: train again, or score with the version that trained them."
        )
    notes = [*(f"{count} skipped: {reason}" for reason, count in listing.skipped.items()), *listing.notes]
    shown_names([*listing.paths, *(path for path, _, _ in listing.folder_faults)])  # as the sidecars will
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
    notes += template.notes
    if studies is None:
        missing = without_file(template, ids, folds_case=listing.folds_case) if fill else []
        asked = replace(template, ids=[name for name in template.ids if name not in set(missing)])
        chosen = match_template(asked, ids, folds_case=listing.folds_case, notes=notes)
        if missing:
            listing, chosen = _with_missing(listing, template.ids, chosen, missing, notes=notes)
        paths = [listing.paths[i] for i in chosen]
        rows = template.ids
        return Plan(listing, paths, rows, rows, template.id_column, template.columns, faults), notes
    return _by_study(listing, ids, studies, template, faults, notes), notes


def _with_missing(
    listing: Listing, ids: Sequence[str], chosen: Sequence[int], missing: Sequence[str], *, notes: list[str]
) -> tuple[Listing, list[int]]:
    """The listing with a file that is not there for each missing id, and `chosen` of all ids in it."""
    whole = listing.with_missing(missing)
    at = {path: i for i, path in enumerate(whole.paths)}
    found = iter(at[listing.paths[i]] for i in chosen)
    lost = set(missing)
    notes.append(
        f"{counted(len(missing), 'id')} of the template without a file, such as {missing[0]!r}: filled"
    )
    return whole, [at[name] if name in lost else next(found) for name in ids]


def _study_names(listing: Listing) -> list[str]:
    """The study of each file: from the table that listed it, or from its name. Raises UserError."""
    if listing.studies:
        return [listing.studies[path] for path in listing.paths]
    names = [study_in_name(path) for path in listing.paths]
    unclear = [path for path, name in zip(listing.paths, names, strict=True) if name is None]
    if unclear:
        raise UserError(
            f"--level study: {counted(len(unclear), 'file name')} without a study, as in "
            f"00000005_001_002.jpg (patient, study, image), first {unclear[0]!r}; score a table with "
            "--study-column instead."
        )
    studies = [name for name in names if name is not None]
    folders = defaultdict(set)
    for path, study in zip(listing.paths, studies, strict=True):
        folders[study].add(path.rpartition("/")[0])
    split = [study for study, places in folders.items() if len(places) > 1]
    if split:
        raise UserError(
            f"--level study: {counted(len(split), 'study has', 'studies have')} images in two folders, "
            f"first {split[0]!r}; are they the same patients? Score a table with --study-column to say so."
        )
    return studies


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
        image_of_row = match_template(template, ids, folds_case=listing.folds_case, notes=notes)
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
