"""What columns of label tables are called, whatever their case and separators.

In    the names of a table's columns.
Out   the one that holds ids, patients or studies; none where no name is known.
"""

from collections.abc import Iterable

IDS = ("imagename", "image", "imageid", "imageindex", "imagepath", "filename", "file", "path")
PATIENTS = (
    "patientid",
    "patient",
    "subjectid",
    "subject",
    "pid",
    "patid",
    "patientnumber",
    "mrn",
    "caseid",
    "case",
)
WEAK = PATIENTS[4:]  # names that a column of labels may have, as `case` of cases and controls
STUDIES = ("study", "studyid", "studyinstanceuid")
FACTS = (
    "sex",
    "gender",
    "male",
    "female",
    "age",
    "viewcategory",
    "viewposition",
    "view",
    "frontal",
    "lateral",
    "appa",
    "ap",
    "pa",
    "ismale",
    "isfemale",
    "isfrontal",
    "patientsex",
    "patientgender",
    "patientage",
)
SPLITS = (
    "fold",
    "split",
    "istrain",
    "train",
    "isval",
    "val",
    "isvalid",
    "valid",
    "validation",
    "istest",
    "test",
)


def named(names: Iterable[str], known: tuple[str, ...]) -> str | None:
    """The column whose plain name comes first in `known`."""
    found = {plain(name): name for name in reversed(list(names))}
    return next((found[word] for word in known if word in found), None)


def id_column(columns: Iterable[str], *wanted: str) -> str:
    """The first of `wanted` that is a column, else one that is known to hold names of images, else the first
    of `wanted`, which is then missing.
    """
    there = list(columns)
    return next((name for name in wanted if name in there), named(there, IDS) or wanted[0])


def plain(name: str) -> str:
    return "".join(char for char in name.casefold() if char.isalnum())
