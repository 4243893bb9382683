"""Arguments of the Python API -> what the stories take, or a UserError that says what would be right.

In    what the caller gave.
Out   paths, numbers within their bounds, words that are known, settings of labels.
"""

from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, get_args

from cxrscore.core.errors import UserError

LABELS, IMAGES, OUT, MODELS, PARAMS = "data/labels.csv", "data/images", "out", "out/models", "params.yaml"

PathLike = str | Path
IdKind = Literal["relpath", "name", "stem"]
Level = Literal["image", "study"]
Format = Literal["csv", "parquet"]
OnError = Literal["quarantine", "fail", "fill"]
Compile = Literal["auto", "on", "off"]
CompileNow = Literal["on", "off"]  # auto weighs the number of files, which is not known where none is scored


def path_or_none(path: PathLike | None) -> Path | None:
    return None if path is None else Path(path)


def processes(workers: int | None) -> int:
    """Decoding processes, by default as many as the commands start."""
    from cxrscore.core.resources import most_decoders, usable_cores

    if workers is None:
        return min(16, usable_cores(), most_decoders())
    return number("workers", workers, least=0, most=256)


def table_format(out: Path | None, asked: str | None) -> str:
    """What was asked for, or what the table's name says; Parquet, which keeps all bits, without a file."""
    if asked is not None:
        one_of("format", asked, Format)
    if out is None:
        if asked is not None:
            raise UserError(f"format: {asked}, and no file to write; name one in out, or leave format out.")
        return "parquet"
    named = {".parquet": "parquet", ".csv": "csv"}.get(out.suffix)
    if asked and named and asked != named:
        raise UserError(f"{out}: format is {asked}; name the table accordingly, or leave format out.")
    return asked or named or "csv"


def one_of(name: str, value: str, choices: Any) -> str:
    if value not in get_args(choices):
        raise UserError(f"{name}: one of {', '.join(get_args(choices))}, not {value!r}.")
    return value


def number(name: str, value: int, *, least: int, most: int | None = None) -> int:
    """A whole number, numpy's too, within its bounds."""
    if _is_whole(value) and least <= value and (most is None or value <= most):
        return int(value)
    bounds = f"of at least {least}" if most is None else f"from {least} to {most:,}"
    raise UserError(f"{name}: {_found(value)}; a whole number {bounds} was expected.")


def number_or_none(name: str, value: int | None, *, least: int, most: int | None = None) -> int | None:
    return None if value is None else number(name, value, least=least, most=most)


def seconds(name: str, value: Any, *, least: float) -> float:
    if _is_real(value) and value >= least:  # NaN is not
        return float(value)
    raise UserError(f"{name}: {_found(value)}; a number of seconds of at least {least:g} was expected.")


def flag(name: str, value: bool) -> bool:
    """A text such as "off" would count as true."""
    if not isinstance(value, bool):
        raise UserError(f"{name}: {value!r}; True or False was expected.")
    return value


def fold_numbers(folds: Sequence[int] | None) -> tuple[int, ...] | None:
    if folds is None:
        return None
    numbers = list(folds) if isinstance(folds, Iterable) else []
    whole = all(_is_whole(fold) and fold >= 0 for fold in numbers)
    if not numbers or not whole or len(set(numbers)) != len(numbers):
        raise UserError(f"folds: {numbers or folds!r}; list distinct fold numbers, such as [0, 2].")
    return tuple(sorted(map(int, numbers)))


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_real(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _found(value: object) -> str:
    return f"{value:,}" if type(value) is int else repr(value)


def view_names(views: Sequence[str] | None) -> tuple[str, ...] | None:
    if views is None:
        return None

    from cxrscore.project.params import View

    names = [views] if isinstance(views, str) else list(views)
    known = all(name in get_args(View) for name in names)
    if not known or names[:1] != ["plain"] or len(set(names)) != len(names):
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
