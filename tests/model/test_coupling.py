"""The coupling head against loops in numpy, where it starts, and what it becomes zero by; its baseline."""

import numpy as np
import pytest
import torch
from conftest import COUPLING
from some_heads import a_head

from cxrscore.model.heads.base import Head

SETTINGS = {
    "coupling": COUPLING | {"dropout": 0.0, "lr_scale": 2.0},
    "independent": {"kind": "independent", "dropout": 0.0, "pool": "gap"},
}
L, C = 3, 5


def features() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(4, C, 2, 2))).float()


def coupled(**changes: object) -> Head:
    torch.manual_seed(0)
    head = a_head(findings=L, channels=C, **SETTINGS["coupling"] | changes)
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
    plain = a_head(findings=L, channels=C, **SETTINGS["independent"])
    head = a_head(findings=L, channels=C, **SETTINGS["coupling"])
    head.classifier.load_state_dict(plain.classifier.state_dict())
    assert torch.equal(head(features()).logits, plain(features()).logits)


def test_gradients_reach_the_couplings_but_not_their_diagonal() -> None:
    head = a_head(findings=L, channels=C, **SETTINGS["coupling"])
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


def fit(head: Head, target: torch.Tensor, steps: int = 300) -> torch.Tensor:
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
        head = a_head(findings=L, channels=C, **settings | {"prox": prox})
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


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def by_hand(head: Head, *, steps: int, centre: np.ndarray, A_of: list[np.ndarray]) -> np.ndarray:
    """(4, L): the message sent `steps` times, image by image, finding by finding."""
    weight, bias = (part.detach().double().numpy() for part in (head.classifier.weight, head.classifier.bias))
    z = features().double().numpy().mean((2, 3)) @ weight.T + bias
    for _ in range(steps):
        before = z.copy()
        for image in range(4):
            for j in range(L):
                for i in range(L):
                    if i != j:
                        p = sigmoid(before[image, i]) - centre[i]
                        z[image, j] += 0.3 * p * A_of[image][i, j]
    return z


def test_a_message_of_several_steps_is_sent_from_the_logits_it_has_made() -> None:
    head = coupled(steps=3)
    A = head.A.detach().double().numpy()
    expected = by_hand(head, steps=3, centre=np.zeros(L), A_of=[A] * 4)
    assert np.allclose(head(features()).logits.detach().numpy(), expected, atol=1e-5)
    assert not np.allclose(coupled(steps=1)(features()).logits.detach().numpy(), expected, atol=1e-2)


def test_a_centred_message_is_that_of_p_minus_the_training_prevalence() -> None:
    head = coupled(centred=True)
    y = np.array([[1, 0, 1], [1, 0, 0], [0, 1, 0], [1, 0, 1]])
    mask = np.array([[1, 1, 0], [1, 1, 1], [1, 1, 1], [1, 1, 1]], dtype=bool)
    head.begin(y, mask, findings=["a", "b", "c"])
    A = head.A.detach().double().numpy()
    expected = by_hand(head, steps=1, centre=np.array([3 / 4, 1 / 4, 1 / 3]), A_of=[A] * 4)
    assert np.allclose(head(features()).logits.detach().numpy(), expected, atol=1e-5)
    assert "prevalence" in head.state_dict()


def conditional(**changes: object) -> Head:
    """Two terms, one of which is open for some of the images and the other for none."""
    head = coupled(conditional=True, rank=2, **changes)
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        head.u.copy_(torch.randn(2, L, generator=rng))
        head.v.copy_(torch.randn(2, L, generator=rng))
        head.gate.weight.copy_(torch.randn(2, C, generator=rng))
        head.gate.bias.copy_(torch.tensor([0.1, -99.0]))
    return head


def test_couplings_that_depend_on_the_image_add_gated_terms_off_the_diagonal() -> None:
    head = conditional()
    pooled = features().double().numpy().mean((2, 3))
    gates = np.maximum(pooled @ head.gate.weight.detach().double().numpy().T + [0.1, -99.0], 0)
    u, v = head.u.detach().double().numpy(), head.v.detach().double().numpy()
    u /= np.sqrt((u**2).sum(1, keepdims=True))
    A = head.A.detach().double().numpy()
    A_of = [A + sum(gates[image, r] * np.outer(u[r], v[r]) for r in range(2)) for image in range(4)]
    expected = by_hand(head, steps=1, centre=np.zeros(L), A_of=A_of)
    assert 0 < (gates[:, 0] > 0).sum() < 4, "some images open it, some do not"
    output = head(features())
    assert np.allclose(output.logits.detach().numpy(), expected, atol=1e-5)
    penalty = 1e-3 * (2.0 + np.abs(v).sum())
    assert output.losses["coupling"].item() == pytest.approx(penalty, rel=1e-5)
    assert np.allclose(head.look(features())["gates"].values, gates, atol=1e-5)
    terms = head.learned()["coupling_of_gate"].values
    assert np.allclose(terms[0], np.outer(u[0], v[0]) * (1 - np.eye(L)), atol=1e-6)


@pytest.mark.parametrize("more", [{"conditional": True, "rank": 2}, {"centred": True}, {"steps": 4}])
def test_every_extension_starts_as_the_independent_head(more: dict[str, object]) -> None:
    head = a_head(findings=L, channels=C, **SETTINGS["coupling"] | more)
    plain = a_head(findings=L, channels=C, **SETTINGS["independent"])
    plain.classifier.load_state_dict(head.classifier.state_dict())
    assert torch.equal(head(features()).logits, plain(features()).logits)


def test_gradients_reach_both_sides_of_a_gated_term_and_its_gate() -> None:
    head = conditional()
    head(features()).logits.square().sum().backward()
    for part in (head.u, head.v, head.gate.weight):
        assert part.grad is not None
        assert (part.grad[0] != 0).all()
    assert (head.gate.weight.grad[1] == 0).all(), "a closed gate learns nothing of these images"


def test_with_prox_gated_terms_become_exactly_zero_too() -> None:
    head = conditional(prox=True, l1=0.5, lr_scale=1.0)
    optimizer = torch.optim.AdamW(head.own_groups(1e-2))
    for _ in range(400):
        optimizer.zero_grad()
        head(features()).logits.square().mean().backward()
        optimizer.step()
        head.after_step(optimizer)
    assert (head.v == 0).any()
    assert (head.u != 0).all()


@pytest.mark.parametrize("prox", [False, True])
def test_an_edge_that_depends_on_the_image_is_found_from_the_heads_own_start(prox: bool) -> None:
    """Finding 0 pushes finding 2 in images whose first channel is large, and in no other."""
    torch.manual_seed(0)
    settings = SETTINGS["coupling"] | {"conditional": True, "rank": 2, "prox": prox, "lr_scale": 1.0}
    head = a_head(findings=L, channels=C, **settings)
    maps = torch.rand(64, C, 2, 2)
    maps[:32, 0] += 2
    with torch.no_grad():
        head.classifier.weight.normal_(std=0.1)
        z = head.classifier(maps.mean((2, 3)))
        target = z.clone()
        target[:32, 2] += 2 * z[:32, 0].sigmoid()
    head.classifier.requires_grad_(False)
    gate = {"params": head.gate.parameters()}
    optimizer = torch.optim.AdamW([*head.own_groups(1e-2), gate], lr=1e-2, weight_decay=0.0)
    losses, start = [], head.u.detach().clone()
    for step in range(400):
        assert step != 1 or torch.equal(head.u, start), "without a gradient there is nothing to penalise"
        optimizer.zero_grad()
        output = head(maps)
        losses.append(torch.nn.functional.mse_loss(output.logits, target))
        (losses[-1] + sum(output.losses.values())).backward()
        optimizer.step()
        head.after_step(optimizer)
    assert losses[-1] < 0.1 * losses[0], "a message alike for all images leaves half of it"


def test_a_rate_of_zero_keeps_the_couplings_at_zero_and_out_of_the_gradients_norm() -> None:
    head = a_head(findings=L, channels=C, **SETTINGS["coupling"] | {"lr_scale": 0.0, "prox": True})
    optimizer = torch.optim.AdamW([*head.own_groups(1e-2), {"params": head.classifier.parameters()}])
    head(features()).logits.square().mean().backward()
    optimizer.step()
    head.after_step(optimizer)
    assert head.A.grad is None
    assert (head.A == 0).all()


def test_the_history_tells_how_large_and_how_sparse_the_couplings_are() -> None:
    told = coupled().tracked()
    assert told == {"coupling_largest": 1.0, "coupling_sparse_share": pytest.approx(2 / 6)}
    alone = a_head(findings=1, channels=C, **SETTINGS["coupling"])
    assert alone.tracked() == {}


def test_global_maximum_pooling_takes_each_channels_largest_position() -> None:
    head = a_head(findings=L, channels=C, **SETTINGS["independent"] | {"pool": "gmp"})
    maps = features().numpy()
    largest = np.array([[max(maps[b, c].ravel()) for c in range(C)] for b in range(4)])
    expected = largest @ head.classifier.weight.detach().numpy().T + head.classifier.bias.detach().numpy()
    assert np.allclose(head(features()).logits.detach().numpy(), expected, atol=1e-6)


def test_a_checkpoint_from_before_the_extensions_still_builds_the_same_head() -> None:
    older = {"dropout": 0.0, "alpha": 0.3, "l1": 1e-3, "prox": False, "lr_scale": 2.0}
    head = a_head("coupling", findings=L, channels=C, **older)
    assert set(head.state_dict()) == {"A", "classifier.weight", "classifier.bias"}
    plain = a_head("independent", findings=L, channels=C, dropout=0.0)
    plain.classifier.load_state_dict(head.classifier.state_dict())
    assert torch.equal(head(features()).logits, plain(features()).logits)


def test_every_gate_is_open_for_some_image_at_the_start() -> None:
    """A shut one has no gradient, and would stay shut."""
    pooled_alike = torch.rand(64, 512, 2, 2, generator=torch.Generator().manual_seed(0))
    for seed in range(20):
        torch.manual_seed(seed)
        head = a_head(findings=L, channels=512, **COUPLING | {"conditional": True, "rank": 4})
        assert (head.look(pooled_alike)["gates"].values > 0).any(0).all()


def labels(n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """y and mask (n, L): finding 1 goes with finding 0, 2 with neither; a tenth of the labels unknown."""
    rng = np.random.default_rng(5)
    y = (rng.random((n, L)) < [0.3, 0.1, 0.5]).astype(np.int8)
    y[:, 1] |= y[:, 0] & (rng.random(n) < 0.8)
    return y, rng.random((n, L)) < 0.9


def centred_by_hand(y: np.ndarray, mask: np.ndarray) -> np.ndarray:
    C = np.zeros((L, L))
    for i in range(L):
        for j in range(L):
            both = [n for n in range(len(y)) if mask[n, i] and mask[n, j]]
            shown = [n for n in both if y[n, i]]
            if i != j and shown:
                C[i, j] = sum(int(y[n, j]) for n in shown) / len(shown)
                C[i, j] -= sum(int(y[n, j]) for n in both) / len(both)
    return C


def drawn_to_labels(**changes: object) -> Head:
    head = coupled(**changes)
    head.begin(*labels(), findings=["a", "b", "c"])
    return head


@pytest.mark.parametrize("prox", [False, True])
def test_the_consistency_term_is_the_squared_distance_from_centred_co_occurrence(prox: bool) -> None:
    head = drawn_to_labels(mu=0.02, prox=prox).double()
    A, C = head.A.detach().numpy(), centred_by_hand(*labels())
    expected = 0.02 * sum((A[i, j] - C[i, j]) ** 2 for i in range(L) for j in range(L) if i != j)
    output = head(features().double())
    assert output.losses["consistency"].item() == pytest.approx(expected, rel=1e-6)
    assert ("coupling" in output.losses) == (not prox)
    plain = coupled().double()
    assert torch.equal(output.logits, plain(features().double()).logits), "only the loss knows of it"


def test_the_consistency_terms_gradient_reaches_every_coupling_and_nothing_on_the_diagonal() -> None:
    head = drawn_to_labels(mu=0.02)
    head(features()).losses["consistency"].backward()
    assert head.A.grad is not None
    expected = 2 * 0.02 * (head.coupling().detach().numpy() - centred_by_hand(*labels()))
    assert np.allclose(head.A.grad.numpy(), expected, atol=1e-6)
    assert (head.A.grad[~torch.eye(L, dtype=torch.bool)] != 0).all()
    assert (head.A.grad.diagonal() == 0).all()


@pytest.mark.parametrize(("mu", "l1"), [(100.0, 1e-3), (0.05, 0.02)])
def test_couplings_end_at_co_occurrence_less_what_the_l1_term_takes(mu: float, l1: float) -> None:
    """With mu large they are the co-occurrence itself; those below l1 / (2 mu) are cut to zero."""
    head = drawn_to_labels(mu=mu, l1=l1)
    optimizer = torch.optim.SGD([head.A], lr=0.02 / mu)
    for _ in range(600):
        optimizer.zero_grad()
        sum(head(features()).losses.values()).backward()
        optimizer.step()
    C = centred_by_hand(*labels())
    expected = np.sign(C) * np.maximum(np.abs(C) - l1 / (2 * mu), 0)
    assert np.allclose(head.coupling().detach().numpy(), expected, atol=0.03 * l1 / mu + 1e-5)
    assert C[0, 1] > 0.4 and abs(C[0, 2]) < 0.2, "one pair goes together, one does not"


def test_a_strong_consistency_term_makes_a_training_end_at_co_occurrence() -> None:
    """Beside a supervised loss that would have other couplings."""
    y, mask = labels()
    head = drawn_to_labels(mu=50.0, l1=0.0, lr_scale=1.0)
    with torch.no_grad():
        target = head(features()).logits + 1.0
    A = fit(head, target, steps=1500)
    assert np.allclose(A.numpy(), centred_by_hand(y, mask), atol=0.01)


def test_without_the_consistency_term_the_head_has_no_room_for_co_occurrence() -> None:
    assert "cooccurrence" not in coupled(mu=0.0).state_dict()
    assert set(coupled(mu=0.0)(features()).losses) == {"coupling"}
    head = drawn_to_labels(mu=0.02)
    again = coupled(mu=0.02)
    again.load_state_dict(head.state_dict())
    assert torch.equal(again(features()).losses["consistency"], head(features()).losses["consistency"])


def pushes_by_hand(head: Head, *, steps: int, centre: np.ndarray, A_of: list[np.ndarray]) -> np.ndarray:
    """(4, L, L): what source i added to target j over all steps, in fp64."""
    weight, bias = (part.detach().double().numpy() for part in (head.classifier.weight, head.classifier.bias))
    z = features().double().numpy().mean((2, 3)) @ weight.T + bias
    pushes = np.zeros((4, L, L))
    for _ in range(steps):
        before = z.copy()
        for image in range(4):
            for i in range(L):
                for j in range(L):
                    if i != j:
                        term = 0.3 * (sigmoid(before[image, i]) - centre[i]) * A_of[image][i, j]
                        pushes[image, i, j] += term
                        z[image, j] += term
    return pushes


@pytest.mark.parametrize("more", [{}, {"steps": 3}, {"centred": True}, {"conditional": True}])
def test_effects_are_each_sources_terms_summed_over_the_steps(more: dict[str, object]) -> None:
    head = conditional(steps=2) if "conditional" in more else coupled(**more)
    centre = np.zeros(L)
    if "centred" in more:
        head.begin(*labels(), findings=["a", "b", "c"])
        centre = head.prevalence.double().numpy()
    A_of = [(head.A.detach().double().numpy())] * 4
    if "conditional" in more:
        gates = head.look(features())["gates"].values.astype(float)
        u, v = (part.detach().double().numpy() for part in (head.u, head.v))
        u /= np.sqrt((u**2).sum(1, keepdims=True))
        A_of = [A_of[0] + sum(gates[n, r] * np.outer(u[r], v[r]) for r in range(2)) for n in range(4)]
    steps = head.settings.steps
    with torch.no_grad():
        effects, output = head.effects(features()), head(features())
    assert effects.pushes is not None
    pushes, stages = effects.pushes.double().numpy(), effects.stages.double().numpy()
    assert np.allclose(pushes, pushes_by_hand(head, steps=steps, centre=centre, A_of=A_of), atol=1e-6)
    assert np.allclose(stages[:, 0] + pushes.sum(1), stages[:, -1], atol=1e-6)
    assert torch.equal(effects.stages[:, -1], output.logits)
    assert len(head.stages) == stages.shape[1] == steps + 1
