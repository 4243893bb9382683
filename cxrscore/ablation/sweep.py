"""One setting of one head at several values: the rows of a sweep.

In    the words of an option, such as identity_weight=0,0.25,1; the head whose setting that is.
Out   settings by row, such as agcn-learned@identity_weight=0.25. Imports no torch: a wrong word is refused at
      once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from cxrscore.core.errors import UserError
from cxrscore.model.head_variants import REFERENCE, settings_of

if TYPE_CHECKING:
    from cxrscore.project.params import Params

FEWEST = 2  # values: one alone compares nothing
Number = int | float


@dataclass(frozen=True)
class Sweep:
    """`head`: the row whose setting `key` takes the `values`, ascending."""

    head: str
    key: str
    values: Sequence[Number]

    @property
    def rows(self) -> dict[str, Number]:
        """Name -> value."""
        return {f"{self.head}@{self.key}={value}": value for value in self.values}


def key_values(words: str, *, option: str) -> tuple[str, list[Number]]:
    """`key=1,2.5` -> the key, and distinct numbers, ascending: whole ones as integers. Raises UserError."""
    key, _, listed = words.partition("=")
    values = [_number(word) for word in listed.split(",")]
    numbers = sorted({value for value in values if value is not None})
    if not key.isidentifier() or len(numbers) < max(FEWEST, len(values)):
        raise UserError(
            f"{option}: {words!r}; give one setting of the head and {FEWEST} or more distinct numbers, such "
            "as identity_weight=0,0.5,1."
        )
    return key, numbers


def _number(word: str) -> Number | None:
    try:
        value = float(word)
    except ValueError:
        return None
    if not isfinite(value):
        return None
    return int(value) if value.is_integer() else value


def sweep_of(words: str, names: Sequence[str], head: Mapping[str, Any]) -> Sweep:
    """`names`: what --heads names, the reference first; `head`: the project's own. Raises UserError."""
    key, values = key_values(words, option="--sweep")
    others = [name for name in names if name != REFERENCE] or [REFERENCE]
    if len(others) > 1:
        raise UserError(
            f"--sweep: the values are of one head, not of {len(others)} ({', '.join(others)}); name it, such "
            f"as --heads {others[-1]}."
        )
    settings = settings_of(others, head)[others[0]]
    numeric = [name for name, value in settings.items() if type(value) in (int, float)]
    if key not in numeric:
        raise UserError(
            f"--sweep: {key!r} is not a number that {others[0]} has; name one of {', '.join(numeric)}."
        )
    return Sweep(others[0], key, values)


def heads_of(compared: Sequence[str] | Sweep, params: "Params") -> dict[str, dict[str, Any]]:
    """Row -> settings: of these names or, in a sweep, the reference's and the swept head's, one row for each
    value. The latter are as params.yaml would give them. Raises pydantic's ValidationError for a value out of
    range.
    """
    head = params.train.head.model_dump()
    if not isinstance(compared, Sweep):
        return settings_of(compared, head)
    plain = settings_of([REFERENCE, compared.head], head)
    rows = {name: plain[compared.head] | {compared.key: value} for name, value in compared.rows.items()}
    return {REFERENCE: plain[REFERENCE]} | {
        name: with_head(params, row, params.train.seed).train.head.model_dump() for name, row in rows.items()
    }


def with_head(params: "Params", head: Mapping[str, Any], seed: int) -> "Params":
    """The project's settings but for these; checked as if they had been read from its file."""
    settings = params.model_dump()
    settings["train"] |= {"head": dict(head), "seed": seed}
    return type(params).model_validate(settings)
