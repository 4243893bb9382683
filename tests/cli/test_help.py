"""What every command's help holds, and the words that a person never meets in a message.

Forbidden words are of two kinds: this project's own, which nobody else knows, and shorthand that a reader has
to read twice.
"""

import ast
import re
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from token import COMMENT
from tokenize import tokenize
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

import cxrscore
from cxrscore.cli.app import COMMANDS, app
from cxrscore.cli.exit_codes import EXIT_CODES
from cxrscore.core.errors import counted
from cxrscore.core.signals import ASKING

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PACKAGE = Path(cxrscore.__file__).parent
# what a command does
VERBS = "Add|Assign|Compare|Convert|Decode|Explain|List|Make|Measure|Replace|Score|Train|Write"
SUMMARY = 60  # characters that `cxrscore --help` has room for at 80 columns
PANELS = {"Input", "Models", "Output", "Failures", "Machine"}
COUNTED = (
    "row|line|file|image|patient|forward|pass|batch|side|pixel|finding|fold|GPU|study|command|head|epoch|value"
    "|panel|entry|ms|scene"
)
FORBIDDEN = (
    r"(?<!nothing )(?<!somebody )\belse\b",  # a clause that is only "else ..."
    rf"\b({COUNTED})(e?s)? an? ({COUNTED})\b",  # per
    r"(?<!there )\b(is|are) no (path|name|file|folder|number|finding|image|range|regular|text|square)\b",
    r"\bgo(es)? on\b",
    r"\b(is|are|be) told\b",
    r"\bas good as none\b",
    r"\bcompany\b",
    r"\bthe door\b",
    r"\banew\b",
    r"\bone's own\b",
    r"\bbefore seals\b",
    r"\bmend\b",
    r"\bValue error\b",
    r"\bsuffix\b",
)


def commands() -> dict[str, Any]:
    """Every command by its full name, those of groups and the hidden one included."""
    found: dict[str, Any] = {}
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        below = getattr(command, "commands", {})
        found |= {f"{name} {inner}": one for inner, one in below.items()} if below else {name: command}
    return found


def groups() -> dict[str, Any]:
    root = get_command(app)
    return {name: one for name, one in root.commands.items() if hasattr(one, "commands")}  # type: ignore[attr-defined]


ALL = {**commands(), **groups()}


def main_help() -> str:
    done = CliRunner().invoke(app, ["--help"], terminal_width=80, prog_name="cxrscore")
    assert done.exit_code == 0
    return done.output


def options(command: Any) -> list[Any]:
    return [param for param in command.params if param.param_type_name == "option"]


def forbidden(text: str, patterns: Sequence[str] = FORBIDDEN) -> list[str]:
    plain = " ".join(text.split())
    return [match.group() for pattern in patterns if (match := re.search(pattern, plain, re.IGNORECASE))]


@pytest.mark.parametrize("name", ALL)
def test_a_summary_is_one_short_sentence_that_begins_with_a_verb(name: str) -> None:
    summary = " ".join(ALL[name].help.split("\n\n")[0].split())
    assert len(summary) <= SUMMARY
    assert re.match(rf"({VERBS}) ", summary)
    assert summary.endswith(".")


@pytest.mark.parametrize("name", [*commands(), ""])
def test_every_option_says_what_it_is_for(name: str) -> None:
    for option in options(commands()[name] if name else get_command(app)):
        assert option.help and option.help.endswith("."), option.name


@pytest.mark.parametrize("name", ALL)
def test_help_has_no_word_that_is_ours_alone(name: str) -> None:
    texts = [ALL[name].help, *(param.help or "" for param in ALL[name].params)]
    assert [found for text in texts for found in forbidden(text)] == []


@pytest.mark.parametrize("name", commands())
def test_a_default_is_stated_in_one_form(name: str) -> None:
    """typer's own `[default: x]`, or `(default: ...)` at the end of a sentence."""
    for option in options(commands()[name]):
        mentions = re.findall(r".?\bdefaults?\b.?", option.help, re.IGNORECASE)
        assert mentions in ([], ["(default:"]), option.help
        optional = option.default is None and not option.required
        assert bool(mentions) or not optional or option.name in NO_DEFAULT, option.name


NO_DEFAULT = (  # without them something is left out, and there is nothing to choose
    "by",
    "by_out",
    "entry",
    "init_except",
    "models",  # of verify
    "output",  # of check
    "patient_pattern",
    "pictures",
    "sheet",
    "source",
    "study_column",
    "sweep",
)


def test_the_main_help_lists_commands_whole_and_under_their_headings() -> None:
    text = main_help()
    assert "..." not in text.replace("COMMAND [ARGS]...", "") and "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    for heading, names in COMMANDS.items():
        listed = text.split(f"\n{heading}:\n")[1].split("\n\n")[0].splitlines()
        assert tuple(line.split()[0] for line in listed) == names
    shown = {name for names in COMMANDS.values() for name in names}
    root = get_command(app)
    assert shown == {n for n, one in root.commands.items() if not one.hidden}  # type: ignore[attr-defined]


def test_the_main_help_says_where_to_start_and_what_exit_codes_mean() -> None:
    text = " ".join(main_help().split())
    assert "Start with `cxrscore init`" in text
    assert "--install-completion" in text
    exit_codes = text.split("Exit codes:")[1]
    for code, meaning in EXIT_CODES.items():
        assert f" {code} {meaning} " in exit_codes
    asking = {128 + number for number in ASKING}  # the signals that a run can be resumed after
    assert asking == {code for code in EXIT_CODES if code > 128}


def test_the_options_of_score_stand_in_five_panels() -> None:
    by_panel = {option.name: option.rich_help_panel for option in options(commands()["score"])}
    assert set(by_panel.values()) == PANELS, by_panel


@pytest.mark.parametrize("name", commands())
def test_many_options_stand_under_headings(name: str) -> None:
    of_command = options(commands()[name])
    if len(of_command) > 8:
        assert all(option.rich_help_panel for option in of_command)


def test_an_example_stays_on_one_line() -> None:
    done = CliRunner().invoke(app, ["score", "--help"], terminal_width=60, prog_name="cxrscore")
    example = "cxrscore score data/test --template data/sample_submission.csv -o sub.csv"
    assert f"  Example: {example}\n" in done.output


def processor_s(*words: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_takes_hardly_longer_than_typer_alone() -> None:
    """0.11 s, of which typer is 0.07; in turns, as both are slower beside others."""
    took = [
        (processor_s("-m", "cxrscore", "--help"), processor_s("-c", "import typer.main")) for _ in range(5)
    ]
    ours, typers = map(min, zip(*took, strict=True))
    assert ours < 4 * typers


def test_a_shell_completes_commands_and_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the script that --install-completion writes asks for it."""
    for typed, offered in (("cxrscore pre", "prepare"), ("cxrscore score --tem", "--template")):
        monkeypatch.setenv("_CXRSCORE_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", typed)
        monkeypatch.setenv("COMP_CWORD", str(len(typed.split()) - 1))
        done = CliRunner().invoke(app, [], prog_name="cxrscore")
        assert offered in done.output.split()


RAISED = ("UserError", "Stopped", "Unreadable", "Busy", "WorkersLost", "BadParameter", "ValueError")
PRINTED = ("print_lines", "print_notes", "tell", "tell_warnings", "say", "append")


def texts(node: ast.AST) -> Iterator[str]:
    """The text constants in it; what an f-string puts between them is X."""
    for part in ast.walk(node):
        if isinstance(part, ast.JoinedStr):
            yield "".join(str(one.value) if isinstance(one, ast.Constant) else "X" for one in part.values)
        elif isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value


def messages(module: Path) -> Iterator[tuple[int, str]]:
    """What is raised, printed or noted for a person, with its line."""
    for node in ast.walk(ast.parse(module.read_bytes())):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            if name in (*RAISED, *PRINTED):
                yield from ((node.lineno, text) for part in node.args for text in texts(part))
        elif isinstance(node, ast.Yield) and node.value is not None:
            yield from ((node.lineno, text) for text in texts(node.value))


@pytest.mark.parametrize("module", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_messages_have_no_word_that_is_ours_alone(module: Path) -> None:
    found = [(line, text, bad) for line, text in messages(module) if (bad := forbidden(text))]
    assert found == []


PAGES = (README, *sorted((ROOT / "docs").glob("*.md")))
SOURCES = (*sorted(PACKAGE.rglob("*.py")), *sorted((ROOT / "tests").rglob("*.py")))
IN_PROSE = [one for one in FORBIDDEN if "else" not in one and "mend" not in one]  # "anything else" is plain


def prose(path: Path) -> Iterator[str]:
    """The docstrings and comments of a module; the lines of a page."""
    if path.suffix == ".md":
        yield from path.read_text(encoding="utf-8").splitlines()
        return
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            yield ast.get_docstring(node) or ""
    with path.open("rb") as file:
        yield from (token.string for token in tokenize(file.readline) if token.type == COMMENT)


@pytest.mark.parametrize("path", [*PAGES, *SOURCES], ids=lambda path: str(path.relative_to(ROOT)))
def test_docs_docstrings_and_comments_have_no_word_that_is_ours_alone(path: Path) -> None:
    assert [(found, text) for text in prose(path) if (found := forbidden(text, IN_PROSE))] == []


@pytest.mark.parametrize(
    "text",
    [
        "Images a forward.",
        "Of the table; else what OUTPUT's name says.",
        "keep one row a file",
        "'x' is no path of a file",
        "This goes on with it:",
    ],
)
def test_the_rule_finds_what_it_is_for(text: str) -> None:
    assert forbidden(text)


@pytest.mark.parametrize(
    "text", ["there is no file", "nothing else is in it", "one row per file (default: 16 on a CPU)"]
)
def test_the_rule_leaves_plain_words_alone(text: str) -> None:
    assert not forbidden(text)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((1, "file"), "1 file"),
        ((0, "file"), "0 files"),
        ((12000, "file"), "12,000 files"),
        ((1, "study has", "studies have"), "1 study has"),
        ((2, "study has", "studies have"), "2 studies have"),
    ],
)
def test_one_is_not_counted_in_the_plural(words: tuple[Any, ...], said: str) -> None:
    assert counted(*words) == said


def help_of(name: str) -> str:
    done = CliRunner().invoke(app, [*name.split(), "--help"], terminal_width=80, prog_name="cxrscore")
    assert done.exit_code == 0
    return done.output


@pytest.mark.parametrize("name", commands())
def test_the_usage_names_arguments_in_capitals_as_the_texts_do(name: str) -> None:
    usage, *_ = help_of(name).split("\n\n")
    arguments = usage.split()[len(name.split()) + 2 :]
    assert all(re.fullmatch(r"\[?[A-Z]+\]?(\.\.\.)?", word) for word in arguments), usage


@pytest.mark.parametrize(("name", "said"), [("score", "INPUT -o OUTPUT"), ("check", "INPUT -o OUTPUT")])
def test_a_file_that_the_texts_call_output_is_called_so_where_it_is_named(name: str, said: str) -> None:
    text = help_of(name)
    for word in said.split(" -o "):
        assert re.search(rf"^  (-o, --output )?{word} ", text, re.MULTILINE), text


def test_auto_is_said_to_be_what_each_command_takes() -> None:
    """choose_machine takes fp32 on every CPU, choose_scoring_machine bf16 where a CPU multiplies in it."""
    by_name = {option.name: option.help for option in options(commands()["train"])}
    assert "fp32 on a CPU" in by_name["dtype"]
    by_name = {option.name: option.help for option in options(commands()["score"])}
    assert "fp32 on CPUs without AVX512-BF16 and AMX" in by_name["dtype"]
    for name in ("train", "ablate", "score"):
        assert "fp16" in {option.name: option.help for option in options(commands()[name])}["dtype"]


def test_phantom_says_what_its_processes_do() -> None:
    assert "decod" not in " ".join(help_of("phantom").split()).lower()
