"""Scores reach the table under the right name, in the right column, byte for byte."""

import csv
import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrscore.core.errors import BrokenPromise, UserError
from cxrscore.scoring.output import write_errors
from cxrscore.scoring.row_ids import (
    check_columns,
    formula_notes,
    ids_of,
    match_template,
    read_template,
    shown_names,
    writable,
)
from cxrscore.tables.foreign_table import read_foreign_table
from cxrscore.tables.score_table import read_scores, write_scores

FINDINGS = ["Edema", "No Finding", "Pleural Effusion"]


def a_template(
    folder: Path, ids: list[str], header: str = "Image_name,Edema,No Finding,Pleural Effusion"
) -> Path:
    path = folder / "sample_submission.csv"
    path.write_text("\n".join([header, *(f"{name},0,0,0" for name in ids)]) + "\n")
    return path


def some_probs(n: int, columns: int = 3) -> np.ndarray:
    return np.random.default_rng(0).random((n, columns), dtype=np.float32)


def test_a_score_table_is_plain_csv_with_seven_digits(tmp_path: Path) -> None:
    probs = np.array([[0, 1, 1 / 3], [1e-7, 0.5, 0.125]], dtype=np.float32)
    write_scores(tmp_path / "sub.csv", "Image_name", ["a.jpg", "b.jpg"], FINDINGS, probs)
    assert (tmp_path / "sub.csv").read_bytes() == (
        b"Image_name,Edema,No Finding,Pleural Effusion\na.jpg,0,1,0.3333333\nb.jpg,1e-07,0.5,0.125\n"
    )


def test_scores_come_back_as_written_to_seven_digits(tmp_path: Path) -> None:
    probs = some_probs(20)
    ids = [f"{i:03}" for i in range(20)]
    write_scores(tmp_path / "sub.csv", "id", ids, FINDINGS, probs)
    id_column, again, findings, read, *_ = read_scores(tmp_path / "sub.csv")
    assert (id_column, again, findings, read.dtype) == ("id", ids, FINDINGS, np.float64)
    np.testing.assert_allclose(read, probs, rtol=5e-7)


@pytest.mark.parametrize(
    "name", ["NA", "null", "None", "nan", "001", "1e5", "", " x ", "=cmd()", "a\tb", "😀,\"'"]
)
def test_an_id_is_text_whatever_it_looks_like(tmp_path: Path, name: str) -> None:
    write_scores(tmp_path / "sub.csv", "id", [name, "other"], FINDINGS, some_probs(2))
    assert read_scores(tmp_path / "sub.csv")[1] == [name, "other"]


file_names = st.lists(
    st.binary(min_size=1, max_size=30).filter(lambda name: b"\0" not in name), min_size=1, unique=True
)


@given(file_names)
def test_any_file_name_comes_through_csv_byte_for_byte(
    tmp_path_factory: pytest.TempPathFactory, names: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("names") / "sub.csv"
    write_scores(path, "id", [os.fsdecode(name) for name in names], FINDINGS, some_probs(len(names)))
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = list(csv.reader(file))
    assert [os.fsencode(row[0]) for row in rows[1:]] == names


def test_a_score_that_is_no_number_is_never_written(tmp_path: Path) -> None:
    probs = some_probs(1)
    probs[0, 0] = np.nan
    with pytest.raises(BrokenPromise, match="a score that is not a number"):
        write_scores(tmp_path / "sub.csv", "id", ["a"], FINDINGS, probs)
    assert not (tmp_path / "sub.csv").exists()


@pytest.mark.parametrize("cell", ["nan", "", "1.5", "-0.1", "high", "inf"])
def test_a_table_with_anything_but_probabilities_is_refused_with_its_line(tmp_path: Path, cell: str) -> None:
    (tmp_path / "sub.csv").write_text(f"id,Edema\na,0.5\nb,{cell}\n")
    with pytest.raises(UserError, match=rf"sub.csv:3: Edema: a number from 0 to 1, not '{cell}'"):
        read_scores(tmp_path / "sub.csv")


def test_an_id_that_comes_twice_is_refused_with_both_lines(tmp_path: Path) -> None:
    (tmp_path / "sub.csv").write_text("id,Edema\na,0.5\nb,0.5\na,0.6\n")
    for read in (read_scores, read_template):
        with pytest.raises(UserError, match=r"sub.csv:4: id 'a' is also on line 2"):
            read(tmp_path / "sub.csv")


def test_a_table_of_ids_alone_holds_no_scores(tmp_path: Path) -> None:
    (tmp_path / "sub.csv").write_text("id\na\n")
    with pytest.raises(UserError, match="no finding beside 'id'"):
        read_scores(tmp_path / "sub.csv")


def test_a_template_keeps_its_own_order_of_rows_and_columns(tmp_path: Path) -> None:
    path = a_template(tmp_path, ["c.jpg", "a.jpg"], "name,Pleural Effusion,Edema,No Finding")
    template = read_template(path)
    assert (template.id_column, template.ids) == ("name", ["c.jpg", "a.jpg"])
    assert template.columns == ["Pleural Effusion", "Edema", "No Finding"]
    notes: list[str] = []
    assert match_template(template, ["a.jpg", "b.jpg", "c.jpg"], notes=notes) == [2, 0]
    assert notes == [f"1 file left out, not listed in {path}"]


def test_a_template_of_other_findings_is_refused_with_the_nearest(tmp_path: Path) -> None:
    template = read_template(a_template(tmp_path, ["a.jpg"], "id,Edema,No finding,Hernia"))
    message = (
        r"no column 'No Finding' \(the nearest is 'No finding'.*'Pleural Effusion'.*column 'Hernia' is no"
    )
    with pytest.raises(UserError, match=message):
        check_columns(template, FINDINGS)


def test_template_ids_without_a_file_are_listed_and_counted(tmp_path: Path) -> None:
    template = read_template(a_template(tmp_path, [f"{i}.jpg" for i in range(15)]))
    with pytest.raises(
        UserError, match=r"12 ids without a file: '3.jpg', .*'12.jpg', ...; the files are named like '0"
    ):
        match_template(template, ["0.jpg", "1.jpg", "2.jpg"], notes=[])


def test_a_name_in_the_other_unicode_form_matches_when_it_means_one_file(tmp_path: Path) -> None:
    composed, decomposed = "caf\u00e9.jpg", "cafe\u0301.jpg"
    template = read_template(a_template(tmp_path, [composed]))
    notes: list[str] = []
    assert match_template(template, ["a.jpg", decomposed], notes=notes) == [1]
    assert ": 1 name matches a file in another Unicode form" in notes[0]


def test_a_name_in_the_other_unicode_form_that_means_two_files_matches_none(tmp_path: Path) -> None:
    both = ["\u1e69.jpg", "s\u0323\u0307.jpg"]  # one letter, composed and decomposed
    template = read_template(a_template(tmp_path, ["s\u0307\u0323.jpg"]))  # and in a third order
    with pytest.raises(UserError, match="1 id without a file"):
        match_template(template, both, notes=[])


def test_two_ids_may_not_mean_one_file(tmp_path: Path) -> None:
    template = read_template(a_template(tmp_path, ["caf\u00e9.jpg", "cafe\u0301.jpg"]))
    with pytest.raises(UserError, match=r"1 id without a file: .* also fits another name\)"):
        match_template(template, ["caf\u00e9.jpg"], notes=[])


def test_ids_are_paths_names_or_stems() -> None:
    paths = ["p1/view1.jpg", "p2/view2.tar.gz"]
    assert ids_of(paths, "relpath", notes=[]) == paths
    assert ids_of(paths, "name", notes=[]) == ["view1.jpg", "view2.tar.gz"]
    assert ids_of(paths, "stem", notes=[]) == ["view1", "view2.tar.gz"]


@pytest.mark.parametrize(
    ("path", "stem"),
    [
        ("1.2.826.0.1.11.1001", "1.2.826.0.1.11.1001"),  # a DICOM UID, as archives export files
        ("1.2.826.0.1.11.1001.dcm", "1.2.826.0.1.11.1001"),
        ("scan.2023.12.01", "scan.2023.12.01"),
        ("p1.v2/0001", "0001"),
        ("p1.png/0001.v2", "0001.v2"),
        ("a.b.JPG", "a.b"),
        ("a.Jpeg", "a"),
        ("x.tar.png", "x.tar"),
        ("x.png.jpg", "x.png"),
        ("x.jp2", "x"),
        ("x.heic", "x"),
        ("name.", "name."),
        ("name.png.", "name.png."),
        ("name. png", "name. png"),
        ("a/.png", ".png"),
        ("png", "png"),
        ("x.pngx", "x.pngx"),
        ("x.bin", "x.bin"),
    ],
)
def test_a_stem_lacks_the_suffix_of_an_image_and_nothing_else(path: str, stem: str) -> None:
    assert ids_of([path], "stem", notes=[]) == [stem]


def test_uids_without_a_suffix_stay_apart() -> None:
    uids = ["1.2.826.0.1.11.1001", "1.2.826.0.1.11.1002", "1.2.826.0.1.12.1002"]
    assert ids_of(uids, "stem", notes=[]) == uids


@pytest.mark.parametrize(
    "suffix",
    ["jpg", "jpeg", "png", "tif", "tiff", "gif", "bmp", "webp", "jp2", "jxl", "heic", "avif", "dcm"],
)
def test_each_format_that_is_known_by_its_bytes_has_a_suffix_of_its_own(suffix: str) -> None:
    assert ids_of([f"a.{suffix}", f"b.{suffix.upper()}"], "stem", notes=[]) == ["a", "b"]


@pytest.mark.parametrize(
    ("odd", "plain", "kind"),
    [
        (b"\xff.jpg", b"%FF.jpg", "relpath"),
        (b"p/\xff.jpg", b"q/%FF.jpg", "name"),
        (b"\xff.jpg", b"%FF.png", "stem"),
        (b"50%\xe9.jpg", b"50%25%E9.jpg", "relpath"),
        (b"\xe9t\xe9/1.jpg", b"%E9t%E9/1.jpg", "relpath"),
        ("é".encode() + b"\xff.jpg", "é%FF.jpg".encode(), "name"),
    ],
)
def test_a_name_of_odd_bytes_that_looks_like_another_in_a_table_is_refused_with_both(
    odd: bytes, plain: bytes, kind: str
) -> None:
    for paths in ([odd, plain], [plain, b"x.jpg", odd]):
        first, *_, last = paths
        message = re.escape(f"{first!r} and {last!r} are both written as ") + ".*; rename one of the two"
        with pytest.raises(UserError, match=message):
            ids_of([*map(os.fsdecode, paths)], kind, notes=[])


@pytest.mark.parametrize("name", ["%FF.jpg", "caf%C3%A9.jpg", "100%.jpg", "%25FF.jpg", "%25.jpg"])
def test_a_name_that_only_looks_escaped_keeps_its_bytes(name: str) -> None:
    notes: list[str] = []
    assert ids_of([name, os.fsdecode(b"\xfe.jpg")], "relpath", notes=notes) == [name, "%FE.jpg"]
    assert notes == ["1 file name is not UTF-8; invalid bytes are written as %XX"]


NAMES = st.lists(st.sampled_from([b"\xff", b"%FF", b"%", b"25", b"%25", b"\xfe", b"FE", b"a"]), min_size=1)


@given(st.sets(NAMES.map(b"".join), max_size=6))
def test_names_are_written_apart_or_refused(raw: set[bytes]) -> None:
    names = [os.fsdecode(name) for name in sorted(raw)]
    different = {writable(name).encode() for name in names}
    if len(different) == len(names):
        assert shown_names(names) == [writable(name) for name in names]
    else:
        with pytest.raises(UserError, match="are both written as"):
            shown_names(names)


@pytest.mark.parametrize(("kind", "other"), [("name", "p2/x.jpg"), ("stem", "p1/x.png")])
def test_two_files_with_one_id_are_refused(kind: str, other: str) -> None:
    with pytest.raises(
        UserError, match=rf"2 files with the same id \({kind}\): 'p1/x.jpg' .*{other}.*--id relpath"
    ):
        ids_of(["p1/x.jpg", "p1/y.jpg", other], kind, notes=[])


def test_only_the_first_ten_clashes_are_told() -> None:
    with pytest.raises(UserError, match=r"30 files with the same id .*'9/x.jpg' \('x.jpg'\), ...; use"):
        ids_of([f"{i}/x.jpg" for i in range(30)], "name", notes=[])


def test_ids_like_formulas_are_kept_and_told() -> None:
    assert formula_notes(["a", "b"]) == []
    assert formula_notes(["=1+1", "@x", "a=b"])[0].startswith("2 ids begin like a formula")


def test_a_quote_for_spreadsheets_makes_no_two_names_alike(tmp_path: Path) -> None:
    names = ["=a", "'=a", "''=a", "'a", "a", "@a", "'@a"]
    write_errors(tmp_path / "e.csv", [(name, "list", "IO_ERROR", "") for name in names])
    shown = read_foreign_table(tmp_path / "e.csv").columns["path"]
    assert shown == ["'=a", "''=a", "'''=a", "'a", "a", "'@a", "''@a"]


def test_the_list_of_errors_is_safe_to_open_in_a_spreadsheet(tmp_path: Path) -> None:
    write_errors(
        tmp_path / "e.csv",
        [("=cmd().png", "decode", "TRUNCATED", "ends, early"), ("b.png", "list", "IO_ERROR", "")],
    )
    assert (tmp_path / "e.csv").read_text() == (
        'path,stage,kind,message\n\'=cmd().png,decode,TRUNCATED,"ends, early"\nb.png,list,IO_ERROR,\n'
    )
