"""The two faults a person can correct: of the whole call (UserError) and of one image file (Unreadable).

Everything else that goes wrong is ours and keeps its traceback.
"""

REMEDIES = {  # kind of fault -> what would be right, where a message does not say it of its own case
    "EMPTY_FILE": "fetch or export the file again",
    "TRUNCATED": "fetch or export the file again",
    "INCOMPLETE": "export the whole picture again",
    "CORRUPT_DATA": "fetch or export the file again",
    "NOT_AN_IMAGE": "put the image in its place, or leave the file out",
    "UNSUPPORTED_FORMAT": "convert to PNG",
    "UNSUPPORTED_COLORSPACE": "convert to gray",
    "UNDECLARED_DEPTH": "declare the depth with --bit-depth or prepare.bit_depth",
    "MULTIFRAME": "save the one to be scored as a separate file",
    "TOO_LARGE": "save it smaller, as 8-bit gray",
    "TOO_SMALL": "export it at its full size",
    "BLANK_IMAGE": "export it again, or leave it out",
    "VANISHED": "put it back, or list the input again",
    "CHANGED": "score it again once nothing writes to it",
    "IO_ERROR": "check its permissions and the storage",
    "WORKER_CRASH": "open it in another program and save it as PNG",
    "TIMEOUT": "save it as PNG, or score with a longer --timeout-s",
    "NON_FINITE": "leave the file out, or train the models again",
}
QUARANTINE_KINDS = tuple(REMEDIES)


def counted(count: int, one: str, many: str = "") -> str:
    """`1 file`, `12,000 files`; `many` where a bare s does not make the plural."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


class Told(Exception):
    """Words for a person, one line per argument; a line end within one is a name's, and shown as `\\n`."""

    def __init__(self, *lines: str) -> None:
        super().__init__(*lines)
        self.lines = lines

    def __str__(self) -> str:
        return "\n".join(self.lines)


class UserError(Told):
    """What was found, where, and what would be right. Shown once, by the CLI, with exit code 2."""


def with_remedy(kind: str, message: str) -> str:
    """What was found in one file; what would be right: that of its kind, where the message has none."""
    return message if "; " in message else f"{message}; {REMEDIES[kind]}"


class Unreadable(Exception):
    """One file that cannot become pixels: a kind from QUARANTINE_KINDS and a sentence without pixel data:
    what was found; what would be right. Where the sentence has no second half, it gets that of its kind.
    """

    def __init__(self, kind: str, message: str) -> None:
        if kind not in QUARANTINE_KINDS:
            raise BrokenPromise(f"{kind}: not a kind of fault")
        super().__init__(with_remedy(kind, message))
        self.kind = kind

    def __reduce__(self) -> tuple[type["Unreadable"], tuple[str, str]]:
        return Unreadable, (self.kind, str(self))  # a process pool hands faults on


class Stopped(Told):
    """The run ended early; what it did is kept, and the same command with --resume and `words` resumes it.
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
