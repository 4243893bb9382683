"""The graph head against loops in numpy; what its published code got wrong; what of labels lies in it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from some_heads import a_head
from torch import Tensor

from cxrscore.model.heads.agcn import GRAPHS, SMALLEST_DEGREE, Agcn, AgcnSettings, guarded, normalised
from cxrscore.model.heads.registry import head_settings
from cxrscore.project.params import AgcnHead

L, C, D, HIDDEN = 4, 6, 3, 5
FINDINGS = ("Edema", "Fracture", "Nodule", "Effusion")
LEARNING = ("learned", "cos", "fc", "dot")


def agcn(graph: str, seed: int = 0, **changes: object) -> Agcn:
    """A head in evaluation mode; its embeddings are learned unless `changes` says otherwise."""
    settings = AgcnHead(
        kind="agcn",
        dropout=0.0,
        graph=graph,
        degrees="signed",
        threshold=0.4,
        static="reweighted",
        reweight=0.25,
        direction="paper",
        embeddings="learned",
        embedding_dim=D,
        hidden=HIDDEN,
        identity_weight=0.7,
    ).model_copy(update=changes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = a_head(findings=L, channels=C, **settings.model_dump())
    assert isinstance(head, Agcn)
    return head.eval()


def begun(graph: str, seed: int = 0, **changes: object) -> Agcn:
    """One that has seen the training labels, with weights large enough for couplings of either sign."""
    head = agcn(graph, seed, **changes)
    head.begin(*labels(), findings=FINDINGS)
    with torch.no_grad():
        for name in ("W_phi", "W_theta", "W_l"):
            if hasattr(head, name):
                getattr(head, name).mul_(3)
    return head


def labels(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """y and mask (60, L): finding 1 goes with 0; a fifth of the labels is unknown."""
    rng = np.random.default_rng(seed)
    y = (rng.random((60, L)) < 0.3).astype(np.float32)
    y[:, 1] = np.where(rng.random(60) < 0.7, y[:, 0], y[:, 1])
    mask = rng.random((60, L)) < 0.8
    return y * mask, mask


def features(seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(5, C, 3, 2))).float()


def array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    found = np.zeros((len(a), b.shape[1]))
    for i in range(len(a)):
        for j in range(b.shape[1]):
            for k in range(len(b)):
                found[i, j] += a[i, k] * b[k, j]
    return found


def static_by_hand(y: np.ndarray, mask: np.ndarray, settings: AgcnSettings) -> np.ndarray:
    """ML-GCN's equations 7 and 8 for threshold 0.4, less I; `code`: the matrix of equation 7 transposed."""
    A, p = np.zeros((L, L)), settings.reweight
    for i in range(L):
        for j in range(L):
            rows = [n for n in range(len(y)) if y[n, i] == 1 and mask[n, i] and mask[n, j]]
            of = (i, j) if settings.direction == "paper" else (j, i)
            A[of] = np.mean([y[n, j] for n in rows]) >= 0.4
    weighted = np.zeros((L, L))
    for i in range(L):
        neighbours = [j for j in range(L) if j != i and A[i, j]]
        for j in neighbours:
            weighted[i, j] = p / len(neighbours)
        weighted[i, i] = 1 - p if neighbours else 1
    return (A if settings.static == "binary" else weighted) - np.eye(L)


def adjacency_by_hand(head: Agcn) -> np.ndarray:
    """Equations 5 and 7 to 9, ML-GCN's graph, or none."""
    E, A = array(head.embeddings()), np.zeros((L, L))
    if head.settings.graph == "static":
        return static_by_hand(*labels(), head.settings)
    if head.settings.graph == "fc":
        return product(array(head.W_l).T, E.T)
    for i in range(L):
        for j in range(L):
            if head.settings.graph == "cos":
                A[i, j] = (E[i] @ E[j]) / np.sqrt((E[i] @ E[i]) * (E[j] @ E[j]))
            if head.settings.graph in ("learned", "dot"):
                other = head.W_theta if head.settings.graph == "learned" else head.W_phi
                A[i, j] = (E[i] @ array(head.W_phi)) @ (E[j] @ array(other)) / L
    return A


def normalised_by_hand(A: np.ndarray, degrees: str = "signed") -> np.ndarray:
    """Equation 4, with sums of absolute values where a row's sum is not positive or `degrees` says so."""
    linked = [[A[i, j] + (i == j) for j in range(len(A))] for i in range(len(A))]
    degree = []
    for row in linked:
        as_printed = degrees == "signed" and sum(row) >= SMALLEST_DEGREE
        degree.append(sum(row) if as_printed else max(sum(abs(one) for one in row), SMALLEST_DEGREE))
    return np.array(
        [[linked[i][j] / np.sqrt(degree[i] * degree[j]) for j in range(len(A))] for i in range(len(A))]
    )


def logits_by_hand(head: Agcn, A_hat: np.ndarray, maps: Tensor) -> np.ndarray:
    """Equations 3 and 1 over the largest position of each channel."""
    first = product(product(A_hat, array(head.embeddings())), array(head.W_1))
    H = np.array([[x if x > 0 else 0.2 * x for x in row] for row in first])
    classifiers = product(product(A_hat, H), array(head.W_2))
    pooled = np.array([[max(channel.flatten()) for channel in image] for image in array(maps)])
    return product(pooled, classifiers.T)


@pytest.mark.parametrize("degrees", ["signed", "absolute"])
@pytest.mark.parametrize("embeddings", ["learned", "cooccurrence"])
@pytest.mark.parametrize("graph", GRAPHS)
def test_each_graph_gives_the_papers_equations(graph: str, embeddings: str, degrees: str) -> None:
    head = begun(graph, embeddings=embeddings, degrees=degrees)
    A = adjacency_by_hand(head)
    A_hat = normalised_by_hand(A, degrees)
    output = head(features())
    assert np.allclose(array(head.adjacency()), A, atol=1e-5)
    assert np.allclose(head.learned()["adjacency"].values, A_hat, atol=1e-5)
    assert np.allclose(array(output.logits), logits_by_hand(head, A_hat, features()), atol=1e-5)
    if graph in LEARNING and (graph, embeddings) != ("cos", "cooccurrence"):
        entries = [abs(A_hat[i, j] - (i == j)) for i in range(L) for j in range(L)]
        assert output.losses["identity"].item() == pytest.approx(0.7 * L * sum(entries) / L**2, rel=1e-4)
    else:
        assert output.losses == {}


def test_the_graphs_of_these_tests_have_entries_of_either_sign() -> None:
    for graph in LEARNING:
        A = begun(graph).adjacency()
        assert A.max() > 0.1
        assert graph == "dot" or A.min() < -0.1


def equation_4(A: np.ndarray) -> np.ndarray:
    linked = A + np.eye(len(A))
    degree = [sum(row) for row in linked]
    return np.array(
        [[linked[i, j] / np.sqrt(degree[i] * degree[j]) for j in range(len(A))] for i in range(len(A))]
    )


@pytest.mark.parametrize("seed", range(5))
def test_where_row_sums_are_positive_the_normalisation_is_equation_4_whatever_the_signs(seed: int) -> None:
    A = np.random.default_rng(seed).normal(0.3, 0.5, (14, 14))
    A[:, 0] += (0.5 - (A + np.eye(14)).sum(1)).clip(min=0)
    assert (A < -0.3).any()
    found = array(normalised(torch.from_numpy(A), signed=True))
    assert np.abs(found - equation_4(A)).max() < 1e-14
    assert np.abs(found - array(normalised(torch.from_numpy(A), signed=False))).max() > 0.01


def test_without_negative_entries_both_kinds_of_degrees_give_equation_4() -> None:
    A = np.random.default_rng(0).random((L, L))
    for signed in (True, False):
        assert np.abs(array(normalised(torch.from_numpy(A), signed=signed)) - equation_4(A)).max() < 1e-14


def test_the_guard_is_for_the_rows_that_need_it_and_leaves_the_others_as_printed() -> None:
    A = np.random.default_rng(0).normal(0.5, 0.3, (L, L))
    A[2] = [-1, -1, -1, -1.5]  # with I: -1, -1, -0, -1.5
    assert guarded(torch.from_numpy(A)).tolist() == [False, False, True, False]
    linked = A + np.eye(L)
    degree = linked.sum(1)
    degree[2] = np.abs(linked[2]).sum()
    expected = linked / np.sqrt(np.outer(degree, degree))
    assert np.abs(array(normalised(torch.from_numpy(A), signed=True)) - expected).max() < 1e-14


def test_history_counts_the_guarded_rows_of_graphs_that_can_need_it() -> None:
    head = begun("fc")
    with torch.no_grad():
        head.W_l.mul_(20)
    needed = sum(sum(row) + 1 <= 0 for row in array(head.adjacency()))
    assert needed > 0
    assert head.tracked() == {"guarded_rows": needed}
    assert begun("identity").tracked() == begun("static").tracked() == {}
    assert begun("fc", degrees="absolute").tracked() == {}


@pytest.mark.parametrize("graph", GRAPHS)
def test_a_checkpoint_that_states_no_newer_setting_keeps_its_scores(graph: str) -> None:
    """It was trained with absolute sums, and its static graph, without a diagonal, lies in the state dict."""
    head = begun(graph)
    stated = head.settings.__dict__
    older = {name: stated[name] for name in stated if name not in ("degrees", "static", "direction")}
    assert head_settings(older) == replace(
        head.settings, degrees="absolute", static="reweighted", direction="paper"
    )
    again = a_head(findings=L, channels=C, **older).eval()
    state = head.state_dict()
    if graph == "static":
        state["static"] = torch.tensor([[0, 0.25, 0, 0], [0.125, 0, 0.125, 0], [0.0] * 4, [0.25, 0, 0, 0]])
    again.load_state_dict(state)
    A_hat = normalised_by_hand(array(again.adjacency()), "absolute")
    assert np.allclose(again.learned()["adjacency"].values, A_hat, atol=1e-6)
    assert np.allclose(array(again(features()).logits), logits_by_hand(again, A_hat, features()), atol=1e-5)
    if graph == "static":
        assert np.allclose(A_hat[0], [0.8, 0.2, 0, 0])  # that was 0.25 / 1.25


@pytest.mark.parametrize("direction", ["paper", "code"])
@pytest.mark.parametrize("static", ["reweighted", "binary"])
def test_a_static_graph_is_ml_gcns_matrix_in_either_direction(static: str, direction: str) -> None:
    head = begun("static", static=static, direction=direction)
    A = static_by_hand(*labels(), head.settings)
    found = head.learned()["adjacency"].values
    assert np.allclose(array(head.static), A, atol=1e-6)
    assert np.allclose(found, equation_4(A) if static == "binary" else A + np.eye(L), atol=1e-6)
    turned = begun("static", static=static, direction="code" if direction == "paper" else "paper")
    assert not np.allclose(array(turned.static), array(head.static))
    assert np.array_equal(array(turned.static) > 0, (array(head.static) > 0).T)


ADVERSARIAL = {
    "row sums below zero": -5 * torch.ones(L, L),
    "row sums of zero": torch.ones(L, L) / L - 2 * torch.eye(L),
    "a row of zeros": -torch.eye(L),
    "a row of almost zeros": torch.ones(L, L) - torch.tensor([[2.0, 1, 1, 1 - 1e-7]] + [[0.0] * L] * 3),
    "large entries of either sign": 1e6 * torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(2, 2),
}


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("A", ADVERSARIAL.values(), ids=ADVERSARIAL)
def test_a_learned_graph_of_any_sign_has_a_finite_normalisation_and_finite_gradients(
    A: Tensor, signed: bool
) -> None:
    A = A.clone().requires_grad_()
    A_hat = normalised(A, signed=signed)
    A_hat.square().sum().backward()
    assert A_hat.isfinite().all()
    assert A.grad is not None
    assert A.grad.isfinite().all()
    assert A_hat.abs().max() <= (A.abs().max() + 1) / SMALLEST_DEGREE ** (1 if signed else 0.5)


def test_with_absolute_degrees_a_symmetric_graph_of_any_sign_stays_within_one() -> None:
    half = torch.from_numpy(np.random.default_rng(0).normal(size=(L, L))).float()
    assert normalised(3 * (half + half.T), signed=False).abs().max() <= 1


@pytest.mark.parametrize("graph", LEARNING)
def test_an_embedding_of_zeros_makes_no_number_infinite(graph: str) -> None:
    head = agcn(graph)
    with torch.no_grad():
        head.embeddings.E[1] = 0
    output = head(features())
    (output.logits.sum() + output.losses["identity"]).backward()
    assert output.logits.isfinite().all()
    assert all(weight.grad.isfinite().all() for weight in head.parameters())


@pytest.mark.parametrize("name", ["W_phi", "W_theta"])
def test_the_graphs_weights_learn_from_the_logits_alone(name: str) -> None:
    head = begun("learned", embeddings="cooccurrence", identity_weight=0.0)
    head(features()).logits.square().sum().backward()
    assert getattr(head, name).grad.abs().max() > 1e-4


@pytest.mark.parametrize("embeddings", ["learned", "cooccurrence"])
@pytest.mark.parametrize("graph", GRAPHS)
def test_every_parameter_has_a_part_in_the_logits(graph: str, embeddings: str) -> None:
    head = begun(graph, embeddings=embeddings)
    head(features()).logits.square().sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in head.parameters())


def test_a_graph_has_the_parameters_it_needs_and_no_others() -> None:
    graphs = {graph: {name for name, _ in begun(graph).named_parameters()} for graph in GRAPHS}
    common = {"embeddings.E", "W_1", "W_2"}
    own = {"learned": {"W_phi", "W_theta"}, "dot": {"W_phi"}, "fc": {"W_l"}}
    assert graphs == {graph: common | own.get(graph, set()) for graph in GRAPHS}


@pytest.mark.parametrize("graph", GRAPHS)
def test_permuting_findings_permutes_logits(graph: str) -> None:
    order = torch.tensor([2, 0, 3, 1])
    head, other = begun(graph), begun(graph)
    with torch.no_grad():
        other.embeddings.E.copy_(head.embeddings.E[order])
        if graph == "fc":
            other.W_l.copy_(head.W_l[:, order])
    y, mask = labels()
    other.begin(y[:, order], mask[:, order], findings=[FINDINGS[i] for i in order])
    assert torch.allclose(other(features()).logits, head(features()).logits[:, order], atol=1e-5)


def test_without_a_graph_a_finding_is_scored_by_its_own_embedding_alone() -> None:
    moved = {}
    for graph in ("identity", "learned"):
        head = begun(graph)
        before = head(features()).logits
        with torch.no_grad():
            head.embeddings.E[0] += 1
        moved[graph] = (head(features()).logits != before).any(0).tolist()
    assert moved == {"identity": [True, False, False, False], "learned": [True] * L}


def test_dropout_is_of_the_pooled_features_and_not_of_the_graph() -> None:
    head = begun("learned", dropout=0.5).train()
    one_channel = torch.zeros(64, C, 3, 2)
    one_channel[:, 2] = 1.0
    logits = head(one_channel).logits
    dropped = (logits == 0).all(1)
    kept = 2 * head.eval()(one_channel).logits[0]
    assert 0 < dropped.sum() < 64
    assert torch.allclose(logits[~dropped], kept.expand(64, L)[~dropped], atol=1e-6)


@pytest.mark.parametrize("graph", GRAPHS)
def test_a_row_alone_has_the_logits_it_has_in_a_batch(graph: str) -> None:
    head = begun(graph)
    alone = torch.cat([head(row).logits for row in features().split(1)])
    assert torch.allclose(alone, head(features()).logits, atol=1e-6)


@pytest.mark.parametrize("graph", GRAPHS)
def test_under_autocast_the_head_stays_in_fp32(graph: str) -> None:
    head, maps = begun(graph), features().bfloat16()
    plain = head(maps.float())
    with torch.autocast("cpu", torch.bfloat16):
        output = head(maps)
    assert torch.equal(output.logits, plain.logits)
    assert output.losses == plain.losses
    (output.logits.sum() + sum(output.losses.values())).backward()
    assert all(weight.grad.isfinite().all() for weight in head.parameters())


@pytest.mark.parametrize("graph", GRAPHS)
def test_labels_reach_a_head_as_state_that_depends_on_nothing_else(graph: str) -> None:
    one, other = (begun(graph, seed, embeddings="cooccurrence") for seed in (0, 1))
    other.begin(*labels(seed=1), findings=FINDINGS)  # forgotten by the next
    other.begin(*labels(), findings=FINDINGS)
    parameters = {name for name, _ in one.named_parameters()}
    found = {name for name in one.state_dict() if name not in parameters}
    assert found == {"embeddings.E"} | ({"static"} if graph == "static" else set())
    assert all(torch.equal(one.state_dict()[name], other.state_dict()[name]) for name in found)


@pytest.mark.parametrize("graph", GRAPHS)
def test_a_trained_head_needs_neither_labels_nor_the_file_of_embeddings(graph: str, tmp_path: Path) -> None:
    path = tmp_path / "words.npy"
    np.save(path, np.random.default_rng(0).normal(size=(L, D)))
    path.with_suffix(".txt").write_text("\n".join(FINDINGS))
    head = begun(graph, embeddings=str(path))
    path.unlink()
    again = agcn(graph, seed=1, embeddings=str(path))
    assert not torch.equal(again(features()).logits, head(features()).logits)
    again.load_state_dict(head.state_dict())
    assert torch.equal(again(features()).logits, head(features()).logits)


@pytest.mark.parametrize("share", [0.0, 1.0])
@pytest.mark.parametrize("graph", GRAPHS)
def test_a_finding_that_no_image_shows_or_every_image_can_still_be_learned(graph: str, share: float) -> None:
    y, mask = labels()
    y[:, 3] = share
    head = agcn(graph, embeddings="cooccurrence", embedding_dim=L)
    head.begin(y, np.ones_like(mask), findings=FINDINGS)
    logits = head(features()).logits[:, 3]
    assert logits.abs().min() > 1e-4
    assert logits.std() > 1e-3


@pytest.mark.parametrize("graph", [*LEARNING, "static"])
def test_effects_are_the_parts_of_each_node_in_the_last_convolution(graph: str) -> None:
    head, maps = begun(graph), features()
    with torch.no_grad():
        effects, logits = head.effects(maps), head(maps).logits
    assert effects.pushes is not None and head.stages == ("own", "logit")
    A_hat = normalised_by_hand(adjacency_by_hand(head))
    first = product(product(A_hat, array(head.embeddings())), array(head.W_1))
    nodes = product(np.where(first > 0, first, 0.2 * first), array(head.W_2))
    pooled = array(maps).max((2, 3))
    worst = 0.0
    for n in range(len(maps)):
        for i in range(L):
            for k in range(L):
                part = A_hat[i, k] * sum(pooled[n, c] * nodes[k, c] for c in range(C))
                ours = effects.stages[n, 0, i] if i == k else effects.pushes[n, k, i]
                worst = max(worst, abs(float(ours) - part))
            assert effects.pushes[n, i, i] == 0
    assert worst < 2e-4, worst
    assert torch.equal(effects.stages[:, -1], logits)
    assert torch.allclose(effects.stages[:, 0] + effects.pushes.sum(1), logits, atol=1e-4)


def test_a_graph_without_edges_has_one_stage() -> None:
    assert agcn("identity").stages == ("logit",)
    assert agcn("identity").effects(features()).pushes is None
