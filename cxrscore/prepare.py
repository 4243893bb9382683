"""Labelled images -> the store that training reads: every file decoded once, in the order of the label table.

In    a label table whose ids are paths under a folder of images.
Out   a store (image_store.py), with prepare.train_size also of larger copies, made of the same decoded
      picture, which random crops are taken from. Files that cannot be read are in its quarantine.csv; too
      many stop the stage.
"""

import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrscore.core.errors import BrokenPromise, UserError, counted
from cxrscore.images.decoding.decode import Decoded, Wanted
from cxrscore.images.decoding.pool import MAY_STALL, decode_batches, once_more, second_try, timed_out
from cxrscore.images.image_store import StoredImage, others_in, remove_store, write_quarantine, write_store
from cxrscore.images.inputs.byte_source import Places
from cxrscore.images.inputs.file_list import Listing
from cxrscore.images.inputs.folder import list_images
from cxrscore.images.reading import PREPROCESSING
from cxrscore.tables.image_names import match_names
from cxrscore.tables.labels import read_labels

if TYPE_CHECKING:
    from cxrscore.core.progress import Progress
    from cxrscore.project.params import LabelParams, PrepareParams

BATCH = 64  # images in shared memory, three times: 28 MiB at 380 px
TIMEOUT_S = 10.0  # that one file may take before it gets its second try


@dataclass
class Tally:
    """What the decoding met besides readable images. `faults` are name, kind, message."""

    total: int
    max_unreadable: float
    faults: list[tuple[str, str, str]] = field(default_factory=list)
    turned: int = 0
    coloured: list[str] = field(default_factory=list)
    small: int = 0  # images with a side shorter than train_size


def prepare(
    labels_csv: Path,
    images: Path,
    out: Path,
    *,
    labels: "LabelParams",
    params: "PrepareParams",
    workers: int,
    progress: "Progress",
) -> tuple[str, ...]:
    """Replace the store at `out`; returns what to tell. Raises UserError, and then changes nothing."""
    table = read_labels(labels_csv, **labels.model_dump())
    _check_replaceable(out)
    listing = list_images(images, follow_symlinks=True)  # DVC may link to its cache, which lies elsewhere
    files = find_files(images, listing, table.ids, max_unreadable=params.max_unreadable)
    strangers = sorted(set(listing.paths).difference(files.paths))
    tally = Tally(len(table.ids), params.max_unreadable)
    sides = [params.size, *([params.train_size] if params.train_size else [])]
    progress.say(f"decoding {tally.total:,} images to {' and '.join(f'{s} x {s}' for s in sides)} pixels")
    progress.start("prepare", tally.total)
    decoded = _decoded(
        listing.places,
        files.paths,
        table.ids,
        size=params.size,
        wanted=Wanted(params.bit_depth, larger=params.train_size or 0, look_for_colours=True),
        workers=workers,
        progress=progress,
    )
    with _replacing_folder(out) as folder, closing(decoded):
        readable = _readable(decoded, tally, progress, train_size=params.train_size or 0)
        write_store(
            folder,
            readable,
            size=params.size,
            id_column=labels.id,
            preprocessing=PREPROCESSING,
            bit_depth=params.bit_depth,
            larger_size=params.train_size,
        )
        if len(tally.faults) == tally.total:
            raise UserError(
                f"{images}: none of the images can be read: {_first_ten(map(_sentence, tally.faults))}. Name "
                "the folder of the radiographs."
            )
        write_quarantine(folder, tally.faults, id_column=labels.id)
    return (*table.notes, *files.notes, *_notes(tally, strangers, listing.faults, params.train_size))


def _check_replaceable(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: a file; name the folder for the prepared images.")
    for folder in (out, *_beside(out)):
        if folder.is_dir() and (others := others_in(folder)):
            raise UserError(
                f"{folder}: holds other files, such as {others[0]!r}, which would be deleted; move them, or "
                "name a new folder."
            )


@dataclass(frozen=True)
class Files:
    """`paths[i]`: the file that id i means, or where it would be. `missing`: ids without a file."""

    paths: list[str]
    missing: list[str]
    notes: list[str]


def find_files(images: Path, listing: Listing, ids: Sequence[str], *, max_unreadable: float) -> Files:
    """The file of each id. Raises UserError for a folder that is plainly the wrong one, before an hour of
    decoding.
    """
    listed = listing.paths
    match = match_names(ids, listed, folds_case=listing.folds_case)
    named = list(zip(ids, match.files, strict=True))
    missing = [name for name, at in named if at < 0 and not os.path.lexists(images / name)]
    if unclear := [name for name in missing if name in match.unclear]:
        which = _first_ten(f"{name!r} ({match.unclear[name]})" for name in unclear)
        raise UserError(
            f"{images}: {counted(len(unclear), 'labelled image')} could be several files: {which}; write "
            "their paths under this folder, with their extensions."
        )
    if len(missing) / len(ids) > max_unreadable:
        strangers = sorted(set(listed).difference(ids, (listed[at] for at in match.files if at >= 0)))
        raise UserError(
            f"{images}: {len(missing):,} of {len(ids):,} labelled images not found: "
            f"{_first_ten(match.missing(ids))}; files here without a label: "
            f"{_first_ten(strangers) or 'none'}. Name the folder that the table's names are in, or raise "
            "prepare.max_unreadable."
        )
    notes = [f"{images}: {note}." for note in match.notes]
    return Files([name if at < 0 else listed[at] for name, at in named], missing, notes)


def _decoded(
    files: Places,
    paths: Sequence[str],
    ids: Sequence[str],
    *,
    size: int,
    wanted: Wanted,
    workers: int,
    progress: "Progress",
) -> Generator[Decoded, None, None]:
    """All files in order, under their ids; one's pixels are to be stored before the next is asked for.

    A store is written in order: a file that took too long is tried again at once. After `MAY_STALL` that did
    so twice no other is: minutes each would add up to days.
    """
    how: dict[str, Any] = {"size": size, "wanted": wanted, "timeout_s": TIMEOUT_S}
    batches = decode_batches(files, paths, batch_size=BATCH, workers=workers, **how)
    left = MAY_STALL
    with closing(batches):
        for one in (one for batch in batches for one in batch.items):
            name = ids[one.index]
            if not timed_out(one) or not left:
                yield replace(one, path=name)
                continue
            progress.say(once_more(1, TIMEOUT_S, workers))
            again = second_try(files, [one.path], batch_size=1, workers=1, failures=0, **how)
            with closing(again):
                second = next(again).items[0]
                left -= timed_out(second)
                yield replace(second, index=one.index, path=name)


def _readable(
    decoded: Iterable[Decoded], tally: Tally, progress: "Progress", *, train_size: int
) -> Iterator[StoredImage]:
    """The images for the store, in order; the others go to the tally. Raises UserError for too many."""
    for one in decoded:
        progress.advance(1, f"{len(tally.faults):,} unreadable" if tally.faults else "")
        if one.pixels is not None:
            tally.turned += one.orientation != 1
            tally.coloured += [one.path] if one.coloured else []
            tally.small += min(one.width, one.height) < train_size
            yield StoredImage(one.path, one.pixels, one.sha256, one.width, one.height, one.larger)
            continue
        if one.fault is None:
            raise BrokenPromise(f"{one.path}: neither pixels nor a fault")
        tally.faults.append((one.path, one.fault.kind, str(one.fault)))
        if len(tally.faults) / tally.total > tally.max_unreadable:
            raise UserError(
                f"prepare.max_unreadable: more than {tally.max_unreadable:.2%} of {tally.total:,} images "
                "cannot be read, after "
                f"{one.index + 1:,}: {_first_ten(map(_sentence, tally.faults))}; repair or remove them, or "
                "raise prepare.max_unreadable."
            )


def _notes(
    tally: Tally,
    strangers: Sequence[str],
    unlisted: Sequence[tuple[str, str, str]],
    train_size: int | None,
) -> Iterator[str]:
    missing = [name for name, kind, _ in tally.faults if kind == "VANISHED"]
    broken = [_sentence(fault) for fault in tally.faults if fault[1] != "VANISHED"]
    if missing:
        yield (
            f"{counted(len(missing), 'labelled image has', 'labelled images have')} no file: "
            f"{_first_ten(missing)}."
        )
    if broken:
        yield f"{counted(len(broken), 'image')} cannot be read, see quarantine.csv: {_first_ten(broken)}."
    if strangers:
        yield (
            f"{counted(len(strangers), 'file without a label', 'files without a label')} left out: "
            f"{_first_ten(strangers)}."
        )
    if unlisted:
        yield f"{len(unlisted):,} places could not be searched: {_first_ten(map(_sentence, unlisted))}."
    if tally.turned:
        yield f"{counted(tally.turned, 'image')} rotated or flipped according to the EXIF orientation."
    if tally.coloured:
        yield (
            f"{counted(len(tally.coloured), 'image')} in colour or tinted, turned gray: "
            f"{_first_ten(tally.coloured)}."
        )
    if tally.small:
        yield (
            f"{counted(tally.small, 'image has', 'images have')} a side shorter than prepare.train_size "
            f"{train_size}: enlarging adds no detail there."
        )


def _sentence(fault: tuple[str, str, str]) -> str:
    name, kind, message = fault
    return f"{name} ({kind}: {message})"


def _first_ten(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")


def _beside(out: Path) -> tuple[Path, Path]:
    """Where the new store is made, and where the old one waits until the new is in place."""
    return out.with_name(f".{out.name}.tmp"), out.with_name(f".{out.name}.old")


@contextmanager
def _replacing_folder(out: Path) -> Iterator[Path]:
    """Yield a folder beside `out`; on success it takes the place of `out`; on failure it is removed."""
    new, old = _beside(out)
    for leftover in (new, old):  # of a call that was killed: one call at a time writes to `out`
        remove_store(leftover)
    try:
        yield new
        if out.exists():
            out.rename(old)
        try:
            new.rename(out)
        except OSError:
            if old.exists():
                old.rename(out)
            raise
    finally:
        remove_store(new)
    remove_store(old)
