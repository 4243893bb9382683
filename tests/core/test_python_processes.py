"""Calls in processes of their own: their faults come back, and none of them outlives the call."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cxrscore.core.errors import UserError
from cxrscore.core.python_processes import call_in_processes


def refuse(word: str) -> None:
    raise UserError(f"--word {word}: names nothing; name another.")


def divide() -> float:
    return 1 / 0


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def is_alive(number: int) -> bool:
    """A process that has ended and waits for its parent is none."""
    try:
        state = Path(f"/proc/{number}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def has_ended(number: int) -> bool:
    for _ in range(100):
        if not is_alive(number):
            return True
        time.sleep(0.1)
    return False


def test_a_refusal_comes_back_as_it_was_raised_and_says_where() -> None:
    with pytest.raises(UserError, match="--word x: names nothing") as fault:
        call_in_processes(f"{__name__}:refuse", [{"word": "x"}])
    assert fault.value.lines == ("--word x: names nothing; name another.",)
    assert "in refuse" in fault.value.__notes__[0]


def test_a_missing_folder_comes_back_as_an_os_error() -> None:
    with pytest.raises(OSError, match="No such file or directory: '/proc/none") as fault:
        call_in_processes("os:mkdir", [{"path": "/proc/none/here"}])
    assert fault.value.filename == "/proc/none/here"


def test_another_fault_comes_back_in_words_and_says_where() -> None:
    with pytest.raises(RuntimeError, match=r"ZeroDivisionError: .*by zero") as fault:
        call_in_processes(f"{__name__}:divide", [{}])
    assert "in divide" in fault.value.__notes__[0]


def test_a_process_that_is_killed_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="a process of ours ended with exit code -9"):
        call_in_processes(f"{__name__}:die", [{}])


def test_no_process_is_left_where_another_failed(tmp_path: Path) -> None:
    started = tmp_path / "started"
    with pytest.raises(RuntimeError, match="exit code -9"):
        call_in_processes(
            f"{__name__}:die_after", [{"path": str(started)}, {"path": str(started), "wait": True}]
        )
    assert has_ended(int(started.read_text(encoding="utf-8")))


def die_after(path: str, wait: bool = False) -> None:
    """One waits; the other dies once the first has said its number."""
    if wait:
        temporary = Path(path).with_suffix(".part")
        temporary.write_text(str(os.getpid()), encoding="utf-8")
        temporary.rename(path)
        time.sleep(600)
    while not Path(path).exists():
        time.sleep(0.05)
    die()


def test_no_process_outlives_a_caller_that_is_killed(tmp_path: Path) -> None:
    started = tmp_path / "started"
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); "
        "from cxrscore.core.python_processes import call_in_processes; "
        f"call_in_processes('{__name__}:die_after', [{{'path': sys.argv[2], 'wait': True}}])"
    )
    caller = subprocess.Popen([sys.executable, "-c", code, str(Path(__file__).parent), str(started)])
    while not started.exists():
        time.sleep(0.05)
    number = int(started.read_text(encoding="utf-8"))
    assert is_alive(number)
    caller.kill()
    caller.wait()
    assert has_ended(number)
