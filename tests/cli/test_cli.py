"""The command line: exit codes, one line for a fault that a person can correct, the environment."""

import importlib
import importlib.util
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import version
from io import StringIO
from pathlib import Path

import pytest
import torch
from conftest import Call, Door, Project, contents, unseal
from rich.console import Console

import cxrscore
import cxrscore.cli.version as cli_version
from cxrscore.cli import slow_imports, terminal
from cxrscore.training.progress_lines import Outlook
from cxrscore.training.run_state import Course


def is_one_error(call: Call) -> bool:
    """Exit code 2, nothing on stdout; on stderr one line, behind what was being done."""
    *doing, last = call.err.splitlines()
    is_last = last.startswith("error: ") and not [line for line in doing if "error" in line]
    return call.code == 2 and not call.out and is_last


@pytest.mark.parametrize("word", ["--version", "-V"])
def test_the_version_comes_with_those_of_python_torch_and_timm_and_the_device(door: Door, word: str) -> None:
    call = door(word)
    assert (call.code, call.err) == (0, "")
    name, *others, device = call.out.splitlines()
    assert name == f"cxrscore {cxrscore.__version__}"
    assert others == [
        f"Python {platform.python_version()}",
        f"torch {torch.__version__.split('+')[0]}",
        f"timm {version('timm')}",
    ]
    assert device.startswith("device: ")


def test_the_version_without_a_driver_loads_no_torch() -> None:
    code = (
        "import sys; import cxrscore.cli.version as v; v.has_driver = lambda: False; "
        "print(v.version_lines()[-1]); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    device, loaded = done.stdout.splitlines()
    assert device.startswith("device: cpu (") and loaded == "False"


def test_the_version_names_the_gpu_that_torch_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_version, "DRIVER", "libc.so.6")  # any library that can be loaded
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU {index}")
    assert cli_version.version_lines()[-1] == "device: GPU 0 and 2 more"


def test_stages_by_command_write_what_the_functions_wrote(
    door: Door, project: Project, tmp_path: Path
) -> None:
    data = ["--labels", project.labels]
    assert door("prepare", *data, "--images", project.data / "images", "--workers", 0).code == 0
    assert door("folds", *data).code == 0
    assert door("train", *data, "--fold", 1).code == 0
    for other_fold in ("oof", "learned"):
        made = project.layout.root / other_fold
        shutil.copytree(made, tmp_path / "out" / other_fold, dirs_exist_ok=True)
    evaluated = door("evaluate", *data)
    assert evaluated.code == 0
    assert evaluated.out.splitlines()[-1].startswith("fold mean")
    written, expected = contents(tmp_path / "out"), contents(project.layout.root)
    assert written.keys() >= {"folds.csv", "models/fold1.safetensors", "oof/fold1.csv", "metrics.json"}
    assert written == {name: expected[name] for name in written}


def test_report_prints_where_the_page_is(door: Door, project: Project, tmp_path: Path) -> None:
    mine = project.copy_to(tmp_path)
    assert door("report", "--out", mine.layout.root) == (0, f"{mine.layout.report}\n", "")


def test_metrics_for_a_program_are_json(door: Door, project: Project) -> None:
    call = door("evaluate", "--labels", project.labels, "--out", project.layout.root, "--json")
    assert call.code == 0
    assert call.err.startswith("note: AUC undefined (only one class present): Fracture, Lung Lesion\n")
    found, metrics = json.loads(call.out), json.loads(project.layout.metrics.read_text())
    assert {name: found.pop(name) for name in metrics} == metrics
    assert set(found) == {"counts", "labels_per_image", "images_per_label", "statistics"}
    assert {
        name: one["value"] for name, one in found["statistics"]["auc"].items() if name in metrics["auc"]
    } == (metrics["auc"])
    assert all(
        one.keys() >= {"value", "low", "high"} for of in found["statistics"].values() for one in of.values()
    )


def test_intervals_can_be_left_out(door: Door, project: Project) -> None:
    words = ["evaluate", "--scores", project.layout.scores(0, views=False), "--labels", project.labels]
    assert "95 % interval" in door(*words, "--resamples", 100).out
    call = door(*words, "--resamples", 0)
    assert call.code == 0 and "interval" not in call.out
    assert door(*words, "--resamples", -1).code == 2


@pytest.mark.parametrize("few", [1, 2, 99])
@pytest.mark.parametrize("command", [["evaluate"], ["evaluate", "--by", "Sex"], ["test"]])
def test_intervals_of_a_few_resamples_are_refused(door: Door, command: list[str], few: int) -> None:
    call = door(*command, "--resamples", few)
    assert call.code == 2
    assert f"--resamples: {few}; a whole number from 100 to 100,000 was expected, or 0 for no" in call.err


def test_a_score_table_is_measured_without_a_project(door: Door, project: Project, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").unlink()
    oof = project.layout.scores(0, views=False)
    call = door("evaluate", "--scores", oof, "--labels", project.labels, "--json")
    rows = len(oof.read_text().splitlines()) - 1
    assert (call.code, json.loads(call.out)["images"]) == (0, rows)
    assert f"note: {40 - rows} of 40 labelled images without a score\n" in call.err


def test_scoring_tells_the_sum_and_exits_with_zero(door: Door, project: Project, tmp_path: Path) -> None:
    call = door("score", project.data / "test", "-o", "sub.csv", "--models", project.layout.models)
    assert (call.code, call.out) == (0, "")
    assert call.err.splitlines()[-1] == "8 listed = 8 scored + 0 quarantined"
    assert len((tmp_path / "sub.csv").read_text().splitlines()) == 9


@pytest.mark.parametrize(
    ("words", "views"),
    [
        ([], ["plain", "flip"]),
        (["--views", "flip"], ["plain", "flip"]),
        (["--views", "none"], ["plain"]),
        (["--views", "plain,zoom"], ["plain", "zoom"]),
    ],
    ids=["as trained", "flip", "none", "names"],
)
def test_views_are_named_one_by_one_or_by_the_old_words(
    door: Door, project: Project, tmp_path: Path, words: list[str], views: list[str]
) -> None:
    call = door("score", project.data / "test", "-o", "sub.csv", "--models", project.layout.models, *words)
    about = json.loads((tmp_path / "sub.csv.provenance.json").read_text())
    assert (call.code, about["run"]["views"]) == (0, views)


@pytest.mark.parametrize("word", ["zoom", "plain,plain", "plain,spin", "", "plain,"])
def test_views_that_are_none_are_refused_with_those_there_are(
    door: Door, project: Project, word: str
) -> None:
    call = door("score", project.data / "test", "-o", "sub.csv", "--views", word)
    assert call.code == 2
    assert "plain, flip, zoom, zoom_flip" in " ".join(call.err.replace("│", " ").split())


def test_a_quarantined_file_makes_the_exit_code_three(door: Door, project: Project, tmp_path: Path) -> None:
    shutil.copytree(project.data / "test", tmp_path / "images")
    (tmp_path / "images" / "bad.jpg").write_bytes(b"")
    call = door("score", "images", "-o", "sub.csv", "--models", project.layout.models)
    assert (call.code, call.out) == (3, "")
    assert "9 listed = 8 scored + 1 quarantined" in call.err
    assert "listed in sub.csv.errors.csv" in call.err
    assert "bad.jpg" not in call.err  # names stay in the file


def test_a_run_that_stops_says_why_and_last_how_to_go_on(
    door: Door, project: Project, tmp_path: Path
) -> None:
    shutil.copytree(project.data / "test", tmp_path / "my images")
    (tmp_path / "my images" / "bad.jpg").write_bytes(b"")
    words = ["score", "my images", "-o", "sub.csv", "--models", project.layout.models, "--max-errors", 0]
    call = door(*words, "--overwrite")
    assert (call.code, call.out) == (4, "")
    *_, why, command = call.err.splitlines()
    assert "1 file cannot be scored (1 EMPTY_FILE), more than --max-errors 0" in why
    assert "bad.jpg" not in call.err
    again = shlex.split(command)
    assert again == ["cxrscore", *map(str, words), "--resume", "--max-errors", "9"]
    (tmp_path / "my images" / "bad.jpg").unlink()
    call = door(*again[1:])
    assert is_one_error(call) and "1 fewer (bad.jpg)" in call.err
    call = door(*words, "--overwrite")
    assert call.code == 0 and not (tmp_path / "sub.csv.journal").exists()


def test_a_check_before_a_run_and_a_verification_after_it(
    door: Door, project: Project, tmp_path: Path
) -> None:
    shutil.copytree(project.data / "test", tmp_path / "images")
    assert door("check", "images").out.splitlines()[:3] == ["listed 8", "readable 8", "quarantined 0"]
    (tmp_path / "images" / "bad.jpg").write_bytes(b"")
    call = door("check", "images", "--json", "-o", "faults.csv")
    assert (call.code, json.loads(call.out)["kinds"]) == (3, {"EMPTY_FILE": 1})
    assert "bad.jpg" in (tmp_path / "faults.csv").read_text()
    assert door("score", "images", "-o", "sub.csv", "--models", project.layout.models).code == 3
    words = ["verify", "sub.csv", "--models", project.layout.models, "--input", "images"]
    call = door(*words)
    assert call.code == 0 and [line[:3] for line in call.out.splitlines()] == ["OK "] * 5
    (tmp_path / "images" / "bad.jpg").write_bytes(b"x")
    call = door(*words)
    assert call.code == 1 and "     1 file changed: SHA-256 does not match: bad.jpg" in call.out


def test_an_unsealed_model_scores_once_it_is_resealed(door: Door, project: Project, tmp_path: Path) -> None:
    for name in ("old", "new"):
        shutil.copytree(project.layout.models, tmp_path / name)
    unseal(tmp_path / "old" / "fold0.safetensors")
    (tmp_path / "new" / "fold0.safetensors").unlink()
    words = ["score", project.data / "test", "-o", "sub.csv", "--models"]
    call = door(*words, "old")
    assert is_one_error(call)
    assert "`cxrscore reseal old/fold0.safetensors -o NEW`" in call.err
    call = door("reseal", "old/fold0.safetensors", "-o", "new/fold0.safetensors")
    assert (call.code, call.err) == (0, "")
    findings = [line[6:].rpartition("  ")[0] for line in call.out.splitlines()[-14:]]
    assert findings == project.params.labels.findings
    assert door(*words, "new").code == 0
    call = door("reseal", "old/fold0.safetensors", "-o", "new/fold0.safetensors", "--overwrite", "--json")
    assert json.loads(call.out)["findings"] == findings
    assert is_one_error(door("reseal", "new/fold0.safetensors", "-o", "newer.safetensors"))


def test_two_finding_names_that_changed_places_score_nothing(
    door: Door, project: Project, tmp_path: Path
) -> None:
    models = Path(shutil.copytree(project.layout.models, tmp_path / "models"))
    for path in models.iterdir():
        data = path.read_bytes()
        swapped = data.replace(b"Edema", b"#####", 1).replace(b"Pneumonia", b"=========", 1)
        path.write_bytes(swapped.replace(b"#####", b"Pneumonia", 1).replace(b"=========", b"Edema", 1))
        assert len(path.read_bytes()) == len(data)
    call = door("score", project.data / "test", "-o", "sub.csv", "--models", "models")
    assert is_one_error(call)
    assert "its facts do not match their SHA-256" in call.err
    assert not list(tmp_path.glob("sub.csv*"))


@pytest.mark.parametrize(
    "words",
    [
        ["score", "nowhere", "-o", "sub.csv"],
        ["check", "nowhere"],
        ["verify", "nowhere.csv"],
        ["reseal", "none.safetensors", "-o", "new.safetensors"],
        ["weights", "convert", "none.pth", "new.safetensors", "--backbone", "test_resnet"],
        ["train", "--fold", "0", "--params", "none.yaml"],
        ["train", "--fold", "0"],
        ["prepare"],
        ["folds"],
        ["evaluate"],
        ["report"],
        ["phantom"],
        ["init", "new", "--labels", "none.csv", "--images", "none"],
        ["data", "use", "--labels", "none.csv", "--images", "none"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_a_fault_to_mend_is_one_line_and_writes_nothing(door: Door, tmp_path: Path, words: list[str]) -> None:
    before = contents(tmp_path)
    assert is_one_error(door(*words))
    assert contents(tmp_path) == before


def test_an_existing_output_is_kept(door: Door, project: Project, tmp_path: Path) -> None:
    (tmp_path / "sub.csv").write_text("mine")
    call = door("score", project.data / "test", "-o", "sub.csv", "--models", project.layout.models)
    assert is_one_error(call)
    assert "--overwrite" in call.err
    assert (tmp_path / "sub.csv").read_text() == "mine"


@pytest.mark.parametrize("folds", ["0,x", "0,0", "", "-1", "0;1"])
def test_folds_that_are_no_numbers_are_refused(
    door: Door, project: Project, tmp_path: Path, folds: str
) -> None:
    call = door(
        "score", project.data / "test", "-o", "sub.csv", "--models", project.layout.models, "--folds", folds
    )
    assert call.code == 2
    assert "list distinct fold numbers, such as 0,2 (separated by commas)" in " ".join(call.err.split())
    assert "Traceback" not in call.err
    assert not (tmp_path / "sub.csv").exists()


def test_chosen_folds_reach_the_scorer(door: Door, project: Project, tmp_path: Path) -> None:
    words = ["score", project.data / "test", "--models", project.layout.models]
    for name, folds in (("0.csv", "0"), ("01.csv", "0,1"), ("10.csv", "1,0")):
        assert door(*words, "-o", name, "--folds", folds).code == 0
    tables = [(tmp_path / name).read_bytes() for name in ("0.csv", "01.csv", "10.csv")]
    assert tables[0] != tables[1] == tables[2]


def test_the_device_is_read_from_the_environment(
    door: Door, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXRSCORE_DEVICE", "toaster")
    words = ["score", project.data / "test", "-o", "sub.csv", "--models", project.layout.models]
    call = door(*words)
    assert is_one_error(call)
    assert "--device toaster" in call.err
    assert door(*words, "--device", "cpu").code == 0


def test_a_closed_stdout_is_no_crash(project: Project, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    oof = project.layout.scores(0, views=False)
    words = ["evaluate", "--scores", oof, "--labels", project.labels, "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "cxrscore", *words],
        cwd=tmp_path,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if not line.startswith(("note: ", "loading "))] == []


def test_in_a_locale_without_utf8_a_tables_names_still_meet_their_files(
    phantoms: Path, tmp_path: Path
) -> None:
    names = ["é.jpg", "e\u0301.jpg", "日本.jpg"]
    for name, image in zip(names, sorted((phantoms / "images").iterdir()), strict=False):
        shutil.copy(image, tmp_path / name)
    (tmp_path / "list.csv").write_text("\n".join(["path", *names]) + "\n", encoding="utf-8")
    ascii_only = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "cxrscore", "check", "list.csv", "--json", "--workers", "0"]
    done = subprocess.run(command, cwd=tmp_path, env=ascii_only, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)["readable"] == 3


BEFORE_IT_LOADS = """
import os
from cxrscore.cli import slow_imports
usual = slow_imports.print_notes
def said(line):
    usual(line)
    os._exit(line != "loading PyTorch")
slow_imports.print_notes = said
from cxrscore.__main__ import main
main()
"""


@pytest.mark.parametrize("command", ["train", "score", "bench"])
def test_the_first_line_comes_before_torch_is_loaded(project: Project, command: str) -> None:
    stage = ["--labels", project.labels, "--out", project.layout.root]
    words = {
        "train": ["--fold", 0, *stage, "--params", project.layout.root.with_name("params.yaml")],
        "score": [project.data / "test", "-o", "sub.csv"],
        "bench": ["decode"],
    }
    done = subprocess.run(
        [sys.executable, "-c", BEFORE_IT_LOADS, command, *map(str, words[command])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "loading PyTorch\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["score", "nope", "-o", "sub.csv"], "error: nope: No such file or directory; give a folder"),
        (["score", ".", "-o", "b.csv", "--format", "parquet"], "--format is parquet"),
        (["verify", "sub.csv"], "error: sub.csv.provenance.json: no such file"),
        (["evaluate", "--scores", "sub.csv"], "error: sub.csv: No such file or directory; a CSV"),
    ],
    ids=["input", "format", "provenance", "scores"],
)
def test_what_is_known_early_is_refused_before_a_library_is_loaded(
    tmp_path: Path, words: list[str], said: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cxrscore", *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and said in done.stderr
    assert "loading" not in done.stderr
    assert contents(tmp_path) == {}


def test_a_slow_library_is_told_of_once_and_only_where_it_is_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(slow_imports, "SLOW", {"colorsys": "Colours", "sndhdr": "Sounds", "this": "Zen"})
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    for name in slow_imports.SLOW:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setenv("RANK", "1")
    slow_imports.tell_of_slow_imports()
    assert not [one for one in sys.meta_path if isinstance(one, slow_imports._Telling)]
    monkeypatch.delenv("RANK")
    slow_imports.tell_of_slow_imports()
    assert importlib.util.find_spec("colorsys")
    assert capsys.readouterr().err == ""
    importlib.import_module("colorsys")
    assert capsys.readouterr().err == "loading Colours\n"
    importlib.import_module("this")
    assert capsys.readouterr().err == ""


def test_a_library_that_is_loaded_after_seconds_of_waiting_gets_a_line_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A torch that takes 5 s, and imports a timm, a scipy and a torchvision that take none."""
    now = [0.0]
    monkeypatch.setattr(slow_imports.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for name in ("torch", "timm", "scipy", "torchvision"):
        (tmp_path / f"{name}.py").write_text("")
    for name in slow_imports.SLOW:
        monkeypatch.delitem(sys.modules, name, raising=False)
    slow_imports.tell_of_slow_imports()
    lines = []
    for name, seconds in (("torch", 5.0), ("scipy", 5.0), ("timm", 0.5), ("torchvision", 0.0)):
        importlib.import_module(name)
        lines += capsys.readouterr().err.splitlines()
        now[0] += seconds
    assert lines == ["loading PyTorch", "loading timm"]


def test_a_live_bar_of_80_columns_holds_all_that_a_training_says() -> None:
    file = StringIO()
    bar = terminal._Bar(Console(file=file, force_terminal=True, width=80, color_system=None))
    outlook = Outlook(30, 8, 1, [0, 1, 2], 2, [3000.0])
    course = Course(epoch=11, step=10, best={"epoch": 3, "macro_auc": 0.81234})
    note = outlook.note(0.1234, course, share=0.5, epoch_s=190.0)
    bar.start(f"{outlook}, validation of epoch 12", 90_720)
    bar.advance(45_360, "123.4/s", "3 min 20 s left", note)
    bar.live.refresh()
    bar.close()
    lines = [re.sub(r"\x1b\[[0-9?]*[a-zA-Z]|\r", "", line).rstrip() for line in file.getvalue().splitlines()]
    shown = [line for line in lines if "fold 1 (2 of 3), validation of epoch 12 " in line]
    assert "45360/90720 123.4/s 3 min 20 s left" in shown[-1] and len(shown[-1]) <= 80
    assert "loss 0.123; best macro-AUC 0.8123; left: fold 58 min 35 s, all folds 4 h 9 min" in lines


def test_in_a_pipe_work_is_told_of_only_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: seconds[0])
    progress = terminal.Terminal()
    for quiet, lines in (({}, 4), ({"quiet_s": 180.0}, 0), ({"quiet_s": 60.0}, 2)):
        progress.start("work", 240, **quiet)
        for _ in range(120):
            seconds[0] += 1.0
            progress.advance(2, "a note")
        assert len(capsys.readouterr().err.splitlines()) == lines
    progress.start("work", 400)
    seconds[0] += 100.0
    progress.advance(100, "a note")
    assert capsys.readouterr().err == "work: 100 of 400, 1.0/s, 5 min left; a note\n"
