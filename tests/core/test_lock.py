"""One run an output, whatever becomes of the run."""

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cxrscore.core.errors import Busy, UserError
from cxrscore.core.lock import locked

HOLD = """
import sys, time
from pathlib import Path
from cxrscore.core.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""
RACE = """
import os, sys
from pathlib import Path
from cxrscore.core.errors import Busy
from cxrscore.scoring.journal import opened_journal
folder, mark, held = Path(sys.argv[1]), Path(sys.argv[2]), 0
sys.stdin.readline()
while held < 50:
    try:
        with opened_journal(folder, shard_rows=7) as journal:
            os.close(os.open(mark, os.O_CREAT | os.O_EXCL))  # fails where the other one holds it, too
            journal.begin({}, iter([("a", 1)]))
            mark.unlink()
            journal.remove()
            held += 1
    except Busy:
        pass
print(held)
"""


def program(text: str, *words: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", text, *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def hold(path: Path) -> "subprocess.Popen[str]":
    """Another process that holds the lock."""
    other = program(HOLD, path)
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    return other


def test_the_second_is_told_who_holds_it_and_since_when(tmp_path: Path) -> None:
    with hold(tmp_path / "journal" / "lock") as other:
        who = rf"journal: .*process {other.pid} on {socket.gethostname()}, since \d{{4}}-\d\d-\d\dT"
        with pytest.raises(Busy, match=who), locked(tmp_path / "journal" / "lock"):
            pass
        other.kill()


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    with hold(tmp_path / "journal" / "lock") as other:
        other.send_signal(signal.SIGKILL)
        other.wait()
        with locked(tmp_path / "journal" / "lock"):
            assert str(os.getpid()) in (tmp_path / "journal" / "lock").read_text()


def test_a_holder_that_has_not_written_its_name_yet_holds_it_all_the_same(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(Busy, match="begun this moment"), locked(tmp_path / "lock"):
            pass


def test_a_lock_whose_folder_went_in_between_is_taken_in_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, usual, turns = tmp_path / "journal" / "lock", fcntl.flock, []

    def flock(handle: int, how: int) -> None:
        turns.append(how)
        if len(turns) == 1:  # as if the last holder removed it after we had opened it
            path.unlink()
            path.parent.rmdir()
        usual(handle, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with locked(path):
        assert len(turns) == 2
        with pytest.raises(Busy, match=str(os.getpid())), locked(path):
            pass


def test_two_that_race_never_both_hold_it(tmp_path: Path) -> None:
    with (
        program(RACE, tmp_path / "journal", tmp_path / "mark") as one,
        program(RACE, tmp_path / "journal", tmp_path / "mark") as other,
    ):
        for runner in (one, other):
            assert runner.stdin is not None
            runner.stdin.write("go\n")
            runner.stdin.flush()
        said = [runner.communicate(timeout=60)[0] for runner in (one, other)]
    assert said == ["50\n", "50\n"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_locks_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(handle: int, how: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    said = rf"cannot lock files \({os.strerror(code)}\); write the output to a local disk"
    with pytest.raises(UserError, match=said), locked(tmp_path / "lock"):
        pass
