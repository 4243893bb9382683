"""How a run computes is chosen by what was asked and what was measured, and stays chosen."""

import json
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from cxrscore.core.device import Machine
from cxrscore.core.user_cache import cache_folder
from cxrscore.scoring.compute_settings import (
    Recipe,
    choose_batch_size,
    choose_recipe,
    choose_scoring_machine,
    compiling_pays,
    interleaved,
    measure_merges,
)
from cxrscore.scoring.measurement_cache import recall, store

CPU = Machine(torch.device("cpu"), torch.float32)
MEASURED = {"eager_s": 1.0, "compiled_s": 0.6, "compile_s": 30.0}


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("CXRSCORE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def grouped() -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model("resnext26ts", pretrained=False, num_classes=0, global_pool="").eval()


def choose(compile: str, *, forwards: int) -> Recipe:
    return choose_recipe(
        "resnext26ts", grouped, CPU, size=64, batch_size=2, compile=compile, forwards=forwards
    )


def test_what_was_measured_is_there_for_the_next_run() -> None:
    assert recall("speed") is None
    store("speed", {"eager_s": 1.5})
    store("other", [1, 2])
    assert recall("speed") == {"eager_s": 1.5}
    assert recall("other") == [1, 2]


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", b"\xff\xfe"])
def test_a_damaged_store_is_as_good_as_none(damage: bytes) -> None:
    store("speed", 1)
    (cache_folder() / "measured.json").write_bytes(damage)
    assert recall("speed") is None
    store("speed", 2)
    assert recall("speed") == 2


def test_a_store_that_cannot_be_written_costs_only_time(cache: Path) -> None:
    cache.write_text("a file in the folder's place", encoding="utf-8")
    store("speed", 1)
    assert recall("speed") is None


@pytest.mark.parametrize(("compile", "expected"), [("on", True), ("off", False), ("auto", False)])
def test_compiling_is_as_asked_and_by_default_waits_for_a_measurement(compile: str, expected: bool) -> None:
    assert choose(compile, forwards=10**6).compile is expected


@pytest.mark.parametrize(("forwards", "pays"), [(100, False), (149, False), (151, True)])
def test_compiling_pays_where_it_saves_twice_what_it_costs(forwards: int, pays: bool) -> None:
    assert compiling_pays(MEASURED, forwards) is pays


def test_slower_compiled_models_are_never_chosen() -> None:
    assert not compiling_pays({"eager_s": 1.0, "compiled_s": 1.1, "compile_s": 0.0}, 10**9)


def test_merges_are_measured_once_and_then_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    first = choose("off", forwards=1)
    monkeypatch.setattr(
        "cxrscore.scoring.compute_settings.measure_merges", lambda *_, **__: pytest.fail("again")
    )
    assert choose("off", forwards=1) == first
    assert json.loads(json.dumps(first.as_json())) == first.as_json()


@pytest.mark.parametrize(("share", "factors"), [(0.9, set()), (0.86, set()), (0.5, {2})])
def test_a_merge_needs_a_plain_win(share: float, factors: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    def timed(works: list[object], device: torch.device, *, rounds: int) -> list[list[float]]:
        return [[1.0] * rounds, *([share] * rounds for _ in works[1:])]

    monkeypatch.setattr("cxrscore.scoring.compute_settings.interleaved", timed)
    assert set(measure_merges(grouped(), CPU, batch_size=1, size=64).values()) == factors


def test_works_are_timed_in_turn_after_a_round_that_does_not_count() -> None:
    called: list[str] = []
    works = [lambda: called.append("a"), lambda: called.append("b")]
    seconds = interleaved(works, CPU.device, rounds=2)
    assert called == ["a", "b"] * 3
    assert [len(times) for times in seconds] == [2, 2]


def test_scoring_takes_bf16_on_a_cpu_that_multiplies_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for native, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr("cxrscore.scoring.compute_settings._cpu_has_bf16", lambda native=native: native)
        assert choose_scoring_machine("cpu", "auto").dtype is dtype
        assert choose_scoring_machine("cpu", "fp32").dtype is torch.float32


@pytest.mark.parametrize(
    ("asked", "size", "batch"), [(None, 380, 16), (64, 380, 64), (4096, 380, 896), (4096, 760, 224)]
)
def test_a_batch_stays_within_what_convolutions_can_take(asked: int | None, size: int, batch: int) -> None:
    assert choose_batch_size(asked, CPU, size=size) == batch
