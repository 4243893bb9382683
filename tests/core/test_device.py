"""Devices are chosen aloud, and randomness is a function of its keys."""

import pytest
import torch

from cxrscore.core.device import Machine, choose_machine, seeded
from cxrscore.core.errors import UserError


def test_a_device_that_is_not_there_is_an_error_not_a_silent_cpu() -> None:
    with pytest.raises(UserError, match="this machine has"):
        choose_machine("cuda:99")


@pytest.mark.parametrize(
    ("device", "dtype", "word"), [("gpu", "auto", "one of auto, cpu"), ("cpu", "int8", "one of auto, fp32")]
)
def test_an_unknown_word_names_the_known_ones(device: str, dtype: str, word: str) -> None:
    with pytest.raises(UserError, match=word):
        choose_machine(device, dtype)


def test_the_cpu_computes_in_fp32_unless_asked() -> None:
    assert choose_machine("cpu") == Machine(torch.device("cpu"), torch.float32)
    assert choose_machine("cpu", "bf16").dtype is torch.bfloat16


def test_seeded_draws_depend_on_the_keys_and_leave_the_outside_alone(cpu: Machine) -> None:
    before = torch.random.get_rng_state()
    with seeded(cpu, 1, 2):
        first = torch.rand(3)
    with seeded(cpu, 1, 2):
        again = torch.rand(3)
    with seeded(cpu, 2, 1):
        other = torch.rand(3)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.random.get_rng_state())
