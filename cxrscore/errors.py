"""The two faults a person can mend: of the whole call (UserError) and of one image file (Unreadable).

Everything else that goes wrong is ours and keeps its traceback.
"""

QUARANTINE_KINDS = (
    "EMPTY_FILE",
    "TRUNCATED",
    "INCOMPLETE",
    "CORRUPT_DATA",
    "NOT_AN_IMAGE",
    "UNSUPPORTED_FORMAT",
    "UNSUPPORTED_COLORSPACE",
    "UNDECLARED_DEPTH",
    "MULTIFRAME",
    "TOO_LARGE",
    "TOO_SMALL",
    "BLANK_IMAGE",
    "VANISHED",
    "CHANGED",
    "IO_ERROR",
    "WORKER_CRASH",
    "TIMEOUT",
    "NON_FINITE",
)


class Told(Exception):
    """Words for a person, one line per argument; a line end within one is a name's, and shown as `\\n`."""

    def __init__(self, *lines: str) -> None:
        super().__init__(*lines)
        self.lines = lines

    def __str__(self) -> str:
        return "\n".join(self.lines)


class UserError(Told):
    """What was found, where, and what would be right. Shown once, by the CLI, with exit code 2."""


class Unreadable(Exception):
    """One file that cannot become pixels: a kind from QUARANTINE_KINDS and a sentence without pixel data."""

    def __init__(self, kind: str, message: str) -> None:
        if kind not in QUARANTINE_KINDS:
            raise BrokenPromise(f"{kind}: no kind of fault")
        super().__init__(message)
        self.kind = kind


class Stopped(Told):
    """The run ended early; what it did is kept, and the same command with --resume and `words` goes on.
    `code` is the exit code: 4 storage, device or too many faults; 128 + n for signal n.
    """

    def __init__(self, *lines: str, code: int = 4, words: tuple[str, ...] = ()) -> None:
        super().__init__(*lines)
        self.code, self.words = code, words


class BrokenPromise(RuntimeError):
    """We broke a promise that a user relies on, and nothing may be written. An exception, as `python -O`
    drops assertions.
    """


def promise(kept: object, words: str) -> None:
    """Raises BrokenPromise, which says what is not so, unless `kept`."""
    if not kept:
        raise BrokenPromise(words)


class WorkersLost(Told, RuntimeError):
    """The decoding processes end before they begin: the machine, not a file, is at fault."""


class Busy(Told):
    """Another run holds this output; exit code 5."""
