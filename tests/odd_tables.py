"""Label tables with the oddities that people's files have, each with what it means.

In    hypothesis' choices.
Out   OddTable: the bytes of the file, how polars reads it, the flags that a person would give, the truth.
"""

import csv
import io
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field

import polars as pl
from hypothesis import strategies as st

FILES = ["p1_a.png", "p1_b.png", "p2_a.png", "sub/p3_a.png", "caf\u00e9_1.png", "1.2.826.0.1.png", "p2_a.tif"]
TWINS = ("p2_a.png", "p2_a.tif")  # which no name without its suffix tells apart
FINDINGS = ["Edema", "Lung Lesion", "No Finding", "Effusion, left"]
BLANK, UNCERTAIN = None, -1
SPELL: dict[str, Callable[[int], str]] = {
    "whole": str,
    "point": lambda label: f"{label}.0",
    "comma": lambda label: f"{label},0",
    "bool": lambda label: {0: "False", 1: "True"}.get(label, "-1"),
    "padded": lambda label: f" {label}",
    "science": lambda label: f"{label:.3e}",
}
NAMED: dict[str, Callable[[str], str]] = {
    "exact": str,
    "no suffix": lambda name: name.rpartition(".")[0],
    "other suffix": lambda name: name.rpartition(".")[0] + ".dcm",
    "NFD": lambda name: unicodedata.normalize("NFD", name),
    "separators": lambda name: ".\\" + name.replace("/", "\\"),
    "padded": lambda name: f"{name} ",
}


@dataclass(frozen=True)
class OddTable:
    """`rows[i]`: the file of row i and its labels, 1, 0, -1 or None, in the order of `findings`."""

    data: bytes
    delimiter: str
    above: int  # lines above the header
    id: str
    findings: list[str]
    rows: list[tuple[str, list[int | None]]]
    unclear: bool  # a name that two files fit
    agreeing: bool  # whether two rows of one image have the same cells
    declared: dict[str, str] = field(default_factory=dict)

    def taken(self) -> dict[str, list[int | None]]:
        """The findings that have labels of two kinds, a blank counting as 0."""
        labels = {name: [row[i] for _, row in self.rows] for i, name in enumerate(self.findings)}
        return {name: of for name, of in labels.items() if len({label or 0 for label in of}) > 1}

    def refusals(self) -> set[str]:
        """What has to be said of it, of which one thing is; nothing where it is to be accepted."""
        taken, found = list(self.taken().values()), set()
        if not taken:
            return {"no column is a finding"}
        if any(UNCERTAIN in of for of in taken) and "uncertain" not in self.declared:
            found.add("is uncertain, the first")
        if not self.agreeing and "readers" not in self.declared:
            found.add("is also on line")
        if "readers" in self.declared and "blank" not in self.declared and any(BLANK in of for of in taken):
            found.add("say by --blank whether")
        return found | (
            {"do not mean one file alone", "is of patient", "is also on line"} if self.unclear else set()
        )

    def reference(self) -> pl.DataFrame:
        """As polars reads it: `file`, a row number, and Float64 labels, null where blank."""
        text = self.data.decode("utf-8-sig").split("\n", self.above)[-1]
        read = pl.read_csv(
            text.encode(),
            separator=self.delimiter,
            infer_schema=False,
            truncate_ragged_lines=True,
        ).fill_null("")
        read = read.rename({name: name.strip() for name in read.columns})
        read = read.filter(pl.col(self.id) != "")
        word = pl.col(self.findings).str.strip_chars().str.to_lowercase().str.replace(",", ".", literal=True)
        word = word.replace({"true": "1", "false": "0", "nan": None, "": None})
        labels = read.select(word.cast(pl.Float64))
        return labels.with_columns(pl.Series("file", [file for file, _ in self.rows]))


@st.composite
def odd_tables(draw: st.DrawFn) -> OddTable:
    files = draw(st.lists(st.sampled_from(FILES), min_size=3, max_size=len(FILES), unique=True))
    findings = draw(st.lists(st.sampled_from(FINDINGS), min_size=1, max_size=4, unique=True))
    readers = draw(st.sampled_from([1, 1, 1, 2, 3]))
    odd = draw(st.sampled_from([[], [], [BLANK], [BLANK], [UNCERTAIN], [BLANK, UNCERTAIN]]))
    label = st.sampled_from([0, 1, 0, 1, *odd])
    drawn = st.lists(label, min_size=len(findings), max_size=len(findings))
    rows = [(file, draw(drawn)) for file in files for _ in range(readers)]
    if readers == 1 and draw(st.booleans()):
        rows.append(rows[draw(st.integers(0, len(rows) - 1))])  # a row repeated exactly
    spell = draw(st.sampled_from([*SPELL.values()]))
    ways = draw(st.sampled_from([[one] for one in NAMED] + [["exact", "no suffix", "padded"], [*NAMED]]))
    way_of = {file: draw(st.sampled_from(ways)) for file in files}  # one for all rows of a file
    blank = draw(st.sampled_from(["", "", "nan", "NaN"]))
    id = draw(st.sampled_from(["Image_name", "image_id", "StudyInstanceUID", "scan"]))
    columns = {id: [NAMED[way_of[file]](file) for file, _ in rows]}
    columns |= draw(_further([files.index(file) for file, _ in rows]))
    if readers > 1 and draw(st.booleans()):
        columns["rad_id"] = [f"R{i % readers}" for i in range(len(rows))]
    if draw(st.booleans()):
        patient_of = {file: draw(st.sampled_from(["7", "8", "0007", " 9"])) for file in files}
        columns["Patient_ID"] = [patient_of[file] for file, _ in rows]
    for i, name in enumerate(findings):
        columns[name] = [blank if row[i] is None else spell(row[i]) for _, row in rows]
    cells = list(zip(*columns.values(), strict=True))
    of_file = {
        file: {row for (name, _), row in zip(rows, cells, strict=True) if name == file} for file in files
    }
    return OddTable(
        **draw(_written(columns)),
        id=id,
        findings=findings,
        rows=rows,
        unclear=any(way_of.get(twin, "exact") in ("no suffix", "other suffix") for twin in TWINS),
        agreeing=all(len(rows) == 1 for rows in of_file.values()),
        declared=draw(_declared()),
    )


@st.composite
def _further(draw: st.DrawFn, of: list[int]) -> dict[str, list[str]]:
    """Columns that are no findings; `of[i]`: the image of row i, all of whose rows say the same."""
    known = {
        "Age": [str(i % 2) for i in of],
        "Frontal": ["1" for _ in of],
        "is_train": [str(i % 2) for i in of],
        "Usage": [("Public", "Private")[i % 2] for i in of],
        "comment": [("", "seen; twice", 'a "b"', "x,y")[i % 4] for i in of],
        "adult": ["1" for _ in of],
    }
    return {name: known[name] for name in draw(st.sets(st.sampled_from(sorted(known)), max_size=3))}


@st.composite
def _declared(draw: st.DrawFn) -> dict[str, str]:
    policies = {
        "uncertain": st.sampled_from(["zero", "one", "ignore"]),
        "readers": st.sampled_from(["majority", "any", "mean"]),
        "blank": st.sampled_from(["zero", "ignore"]),
    }
    most = st.sampled_from([True, True, True, False])
    return {name: draw(policy) for name, policy in policies.items() if draw(most)}


@st.composite
def _written(draw: st.DrawFn, columns: dict[str, list[str]]) -> dict[str, object]:
    """The bytes, as a spreadsheet or a program may write them."""
    delimiter = draw(st.sampled_from([",", ",", ";", "\t"]))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    header, cells = [*columns], [list(row) for row in zip(*columns.values(), strict=True)]
    if draw(st.booleans()):
        header = [f" {name} " if i else name for i, name in enumerate(header)]
    if draw(st.booleans()):  # pandas' index
        header, cells = ["", *header], [[str(i), *row] for i, row in enumerate(cells)]
    width = len(header) + draw(st.sampled_from([0, 0, 2]))  # a spreadsheet's empty columns
    header, cells = header + [""] * (width - len(header)), [row + [""] * (width - len(row)) for row in cells]
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        cells.insert(draw(st.integers(0, len(cells))), [""] * width)
    text = io.StringIO(newline="")
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows([header, *cells])
    above = draw(st.booleans())
    said = f"sep={delimiter}{end}" if above else ""
    data = (said + text.getvalue()).encode(draw(st.sampled_from(["utf-8", "utf-8-sig"])))
    return {"data": data, "delimiter": delimiter, "above": int(above)}
