"""One folder with everything that goes wrong, mixed with good files: each bad one is named for what it is,
each good one keeps its bytes, and nothing hangs.
"""

import csv
import io
import os
import shutil
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Project
from test_reading import FILM, GOOD, a_film, a_multi_picture_jpeg, a_png, encode, flip, sixteen, splice, zero

from cxrscore.check import check
from cxrscore.core.device import Machine
from cxrscore.core.progress import Silent
from cxrscore.score import score
from cxrscore.scoring.finish import Outcome
from cxrscore.scoring.options import Options

GOOD_PER_BAD = 50
JPEG, PNG = GOOD["baseline JPEG"], GOOD["PNG"]
TALL = struct.pack(">HH", 20_000, 20_000)
FRAME = JPEG.index(b"\xff\xc0") + 5
RAMP = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint16)

# Row of BAD_INPUTS -> name of the file, its bytes, what it gets.
BAD: dict[str, tuple[str, bytes, str]] = {
    "zero bytes": ("i1.jpg", b"", "EMPTY_FILE"),
    "cut baseline": ("i2.jpg", JPEG[: len(JPEG) // 2], "TRUNCATED"),
    "cut progressive": ("i3.jpg", GOOD["progressive JPEG"][:-200], "TRUNCATED"),
    "a hole in a JPEG": ("i4.jpg", JPEG[:-400] + bytes(300) + JPEG[-100:], "CORRUPT_DATA"),
    "no end marker": ("i7.jpg", JPEG[:-2], "TRUNCATED"),
    "CMYK": ("i8.jpg", encode(FILM.convert("CMYK"), "JPEG"), "UNSUPPORTED_COLORSPACE"),
    "12 bits undeclared": ("i11.png", sixteen(RAMP * 30), "UNDECLARED_DEPTH"),
    "float TIFF": ("i14.tif", encode(FILM.convert("F"), "TIFF"), "UNSUPPORTED_FORMAT"),
    "a wrong CRC": ("i15.png", PNG[:-20] + bytes([PNG[-20] ^ 1]) + PNG[-19:], "CORRUPT_DATA"),
    "two frames": ("i16.jpg", a_multi_picture_jpeg(2), "MULTIFRAME"),
    "an error page": ("i18.jpg", b"<html>404 Not Found</html>", "NOT_AN_IMAGE"),
    "DICOM": ("i19", b"\0" * 128 + b"DICM" + b"\0" * 99, "UNSUPPORTED_FORMAT"),
    "a huge header": ("i20.jpg", JPEG[:FRAME] + TALL + JPEG[FRAME + 4 :], "TOO_LARGE"),
    "a bomb": ("i21.png", a_png(bytes(20_000_000), 160, 120), "CORRUPT_DATA"),
    "one pixel": ("i22.png", encode(a_film(1, 1), "PNG"), "TOO_SMALL"),
    "one shade": ("i23.png", encode(FILM.point(lambda _: 77), "PNG"), "BLANK_IMAGE"),
    "JPEG 2000": ("i26.jp2", b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0" * 50, "UNSUPPORTED_FORMAT"),
    "a crash": ("r5-crash.jpg", JPEG, "WORKER_CRASH"),
    "killed": ("r5-kill.jpg", JPEG, "WORKER_CRASH"),
    "a hang": ("r7-hang.jpg", JPEG, "TIMEOUT"),
}

# A worker that dies or hangs where the name of the file says so.
POISONED_WORKER = """
import json, os, signal, sys, time
sys.path[:] = json.loads(sys.argv[1])
from cxrscore.images.decoding import decode, worker
read = decode.read_place
def poisoned(place):
    if "r5-crash" in place.file: os.kill(os.getpid(), signal.SIGSEGV)
    if "r5-kill" in place.file: os.kill(os.getpid(), signal.SIGKILL)
    if "r7-hang" in place.file: time.sleep(600)
    return read(place)
decode.read_place = poisoned
worker.main()
"""


def run(folder: Path, out_csv: Path, project: Project, **options: object) -> Outcome:
    return score(
        str(folder),
        out_csv,
        Options(**{"workers": 2, "timeout_s": 2.0, "max_errors": 1000, **options}),
        models=project.layout.models,
        machine=Machine(torch.device("cpu"), torch.float32),
        progress=Silent(),
    )


def kinds(out_csv: Path) -> dict[str, str]:
    with out_csv.with_name(f"{out_csv.name}.errors.csv").open(newline="") as file:
        return {row["path"]: row["kind"] for row in csv.DictReader(file)}


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "worker.py").write_text(POISONED_WORKER)
    monkeypatch.setattr("cxrscore.images.decoding.worker_process.WORKER", (str(tmp_path / "worker.py"),))
    monkeypatch.setattr("cxrscore.images.decoding.pool.SECOND_S", 2.0)
    monkeypatch.setattr("cxrscore.images.decoding.pool.SECOND_TIMES", 1)


def spoil(folder: Path) -> dict[str, str]:
    """Everything in BAD, and what the file system can do -> path: kind."""
    expected = {}
    for name, data, kind in BAD.values():
        (folder / name).write_bytes(data)
        expected[name] = kind
    (folder / "f3-dangling.jpg").symlink_to("nowhere.jpg")
    (folder / "f3-loop.jpg").symlink_to("f3-loop.jpg")
    expected |= {"f3-dangling.jpg": "VANISHED", "f3-loop.jpg": "IO_ERROR"}
    os.mkfifo(folder / "f3-fifo.jpg")  # skipped and counted, never opened
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(folder / "f3-socket"))
    (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (folder / "f19.jpg.crdownload").write_bytes(JPEG[:100])
    return expected


@pytest.mark.usefixtures("worker")
def test_a_folder_with_all_of_them_among_good_files_has_no_wrong_row(
    project: Project, tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    radiographs = [path.read_bytes() for path in sorted((project.data / "images").iterdir())]
    for i in range(GOOD_PER_BAD * (len(BAD) + 2)):
        (folder / f"{i:05d}.jpg").write_bytes(radiographs[i % len(radiographs)])
    run(folder, tmp_path / "clean.csv", project)
    expected = spoil(folder)
    outcome = run(folder, tmp_path / "sub.csv", project)
    assert kinds(tmp_path / "sub.csv") == expected
    assert outcome.quarantined == len(expected) and outcome.scored == GOOD_PER_BAD * len(expected)
    assert (tmp_path / "sub.csv").read_bytes() == (tmp_path / "clean.csv").read_bytes()
    assert [note for note in outcome.notes if "skipped" in note] == [
        "1 skipped: hidden or system files",
        "2 skipped: neither files nor folders",
        "1 skipped: partial downloads",
    ]


def cut(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: rng.integers(1, len(data) - 2)]


def test_500_damaged_files_crash_and_hang_nothing_and_every_cut_one_is_rejected(tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    damages: dict[str, Callable[[bytes, np.random.Generator], bytes]] = {
        "cut": cut,
        "flip": flip,
        "zero": zero,
        "splice": splice,
    }
    folder = tmp_path / "images"
    folder.mkdir()
    originals = list(GOOD.values())
    for i in range(500):
        name = list(damages)[i % len(damages)]
        data = damages[name](originals[i // len(damages) % len(originals)], rng)
        (folder / f"{i:03d}-{name}").write_bytes(data)
    found = check(str(folder), size=48, workers=2, timeout_s=5.0, exclude=[], progress=Silent())
    named = {path: kind for path, _, kind, _ in found.faults}
    assert found.listed == 500 == found.readable + len(named)
    assert not {"WORKER_CRASH", "TIMEOUT"} & set(named.values())
    assert {f"{i:03d}-cut" for i in range(0, 500, 4)} <= set(named)


def test_names_of_all_kinds_come_out_as_they_went_in(project: Project, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    image = next((project.data / "test").iterdir())
    names = ["a b.jpg", "a,b.jpg", 'a"b.jpg', "a\nb.jpg", "a\tb.jpg", "a\rb.jpg", "\U0001fac1.jpg"]
    names += ["NA", "null", "nan", "None", "001", "1e5", "e\u0301.jpg", "\u00e9.jpg", "=1+1.jpg", "@x.jpg"]
    names += ["-x.jpg", "x" * 250 + ".jpg"]
    for name in names:
        shutil.copy(image, folder / name)
    outcome = run(folder, tmp_path / "sub.csv", project)
    assert outcome.scored == len(names)
    with (tmp_path / "sub.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    assert [row[0] for row in rows] == sorted(names, key=os.fsencode)
    assert len({tuple(row[1:]) for row in rows}) == 1


def test_names_that_are_no_utf8_are_written_so_that_they_can_be_told(
    project: Project, tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    image = next((project.data / "test").iterdir()).read_bytes()
    for name in (b"caf\xe9.jpg", b"caf\xe8.jpg"):
        with io.FileIO(os.open(os.fsencode(folder) + b"/" + name, os.O_CREAT | os.O_WRONLY), "w") as file:
            file.write(image)
    assert run(folder, tmp_path / "sub.csv", project).scored == 2
    table = (tmp_path / "sub.csv").read_text(encoding="utf-8")
    assert "caf%E9.jpg" in table and "caf%E8.jpg" in table
