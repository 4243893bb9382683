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


class UserError(Exception):
    """What was found, where, and what would be right. Shown once, by the CLI, with exit code 2."""


class Unreadable(Exception):
    """One file that cannot become pixels: a kind from QUARANTINE_KINDS and a sentence without pixel data."""

    def __init__(self, kind: str, message: str) -> None:
        if kind not in QUARANTINE_KINDS:
            raise BrokenPromise(f"{kind}: no kind of fault")
        super().__init__(message)
        self.kind = kind


class Stopped(Exception):
    """The run ended early; what it did is kept, and the same command with --resume and `words` goes on.
    `code` is the exit code: 4 storage, device or too many faults; 128 + n for signal n.
    """

    def __init__(self, message: str, code: int = 4, words: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.code, self.words = code, words


class BrokenPromise(RuntimeError):
    """We broke a promise that a user relies on, and nothing may be written. An exception, as `python -O`
    drops assertions.
    """


class WorkersLost(RuntimeError):
    """The decoding processes end before they begin: the machine, not a file, is at fault."""


class Busy(Exception):
    """Another run holds this output; exit code 5."""
