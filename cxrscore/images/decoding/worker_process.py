"""One decoding process as its parent sees it: started, given tasks, listened to, ended, its death explained.

In    tasks.
Out   lines that it answered, in the order of its tasks: the first unanswered one is what it works at.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from subprocess import _args_from_interpreter_flags  # type: ignore[attr-defined]  # multiprocessing uses it too
from typing import Any

from cxrscore.images.decoding.decode import Wanted
from cxrscore.images.decoding.shared_memory import Shape, above_stdio
from cxrscore.images.inputs.byte_source import Place

# With -P and the parent's sys.path: neither a json.py in the current folder nor another cxrscore is imported.
WORKER: Sequence[str] = (
    "-c",
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from cxrscore.images.decoding.worker import main; main()",
)
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # as many workers as cores, not threads
GRACE_S = 1.0
TOLD = re.compile(r'File "(.+)", line (\d+) in (.+)')  # as faulthandler writes it, the innermost first


@dataclass
class Task:
    """A file and the row of shared memory that it goes to."""

    index: int
    path: str
    place: Place
    buffer: int
    row: int
    crashes: int = 0


class Worker:
    """A process, the socket to it, and the tasks that it has not answered."""

    def __init__(self, memory: int, shape: Shape, *, wanted: Wanted) -> None:
        """`memory` is the number of a file of shared memory, `shape` that of the first ring in it: (depth, B,
        S, S). Raises OSError where no process can be had.
        """
        self.tasks: deque[Task] = deque()
        self.ready = False
        self.gone = False  # its end of the socket is closed
        self.began = 0.0  # on the clock of whoever watches
        self._unsent = b""
        self._unread = b""
        self._stderr = tempfile.TemporaryFile("a+b")  # noqa: SIM115 - appending, as the worker truncates it
        self.channel, theirs = socket.socketpair()
        self.channel.setblocking(False)
        theirs = socket.socket(fileno=above_stdio(theirs.detach()))
        numbers = (theirs.fileno(), memory)
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    *_args_from_interpreter_flags(),
                    "-P",
                    *WORKER,
                    json.dumps(sys.path, default=str),
                    json.dumps(asdict(wanted)),
                ]
                + [str(number) for number in (*numbers, *shape[:3])],
                pass_fds=numbers,
                stdin=subprocess.DEVNULL,
                stdout=self._stderr,
                stderr=self._stderr,
                process_group=0,  # Ctrl-C and Ctrl-Z in a terminal are for the parent
                env=os.environ | ONE_THREAD,
            )

    def give(self, task: Task) -> None:
        """`send` sends it."""
        self.tasks.append(task)
        line = json.dumps((task.index, task.path, task.buffer, task.row, astuple(task.place)))
        self._unsent += line.encode() + b"\n"

    def send(self) -> None:
        """As much as the socket takes: a worker that stands still must not hold the parent."""
        with suppress(BlockingIOError, ConnectionError):  # a death is learnt of in `receive`
            while self._unsent:
                self._unsent = self._unsent[self.channel.send(self._unsent) :]

    def receive(self) -> list[Any]:
        """What has arrived, without waiting; sets `gone` at the end."""
        try:
            data = self.channel.recv(1 << 16)
        except BlockingIOError:
            return []
        except ConnectionError:
            data = b""
        self.gone = not data
        *lines, self._unread = (self._unread + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def abort(self) -> None:
        """End it, and let it write where it was."""
        self._process.send_signal(signal.SIGABRT)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_S)
        self.kill()

    def kill(self) -> None:
        """After this it writes nowhere: it is dead, or so deep in the kernel that it never comes back."""
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_S)

    def cause(self) -> str:
        """`SIGSEGV in load (ImageFile.py:293)` of a process that is dead."""
        code = self._process.poll()
        name = f"exit code {code}" if code is None or code >= 0 else _name(-code)
        return f"{name}{self.where()}"

    def where(self) -> str:
        """` in load (ImageFile.py:293)`, or nothing where it could not tell."""
        told = TOLD.search(self.last_words())
        return f" in {told[3]} ({Path(told[1]).name}:{told[2]})" if told else ""

    def last_words(self) -> str:
        self._stderr.seek(0)
        return self._stderr.read().decode(errors="replace")

    def close(self) -> None:
        self.channel.close()
        self._stderr.close()


def _name(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
