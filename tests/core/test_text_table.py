"""What a command prints: plain lines for pipes, and on a terminal tables that lose no character."""

import dataclasses
import io
import os
import pty
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console
from test_checkpoint import CARD

from cxrscore.ablation.table import table_blocks
from cxrscore.benchmarks.result_tables import text_blocks
from cxrscore.cli.evaluation_text import metrics_blocks
from cxrscore.cli.messages import facts_blocks
from cxrscore.cli.terminal import draw
from cxrscore.core.text_table import Block, TextTable, plain_text
from cxrscore.reseal import sealed_blocks

LONG = "a finding whose name is as long as names can be [red] in a table of somebody else"
SURE = {"value": 0.75, "low": 0.7, "high": 0.8}
RARE = {"value": 1.0, "low": None, "high": None, "why": "fewer than 5 patients show it, or do not"}
SHOWN = "macro of the findings shown often enough"
PAPERS = ("CR", "CF1", "OP", "OR", "OF1")


def statistics(*findings: str) -> dict[str, Any]:
    """What as_facts adds, where the last finding is rare and one figure of it undefined."""
    by_finding = dict.fromkeys(findings, SURE) | {findings[-1]: RARE, "macro": RARE, SHOWN: SURE}
    names = ("auc", "average_precision", "brier", "sensitivity_at_specificity_90")
    certain = {finding: one for finding, one in by_finding.items() if finding != findings[-1]}
    of_table = ("cp", "cr", "cf1", "op", "or", "of1", "ap_all", "subset_accuracy", "hamming_loss", "cp_top3")
    figures = dict.fromkeys(names, by_finding) | {"calibration_error": certain}
    return {
        "counts": {finding: {"patients_with": 4, "patients_without": 1200} for finding in findings},
        "labels_per_image": {"mean": 1.256, "median": 1.0, "maximum": 7},
        "images_per_label": {"mean": 120.5, "median": 99.5, "maximum": 300},
        "statistics": figures | {name: {"all findings": SURE} for name in of_table},
    }


METRICS = {
    "macro_auc": 0.75,
    "images": 1365,
    "findings_defined": 2,
    "patients": 447,
    "auc": {"Edema": 0.5, "Lung Opacity": 1.0},
    "views": {"macro_auc": 0.76},
    "folds": {"0": {"macro_auc": 0.7}, "1": {}, "mean": {"macro_auc": 0.7}},
    **statistics("Edema", "Lung Opacity"),
}
CHECKED = {"listed": 1200, "kinds": {"TRUNCATED": 3}, "turned_upright": 0, "shortest_side": None}
TIMES = {"median": 2.0, "low": 1.5, "high": 2.5}
BENCHED = {
    "about": {"device": "a CPU", "dtype": "bf16"},
    "decode": {
        "races": [
            {
                "what": "decoding",
                "unit": "image",
                "count": 4,
                "rounds": 5,
                "lines": {"ours": {"seconds": {"median": 0.01}, "per_second": 400.0, "times": {LONG: TIMES}}},
            }
        ],
        "facts": {"peak_mib": 3.0, "files": {"jpeg": 4}},
    },
}
ROW = {"macro_auc": 0.5, "folds": {"0": 0.5, "1": 0.51}, "seed_sd": 0.01, "parameters": 0, "ms": 0.0}
ENDS = {"macro_auc": 0.01, "low": -0.02, "high": 0.04}
ABLATED = {"heads": {"independent": ROW, LONG: ROW | {"difference": ENDS}}, "notes": [f"left out: {LONG}"]}
PRINTED: dict[str, list[Block]] = {
    "evaluate": metrics_blocks(METRICS | statistics("Edema", LONG)),
    "check": facts_blocks(CHECKED),
    "ablate": table_blocks(ABLATED),
    "bench": text_blocks(BENCHED),
    "reseal": sealed_blocks(dataclasses.asdict(CARD) | {"findings": ["a", LONG, "c"]}),
}


def drawn(blocks: list[Block], **console: Any) -> str:
    """What a terminal shows, without colours unless `console` asks for them."""
    file = io.StringIO()
    draw(blocks, Console(file=file, force_terminal=True, highlight=False, _environ={}, **console))
    return file.getvalue()


def letters(text: str) -> list[str]:
    """Every character but spaces and lines drawn: what has to be there, wherever rows are folded."""
    return sorted(re.sub(r"[\s─━]", "", re.sub(r"\x1b\[[0-9;]*m", "", text)))


def test_metrics_in_a_pipe_are_a_line_each() -> None:
    assert plain_text(metrics_blocks(METRICS)).splitlines() == [
        "                AUC   95 % interval     AP  Brier  cal. error  sensitivity  patients with  without",
        "Edema         0.750  0.700 to 0.800  0.750  0.750       0.750        0.750              4    1,200",
        "Lung Opacity  1.000            none  1.000  1.000   undefined        1.000              4    1,200",
        "mean          1.000            none  1.000  1.000       1.000        1.000",
        "AP: average precision; cal. error: 15 bins of equal width; sensitivity: at 90 % specificity",
        "no interval (fewer than 5 patients show it, or do not): Lung Opacity, mean",
        "",
        "called above 0.5  all labels   95 % interval      top 3   95 % interval",
        "CP                     0.750  0.700 to 0.800      0.750  0.700 to 0.800",
        *(f"{name:16s}       0.750  0.700 to 0.800  undefined                " for name in PAPERS),
        "These scores are not calibrated (mean calibration error 1.00), so 0.5 is an arbitrary threshold for "
        "them; `cxrscore score --calibrated` writes calibrated ones.",
        "",
        "mAP                    1.000            none",
        "AP_all                 0.750  0.700 to 0.800",
        "subset accuracy        0.750  0.700 to 0.800",
        "Hamming loss           0.750  0.700 to 0.800",
        "example-based F1   undefined                ",
        "micro-averaged F1  undefined                ",
        "macro-averaged F1  undefined                ",
        "no interval (fewer than 5 patients show it, or do not): mAP",
        "",
        "macro-AUC, out of fold, 2 folds pooled  0.7500  "
        "no interval: fewer than 5 patients show it, or do not  (2 findings, 1,365 images, 447 patients)",
        "of the 1 finding with an interval       0.750  0.700 to 0.800",
        "labels per image                        1.26  (median 1, at most 7)",
        "images per label                        120  (median 99.5, at most 300)",
        "with all views                          0.7600",
        "fold 0                                  0.7000",
        "fold 1                                  undefined",
        "fold mean                               0.7000",
    ]


def test_scores_that_are_calibrated_are_not_called_uncalibrated() -> None:
    figures = METRICS["statistics"] | {"calibration_error": {"macro": SURE | {"value": 0.1}}}  # type: ignore[operator]
    assert "calibrated ones" not in plain_text(metrics_blocks(METRICS | {"statistics": figures}))


def test_metrics_without_resamples_have_no_column_of_intervals() -> None:
    value = {"value": 0.75, "low": None, "high": None}
    bare = {name: dict.fromkeys(of, value) for name, of in METRICS["statistics"].items()}  # type: ignore[attr-defined]
    lines = plain_text(metrics_blocks(METRICS | {"statistics": bare})).splitlines()
    assert lines[1].split() == ["Edema", *["0.750"] * 5, "4", "1,200"]
    assert not any("interval" in line or "none" in line for line in lines)


def test_facts_in_a_pipe_are_a_line_each() -> None:
    assert plain_text(facts_blocks(CHECKED)) == "listed 1,200\n  TRUNCATED 3"


def test_a_race_in_a_pipe_has_columns_of_one_width() -> None:
    assert plain_text(text_blocks(BENCHED)).splitlines() == [
        "a CPU, bf16",
        "",
        "decoding; median of 5 rounds (lowest to highest)",
        "          ms/image    images/s  times as fast as a finding whose name ",
        "  ours         2.5      400.00                     2.00 (1.50 to 2.50)",
        "",
        "  peak mib: 3",
        "  files",
        "    jpeg: 4",
    ]


@pytest.mark.parametrize("command", PRINTED)
@pytest.mark.parametrize("width", [60, 120])
def test_a_terminal_shows_every_character_within_its_width(command: str, width: int) -> None:
    blocks = PRINTED[command]
    text = drawn(blocks, width=width, no_color=True)
    assert max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in text.splitlines()) <= width
    cells = [block if isinstance(block, str) else "".join(map("".join, block.rows)) for block in blocks]
    assert Counter(letters(text)) >= Counter(letters("".join(cells)))  # a part repeats the first column


HEADED = {
    "long headers": [
        ["head", *(f"a long header {i}" for i in range(9))],
        ["lamp", *(f"0.{i}2345" for i in range(9))],
    ],
    "a long word": [["", "a very-long-word", "n"], ["x", "1", "2.00_(1.50_to_2.50)"]],
    "a header longer than its column": [["finding", *"bcdef"], ["ab", *(f"0.{i}2345" for i in range(5))]],
    "wide letters": [["head", "b", "c"], ["肺水腫の所", "0.12345", "0.54321"]],
    "many folds": [["head", "macro-AUC", *"012", "parameters"], ["independent", *["0.8501"] * 4, "7"]],
}


@pytest.mark.parametrize("name", HEADED)
def test_no_number_of_a_table_is_broken_and_each_part_says_whose_it_is(name: str) -> None:
    rows = HEADED[name]
    for width in range(36, 141):
        text = drawn([TextTable(rows, headed=True)], width=width, no_color=True)
        lines = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
        bodies = [line.split() for line in lines if line.startswith(rows[1][0])]
        assert [cell for body in bodies for cell in body[1:]] == rows[1][1:], width
        assert max(map(cell_len, lines)) <= width
    assert len(bodies) == 1


@pytest.mark.parametrize("width", range(5, 36, 3))
def test_where_a_number_alone_is_too_wide_it_is_folded_and_not_cut(width: int) -> None:
    for rows in HEADED.values():
        text = drawn([TextTable(rows, headed=True)], width=width, no_color=True)
        assert Counter(letters(text)) >= Counter(letters("".join(map("".join, rows))))


@pytest.mark.parametrize("rows", [[], [["a"]], [["a", "b"]], [["a"], ["b"]], [["a", "b"], ["c"]]], ids=str)
@pytest.mark.parametrize("headed", [False, True])
def test_a_table_of_almost_nothing_is_drawn(rows: list[list[str]], headed: bool) -> None:
    assert letters(drawn([TextTable(rows, headed=headed)], width=40)) == letters("".join(map("".join, rows)))


ODD = (
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x1b\\",
    "\x9b2J",
    "a\x08b\r\x00\x7f\x85",
    "x\u202ey",
    "a\nmacro-AUC  0.9999",
)


@pytest.mark.parametrize("name", ODD, ids=ascii)
def test_a_name_moves_no_cursor_and_makes_no_line(name: str) -> None:
    shown = name.encode("unicode_escape").decode().replace("\\\\", "\\")
    blocks: list[Block] = [
        f"of {name}",
        TextTable([[name, "0.5"]]),
        TextTable([["", name], [name, "1"]], headed=True),
    ]
    for text in (drawn(blocks, width=80, no_color=True), plain_text(blocks)):
        assert not set(text) & set("\x9b\x08\r\x00\x7f\x85\u202e")
        assert "\x1b" not in re.sub(r"\x1b\[[0-9;]*m", "", text) and "\x1b[31m" not in text
        assert not any(line.startswith("macro-AUC") for line in text.splitlines())
        assert text.count(shown) >= 3


def test_a_header_is_told_apart_by_more_than_colour() -> None:
    table = TextTable([["head", "auc"], ["independent", "0.5"]], headed=True)
    lines = drawn([table], width=60, no_color=True).splitlines()
    assert set(lines[1].strip()) == {"─"} and "independent" in lines[2]
    assert not re.search(r"\x1b\[[0-9;]*3\dm", drawn([table], width=60, no_color=True)), "no colour"


@pytest.fixture
def scored(tmp_path: Path) -> list[str]:
    """A call that measures two scores."""
    (tmp_path / "scores.csv").write_text("Image_name,Edema\na,0.9\nb,0.1\n")
    (tmp_path / "labels.csv").write_text("Image_name,Edema\na,1\nb,0\n")
    return [sys.executable, "-m", "cxrscore", "evaluate", "--scores", "scores.csv", "--labels", "labels.csv"]


def on_a_terminal(words: list[str], folder: Path, **environment: str) -> str:
    """What the program writes to a terminal of 40 columns."""
    ours, theirs = pty.openpty()
    env = os.environ | {"TERM": "xterm", "COLUMNS": "40", "LANG": "C.UTF-8"} | environment
    with subprocess.Popen(words, cwd=folder, env=env, stdout=theirs, stderr=subprocess.DEVNULL) as process:
        os.close(theirs)
        text = b""
        try:
            while some := os.read(ours, 65536):
                text += some
        except OSError:  # how Linux tells that the other side is closed
            pass
    os.close(ours)
    assert process.returncode == 0
    return text.decode()


def test_with_stdout_closed_there_is_no_traceback(scored: list[str], tmp_path: Path) -> None:
    words = ["/bin/sh", "-c", 'exec "$@" >&-', "sh", *scored]
    done = subprocess.run(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


def test_the_same_command_writes_lines_to_a_pipe_and_a_table_to_a_terminal(
    scored: list[str], tmp_path: Path
) -> None:
    forced = os.environ | {"FORCE_COLOR": "1"}
    piped = subprocess.run(
        scored,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env=forced,
    ).stdout
    assert "\nEdema  1.000 " in piped
    few = "no interval: 1 of 1 findings is shown by, or not shown by fewer than 20 patients"
    assert f"\nmacro-AUC         1.0000  {few}  (1 finding, 2 images)\n" in piped
    shown = on_a_terminal(scored, tmp_path, NO_COLOR="1")
    assert shown != piped.replace("\n", "\r\n")
    assert Counter(letters(piped)) <= Counter(letters(shown))  # each part repeats the first column
    assert all(len(line) <= 40 for line in re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines())


def test_json_on_a_terminal_is_json(scored: list[str], tmp_path: Path) -> None:
    assert on_a_terminal([*scored, "--json"], tmp_path).startswith('{\r\n "macro_auc": 1.0,')
