"""A name reaches the terminal as text: it moves no cursor, forges no line, turns and hides nothing."""

import ast
import csv
import io
import json
import os
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Call, Door, Project
from rich.console import Console
from ruamel.yaml import YAML

import cxrscore
from cxrscore.cli.messages import resuming_command, shell_words, training_command
from cxrscore.cli.terminal import Terminal, _Bar, print_lines, print_notes
from cxrscore.core.errors import Stopped, UserError, WorkersLost
from cxrscore.core.text_table import visible

PACKAGE = Path(cxrscore.__file__).parent
ODD = {
    "a\x1b[31m.png": r"a\x1b[31m.png",
    "b\nerror: forged.png": r"b\nerror: forged.png",
    "c\u202egnp.png": r"c\u202egnp.png",
    os.fsdecode(b"\xff.png"): r"\xff.png",
    "d\u200e\u061c\u2067.png": r"d\u200e\u061c\u2067.png",
    "e\u200b\ufeff\xad\u2060.png": r"e\u200b\ufeff\xad\u2060.png",
    "f\r\t\x08\x7f\x85\x9b2J\u2028.png": r"f\r\t\x08\x7f\x85\x9b2J\u2028.png",
    "g\ue000\ufdd0\U000e0041.png": r"g\ue000\ufdd0\U000e0041.png",
}
TEXT = [name for name in ODD if "\udcff" not in name]
PLAIN = [
    "a b.png",
    "größe.png",
    "日本.png",
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645.png",  # Persian
    "\u0915\u094d\u200d\u0937.png",  # Hindi
    "\U0001f469\u200d\u2695\ufe0f.png",  # emoji
    "x'y\\z.png",
]


def is_clean(text: str) -> bool:
    """No character that a terminal obeys or hides, but for ends of lines."""
    hidden = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
    return not [c for c in text if c not in "\n\u200c\u200d" and unicodedata.category(c) in hidden]


def is_told(call: Call) -> bool:
    """Something was said, all of it clean, and no line is a name's."""
    text = call.out + call.err
    return bool(text) and is_clean(text) and "\nerror: forged" not in f"\n{text}"


@pytest.mark.parametrize("name", ODD, ids=ascii)
def test_what_a_terminal_obeys_or_hides_is_shown_as_an_escape(name: str) -> None:
    assert visible(name) == ODD[name] and is_clean(visible(name))
    assert visible(visible(name)) == visible(name)


@pytest.mark.parametrize("name", PLAIN)
def test_names_of_all_languages_are_shown_as_they_are(name: str) -> None:
    assert visible(name) == name


def test_every_character_there_is_can_be_shown() -> None:
    text = "".join(map(chr, range(sys.maxunicode + 1)))
    for encoding in ("utf-8", "ascii", "latin-1", "cp1252"):
        shown = visible(text, encoding)
        assert is_clean(shown) and "\n" not in shown and shown.encode(encoding).decode(encoding) == shown


@pytest.fixture
def folder(project: Project, tmp_path: Path) -> Path:
    """Two radiographs, and odd names of which every second one is not an image, in images/."""
    images = tmp_path / "images"
    images.mkdir()
    sources = sorted((project.data / "test").iterdir())
    for i, name in enumerate(ODD):
        if i % 2:
            shutil.copy(sources[i], images / name)
        else:
            (images / name).write_text("<html>404 Not Found</html>")
    for source in sources[:2]:
        shutil.copy(source, images)
    (images / "h\x1b]0;title\x07.png").symlink_to("nowhere")
    return images


def label_table(path: Path, names: list[str], findings: list[str]) -> Path:
    """Every finding is 0 and 1 in turn, but for the last: no image shows it."""
    columns = range(len(findings) - 1)
    rows = [[name, f"p{i}", *(str((i + j) % 2) for j in columns), "0"] for i, name in enumerate(names)]
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["Image_name", "Patient_ID", *findings], *rows])
    return path


def test_scoring_checking_and_verifying_show_names_as_text(
    door: Door,
    project: Project,
    folder: Path,
    tmp_path: Path,
) -> None:
    models = ["--models", project.layout.models]
    words = ["score", folder, *models, "-o"]
    calls = [door(*words, "sub.csv", "--workers", 0), door("check", folder), door("check", folder, "--json")]
    assert [call.code for call in calls] == [3, 3, 3]
    assert r"first: " in calls[1].err and r"a\x1b[31m.png (NOT_AN_IMAGE" in calls[1].err
    calls.append(door(*words, "none.csv", "--on-error", "fail"))
    assert calls[-1].code == 2 and "error: " in calls[-1].err
    for name in ODD:
        (folder / name).write_bytes(b"x")
    calls.append(door("verify", "sub.csv", *models, "--input", folder))
    assert calls[-1].code == 1 and r"b\nerror: forged.png" in calls[-1].out
    shutil.copy(folder / "a\x1b[31m.png", folder / "\x1b[1A.png")
    calls.append(door(*words, "sub.csv", "--resume"))
    assert all(map(is_told, calls)), calls


@pytest.mark.parametrize("name", TEXT, ids=ascii)
def test_paths_in_errors_are_shown_as_text(door: Door, tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    shutil.copy(tmp_path / "params.yaml", tmp_path / name)
    gone = f"{name}/none"
    for words in (
        ["score", gone, "-o", "sub.csv"],
        ["score", ".", "-o", f"{name}/sub.gz"],
        ["check", gone],
        ["check", name],
        ["verify", gone],
        ["evaluate", "--scores", gone],
        ["evaluate", "--out", name],
        ["report", "--out", gone],
        ["folds", "--labels", gone],
        ["prepare", "--labels", gone],
        ["train", "--fold", 0, "--params", gone],
        ["init", name, "--labels", gone, "--images", "."],
        ["data", "use", "--labels", gone, "--images", "."],
        ["score", "a", name],
        ["score", f"--{name}"],
        [name],
        ["ablate", "--heads", name],
        ["score", "a", "-o", "b", "--folds", name],
    ):
        call = door(*words)
        assert call.code == 2 and is_told(call), (words, call)


def test_preparing_folding_and_evaluating_show_names_as_text(
    door: Door, folder: Path, tmp_path: Path
) -> None:
    names = [*TEXT, *(path.name for path in folder.glob("0*"))]
    findings = [*TEXT[2:], *TEXT[:2]]
    labels = label_table(tmp_path / "labels.csv", names, findings)
    yaml = YAML()
    settings = yaml.load(tmp_path / "params.yaml")
    settings["labels"] |= {"findings": findings, "study": None}
    settings["prepare"]["max_unreadable"] = 0.9
    yaml.dump(settings, tmp_path / "params.yaml")
    calls = [door("prepare", "--labels", labels, "--images", folder), door("folds", "--labels", labels)]
    scores = tmp_path / "scores.csv"
    with scores.open("w", encoding="utf-8", newline="") as file:
        rows = ([name, *["0.5"] * len(findings)] for name in names[1:])
        csv.writer(file).writerows([["Image_name", *findings], *rows])
    words = ["evaluate", "--scores", scores, "--labels", labels]
    calls += [door(*words), door(*words, "--json")]
    assert [call.code for call in calls] == [0] * 4, calls
    assert all(map(is_told, calls)), calls
    assert r"a\x1b[31m.png (NOT_AN_IMAGE" in calls[0].err and r"\xff.png" in calls[0].err
    assert r"b\nerror: forged.png: no positives in fold" in calls[1].err
    assert r"(only one class present): b\nerror: forged.png" in calls[2].err
    assert list(json.loads(calls[-1].out)["auc"]) == findings[:-1]


def test_a_project_of_odd_names_is_told_of_as_text(door: Door, folder: Path, tmp_path: Path) -> None:
    (folder / os.fsdecode(b"\xff.png")).unlink()  # DVC keeps no such name
    names = [path.name for path in folder.glob("0*")]
    findings = [*(name.removesuffix(".png") for name in TEXT[:4]), "Age"]
    labels = label_table(tmp_path / "labels.csv", names, findings)
    rest = labels.read_text(encoding="utf-8").replace("Patient_ID", "x\x1b]0;y\x07z")
    labels.write_text(rest, encoding="utf-8")
    words = ["--labels", labels, "--images", folder]
    made = tmp_path / "my \x1b[31m'\n'\u202e project"
    calls = [door("init", made, *words), door("data", "use", *words, "--project", made)]
    assert [call.code for call in calls] == [0, 0], calls[0].err
    assert all(map(is_told, calls)), calls
    for shown in (r"a\x1b[31m", r"x\x1b]0;y\x07z", r"h\x1b]0;title\x07.png"):
        assert shown in calls[0].err
    told = calls[0].out.removesuffix("dvc repro\n") + "pwd -P"
    found = subprocess.run(["bash", "-c", told], cwd=tmp_path, stdout=subprocess.PIPE, check=True).stdout
    assert found == os.fsencode(made) + b"\n"


def test_a_name_that_dvc_would_not_keep_is_refused_before_anything_is_copied(
    door: Door, folder: Path, tmp_path: Path
) -> None:
    labels = label_table(
        tmp_path / "labels.csv", [path.name for path in folder.glob("0*")], ["Edema", "none"]
    )
    call = door("init", tmp_path / "new", "--labels", labels, "--images", folder)
    assert call.code == 2 and is_told(call)
    assert (
        r"1 file name is not UTF-8, such as b'\xff.png', and DVC accepts only UTF-8; rename them" in call.err
    )
    assert not (tmp_path / "new").exists()


WORDS = [*ODD, *PLAIN, "", "-", "a\\", "$HOME `id`", "\x1b'\\x41", "\x01f", "\udcffa", "é\n"]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_command_that_is_shown_is_one_that_bash_reads_back(
    monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO(), encoding))
    command = shell_words(WORDS)
    assert is_clean(command) and "\n" not in command and command.encode(encoding)
    script = f"printf '%s\\0' {command}"
    for locale in ("C", "C.UTF-8"):
        done = subprocess.run(
            ["bash", "-c", script], env=os.environ | {"LC_ALL": locale}, stdout=subprocess.PIPE, check=True
        )
        assert done.stdout.split(b"\0")[:-1] == [os.fsencode(word) for word in WORDS]


def test_the_command_that_resumes_a_run_reaches_its_odd_names(
    door: Door, project: Project, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = tmp_path / os.fsdecode(b"im\x1b[31m\n\xff")
    folder.rename(odd)
    call = door("score", odd, "-o", "o\u202et.csv", "--models", project.layout.models, "--max-errors", 0)
    assert call.code == 4 and is_told(call)
    bash = f"cxrscore() {{ '{sys.executable}' -m cxrscore \"$@\"; }}\n{call.err.splitlines()[-1]}"
    env = os.environ | {"OMP_NUM_THREADS": "1"}  # as here
    done = subprocess.run(["bash", "-c", bash], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert is_clean(done.stderr) and (tmp_path / "o\u202et.csv").is_file()
    monkeypatch.setattr(sys, "argv", ["cxrscore", "train", "--labels", "a\nb"])
    monkeypatch.setenv("CXRSCORE_STATE", "/my state\n")
    assert training_command() == r"CXRSCORE_STATE=$'/my state\x0a' cxrscore train --labels $'a\x0ab'"
    assert resuming_command(()) == r"cxrscore train --labels $'a\x0ab' --resume"


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_no_name_is_too_odd_for_a_terminals_encoding(
    project: Project, folder: Path, tmp_path: Path, encoding: str
) -> None:
    (folder / "größe\u202e.png").write_bytes(b"")
    environment = os.environ | {"LC_ALL": "C", "PYTHONIOENCODING": encoding}
    gone = os.fsdecode(b"n\xc3\xa9\xff")
    score = ["score", folder, "-o", tmp_path / "sub.csv", "--models", project.layout.models]
    for words, code in ((["check", folder], 3), (["check", gone], 2), (score, 3), (["verify", gone], 2)):
        done = subprocess.run(
            [sys.executable, "-m", "cxrscore", *words, *(["--workers", "0"] if words[0] != "verify" else [])],
            env=environment,
            capture_output=True,
            check=False,
        )
        text = done.stderr.decode(encoding) + done.stdout.decode(encoding)
        assert done.returncode == code and "Traceback" not in text and is_clean(text), text


def test_the_bar_and_its_notes_show_names_as_text_and_brackets_as_brackets() -> None:
    file = io.TextIOWrapper(io.BytesIO(), "ascii", newline="")
    bar = _Bar(Console(file=file, force_terminal=True, width=200, color_system=None, highlight=False))
    bar.start("score", 2)
    for name in (*ODD, "größe [red] :smile: {x}"):
        bar.say(f"of {name}")
        bar.advance(0, "1.0/s", "1 s left", name)
        bar.live.refresh()
    bar.close()
    file.flush()
    raw = file.buffer.getvalue().decode("ascii")  # type: ignore[attr-defined]
    for shown in ODD.values():
        assert raw.count(shown) >= 2
    assert raw.count(r"gr\xf6\xdfe [red] :smile: {x}") >= 2
    assert "\x1b[31m" not in raw and "\x1b]0" not in raw and "forged" not in raw.split("b\\nerror: ")[0]


def test_plain_progress_shows_its_notes_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    terminal.start("score", 3)
    terminal.told = -1e9
    terminal.advance(1, "of a\x1b[31m.png\nerror: forged")
    terminal.say("b\rc")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and lines[0].endswith(r"of a\x1b[31m.png\nerror: forged") and lines[1] == r"b\rc"


@pytest.mark.parametrize("kind", [UserError, Stopped, WorkersLost])
def test_an_error_of_several_lines_reads_as_lines_and_keeps_line_ends_of_names_apart(
    kind: type[UserError], capsys: pytest.CaptureFixture[str]
) -> None:
    error = kind("a\nb", "second")
    assert (str(error), error.lines) == ("a\nb\nsecond", ("a\nb", "second"))
    print_notes(*error.lines)
    print_lines(*error.lines)
    assert capsys.readouterr() == ("a\\nb\nsecond\n",) * 2


def test_wrong_settings_are_a_line_each_whatever_they_hold(door: Door, tmp_path: Path) -> None:
    text = (tmp_path / "params.yaml").read_text().replace("size: 32", 'size: "\\e[31m\\nerror: forged"')
    (tmp_path / "params.yaml").write_text(f'{text}"x\\e]0;\\nerror: forged": 1\n')
    call = door("folds")
    assert call.code == 2 and is_told(call) and len(call.err.splitlines()) == 2, call.err
    (tmp_path / "params.yaml").write_text("a: \x07\n")
    assert door("folds").code == 2


# How often a module may name what prints, besides terminal.py, which shows all of it as text.
ALLOWED = {
    "__main__.py": ["sys.stdout"],  # closed there
    "images/decoding/worker.py": ["sys.stderr"],  # a file of its own, for its parent
    "benchmarks/step_memory_process.py": ["sys.stdout"],  # JSON for its parent
    "training/launch.py": ["logging.getLogger"],  # silenced there
    "tables/stratify.py": ["warnings.warn"],  # constant words
    "python_api/scoring.py": ["warnings.warn"],  # of a name as text
    "python_api/ensemble.py": ["warnings.warn"],  # of a value as text
    "core/python_processes.py": ["sys.stdout"],  # a fault, packed for the parent
}
PRINTERS = {"print", "pprint", "echo", "secho", "echo_via_pager", "style", "Console", "warn", "getLogger"}
STREAMS = {f"sys.{name}" for name in ("stdout", "stderr", "__stdout__", "__stderr__")}


def printers(tree: ast.AST) -> Iterator[str]:
    """What a module prints by, as it is written there."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names = {alias.name for alias in node.names}
            hidden = names & (PRINTERS | {"stdout", "stderr"}) if node.module != "rich.console" else set()
            yield from sorted(hidden)
        elif isinstance(node, ast.Attribute | ast.Name):
            text = ast.unparse(node)
            if text in STREAMS or text.rpartition(".")[2] in PRINTERS:
                yield text


@pytest.mark.parametrize("module", [str(path.relative_to(PACKAGE)) for path in sorted(PACKAGE.rglob("*.py"))])
def test_nobody_prints_but_the_one_that_shows_names_as_text(module: str) -> None:
    if module != "cli/terminal.py":
        tree = ast.parse((PACKAGE / module).read_bytes())
        assert list(printers(tree)) == ALLOWED.get(module, []), "print by terminal.print_lines or print_notes"


@pytest.mark.parametrize(
    "line",
    [
        "print(name)",
        "typer.echo(name)",
        "from typer import echo",
        "sys.stderr.write(name)",
        "out = sys.stdout",
        "from sys import stderr",
        "console.print(name)",
        "warnings.warn(name)",
        "click.secho(name)",
    ],
)
def test_who_prints_otherwise_is_found(line: str) -> None:
    assert list(printers(ast.parse(line)))
