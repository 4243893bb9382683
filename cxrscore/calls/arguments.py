"""Arguments of the Python API -> what the stories take, or a UserError that says what would be right.

In    what the caller gave.
Out   paths, numbers within their bounds, words that are known, settings of labels.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from cxrscore.core.errors import UserError

PathLike = str | Path
IdKind = Literal["relpath", "name", "stem"]
Level = Literal["image", "study"]
Format = Literal["csv", "parquet"]
OnError = Literal["quarantine", "fail", "fill"]
Compile = Literal["auto", "on", "off"]


def path_or_none(path: PathLike | None) -> Path | None:
    return None if path is None else Path(path)


def processes(workers: int | None) -> int:
    """Decoding processes, by default as many as the commands start."""
    from cxrscore.core.resources import most_decoders, usable_cores

    if workers is None:
        return min(16, usable_cores(), most_decoders())
    return number("workers", workers, least=0, most=256) or 0


def table_format(out: Path | None, asked: str | None) -> str:
    """What was asked for, or what the table's name says; Parquet, which keeps all bits, without a file."""
    named = {".parquet": "parquet", ".csv": "csv"}.get(out.suffix) if out else "parquet"
    if asked is not None:
        one_of("format", asked, Format)
    if out and asked and named and asked != named:
        raise UserError(f"{out}: format is {asked}; name the table accordingly, or leave format out.")
    return (asked if out else None) or named or "csv"


def one_of(name: str, value: str, choices: Any) -> str:
    if value not in get_args(choices):
        raise UserError(f"{name}: one of {', '.join(get_args(choices))}, not {value!r}.")
    return value


def number(name: str, value: int | None, *, least: int, most: int | None = None) -> int | None:
    if value is not None and (value < least or (most is not None and value > most)):
        upto = f" and at most {most:,}" if most is not None else ""
        raise UserError(f"{name}: {value:,}; it is at least {least:,}{upto}.")
    return value


def seconds(timeout_s: float) -> float:
    if not timeout_s >= 0.1:
        raise UserError(f"timeout_s: {timeout_s:g}; it is at least 0.1.")
    return timeout_s


def fold_numbers(folds: Sequence[int] | None) -> tuple[int, ...] | None:
    if folds is None:
        return None
    if not folds or len(set(folds)) != len(folds):
        raise UserError(f"folds: {list(folds)}; list distinct fold numbers, such as [0, 2].")
    return tuple(sorted(folds))


def view_names(views: Sequence[str] | None) -> tuple[str, ...] | None:
    if views is None:
        return None

    from cxrscore.project.params import View

    names = [views] if isinstance(views, str) else list(views)
    if names[:1] != ["plain"] or len(set(names)) != len(names) or not set(names) <= set(get_args(View)):
        raise UserError(f"views: {names}; list distinct names of {', '.join(get_args(View))}, plain first.")
    return tuple(names)


def label_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """As `params.yaml` would be checked. Raises UserError."""
    from pydantic import ValidationError

    from cxrscore.project.params import LabelParams

    try:
        return LabelParams.model_validate(dict(settings)).model_dump()
    except ValidationError as error:
        fault = error.errors()[0]
        name = ".".join(map(str, fault["loc"])) or "labels"
        words = fault["msg"].removeprefix("Value error, ")
        raise UserError(f"labels.{name}: {words}; set the argument of that name otherwise.") from error
