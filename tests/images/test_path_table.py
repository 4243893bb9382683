"""A table of paths: every row is scored or told of, and none leads out of the folder."""

import gzip
import os
from pathlib import Path

import pytest

from cxrscore.core.errors import Unreadable, UserError
from cxrscore.images.decoding.decode import read_place
from cxrscore.images.inputs.listing import list_input
from cxrscore.tables.csv_table import write_table

PNG = b"\x89PNG\r\n\x1a\n and so on"


def make(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(PNG)
    return root


def table(folder: Path, *rows: str, header: str = "path") -> str:
    (folder / "list.csv").write_text("\n".join([header, *rows]) + "\n")
    return str(folder / "list.csv")


def test_paths_are_sorted_and_lie_under_the_tables_folder(tmp_path: Path) -> None:
    make(tmp_path, "b.png", "a/x.png", "not asked for.png")
    listing = list_input(table(tmp_path, "b.png", "./a//x.png"))
    assert (listing.paths, list(listing.sizes)) == (["a/x.png", "b.png"], [len(PNG)] * 2)
    assert (listing.faults, listing.skipped) == ([], {})
    assert read_place(listing.place("a/x.png")) == PNG


def test_a_table_in_the_working_folder_needs_no_more_than_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "x.png")
    table(tmp_path, "x.png")
    monkeypatch.chdir(tmp_path)
    assert list_input("list.csv").paths == ["x.png"]


def test_a_packed_table_is_a_table(tmp_path: Path) -> None:
    make(tmp_path, "x.png")
    (tmp_path / "list.csv.gz").write_bytes(gzip.compress(b"path\nx.png\n"))
    assert list_input(str(tmp_path / "list.csv.gz")).paths == ["x.png"]


@pytest.mark.parametrize("column", ["path", "Path", "file", "Image_name", "Image Index", "filename"])
def test_usual_names_of_the_column_are_known(tmp_path: Path, column: str) -> None:
    make(tmp_path, "x.png")
    assert list_input(table(tmp_path, "1,x.png", header=f"y,{column}")).paths == ["x.png"]


def test_the_column_can_be_named_and_must_be_where_it_is_not_plain(tmp_path: Path) -> None:
    make(tmp_path, "x.png", "y.png")
    source = table(tmp_path, "x.png,y.png", header="Picture,path")
    assert list_input(source).paths == ["y.png"]
    assert list_input(source, path_column="Picture").paths == ["x.png"]
    with pytest.raises(UserError, match=r"list.csv:1: no column 'picture'; the nearest is 'Picture'"):
        list_input(source, path_column="picture")
    with pytest.raises(UserError, match=r"list.csv:1: which column holds the paths\? There are 'a', 'b'"):
        list_input(table(tmp_path, "1,2", header="a,b"))


def test_a_missing_file_keeps_its_row_until_the_decoder_finds_out(tmp_path: Path) -> None:
    make(tmp_path, "x.png")
    (tmp_path / "folder").mkdir()
    listing = list_input(table(tmp_path, "x.png", "gone.png", "folder", "n" * 300))
    assert listing.paths == ["folder", "gone.png", "n" * 300, "x.png"]
    assert list(listing.sizes) == [-1, -1, -1, len(PNG)]
    for path, kind in [("gone.png", "VANISHED"), ("folder", "IO_ERROR"), ("n" * 300, "IO_ERROR")]:
        with pytest.raises(Unreadable) as caught:
            read_place(listing.place(path))
        assert caught.value.kind == kind


def test_a_table_whose_files_are_all_elsewhere_says_where_it_looked(tmp_path: Path) -> None:
    make(tmp_path, "images/x.png")
    source = table(tmp_path, "x.png")
    with pytest.raises(UserError, match=r"none of the 1 files .* first would be .*/x.png. Name the folder"):
        list_input(source)
    assert list_input(source, root=tmp_path / "images").paths == ["x.png"]
    with pytest.raises(UserError, match="nowhere: no such folder; name the one"):
        list_input(source, root=tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("../secret.png", "goes up by"),
        ("a/../../secret.png", "goes up by"),
        ("a/../x.png", "goes up by"),
        ("/etc/passwd", "is absolute and not under"),
        ("C:\\x.png", "is absolute and not under"),
        ("C:/x.png", "is absolute and not under"),
        ("\\\\server\\share\\x.png", "is absolute and not under"),
        ("./", "is not a file path"),
        (".", "is not a file path"),
        ("/", "is not a file path"),
    ],
)
def test_a_path_that_leads_out_or_nowhere_is_refused_with_its_line(
    tmp_path: Path, cell: str, message: str
) -> None:
    make(tmp_path, "in/x.png", "in/a/y.png", "secret.png")
    with pytest.raises(UserError, match=rf"list.csv:3: .*{message}"):
        list_input(table(tmp_path / "in", "x.png", cell), follow_symlinks=True)


def test_absolute_paths_under_the_folder_are_named_relative_to_it(tmp_path: Path) -> None:
    make(tmp_path, "images/a/x.png", "images/y.png", "imagesx/z.png")
    (tmp_path / "link").symlink_to("images")
    images = tmp_path / "images"
    source = table(tmp_path, f"{images}/a/x.png", f"{images}//y.png")
    assert list_input(source, root=images).paths == ["a/x.png", "y.png"]
    assert list_input(source, root=tmp_path / "link").paths == ["a/x.png", "y.png"]
    assert list_input(source).paths == ["images/a/x.png", "images/y.png"]
    for cell, message in ((f"{tmp_path}/imagesx/z.png", "is absolute"), (f"{images}/../y.png", "goes up by")):
        with pytest.raises(UserError, match=message):
            list_input(table(tmp_path, cell), root=images)


def test_links_out_of_the_folder_are_followed_only_on_request(tmp_path: Path) -> None:
    make(tmp_path, "in/x.png", "out/y.png")
    (tmp_path / "in/near.png").symlink_to("x.png")
    (tmp_path / "in/far").symlink_to(tmp_path / "out")
    (tmp_path / "in/far.png").symlink_to(tmp_path / "out/y.png")
    source = table(tmp_path / "in", "x.png", "near.png", "far/y.png", "far.png")
    listing = list_input(source)
    assert listing.paths == ["far.png", "far/y.png", "near.png", "x.png"]
    assert [fault[:2] for fault in listing.file_faults] == [
        ("far.png", "IO_ERROR"),
        ("far/y.png", "IO_ERROR"),
    ]
    with pytest.raises(Unreadable):
        read_place(listing.place("far/y.png"))
    followed = list_input(source, follow_symlinks=True)
    assert followed.faults == []
    assert read_place(followed.place("far/y.png")) == PNG


def test_a_loop_of_links_keeps_its_row(tmp_path: Path) -> None:
    make(tmp_path, "x.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    listing = list_input(table(tmp_path, "x.png", "loop.png"))
    assert listing.paths == ["loop.png", "x.png"]
    with pytest.raises(Unreadable):
        read_place(listing.place("loop.png"))


def test_a_file_has_one_row(tmp_path: Path) -> None:
    make(tmp_path, "x.png", "X.png")
    assert list_input(table(tmp_path, "x.png", "X.png")).paths == ["X.png", "x.png"]
    for again in ("x.png", "./x.png"):
        with pytest.raises(UserError, match=r"list.csv:3: .*x.png' is on line 2 too; keep one row per file"):
            list_input(table(tmp_path, "x.png", again))


def test_two_spellings_of_one_file_are_found_where_case_does_not_count(tmp_path: Path) -> None:
    make(tmp_path, "x.png")
    os.link(tmp_path / "x.png", tmp_path / "X.png")  # one file by both names, as such a file system shows it
    with pytest.raises(UserError, match=r"list.csv:3: 'X.png' is the file of line 2: case does not count"):
        list_input(table(tmp_path, "x.png", "X.png"))


def test_declared_hashes_go_with_their_paths(tmp_path: Path) -> None:
    make(tmp_path, "x.png", "y.png", "z.png")
    source = table(tmp_path, f"y.png,{'AB' * 32}", f"x.png,{'cd' * 32}", "z.png,", header="path,sha256")
    assert list_input(source).sha256 == {"x.png": "cd" * 32, "y.png": "ab" * 32}
    for bad in ("ab", "g" * 64, "ab" * 33, " " + "ab" * 32):
        with pytest.raises(UserError, match=r"list.csv:2: a sha256 is 64 hexadecimal digits or blank"):
            list_input(table(tmp_path, f"x.png,{bad}", header="path,sha256"))


def test_a_manifest_that_this_program_wrote_is_such_a_table(tmp_path: Path) -> None:
    make(tmp_path, "images/=x, y.png", 'images/q"\n.png')
    rows = [("=x, y.png", len(PNG), "ab" * 32, "more"), ('q"\n.png', len(PNG), "", "")]
    write_table(tmp_path / "sub.csv.manifest.csv", ["path", "bytes", "sha256", "more"], rows)
    listing = list_input(str(tmp_path / "sub.csv.manifest.csv"), root=tmp_path / "images")
    assert listing.paths == ["=x, y.png", 'q"\n.png']
    assert listing.sha256 == {"=x, y.png": "ab" * 32}


def test_studies_are_read_when_their_column_is_named(tmp_path: Path) -> None:
    make(tmp_path, "x.png", "y.png")
    source = table(tmp_path, "y.png,s2", "x.png,s1", header="path,study")
    assert list_input(source).studies == {}
    assert list_input(source, study_column="study").studies == {"y.png": "s2", "x.png": "s1"}
    with pytest.raises(UserError, match=r"no column 'Study'; the nearest is 'study'"):
        list_input(source, study_column="Study")
    with pytest.raises(UserError, match=r"list.csv:2: no study; fill it in; a single image"):
        list_input(table(tmp_path, "x.png, ", header="path,study"), study_column="study")


@pytest.mark.parametrize(
    ("cell", "path"),
    [
        ("a", "a.png"),
        ("a.dcm", "a.png"),
        ("p1\\b.png", "p1/b.png"),
        ("caf\u00e9.png", "cafe\u0301.png"),
        ("p\u00e9/c.png", "pe\u0301/c.png"),
    ],
)
def test_a_row_that_can_only_mean_one_file_means_it(tmp_path: Path, cell: str, path: str) -> None:
    make(tmp_path, "a.png", "p1/b.png", "cafe\u0301.png", "pe\u0301/c.png", "x.png")
    listing = list_input(table(tmp_path, "x.png", cell))
    assert sorted(listing.paths) == sorted(["x.png", path])
    assert min(listing.sizes) == len(PNG)
    assert any(note.startswith(f"{tmp_path}/list.csv: 1 name matches a file") for note in listing.notes)


def test_a_row_that_could_mean_two_files_means_none(tmp_path: Path) -> None:
    make(tmp_path, "a.png", "a.jpg", "x.png")
    listing = list_input(table(tmp_path, "x.png", "a"))
    assert (listing.paths, list(listing.sizes)) == (["a", "x.png"], [-1, len(PNG)])
    assert listing.notes == [f"{tmp_path}/list.csv: 'a' means no file: could be 'a.jpg' or 'a.png'"]


def test_a_file_that_a_row_names_is_no_other_rows(tmp_path: Path) -> None:
    make(tmp_path, "a.png", "x.png")
    listing = list_input(table(tmp_path, "a.png", "a.dcm", "x.png"))
    assert (listing.paths, list(listing.sizes)) == (["a.dcm", "a.png", "x.png"], [-1, len(PNG), len(PNG)])


def test_a_file_that_a_manifest_misses_is_not_looked_for(tmp_path: Path) -> None:
    make(tmp_path, "a.png", "x.png")
    rows = ["x.png," + "ab" * 32, "a.jpg," + "cd" * 32]
    assert list_input(table(tmp_path, *rows, header="path,sha256")).paths == ["a.jpg", "x.png"]


def test_one_study_number_of_two_patients_is_two_studies(tmp_path: Path) -> None:
    make(tmp_path, "a.png", "b.png", "c.png")
    source = table(tmp_path, "a.png,7,1", "b.png,8, 1", "c.png,7,1", header="path,Patient_ID,Study")
    listing = list_input(source, study_column="Study")
    assert listing.studies == {"a.png": "7/1", "b.png": "8/1", "c.png": "7/1"}
    assert "'Study' repeats from patient to patient; studies are 'Patient_ID'/'Study'" in listing.notes[0]
    source = table(tmp_path, "a.png,7,s1", "b.png,8,s2", "c.png,7,s1", header="path,Patient_ID,Study")
    assert set(list_input(source, study_column="Study").studies.values()) == {"s1", "s2"}


def test_spellings_of_one_study_are_told(tmp_path: Path) -> None:
    make(tmp_path, "a.png", "b.png")
    listing = list_input(table(tmp_path, "a.png,7", "b.png,07.0", header="path,Study"), study_column="Study")
    assert "2 ids of 'Study' spell 1 number in several ways" in listing.notes[0]
