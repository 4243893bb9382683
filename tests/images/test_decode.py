"""One place becomes pixels in its row, or a fault: files, stretches of archives, storage that stumbles."""

import errno
import hashlib
import io
import os
import sys
import tracemalloc
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cxrscore.core.errors import Unreadable
from cxrscore.images.decoding.decode import PAUSES_S, Decoded, decode_into, read_place
from cxrscore.images.inputs.byte_source import Place
from cxrscore.images.reading import read_image

opened: list[str] = []
LISTEN = {"on": False}


def note_opening(event: str, arguments: tuple[object, ...]) -> None:
    listening = LISTEN and LISTEN["on"]  # while Python shuts down, globals are None
    if listening and event == "open" and isinstance(arguments[0], str | os.PathLike):  # a number is open
        opened.append(os.fspath(arguments[0]))


sys.addaudithook(note_opening)  # cannot be taken away again, so it listens only while a test wants it


def a_png(seed: int, shape: tuple[int, int] = (40, 50)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def decoded(path: Path, size: int = 16) -> Decoded:
    """Into a row of sevens, which a fault leaves as it is."""
    row = np.full((size, size), 7, np.uint8)
    one = decode_into(row, 3, "its/name", Place(str(path)))
    assert (one.index, one.path) == (3, "its/name")
    assert one.pixels is row if one.fault is None else (row == 7).all()
    return one


def fault_of(place: Place) -> tuple[str, str]:
    """The kind, and what was found."""
    with pytest.raises(Unreadable) as caught:
        read_place(place)
    return caught.value.kind, str(caught.value).partition("; ")[0]


def test_a_file_becomes_its_pixels_and_facts(tmp_path: Path) -> None:
    data = a_png(0)
    (tmp_path / "x.png").write_bytes(data)
    one = decoded(tmp_path / "x.png")
    assert one.pixels is not None and (one.pixels == read_image(data, size=16)).all()
    assert (one.sha256, one.bytes) == (hashlib.sha256(data).hexdigest(), len(data))
    assert (one.width, one.height, one.orientation) == (50, 40, 1)


def test_a_damaged_file_becomes_its_fault_and_keeps_its_hash(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(a_png(0)[:-9])
    one = decoded(tmp_path / "x.png")
    assert one.fault is not None and one.fault.kind == "TRUNCATED" and one.pixels is None
    assert one.sha256 == hashlib.sha256(a_png(0)[:-9]).hexdigest()


def test_each_file_is_opened_once_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(a_png(0))
    decoded(tmp_path / "x.png")  # loads the decoders
    opened.clear()
    LISTEN["on"] = True
    decoded(tmp_path / "x.png")
    LISTEN["on"] = False
    assert opened == [str(tmp_path / "x.png")]


@pytest.mark.parametrize("name", ["cut.png", "cut.jpg"])
def test_a_fault_lets_go_of_the_bytes_of_its_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(a_png(0)[:-9])
    fault = decoded(tmp_path / name).fault
    assert fault is not None and fault.__traceback__ is None and fault.__cause__ is None


@pytest.mark.parametrize("error", [MemoryError(), RecursionError("pixels: 1 2 3"), AssertionError()])
def test_what_no_decoder_should_raise_is_kept_to_its_file_and_names_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def decode(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("cxrscore.images.decoding.decode.decode_copies", decode)
    (tmp_path / "x.png").write_bytes(a_png(0))
    fault = decoded(tmp_path / "x.png").fault
    assert fault is not None and fault.kind == "WORKER_CRASH"
    assert str(fault).startswith(f"unexpected {type(error).__name__} in decode (test_decode.py:")
    assert "pixels" not in str(fault)


def test_the_persons_interrupt_is_not_a_fault_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cxrscore.images.decoding.decode.decode_copies", decode)
    (tmp_path / "x.png").write_bytes(a_png(0))
    with pytest.raises(KeyboardInterrupt):
        decoded(tmp_path / "x.png")


def test_a_file_that_is_gone_is_vanished(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for name in ("gone.png", "file/was/a/folder.png"):
        assert fault_of(Place(str(tmp_path / name))) == ("VANISHED", "there is no such file")


def test_an_empty_file_is_named_so(tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    fault = decoded(tmp_path / "empty.png").fault
    assert fault is not None and fault.kind == "EMPTY_FILE"


@pytest.mark.parametrize("name", ["n" * 300 + ".png", "d" * 200 + ("/" + "d" * 200) * 25, ""])
def test_a_path_that_the_system_refuses_is_an_io_error(tmp_path: Path, name: str) -> None:
    kind, message = fault_of(Place(str(tmp_path / name)))
    assert kind == "IO_ERROR" and str(tmp_path) not in message


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_without_permission_is_an_io_error(tmp_path: Path) -> None:
    (tmp_path / "shut.png").write_bytes(a_png(0))
    (tmp_path / "shut.png").chmod(0)
    assert fault_of(Place(str(tmp_path / "shut.png"))) == (
        "IO_ERROR",
        "the file cannot be read: Permission denied",
    )


def stumbling_storage(monkeypatch: pytest.MonkeyPatch, code: int, times: int) -> list[float]:
    """The first `times` openings fail. What is returned fills with the pauses that are made."""
    real, failed, pauses = os.open, [], []

    def fail_at_first(*arguments: Any) -> int:
        if len(failed) < times:
            failed.append(code)
            raise OSError(code, os.strerror(code))
        return real(*arguments)

    monkeypatch.setattr("cxrscore.images.decoding.decode.os.open", fail_at_first)
    monkeypatch.setattr("cxrscore.images.decoding.decode.time.sleep", pauses.append)
    return pauses


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
def test_storage_that_stumbles_is_asked_again_after_growing_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    (tmp_path / "x.png").write_bytes(b"bytes")
    pauses = stumbling_storage(monkeypatch, code, times=3)
    assert read_place(Place(str(tmp_path / "x.png"))) == b"bytes"
    assert pauses == list(PAUSES_S) == sorted(PAUSES_S)


def test_storage_that_stays_down_is_an_io_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.png").write_bytes(b"bytes")
    pauses = stumbling_storage(monkeypatch, errno.EIO, times=4)
    assert fault_of(Place(str(tmp_path / "x.png"))) == (
        "IO_ERROR",
        "the file cannot be read: Input/output error",
    )
    assert len(pauses) == 3


@pytest.mark.parametrize("code", [errno.EACCES, errno.EMFILE, errno.ELOOP])
def test_what_waiting_cannot_mend_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    (tmp_path / "x.png").write_bytes(b"bytes")
    pauses = stumbling_storage(monkeypatch, code, times=1)
    assert fault_of(Place(str(tmp_path / "x.png")))[0] == "IO_ERROR"
    assert pauses == []


def deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


def an_archive(root: Path, data: bytes, *, deflated: bool) -> Place:
    """The data between other bytes, as an archive holds it."""
    body = deflate(data) if deflated else data
    (root / "archive").write_bytes(b"before" + body + b"after")
    return Place(str(root / "archive"), 6, len(body), deflated, len(data), zlib.crc32(data))


@pytest.mark.parametrize("deflated", [False, True])
@pytest.mark.parametrize("data", [a_png(0), b"", bytes(100_000)])
def test_a_stretch_of_an_archive_is_read_in_place(tmp_path: Path, data: bytes, deflated: bool) -> None:
    place = an_archive(tmp_path, data, deflated=deflated)
    assert read_place(place) == data
    assert read_place(replace(place, crc32=None, size=-1)) == data


@pytest.mark.parametrize("deflated", [False, True])
def test_a_wrong_sum_in_an_archive_is_corrupt_data(tmp_path: Path, deflated: bool) -> None:
    place = an_archive(tmp_path, a_png(0), deflated=deflated)
    kind, message = fault_of(replace(place, crc32=1))
    assert kind == "CORRUPT_DATA" and "CRC-32" in message


def test_an_archive_that_ends_early_is_truncated(tmp_path: Path) -> None:
    place = an_archive(tmp_path, b"x" * 100, deflated=False)
    os.truncate(place.file, 56)
    assert fault_of(place) == ("TRUNCATED", "the archive ends after 50 of 100 bytes")
    assert fault_of(replace(place, offset=2**40))[0] == "TRUNCATED"


def test_a_deflate_stream_without_its_end_is_truncated(tmp_path: Path) -> None:
    place = an_archive(tmp_path, a_png(0), deflated=True)
    short = replace(place, stored=place.stored - 3)
    assert fault_of(short) == ("TRUNCATED", "the archive's deflate stream does not end")


def test_a_damaged_deflate_stream_is_corrupt_data(tmp_path: Path) -> None:
    place = an_archive(tmp_path, a_png(0), deflated=True)
    assert fault_of(replace(place, offset=0))[0] == "CORRUPT_DATA"


def test_fewer_bytes_than_an_archive_declares_are_truncated(tmp_path: Path) -> None:
    for deflated in (False, True):
        place = an_archive(tmp_path, b"x" * 100, deflated=deflated)
        assert fault_of(replace(place, size=101))[0] == "TRUNCATED"


def test_a_bomb_is_inflated_to_one_byte_more_than_is_declared(tmp_path: Path) -> None:
    place = an_archive(tmp_path, bytes(30_000_000), deflated=True)
    tracemalloc.start()
    assert fault_of(replace(place, size=1000)) == (
        "CORRUPT_DATA",
        "the archive holds more than the 1,000 bytes it declares",
    )
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("change", [{"stored": 2**40}, {"size": 2**40}])
def test_a_stretch_that_is_too_large_is_refused_before_it_is_read(
    tmp_path: Path, change: dict[str, int]
) -> None:
    place = an_archive(tmp_path, b"x", deflated=True)
    kind, message = fault_of(replace(place, **change))  # type: ignore[arg-type]
    assert kind == "TOO_LARGE" and "1,099,511,627,776 bytes" in message


def test_an_archive_that_is_written_to_meanwhile_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = an_archive(tmp_path, b"x" * 100, deflated=False)
    path = Path(place.file)
    grow = {look: lambda: path.write_bytes(path.read_bytes() + b"more") for look in (2, 4)}
    watch_fstat(monkeypatch, then=grow)
    assert fault_of(place)[0] == "CHANGED"


def test_a_fifo_that_came_after_the_listing_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.png")
    with pytest.raises(Unreadable, match="not a regular file"):
        read_place(Place(str(tmp_path / "fifo.png")))


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "film.png").open("wb") as file:
        file.truncate(2**40)  # sparse
    with pytest.raises(
        Unreadable, match=r"1,099,511,627,776 bytes, and at most .*; save it smaller"
    ) as caught:
        read_place(Place(str(tmp_path / "film.png")))
    assert caught.value.kind == "TOO_LARGE"


def test_a_file_that_changes_once_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(b"first")
    looks = watch_fstat(monkeypatch, then={2: lambda: path.write_bytes(b"second")})
    assert read_place(Place(str(path))) == b"second"
    assert looks == [1, 2, 3, 4]


def test_a_file_that_keeps_changing_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(b"first")
    grow = {look: lambda: path.write_bytes(path.read_bytes() + b"more") for look in (2, 4)}
    watch_fstat(monkeypatch, then=grow)
    with pytest.raises(Unreadable, match="being written while it was read") as caught:
        read_place(Place(str(path)))
    assert caught.value.kind == "CHANGED"


def watch_fstat(monkeypatch: pytest.MonkeyPatch, *, then: dict) -> list[int]:
    """Before the given look (1, 2, ...) at an open file, let somebody write to it."""
    looks: list[int] = []
    real = os.fstat

    def fstat(handle: int) -> os.stat_result:
        looks.append(len(looks) + 1)
        then.pop(looks[-1], lambda: None)()
        return real(handle)

    monkeypatch.setattr("cxrscore.images.decoding.decode.os.fstat", fstat)
    return looks
