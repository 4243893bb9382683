"""What a training says of itself when it is done: how it went, its settings and data, and the SHA-256 of the
files that belong together: out/summary/fold{k}.json.

In    a fold's checkpoint and score tables, as they lie on disk; the card of the checkpoint, as a dictionary.
Out   the summary; read again, and whether the files are still those of this training.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cxrscore.core.errors import UserError
from cxrscore.core.files import sha256_file, write_text
from cxrscore.core.paths import Layout

OF_A_TRAINING = ("size", "preprocessing", "bit_depth", "k", "params", "sha256")  # what all folds have alike


def write_summary(layout: Layout, fold: int, facts: Mapping[str, Any], *, card: Mapping[str, Any]) -> None:
    """Last of all outputs: it says that the others are there."""
    training = {name: card[name] for name in (*OF_A_TRAINING, "versions")}
    files = {name: sha256_file(path) for name, path in _files(layout, fold).items()}
    summary = {**facts, "training": training, "files": files}
    write_text(layout.summary(fold), json.dumps(summary, indent=1) + "\n")


def read_summary(layout: Layout, fold: int) -> dict[str, Any] | None:
    """None where there is none. Raises UserError for a damaged one."""
    path = layout.summary(fold)
    if not path.is_file():
        return None
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        summary = None
    if not isinstance(summary, dict) or not all(
        isinstance(summary.get(name, {}), dict) for name in ("training", "files")
    ):
        raise UserError(f"{path}: damaged; restore it with `dvc checkout`, or train again with `dvc repro`.")
    return summary


def refuse_other_files(layout: Layout, fold: int) -> bool:
    """Whether the summary tells which files are of its training; those that are not there are not asked for.
    Raises UserError where one is of another.
    """
    told = (read_summary(layout, fold) or {}).get("files", {})
    for name, path in _files(layout, fold).items():
        if name in told and path.is_file() and sha256_file(path) != told[name]:
            raise UserError(
                f"{path}: not the file that the training of fold {fold} wrote, by {layout.summary(fold)}: it "
                "was changed, or is of another training; restore it with `dvc checkout`, or train again with "
                "`dvc repro`."
            )
    return bool(told)


def _files(layout: Layout, fold: int) -> dict[str, Path]:
    return {
        "checkpoint": layout.checkpoint(fold),
        "scores": layout.scores(fold, views=False),
        "scores_of_views": layout.scores(fold, views=True),
    }
