"""The map holds: every module has a row, imports point down, stages key on exactly what they import, the
command line stays light.
"""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from typer.main import get_command
from typer.testing import CliRunner

import cxrscore
from cxrscore.cli.app import app
from cxrscore.core.import_closure import closure, file_of, imports

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "cxrscore"
STAGES = ("prepare", "folds", "train", "evaluate", "test", "decide", "report")


def rooms_by_row() -> dict[str, int]:
    """The map in cxrscore/__init__.py, read as it is printed there: room -> row, counted from the top. A line
    that is indented further belongs to the row above.
    """
    lines = (cxrscore.__doc__ or "").splitlines()
    start = next(i for i, line in enumerate(lines) if line.strip().startswith("__main__"))
    rows, row = {}, -1
    for line in lines[start : lines.index("", start)]:
        row += not line.startswith(" " * 8)
        for room in line.strip().split("  ")[0].split():
            rows[room.rstrip("/")] = row
    return rows


def modules() -> list[str]:
    files = sorted(PACKAGE.rglob("*.py"))
    names = [
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in files
    ]
    return [name for name in names if name != "cxrscore"]


def room(module: str) -> str:
    return module.split(".")[1]


def test_every_module_has_its_row_and_every_row_its_module() -> None:
    assert {room(module) for module in modules()} == set(rooms_by_row())


@pytest.mark.parametrize("module", modules())
def test_imports_point_down(module: str) -> None:
    rows = rooms_by_row()
    for other in imports(module):
        if other != "cxrscore" and room(other) != room(module):
            assert rows[room(other)] > rows[room(module)], f"{module} imports {other}, which is not below it"


def test_nothing_is_imported_in_a_circle_within_a_wing_either() -> None:
    graph = {file_of(module): [file_of(other) for other in imports(module)] for module in modules()}
    initial = {file for file in graph if file.endswith("__init__.py")}  # a docstring, held below
    graph = {file: set(others) - initial for file, others in graph.items()}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*/__init__.py")), ids=lambda file: file.parent.name)
def test_a_wings_own_file_holds_a_docstring_and_nothing_else(file: Path) -> None:
    assert [type(node).__name__ for node in ast.parse(file.read_bytes()).body] == ["Expr"]


@pytest.mark.parametrize("module", modules())
def test_a_module_opens_by_saying_what_it_is(module: str) -> None:
    path = ROOT / Path(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    assert ast.get_docstring(ast.parse(file.read_bytes()))


@pytest.mark.parametrize("module", modules())
def test_a_promise_is_an_exception_and_no_assertion(module: str) -> None:
    """`python -O` drops assertions, and PYTHONOPTIMIZE is inherited by every process we start."""
    path = ROOT / Path(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    lines = [node.lineno for node in ast.walk(ast.parse(file.read_bytes())) if isinstance(node, ast.Assert)]
    assert not lines, f"{file}:{lines}: use errors.promise"


def test_the_package_itself_holds_no_code_so_it_needs_to_be_in_no_cache_key() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_bytes())
    assert [type(node).__name__ for node in tree.body] == ["Expr", "Assign"]


def stages_of(path: Path) -> dict[str, dict[str, list[str]]]:
    stages: dict[str, dict[str, list[str]]] = YAML(typ="safe").load(path)["stages"]
    return stages


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_lists_exactly_the_modules_it_imports(stage: str) -> None:
    listed = [dep for dep in stages_of(ROOT / "dvc.yaml")[stage]["deps"] if dep.startswith("cxrscore/")]
    assert listed == closure(f"cxrscore.{stage}")


@pytest.mark.parametrize("stage", STAGES)
def test_no_stage_depends_on_the_command_line_and_only_the_test_on_the_scorer(stage: str) -> None:
    rooms = {Path(file).parts[1] for file in closure(f"cxrscore.{stage}")}
    scorer = {"score.py", "scoring"}
    assert not rooms & {"cli", "project"}
    assert rooms & scorer == (scorer if stage == "test" else set())


def test_the_pipeline_of_a_new_project_is_ours_but_for_its_code_keys() -> None:
    ours, theirs = stages_of(ROOT / "dvc.yaml"), stages_of(PACKAGE / "presets" / "pipeline.yaml")
    assert list(theirs) == ["code", *ours]
    for name, stage in ours.items():
        mine = [dep for dep in stage.pop("deps") if not dep.startswith("cxrscore/")]
        other = [dep for dep in theirs[name].pop("deps") if dep != f"out/code/{name}.sha256"]
        assert (stage, mine) == (theirs[name], other)


def test_help_loads_neither_torch_nor_polars_nor_dvc() -> None:
    code = (
        "import sys; from cxrscore.cli.app import app; app(['--help'], standalone_mode=False); "
        "print(sorted({'torch', 'polars', 'dvc', 'numpy', 'timm'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_every_commands_help_has_an_example() -> None:
    root = get_command(app)
    commands = dict(root.commands)  # type: ignore[attr-defined]
    for group in ("data", "weights"):
        commands |= {f"{group} {name}": command for name, command in commands.pop(group).commands.items()}
    for name, command in commands.items():
        assert "Example: cxrscore " + name in (command.help or ""), name


def test_params_and_the_demo_preset_are_the_same_file() -> None:
    assert (ROOT / "params.yaml").read_bytes() == (PACKAGE / "presets" / "demo.yaml").read_bytes()


def test_an_unknown_command_exits_with_two() -> None:
    assert CliRunner().invoke(app, ["scroe"]).exit_code == 2


def test_dvcs_template_of_curves_is_the_one_that_new_projects_get() -> None:
    ours, theirs = ROOT / ".dvc" / "plots" / "curves.json", PACKAGE / "presets" / "curves.json"
    assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.parametrize("module", modules())
def test_equal_values_are_sorted_alike_by_every_processor(module: str) -> None:
    """numpy's quicker sorts order ties by the SIMD level they run at."""
    for node in ast.walk(ast.parse((ROOT / file_of(module)).read_bytes())):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "argsort"
        ):
            words = {word.arg: ast.unparse(word.value) for word in node.keywords}
            assert words.get("kind") == "'stable'" or words.get("stable") == "True", ast.unparse(node)


@pytest.mark.parametrize("folder", ["cxrscore", "docs", "tests"])
def test_a_module_that_a_sentence_names_is_there(folder: str) -> None:
    known = {file.name for part in ("cxrscore", "docs", "tests") for file in (ROOT / part).rglob("*.py")}
    texts = [file for end in ("*.py", "*.md") for file in (ROOT / folder).rglob(end)]
    named = {
        (str(file.relative_to(ROOT)), name)
        for file in texts
        for name in re.findall(r"(?<![\w.\"'/])([a-z_0-9]+\.py)\b", file.read_text(encoding="utf-8"))
    }
    made_up = {"module.py", "x.py", "json.py", "numpy.py"}
    assert not {(file, name) for file, name in named if name not in known | made_up}
