"""A personality takes hold: a variable that is misspelt, or that a new version renamed, changes nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from personalities import PERSONALITIES, main

PROBE = """
import json, locale, os, sys, time
from numpy.lib.introspect import opt_func_info
found = {}
if "ATEN_CPU_CAPABILITY" in os.environ:  # it takes seconds to import
    import torch
    found = {"torch": torch.backends.cpu.get_cpu_capability(), "threads": torch.get_num_threads()}
print(json.dumps(found | {
    "numpy": sorted({kind["current"] for one in opt_func_info().values() for kind in one.values()}),
    "locale": locale.setlocale(locale.LC_ALL, ""),
    "warns": sys.flags.warn_default_encoding,
    "zone": time.strftime("%z"),
    "hash": hash("a"),
}))
"""


def seen(name: str, tmp_path: Path, **environment: str) -> dict[str, object]:
    (tmp_path / "probe.py").write_text(PROBE, encoding="utf-8")
    command = [sys.executable, str(Path(__file__).with_name("personalities.py")), name, "probe"]
    environment = os.environ | environment | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_each_is_what_its_name_says(tmp_path: Path) -> None:
    found = seen("plain-torch+one-thread+no-avx+elsewhere", tmp_path)
    assert found["torch"] in ("DEFAULT", "NO AVX")
    assert found["threads"] == 1
    assert all(str(kind).startswith("baseline") for kind in found["numpy"])  # type: ignore[attr-defined]
    assert (found["locale"], found["warns"]) == ("C", 1)
    assert found["zone"] == "+0545"
    assert found["hash"] == seen("elsewhere", tmp_path)["hash"]


def test_what_was_switched_off_stays_so(tmp_path: Path) -> None:
    found = seen("no-avx", tmp_path, **PERSONALITIES["no-avx"]())
    assert all(str(kind).startswith("baseline") for kind in found["numpy"])  # type: ignore[attr-defined]


@pytest.mark.parametrize("words", [["another", "pytest"], ["no-avx+", "pytest"], ["--help"]], ids=str)
def test_an_unknown_name_is_told_with_those_there_are(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert "they are as-found, plain-torch, avx2, one-thread, no-avx, elsewhere." in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["no-avx"]], ids=str)
def test_without_a_module_each_is_explained(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    said = capsys.readouterr().err
    assert all(f"\n{name} " in said for name in PERSONALITIES)
