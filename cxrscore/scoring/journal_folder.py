"""Which folder is a journal's, and which files in it a run has written: nothing else is changed or deleted.

In    the folder `<out>.journal`, which may be somebody's own.
Out   UserError, and nothing was touched; otherwise its mark, its shards, and in the end an empty place.

The mark is the first file of a run, but for its lock, and the last but for it that goes.
"""

import re
import time
from contextlib import suppress
from pathlib import Path

from cxrscore.core.errors import UserError
from cxrscore.core.files import half_written, is_regular, temporary_name, write_text
from cxrscore.core.lock import is_lock

MARK, LOCK, RUN, MANIFEST = "journal", "lock", "run.json", "manifest.jsonl"
SIGNED = "cxrscore journal 1\n"
SHARD = re.compile(r"\d{9,}\.shard")
WRITTEN = rf"{MARK}|{re.escape(RUN)}|{re.escape(MANIFEST)}|{SHARD.pattern}|\d+\.made"  # but for the lock
LOOKS, LOOK_S = 3, 0.02  # a folder that another run makes or removes this moment is seen in parts


def shard_paths(folder: Path) -> list[Path]:
    """In the order of their rows."""
    found = [path for path in folder.iterdir() if SHARD.fullmatch(path.name) and is_regular(path)]
    return sorted(found, key=lambda path: int(path.stem))


def mark(folder: Path) -> None:
    """From now on the folder is a journal's, whatever others put into it."""
    if not _marked(folder):
        write_text(folder / MARK, SIGNED)


def refuse_strange(folder: Path) -> None:
    """Raises UserError where the folder holds what no run has written, and no mark."""
    for _ in range(LOOKS):
        if not (strangers := _strangers(folder)):
            return
        time.sleep(LOOK_S)
    if RUN in strangers and all(re.fullmatch(rf"{WRITTEN}|{LOCK}", name) for name in strangers):
        raise UserError(
            f"{folder}: not marked as a journal: it was made by an earlier version of cxrscore, or by "
            "somebody else; remove the folder if nobody needs it, or choose another name for the output."
        )
    raise UserError(
        f"{folder}: holds other files, such as {strangers[0]!r}; move them, or choose another name for the "
        "output."
    )


def clear(folder: Path) -> list[str]:
    """Remove what a run has written, and the folder -> names of what others have put there, for whose sake
    mark and folder stay. The lock goes last: the moment it has gone, the folder is the next run's.
    """
    (folder / RUN).unlink(missing_ok=True)  # first: without it the rest means nothing
    for path in _written(folder):
        if path.name != MARK:
            path.unlink()
    left = sorted({path.name for path in folder.iterdir()} - {MARK, LOCK})
    if not left:
        (folder / MARK).unlink(missing_ok=True)
    (folder / LOCK).unlink(missing_ok=True)
    with suppress(OSError):  # not empty, or the next run is there by now
        folder.rmdir()
    return left


def _written(folder: Path) -> list[Path]:
    whole = [path for path in folder.iterdir() if re.fullmatch(WRITTEN, path.name) and is_regular(path)]
    return [*whole, *half_written(folder, WRITTEN)]


def _marked(folder: Path) -> bool:
    with suppress(OSError):
        path = folder / MARK
        return is_regular(path) and path.stat().st_size < 100 and path.read_bytes() == SIGNED.encode()
    return False


def _strangers(folder: Path) -> list[str]:
    """What a run that was killed before it had marked the folder cannot have left there."""
    if _marked(folder):  # before and after the look, as a run may begin or end in between
        return []
    try:
        names = {path.name for path in folder.iterdir()}
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be read ({error.strerror}); choose another name for the output."
        ) from error
    if _marked(folder):
        return []
    ours = {name for name in names if temporary_name(MARK).fullmatch(name)}
    return sorted(names - ours - ({LOCK} if is_lock(folder / LOCK) else set()))
