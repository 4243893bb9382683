"""One setting at several values: the rows of a sweep, all with one head.

In    the words of an option: a number of the head, such as identity_weight=0,0.25,1, or a setting of the
      training by its full name, such as train.ema_warmup=true,false; the head.
Out   settings by row, such as agcn-learned@identity_weight=0.25. Imports no torch: a wrong word is refused at
      once.
"""

import re
from collections.abc import Mapping, Sequence
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
FEWEST = 2  # values: one alone compares nothing
Number = int | float
Value = Number | str | None  # bool among them
OF_A_TRAINING = re.compile(
    r"train\.(?!head\b|seed\b|loss\.kind\b)[a-z_.]+|prepare\.train_size"
)  # what one row may differ in


@dataclass(frozen=True)
class Sweep:
    """`head`: the row whose setting `key` takes the `values`: numbers of the head, ascending, or values of a
    setting of the training, as given. What is compared is the difference from the first.
    """

    head: str
    key: str
    values: Sequence[Value]

    @property
    def rows(self) -> dict[str, Value]:
        """Name -> value."""
        return {f"{self.head}@{self.key}={shown(value)}": value for value in self.values}

    @property
    def of_training(self) -> bool:
        return OF_A_TRAINING.fullmatch(self.key) is not None


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


def training_values(words: str) -> tuple[str, list[Value]]:
    """`train.weights=best,ema` -> the key, and distinct values as params.yaml would read them. Raises
    UserError.
    """
    key, _, listed = words.partition("=")
    values = parse_yaml(f"[{listed}]", Path("--sweep")).values
    plain = [value for value in values if value is None or type(value) in (bool, int, float, str)]
    if len({shown(value) for value in plain}) < max(FEWEST, len(values)) or "/" in listed:
        example = f"{key}={EXAMPLES.get(key, '0,1')}"
        raise UserError(f"--sweep: {words!r}; give {FEWEST} or more distinct values, such as {example}.")
    return key, plain


def sweep_of(words: str, names: Sequence[str], head: Mapping[str, Any]) -> Sweep:
    """`names`: what --heads names, the reference first; `head`: the project's own. Raises UserError."""
    of_training = OF_A_TRAINING.fullmatch(words.partition("=")[0]) is not None
    key, values = training_values(words) if of_training else key_values(words, option="--sweep")
    others = [name for name in names if name != REFERENCE] or [REFERENCE]
    if len(others) > 1:
        raise UserError(
            f"--sweep: the values are of one head, not of {len(others)} ({', '.join(others)}); name it, such "
            f"as --heads {others[-1]}."
        )
    if of_training:
        return Sweep(others[0], key, values)
    settings = settings_of(others, head)[others[0]]
    numeric = [name for name, value in settings.items() if type(value) in (int, float)]
    if key not in numeric:
        raise UserError(
            f"--sweep: {key!r} is not a number that {others[0]} has; name one of {', '.join(numeric)}."
        )
    return Sweep(others[0], key, values)


@dataclass(frozen=True)
class Choice:
    """A head's setting, and the values to choose from."""

    key: str
    values: tuple[Any, ...]


def parse_choice(words: str, heads: Mapping[str, Mapping[str, Any]]) -> Choice:
    """What --choose names, such as auxiliary_weight=0,0.1; one of `heads`, name -> settings, has the key at
    least. Values are read as in params.yaml. Raises UserError.
    """
    key, _, listed = words.partition("=")
    values = parse_yaml(f"[{listed}]", Path("--choose")).values
    if len(values) < 2 or any(isinstance(value, list | dict) for value in values):
        raise UserError(
            f"--choose: {words!r}; give a setting and two or more values, such as auxiliary_weight=0,0.1,0.2."
        )
    if len({repr(value) for value in values}) < len(values):
        raise UserError(f"--choose: {words!r} names a value twice; give each once.")
    known = sorted({name for head in heads.values() for name in head} - {"kind"})
    if key not in known:
        raise UserError(f"--choose: no head of --heads has {key!r}; use one of {', '.join(known)}.")
    return Choice(key, tuple(values))


def heads_of(compared: Sequence[str] | Sweep, params: "Params") -> dict[str, dict[str, Any]]:
    """Row -> settings: of these names or, in a sweep, the reference's and the swept head's, one row for each
    value. The latter are as params.yaml would give them. Raises pydantic's ValidationError for a value out of
    range.
    """
    head = params.train.head.model_dump()
    if not isinstance(compared, Sweep):
        return settings_of(compared, head)
    plain = settings_of([REFERENCE, compared.head], head)
    if compared.of_training:
        settings_by_row(compared, params)
        return {REFERENCE: plain[REFERENCE]} | dict.fromkeys(compared.rows, plain[compared.head])
    rows = {name: plain[compared.head] | {compared.key: value} for name, value in compared.rows.items()}
    return {REFERENCE: plain[REFERENCE]} | {
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
