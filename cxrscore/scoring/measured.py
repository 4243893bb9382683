"""What was measured on this machine, kept between runs: one JSON file in the user's cache folder.

In    a name that says all a figure depends on: device, torch, number format, backbone, shape.
Out   the figure that was stored under it. A file that cannot be read or written is as good as none.
"""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from cxrscore.caches import cache_folder
from cxrscore.files import write_text


def recall(name: str) -> Any:
    """The figure stored under `name`, else None."""
    return _all().get(name)


def store(name: str, figure: Any) -> None:
    """Keep a figure that JSON can hold; silently not where the folder is read-only: it is measured again."""
    with suppress(OSError):
        write_text(_path(), json.dumps(_all() | {name: figure}, indent=1, sort_keys=True) + "\n")


def _path() -> Path:
    return cache_folder() / "measured.json"


def _all() -> dict[str, Any]:
    with suppress(OSError, ValueError):
        stored = json.loads(_path().read_text(encoding="utf-8"))
        if isinstance(stored, dict):
            return stored
    return {}
