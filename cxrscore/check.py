"""A look ahead: what `score` would quarantine, by the same listing and the same decoding, without a model.

In    a folder, glob, table or archive of images.
Out   how many could be read, the faults of the others, and what the readable ones are like.
"""

from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cxrscore.core.errors import UserError, counted, promise
from cxrscore.core.progress import Progress
from cxrscore.images.decoding.decode import Wanted
from cxrscore.images.decoding.pool import Batch, decode_batches, may_stall, once_more, second_try
from cxrscore.images.inputs.listing import Listing, list_input
from cxrscore.scoring.faults import TOO_SLOW, Cause, fault_of, known_faults
from cxrscore.scoring.output import check_output, write_errors
from cxrscore.scoring.row_ids import shown_names
from cxrscore.scoring.row_plan import Fault

BATCH = 64


@dataclass
class Findings:
    """What a check found. `shapes`: width and height of the readable images -> how many have them."""

    listed: int
    readable: int = 0
    faults: list[Fault] = field(default_factory=list)
    shapes: Counter[tuple[int, int]] = field(default_factory=Counter)
    turned: int = 0
    coloured: int = 0
    notes: Sequence[str] = ()

    def as_json(self) -> dict[str, object]:
        return {
            "listed": self.listed,
            "readable": self.readable,
            "quarantined": len(self.faults),
            "kinds": dict(sorted(Counter(kind for _, _, kind, _ in self.faults).items())),
            "turned_upright": self.turned,
            "turned_gray": self.coloured,
            "shortest_side": min((min(shape) for shape in self.shapes), default=None),
            "longest_side": max((max(shape) for shape in self.shapes), default=None),
        }


def check(
    source: str,
    *,
    size: int,
    workers: int,
    timeout_s: float,
    bit_depth: int | None = None,
    listed: Mapping[str, Any] | None = None,
    exclude: Iterable[Path],
    progress: Progress,
) -> Findings:
    """Decode every file to `size` x `size`. `listed`: how they are listed, as `list_input` takes it. Raises
    UserError where there is nothing to look at, or where two files would look alike in the list of faults.
    """
    progress.say(f"listing {source}")
    listing = list_input(source, exclude=exclude, **(listed or {}))
    paths = listing.paths
    shown_names([*paths, *(path for path, _, _ in listing.folder_faults)])
    found = Findings(len(paths) + len(listing.folder_faults))
    found.notes = [*(f"{count} skipped: {why}" for why, count in listing.skipped.items()), *listing.notes]
    found.faults += [(path, "list", kind, message) for path, kind, message in listing.folder_faults]
    how: dict[str, Any] = {"size": size, "batch_size": BATCH, "workers": workers, "timeout_s": timeout_s}
    how["wanted"] = Wanted(bit_depth, look_for_colours=True)
    causes: dict[int, Cause] = {}
    progress.say(f"reading {len(paths):,} files")
    progress.start("check", len(paths))
    _look(decode_batches(listing, paths, **how), range(len(paths)), listing, found, causes, progress)
    slow = [i for i, cause in causes.items() if cause[:2] == TOO_SLOW]
    if slow:
        progress.say(once_more(len(slow), timeout_s, workers))
        progress.start("second try", len(slow))
        again = second_try(listing, [paths[i] for i in slow], failures=may_stall(len(paths)), **how)
        _look(again, slow, listing, found, causes, progress)
    found.faults += [(paths[i], *cause) for i, cause in causes.items()]
    if found.coloured:
        found.notes = [*found.notes, f"{counted(found.coloured, 'image')} in colour or tinted, turned gray"]
    promise(found.listed == found.readable + len(found.faults), "a file is neither readable nor named")
    return found


def _look(
    batches: Generator[Batch, None, None],
    positions: Sequence[int],
    listing: Listing,
    found: Findings,
    causes: dict[int, Cause],
    progress: Progress,
) -> None:
    """Count what can be read; the others are in `causes`, by their position, until they can be."""
    known = known_faults(listing)
    with closing(batches):
        for batch in batches:
            for item in batch.items:
                i, cause = positions[item.index], fault_of(listing, item, known)
                if cause is not None:
                    causes[i] = cause
                    continue
                causes.pop(i, None)
                found.readable += 1
                found.shapes[item.width, item.height] += 1
                found.turned += item.orientation != 1
                found.coloured += item.coloured
            progress.advance(len(batch.items), f"{len(causes):,} would be quarantined")


def refuse_to_replace(path: Path, *, overwrite: bool) -> None:
    """Raises UserError, before any work, where the list of faults cannot or should not be written."""
    check_output(path)
    if path.exists() and not overwrite:
        raise UserError(f"{path}: exists; --overwrite replaces it, or choose another name.")


def write_findings(path: Path, found: Findings) -> None:
    """The faults as `score` lists them in <out>.errors.csv."""
    write_errors(path, found.faults)
