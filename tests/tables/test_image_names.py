"""Which file a name in a table means: one that it can only mean, or none."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrscore.tables.image_names import match_names, spelled, stem, without_suffix

NFC, NFD = "caf\u00e9.png", unicodedata.normalize("NFD", "caf\u00e9.png")


@pytest.mark.parametrize(
    ("name", "file", "rule"),
    [
        (NFC, NFD, "in another Unicode form (NFC, NFD), or with other separators or blanks"),
        (NFD, NFC, "in another Unicode form"),
        ("p1\\s1\\x.png", "p1/s1/x.png", "with other separators"),
        ("./p1//x.png", "p1/x.png", "with other separators"),
        (" x.png ", "x.png", "or blanks"),
        ("x.png", " x.png", "or blanks"),
        ("x\u200b.png\ufeff", "x\u200b.png", "or blanks"),
        ("x", "x.png", "without its suffix, or with another one"),
        ("x.dcm", "x.png", "without its suffix, or with another one"),
        ("x.JPG", "x.jpg", "in another case"),
        ("x.png", "x", "without its suffix, or with another one"),
        ("p1\\x", "p1/x.jpeg", "without its suffix, or with another one"),
        (NFC.removesuffix(".png"), NFD, "without its suffix"),
        ("1.2.826.0.1.11.1001", "1.2.826.0.1.11.1001.dcm", "without its suffix"),
        ("x.png", "images_001/images/x.png", "in a folder"),
        ("x", "a/x.png", "in a folder, without its suffix, or with another one (1 in 'a')"),
    ],
)
def test_a_name_that_can_mean_one_file_alone_means_it_and_that_is_told(
    name: str, file: str, rule: str
) -> None:
    match = match_names([name], ["other.png", file])
    assert match.files == [1]
    assert (
        len(match.notes) == 1
        and match.notes[0].startswith("1 name matches a file")
        and rule in match.notes[0]
    )


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("x", ["x.png", "x.jpg"]),
        ("a.jpg", ["a.png", "images/a.jpg"]),
        ("a.dcm", ["img/a.jpg", "masks/a.png"]),
        ("a", ["a.png", "sub/a"]),
        ("x.dcm", ["x.png", "x.jpg"]),
        ("x.png", ["a/x.png", "b/x.png"]),
        ("x", ["a/x.png", "b/x.jpg"]),
        ("s\u0307\u0323.png", ["\u1e69.png", "s\u0323\u0307.png"]),
        ("p\\x.png", ["p/x.png ", " p/x.png"]),
    ],
)
def test_of_two_files_none_is_chosen(name: str, files: list[str]) -> None:
    match = match_names([name], files)
    assert match.files == [-1]
    assert match.missing([name]) == [f"{name!r} (could be {files[0]!r} or {files[1]!r})"]


@pytest.mark.parametrize(
    ("names", "files"),
    [
        (["x.dcm", "x.jpg"], ["x.png"]),
        (["x.png", "x"], ["x.png"]),
        ([NFC, NFD], [NFC]),
        (["x.png", "a\\x.png"], ["a/x.png"]),
    ],
)
def test_a_file_is_never_two_names(names: list[str], files: list[str]) -> None:
    match = match_names(names, files)
    assert sum(file >= 0 for file in match.files) <= 1
    lost = [name for name, file in zip(names, match.files, strict=True) if file < 0]
    assert all("also fits another name" in said for said in match.missing(names)) or len(lost) == 1


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("train/x.png", "x.png"),
        ("a/x.png", "b/x.png"),
        ("x1.png", "x.png"),
        ("1.2.3", "1.2.4"),
        ("1.2.826.0.1.11.1001", "1.2.826.0.1.11.1002.dcm"),
        ("x.tar", "x.png"),
        ("X.png", "x.png"),
        (".png", "x.png"),
        ("", "x.png"),
    ],
)
def test_another_name_means_no_file(name: str, file: str) -> None:
    assert match_names([name], [file]).files == [-1]


def test_the_folders_of_what_is_matched_are_told() -> None:
    names = [f"{i}.png" for i in range(4)]
    files = ["train/0.png", "train/1.png", "train/2.png", "test/3.png"]
    assert match_names(names, files).notes == ["4 names match a file in a folder (3 in 'train', 1 in 'test')"]
    assert match_names(names, files, in_folders=False).files == [-1] * 4


def test_case_counts_unless_the_file_system_folds_it() -> None:
    names, files = ["IM1.png", "b.PNG", "Im3"], ["im1.PNG", "B.png", "IM3.jpg"]
    assert match_names(names, files).files == [-1, -1, -1]
    match = match_names(names, files, folds_case=True)
    assert match.files == [0, 1, 2]
    assert "2 names match a file in another case" in match.notes
    assert match_names(["A.jpg"], ["a.jpg", "sub/A.jpg"], folds_case=True).files == [0]


def test_where_a_file_is_named_to_the_byte_no_other_is_looked_for() -> None:
    match = match_names(["x.png", "y"], ["x.jpg", "x.png", "sub/x.png", "y"])
    assert (match.files, match.notes, match.unclear) == ([1, 3], [], {})


NAME = st.text(st.sampled_from("ab./\\ \u00e9e\u0301PpnNgG1"), min_size=1, max_size=8)


@given(st.lists(NAME, unique=True, max_size=8), st.lists(NAME, unique=True, max_size=8))
def test_a_match_is_a_pairing_that_does_not_depend_on_the_order(names: list[str], files: list[str]) -> None:
    match = match_names(names, files, folds_case=True)
    chosen = [file for file in match.files if file >= 0]
    assert len(set(chosen)) == len(chosen)
    assert all(files[file] == name for name, file in zip(names, match.files, strict=True) if name in files)
    back = match_names(names[::-1], files[::-1], folds_case=True)
    pairs = {(name, files[file]) for name, file in zip(names, match.files, strict=True) if file >= 0}
    turned = zip(names[::-1], back.files, strict=True)
    assert {(name, files[::-1][file]) for name, file in turned if file >= 0} == pairs


def test_suffixes_are_those_of_images_alone() -> None:
    assert without_suffix("a.b/x.JPEG") == "a.b/x"
    assert without_suffix("a.png/x") == "a.png/x"
    assert without_suffix("p/.png") == "p/.png"
    assert stem("a/b/1.2.3") == "1.2.3"
    assert spelled("a\\.\\b//c ") == "a/b/c"
