"""A YAML 1.2 file of settings -> its text, its nodes and its values; or what is wrong, in which line.

Plain are mappings under names, lists, text, numbers, true, false and null. The rest of YAML is refused: no
settings need it, an alias expands to gigabytes, and a tag or a date makes another value than the one written.
Source of the number rules: YAML 1.2.2, section 10.3.2 (1e-4 is a number).
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from cxrscore.core.errors import UserError

MAX_BYTES = 100_000  # more are a mistake or an attack; the densest list of this size takes 7 s
MAX_DEPTH = 16  # a section of a section is at 3
MAX_NUMBER = 100  # characters; Python itself reads no more than 4,300 digits
SCALARS = YAML(typ="safe", pure=True).constructor
CORE = "tag:yaml.org,2002:"
ESCAPE = re.compile(r"\\U(?!0000|000[1-9A-Fa-f]|0010)[0-9A-Fa-f]{8}")  # beyond the last character


@dataclass(frozen=True)
class PlainYaml:
    """`root`: the tree behind `values`, of which each node knows its line; None where the file is empty."""

    text: str
    root: Node | None
    values: Any


def read_yaml(path: Path) -> PlainYaml:
    """Raises UserError with file, line and remedy for what cannot be read, or is not plain."""
    return parse_yaml(_text(path), path)


def parse_yaml(text: str, path: Path) -> PlainYaml:
    """`path` is what errors name. Raises UserError."""
    root = _root(path, text)
    return PlainYaml(text, root, None if root is None else _value(path, root))


def shown(value: object) -> str:
    """A value in an error: short, on one line."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _text(path: Path) -> str:
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= MAX_BYTES else b""
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; a file of settings was expected.") from error
    if size > MAX_BYTES:
        raise UserError(f"{path}: {size:,} bytes; settings fit in {MAX_BYTES:,}: name the right file.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}:{line}: byte 0x{data[error.start]:02x} is not UTF-8; save it as UTF-8."
        ) from error


def _root(path: Path, text: str) -> Node | None:
    try:
        _refuse_extras(path, YAML(typ="safe", pure=True).parse(text))
        root: Node | None = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(
            f"{path}:{line}: {error.problem or 'not YAML'}; correct this line or the one above."
        ) from error
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UserError(f"{path}:{line}: the character U+{error.character:04X}; remove it.") from error
    except YAMLError as error:
        raise UserError(f"{path}: not YAML ({error}); correct it, or name the right file.") from error
    except (ValueError, OverflowError) as error:  # of chr(), for a code beyond the last character
        found = ESCAPE.search(text)
        line = text.count("\n", 0, found.start() if found else 0) + 1
        raise UserError(f"{path}:{line}: an invalid escape \\U; write the character.") from error
    return root


def _refuse_extras(path: Path, events: Iterable[Any]) -> None:
    """Before there is a tree, which is built by recursion: events come one after another."""
    depth = 0
    for event in events:
        where = f"{path}:{event.start_mark.line + 1}"
        name = type(event).__name__
        depth += name in ("MappingStartEvent", "SequenceStartEvent")
        depth -= name in ("MappingEndEvent", "SequenceEndEvent")
        if depth > MAX_DEPTH:
            raise UserError(
                f"{where}: nested {MAX_DEPTH} deep; write settings as sections with names and lists."
            )
        if name == "AliasEvent" or getattr(event, "anchor", None):
            raise UserError(f"{where}: aliases (*name) and anchors (&name) are not read; write the value.")
        if getattr(event, "tag", None):
            raise UserError(f"{where}: tags ({event.tag}) are not read; write the value alone.")
        if getattr(event, "version", None) or getattr(event, "tags", None):
            raise UserError(f"{where}: directives (%YAML, %TAG) are not read; remove them, this is YAML 1.2.")


def _value(path: Path, node: Node) -> Any:
    if isinstance(node, MappingNode):
        return _mapping(path, node)
    if isinstance(node, SequenceNode):
        return [_value(path, entry) for entry in node.value]
    return _scalar(path, node)


def _mapping(path: Path, node: MappingNode) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in node.value:
        where = f"{path}:{_line(key)}"
        if not isinstance(key, ScalarNode) or key.tag != f"{CORE}str":
            raise UserError(
                f"{where}: {shown(_source(key))} is not the name of a setting; quote it if it is one."
            )
        name = _scalar(path, key)
        if name in values:
            raise UserError(f"{where}: duplicate key {shown(name)}; keep one of them.")
        values[name] = _value(path, value)
    return values


def _scalar(path: Path, node: Node) -> Any:
    where, kind, text = f"{path}:{_line(node)}", str(node.tag).removeprefix(CORE), node.value
    if kind == "str":
        odd = next((char for char in text if _is_odd(char)), None)
        if odd:
            raise UserError(f"{where}: a text with the character U+{ord(odd):04X}; remove it.")
        return text
    if kind == "null":
        return None
    if kind == "bool":
        return SCALARS.construct_yaml_bool(node)
    if kind not in ("int", "float"):
        raise UserError(f"{where}: {shown(text)} is read as a {kind} in YAML; quote it if it is text.")
    if len(text) > MAX_NUMBER:
        raise UserError(f"{where}: a number of {len(text):,} characters; numbers have {MAX_NUMBER} at most.")
    read = SCALARS.construct_yaml_int if kind == "int" else SCALARS.construct_yaml_float
    try:
        return read(node)
    except (ValueError, IndexError) as error:  # such as "+_", which the rules take for a number
        raise UserError(f"{where}: {shown(text)} is not a number; quote it if it is text.") from error


def _is_odd(char: str) -> bool:
    """NUL and halves of a pair, which no table holds; a column may have any other name."""
    return char == "\0" or unicodedata.category(char) == "Cs"


def _source(node: Node) -> str:
    return node.value if isinstance(node, ScalarNode) else "a list or section"


def _line(node: Node) -> int:
    line: int = node.start_mark.line
    return line + 1
