"""What a listing is: every file that was found, in one order, with what cannot be read accounted for.

In    paths, where their bytes lie, what was skipped and why.
Out   Listing.
"""

import os
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from cxrscore.core.errors import UserError, promise
from cxrscore.images.inputs.byte_source import NUMBERS, Place, Places

Fault = tuple[str, str, str]  # path, kind (one of QUARANTINE_KINDS), message

BARRED = Place(os.devnull)  # no regular file: a decoder refuses it, should one be asked
MISSING = "the template has a row for it, and no file has its name; add the file, or correct the name"


@dataclass(frozen=True)
class _Barred:
    """Places, some of which must not be read."""

    places: Places
    barred: frozenset[str]

    def place(self, path: str) -> Place:
        return BARRED if path in self.barred else self.places.place(path)


@dataclass(frozen=True)
class Listing:
    """What was given, with every file accounted for."""

    source: str  # folder, pattern, table or archive, as given
    paths: list[str]  # relative, with "/", sorted by their bytes; rows are named by them
    sizes: "array[int]"  # bytes of each of `paths` once unpacked; -1 where it could not be looked at
    places: Places
    skipped: dict[str, int] = field(default_factory=dict)  # reason -> count
    file_faults: list[Fault] = field(default_factory=list)  # each a quarantined row, under its path
    folder_faults: list[Fault] = field(default_factory=list)  # each a quarantined row of its own, without id
    sha256: dict[str, str] = field(default_factory=dict)  # path -> what a table declares, lower case
    studies: dict[str, str] = field(default_factory=dict)  # path -> study, where a table's column was named
    notes: list[str] = field(default_factory=list)
    folds_case: bool = False  # whether the file system takes names that differ in case alone for one file

    @property
    def faults(self) -> list[Fault]:
        return sorted([*self.folder_faults, *self.file_faults], key=by_bytes)

    def place(self, path: str) -> Place:
        """Where the bytes of one of `paths` lie; BARRED, which no decoder reads, for one with a fault."""
        return self.places.place(path)

    def with_faulty_files(self) -> "Listing":
        """The same, with the files of `file_faults` among `paths`, so that rows and ids are counted once."""
        if not self.file_faults:
            return self
        barred = frozenset(path for path, _, _ in self.file_faults)
        size_of = dict.fromkeys(barred, -1) | dict(zip(self.paths, self.sizes, strict=True))
        promise(len(size_of) == len(barred) + len(self.paths), "a file is listed and faulty")
        paths = sorted(size_of, key=os.fsencode)
        sizes = array("q", map(size_of.__getitem__, paths))
        return replace(self, paths=paths, sizes=sizes, places=_Barred(self.places, barred))

    def with_missing(self, names: Sequence[str]) -> "Listing":
        """With files of these paths that are not there: each a quarantined row. Raises UserError where one is
        the path of a file.
        """
        if there := sorted(set(names).intersection(self.paths)):
            raise UserError(
                f"{self.source}: {there[0]!r} names a file, but the template means another file by it; "
                "score with --id relpath."
            )
        size_of = dict.fromkeys(names, -1) | dict(zip(self.paths, self.sizes, strict=True))
        paths = sorted(size_of, key=os.fsencode)
        return replace(
            self,
            paths=paths,
            sizes=array("q", map(size_of.__getitem__, paths)),
            places=_Barred(self.places, frozenset(names)),
            file_faults=[*self.file_faults, *((name, "VANISHED", MISSING) for name in names)],
        )


def by_bytes(fault: Fault) -> bytes:
    return os.fsencode(fault[0])


def in_order(identities: "array[int]", order: Sequence[int]) -> "array[int]":
    """NUMBERS per file, rearranged."""
    return array("q", (number for i in order for number in identities[NUMBERS * i : NUMBERS * (i + 1)]))
