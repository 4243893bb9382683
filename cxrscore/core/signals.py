"""Signals that ask a run to stop: the first sets a flag, so that the work under way is kept, and says so.

In    SIGINT (Ctrl-C), SIGTERM, SIGHUP.
Out   the number of the first one; a second Ctrl-C is KeyboardInterrupt at once. What the caller's parent had
      ignored (nohup) stays ignored.
"""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOPPING = b"stopping after the work under way"
HURRY = b"; press Ctrl-C again to stop now"
WRITING_S = 60.0  # that a write under way may still take: a state of gigabytes on a slow disk


@dataclass
class Asked:
    """`number`: the signal that asked to stop, or 0. `holding`: what is being done about it is nearly done,
    and worth waiting for.
    """

    number: int = 0
    holding: bool = False


@contextmanager
def asked_to_stop(
    patience_s: float | None = None, last_words: Callable[[int], None] | None = None
) -> Iterator[Asked]:
    """Within, the signals set the flag and print a line. Outside the main thread Python allows no handlers:
    no flag.

    `patience_s`: so long after the first signal the process says `last_words(number)` and ends with 128 +
    number, whatever it is doing. What is on disk has to be whole at any moment, as it is for SIGKILL.
    """
    asked = Asked()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def note(number: int, frame: FrameType | None) -> None:
        if asked.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.number = asked.number or number

    heard = [
        number for number in ASKING if signal.getsignal(number) != signal.SIG_IGN
    ]  # nohup, `&` in a script
    usual = {number: signal.signal(number, note) for number in heard}
    try:
        with _given_up_after(patience_s, asked, last_words, heard):
            yield asked
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


def _say_stopping(number: int) -> None:
    """On stderr, at once; one process says it for all that share a training."""
    if os.environ.get("RANK", "0") == "0":
        with suppress(OSError):
            os.write(2, STOPPING + (HURRY if number == signal.SIGINT else b"") + b"\n")


@contextmanager
def _given_up_after(
    patience_s: float | None,
    asked: Asked,
    last_words: Callable[[int], None] | None,
    heard: Sequence[int],
) -> Iterator[None]:
    """A thread hears of the signal by way of a socket: Python's handlers run only between its instructions,
    and one backward pass of a large model on a CPU is one instruction of a minute.
    """
    hears, tells = socket.socketpair()
    tells.setblocking(False)
    over = threading.Event()

    def watch() -> None:
        number = next((byte for byte in iter(lambda: hears.recv(1), b"") if byte[0] in heard), b"")
        if not number:
            return
        _say_stopping(number[0])
        if patience_s is None or over.wait(patience_s) or (asked.holding and over.wait(WRITING_S)):
            return
        try:
            if last_words:
                last_words(number[0])
        finally:
            os._exit(128 + number[0])

    before = signal.set_wakeup_fd(tells.fileno(), warn_on_full_buffer=False)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        signal.set_wakeup_fd(before)
        tells.close()
        watcher.join()
        hears.close()
