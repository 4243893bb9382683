"""One training step: the optimizer, the average, clipping, and steps that must not count."""

import dataclasses
import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from conftest import COUPLING, TINY
from torch import nn

from cxrscore.core.device import Machine, seeded
from cxrscore.core.errors import UserError
from cxrscore.model.heads.registry import head_settings
from cxrscore.model.loss import asymmetric_loss
from cxrscore.model.network import CXRModel, build_model
from cxrscore.training.learner import Learner

LOSS = partial(asymmetric_loss, gamma_neg=4.0, gamma_pos=0.0, clip=0.05)
SETTINGS = {"weight_decay": 1e-4, "clip_norm": 1.0, "ema_decay": 0.9}


def batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    gray = torch.randint(0, 256, (4, 1, 32, 32), generator=generator).float()
    y = torch.randint(0, 2, (4, 3), generator=generator).float()
    return gray, y, torch.ones(4, 3, dtype=torch.bool)


def test_the_average_follows_timms_warm_up(tiny_model: CXRModel, cpu: Machine) -> None:
    learner = Learner(tiny_model, LOSS, cpu, **SETTINGS)
    average = tiny_model.head.classifier.weight.detach().clone()
    for step in range(3):
        learner.step(*batch(step), lr=1e-3, keys=(0, step))
        decay = min(0.9, 1 - (1 + step) ** (-2 / 3))
        average = decay * average + (1 - decay) * tiny_model.head.classifier.weight.detach()
    assert torch.allclose(learner.ema.module.head.classifier.weight, average, atol=1e-7)


def test_without_warm_up_the_average_has_its_decay_from_the_first_step(
    tiny_model: CXRModel, cpu: Machine
) -> None:
    learner = Learner(tiny_model, LOSS, cpu, **SETTINGS, ema_warmup=False)
    averages = {name: tensor.clone() for name, tensor in learner.averaged.state_dict().items()}
    for step in range(3):
        learner.step(*batch(step), lr=1e-3, keys=(0, step))
        for name, now in tiny_model.state_dict().items():
            averages[name] = 0.9 * averages[name] + 0.1 * now if now.is_floating_point() else now.clone()
    found = learner.averaged.state_dict()
    assert any("running_mean" in name for name in found)
    assert all(torch.allclose(found[name], averages[name], atol=1e-6) for name in averages)


REFERENCES = {
    "adamw": lambda groups: torch.optim.AdamW(groups, lr=1e-3, weight_decay=0.1, foreach=False),
    "adam": lambda groups: torch.optim.Adam(groups, lr=1e-3, weight_decay=0.1, foreach=False),
    "sgd": lambda groups: torch.optim.SGD(groups, lr=1e-3, weight_decay=0.1, momentum=0.9, foreach=False),
}


@pytest.mark.parametrize("optimizer", REFERENCES)
def test_a_step_is_that_of_torchs_optimizer(cpu: Machine, optimizer: str) -> None:
    """Adam and SGD have the decay within the gradient; the couplings have none."""
    learner = Learner(of(cpu), LOSS, cpu, **SETTINGS | {"weight_decay": 0.1}, optimizer=optimizer)
    mine = dict(learner.model.named_parameters())
    theirs = {name: p.detach().clone().requires_grad_() for name, p in mine.items()}
    couplings = {"params": [theirs["head.A"]], "weight_decay": 0.0}
    rest = [p for name, p in theirs.items() if name != "head.A"]
    reference = REFERENCES[optimizer]([{"params": rest}, couplings])

    def follow(*_: object) -> None:
        for name, p in theirs.items():
            p.grad = mine[name].grad.clone()
        reference.step()

    learner.optimizer.register_step_pre_hook(follow)
    for step in range(3):
        learner.step(*batch(step), lr=1e-3, keys=(0, step))
    assert all(torch.allclose(mine[name], theirs[name], atol=1e-6) for name in theirs)


@pytest.mark.parametrize("optimizer", REFERENCES)
def test_a_steps_momentum_reaches_every_group(cpu: Machine, optimizer: str) -> None:
    learner = Learner(of(cpu), LOSS, cpu, **SETTINGS, optimizer=optimizer)
    learner.step(*batch(), lr=1e-3, keys=(0,), momentum=0.87)
    groups = learner.optimizer.param_groups
    assert {group["betas"][0] if "betas" in group else group["momentum"] for group in groups} == {0.87}
    assert {group["betas"][1] for group in groups if "betas" in group} <= {0.999}


@pytest.mark.parametrize("optimizer", REFERENCES)
def test_a_backbone_that_thaws_joins_the_steps(cpu: Machine, optimizer: str) -> None:
    """Its parameters have no state yet when the head's have."""
    learner = Learner(of(cpu), LOSS, cpu, **SETTINGS, optimizer=optimizer)
    learner.train_head_alone(True)
    weights_after(learner)
    learner.train_head_alone(False)
    before = weights_after(learner, 1)
    after = weights_after(learner, 1)
    moved = [not torch.equal(before[name], after[name]) for name in before if name.startswith("model.")]
    assert any(moved)
    assert all(tensor.isfinite().all() for tensor in after.values())


def test_gradients_are_clipped_to_the_norm(
    tiny_model: CXRModel, cpu: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = Learner(tiny_model, lambda *args: 1e4 * LOSS(*args), cpu, **SETTINGS)
    norms = []

    def look(*_: object) -> None:
        norms.append(
            float(nn.utils.get_total_norm(p.grad for p in tiny_model.parameters() if p.grad is not None))
        )

    learner.optimizer.register_step_pre_hook(look)
    learner.step(*batch(), lr=1e-3, keys=(0,))
    assert norms == [pytest.approx(1.0, rel=1e-4)]


def state(learner: Learner) -> list[torch.Tensor]:
    """Weights and batch-norm statistics of the model and of its average."""
    modules = (learner.model, learner.averaged)
    return [tensor.clone() for module in modules for tensor in module.state_dict().values()]


def explode(logits: torch.Tensor, y: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """A finite loss with gradients that are not: the slope of a root at 0."""
    return (logits * 0).sqrt().sum() + LOSS(logits, y, mask)


@pytest.mark.parametrize("fault", ["pixel", "loss", "gradient"])
def test_what_is_not_finite_changes_nothing_and_is_counted(
    tiny_model: CXRModel, cpu: Machine, fault: str
) -> None:
    losses = {"pixel": LOSS, "loss": lambda *args: LOSS(*args) * math.nan, "gradient": explode}
    learner = Learner(tiny_model, losses[fault], cpu, **SETTINGS)
    gray, y, mask = batch()
    if fault == "pixel":
        gray[1, 0, 3, 3] = math.inf
    before = state(learner)
    loss = learner.step(gray, y, mask, lr=1e-3, keys=(0,))
    assert math.isfinite(loss) == (fault == "gradient")
    assert (learner.skipped, learner.skipped_in_a_row, learner.steps) == (1, 1, 0)
    assert all(torch.equal(a, b) for a, b in zip(before, state(learner), strict=True))


def test_a_step_that_fp16_refuses_is_skipped_until_the_scale_fits(tiny_model: CXRModel) -> None:
    machine = Machine(torch.device("cpu"), torch.float16)
    learner = Learner(tiny_model, lambda *args: 1e3 * LOSS(*args), machine, **SETTINGS)
    for step in range(40):
        learner.step(*batch(), lr=1e-4, keys=(step,))
    assert learner.skipped > 0
    assert learner.steps > 0
    assert learner.steps + learner.skipped == 40
    assert all(p.isfinite().all() for p in learner.averaged.parameters())


def test_the_couplings_move_at_their_own_rate_without_decay(tiny_model: CXRModel, cpu: Machine) -> None:
    tiny_model.head.settings = replace(tiny_model.head.settings, lr_scale=0.0)
    with torch.no_grad():
        tiny_model.head.A.fill_(0.5)
    learner = Learner(tiny_model, LOSS, cpu, **SETTINGS)
    learner.step(*batch(), lr=1e-1, keys=(0,))
    assert (tiny_model.head.A == 0.5).all()


def test_a_step_is_a_function_of_its_keys(cpu: Machine, tiny_model: CXRModel) -> None:
    import copy

    other = copy.deepcopy(tiny_model)
    losses = []
    for model in (tiny_model, other):
        torch.rand(7)  # whatever was drawn outside does not matter
        losses.append(Learner(model, LOSS, cpu, **SETTINGS).step(*batch(), lr=1e-3, keys=(1, 2, 3)))
    assert losses[0] == losses[1]
    assert all(torch.equal(a, b) for a, b in zip(tiny_model.parameters(), other.parameters(), strict=True))


def weights_after(learner: Learner, steps: int = 3) -> dict[str, torch.Tensor]:
    for step in range(steps):
        learner.step(*batch(step), lr=1e-3, keys=(0, step))
    return {name: tensor.clone() for name, tensor in learner.tensors().items()}


def of(cpu: Machine, name: str = TINY, *, dropout: float = 0.0) -> CXRModel:
    with seeded(cpu, 0):
        return build_model(
            name, init="none", findings=3, head=head_settings(COUPLING | {"dropout": dropout}), size=32
        )


def test_passes_over_parts_of_a_batch_add_up_to_the_batch(cpu: Machine) -> None:
    """Of a backbone without batch norm, which sees a part."""
    whole, parts = (Learner(of(cpu, "test_convnext"), LOSS, cpu, **SETTINGS, parts=parts) for parts in (1, 2))
    gradients: list[list[torch.Tensor]] = []
    for learner in (whole, parts):

        def look(*_: object, learner: Learner = learner) -> None:
            gradients.append([p.grad.clone() for p in learner.model.parameters() if p.grad is not None])

        learner.optimizer.register_step_pre_hook(look)
    losses = [learner.step(*batch(), lr=1e-3, keys=(0,)) for learner in (whole, parts)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*gradients, strict=True))


def test_batch_norm_sees_a_part(cpu: Machine) -> None:
    learner = Learner(of(cpu), LOSS, cpu, **SETTINGS, parts=2)
    learner.step(*batch(), lr=1e-3, keys=(0,))
    assert learner.model.backbone.bn1.num_batches_tracked == 2


@pytest.mark.parametrize("parts", [1, 2])
def test_gradient_checkpointing_changes_no_bit(cpu: Machine, parts: int) -> None:
    """Batch-norm statistics included, which the pass that is computed again would move twice."""
    machines = (cpu, dataclasses.replace(cpu, checkpointing=True))
    plain, again = (
        weights_after(Learner(of(m, dropout=0.3), LOSS, m, **SETTINGS, parts=parts)) for m in machines
    )
    assert all(torch.equal(plain[name], again[name]) for name in plain)


def test_a_backbone_that_cannot_checkpoint_is_told_so(cpu: Machine) -> None:
    machine, model = dataclasses.replace(cpu, checkpointing=True), of(cpu)
    model.backbone = nn.Sequential(model.backbone)
    with pytest.raises(UserError, match="--checkpointing: this backbone does not support it"):
        Learner(model, LOSS, machine, **SETTINGS)


def test_with_the_head_alone_the_backbone_stays_as_it_is(cpu: Machine) -> None:
    learner = Learner(of(cpu), LOSS, cpu, **SETTINGS)
    before = {name: tensor.clone() for name, tensor in learner.model.state_dict().items()}
    learner.train_head_alone(True)
    weights_after(learner)
    now = learner.model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], now[name])}
    assert changed == {"head.classifier.weight", "head.classifier.bias", "head.A"}
    learner.train_head_alone(False)
    weights_after(learner, 1)
    first = next(name for name in before if name.startswith("backbone"))
    assert not torch.equal(before[first], now[first])


def test_a_statistic_that_is_not_finite_skips_the_step(cpu: Machine) -> None:
    """With half precision a map may overflow where the loss does not show it."""
    learner = Learner(of(cpu), LOSS, cpu, **SETTINGS)

    def poison(module: nn.Module, *_: object) -> None:
        if module.training:
            module.running_var.data[0] = math.nan  # past autograd, which would notice

    handle = learner.model.backbone.bn1.register_forward_hook(poison)
    before = state(learner)
    loss = learner.step(*batch(), lr=1e-3, keys=(0,))
    assert (math.isfinite(loss), learner.skipped, learner.steps) == (True, 1, 0)
    assert all(torch.equal(a, b) for a, b in zip(before, state(learner), strict=True))
    handle.remove()
    learner.step(*batch(), lr=1e-3, keys=(1,))
    assert (learner.steps, learner.skipped_in_a_row) == (1, 0)


def test_layers_below_learn_slower(cpu: Machine) -> None:
    learner = Learner(of(cpu), LOSS, cpu, **SETTINGS, layer_decay=0.5)
    learner.step(*batch(), lr=1e-2, keys=(0,))
    rates = [group["lr"] for group in learner.optimizer.param_groups]
    assert rates == sorted(rates)
    assert rates[-2:] == [1e-2, 1e-2]  # the classifier, the couplings
    assert rates[-3] == 5e-3


@pytest.mark.parametrize("optimizer", REFERENCES)
def test_a_restored_learner_goes_on_bit_by_bit(cpu: Machine, optimizer: str) -> None:
    learner = Learner(of(cpu, dropout=0.3), LOSS, cpu, **SETTINGS, optimizer=optimizer)
    kept = weights_after(learner), learner.facts()
    expected = weights_after(learner)
    other = Learner(of(cpu, dropout=0.3), LOSS, cpu, **SETTINGS, optimizer=optimizer)
    other.restore(*kept)
    found = weights_after(other)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert other.facts() == learner.facts()


COMPILERS = ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)]


@pytest.mark.parametrize("compiler", COMPILERS)
def test_a_compiled_step_is_the_step(cpu: Machine, compiler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = torch.compile
    monkeypatch.setattr(torch, "compile", lambda *args, **named: usual(*args, **named, backend=compiler))
    ours, compiled = (
        Learner(of(m), LOSS, m, **SETTINGS) for m in (cpu, dataclasses.replace(cpu, compile=True))
    )
    losses = [learner.step(*batch(), lr=1e-3, keys=(0,)) for learner in (ours, compiled)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for now, expected in zip(compiled.model.buffers(), ours.model.buffers(), strict=True):
        assert torch.allclose(now.float(), expected.float(), atol=1e-4)
    assert compiled.steps == 1
