"""Label message passing against loops in numpy, and the mistakes that its published code made."""

from math import cos, exp, sin, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from some_heads import a_head

from cxrscore.core.errors import UserError
from cxrscore.model.heads.base import HeadOutput
from cxrscore.model.heads.lamp import Lamp, MessagePassing, positions
from cxrscore.model.loss import build_loss

L, C, D, K, T = 4, 5, 8, 2, 2
HEIGHT, WIDTH = 2, 3
SETTINGS = {"dropout": 0.0, "graph": "fc", "steps": T, "dim": D, "heads": K, "auxiliary_weight": 0.2}
SETTINGS |= {"feature_steps": 0}
GRAPHS = ("fc", "el", "prior")
NAMES = ["step1.tokens", "step1.labels", "step2.tokens", "step2.labels"]
# findings 0 and 1 occur together, 1 and 2, too; 3 goes with none; the last image knows nothing of finding 3
Y = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0], [1, 0, 0, 1]], dtype=np.int8)
KNOWN = np.array([[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 0]], dtype=bool)
LINKS = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]], dtype=bool)
Vectors = NDArray[np.float64]


def features(rows: int = 3) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(rows, C, HEIGHT, WIDTH))).float()


def drawn(graph: str, **changes: Any) -> Lamp:
    """A head that has seen the labels above and whose every weight, of norms, too, is then drawn again, large
    enough that attention is far from even.
    """
    head = a_head("lamp", findings=L, channels=C, **SETTINGS | {"graph": graph} | changes)
    assert isinstance(head, Lamp)
    head.begin(Y, KNOWN, findings=[])
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(0.7 * torch.randn(parameter.shape, generator=generator))
    return head.eval()


def place(row: int, column: int) -> list[float]:
    rates = [1 / 10_000 ** (i / (D // 4)) for i in range(D // 4)]
    return [wave(at * rate) for at in (row, column) for wave in (sin, cos) for rate in rates]


def layer_norm(vector: Vectors, w: dict[str, Vectors], name: str) -> Vectors:
    mean = sum(vector) / D
    variance = sum((value - mean) ** 2 for value in vector) / D
    normal = np.array([(value - mean) / sqrt(variance + 1e-5) for value in vector])
    return normal * w[f"{name}.weight"] + w[f"{name}.bias"]


def pass_messages(
    nodes: Vectors, sources: Vectors, links: NDArray[np.bool_], w: dict[str, Vectors]
) -> tuple[Vectors, Vectors]:
    """Equations 15 to 18, 8 and 9, node by node -> nodes, and attention, the mean over heads."""
    new, shares = nodes.copy(), np.zeros((len(nodes), len(sources)))
    for i, node in enumerate(nodes):
        neighbours = [j for j in range(len(sources)) if links[i, j]]
        if not neighbours:
            continue
        gathered = []
        for k in range(K):
            own = slice(k * D // K, (k + 1) * D // K)
            query, key, value = (w[f"{name}.weight"][own] for name in ("query", "key", "value"))
            e = {j: (query @ node) @ (key @ sources[j]) / sqrt(D) for j in neighbours}
            alpha = {j: exp(e[j]) / sum(exp(e[m]) for m in neighbours) for j in neighbours}
            gathered.extend(sum(alpha[j] * (value @ sources[j]) for j in neighbours))
            for j in neighbours:
                shares[i, j] += alpha[j] / K
        message = layer_norm(node + w["join.weight"] @ np.array(gathered), w, "attention_norm")
        hidden = np.maximum(w["mlp.0.weight"] @ message + w["mlp.0.bias"], 0)
        new[i] = layer_norm(message + w["mlp.2.weight"] @ hidden + w["mlp.2.bias"], w, "mlp_norm")
    return new, shares


def weights(head: torch.nn.Module) -> dict[str, Vectors]:
    return {name: tensor.double().numpy() for name, tensor in head.state_dict().items()}


def reference(
    w: dict[str, Vectors], image: Vectors, graph: str, feature_steps: int = 0
) -> tuple[dict[str, Vectors], dict[str, Vectors]]:
    """Weights and one image (C, h, w) -> logits and attention after every sub-step, by name."""
    tokens = np.array(
        [
            w["project.weight"] @ image[:, row, column] + w["project.bias"] + place(row, column)
            for row in range(HEIGHT)
            for column in range(WIDTH)
        ]
    )
    for i in range(feature_steps):
        own = {key.removeprefix(f"feature_steps.{i}."): array for key, array in w.items()}
        tokens, _ = pass_messages(tokens, tokens, np.ones((len(tokens), len(tokens)), dtype=bool), own)
    links = {"fc": np.ones((L, L), dtype=bool), "prior": LINKS, "el": np.eye(L, dtype=bool)}[graph]
    nodes, logits, attention = w["W_y"], {}, {}
    for i, name in enumerate(NAMES):
        to_tokens = name.endswith("tokens")
        sources = tokens if to_tokens else nodes
        edges = np.ones((L, len(tokens)), dtype=bool) if to_tokens else links
        own = {key.removeprefix(f"sub_steps.{i}."): array for key, array in w.items()}
        nodes, attention[name] = pass_messages(nodes, sources, edges, own)
        logits[name] = np.array([w["W_y"][j] @ nodes[j] + w["b"][j] for j in range(L)])
    return logits, attention


def all_logits(output: HeadOutput) -> list[torch.Tensor]:
    return [*output.auxiliary.values(), output.logits]


@pytest.mark.parametrize("feature_steps", [0, 2])
@pytest.mark.parametrize("graph", GRAPHS)
def test_every_readout_is_the_papers_equations(
    graph: str, feature_steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In double precision, with layer norms, positions and the bias beside them."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    head = drawn(graph, feature_steps=feature_steps).double()
    images = features().double()
    try:
        torch.set_default_dtype(torch.float64)
        evaluated, trained = head(images), head.train()(images)
    finally:
        torch.set_default_dtype(torch.float32)
    *before, last = NAMES
    assert list(trained.auxiliary) == before
    assert evaluated.auxiliary == {}
    furthest = 0.0
    for i, image in enumerate(images.numpy()):
        expected, _ = reference(weights(head), image, graph, feature_steps)
        found = {name: trained.auxiliary[name][i] for name in before} | {last: evaluated.logits[i]}
        furthest = max(
            furthest, *(np.abs(found[name].detach().numpy() - expected[name]).max() for name in NAMES)
        )
    print(f"\n{graph}, {feature_steps} feature steps: {furthest:.1e}")  # noqa: T201
    assert furthest < 1e-12


@pytest.mark.parametrize("graph", GRAPHS)
def test_pictures_show_the_attention_of_the_equations(graph: str) -> None:
    head = drawn(graph)
    pictures = head.look(features())
    tokens = pictures["attention_tokens"]
    assert tokens.axes == ("image", "finding", "step", "row", "column")
    assert tokens.values.dtype == np.float32
    assert np.allclose(tokens.values.sum((3, 4)), 1, atol=1e-6)
    labels = pictures["attention_labels"]
    assert labels.axes == ("image", "finding", "step", "source")
    assert np.allclose(labels.values.sum(3), 1, atol=1e-6)
    assert graph == "fc" or (labels.values.transpose(0, 2, 1, 3)[:, :, ~LINKS] == 0).all()
    for i, image in enumerate(features().double().numpy()):
        _, expected = reference(weights(head), image, graph)
        for t in range(T):
            seen = expected[f"step{t + 1}.tokens"].reshape(L, HEIGHT, WIDTH)
            assert np.allclose(tokens.values[i, :, t], seen, atol=1e-5)
            assert np.allclose(labels.values[i, :, t], expected[f"step{t + 1}.labels"], atol=1e-5)


@pytest.mark.parametrize("graph", GRAPHS)
def test_probes_are_the_readouts_of_all_states_as_probabilities(graph: str) -> None:
    head = drawn(graph)
    probes = head.look(features())["probes"]
    assert probes.axes == ("image", "finding", "step", "part")
    for i, image in enumerate(features().double().numpy()):
        logits, _ = reference(weights(head), image, graph)
        for t, part in np.ndindex(T, 2):
            expected = 1 / (1 + np.exp(-logits[f"step{t + 1}.{('tokens', 'labels')[part]}"]))
            assert np.allclose(probes.values[i, :, t, part], expected, atol=1e-5)
    last = head(features()).logits.sigmoid().detach().numpy()
    assert np.allclose(probes.values[:, :, -1, -1], last, atol=1e-6)


@pytest.mark.parametrize("graph", GRAPHS)
def test_the_final_logits_alone_reach_every_parameter(graph: str) -> None:
    """But query and key of a finding that has itself alone to attend to."""
    head = drawn(graph, feature_steps=2).train()
    head(features()).logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in head.parameters())
    dead = {name for name, parameter in head.named_parameters() if not parameter.grad.any()}
    weighs = {f"sub_steps.{i}.{part}.weight" for i in (1, 3) for part in ("query", "key")}
    assert dead == (weighs if graph == "el" else set())


def test_each_auxiliary_readout_reaches_the_embeddings_as_readout_and_as_start() -> None:
    """Compared with differences of the loops, in which nothing can be detached."""
    head = drawn("fc").train()
    image, arrays, step = features(1).double().numpy()[0], weights(head), 1e-5
    expected = {name: np.zeros((L, D)) for name in NAMES}
    for at in np.ndindex(L, D):
        for sign in (1, -1):
            moved = arrays["W_y"].copy()
            moved[at] += sign * step
            logits, _ = reference(arrays | {"W_y": moved}, image, "fc")
            for name in NAMES:
                expected[name][at] += sign * logits[name].sum() / (2 * step)
    auxiliary = head(features(1)).auxiliary
    for name in NAMES[:-1]:
        (found,) = torch.autograd.grad(auxiliary[name].sum(), head.W_y, retain_graph=True)
        assert np.allclose(found, expected[name], atol=1e-3), name


def test_the_embedding_of_a_finding_is_its_start_and_its_readout() -> None:
    """A start alone could not double a logit for one finding, a readout alone not move attention."""
    head, other = drawn("el"), drawn("el")
    with torch.no_grad():
        other.W_y[0] *= 2
    before, after = head._states(features()), other._states(features())
    assert not torch.allclose(before[0].attention[:, :, 0], after[0].attention[:, :, 0], atol=1e-3)
    expected = (before[-1].nodes[:, 0] * 2 * head.W_y[0]).sum(-1) + head.b[0]
    assert torch.allclose(other._readout(before[-1].nodes)[:, 0], expected, atol=1e-5)
    assert {name for name, value in head.named_parameters() if L in value.shape} == {"W_y", "b"}


def test_steps_have_weights_of_their_own() -> None:
    head = drawn("fc").train()
    before = all_logits(head(features()))
    with torch.no_grad():
        for name, parameter in head.sub_steps.named_parameters():
            if name.startswith(("2.", "3.")):  # of the second step
                parameter += 0.1
    after = all_logits(head(features()))
    assert all(torch.equal(a, b) for a, b in zip(before[:2], after[:2], strict=True))
    assert all(not torch.allclose(a, b, atol=1e-3) for a, b in zip(before[2:], after[2:], strict=True))


def test_logits_start_at_the_prevalences_and_nowhere_near_saturation() -> None:
    """Within 0.25 of each probability; embeddings from N(0, 1) would put every one of them at 1."""
    share = np.array([0.02, 0.1, 0.3, 0.5])
    y = (np.arange(1000)[:, None] < 1000 * share).astype(np.int8)
    for seed in range(3):
        torch.manual_seed(seed)
        settings = SETTINGS | {"dim": 64, "heads": 4}
        head = a_head("lamp", findings=L, channels=C, **settings)
        head.begin(y, np.ones_like(y, dtype=bool), findings=[])
        for logits in all_logits(head(features())):
            assert np.abs(logits.detach().sigmoid().numpy() - share).max() < 0.25


def test_biases_start_at_the_logit_of_known_labels_half_an_image_from_the_ends() -> None:
    y = np.array([[1, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1], [1, 0, 1, 1]], dtype=np.int8)
    mask = np.array([[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 0], [0, 1, 1, 0]], dtype=bool)
    head = a_head("lamp", findings=L, channels=C, **SETTINGS)
    head.begin(y, mask, findings=[])
    assert head.b.detach().sigmoid().numpy() == pytest.approx([1 / 3, 1 / 8, 7 / 8, 1 / 2], abs=1e-6)


def test_a_node_without_neighbours_stays_as_it_is_and_gradients_stay_finite() -> None:
    torch.manual_seed(0)
    passing = MessagePassing(D, K)
    nodes = torch.randn(2, 3, D, requires_grad=True)
    links = torch.tensor([[True, False, True], [False, False, False], [True, True, True]])
    after, attention = passing(nodes, nodes, links)
    assert torch.equal(after[:, 1], nodes[:, 1])
    assert (after[:, 0] != nodes[:, 0]).any()
    assert (attention[:, :, ~links] == 0).all()
    (gradient,) = torch.autograd.grad(after.square().sum(), nodes)
    assert gradient.isfinite().all()
    before = nodes[0].detach().double().numpy()
    expected, _ = pass_messages(before, before, links.numpy(), weights(passing))
    assert np.allclose(after[0].detach(), expected, atol=1e-5)


@pytest.mark.parametrize("graph", GRAPHS)
def test_permuting_findings_permutes_every_readout(graph: str) -> None:
    head, other, order = drawn(graph).train(), drawn(graph).train(), torch.tensor([2, 0, 3, 1])
    with torch.no_grad():
        other.W_y.copy_(head.W_y[order])
        other.b.copy_(head.b[order])
        other.links.copy_(head.links[order][:, order])
    for found, expected in zip(all_logits(other(features())), all_logits(head(features())), strict=True):
        assert torch.allclose(found, expected[:, order], atol=1e-5)


@pytest.mark.parametrize(("graph", "reached"), [("fc", [0, 1, 2, 3]), ("prior", [0, 1]), ("el", [0])])
def test_in_one_step_a_finding_reaches_only_its_neighbours(graph: str, reached: list[int]) -> None:
    head, other = drawn(graph, steps=1), drawn(graph, steps=1)
    with torch.no_grad():
        other.W_y[0] += 1
    moved = (other(features()).logits - head(features()).logits).abs().amax(0) > 1e-6
    assert moved.nonzero().flatten().tolist() == reached


def test_graphs_have_the_same_weights_and_feature_steps_have_their_own() -> None:
    count = {graph: sum(value.numel() for value in drawn(graph).parameters()) for graph in GRAPHS}
    one = sum(value.numel() for value in MessagePassing(D, K).parameters())
    assert count["fc"] == count["prior"] == count["el"]
    assert sum(value.numel() for value in drawn("fc", feature_steps=3).parameters()) == count["fc"] + 3 * one


def test_a_place_reaches_every_other_place_by_feature_steps_alone() -> None:
    """Attention over tokens that have not read each other says where; afterwards each token knows all."""
    for feature_steps, reached in ((0, 1), (1, HEIGHT * WIDTH)):
        head, images = drawn("fc", feature_steps=feature_steps), features(1)
        changed = images.clone()
        changed[:, :, 0, 1] += 1
        read = []
        for one in (images, changed):
            tokens = head._tokens(one)
            for step in head.feature_steps:
                tokens, _ = step(tokens, tokens, head.every)
            read.append(tokens)
        moved = (read[0] - read[1]).abs().amax((0, 2)) > 1e-6
        assert int(moved.sum()) == reached


def older_form(graph: str) -> dict[str, torch.Tensor]:
    """Names and initial weights as the version before feature steps drew them, in its order."""
    torch.manual_seed(0)
    project, W_y = torch.nn.Linear(C, D), 0.02 * torch.randn(L, D)
    state = {f"project.{name}": value for name, value in project.state_dict().items()}
    state |= {"W_y": W_y, "b": torch.zeros(L)}
    if graph == "prior":
        state["links"] = torch.eye(L).bool()
    for i in range(T if graph == "el" else 2 * T):
        parts = {name: torch.nn.Linear(D, D, bias=False) for name in ("query", "key", "value", "join")}
        parts |= {"mlp.0": torch.nn.Linear(D, D), "mlp.2": torch.nn.Linear(D, D)}
        parts |= {name: torch.nn.LayerNorm(D) for name in ("attention_norm", "mlp_norm")}
        for part, module in parts.items():
            state |= {f"sub_steps.{i}.{part}.{name}": value for name, value in module.state_dict().items()}
    return state


OLDER = {name: value for name, value in SETTINGS.items() if name != "feature_steps"}


@pytest.mark.parametrize("graph", ["fc", "prior"])
def test_without_feature_steps_weights_start_as_before_there_were_any(graph: str) -> None:
    torch.manual_seed(0)
    head, expected = a_head("lamp", findings=L, channels=C, **SETTINGS | {"graph": graph}), older_form(graph)
    assert head.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in head.state_dict().items())


def scores_of_the_older_el(w: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """The forward of that version, operation by operation: findings read the image T times, nothing else."""

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return torch.nn.functional.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))

    def by_head(x: torch.Tensor) -> torch.Tensor:
        return x.reshape(*x.shape[:2], K, -1).transpose(1, 2)

    def normal(x: torch.Tensor, name: str) -> torch.Tensor:
        return torch.nn.functional.layer_norm(x, (D,), w[f"{name}.weight"], w[f"{name}.bias"])

    tokens = linear(images.flatten(2).transpose(1, 2), "project")
    tokens = tokens + positions(HEIGHT, WIDTH, dim=D, device=images.device)
    nodes = w["W_y"].expand(len(images), -1, -1)
    for i in range(T):
        own = f"sub_steps.{i}"
        query, key = by_head(linear(nodes, f"{own}.query")), by_head(linear(tokens, f"{own}.key"))
        attention = (query @ key.transpose(-1, -2) * D**-0.5).softmax(-1)
        heard = (attention @ by_head(linear(tokens, f"{own}.value"))).transpose(1, 2).flatten(2)
        message = normal(nodes + linear(heard, f"{own}.join"), f"{own}.attention_norm")
        hidden = linear(message, f"{own}.mlp.0").relu()
        nodes = normal(message + linear(hidden, f"{own}.mlp.2"), f"{own}.mlp_norm")
    return ((nodes * w["W_y"]).sum(-1) + w["b"]).sigmoid()


def test_an_older_checkpoint_of_el_scores_as_it_did() -> None:
    """Its card does not state feature_steps, and it has no weights of a sub-step that it never had."""
    state = {name: value * 3 for name, value in older_form("el").items()}
    head = a_head("lamp", findings=L, channels=C, **OLDER | {"graph": "el"}).eval()
    head.load_state_dict(state)
    with torch.inference_mode():
        found, expected = head(features()).logits.sigmoid(), scores_of_the_older_el(state, features())
        assert torch.allclose(found, expected, atol=1e-6)
        assert head.look(features())["probes"].values.shape == (3, L, T, 1)
    assert list(head.look(features())) == ["probes", "attention_tokens"]
    with pytest.raises(RuntimeError, match=r"Missing key.*sub_steps\.2"):
        a_head("lamp", findings=L, channels=C, **SETTINGS | {"graph": "el"}).load_state_dict(state)


def test_a_card_can_not_state_what_only_its_absence_says() -> None:
    for value in (None, -1, 1.0, True):
        with pytest.raises(UserError, match=r"feature_steps: .* does not fit kind lamp; set a whole number"):
            a_head("lamp", findings=L, channels=C, **SETTINGS | {"feature_steps": value})
    with pytest.raises(
        UserError, match=r"graph: 'tree' does not fit kind lamp; set one of fc, el, prior, or"
    ):
        a_head("lamp", findings=L, channels=C, **SETTINGS | {"graph": "tree"})


def test_the_graph_of_a_file_is_in_the_checkpoint_and_the_file_is_needed_no_more(tmp_path: Path) -> None:
    path, names = tmp_path / "edges.csv", ["A", "B", "C", "D"]
    path.write_text("a,b\nA,B\nB,C\n")
    settings = SETTINGS | {"graph": str(path)}
    head = a_head("lamp", findings=L, channels=C, **settings).eval()
    head.begin(Y, KNOWN, findings=names)
    path.unlink()
    assert np.array_equal(head.links.numpy(), LINKS)
    other = a_head("lamp", findings=L, channels=C, **settings).eval()
    other.load_state_dict(head.state_dict())
    assert torch.equal(other(features()).logits, head(features()).logits)
    picture = head.learned()["given_graph"]
    assert picture.axes == ("finding", "source")
    assert np.array_equal(picture.values, LINKS)
    prior = drawn("prior")
    other.load_state_dict(prior.state_dict())
    assert torch.equal(other(features()).logits, prior(features()).logits), "the same edges, the same head"


def test_the_prior_graph_is_what_training_labels_show_together() -> None:
    """Findings 0 and 3 are both 1 in an image that does not know of finding 3."""
    head = a_head("lamp", findings=L, channels=C, **SETTINGS | {"graph": "prior"})
    assert np.array_equal(head.learned()["prior_graph"].values, np.eye(L))
    head.begin(Y, KNOWN, findings=[])
    picture = head.learned()["prior_graph"]
    assert picture.axes == ("finding", "source")
    assert np.array_equal(picture.values, LINKS)
    ones = torch.ones(3, L)
    alone = head(features())
    with_labels = head(features(), ones, ones.bool())
    for found, expected in zip(all_logits(with_labels), all_logits(alone), strict=True):
        assert torch.equal(found, expected)
    assert np.array_equal(head.learned()["prior_graph"].values, LINKS)
    assert drawn("fc").learned() == drawn("el").learned() == {}


def test_masked_findings_count_in_no_readout() -> None:
    loss = build_loss(
        Y,
        KNOWN,
        kind="asl",
        label_smoothing=0.0,
        device=torch.device("cpu"),
        gamma_neg=4,
        gamma_pos=0,
        clip=0.05,
    )
    head = drawn("prior").train()
    mask = torch.tensor([[1, 1, 0, 1], [0, 1, 1, 1], [1, 0, 0, 1]]).bool()
    y = torch.tensor([[1, 0, 0, 1], [0, 1, 0, 0], [1, 1, 0, 0]]).float()
    totals, gradients = [], []
    for truth in (y, torch.where(mask, y, 1 - y)):
        output = head(features(), truth, mask)
        logits = all_logits(output)
        parts = [loss(one, truth, mask) for one in logits]
        total = parts[-1] + head.auxiliary_weight * sum(parts[:-1])
        totals.append(total.item())
        gradients.append(torch.autograd.grad(total, logits))
    assert totals[0] == totals[1]
    for first, second in zip(*gradients, strict=True):
        assert torch.equal(first, second)
        assert (first[~mask] == 0).all()
        assert (first[mask] != 0).any()


@pytest.mark.parametrize("graph", GRAPHS)
def test_a_head_built_anew_needs_its_weights_alone(graph: str) -> None:
    head = drawn(graph)
    other = a_head("lamp", findings=L, channels=C, **SETTINGS | {"graph": graph}).eval()
    other.load_state_dict(head.state_dict())
    assert torch.equal(other(features()).logits, head(features()).logits)
    assert ("links" in head.state_dict()) == (graph == "prior")


def test_a_row_alone_scores_as_in_its_batch() -> None:
    head = drawn("prior")
    together = head(features(4)).logits
    alone = torch.cat([head(row[None]).logits for row in features(4)])
    assert torch.allclose(together, alone, atol=1e-6)


def test_dropout_is_of_tokens_in_training_alone() -> None:
    head = drawn("fc", dropout=0.5)
    assert torch.equal(head(features()).logits, head(features()).logits)
    head.train()
    assert not torch.equal(head(features()).logits, head(features()).logits)
    tokens = head._tokens(features())
    assert 0.3 < (tokens == 0).float().mean() < 0.7


def test_in_half_precision_shares_and_readouts_are_of_full_precision() -> None:
    head = drawn("prior").train()
    plain = all_logits(head(features()))
    with torch.autocast("cpu", torch.bfloat16):
        states = head._states(features())
        half = all_logits(head(features()))
        labels = head.look(features())["attention_labels"].values
    assert np.allclose(labels.sum(3), 1, atol=1e-6)
    for state, found, expected in zip(states, half, plain, strict=True):
        assert found.dtype is torch.float32
        exact = torch.einsum("bld,ld->bl", state.nodes.double(), head.W_y.double()) + head.b
        assert torch.allclose(found.double(), exact, atol=1e-5)
        assert torch.allclose(found, expected, atol=0.5)


def test_the_forward_is_one_graph_for_the_compiler() -> None:
    head = drawn("prior").train()
    compiled = torch.compile(head, backend="eager", fullgraph=True)
    for found, expected in zip(all_logits(compiled(features())), all_logits(head(features())), strict=True):
        assert torch.allclose(found, expected, atol=1e-6)
