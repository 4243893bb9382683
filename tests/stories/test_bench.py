"""Every way that is measured does the same work, and a result says how much faster by the numbers in it."""

import ast
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY
from PIL import Image
from torch import nn

from cxrscore.__main__ import main
from cxrscore.bench import bench
from cxrscore.benchmarks import decode, forward, timm_baselines
from cxrscore.benchmarks.end_to_end import count_opens
from cxrscore.benchmarks.paired_timing import Timing, in_turn
from cxrscore.benchmarks.result_tables import text_blocks
from cxrscore.benchmarks.score_statistics import (
    LOOP,
    OURS,
    SKLEARN,
    one_resample,
    our_areas,
    our_resamples,
    prepared,
    random_scores,
    sklearn_areas,
)
from cxrscore.core.device import Machine
from cxrscore.core.errors import UserError
from cxrscore.core.import_closure import closure
from cxrscore.core.progress import Silent
from cxrscore.core.text_table import plain_text
from cxrscore.images.reading import read_image
from cxrscore.scoring.compute_settings import choose_recipe

ROOT = Path(__file__).parents[2]
Result = dict[str, Any]
QUICK = ("decode", "forward", "score", "train", "statistics")  # step-memory starts a process for each figure
SMALL: Result = {  # phantoms so small that no decoder takes a smaller scale: all see the same pixels
    "files": 3,
    "phantom_px": 100,
    "size": 32,
    "backbone": TINY,
    "batch_size": 2,
    "compile": "off",
    "workers": 0,
    "rounds": 1,
}


@pytest.fixture(scope="module", params=[QUICK, pytest.param(("all",), marks=pytest.mark.slow)], ids=" ".join)
def result(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The parts, once each. Read only."""
    found: Result = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        for part in request.param:
            found |= bench(part, SMALL, device="cpu", dtype="fp32", progress=Silent())
    rest = set() if request.param == QUICK else {"step-memory", "heads"}
    assert found.keys() == {"about", *QUICK} | rest
    return found


def lines(part: Result) -> Result:
    return {name: line for race in part["races"] for name, line in race["lines"].items()}


def test_every_way_is_timed_in_seconds_and_compared_with_what_people_write(result: Result) -> None:
    assert set(lines(result["decode"])) == {decode.PILLOW, decode.TORCHVISION, decode.OURS}
    assert {timm_baselines.PLAIN, forward.OURS} < set(lines(result["forward"]))
    assert forward.OURS_COMPILED not in lines(result["forward"])
    assert {"notebook loop", "cxrscore score"} < set(lines(result["score"]))
    steps, epochs = (set(race["lines"]) for race in result["train"]["races"])
    assert (steps, epochs) == ({"timm, bare loop", "cxrscore"}, {"notebook loop", "cxrscore train"})
    assert set(lines(result["statistics"])) == {SKLEARN, LOOP, OURS}
    for part in result.keys() - {"about"}:
        for race in result[part]["races"]:
            for line in race["lines"].values():
                assert 0 < line["seconds"]["low"] <= line["seconds"]["median"] <= line["seconds"]["high"]
                assert line["per_second"] == pytest.approx(race["count"] / line["seconds"]["median"])


def test_areas_and_resamples_are_those_of_the_loop_with_scikit_learn() -> None:
    made = random_scores(3000)
    np.testing.assert_allclose(our_areas(made), sklearn_areas(made), atol=1e-12)
    ours, loop = our_resamples(prepared(made), made.patient, 1)[:, 0], one_resample(made, 0)
    np.testing.assert_allclose(ours, loop, atol=1e-12)
    assert not np.isnan(loop).any()


def test_a_ratio_is_the_median_of_the_rounds_quotients() -> None:
    race = Timing("w", "image", 4, ["slow"], {"slow": [6.0, 8.0, 40.0], "fast": [2.0, 4.0, 4.0]})
    line = race.as_json()["lines"]["fast"]
    assert line["times"] == {"slow": {"median": 3.0, "low": 2.0, "high": 10.0}}
    assert line["seconds"] == {"median": 4.0, "low": 2.0, "high": 4.0}
    assert line["per_second"] == 1.0


def test_ways_take_turns_and_the_first_round_does_not_count() -> None:
    calls: list[str] = []
    works: dict[str, Callable[[], object]] = {name: partial(calls.append, name) for name in "ab"}
    seconds = in_turn(works, device=torch.device("cpu"), rounds=2, progress=Silent())
    assert calls == list("ababab")
    assert {name: len(times) for name, times in seconds.items()} == {"a": 2, "b": 2}


def test_the_decoders_give_nearly_the_same_pixels(result: Result) -> None:
    assert result["decode"]["facts"]["difference_of_255"]["JPEG"]["worst_file"] < 1


def test_all_three_decoders_read_a_png_and_files_they_cannot_read_are_counted(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 50), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:-50])
    part = decode.bench_decode(tmp_path, size=32, files=9, rounds=1, workers=0, progress=Silent())
    assert [race["what"] for race in part["races"]] == ["decode and resize to 32 px on one core, 1 PNG"]
    assert part["facts"]["files_that_one_of_the_three_cannot_read"] == 1
    data = (tmp_path / "a.png").read_bytes()
    ours = read_image(data, size=32).astype(float)
    tensor = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    assert np.abs(decode.by_pillow(data, size=32)[:, :, 0] - ours).mean() < 1
    assert np.abs(decode.by_torchvision(tensor, size=32)[0].numpy() - ours).mean() < 1


def test_a_folder_that_nobody_can_decode_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("<html>")
    with pytest.raises(UserError, match="no file there that all three decoders read"):
        decode.bench_decode(tmp_path, size=32, files=9, rounds=1, workers=0, progress=Silent())


def test_files_are_taken_evenly_from_a_folder() -> None:
    assert decode.evenly_spaced(list("abcdefg"), 3) == ["a", "d", "g"]
    assert decode.evenly_spaced(list("abc"), 9) == ["a", "b", "c"]


def test_our_forward_gives_the_probabilities_of_the_plain_one(result: Result) -> None:
    apart = result["forward"]["facts"]["largest_difference_from_fp32"][forward.OURS]
    assert apart < 5e-5  # 1.0e-5 seen, where no instruction multiplies and adds at once


def test_multiplications_are_counted_as_a_formula_gives_them() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1, groups=4))
    counted = forward.count_gmac(model, torch.zeros(1, 1, 10, 10, dtype=torch.uint8))
    assert counted == pytest.approx(100 * (8 * 3 * 9 + 8 * 2 * 9) / 1e9)


def test_the_notebook_loop_and_our_scorer_give_the_same_table(result: Result) -> None:
    assert result["score"]["facts"]["largest_difference_of_the_tables"] < 1e-3


def test_we_open_a_file_once_where_the_loop_opens_it_for_every_fold_and_flip(result: Result) -> None:
    assert result["score"]["facts"]["opens_of_a_file"] == {"notebook loop": 6, "cxrscore score": 1}


def test_opens_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"")
    assert count_opens(file, lambda: [file.read_bytes() for _ in range(3)]) == 3


def test_compile_auto_recalls_what_the_forwards_have_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cpu: Machine
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    race = Timing("w", "image", 2, [], {forward.OURS: [3.0], forward.OURS_COMPILED: [1.0]})
    forward.keep_for_auto(
        race, {"first_fold": 20.0, "next_fold": 5.0}, TINY, cpu, size=32, batch_size=2
    )  # 30 s for three folds, to save 2 s per forward pass

    def chosen(forwards: int) -> bool:
        return choose_recipe(
            TINY, nn.Identity, cpu, size=32, batch_size=2, compile="auto", forwards=forwards
        ).compile

    assert not chosen(30)
    assert chosen(31)  # 62 s saved, more than twice what compiling takes


def test_a_table_for_a_person_names_every_way_and_every_fact(result: Result) -> None:
    text = plain_text(text_blocks(result))
    for part in result.keys() - {"about"}:
        for name in [*lines(result[part]), *result[part]["facts"]]:
            assert name.replace("_", " ") in text.replace("_", " ")


def test_the_command_prints_json_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    words = ["bench", "forward", "--backbone", TINY, "--size", "32", "--batch-size", "2", "--rounds", "1"]
    monkeypatch.setattr(sys, "argv", ["cxrscore", *words, "--compile", "off", "--device", "cpu", "--json"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    result = json.loads(capsys.readouterr().out)
    assert set(result) == {"about", "forward"}
    (race,) = result["forward"]["races"]
    plain, ours = race["lines"][timm_baselines.PLAIN], race["lines"][forward.OURS]
    quotient = plain["seconds"]["median"] / ours["seconds"]["median"]  # of the only round
    assert ours["times"][timm_baselines.PLAIN]["median"] == pytest.approx(quotient)


def test_a_benchmark_loads_only_what_computes() -> None:
    """On a machine with a GPU there may be nothing else: see tests/programs/gpu.py."""
    loaded = set()
    for file in closure("cxrscore.bench"):
        for node in ast.parse((ROOT / file).read_bytes()).body:  # those inside functions may never be run
            if isinstance(node, ast.Import):
                loaded |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                loaded.add(str(node.module).split(".")[0])
    assert loaded - set(sys.stdlib_module_names) == {
        "PIL", "cxrscore", "numpy", "safetensors", "simplejpeg", "timm", "torch", "torchvision"
    }  # fmt: skip
