"""Signals that ask a run to stop: the first sets a flag, so that the batch under way is kept.

In    SIGINT (Ctrl-C), SIGTERM, SIGHUP.
Out   the number of the first one; a second Ctrl-C is KeyboardInterrupt at once.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class Asked:
    """`number`: the signal that asked to stop, else 0."""

    number: int = 0


@contextmanager
def asked_to_stop() -> Iterator[Asked]:
    """Within, the signals only set the flag. Outside the main thread Python allows no handlers: no flag."""
    asked = Asked()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def note(number: int, frame: FrameType | None) -> None:
        if asked.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.number = asked.number or number

    usual = {number: signal.signal(number, note) for number in ASKING}
    try:
        yield asked
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
