"""Heads against loops in numpy, and where each starts."""

import numpy as np
import pytest
import torch

from cxrscore.heads import HEADS, build_head

SETTINGS = {
    "coupling": {"dropout": 0.0, "alpha": 0.3, "l1": 1e-3, "prox": False, "lr_scale": 2.0},
    "independent": {"dropout": 0.0},
    "lamp": {"dropout": 0.0, "graph": "fc", "steps": 2, "dim": 8, "heads": 2, "auxiliary_weight": 0.2},
}
L, C = 3, 5


def features() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(4, C, 2, 2))).float()


def coupled(**changes: object) -> torch.nn.Module:
    head = build_head("coupling", findings=L, channels=C, **SETTINGS["coupling"] | changes)
    with torch.no_grad():
        head.A.copy_(torch.tensor([[9.0, 0.5, -0.2], [0.0, 9.0, 1.0], [0.3, 0.0, 9.0]]))
    return head


def test_coupling_is_the_papers_equation_and_its_diagonal_does_nothing() -> None:
    head = coupled()
    z = (features().mean((2, 3)) @ head.classifier.weight.T + head.classifier.bias).detach()
    expected = z.double().numpy().copy()
    A = head.A.detach().numpy()
    for i in range(4):
        for j in range(L):
            expected[i, j] += 0.3 * sum(
                1 / (1 + np.exp(-float(z[i, s]))) * A[s, j] for s in range(L) if s != j
            )
    output = head(features())
    assert np.allclose(output.logits.detach().numpy(), expected, atol=1e-5)
    assert output.losses["coupling"].item() == pytest.approx(1e-3 * (0.5 + 0.2 + 1.0 + 0.3))


def test_at_its_start_coupling_is_the_independent_head() -> None:
    plain = build_head("independent", findings=L, channels=C, **SETTINGS["independent"])
    head = build_head("coupling", findings=L, channels=C, **SETTINGS["coupling"])
    head.classifier.load_state_dict(plain.classifier.state_dict())
    assert torch.equal(head(features()).logits, plain(features()).logits)


def test_gradients_reach_the_couplings_but_not_their_diagonal() -> None:
    head = build_head("coupling", findings=L, channels=C, **SETTINGS["coupling"])
    head(features()).logits.sum().backward()
    assert head.A.grad is not None
    assert (head.A.grad.diagonal() == 0).all()
    assert (head.A.grad[~torch.eye(L, dtype=torch.bool)] != 0).all()


def test_permuting_findings_permutes_logits() -> None:
    head, other, order = coupled(), coupled(), torch.tensor([2, 0, 1])
    with torch.no_grad():
        other.classifier.weight.copy_(head.classifier.weight[order])
        other.classifier.bias.copy_(head.classifier.bias[order])
        other.A.copy_(head.A[order][:, order])
    assert torch.allclose(other(features()).logits, head(features()).logits[:, order], atol=1e-6)


def fit(head: torch.nn.Module, target: torch.Tensor, steps: int = 300) -> torch.Tensor:
    """A after training it alone toward fixed logits."""
    optimizer = torch.optim.AdamW(head.own_groups(1e-2))
    for _ in range(steps):
        output = head(features())
        loss = (output.logits - target).square().mean() + sum(output.losses.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        head.after_step(optimizer)
    return head.coupling().detach()


def test_prox_gives_exact_zeros_where_a_penalty_does_not() -> None:
    settings = SETTINGS["coupling"] | {"l1": 0.02, "lr_scale": 1.0}
    torch_rng = torch.Generator().manual_seed(0)
    found = {}
    for prox in (False, True):
        head = build_head("coupling", findings=L, channels=C, **settings | {"prox": prox})
        with torch.no_grad():
            head.classifier.weight.copy_(torch.randn(L, C, generator=torch_rng.manual_seed(0)))
            head.classifier.bias.zero_()
            z = head.classifier(features().mean((2, 3)))
            target = z + 0.02 * torch.randn(
                z.shape, generator=torch_rng
            )  # noise for all other entries to fit
            target[:, 2] += 0.3 * 3.0 * z[:, 0].sigmoid()  # only finding 0 pushes finding 2
        found[prox] = fit(head, target)
    edge = torch.zeros(L, L, dtype=torch.bool)
    edge[0, 2] = True
    rest = ~edge & ~torch.eye(L, dtype=torch.bool)
    assert found[True][0, 2] > 1
    assert (found[True][rest] == 0).sum() >= 4
    assert (found[False][rest] == 0).sum() == 0


def test_with_prox_the_penalty_is_not_also_in_the_loss() -> None:
    assert coupled(prox=True)(features()).losses == {}


def test_couplings_have_their_own_rate_and_no_weight_decay() -> None:
    (group,) = coupled().own_groups(1e-3)
    assert group["lr"] == pytest.approx(2e-3)
    assert group["weight_decay"] == 0


@pytest.mark.parametrize("kind", HEADS)
def test_every_head_gives_one_logit_a_finding(kind: str) -> None:
    assert build_head(kind, findings=L, channels=C, **SETTINGS[kind])(features()).logits.shape == (4, L)
