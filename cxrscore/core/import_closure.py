"""A module -> the package files it imports, transitively: what a stage's cache key must hold, no less and no
more.

In    a module's name, such as "cxrscore.train".
Out   paths relative to the package's parent folder, sorted. Imports under `if TYPE_CHECKING` bring no
      behaviour and do not count; neither does cxrscore/__init__.py, which holds the map and the version and
      no code.
"""

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
DATA_FILES = {"cxrscore.report": ["cxrscore/report.html.j2"]}


def closure(module: str) -> list[str]:
    """Every package file that importing and running `module` can load, itself included."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in seen and name != PACKAGE.name:
            seen.add(name)
            waiting += imports(name)
    files = [file_of(name) for name in seen]
    return sorted([*files, *(extra for name in seen for extra in DATA_FILES.get(name, []))])


def fingerprint(module: str) -> str:
    """sha256 over the names and bytes of a module's closure."""
    digest = hashlib.sha256()
    for name in closure(module):
        digest.update(name.encode() + b"\0" + (PACKAGE.parent / name).read_bytes() + b"\0")
    return digest.hexdigest()


def imports(module: str) -> list[str]:
    """The package modules that one module imports itself, at its top or inside its functions, parents
    included.
    """
    tree = ast.parse((PACKAGE.parent / file_of(module)).read_bytes())
    found = [name for node in _runtime_nodes(tree) for name in _named(node)]
    return sorted({parent for name in found for parent in _with_parents(name)} - {module})


def file_of(module: str) -> str:
    path = Path(*module.split("."))
    return f"{path}/__init__.py" if (PACKAGE.parent / path).is_dir() else f"{path}.py"


def _runtime_nodes(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if (
            isinstance(child, ast.If)
            and isinstance(child.test, ast.Name)
            and child.test.id == "TYPE_CHECKING"
        ):
            continue
        yield child
        yield from _runtime_nodes(child)


def _named(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names if alias.name.split(".")[0] == PACKAGE.name]
    if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE.name:
        module = node.module or ""
        inside = [f"{module}.{alias.name}" for alias in node.names]
        return [module, *(name for name in inside if (PACKAGE.parent / file_of(name)).is_file())]
    return []


def _with_parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]
