"""Progress on stderr where a caller asks for it.

In    whether it is wanted.
Out   a Progress for as long as the call runs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cxrscore.core.progress import Progress


@contextmanager
def shown_progress(wanted: bool) -> "Iterator[Progress]":
    """Progress on stderr, as the commands write it, or none."""
    if not wanted:
        from cxrscore.core.progress import Silent

        yield Silent()
        return

    from cxrscore.cli.messages import on_terminal

    with on_terminal() as terminal:
        yield terminal
