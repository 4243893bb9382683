"""Files are decoded in order, once each, with faults in the place of pixels."""

import hashlib
import io
import os
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrscore.errors import Unreadable
from cxrscore.images import read_image
from cxrscore.scoring.decode import decode_all, read_file

opened: list[str] = []
LISTEN = {"on": False}


def note_opening(event: str, arguments: tuple[object, ...]) -> None:
    if (
        LISTEN["on"] and event == "open" and not isinstance(arguments[0], int)
    ):  # a number is a file already open
        opened.append(os.fspath(arguments[0]))


sys.addaudithook(note_opening)  # cannot be taken away again, so it listens only while a test wants it


def a_png(seed: int, shape: tuple[int, int] = (40, 50)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def a_folder(root: Path, n: int = 12) -> list[str]:
    """n files; every third is damaged."""
    names = [f"{i:02}.png" for i in range(n)]
    for i, name in enumerate(names):
        data = a_png(i, (40 + i, 50))
        (root / name).write_bytes(data[:-9] if i % 3 == 2 else data)
    return names


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_every_path_has_its_own_pixels_or_its_own_fault_in_order(tmp_path: Path, workers: int) -> None:
    names = a_folder(tmp_path)[::-1]
    results = list(decode_all(tmp_path, names, size=16, workers=workers))
    assert [(one.index, one.path) for one in results] == list(enumerate(names))
    for one in results:
        data = (tmp_path / one.path).read_bytes()
        assert one.sha256 == hashlib.sha256(data).hexdigest()
        if int(one.path[:2]) % 3 == 2:
            assert one.pixels is None and one.fault is not None and one.fault.kind == "TRUNCATED"
        else:
            assert one.fault is None and one.pixels is not None
            assert (one.pixels == read_image(data, size=16)).all()
            assert (one.width, one.height) == (50, 40 + int(one.path[:2]))


@pytest.mark.parametrize("workers", [0, 2])
def test_each_file_is_opened_once_and_nothing_else(tmp_path: Path, workers: int) -> None:
    names = a_folder(tmp_path)
    list(decode_all(tmp_path, names[:1], size=16, workers=workers))  # loads the decoders
    opened.clear()
    LISTEN["on"] = True
    list(decode_all(tmp_path, names, size=16, workers=workers))
    LISTEN["on"] = False
    assert sorted(opened) == [str(tmp_path / name) for name in names]


def test_a_fault_lets_go_of_the_bytes_of_its_file(tmp_path: Path) -> None:
    for name in ("cut.png", "cut.jpg"):
        (tmp_path / name).write_bytes(a_png(0)[:-9])
    for one in decode_all(tmp_path, ["cut.png", "cut.jpg"], size=16, workers=0):
        assert one.fault is not None
        assert one.fault.__traceback__ is None and one.fault.__cause__ is None


def test_only_a_bounded_number_of_files_is_read_ahead(tmp_path: Path) -> None:
    taken = []

    def names():
        for name in a_folder(tmp_path, 30):
            taken.append(name)
            yield name

    results = decode_all(tmp_path, names(), size=16, workers=2, depth=5)
    next(results)
    assert len(taken) == 5
    next(results)
    assert len(taken) == 6
    results.close()


def test_stopping_early_leaves_no_thread_behind(tmp_path: Path) -> None:
    results = decode_all(tmp_path, a_folder(tmp_path), size=16, workers=2)
    next(results)
    results.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_no_paths_give_no_results(tmp_path: Path) -> None:
    assert list(decode_all(tmp_path, [], size=16, workers=2)) == []


def test_a_file_that_is_gone_is_vanished(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    results = decode_all(tmp_path, ["gone.png", "file/was/a/folder.png"], size=16, workers=0)
    assert [one.fault and one.fault.kind for one in results] == ["VANISHED", "VANISHED"]


def test_an_empty_file_is_named_so(tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    (one,) = decode_all(tmp_path, ["empty.png"], size=16, workers=0)
    assert one.fault is not None and one.fault.kind == "EMPTY_FILE"


@pytest.mark.parametrize("name", ["n" * 300 + ".png", "d" * 200 + ("/" + "d" * 200) * 25, ""])
def test_a_path_that_the_system_refuses_is_an_io_error(tmp_path: Path, name: str) -> None:
    (one,) = decode_all(tmp_path, [name], size=16, workers=0)
    assert one.fault is not None and one.fault.kind == "IO_ERROR"
    assert str(tmp_path) not in str(one.fault)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_without_permission_is_an_io_error(tmp_path: Path) -> None:
    (tmp_path / "shut.png").write_bytes(a_png(0))
    (tmp_path / "shut.png").chmod(0)
    with pytest.raises(Unreadable, match="Permission denied") as caught:
        read_file(tmp_path / "shut.png")
    assert caught.value.kind == "IO_ERROR"


def test_a_fifo_that_came_after_the_listing_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.png")
    with pytest.raises(Unreadable, match="not a regular file"):
        read_file(tmp_path / "fifo.png")


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "film.png").open("wb") as file:
        file.truncate(2**40)  # sparse
    with pytest.raises(Unreadable, match=r"1,099,511,627,776 bytes; at most") as caught:
        read_file(tmp_path / "film.png")
    assert caught.value.kind == "TOO_LARGE"


def test_a_file_that_changes_once_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(b"first")
    looks = watch_fstat(monkeypatch, then={2: lambda: path.write_bytes(b"second")})
    assert read_file(path) == b"second"
    assert looks == [1, 2, 3, 4]


def test_a_file_that_keeps_changing_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(b"first")
    grow = {look: lambda: path.write_bytes(path.read_bytes() + b"more") for look in (2, 4)}
    watch_fstat(monkeypatch, then=grow)
    with pytest.raises(Unreadable, match="being written while it was read") as caught:
        read_file(path)
    assert caught.value.kind == "CHANGED"


def watch_fstat(monkeypatch: pytest.MonkeyPatch, *, then: dict) -> list[int]:
    """Before the given look (1, 2, ...) at an open file, let somebody write to it."""
    looks: list[int] = []
    real = os.fstat

    def fstat(handle: int) -> os.stat_result:
        looks.append(len(looks) + 1)
        then.pop(looks[-1], lambda: None)()
        return real(handle)

    monkeypatch.setattr("cxrscore.scoring.decode.os.fstat", fstat)
    return looks
