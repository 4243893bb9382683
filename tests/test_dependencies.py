"""What pyproject.toml says is true: each dependency does work, none is missing, types are shipped.

A package does work where a module imports it, or starts it as a program, on the way of a command that the
README shows. `cxrscore bench` and tests do not count: what is measured or tested against is no product.
"""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from itertools import pairwise
from pathlib import Path

import pytest
from typer.main import get_command

from cxrscore.cli.app import app
from cxrscore.core.import_closure import file_of, imports

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT.get("optional-dependencies", {})
GROUPS = {"": PROJECT["dependencies"]} | EXTRAS  # an extra's name -> what it installs
DECLARED = [requirement for requirements in GROUPS.values() for requirement in requirements]


def distribution(name: str) -> str:
    """A requirement or a distribution's name, as PyPI compares them."""
    return re.sub(r"[-_.]+", "-", re.split(r"[<>=!~;\[ ]", name)[0]).lower()


INSTALLED = packages_distributions()  # half a second a call


def distributions(package: str) -> set[str]:
    """Who installs what is imported by this name: PIL -> pillow."""
    return {distribution(name) for name in INSTALLED.get(package, [package])}


def at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only a type checker sees."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield child
            yield from at_run_time(child)


def named(node: ast.AST) -> Iterator[str]:
    """The packages of other people that a node imports, or starts: [sys.executable, "-m", "dvc", ...]."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield node.module or ""
    elif isinstance(node, ast.List):
        words = [word.value if isinstance(word, ast.Constant) else None for word in node.elts]
        yield from (str(word) for before, word in pairwise(words) if before == "-m")


def foreign(tree: ast.AST) -> set[str]:
    packages = {name.split(".")[0] for node in at_run_time(tree) for name in named(node)}
    return packages - sys.stdlib_module_names - {"cxrscore"}


def asked_for(tree: ast.AST) -> set[str]:
    """What a module does without where it is not installed: find_spec("openvino")."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {call.args[0].value for call in calls if ast.unparse(call.func) == "find_spec"}  # type: ignore[attr-defined]


def tree_of(module: str) -> ast.Module:
    return ast.parse((ROOT / file_of(module)).read_bytes())


def documented() -> set[str]:
    """The commands that the README shows, but for `bench`; `data use` counts as `data`."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = set(get_command(app).commands)  # type: ignore[attr-defined]
    return (set(re.findall(r"(?:cxrscore |`)([a-z]+)", text)) & commands) - {"bench"}


def modules_at_work() -> set[str]:
    """What the documented commands import, transitively. A module of the command line holds several commands
    and is read by function; cxrscore.bench is not entered.
    """
    waiting, seen = [], set()
    for file in sorted((ROOT / "cxrscore" / "cli").glob("*.py")):
        for node in ast.parse(file.read_bytes()).body:
            if isinstance(node, ast.FunctionDef) and node.name.split("_")[0] in documented():
                waiting += [name for inner in at_run_time(node) for name in named(inner)]
    waiting = [
        "cxrscore.cli.messages",
        "cxrscore.cli.options",
        *(name for name in waiting if name.startswith("cxrscore.")),
    ]
    while waiting:
        module = waiting.pop()
        if module not in seen and module != "cxrscore" and not module.startswith("cxrscore.bench"):
            seen.add(module)
            waiting += imports(module)
    return seen


@cache
def at_work() -> set[str]:
    """The distributions that do work on a documented path."""
    return {
        name
        for module in modules_at_work()
        for package in foreign(tree_of(module))
        for name in distributions(package)
    }


def test_the_readme_shows_every_stage_and_the_scorer() -> None:
    assert documented() >= {"train", "evaluate", "report", "score", "check", "verify", "ablate", "init"}


@pytest.mark.parametrize("requirement", DECLARED)
def test_a_dependency_does_work_on_a_path_that_the_readme_documents(requirement: str) -> None:
    assert distribution(requirement) in at_work(), f"{requirement}: nothing documented imports it; drop it"


def test_what_a_module_imports_is_declared() -> None:
    declared = {distribution(requirement) for requirement in DECLARED}
    for file in sorted((ROOT / "cxrscore").rglob("*.py")):
        tree = ast.parse(file.read_bytes())
        for package in foreign(tree) - asked_for(tree):
            assert distributions(package) & declared, f"{file}: {package} is not in pyproject.toml"


def test_a_user_of_the_package_gets_its_types(tmp_path: Path) -> None:
    """Without py.typed mypy skips the package, and every name of it is Any."""
    (tmp_path / "consumer.py").write_text(
        "from cxrscore.core.files import sha256_bytes\n\nwrong: int = sha256_bytes(b'')\n", encoding="utf-8"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "consumer.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert 'expression has type "str"' in done.stdout and "Found 1 error" in done.stdout, done.stdout


def test_the_mark_of_types_is_part_of_the_package_that_is_built() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]
    assert (ROOT / "cxrscore" / "py.typed").read_bytes() == b""
    assert config["targets"]["wheel"]["packages"] == ["cxrscore"]
    assert "cxrscore" in config["targets"]["sdist"]["include"]
    assert not any("exclude" in target for target in config["targets"].values())
