"""Files that a project takes in, and the data that a call replaces, kept beside until the new ones count.

In    a person's images and label table; a project's data/, data.dvc, dvc.yaml and params.yaml.
Out   data/ with copies or links; an interrupted replacement undone.
"""

import fcntl
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from cxrscore.core.errors import UserError
from cxrscore.core.files import half_written, write_bytes, write_text

PARTS = ("data", "data.dvc")
SETTINGS = ("dvc.yaml", "params.yaml")
MARK, SIGNED, DONE = "mark", "cxrscore data use 1\n", "done"  # in .data.old, which a call makes and removes
FICLONE = 0x40049409  # Linux: share the blocks of another file. Source: ioctl_ficlone(2)


def link_file(source: Path, target: Path) -> bool:
    """Hard-link the file that `source` leads to; False where it had to be copied."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system, or one without hard links
        return copy_file(source, target)
    return True


def copy_file(source: Path, target: Path) -> bool:
    """False, as it is no link. Where the file system can, the copy shares the original's blocks."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as original, target.open("xb") as copy:
        try:
            fcntl.ioctl(copy.fileno(), FICLONE, original.fileno())
        except OSError:
            shutil.copyfileobj(original, copy, 1 << 20)
    return False


def move(source: Path, target: Path) -> None:
    if source.exists():
        source.rename(target)


def replace_settings(project: Path, old: Path, texts: Mapping[str, str]) -> None:
    """Name -> the new text of each of SETTINGS. What is there is kept in `old` before one is written."""
    for name, text in texts.items():
        write_bytes(old / name, (project / name).read_bytes())
        write_text(old / f"{name}.new", text)
    for name, text in texts.items():
        write_text(project / name, text)


def undo_interrupted(project: Path) -> list[str]:
    """What a call that did not end had moved to .data.old goes back to its place; what it had made goes.
    Raises UserError where a person has made either.
    """
    old = project / ".data.old"
    if not old.exists() or not _marked(old):
        return []
    interrupted = not (old / DONE).exists()
    moved = [part for part in PARTS if (old / part).exists() or (old / f"{part}.absent").exists()]
    for part in moved if interrupted else ():
        if (old / "new").exists() and (project / part).exists():  # else it is the new one
            raise UserError(
                f"{project / part}: was made after a call had been interrupted; move it away, and the "
                "previous one is restored."
            )
    if interrupted:
        _restore_settings(project, old)
    for part in moved if interrupted else ():
        remove(project / part)
        move(old / part, project / part)
    clear_replaced(old)
    return ["an earlier call had been interrupted; what it had done was undone first"] * interrupted


def _restore_settings(project: Path, old: Path) -> None:
    """Those that the call wrote; one that it has not reached stays. Raises UserError where a person has
    changed it since.
    """
    written = []
    for name in (name for name in SETTINGS if (old / f"{name}.new").exists()):
        found, before, new = (
            path.read_bytes() if path.exists() else b""
            for path in (project / name, old / name, old / f"{name}.new")
        )
        if found not in (before, new):
            raise UserError(
                f"{project / name}: was changed after a call had been interrupted; move it away and copy "
                f"{old / name} to its place, and the previous data is restored."
            )
        written += [(name, before)] * (found != before)
    for name, before in written:
        write_bytes(project / name, before)


def _marked(old: Path) -> bool:
    """False for one that was not marked yet, which then goes. Raises UserError where it is somebody's own."""
    with suppress(OSError, UnicodeDecodeError):
        if (old / MARK).read_text(encoding="utf-8") == SIGNED:
            return True
    for half in half_written(old, MARK) if old.is_dir() else ():
        half.unlink()
    try:
        old.rmdir()
    except OSError as error:
        raise UserError(
            f"{old}: nothing shows that `data use` made it, and it would be deleted; move it away. Files "
            "that an earlier version moved there have to be moved back by hand."
        ) from error
    return False


def clear_replaced(old: Path) -> None:
    """The mark goes last: without it nothing here would be deleted."""
    settings = (*SETTINGS, *(f"{name}.new" for name in SETTINGS))
    for name in ("new", *PARTS, *(f"{part}.absent" for part in PARTS), *settings, DONE, MARK):
        remove(old / name)
    with suppress(OSError):  # others' files
        old.rmdir()


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
