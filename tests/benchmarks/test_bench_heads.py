"""What a head costs beside the independent one: its parameters exactly, its time in turn with the others."""

from typing import Any

import pytest
import torch
from conftest import COUPLING, TINY

from cxrscore.bench import bench
from cxrscore.benchmarks.head_training import step_bytes, step_seconds
from cxrscore.benchmarks.heads import Cost, build_heads, costs, head_costs
from cxrscore.benchmarks.result_tables import text_blocks
from cxrscore.core.progress import Silent
from cxrscore.core.text_table import plain_text
from cxrscore.model.head_variants import DEFAULT, settings_of

FINDINGS = ("Edema", "Fracture", "Pneumonia")
SMALL: dict[str, Any] = {"size": 32, "backbone": TINY, "batch_size": 2, "compile": "off", "rounds": 1}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    return bench("heads", SMALL, device="cpu", dtype="fp32", progress=Silent())["heads"]


def test_parameters_are_counted_from_the_heads_themselves() -> None:
    variants = settings_of(["independent", "independent-gmp", "coupling", "coupling-conditional"], COUPLING)
    found = head_costs(variants, torch.rand(2, 8, 3, 3), findings=FINDINGS, rounds=1, progress=Silent())
    low_rank = 4 * (8 + 1) + 2 * 4 * 3  # the gates' layer, and u and v
    assert {name: cost.parameters for name, cost in found.items()} == {
        "independent": 0,
        "independent-gmp": 0,
        "coupling": 3 * 3,
        "coupling-conditional": 3 * 3 + low_rank,
    }
    assert found["independent"].ms == 0


def test_a_time_is_the_median_of_the_turns_differences_for_one_image() -> None:
    heads = build_heads(settings_of(["independent", "coupling"], COUPLING), FINDINGS, channels=8, device=CPU)
    seconds = {"independent": [0.010, 0.900, 0.012], "coupling": [0.014, 0.908, 0.022]}
    found = costs(heads, seconds, images=4)
    assert found["coupling"] == Cost(9, pytest.approx(2.0))
    assert found["independent"] == Cost(0, 0.0)


def test_a_slower_head_takes_longer() -> None:
    """Couplings of 40 steps."""
    variants = settings_of(["independent", "coupling-steps"], COUPLING)
    variants["coupling-steps"]["steps"] = 40
    found = head_costs(variants, torch.rand(4, 8, 3, 3), findings=FINDINGS, rounds=1, progress=Silent())
    assert found["coupling-steps"].ms > 0


def test_heads_are_built_as_they_score(cpu: Any) -> None:
    (head,) = build_heads(
        settings_of(["coupling-centred"], COUPLING), FINDINGS, channels=8, device=CPU
    ).values()
    assert not head.training and not any(parameter.requires_grad for parameter in head.parameters())
    assert bool((head.prevalence > 0).all())  # it has begun with labels


def test_the_benchmark_tells_each_heads_share_of_the_backbones_time(result: dict[str, Any]) -> None:
    backbone, heads, _ = result["races"]
    assert (list(backbone["lines"]), heads["lines"]["coupling"]["times"].keys()) == (
        ["backbone"],
        {"independent"},
    )
    parameters, ms, percent, *_ = result["facts"].values()
    backbone_ms = 1e3 * backbone["lines"]["backbone"]["seconds"]["median"] / backbone["count"]
    assert parameters["coupling"] == 14 * 14
    assert percent == {name: pytest.approx(100 * more / backbone_ms) for name, more in ms.items()}
    assert heads["what"].endswith("fp32, row by row")


def test_small_times_keep_their_digits(result: dict[str, Any]) -> None:
    text = plain_text(text_blocks({"about": {}, "heads": result}))
    line = next(line for line in text.splitlines() if line.startswith("  coupling  "))
    expected = 1e3 * result["races"][1]["lines"]["coupling"]["seconds"]["median"] / 2
    assert float(line.split()[1]) == pytest.approx(expected, rel=1e-3)


def test_a_training_step_keeps_what_the_backward_pass_needs_and_the_optimizers_share() -> None:
    """Of a linear layer on pooled maps: the pooled features, and the loss's logits and labels."""
    variants = settings_of(["independent", "coupling"], COUPLING | {"dropout": 0.0})
    heads = build_heads(variants, FINDINGS, channels=8, device=CPU)
    features = torch.rand(4, 8, 3, 3)
    kept = step_bytes(heads, features, findings=3)
    pooled, logits = 4 * 8 * 4, 4 * 3 * 4
    own = kept["independent"] - 16 * (8 * 3 + 3)
    assert pooled + logits <= own <= pooled + 4 * logits
    assert kept["coupling"] - kept["independent"] >= 16 * 3 * 3 + 2 * logits  # A; p and the message
    seconds = step_seconds(heads, features, findings=3, rounds=2, progress=Silent())
    assert {name: len(found) for name, found in seconds.items()} == {"independent": 2, "coupling": 2}
    assert all(parameter.grad is None for head in heads.values() for parameter in head.parameters())


def test_the_benchmark_tells_what_training_with_a_head_costs(result: dict[str, Any]) -> None:
    names = set(settings_of(DEFAULT, COUPLING)) - {"independent"}
    for fact in ("training_ms_per_image_more_than_independent", "training_mib_more_than_independent"):
        assert set(result["facts"][fact]) == names
    assert result["facts"]["training_mib_more_than_independent"]["lamp-fc"] > 1
