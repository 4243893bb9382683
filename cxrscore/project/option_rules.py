"""The rules of options that are more than a number or a word, for the commands and the Python API alike.

In    what was given, as Python values, and what its caller calls it: --folds, or folds.
Out   the value, or UserError, which says what would be right.
"""

from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from typing import TypeGuard, get_args

from cxrscore.core.errors import UserError
from cxrscore.core.resources import most_decoders, usable_cores

MOST_DECODERS = 16  # by default
FEWEST_RESAMPLES, MOST_RESAMPLES = 100, 100_000  # the ends of an interval are the 2.5 % on either side


def is_whole(value: object) -> TypeGuard[int]:
    """An int, numpy's too, but not True."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def default_decoders() -> int:
    """Decoding processes where no number is given: one per core that the memory bears."""
    return min(MOST_DECODERS, usable_cores(), most_decoders())


def table_format(out: Path, asked: str | None, *, called: str) -> str:
    """The format asked for, or that of the file extension; the two may not contradict each other."""
    named = {".parquet": "parquet", ".csv": "csv"}.get(out.suffix)
    if asked and named and asked != named:
        raise UserError(f"{out}: {called} is {asked}; name the table accordingly, or leave {called} out.")
    return asked or named or "csv"


def resamples(number: object, *, called: str) -> int:
    """0, for no intervals, or so many that ends of intervals can be read from them."""
    if is_whole(number) and (number == 0 or FEWEST_RESAMPLES <= number <= MOST_RESAMPLES):
        return int(number)
    given = f"{number:,}" if type(number) is int else repr(number)
    raise UserError(
        f"{called}: {given}; a whole number from {FEWEST_RESAMPLES} to {MOST_RESAMPLES:,} was expected, or 0 "
        "for no intervals."
    )


def fold_numbers(folds: Sequence[object], *, called: str, such_as: str) -> tuple[int, ...]:
    """Distinct numbers, in order."""
    numbers = {int(fold) for fold in folds if is_whole(fold) and fold >= 0}
    if not folds or len(numbers) != len(folds):
        given = ", ".join(map(str, folds)) or "none"
        raise UserError(f"{called}: {given}; list distinct fold numbers, such as {such_as}.")
    return tuple(sorted(numbers))


def view_names(views: Sequence[object], *, called: str) -> tuple[str, ...]:
    """Distinct names of views, plain first."""
    from cxrscore.project.params import View

    known = get_args(View)
    names = tuple(name for name in views if isinstance(name, str) and name in known)
    if names[:1] != ("plain",) or len(set(names)) != len(views):
        given = ", ".join(map(str, views)) or "none"
        raise UserError(f"{called}: {given}; list distinct names of {', '.join(known)}, plain first.")
    return names
