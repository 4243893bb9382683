"""params.yaml -> Params, or what is wrong, in which line, and what would be right.

In    a plain YAML file.
Out   Params; otherwise a UserError with one line per fault.
"""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml.nodes import MappingNode, Node

from cxrscore.core.errors import UserError
from cxrscore.core.plain_yaml import PlainYaml, parse_yaml, read_yaml, shown
from cxrscore.project.params import KINDS, ComparedParams, Params

Model = TypeVar("Model", bound=BaseModel)
NEEDED = {  # pydantic's name of a fault -> what the value should be; names in braces are those of its context
    "greater_than": "a number greater than {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number less than {lt}",
    "less_than_equal": "a number of at most {le}",
    "multiple_of": "a multiple of {multiple_of}",
    "float_type": "a number",
    "finite_number": "a finite number",
    "int_type": "an integer",
    "bool_type": "true or false",
    "string_type": "a text",
    "string_too_short": "a text of {min_length} or more characters",
    "literal_error": "one of {expected}",
    "list_type": "a list",
    "too_short": "a list of {min_length} or more entries",
    "too_long": "a list of {max_length} or fewer entries",
    "model_type": "a section of settings",
    "model_attributes_type": "a section of settings",
    "union_tag_not_found": "a section with the key {discriminator}",
}

EARLIER: dict[str, str] = {  # newer keys -> the value that leaves the results of older projects as they were
    "train.augment.square": "false",
    "train.augment.rand_ops": "0",
    "train.augment.rand_magnitude": "9",
    "train.augment.cutout": "0.0",
    "train.schedule": "cosine",
    "train.step_epochs": "30",
    "train.optimizer": "adamw",
    "train.ema_warmup": "true",
    "train.weights": "best",
    "prepare.train_size": "null",
    "train.head.inputs": "[]",
    "train.head.cell": "torch  # with entropy_weight divided by the number of findings",
    "train.head.degrees": "absolute  # with identity_weight divided by the number of findings",
    "train.head.static": "reweighted  # with reweight divided by 1 + reweight, such as 0.2 for 0.25",
    "train.head.direction": "paper",
    "train.head.mu": "0.0",
    "train.head.feature_steps": "0",
    "decide": "{coverage: 0.9, sensitivity: 0.9, specificity: 0.9}",
}
EXCEPT = {
    "train.head.feature_steps": "; with `graph: el` they change, as findings keep the update of that step now"
}


def read_params(path: Path) -> Params:
    """Raises UserError with file, line and remedy."""
    return _checked(_present(path), path, Params)


def read_compared_params(path: Path) -> ComparedParams:
    """Of a run that may be older than this version. Raises UserError with file, line and remedy."""
    return _checked(_present(path), path, ComparedParams)


def _present(path: Path) -> PlainYaml:
    if not path.is_file():
        raise UserError(f"{path}: no such file; run in a project folder, or make one with `cxrscore init`.")
    return read_yaml(path)


def parse_params(text: str, path: Path) -> Params:
    """`path` is what errors name. Raises UserError."""
    return _checked(parse_yaml(text, path), path, Params)


def _checked(settings: PlainYaml, path: Path, model: type[Model]) -> Model:
    if not isinstance(settings.values, Mapping):
        raise UserError(f"{path}: sections with settings were expected, such as `prepare:`.")
    try:
        return model.model_validate(settings.values)
    except ValidationError as error:
        raise UserError(*_explain(path, settings.root, error)) from error


def check_head(params: Params, head: Mapping[str, Any], *, where: str) -> None:
    """Raises UserError, from `where`, unless this could stand in the file as train.head."""
    settings = params.model_dump()
    settings["train"] |= {"head": dict(head)}
    try:
        Params.model_validate(settings)
    except ValidationError as error:
        raise UserError(*_faults(where, error)) from error


def _faults(where: str, error: ValidationError) -> list[str]:
    """One line per error: key, what was found, what would be right."""
    return [f"{where}: {problem['loc'][-1]}: {fault_words(problem)}." for problem in error.errors()]


def _explain(path: Path, node: Node | None, error: ValidationError) -> list[str]:
    """One line per error: file:line, key, what was found, what would be right."""
    lines = []
    for problem in error.errors():
        keys = [part for part in problem["loc"] if part not in KINDS]
        key = ".".join(str(part) for part in keys)
        message = fault_words(problem)
        if problem["type"] == "extra_forbidden":
            message = f"unknown key{_nearest(problem['loc'])}"
        elif problem["type"] == "missing":
            message = _missing(key)
        elif problem["type"] == "union_tag_invalid":
            context = problem["ctx"]
            message = f"kind is one of {context['expected_tags']}, not {shown(context['tag'])}"
        lines.append(f"{path}:{_line(node, keys)}: {key}: {message}{'' if message.endswith('?') else '.'}")
    return lines


def _missing(key: str) -> str:
    if key in EARLIER:
        name = key.rpartition(".")[2]
        return (
            f"missing; add the newer key: `{name}: {EARLIER[key]}` leaves results as they were"
            f"{EXCEPT.get(key, '')}"
        )
    return "missing; add it: every setting is stated, see the presets and docs/params.md"


def fault_words(problem: Mapping[str, Any]) -> str:
    """One of pydantic's errors in plain words: what is needed, and what was found. Our own rules say both."""
    needed = NEEDED.get(problem["type"])
    if needed is None:
        return str(problem["msg"]).removeprefix("Value error, ")
    facts = {name: _number(value) for name, value in problem.get("ctx", {}).items()}
    return f"{needed.format(**facts)} is needed, not {shown(problem['input'])}"


def _number(value: Any) -> Any:
    """A bound that pydantic makes a float, as it stands in params.py: 0, not 0.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _line(node: Node | None, keys: list[int | str]) -> int:
    line = 1
    for key in keys:
        if not isinstance(node, MappingNode):
            break
        found = [(name, value) for name, value in node.value if name.value == str(key)]
        if not found:
            break
        line, node = found[0][0].start_mark.line + 1, found[0][1]
    return line


def _nearest(loc: Sequence[int | str]) -> str:
    names = _names(Params, [str(key) for key in loc[:-1]])
    close = difflib.get_close_matches(str(loc[-1]), names, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known here: {', '.join(sorted(names))}"


def _names(model: type[BaseModel], keys: list[str]) -> set[str]:
    """The keys that the section at `keys` knows; a kind among these chooses one section of several."""
    models: list[Any] = [model]
    for key in keys:
        fields = [one.model_fields[key].annotation for one in models if key in one.model_fields]
        models = [KINDS[key]] if key in KINDS else [m for field in fields for m in _models(field)]
    return {name for one in models for name in one.model_fields}


def _models(annotation: Any) -> list[type[BaseModel]]:
    choices = getattr(annotation, "__args__", (annotation,))
    return [choice for choice in choices if isinstance(choice, type) and issubclass(choice, BaseModel)]
