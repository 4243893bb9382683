"""The page of the four papers holds: each row has a state, and all that it names exists.

A row is | section | element | state | where, or why not |. What stands in backticks in its
last cell is a setting, a command, a file, an output, a metric or a row of `ablate`, and nothing else.
"""

import re
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args

import pytest
from conftest import PRESETS
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from ruamel.yaml import YAML

from cxrscore.evaluation.head_pictures import TABLES
from cxrscore.model.head_variants import CHANGES, choose, settings_of
from cxrscore.project.params import Params, Section

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "cxrscore"
PAGE = (ROOT / "docs" / "papers.md").read_text(encoding="utf-8")
STATES = ("works", "out of scope")
PRESET_OF = {"coupling": "paper", "lamp": "lamp", "agcn": "a-gcn", "salgl": "salgl"}  # in the page's order
HEADS = tuple(PRESET_OF)
OF_PREDICTIONS = ("correlations", "histograms", "worst_images")
KEY = re.compile(r"((?:labels|prepare|folds|train)(?:\.[a-z0-9_]+)+)(?:: (.+))?")
HEADER = ["| section | element | state | where, or why not |", "|---|---|---|---|"]


class Row(NamedTuple):
    """`head`: the kind of label head that the row's paper is about."""

    head: str
    section: str
    element: str
    state: str
    where: str

    @property
    def names(self) -> list[str]:
        return re.findall(r"`([^`]+)`", self.where)


def parts() -> list[str]:
    """The page's text by paper."""
    return re.split(r"^## .*\n", PAGE, flags=re.MULTILINE)[1:]


def table(part: str) -> list[str]:
    return [line for line in part.splitlines() if line.startswith("|")]


@cache
def rows() -> list[Row]:
    found = []
    for head, part in zip(HEADS, parts(), strict=True):
        for line in table(part)[2:]:
            cells = line.removeprefix("| ").removesuffix(" |").split(" | ")
            assert len(cells) == 4, f"not of four cells: {line}"
            found.append(Row(head, *cells))
    return found


def named(*kinds: str) -> list[tuple[Row, str]]:
    return [(row, name) for row in rows() for name in row.names if kind_of(name) in kinds]


def kind_of(name: str) -> str | None:
    if name.startswith("cxrscore "):
        return "command"
    if name.startswith("out/"):
        return "output"
    if name == "ap_all" or name.endswith("macro_auc"):
        return "metric"
    if KEY.fullmatch(name):
        return "setting"
    if re.fullmatch(r"[\w./-]+/[\w.-]+\.(py|md|yaml|csv)", name):
        return "file"
    if re.fullmatch(rf"(independent|mlp|{'|'.join(HEADS)})(-[a-z0-9]+)*", name):
        return "variant"
    return None


def fields(key: str, head: str) -> list[FieldInfo]:
    """The fields of this name: several where sections of different kinds have one."""
    sections, found = [Params], list[FieldInfo]()
    for name in key.split("."):
        found = [section.model_fields[name] for section in sections if name in section.model_fields]
        classes = [one for field in found for one in (field.annotation, *get_args(field.annotation))]
        sections = [one for one in classes if isinstance(one, type) and issubclass(one, Section)]
        if name == "head" and not key.endswith(".kind"):
            sections = [one for one in sections if head in get_args(one.model_fields["kind"].annotation)]
    return found


def takes(field: FieldInfo, value: Any) -> bool:
    annotation: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    try:
        TypeAdapter(annotation).validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


def in_yaml(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def counted(some: list[Row], before: str = "") -> str:
    work, out = (sum(row.state == state for row in some) for state in STATES)
    return f"**{before}{len(some)} elements: {work} work, {out} out of scope.**"


def test_every_row_has_a_state_and_what_shows_it_or_why_it_is_not_here() -> None:
    assert [table(part)[:2] for part in parts()] == [HEADER] * len(HEADS)
    for row in rows():
        assert row.state in STATES, row
        assert row.section and row.element and len(row.where) > 5, row
        assert row.names or row.state != "works", f"works, and nothing shows it: {row}"
    assert len(set(rows())) == len(rows()) > 167


def test_the_counts_are_those_of_the_rows() -> None:
    for head, part in zip(HEADS, parts(), strict=True):
        assert counted([row for row in rows() if row.head == head]) in part.splitlines()
    assert counted(rows(), "In all ") in PAGE.splitlines()


def test_every_name_is_of_a_kind_that_is_checked_here() -> None:
    assert [(row, name) for row in rows() for name in row.names if kind_of(name) is None] == []
    assert {kind_of(name) for row in rows() for name in row.names} >= {"setting", "file", "output", "variant"}


def test_every_setting_exists_in_the_head_of_its_paper_and_takes_the_value() -> None:
    """A value stands behind a colon or, where the preset has another one, in brackets behind the key."""
    wrong = []
    for row in rows():
        for name, other in re.findall(r"`([^`]+)`(?: \(([\w.]+)\))?", row.where):
            if parsed := KEY.fullmatch(name):
                found, value = fields(parsed[1], row.head), parsed[2] or other
                if not found or (value and not any(takes(field, in_yaml(value)) for field in found)):
                    wrong.append(f"{row.head}: {name} {other}")
    assert wrong == []


@pytest.mark.parametrize("head", HEADS)
def test_values_behind_a_colon_are_those_of_the_papers_preset(head: str) -> None:
    settings = in_yaml((PRESETS / f"{PRESET_OF[head]}.yaml").read_text(encoding="utf-8"))
    stated = [KEY.fullmatch(name) for row, name in named("setting") if row.head == head]
    wrong = []
    for key, value in (found.groups() for found in stated if found and found[2]):
        own = settings
        for name in key.split("."):
            own = own.get(name) if isinstance(own, dict) else None
        if own != in_yaml(value):
            wrong.append(f"{key}: {value}, and {own} in the preset")
    assert wrong == []


def test_every_file_exists() -> None:
    names = {name for _, name in named("file")} | set(re.findall(r"`(presets/[\w.-]+)`", PAGE))
    assert sorted(name for name in names if not any((at / name).is_file() for at in (ROOT, PACKAGE))) == []


def test_every_output_is_written() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py")))
    outputs = [name for _, name in named("output")]
    tables = {f"out/plots/{name}.csv" for name in TABLES}
    assert {f"out/plots/{name}.csv" for name in OF_PREDICTIONS} <= {*outputs}
    tables |= {f"out/plots/{name}.csv" for name in OF_PREDICTIONS if f'"{name}": ([' in code}
    assert sorted(n for n in outputs if n not in tables and f'"{Path(n).name}"' not in code) == []


def test_every_metric_is_explained() -> None:
    text = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    assert [name for _, name in named("metric") if f"`{name}`" not in text] == []


def test_every_row_of_an_ablation_exists() -> None:
    assert sorted({name for _, name in named("variant")} - CHANGES.keys()) == []


@pytest.mark.parametrize("words", sorted(set(re.findall(r"--heads [^`]+", PAGE))))
def test_heads_that_are_compared_can_be_and_have_the_setting_that_is_swept(words: str) -> None:
    heads, *valued = re.split(" --(?:sweep|choose) ", words.removeprefix("--heads "))
    own = {"kind": "independent", "dropout": 0.0, "pool": "gap"}
    assert len(choose(heads, own)) > 1
    assert all(one.partition("=")[0] in settings_of([heads], own)[heads] for one in valued)
