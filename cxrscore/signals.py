"""Signals that ask a run to stop: the first sets a flag, so that the work under way is kept.

In    SIGINT (Ctrl-C), SIGTERM, SIGHUP.
Out   the number of the first one; a second Ctrl-C is KeyboardInterrupt at once.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class Asked:
    """`number`: the signal that asked to stop, else 0."""

    number: int = 0


@contextmanager
def asked_to_stop(
    patience_s: float | None = None, last_words: Callable[[int], None] | None = None
) -> Iterator[Asked]:
    """Within, the signals only set the flag. Outside the main thread Python allows no handlers: no flag.

    `patience_s`: so long after the flag the process says `last_words(number)` and ends with 128 + number,
    whatever it is doing: one backward pass of a large model on a CPU takes longer than a person waits, and
    no handler runs before it is over. What is on disk has to be whole at any moment, as it is for SIGKILL.
    """
    asked = Asked()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    over = threading.Event()

    def give_up() -> None:
        if not over.wait(patience_s):
            try:
                if last_words:
                    last_words(asked.number)
            finally:
                os._exit(128 + asked.number)

    def note(number: int, frame: FrameType | None) -> None:
        if asked.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not asked.number and patience_s is not None:
            threading.Thread(target=give_up, daemon=True).start()
        asked.number = asked.number or number

    usual = {number: signal.signal(number, note) for number in ASKING}
    try:
        yield asked
    finally:
        over.set()
        for number, handler in usual.items():
            signal.signal(number, handler)
