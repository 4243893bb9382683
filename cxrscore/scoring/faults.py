"""Why a file has no score: what its listing knew, its decoding found, or a declared hash contradicts."""

from collections.abc import Mapping

from cxrscore.images.decoding.decode import Decoded
from cxrscore.images.inputs.listing import Listing

Cause = tuple[str, str, str]  # stage, kind, message
TOO_SLOW = ("decode", "TIMEOUT")  # stage and kind of a file that may be read at a second try
ALTERED = (
    "its bytes are not those that the table of files declares (sha256); restore the file, or correct its "
    "sha256"
)


def known_faults(listing: Listing) -> dict[str, Cause]:
    """Path -> cause, of the files whose fault the listing could tell."""
    return {path: ("list", kind, message) for path, kind, message in listing.file_faults}


def fault_of(listing: Listing, item: Decoded, known: Mapping[str, Cause]) -> Cause | None:
    """None for a file whose pixels may be scored. `known`: those of `known_faults`."""
    if item.path in known:
        return known[item.path]
    if item.fault is not None:
        return ("decode", item.fault.kind, str(item.fault))
    if listing.sha256.get(item.path, item.sha256) != item.sha256:
        return ("decode", "CHANGED", ALTERED)
    return None
