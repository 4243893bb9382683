"""The rule for the words of a refusal: it says where, and what would be right.

In    the text of a UserError; or of a `UserError(...)` in the source, as `refusals` reads it.
Out   what the text lacks: of "where" and "remedy".

Where     before the first semicolon: a path, an --option, a settings.key, a $VARIABLE, a `command`, or at the
          beginning a command's name. A value X, which `refusals` puts for what it does not know, is none.
Remedy    a clause behind the first one that begins with what to do (DO), or with an --option or a `command`
          and what that does (DOES); or one that states what is allowed. Clauses end with ; : . ? or the line.

It holds words, not sense: that the remedy helps is for the tests of each refusal to say.
"""

import ast
import importlib
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import cxrscore
from cxrscore.core.errors import Told, UserError
from cxrscore.project.params import Params

PACKAGE = Path(cxrscore.__file__).parent
COMMANDS = ("ablate", "bench", "git", "phantom", "train")
WHERE = re.compile(
    r"\A[^;]*?("
    r"(?<![\w-])--[a-z]"
    rf"|\b({'|'.join(Params.model_fields)})\.[a-z]"
    r"|\$[A-Z]"
    r"|`[a-z])"
    rf"|\A({'|'.join(COMMANDS)})( [a-z-]+)?: "
    r"|\A[^;]*?[/.]\w"  # a path: a separator or a suffix
    r"|\A\S*[/.]"  # the same, and a semicolon in its name
    r"|\A(?!X\b)[^\s:;]+: "  # a file by its name alone
    r"|\Ab?['\"]"  # the same, quoted
)
DO = (
    "add|bring|check|choose|close|commit|convert|copy|correct|delete|export|fetch|fill|give|install|join|keep|leave"
    "|list|load|lower|make|mend|move|name|open|pack|put|quote|raise|remove|rename|repeat|restore|run|save|say|score"
    "|set|split|start|take|train|try|unpack|update|use|verify|widen|write"
)
DOES = (
    "brings|does|first|follows|goes|has|makes|names|prints|removes|replaces|resumes|starts|takes|works|writes"
)
REMEDY = re.compile(
    r"\A((where|if|in|for) [^,]+, )?((or|and|please|then) )?"
    rf"(({DO})\b(?! (of|is|are|was|were|has|have)\b)|(`[^`]+`|--[a-z][\w-]*( [^ -]\S*)?) ({DOES})\b)",
    re.IGNORECASE,
)
ALLOWED = re.compile(
    r"\b((was|were|is|are) (expected|needed)|should be|at (least|most)|one of|from \S+ to \S+|or (more|less)"
    r"|there are|known here|the nearest is|did you mean|(is|are) .*, not)\b"
)
CLAUSE = re.compile(r"[;:.?]['\")]*\s+|\n\s*")
APART = re.compile(r"\n(?=\S+:\d+: )")
PATHS = re.compile(  # the last name of an expression whose value is a path, or begins with one
    r"\b(\w*path|\w*folder|\w*_(csv|json|npy)|source|output|out|table|images|project|parent|where|there|"
    r"other|one|needed|used|old|data|pattern|oof|journal|provenance|folds|prepared|learned\(\w+\)|resolve\(\)|"
    r"root|str\(path\)|path\.name\[:20\]|first_fault)"
    r"( / \w+)?\Z"
)


def lacks(message: str) -> list[str]:
    """What a refusal does not say, of "where" and "remedy". Lines with a place of their own count alone."""
    return sorted({fault for part in APART.split(message) for fault in _lacks(part)}, reverse=True)


def _lacks(message: str) -> list[str]:
    _, *others = CLAUSE.split(message)
    helps = any(REMEDY.search(clause) or ALLOWED.search(clause) for clause in others)
    return ([] if WHERE.search(message) else ["where"]) + ([] if helps else ["remedy"])


PLACELESS = {  # functions whose refusals do not say where, and why
    "convert_weights.py:match_by_order": "its caller puts the file before it",
    "convert_weights.py:refuse_lost_order": "its caller puts the file before it",
    "images/inputs/listing.py:_kind": "an empty name is all there is",
}
PASSED_ON = {  # functions whose refusals are the words of others, which are held where a test raises them
    "ablation/runs.py:train_all": "adds a way on to the refusal of a training",
    "convert_weights.py:_meta_backbone": "puts the option in the place of the setting",
    "convert_weights.py:_pairs": "puts the file before a refusal",
    "tables/datasets/describe.py:_describe_plain": "of _no_id and _no_finding",
    "images/inputs/listing.py:_kind": "of _missing",
    "tables/labels.py:_decide": "of _refusal",
    "project/params_file.py:_checked": "of _explain, a line for each fault",
    "training/process_group.py:refuse": "a refusal of one process, told by the first",
    "model/initial_weights.py:_published_weights": "of _unreachable",
    "model/initial_weights.py:_read": "puts the setting before a refusal",
}


class Refusal(NamedTuple):
    """A `UserError(...)` in the source."""

    at: str  # module.py:line
    function: str  # module.py:name
    text: str


def refusals() -> Iterator[Refusal]:
    """Every one in the package, with what is not known before it runs as a path or as X."""
    for path in sorted(PACKAGE.rglob("*.py")):
        module = path.relative_to(PACKAGE).as_posix()
        parts = [part for part in Path(module).with_suffix("").parts if part != "__init__"]
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if "UserError(" in path.read_text(encoding="utf-8"):
            known = vars(importlib.import_module(".".join(("cxrscore", *parts))))
            yield from _refusals(tree, module, "", {k: v for k, v in known.items() if isinstance(v, str)})


def _refusals(tree: ast.AST, module: str, function: str, known: Mapping[str, str]) -> Iterator[Refusal]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef):
            yield from _refusals(node, module, node.name, {**known, **_texts(node, known)})
            continue
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "UserError":
            text = "\n".join(_shown(argument, known) for argument in node.args)
            yield Refusal(f"{module}:{node.lineno}", f"{module}:{function}", text)
        yield from _refusals(node, module, function, known)


def _texts(function: ast.FunctionDef, known: Mapping[str, str]) -> dict[str, str]:
    """The names that the function gives to texts, the last where there are several."""
    return {
        target.id: _shown(node.value, known)
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant | ast.JoinedStr | ast.IfExp)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _shown(node: ast.expr, known: Mapping[str, str]) -> str:
    match node:
        case ast.Constant():
            return str(node.value)
        case ast.JoinedStr():
            return "".join(_shown(part, known) for part in node.values)
        case ast.FormattedValue():
            return _shown(node.value, known)
        case ast.Name() if node.id in known:
            return known[node.id]
        case ast.Call(func=ast.Name(id="nearest")):
            return "there are X"
        case ast.IfExp():  # the branch that says less
            return max(
                _shown(node.body, known),
                _shown(node.orelse, known),
                key=lambda text: len(lacks(f"X; {text}")),
            )
    return "/a/path" if PATHS.search(ast.unparse(node)) else "X"


def watch() -> list[str]:
    """From now on, what refusals of the package in this process lack is added to the list that is returned.
    Those that tests make of their own do not count, nor those that come from another process as a copy.
    """
    found: list[str] = []

    def init(error: UserError, *lines: str) -> None:
        Told.__init__(error, *lines)
        frame = sys._getframe(1)
        path = Path(frame.f_code.co_filename)
        if not path.is_relative_to(PACKAGE):
            return
        module = path.relative_to(PACKAGE).as_posix()
        excused = ["where"] if f"{module}:{frame.f_code.co_name}" in PLACELESS else []
        if fault := [one for one in lacks(str(error)) if one not in excused]:
            found.append(f"{module}:{frame.f_lineno}: no {' and no '.join(fault)}: {error}")

    UserError.__init__ = init
    return found
