"""One setting at several values: the rows of a sweep, all with one head.

In    the words of an option: a number of the head, such as identity_weight=0,0.25,1, or a setting of the
      training by its full name, such as train.ema_warmup=true,false; the head.
Out   settings by row, such as agcn-learned@identity_weight=0.25. Imports no torch: a wrong word is refused at
      once.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrscore.core.errors import UserError
from cxrscore.core.plain_yaml import parse_yaml
from cxrscore.model.head_variants import REFERENCE, settings_of

if TYPE_CHECKING:
    from cxrscore.project.params import Params

EXAMPLES = {"train.weights": "best,ema", "train.ema_warmup": "true,false"}
KEY = re.compile(r"[a-z_][a-z0-9_.]*")
FEWEST = 2  # values: one alone compares nothing
Value = int | float | str | None  # bool among them
OF_A_TRAINING = re.compile(
    r"train\.(?!head\b|seed\b|loss\.kind\b)[a-z_.]+|prepare\.train_size"
)  # what one row may differ in


@dataclass(frozen=True)
class Sweep:
    """`head`: the row whose setting `key` takes the `values`: numbers of the head, ascending, or values of a
    setting of the training, as given. What is compared is the difference from the first; `reference`: the
    other head, which all rows are compared with.
    """

    head: str
    key: str
    values: Sequence[Value]
    reference: str = REFERENCE

    @property
    def rows(self) -> dict[str, Value]:
        """Name -> value."""
        return {f"{self.head}@{self.key}={shown(value)}": value for value in self.values}

    @property
    def of_training(self) -> bool:
        return OF_A_TRAINING.fullmatch(self.key) is not None


def parse_values(words: str, *, option: str, example: str) -> tuple[str, list[Value]]:
    """`steps=1,2` -> the key, and two or more distinct values in the order given, as params.yaml would read
    them: text, numbers, true, false or null. Raises UserError.
    """
    key, _, listed = words.partition("=")
    try:
        values = parse_yaml(f"[{listed}]", Path(option)).values
    except UserError:
        values = []  # such as 1,,2
    plain = [value for value in values if value is None or type(value) in (bool, int, float, str)]
    distinct = {(type(value) is bool, value) for value in plain}  # 1 is 1.0, and not true
    if not KEY.fullmatch(key) or len(distinct) < max(FEWEST, len(values)):
        raise UserError(
            f"{option}: {words!r}; give one setting and {FEWEST} or more distinct values, such as {example}."
        )
    return key, plain


def sweep_of(
    words: str, names: Sequence[str], head: Mapping[str, Any], *, settings: Mapping[str, Any] | None = None
) -> Sweep:
    """`names`: what --heads names, the reference first; `head`: the project's own; `settings`: all of the
    project's, by which a name without its section is known. Raises UserError.
    """
    key = words.partition("=")[0]
    of_training = OF_A_TRAINING.fullmatch(key) is not None
    example = f"{key}={EXAMPLES.get(key, '0,1')}" if of_training else "identity_weight=0,0.5,1"
    values = parse_values(words, option="--sweep", example=example)[1]
    reference = names[0]
    others = [name for name in names[1:] if name != REFERENCE] or [names[-1]]
    if len(others) > 1:
        raise UserError(
            f"--sweep: the values are of one head, not of {len(others)} ({', '.join(others)}); name it, such "
            f"as --heads {others[-1]}."
        )
    if of_training and any("/" in shown(value) for value in values):
        raise UserError(f"--sweep: {words!r}; rows are named by their values; give values without a /.")
    if of_training:
        return Sweep(others[0], key, values, reference)
    numeric = [name for name, value in settings_of(others, head)[others[0]].items() if _is_number(value)]
    if key not in numeric:
        longer = [name for name in _dotted(settings or {}) if name.endswith(f".{key}")]
        meant = [name for name in longer if OF_A_TRAINING.fullmatch(name)]
        instead = f"write {meant[0]}" if meant else f"name one of {', '.join(numeric)}"
        raise UserError(f"--sweep: {key!r} is not a number that {others[0]} has; {instead}.")
    return Sweep(others[0], key, _ascending(values, words, example), reference)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and isfinite(value)


def _ascending(values: Sequence[Value], words: str, example: str) -> list[Value]:
    """Numbers, whole ones as integers: 1.0 is the row of 1. Raises UserError for anything else."""
    if not all(map(_is_number, values)):
        raise UserError(f"--sweep: {words!r}; give numbers, such as {example}.")
    numbers = sorted(float(value) for value in values if value is not None)
    return [int(number) if number.is_integer() else number for number in numbers]


def _dotted(settings: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """The full names of all settings."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{before}{name}.")
        else:
            yield f"{before}{name}"


@dataclass(frozen=True)
class Choice:
    """A head's setting, and the values to choose from."""

    key: str
    values: tuple[Any, ...]


def parse_choice(words: str, heads: Mapping[str, Mapping[str, Any]]) -> Choice:
    """What --choose names, such as auxiliary_weight=0,0.1; one of `heads`, name -> settings, has the key at
    least. Raises UserError.
    """
    key, values = parse_values(words, option="--choose", example="auxiliary_weight=0,0.1,0.2")
    known = sorted({name for head in heads.values() for name in head} - {"kind"})
    if key not in known:
        raise UserError(f"--choose: no head of --heads has {key!r}; use one of {', '.join(known)}.")
    return Choice(key, tuple(values))


def heads_of(compared: Sequence[str] | Sweep, params: "Params") -> dict[str, dict[str, Any]]:
    """Row -> settings, the reference first: of these names or, in a sweep, the reference's and the swept
    head's, one row for each value, and the independent head's, which costs are measured from. The swept ones
    are as params.yaml would give them. Raises pydantic's ValidationError for a value out of range.
    """
    head = params.train.head.model_dump()
    if not isinstance(compared, Sweep):
        return settings_of(compared, head)
    plain = settings_of([compared.reference, REFERENCE, compared.head], head)
    beside = {name: plain[name] for name in (compared.reference, REFERENCE)}
    if compared.of_training:
        settings_by_row(compared, params)
        return beside | dict.fromkeys(compared.rows, plain[compared.head])
    rows = {name: plain[compared.head] | {compared.key: value} for name, value in compared.rows.items()}
    return beside | {
        name: with_head(params, row, params.train.seed).train.head.model_dump() for name, row in rows.items()
    }


def settings_by_row(compared: Sequence[str] | Sweep, params: "Params") -> dict[str, "Params"]:
    """Row -> the project's settings with that value of a setting of the training; none of other rows. Raises
    pydantic's ValidationError.
    """
    if not isinstance(compared, Sweep) or not compared.of_training:
        return {}
    return {name: _with_setting(params, compared.key, value) for name, value in compared.rows.items()}


def _with_setting(params: "Params", key: str, value: Value) -> "Params":
    settings = params.model_dump()
    *sections, name = key.split(".")
    place: dict[str, Any] = settings
    for section in sections:
        inner = place.get(section)
        place = inner if isinstance(inner, dict) else {}
    if name not in place:
        raise UserError(f"--sweep: {key}: no such setting; use one that params.yaml has (docs/params.md).")
    place[name] = value
    return type(params).model_validate(settings)


def shown(value: Value) -> str:
    """As params.yaml has it."""
    words: dict[Value, str] = {True: "true", False: "false", None: "null"}
    return words[value] if value is None or isinstance(value, bool) else str(value)


def with_head(params: "Params", head: Mapping[str, Any], seed: int) -> "Params":
    """The project's settings but for these; checked as if they had been read from its file."""
    settings = params.model_dump()
    settings["train"] |= {"head": dict(head), "seed": seed}
    return type(params).model_validate(settings)
