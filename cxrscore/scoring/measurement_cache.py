"""What was measured on this machine, kept between runs: one JSON file in the user's cache folder.

In    a name that says all a figure depends on: device, torch, number format, backbone, shape.
Out   what is stored under it, which who recalls it has to check: anyone may have changed the file. One that
      cannot be read or written counts as missing.
"""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from cxrscore.core.files import read_json, write_text
from cxrscore.core.user_cache import cache_folder

MOST_BYTES = 10_000_000  # a figure takes some hundred


def recall(name: str) -> Any:
    """The figure stored under `name`, or None."""
    return _all().get(name)


def store(name: str, figure: Any) -> None:
    """Keep a figure that JSON can hold; silently not where the folder is read-only: it is measured again."""
    with suppress(OSError):
        write_text(_path(), json.dumps(_all() | {name: figure}, indent=1, sort_keys=True) + "\n")


def _path() -> Path:
    return cache_folder() / "measured.json"


def _all() -> dict[str, Any]:
    with suppress(OSError, ValueError):
        stored = read_json(_path(), most_bytes=MOST_BYTES)
        if isinstance(stored, dict):
            return stored
    return {}
