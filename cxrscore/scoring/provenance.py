"""What made a score table, in one JSON file beside it: enough to make it again, and to tell if it changed.

In    the fingerprint of a run, its counts, its output files.
Out   <out>.provenance.json, and the same back.
"""

import json
import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrscore import __version__
from cxrscore.core.errors import UserError
from cxrscore.core.files import is_count, read_json, sha256_file, write_text
from cxrscore.scoring.output import ROLES
from cxrscore.scoring.row_plan import Plan

if TYPE_CHECKING:
    import torch

    from cxrscore.model.checkpoint import Fold
    from cxrscore.scoring.compute_settings import Recipe

SCHEMA = 1
PACKAGES = ("torch", "timm", "numpy", "pillow", "simplejpeg", "safetensors")


def fingerprint(
    folds: Sequence["Fold"],
    recipe: "Recipe",
    plan: Plan,
    *,
    device: "torch.device",
    views: Sequence[str],
    bit_depth: int | None,
    inputs: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """All that decides a row's bytes; runs of one fingerprint may resume each other's journal. `inputs`: what
    heads read beside the pixels, and from which table; a part of it only then.
    """
    from cxrscore.scoring.compute_settings import device_name  # `verify` reads without torch

    card = folds[0].card
    return {
        "cxrscore": __version__,
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "device": device_name(device),
        "recipe": recipe.as_json(),
        "models": [{"fold": fold.card.fold, "sha256": fold.file_sha256} for fold in folds],
        "backbone": card.backbone,
        "findings": list(card.findings),
        "size": card.size,
        "preprocessing": card.preprocessing,
        "bit_depth": bit_depth,
        "views": list(views),
        "files": len(plan.paths),
        "manifest_sha256": plan.digest(),
        **({"inputs": dict(inputs)} if inputs else {}),
    }


def first_difference(mine: Any, theirs: Any, name: str = "") -> tuple[str, Any, Any] | None:
    """The dotted name of what first differs between two fingerprints, and its two values."""
    if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
        for key in dict.fromkeys([*mine, *theirs]):
            found = first_difference(mine.get(key), theirs.get(key), f"{name}.{key}" if name else str(key))
            if found:
                return found
        return None
    return None if mine == theirs else (name, mine, theirs)


def write_provenance(
    path: Path,
    run: Mapping[str, Any],
    *,
    source: str,
    choices: Mapping[str, Any],
    counts: Mapping[str, int],
    kinds: Iterable[str],
    compute: Mapping[str, Any],
    outputs: Mapping[str, Path],
) -> None:
    """`run`: its fingerprint; `outputs`: each file's role and where its bytes lie at present."""
    about = {
        "schema": SCHEMA,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "input": source,
        "run": dict(run),
        "choices": dict(choices),
        "counts": {**counts, "kinds": dict(sorted(Counter(kinds).items()))},
        "compute": dict(compute),
        "sha256": {role: sha256_file(at) for role, at in outputs.items()},
    }
    write_text(path, json.dumps(about, indent=1) + "\n")


def read_provenance(path: Path) -> dict[str, Any]:
    """Raises UserError."""
    try:
        about = read_json(path)
        known = about["schema"] <= SCHEMA
        if known:
            _check(about)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; `cxrscore score` writes it beside its table.") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: not a readable provenance file ({type(error).__name__}); restore it, or score again."
        ) from error
    if not known:
        raise UserError(f"{path}: of another version of cxrscore; verify it with that version.")
    return dict(about)


def _check(about: Mapping[str, Any]) -> None:
    """Raises ValueError, KeyError or TypeError where a part that is read is of another shape."""
    run, counts, sha256 = about["run"], about["counts"], about["sha256"]
    texts = [about["choices"]["format"], *(model["sha256"] for model in run["models"])]
    folds = [model["fold"] for model in run["models"]]
    numbers = [*folds, *(counts[name] for name in ("listed", "scored", "quarantined", "rows"))]
    if not all(isinstance(text, str) for text in texts) or not all(map(is_count, numbers)):
        raise TypeError("not of their types")
    if not (isinstance(sha256, dict) and sha256.keys() <= set(ROLES)):
        raise ValueError("outputs that no run has")
    inputs = run.get("inputs", {"table_sha256": ""})
    if not all(isinstance(part, dict) for part in (run, run["recipe"], about["choices"], inputs)):
        raise TypeError("no dictionary")
    if not isinstance(inputs["table_sha256"], str):
        raise TypeError("no text")
    if not isinstance(about["choices"].get("decisions", {"sha256": ""})["sha256"], str):
        raise TypeError("no text")
