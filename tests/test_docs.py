"""The docs hold: sizes, generated pages, the site, names of files and settings, and every command in them.

A command is a line of a block marked `sh`. It is run here, run elsewhere (ELSEWHERE says where), or its block
is preceded by a comment that says why not: `<!-- not run: needs a GPU -->`.
"""

import ast
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple
from xml.etree import ElementTree

import pytest
from conftest import PRESETS, Door, Project, make_tiny
from ruamel.yaml import YAML
from typer.main import get_command

from cxrscore.cli.app import app
from cxrscore.cli.exit_codes import EXIT_CODES
from cxrscore.core.errors import REMEDIES
from cxrscore.project.params import Params, Section
from cxrscore.project.params_file import read_params

SVG = "{http://www.w3.org/2000/svg}"
ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
GENERATED = ("commands.md", "params.md")
PAGES = [README, *sorted(DOCS.glob("*.md"))]
NOT_RUN = {
    "needs a GPU",
    "needs real data",
    "needs the internet",
    "needs models with inputs",
    "takes hours",
    "changes the shell's own files",
}
STAND_INS = {  # what a reader has -> what a test has
    "/data/new_images": "data/test",
    "data/test/00000298_002_001.jpg": "data/test/00000019_002_001.jpg",
}
ELSEWHERE = {  # command -> the file that runs it, and the words there
    "uv run dvc repro": (".ci/run", "uv run dvc repro"),
    "uv run pytest": (".ci/run", "uv run pytest\n"),
    "uv run ruff check": (".ci/run", "uv run ruff check"),
    "uv run ruff format --check": (".ci/run", "uv run ruff format --check"),
    "uv run mypy": (".ci/run", "uv run mypy"),
    "uv sync": (".ci/run", "uv sync"),
    "pip install uv": (".ci/run", "pip install --quiet uv"),
    "uv run pytest -s tests/model/test_heads_truth.py": ("tests/model/test_heads_truth.py", "def test_"),
    "python tests/programs/personalities.py": (".ci/run", "python tests/programs/personalities.py"),
    "python docs/generate.py": (".ci/run", "uv run python docs/generate.py"),
    "uv run mkdocs build --strict -f docs/site/mkdocs.yml": (".ci/run", "uv run mkdocs build --strict"),
    "python -m venv env": ("tests/test_offline.py", '"-m", "venv"'),
    "env/bin/pip install --no-index --find-links wheels cxrscore": ("tests/test_offline.py", '"--no-index"'),
    "env/bin/cxrscore --help": ("tests/test_offline.py", '"--help"'),
}
IN_GIT = ("cxrscore init ", "cxrscore data ", "cxrscore compare HEAD ")  # DVC does them, or they call it
THE_SHELLS_OWN = (".", "cd", "git")


class Block(NamedTuple):
    """A fenced block: where it is, its language, its lines, and why it is not run, if it is not."""

    where: str
    language: str
    lines: list[str]
    not_run: str | None


def blocks(page: Path) -> Iterator[Block]:
    pattern = r"(?:<!-- not run: (?P<why>[^>]+) -->\n)?^```(?P<language>\w*)\n(?P<body>.*?)^```$"
    text = page.read_text(encoding="utf-8")
    for found in re.finditer(pattern, text, re.MULTILINE | re.DOTALL):
        where = f"{page.name}:{text.count(chr(10), 0, found.start('language')) + 1}"
        yield Block(where, found["language"], found["body"].splitlines(), found["why"])


def commands(block: Block) -> Iterator[str]:
    """One by one, without comments: one per line, unless a quote continues, or && chains several."""
    whole = ""
    for line in block.lines:
        whole += re.sub(r"(^|\s)#\s.*", "", line) + "\n"
        if whole.count("'") % 2 == 0 and whole.count('"') % 2 == 0:
            yield from (" ".join(part.split()) for part in whole.split(" && ") if part.strip())
            whole = ""


@cache
def written() -> list[tuple[str, str]]:
    """Every command of a block that is run: where it stands, and its text."""
    shell = [block for page in PAGES for block in blocks(page) if block.language == "sh"]
    return [(block.where, text) for block in shell if block.not_run is None for text in commands(block)]


def without_uv(text: str) -> str:
    return text.removeprefix("uv run ")


def in_process() -> list[str]:
    """The commands of cxrscore that need no DVC, each once, in the order of the pages."""
    found = [without_uv(text) for _, text in written() if text not in ELSEWHERE]
    ours = [text for text in found if text.startswith("cxrscore ") and not text.startswith(IN_GIT)]
    return list(dict.fromkeys(ours))


def in_a_project() -> list[str]:
    """The commands that DVC does, or that call it."""
    found = [without_uv(text) for _, text in written() if text not in ELSEWHERE]
    return list(dict.fromkeys(text for text in found if text.startswith((*IN_GIT, "dvc "))))


def generator(name: str = "generate") -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---- pages


def test_the_readme_is_short() -> None:
    assert len(README.read_bytes()) <= 12_000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_line_is_longer_than_120_characters(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    if page.name in GENERATED:  # a row of a table cannot be broken
        lines = [line for line in lines if not line.startswith("|")]
    assert [line for line in lines if len(line) > 120] == []


@pytest.mark.parametrize("name", GENERATED)
def test_generated_pages_are_those_of_the_code(name: str) -> None:
    page = generator().PAGES[name]()
    assert (DOCS / name).read_text(encoding="utf-8") == page, "run `python docs/generate.py`"


def test_the_picture_of_the_model_is_that_of_the_paper_preset() -> None:
    drawn = (DOCS / "pictures" / "model.svg").read_text(encoding="utf-8")
    assert drawn == generator("model_picture").picture(), "run `python docs/generate.py`"
    words = ["".join(one.itertext()) for one in ElementTree.fromstring(drawn).iter(f"{SVG}text")]
    train = read_params(PRESETS / "paper.yaml").train
    assert f"backbone {train.backbone}" in words
    assert f"dropout {train.head.dropout:g}" in words
    assert f"z\N{PRIME} = z + {train.head.alpha:g} · p A" in words  # type: ignore[union-attr]
    assert "prefers-color-scheme: dark" in drawn


def test_every_setting_says_what_it_means() -> None:
    sections, seen = [Params], set[type[Section]]()
    while sections:
        section = sections.pop()
        seen.add(section)
        assert [name for name, field in section.model_fields.items() if not field.description] == []
        inner = (field.annotation for field in section.model_fields.values())
        classes = (one for found in inner for one in getattr(found, "__args__", (found,)))
        sections += [one for one in classes if isinstance(one, type) and issubclass(one, Section)]
    assert len(seen) > 12


def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    words = ["mkdocs", "build", "--strict", "-f", "docs/site/mkdocs.yml", "-d", str(tmp_path / "site")]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}  # the theme's notice about its future
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, env=quiet, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    for page in (tmp_path / "site").rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"<(?:script|link|img)[^>]+(?:src|href)=\"?https?:", text), page.name
    assert {page.stem for page in PAGES[1:]} <= {page.stem for page in (tmp_path / "site").glob("*.html")}


def test_links_of_the_readme_lead_to_files_and_sections() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", README.read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        assert (ROOT / name).is_file(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w]+", "-", heading.lower()) for heading in headings], target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_of_the_code_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`((?:cxrscore|tests|docs|\.ci)/[\w./]*)`", text)
    new = [name for name in named if "calibrate" in name or "NAME" in name]  # in recipes: to be made
    assert [name for name in named if not (ROOT / name).exists() and name not in new] == []
    assert [name for name in new if not (ROOT / name).parent.is_dir()] == []


def test_a_new_test_of_a_recipe_lies_beside_those_of_its_kind() -> None:
    """A stage's beside the other stages', a head's beside the other heads'."""
    text = (DOCS / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert "`tests/stories/test_calibrate.py`" in text and (ROOT / "tests/stories/test_folds.py").is_file()
    assert "`tests/model/test_NAME.py`" in text and (ROOT / "tests/model/test_lamp.py").is_file()


def test_names_of_the_code_that_the_recipes_give_are_there() -> None:
    """Each is written in the recipe's step behind the file that has it."""
    text = (DOCS / "CONTRIBUTING.md").read_text(encoding="utf-8")
    steps = [" ".join(step.split()) for step in re.split(r"^\d\. |^#+ ", text, flags=re.MULTILINE)]
    checked = 0
    for step in steps:
        files = [name for name in re.findall(r"`([\w./]+\.py)`", step) if (ROOT / name).is_file()]
        code = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in files)
        for name in re.findall(r"`([A-Z]{3,}|[A-Z][a-z]+[A-Z]\w+)`", step) if files else ():
            assert re.search(rf"\b{name}\b", code), f"{name}: not in {', '.join(files)}"
            checked += 1
    assert checked > 8


def test_the_readmes_tables_are_those_of_the_demo() -> None:
    labels, scores = ("\n".join(block.lines) for block in blocks(README) if block.language == "csv")
    demo = (ROOT / "cxrscore" / "demo" / "labels.csv").read_text(encoding="utf-8").splitlines()
    assert labels == "\n".join(",".join(line.split(",")[:9]) for line in demo[:5])
    template = (ROOT / "cxrscore" / "demo" / "sample_submission.csv").read_text(encoding="utf-8").splitlines()
    assert [row.split(",")[0] for row in scores.splitlines()] == [row.split(",")[0] for row in template[:5]]
    assert scores.splitlines()[0] == ",".join(template[0].split(",")[:6])


@pytest.mark.parametrize("page", [README, DOCS / "troubleshooting.md"], ids=lambda page: page.name)
def test_exit_codes_mean_on_each_page_what_the_help_says(page: Path) -> None:
    rows = re.findall(r"^\| (\d+) \| ([^|]*) \|", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert {int(code): meaning.replace("`", "") for code, meaning in rows} == EXIT_CODES


def test_every_kind_of_fault_is_explained() -> None:
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `([A-Z_]+)` \|", text, re.MULTILINE) == list(REMEDIES)


@cache
def words_of_the_code() -> str:
    """All texts of the package, with a mark where a value is filled in."""
    found = []
    for file in sorted((ROOT / "cxrscore").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "\0" for part in node.values]
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def test_messages_that_are_explained_are_said() -> None:
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    ours = text[text.index("### Settings") : text.index("### DVC")]
    for first in re.findall(r"^\| (`.*?) \|", ours, re.MULTILINE):
        for message in re.findall(r"`([^`]+)`", first):
            if "train.epoch" not in message and "'epoch'" not in message:  # Hydra's
                for piece in message.split("..."):
                    assert piece.strip(" ?") in words_of_the_code(), f"{message}: no such message"


# ---- commands


def test_a_block_that_is_not_run_says_why() -> None:
    shell = [block for page in PAGES for block in blocks(page) if block.language == "sh"]
    assert {block.not_run for block in shell} - {None} <= NOT_RUN
    others = {block.language for page in PAGES for block in blocks(page)} - {"sh", "text", "csv", "yaml"}
    assert others <= {"console", "python"}  # the help's own examples; what tests/stories/test_api.py runs


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_has_its_options(page: Path) -> None:
    """Also those that are not run, and those within a sentence or a table."""
    text = page.read_text(encoding="utf-8")
    inline = re.findall(r"(?<!`)`((?:uv run )?cxrscore [^`]+)`", text)
    shell = [
        line for block in blocks(page) if block.language in ("sh", "console") for line in commands(block)
    ]
    for found in [*inline, *shell]:
        words = shlex.split(without_uv(found.removeprefix("$ ")))
        if words[0] == "cxrscore":
            check_words(words[1:], found)


def check_words(words: list[str], where: str) -> None:
    command = get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]  # type: ignore[attr-defined]
    assert not hasattr(command, "commands") or not words or words[0].startswith("-") or words[0].isupper(), (
        where
    )
    known = {
        "--help",
        "-h",
        *(word for param in command.params for word in (*param.opts, *param.secondary_opts)),
    }
    asked = [word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)]
    assert [word for word in asked if word not in known] == [], where


def test_every_setting_that_an_experiment_changes_exists() -> None:
    settings = YAML(typ="safe", pure=True).load((PRESETS / "demo.yaml").read_text(encoding="utf-8"))
    for page in PAGES:
        for key in re.findall(r"-S '?([a-z_.]+)=", page.read_text(encoding="utf-8")):
            value = settings
            for name in key.split("."):
                assert name in value, f"{page.name}: {key}"
                value = value[name]


def test_every_command_is_run_by_a_test() -> None:
    ours = {*in_process(), *in_a_project()}
    for where, text in written():
        first = text.split()[0]
        known = text in ELSEWHERE or without_uv(text) in ours or first in THE_SHELLS_OWN
        assert known, f"{where}: `{text}` is run by no test; mark the block, or add it to ELSEWHERE"
    texts = {text for _, text in written()}
    for text, (file, words) in ELSEWHERE.items():
        assert text in texts, f"{text}: no page shows it any more"
        assert words in (ROOT / file).read_text(encoding="utf-8"), f"{text}: not run by {file} any more"


@pytest.fixture
def workspace(door: Door, project: Project, tmp_path: Path) -> Path:
    """The tiny project's folder with what the pages' commands name; `door` runs them in it."""
    shutil.copytree(project.data, tmp_path / "data")
    shutil.copytree(project.layout.root, tmp_path / "out")
    shutil.copytree(project.data / "test", tmp_path / "images")
    shutil.copy(project.labels, tmp_path / "labels.csv")
    return tmp_path


def test_the_commands_of_the_pages_run(door: Door, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXRSCORE_DEVICE", "cpu")
    for text in in_process():
        for theirs, ours in STAND_INS.items():
            text = text.replace(theirs, ours)
        call = door(*shlex.split(text)[1:])
        assert call.code == 0, f"{text}\n{call.err}"
    assert (workspace / "sub.csv").is_file()


@pytest.mark.slow  # DVC starts a Python for each stage
def test_the_commands_of_the_pages_run_in_a_project(workspace: Path) -> None:
    """From `init` to an experiment, in one shell per command, as a reader would."""
    shutil.rmtree(workspace / "images")
    shutil.copytree(workspace / "data" / "images", workspace / "images")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    who = {f"GIT_{who}_{what}": "tester" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    more = {"PATH": path, "OMP_NUM_THREADS": "1", "CXRSCORE_DEVICE": "cpu", "PAGER": "cat"}

    def shell(text: str, folder: Path) -> None:
        done = subprocess.run(
            ["bash", "-ec", text], cwd=folder, env=os.environ | who | more, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"

    asked = in_a_project()
    first, with_test = (text for text in asked if " init " in text)
    shell(first, workspace)
    shutil.copytree(workspace / "data" / "test", workspace / "test")
    shutil.copy(workspace / "data" / "test_labels.csv", workspace / "test.csv")
    shell(with_test.replace(" chest ", " tested "), workspace)
    chest = workspace / "chest"
    make_tiny(chest / "params.yaml")
    for name in ("labels.csv", "images"):
        (chest / name).symlink_to(workspace / name)
    with (chest / ".gitignore").open("a") as file:
        file.write("/labels.csv\n/images\n")
    shell("git add . && git commit -qm start && dvc repro && git add . && git commit -qm trained", chest)
    last = [text for text in asked if text.startswith("cxrscore data ")]
    for text in [text for text in asked if text not in (first, with_test, *last)]:
        shell(f"git checkout -q . && {text}" if text == "dvc checkout" else text, chest)
    shell("git checkout -q . && dvc checkout", chest)
    for text in last:
        shell(text, chest)
