"""The fuzz harness runs, its judges notice a wrong picture, and a process that dies is counted."""

import subprocess
import sys
from pathlib import Path

import pytest
from fuzz import MAKERS, Worker, file_of

FUZZ = Path(__file__).with_name("fuzz.py")
MIRRORED = """
import sys
import numpy as np
from fuzz import MAKERS, S, judged
from cxrscore.images.reading import read_header, read_image
for format, makers in MAKERS.items():
    data = makers[2]().data
    header, pixels = read_header(data), read_image(data, size=S)
    for seen in (pixels, pixels[:, ::-1]):
        print(format, judged(data, seen, header.orientation, (header.width, header.height))[0])
    print(format, judged(data, pixels, header.orientation, (header.width, header.height + 1))[0])
"""


@pytest.fixture(scope="module")
def run() -> subprocess.CompletedProcess[str]:
    words = [sys.executable, str(FUZZ), "--files", "300", "--examples", "20"]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def total(run: subprocess.CompletedProcess[str]) -> list[str]:
    """The last line's numbers: files, accepted, largest, and what was found."""
    return run.stdout.splitlines()[-1].split()[1:9]


def test_every_format_is_damaged_and_much_of_it_is_accepted(run: subprocess.CompletedProcess[str]) -> None:
    assert run.stderr == ""
    assert {line.split()[0] for line in run.stdout.splitlines()} >= {"TIFF", "JPEG", "PNG", "GIF"}
    files, accepted, *_ = total(run)
    assert int(files) == 300 and 30 < int(accepted) < 200


def test_no_damage_is_accepted_that_another_decoder_sees_otherwise(
    run: subprocess.CompletedProcess[str],
) -> None:
    assert (run.returncode, total(run)[3:]) == (0, ["0"] * 5), run.stdout


def test_a_judge_notices_a_mirrored_picture_and_another_size() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MIRRORED], cwd=FUZZ.parent, capture_output=True, text=True, check=True
    )
    said = [line.split() for line in done.stdout.splitlines()]
    for format in MAKERS:
        assert [verdict for name, verdict in said if name == format][:2] == ["agreed", "differs"]
    assert [verdict for name, verdict in said if name != "GIF"][2::3] == ["differs"] * 3


def test_a_process_that_dies_is_counted_and_another_takes_its_place() -> None:
    worker = Worker(0, "PNG")
    worker.process.kill()
    worker.process.join()
    dead, alive = worker.outcome(0), worker.outcome(0)
    worker.stop()
    assert (dead.verdict, dead.told) == ("crash", "the reader (exit code -9)")
    assert (alive.verdict, alive.damage) == ("agreed", "nothing")


def test_a_file_is_the_same_in_every_run() -> None:
    for index in range(40):
        assert file_of(index, seed=3, only=None)[2:] == file_of(index, seed=3, only=None)[2:]
    assert file_of(1, seed=3, only=None)[2] != file_of(1, seed=4, only=None)[2]
