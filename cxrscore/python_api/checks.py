"""Before a run: which files could not be scored. After it: whether a table is what was written.

In    a folder, pattern, table or archive of images; a table that `score` wrote.
Out   Checked; a frame of verdicts.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrscore.python_api.arguments import (
    PathLike,
    flag,
    number,
    number_or_none,
    path_or_none,
    processes,
    seconds,
)
from cxrscore.python_api.progress import shown_progress
from cxrscore.python_api.records import Checked

if TYPE_CHECKING:
    import polars as pl


def check(
    source: PathLike,
    *,
    size: int = 380,
    bit_depth: int | None = None,
    root: PathLike | None = None,
    path_column: str | None = None,
    follow_symlinks: bool = False,
    timeout_s: float = 8.0,
    workers: int | None = None,
    progress: bool = False,
) -> Checked:
    """Read every file as `score` would, and list what it would quarantine; needs no model. Raises UserError.

    Examples:
        >>> from cxrscore.api import check
        >>> found = check("data/test", size=32, workers=1)
        >>> found.listed == found.readable, found.errors.columns
        (True, ['path', 'stage', 'kind', 'message'])
    """
    import polars as pl

    from cxrscore.check import check as story
    from cxrscore.python_api.frames import ERRORS
    from cxrscore.scoring.row_ids import writable

    with shown_progress(progress) as shown:
        found = story(
            os.fspath(source),
            size=number("size", size, least=32, most=4096),
            bit_depth=number_or_none("bit_depth", bit_depth, least=8, most=16),
            workers=processes(workers),
            timeout_s=seconds("timeout_s", timeout_s, least=0.1),
            listed=_listed(root, path_column, follow_symlinks=follow_symlinks),
            exclude=(),
            progress=shown,
        )
    shapes = [(width, height, images) for (width, height), images in sorted(found.shapes.items())]
    return Checked(
        listed=found.listed,
        readable=found.readable,
        errors=pl.DataFrame([(writable(path), *why) for path, *why in found.faults], ERRORS, orient="row"),
        shapes=pl.DataFrame(shapes, dict.fromkeys(("width", "height", "images"), pl.Int64), orient="row"),
        turned_upright=found.turned,
        turned_gray=found.coloured,
        notes=tuple(found.notes),
    )


def verify(
    table: PathLike,
    *,
    models: PathLike | None = None,
    source: PathLike | None = None,
    inputs: PathLike | None = None,
    decisions: PathLike | None = None,
    root: PathLike | None = None,
    path_column: str | None = None,
    follow_symlinks: bool = False,
    progress: bool = False,
) -> "pl.DataFrame":
    """A table that `score` wrote against its provenance -> question, holds (bool) and faults (a list of
    sentences): its bytes and counts; its models, images, table of inputs and decisions where
    they are named. Raises
    UserError.

    Examples:
        >>> from cxrscore.api import score, verify
        >>> scores = score("data/test", out="checked.csv", overwrite=True, device="cpu", workers=1)
        >>> verdicts = verify("checked.csv", models="out/models", source="data/test")
        >>> verdicts["holds"].to_list()
        [True, True, True, True, True]
    """
    import polars as pl

    from cxrscore.verify import verify as story

    listed = _listed(root, path_column, follow_symlinks=follow_symlinks)
    with shown_progress(progress) as shown:
        verdicts = list(
            story(
                Path(table),
                models=path_or_none(models),
                source=None if source is None else os.fspath(source),
                inputs=path_or_none(inputs),
                decisions=path_or_none(decisions),
                listed=listed,
                progress=shown,
            )
        )
    rows = [(verdict.question, not verdict.faults, list(verdict.faults)) for verdict in verdicts]
    schema: dict[str, Any] = {"question": pl.String, "holds": pl.Boolean, "faults": pl.List(pl.String)}
    return pl.DataFrame(rows, schema, orient="row")


def _listed(root: PathLike | None, path_column: str | None, *, follow_symlinks: bool) -> dict[str, Any]:
    """How the files of a source are found."""
    links = flag("follow_symlinks", follow_symlinks)
    return {"root": path_or_none(root), "path_column": path_column, "follow_symlinks": links}
