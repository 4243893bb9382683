"""The files of a folder or a pattern, in one order, with every omission counted; what else is accepted."""

import os
import socket
from pathlib import Path

import pytest

from cxrscore.core.errors import Unreadable, UserError
from cxrscore.images.decoding.decode import read_place
from cxrscore.images.inputs.folder import list_images
from cxrscore.images.inputs.listing import case_notes, list_input

PNG = b"\x89PNG\r\n\x1a\n and so on"


def make(root: Path, *names: str, data: bytes = PNG) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def test_paths_come_sorted_by_their_bytes_from_every_depth(tmp_path: Path) -> None:
    make(tmp_path, "b.png", "a/z.jpg", "a/b/c.tif", "Z.PNG", "é.png", "a.png")
    assert list_images(tmp_path).paths == ["Z.PNG", "a.png", "a/b/c.tif", "a/z.jpg", "b.png", "é.png"]


def test_the_name_says_nothing_about_the_format(tmp_path: Path) -> None:
    make(tmp_path, "no_suffix", "dicom.dcm", "really.jpg", "notes.csv")
    make(tmp_path, "page.jpg", data=b"<html>404")
    assert list_images(tmp_path).paths == ["dicom.dcm", "no_suffix", "notes.csv", "page.jpg", "really.jpg"]


def test_clutter_and_partial_downloads_and_texts_are_counted(tmp_path: Path) -> None:
    make(tmp_path, "x.png", ".DS_Store", "._x.png", "Thumbs.db", "@eaDir/x.png", ".ipynb_checkpoints/x.png")
    make(tmp_path, "y.jpeg.tmp", "z.CRDOWNLOAD", "w.part")
    make(tmp_path, "labels.csv", "readme.md", "index.html", "data.dvc", data=b"Image_name,y\n")
    listing = list_images(tmp_path)
    assert listing.paths == ["x.png"]
    assert listing.skipped == {"hidden or system files": 5, "partial downloads": 3, "tables or text files": 4}
    assert listing.faults == []


def test_a_folder_may_be_named_like_a_partial_download_or_a_table(tmp_path: Path) -> None:
    make(tmp_path, "batch.tmp/x.png", "batch.csv/y.png")
    listing = list_images(tmp_path)
    assert (listing.paths, listing.skipped) == (["batch.csv/y.png", "batch.tmp/x.png"], {})


def test_the_output_may_lie_among_the_images(tmp_path: Path) -> None:
    make(tmp_path, "x.png", "out/sub.csv.png", "runs/1.png")
    listing = list_images(
        tmp_path, exclude=[tmp_path / "out/sub.csv.png", tmp_path / "runs", tmp_path / "not yet"]
    )
    assert listing.paths == ["x.png"]
    assert listing.skipped == {"outputs of this run": 2}


def test_only_regular_files_are_listed_so_that_nothing_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "x.png")
    os.mkfifo(tmp_path / "fifo.png")
    monkeypatch.chdir(tmp_path)  # the path of a socket has at most 107 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    listing = list_images(tmp_path, follow_symlinks=True)
    assert listing.paths == ["x.png"]
    assert listing.skipped == {"neither files nor folders": 3}


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    make(tmp_path, "images/a/x.png")
    (tmp_path / "images/a/up").symlink_to(tmp_path / "images")
    (tmp_path / "images/out").symlink_to(tmp_path)  # from there, back in by the real way
    listing = list_images(tmp_path / "images", follow_symlinks=True)
    assert listing.paths == ["a/x.png"]
    assert listing.skipped == {"links to folders that are listed": 2}


def test_two_links_that_point_at_each_other_are_a_fault(tmp_path: Path) -> None:
    make(tmp_path, "x.png")
    (tmp_path / "a.png").symlink_to("b.png")
    (tmp_path / "b.png").symlink_to("a.png")
    assert [fault[:2] for fault in list_images(tmp_path).faults] == [
        ("a.png", "IO_ERROR"),
        ("b.png", "IO_ERROR"),
    ]


def test_a_link_to_a_file_counts_and_a_link_to_a_folder_beside_does_not(tmp_path: Path) -> None:
    make(tmp_path, "a/x.png")
    (tmp_path / "y.png").symlink_to("a/x.png")
    (tmp_path / "b").symlink_to("a")
    listing = list_images(tmp_path)
    assert listing.paths == ["a/x.png", "y.png"]
    assert listing.skipped == {"links to folders that are listed": 1}


def test_links_out_of_the_folder_are_followed_only_on_request(tmp_path: Path) -> None:
    make(tmp_path, "in/x.png", "elsewhere/y.png", "z.png")
    (tmp_path / "in/far").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in/near.png").symlink_to(tmp_path / "z.png")
    listing = list_images(tmp_path / "in")
    assert (listing.paths, listing.skipped) == (["x.png"], {"links out of the folder": 2})
    followed = list_images(tmp_path / "in", follow_symlinks=True)
    assert (followed.paths, followed.skipped) == (["far/y.png", "near.png", "x.png"], {})


def test_a_folder_of_links_out_tells_how_to_follow_them(tmp_path: Path) -> None:
    make(tmp_path, "cache/x.png", "in/readme.md", data=b"text")
    (tmp_path / "in/x.png").symlink_to(tmp_path / "cache/x.png")
    with pytest.raises(
        UserError, match=r"no images here but 1 links out of the folder, 1 tables.*--follow-symlinks"
    ):
        list_images(tmp_path / "in")


def test_a_link_to_nothing_is_a_fault_and_not_forgotten(tmp_path: Path) -> None:
    make(tmp_path, "x.png")
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    listing = list_images(tmp_path)
    assert listing.paths == ["x.png"]
    assert [fault[:2] for fault in listing.faults] == [("gone.png", "VANISHED")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_an_unreadable_subfolder_is_a_fault(tmp_path: Path) -> None:
    make(tmp_path, "x.png", "shut/y.png")
    (tmp_path / "shut").chmod(0)
    try:
        assert [fault[:2] for fault in list_images(tmp_path).faults] == [("shut", "IO_ERROR")]
    finally:
        (tmp_path / "shut").chmod(0o755)


def test_a_path_longer_than_the_system_takes_is_a_fault(tmp_path: Path) -> None:
    make(tmp_path, "x.png")
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):  # 20 x 250 bytes are more than PATH_MAX; made step by step, as a copying tool can
        os.mkdir("d" * 250, dir_fd=here)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    listing = list_images(tmp_path)
    assert listing.paths == ["x.png"]
    assert [(kind, message) for _, kind, message in listing.faults] == [
        ("IO_ERROR", "the folder cannot be read: File name too long; check its permissions and the storage")
    ]


def test_names_that_are_not_text_stay_what_they_are(tmp_path: Path) -> None:
    strange = [b"\xff\xfe.png", b"a\nb.png", b'"q",.png', "😀.png".encode()]
    for name in strange:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(PNG)
    assert [os.fsencode(path) for path in list_images(tmp_path).paths] == sorted(strange)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "no such folder"),
        ("file.png", "a file; name the folder"),
        ("empty", "no images here, it is empty"),
    ],
)
def test_a_folder_that_gives_nothing_is_an_error(tmp_path: Path, name: str, message: str) -> None:
    make(tmp_path, "file.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=rf"{name}: {message}"):
        list_images(tmp_path / name)


def test_outputs_that_are_not_there_yet_are_left_out_once_they_are(tmp_path: Path) -> None:
    make(tmp_path, "x.png", "deep/y.png")
    names = ("sub.csv", "sub.csv.journal", "later/sub.csv", "deep/sub.csv")
    outputs = [tmp_path / name for name in names]
    assert list_images(tmp_path, exclude=outputs).skipped == {}
    make(tmp_path, "sub.csv", "sub.csv.journal/0.png", "later/sub.csv", "deep/sub.csv")
    listing = list_images(tmp_path, exclude=outputs)
    assert (listing.paths, listing.skipped) == (["deep/y.png", "x.png"], {"outputs of this run": 4})


def test_an_output_is_known_by_its_place_also_through_a_link_to_its_folder(tmp_path: Path) -> None:
    make(tmp_path, "in/x.png", "elsewhere/sub.png", "elsewhere/y.png")
    (tmp_path / "in/far").symlink_to(tmp_path / "elsewhere")
    listing = list_images(tmp_path / "in", exclude=[tmp_path / "elsewhere/sub.png"], follow_symlinks=True)
    assert (listing.paths, listing.skipped) == (["far/y.png", "x.png"], {"outputs of this run": 1})


def test_a_folder_whose_name_only_begins_like_an_output_is_searched(tmp_path: Path) -> None:
    make(tmp_path, "out/x.png", "out.journal/y.png")
    assert list_images(tmp_path, exclude=[tmp_path / "out.journal"]).paths == ["out/x.png"]


def test_sizes_and_places_go_with_the_paths(tmp_path: Path) -> None:
    make(tmp_path, "b.png", data=PNG)
    make(tmp_path, "a/é.png", data=PNG * 2)
    listing = list_images(tmp_path)
    assert list(zip(listing.paths, listing.sizes, strict=True)) == [
        ("a/é.png", 2 * len(PNG)),
        ("b.png", len(PNG)),
    ]
    assert read_place(listing.place("a/é.png")) == PNG * 2


def test_a_faulty_file_has_its_row_and_is_never_read(tmp_path: Path) -> None:
    make(tmp_path, "x.png", "z.png")
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    listing = list_input(str(tmp_path))
    assert (listing.paths, list(listing.sizes)) == (["gone.png", "x.png", "z.png"], [-1, len(PNG), len(PNG)])
    assert [fault[:2] for fault in listing.file_faults] == [("gone.png", "VANISHED")]
    with pytest.raises(Unreadable, match="not a regular file"):
        read_place(listing.place("gone.png"))
    assert read_place(listing.place("x.png")) == PNG


def test_a_file_whose_path_is_too_long_is_a_fault_of_that_file(tmp_path: Path) -> None:
    make(tmp_path, "x.png")
    here = os.open(tmp_path, os.O_RDONLY)
    room = 4095 - len(os.fsencode(tmp_path))
    while room > 0:  # folders up to the limit, so that the file in the last one is beyond it
        name = "d" * max(1, min(200, room - 2))
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here, room = below, room - len(name) - 1
        if 1 < room < 50:
            break
    os.close(os.open("n" * 100 + ".png", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    listing = list_images(tmp_path)
    assert listing.paths == ["x.png"]
    assert [fault[1:] for fault in listing.file_faults] == [
        (
            "IO_ERROR",
            "the file cannot be looked at: File name too long; check its permissions and the storage",
        )
    ]


def test_names_that_differ_in_case_alone_are_listed_and_told(tmp_path: Path) -> None:
    make(tmp_path, "X.png", "x.png", "y.png")
    listing = list_input(str(tmp_path))
    assert listing.paths == ["X.png", "x.png", "y.png"]
    assert listing.notes == [
        "2 names differ from another only in case; macOS and Windows treat them as the same"
    ]
    assert case_notes(["a/x.png", "b/x.png"]) == []


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("*.png", ["x.png"]),
        ("**/*.png", ["a/b/y.png", "a/x.png", "b.png/z.png", "x.png"]),
        ("**", ["a/b/y.png", "a/w.jpg", "a/x.png", "b.png/z.png", "x.png"]),
        ("*/x.png", ["a/x.png"]),
        ("a/*", ["w.jpg", "x.png"]),
        ("a/**/*.png", ["b/y.png", "x.png"]),
        ("[ab]/?.png", ["a/x.png"]),
        ("*/**/y.png", ["a/b/y.png"]),
        ("**/b/**", ["a/b/y.png"]),
        ("./*.p[n]g", ["x.png"]),
    ],
)
@pytest.mark.parametrize("absolute", [False, True])
def test_a_pattern_matches_as_python_globs_and_names_are_relative_to_its_plain_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, paths: list[str], absolute: bool
) -> None:
    make(tmp_path, "x.png", "a/x.png", "a/w.jpg", "a/b/y.png", "b.png/z.png", ".hidden/x.png", "a/.x.png")
    monkeypatch.chdir(tmp_path)
    listing = list_input(f"{tmp_path}/{pattern}" if absolute else pattern)
    assert listing.paths == paths
    assert all(read_place(listing.place(path)) == PNG for path in paths)


def test_what_a_pattern_does_not_match_is_neither_entered_nor_counted(tmp_path: Path) -> None:
    make(tmp_path, "2024/x.png", "2024/.y.png", "2023/x.png", "2023/.y.png", "2024/deep/x.png", "notes.md")
    (tmp_path / "2023/loop.png").symlink_to("loop.png")
    listing = list_input(f"{tmp_path}/2024*/*")
    assert listing.paths == ["2024/x.png"]
    assert listing.faults == []
    assert listing.skipped == {
        "folders that the pattern matches and does not enter (** does)": 1,
        "hidden or system files": 1,
    }


def test_a_folder_or_a_file_whose_name_has_a_wildcard_is_taken_for_itself(tmp_path: Path) -> None:
    make(tmp_path, "scans [2024]/x.png", "scans 2/y.png")
    assert list_input(str(tmp_path / "scans [2024]")).paths == ["x.png"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("*.tif", r"matches no image under .*; correct the pattern: \* stays within a folder"),
        ("*", r"matches no image under .* but 1 folders that the pattern matches and does not enter"),
        ("nowhere/*.png", "nowhere is not a folder"),
        ("a/x.png/*.png", "x.png is not a folder"),
        ("a/*/../x.png", "matches no image"),
        ("a/X*", "matches no image.*case counts"),
    ],
)
def test_a_pattern_that_gives_nothing_is_an_error(tmp_path: Path, pattern: str, message: str) -> None:
    make(tmp_path, "a/x.png")
    with pytest.raises(UserError, match=message):
        list_input(f"{tmp_path}/{pattern}")


def test_what_cannot_be_scored_says_what_can(tmp_path: Path) -> None:
    make(tmp_path, "one.png", "data.dvc", "scans.xlsx", "pulled.dvc", "notes.txt", data=PNG)
    (tmp_path / "notes.txt").write_text("x")
    os.mkfifo(tmp_path / "fifo")
    for name, message in [
        ("one.png", "a single PNG image; name the folder"),
        ("notes.txt", "a file; give a folder, a quoted pattern"),
        ("data.dvc", "a DVC pointer; `dvc pull .*data.dvc` first, then give .*data"),
        ("pulled", "not here yet; `dvc pull .*pulled.dvc` brings it"),
        ("scans.xlsx", "a spreadsheet; save it as CSV"),
        ("fifo", "neither a file nor a folder"),
        ("missing", "No such file or directory; give a folder"),
        ("one.png/", "a single PNG|Not a directory"),
        ("n" * 300, "File name too long; give a folder"),
        ("nul\0", "no path; give a folder"),
    ]:
        with pytest.raises(UserError, match=message):
            list_input(f"{tmp_path}/{name}")
    with pytest.raises(UserError, match="give a folder"):
        list_input("")


def test_columns_are_for_tables_and_an_output_is_no_input(tmp_path: Path) -> None:
    make(tmp_path, "x.png")
    with pytest.raises(UserError, match="a folder; give columns and the folder of the paths for"):
        list_input(str(tmp_path), path_column="path")
    (tmp_path / "sub.csv").write_text("path\nx.png\n")
    with pytest.raises(UserError, match=r"sub.csv: is also an output of this run"):
        list_input(str(tmp_path / "sub.csv"), exclude=[tmp_path / "sub.csv"])
