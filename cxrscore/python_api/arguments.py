"""Arguments of the Python API -> what the stories take, or a UserError that says what would be right.

In    what the caller gave.
Out   paths, numbers within their bounds, words that are known, settings of labels.
"""

from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, Literal, get_args

from cxrscore.core.errors import UserError
from cxrscore.project import option_rules
from cxrscore.project.option_rules import default_decoders, is_whole

LABELS, IMAGES, OUT, MODELS, PARAMS = "data/labels.csv", "data/images", "out", "out/models", "params.yaml"
TEST_LABELS, TEST_IMAGES = "data/test_labels.csv", "data/test"

PathLike = str | Path
IdKind = Literal["relpath", "name", "stem"]
Level = Literal["image", "study"]
Format = Literal["csv", "parquet"]
Readers = Literal["majority", "any", "mean", "error"]
OnError = Literal["quarantine", "fail", "fill"]
Compile = Literal["auto", "on", "off"]
Abstain = Literal["conformal", "disagreement"]
CompileNow = Literal["on", "off"]  # auto weighs the number of files, which is not known where none is scored


def path_or_none(path: PathLike | None) -> Path | None:
    return None if path is None else Path(path)


def processes(workers: int | None) -> int:
    """Decoding processes, by default as many as the commands start."""
    return default_decoders() if workers is None else number("workers", workers, least=0, most=256)


def table_format(out: Path | None, asked: str | None) -> str:
    """As the command; Parquet, which keeps all bits, without a file."""
    if asked is not None:
        one_of("format", asked, Format)
    if out is not None:
        return option_rules.table_format(out, asked, called="format")
    if asked is not None:
        raise UserError(f"format: {asked}, and no file to write; name one in out, or leave format out.")
    return "parquet"


def one_of(name: str, value: str, choices: Any) -> str:
    if value not in get_args(choices):
        raise UserError(f"{name}: one of {', '.join(get_args(choices))}, not {value!r}.")
    return value


def number(name: str, value: int, *, least: int, most: int | None = None) -> int:
    """A whole number, numpy's too, within its bounds."""
    if is_whole(value) and least <= value and (most is None or value <= most):
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
    return option_rules.fold_numbers(_listed(folds), called="folds", such_as="[0, 2]")


def view_names(views: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if views is None else option_rules.view_names(_listed(views), called="views")


def texts(name: str, given: object) -> tuple[str, ...]:
    """A list of texts, or one."""
    found = [one for one in _listed(given) if isinstance(one, str) and one]
    if len(found) < len(_listed(given)):
        raise UserError(f"{name}: {given!r}; a list of texts was expected, such as ['Sex', 'AgeBand'].")
    return tuple(found)


def whole_numbers(name: str, given: object) -> tuple[int, ...]:
    found = [int(one) for one in _listed(given) if is_whole(one)]
    if len(found) < len(_listed(given)):
        raise UserError(f"{name}: {given!r}; a list of whole numbers was expected, such as [40, 60, 80].")
    return tuple(found)


def _listed(given: object) -> list[object]:
    """What a list was expected for; one value, a text too, is a list of one."""
    return list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]


def _is_real(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _found(value: object) -> str:
    return f"{value:,}" if type(value) is int else repr(value)


def label_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """As `params.yaml` would be checked. Raises UserError."""
    from pydantic import ValidationError

    from cxrscore.project.params import LabelParams
    from cxrscore.project.params_file import fault_words

    try:
        return LabelParams.model_validate(dict(settings)).model_dump()
    except ValidationError as error:
        fault = error.errors()[0]
        name = ".".join(map(str, fault["loc"])) or "labels"
        words = fault_words(fault)
        raise UserError(f"labels.{name}: {words}; set the argument of that name otherwise.") from error
