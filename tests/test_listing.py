"""A folder's files, in one order, with every omission counted."""

import os
import socket
from pathlib import Path

import pytest

from cxrscore.errors import UserError
from cxrscore.scoring.listing import list_images

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
    assert listing.skipped == {"hidden or system files": 5, "partial downloads": 3, "tables and texts": 4}
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
        ("IO_ERROR", "the folder cannot be read: File name too long")
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
