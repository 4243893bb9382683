"""Image files named one by one -> a Listing, as a folder or a table gives it.

In    paths as they were typed, relative to the working folder or absolute.
Out   a Listing under those names; UserError for a name without a file, or with one that is not an image.
"""

import os
from array import array
from collections.abc import Sequence
from pathlib import Path

from cxrscore.core.errors import UserError
from cxrscore.images.inputs.byte_source import NUMBERS, Files, identity_of
from cxrscore.images.inputs.file_list import Listing
from cxrscore.images.reading import HEAD_BYTES, sniff


def is_image(path: Path) -> bool:
    """Whether this is a file that begins as an image does. Raises UserError where it cannot be read."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return bool(sniff(file.read(HEAD_BYTES)))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check its permissions.") from error


def list_named(names: Sequence[str]) -> Listing:
    """A file that is named twice is listed once."""
    paths = sorted({os.path.normpath(name) for name in names}, key=os.fsencode)
    for path in paths:
        if not is_image(Path(path)):
            what = "not an image" if Path(path).exists() else "no such file"
            raise UserError(f"{path}: {what}; name image files, or one folder, pattern, table or archive.")
    identities = array("q", (number for path in paths for number in identity_of(Path(path).stat())))
    return Listing(
        source=" ".join(paths),
        paths=paths,
        sizes=identities[2::NUMBERS],
        places=Files("", paths, identities),
    )
