"""The two faults a person can mend: of the whole call (UserError) and of one image file (Unreadable).

Everything else that goes wrong is ours and keeps its traceback.
"""

QUARANTINE_KINDS = (
    "EMPTY_FILE",
    "TRUNCATED",
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
    "NON_FINITE",
)


class UserError(Exception):
    """What was found, where, and what would be right. Shown once, by the CLI, with exit code 2."""


class Unreadable(Exception):
    """One file that cannot become pixels: a kind from QUARANTINE_KINDS and a sentence without pixel data."""

    def __init__(self, kind: str, message: str) -> None:
        assert kind in QUARANTINE_KINDS, kind
        super().__init__(message)
        self.kind = kind
