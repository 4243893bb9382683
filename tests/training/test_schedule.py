"""The course of the learning rate, against torch's own schedulers."""

import math

import pytest
import torch
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, StepLR

from cxrscore.training.schedule import lr_at, momentum_at


def test_the_rate_warms_up_linearly_then_follows_half_a_cosine() -> None:
    rates = [lr_at(step, warmup=4, total=12, peak=2.0) for step in range(12)]
    assert rates[:4] == [0.5, 1.0, 1.5, 2.0]
    assert rates[4:] == pytest.approx([1 + math.cos(math.pi * i / 8) for i in range(8)])


def test_without_warm_up_it_starts_at_the_peak() -> None:
    assert lr_at(0, warmup=0, total=5, peak=1.0) == 1.0


def courses(
    scheduler: LRScheduler, optimizer: torch.optim.Optimizer, steps: int
) -> list[tuple[float, float]]:
    """Rate and momentum (or first beta) of each step."""
    found = []
    for _ in range(steps):
        (group,) = optimizer.param_groups
        found.append((group["lr"], group["betas"][0] if "betas" in group else group["momentum"]))
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize(("every", "total"), [(30, 65), (1, 4), (7, 50)])
def test_steps_are_those_of_steplr(every: int, total: int) -> None:
    sgd = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.01, momentum=0.9)
    theirs = courses(StepLR(sgd, step_size=every, gamma=0.1), sgd, total)
    rates = [
        lr_at(step, schedule="step", warmup=0, every=every, total=total, peak=0.01) for step in range(total)
    ]
    assert rates == pytest.approx([rate for rate, _ in theirs], rel=1e-12)
    assert {momentum_at(step, schedule="step", total=total) for step in range(total)} == {None}


def test_steps_are_counted_from_the_first_and_the_rise_multiplies_them() -> None:
    rates = [lr_at(step, schedule="step", warmup=4, every=3, total=9, peak=1.0) for step in range(9)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01])


@pytest.mark.parametrize("total", [1, 2, 3, 4, 10, 97, 1000])
@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD])
def test_one_cycle_is_that_of_onecyclelr(kind: type[torch.optim.Optimizer], total: int) -> None:
    momentum = {"momentum": 0.9} if kind is torch.optim.SGD else {}
    optimizer = kind([torch.zeros(1, requires_grad=True)], lr=1.0, **momentum)
    theirs = courses(OneCycleLR(optimizer, max_lr=1e-4, total_steps=total + 1), optimizer, total)
    # one step more: their scheduler may not be asked for a rate beyond the last
    ours = [
        (
            lr_at(step, schedule="one_cycle", warmup=0, total=total + 1, peak=1e-4),
            momentum_at(step, schedule="one_cycle", total=total + 1),
        )
        for step in range(total)
    ]
    assert ours == [pytest.approx(pair, rel=1e-9) for pair in theirs]


def test_one_cycle_ends_where_onecyclelr_ends() -> None:
    total = 200
    rates = [lr_at(step, schedule="one_cycle", warmup=0, total=total, peak=1.0) for step in range(total)]
    momenta = [momentum_at(step, schedule="one_cycle", total=total) for step in range(total)]
    assert (rates[0], rates[59], rates[-1]) == pytest.approx((1 / 25, 1.0, 1 / 25e4))
    assert (momenta[0], momenta[59], momenta[-1]) == pytest.approx((0.95, 0.85, 0.95))
    assert max(rates) == rates[59]


def test_a_rate_that_has_been_divided_hundreds_of_times_is_zero_and_no_fault() -> None:
    assert lr_at(309, warmup=0, total=400, peak=1e-3, schedule="step", every=1) < 1e-300
