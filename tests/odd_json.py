"""Odd JSON: what a disk, an editor or another program may have left where a file of ours was.

In    what the file holds when it is whole.
Out   texts that are no JSON, or JSON of another shape: each value of the whole one replaced by odd ones.
"""

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VALUES: list[Any] = [
    None,
    True,
    0,
    -3,
    1.5,
    10**9,
    10**400,
    float("nan"),
    float("inf"),
    -float("inf"),
    "",
    "x",
    "\ud800",
    [],
    ["x"],
    [[]],
    [1, 2, 3],
    {},
    {"": None},
    {"x": {"y": [0]}},
]
TEXTS: dict[str, bytes] = {
    "nothing": b"",
    "a brace": b"{",
    "not UTF-8": b'{"a": "\xff\xfe"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "zeros": bytes(100),
    "deep": b"[" * 100_000,
    "deep and whole": b"[" * 900 + b"]" * 900,
    "deep and named": b'{"a":' * 400 + b"1" + b"}" * 400,
    "a number of 5,000 digits": b"7" * 5_000,
    "two values": b"{} {}",
}


def changed(whole: Any) -> Iterator[Any]:
    """`whole` with one value at a time, itself first, replaced by each odd one, or missing."""
    yield from VALUES
    entries = (
        whole.items() if isinstance(whole, dict) else enumerate(whole) if isinstance(whole, list) else ()
    )
    for key, value in list(entries):
        for other in changed(value):
            yield _with(whole, key, other)
        yield _without(whole, key)


def odd_texts(whole: Any, *, most: int = 400) -> list[bytes]:
    """Those of TEXTS, and `most` of the others."""
    others = [json.dumps(value).encode() for value in changed(whole)]
    return [*TEXTS.values(), *random.Random(0).sample(others, min(most, len(others)))]


def odd_places(path: Path) -> Iterator[str]:
    """`path` as a folder, a pipe, and links that lead nowhere or to themselves: its kind, while it is so."""
    for kind in ("a folder", "a pipe", "a dangling link", "a link to itself"):
        path.unlink(missing_ok=True)
        if kind == "a folder":
            path.mkdir(parents=True)
        elif kind == "a pipe":
            os.mkfifo(path)
        else:
            path.symlink_to(path if "itself" in kind else "nowhere")
        yield kind
        path.rmdir() if kind == "a folder" else path.unlink(missing_ok=True)


def _with(whole: Any, key: Any, value: Any) -> Any:
    copy = whole.copy()
    copy[key] = value
    return copy


def _without(whole: Any, key: Any) -> Any:
    copy = whole.copy()
    del copy[key]
    return copy
