"""The scene-aware label graph against loops in numpy: logits, counts and losses, batch after batch."""

import copy
import math
import os
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import salgl_ranks
import torch
from conftest import TINY
from some_heads import a_head

from cxrscore.core.all_reduce import summed
from cxrscore.core.device import Machine, seeded
from cxrscore.model.checkpoint import Card, load_fold, save_checkpoint
from cxrscore.model.heads.registry import head_settings
from cxrscore.model.heads.salgl import GatedUpdate, Salgl, entropy, scene_loss
from cxrscore.model.loss import asymmetric_loss
from cxrscore.model.network import build_model
from cxrscore.tables.cooccurrence import label_embeddings
from cxrscore.training.learner import Learner

L, C, H, W, B = 4, 6, 2, 3, 5
SETTINGS: dict[str, Any] = {
    "dropout": 0.0,
    "scenes": 2,
    "steps": 2,
    "cell": "paper",
    "mixture": "soft",
    "embeddings": "learned",
    "embedding_dim": 3,
    "joint_dim": 5,
    "entropy_weight": 0.7,
}
COUNTS = ("together", "given", "images")
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def batch(seed: int = 0, known: float = 0.7) -> Batch:
    rng = np.random.default_rng(seed)
    features = torch.from_numpy(rng.normal(size=(B, C, H, W))).float()
    y = torch.from_numpy(rng.random((B, L)) < 0.6).float()
    return features, y, torch.from_numpy(rng.random((B, L)) < known)


def made(**changes: Any) -> Salgl:
    """In training mode, with scenes far enough apart for every one of them to have images."""
    with seeded(Machine(torch.device("cpu"), torch.float32), 0):
        head = a_head("salgl", findings=L, channels=C, **SETTINGS | changes)
    assert isinstance(head, Salgl)
    for name, parameter in head.named_parameters():
        if name == "W.weight":
            parameter.data.mul_(4)
    return head.train()


def trained(batches: int = 3, **changes: Any) -> Salgl:
    """With counts of so many batches."""
    head = made(**changes)
    for seed in range(100, 100 + batches):
        head(*batch(seed))
    return head


def counts_of(head: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: getattr(head, name).clone() for name in COUNTS}


def same_counts(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in COUNTS)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


class Reference:
    """The paper's equations, an image, a finding and a position at a time, in float64. The state of `head`
    by name, so that what an older version saved serves, too.
    """

    def __init__(self, head: Salgl) -> None:
        self.of = {name: value.detach().double().numpy() for name, value in head.state_dict().items()}
        self.K, self.steps = head.settings.scenes, head.settings.steps
        self.hard, self.cell = head.settings.mixture == "hard", head.settings.cell
        self.together = np.zeros((self.K, L, L))
        self.given = np.zeros((self.K, L, L))
        self.images = np.zeros(self.K)

    def attention(self, v: np.ndarray) -> np.ndarray:
        """Equations 1 and 2: v (m, C) -> alpha (L, m)."""
        alpha = np.zeros((L, len(v)))
        for i in range(L):
            for j in range(len(v)):
                joint = (self.of["U.weight"] @ v[j]) * (self.of["V.weight"] @ self.of["embeddings.E"][i])
                alpha[i, j] = np.exp(self.of["w.weight"][0] @ np.tanh(joint))
            alpha[i] /= alpha[i].sum()
        return alpha

    def scenes(self, v: np.ndarray) -> np.ndarray:
        """Equations 4 and 5; of one scene the share is 1 whatever its w is."""
        if self.K == 1:
            return np.ones(1)
        logits = self.of["W.weight"] @ (sum(v) / len(v))
        return np.exp(logits) / np.exp(logits).sum()

    def graph(self, pi: np.ndarray) -> np.ndarray:
        """Equations 8 and 12."""
        P = np.zeros((L, L))
        for k in range(self.K):
            weight = float(k == pi.argmax()) if self.hard else pi[k]
            for i in range(L):
                for j in range(L):
                    if self.given[k, i, j]:
                        P[i, j] += weight * self.together[k, i, j] / self.given[k, i, j]
        return P

    def update(self, m: np.ndarray, h: np.ndarray) -> np.ndarray:
        """Equation 14."""
        return self.gated(m, h) if self.cell == "paper" else self.gru(m, h)

    def gated(self, a: np.ndarray, h: np.ndarray) -> np.ndarray:
        """As Li et al. print it in equations 3 to 6, and SSGRL: the reset gate is inside U."""
        W_z, W_r, W = np.split(self.of["gru.W.weight"], 3)
        U_z, U_r = np.split(self.of["gru.U_gates.weight"], 2)
        z = sigmoid(W_z @ a + U_z @ h)
        r = sigmoid(W_r @ a + U_r @ h)
        new = np.tanh(W @ a + self.of["gru.U.weight"] @ (r * h))
        return (1 - z) * h + z * new

    def gru(self, m: np.ndarray, h: np.ndarray) -> np.ndarray:
        """One gated unit, as torch lays it out: reset, update, new."""
        by_input = np.split(self.of["gru.weight_ih"] @ m + self.of["gru.bias_ih"], 3)
        by_state = np.split(self.of["gru.weight_hh"] @ h + self.of["gru.bias_hh"], 3)
        reset, update = sigmoid(by_input[0] + by_state[0]), sigmoid(by_input[1] + by_state[1])
        new = np.tanh(by_input[2] + reset * by_state[2])
        return (1 - update) * new + update * h

    def logits(self, v: np.ndarray) -> np.ndarray:
        """Equations 3, 13, 15 and 16."""
        alpha = self.attention(v)
        P = self.graph(self.scenes(v)) if self.steps else np.zeros((L, L))
        f = [sum(alpha[i, j] * v[j] for j in range(len(v))) for i in range(L)]
        h = f
        for _ in range(self.steps):
            message = [sum(P[j, i] * h[j] for j in range(L) if j != i) for i in range(L)]
            h = [self.update(message[i], h[i]) for i in range(L)]
        z = np.zeros(L)
        for i in range(L):
            joint = np.concatenate([f[i], h[i]]) if self.steps else f[i]
            o = np.tanh(self.of["readout.weight"] @ joint + self.of["readout.bias"])
            z[i] = self.of["classifier.weight"][i] @ o + self.of["classifier.bias"][i]
        return z

    def count(self, v: np.ndarray, y: np.ndarray, known: np.ndarray) -> None:
        """Equations 6 and 7, where labels are known."""
        k = self.scenes(v).argmax()
        self.images[k] += 1
        for i in range(L):
            for j in range(L):
                shows_i = y[i] == 1 and known[i]
                self.together[k, i, j] += shows_i and y[j] == 1 and known[j]
                self.given[k, i, j] += shows_i and known[j]

    def loss(self, pis: list[np.ndarray]) -> float:
        """Equations 9 to 11."""
        first = -sum(pi[k] * math.log(pi[k]) for pi in pis for k in range(self.K)) / len(pis)
        mean = sum(pis) / len(pis)
        return float(first + sum(mean[k] * math.log(mean[k]) for k in range(self.K)) - math.log(1 / self.K))


@pytest.mark.parametrize("cell", ["paper", "torch"])
@pytest.mark.parametrize("mixture", ["soft", "hard"])
@pytest.mark.parametrize("scenes", [1, 2, 3])
def test_it_is_the_papers_equations_batch_after_batch(scenes: int, mixture: str, cell: str) -> None:
    head = made(scenes=scenes, mixture=mixture, cell=cell)
    slow = Reference(head)
    for seed in range(4):
        features, y, mask = batch(seed)
        images = features.flatten(2).mT.double().numpy()
        pis = [slow.scenes(v) for v in images]
        expected = [slow.logits(v) for v in images]
        output = head(features, y, mask)
        assert np.allclose(output.logits.detach().numpy(), expected, atol=1e-5)
        assert output.losses["scenes"].item() == pytest.approx(0.7 * L * slow.loss(pis), abs=1e-5)
        for v, shows, known in zip(images, y.numpy(), mask.numpy(), strict=True):
            slow.count(v, shows, known)
        for name in COUNTS:
            assert np.array_equal(getattr(head, name).numpy(), getattr(slow, name))
    assert (head.images > 0).all()
    assert np.allclose(head.attention(features).detach().numpy(), [slow.attention(v) for v in images])
    P = [slow.graph(one) for one in np.eye(scenes)]
    assert np.allclose(head.cooccurrence().numpy(), P)


def test_messages_and_gated_updates_are_the_printed_ones_in_float64() -> None:
    head = trained().double()
    slow = Reference(head)
    rng = np.random.default_rng(0)
    h, P = rng.normal(size=(B, L, C)), rng.random((B, L, L))
    found = head.propagated(torch.from_numpy(h), torch.from_numpy(P * (1 - np.eye(L)))).detach().numpy()
    expected = h.copy()
    for b in range(B):
        for _ in range(head.settings.steps):
            messages = [sum(P[b, j, i] * expected[b, j] for j in range(L) if j != i) for i in range(L)]
            expected[b] = [slow.gated(messages[i], expected[b, i]) for i in range(L)]
    difference = np.abs(found - expected).max()  # 2.2e-16 on x86
    assert difference < 1e-12


def test_where_the_reset_gate_stands_makes_a_difference() -> None:
    """The same matrices in torch's cell, z for 1 - z, are another function; with r = 1 they are the same."""
    cell, torchs = GatedUpdate(C).double(), torch.nn.GRUCell(C, C, bias=False).double()
    a, h = torch.from_numpy(np.random.default_rng(0).normal(size=(2, B, C)))
    with torch.no_grad():
        (W_z, W_r, W), (U_z, U_r) = cell.W.weight.chunk(3), cell.U_gates.weight.chunk(2)
        torchs.weight_ih.copy_(torch.cat([W_r, -W_z, W]))
        torchs.weight_hh.copy_(torch.cat([U_r, -U_z, cell.U.weight]))
        assert (cell(a, h) - torchs(a, h)).abs().max() > 0.01
        a, h = a.abs() + 1, h.abs() + 1
        for opened in (W_r, U_r, torchs.weight_ih[:C], torchs.weight_hh[:C]):
            opened.fill_(10.0)
        assert torch.allclose(cell(a, h), torchs(a, h), rtol=0, atol=1e-12)


@pytest.mark.parametrize("mixture", ["soft", "hard"])
def test_alone_is_the_logit_where_every_message_is_empty(mixture: str) -> None:
    head = trained(mixture=mixture).eval()
    features, *_ = batch(9)
    with torch.no_grad():
        effects, logits = head.effects(features), head(features).logits
    assert head.stages == ("alone", "logit") and effects.pushes is None
    slow = Reference(head)  # nothing counted: no edge of any weight
    images = features.flatten(2).mT.double().numpy()
    assert np.allclose(effects.stages[:, 0].numpy(), [slow.logits(v) for v in images], atol=1e-5)
    assert torch.equal(effects.stages[:, 1], logits)
    assert (effects.stages[:, 0] - logits).abs().max() > 1e-4
    assert made(steps=0).stages == ("logit",)


def test_without_steps_it_is_semantic_attention_alone() -> None:
    head = made(steps=0)
    features, y, mask = batch()
    output = head(features, y, mask)
    images = features.flatten(2).mT.double().numpy()
    slow = Reference(head)
    assert np.allclose(output.logits.detach().numpy(), [slow.logits(v) for v in images], atol=1e-5)
    assert output.losses == {}
    output.logits.square().sum().backward()
    assert {name for name, _ in head.named_parameters()} == {
        *("embeddings.E", "U.weight", "V.weight", "w.weight"),
        *("readout.weight", "readout.bias", "classifier.weight", "classifier.bias"),
    }
    assert all(parameter.grad.any() for parameter in head.parameters())
    assert head.learned() == head.tracked() == {}
    with torch.inference_mode():
        assert list(head.eval().look(features)) == ["attention"]


def test_one_linear_layer_of_a_vector_twice_is_one_of_the_vector() -> None:
    """Equation 15 at T = 0: nothing that [f, f] can be read as is lost by reading f."""
    head = made(steps=0)
    f = torch.from_numpy(np.random.default_rng(0).normal(size=(B, L, C)))
    weight = torch.from_numpy(np.random.default_rng(1).normal(size=(C, 2 * C)))
    head.double().readout.weight.data.copy_(weight[:, :C] + weight[:, C:])
    twice = (torch.cat([f, f], -1) @ weight.mT + head.readout.bias).tanh()
    expected = (twice * head.classifier.weight).sum(-1) + head.classifier.bias
    assert torch.allclose(head._logits(f), expected, rtol=0, atol=1e-12)


def test_an_entropy_weight_is_lambda_beside_a_mean_over_findings() -> None:
    """Equations 17 and 18 times L: our supervised loss is a sum where the paper's is a mean."""
    head = made(entropy_weight=1.0)
    features, y, mask = batch(known=1.1)
    output = head(features, y, mask)
    ours = LOSS(output.logits, y, mask) + output.losses["scenes"]
    papers = LOSS(output.logits, y, mask) / L + scene_loss(head.scenes(features))
    assert torch.allclose(ours, L * papers)


def test_without_masks_a_row_of_counts_is_divided_by_its_diagonal() -> None:
    head = made()
    head(*batch(known=1.1))
    counts, P = head.together.double(), head.cooccurrence()
    shown = counts.diagonal(dim1=1, dim2=2) > 0
    divided = (counts / counts.diagonal(dim1=1, dim2=2)[:, :, None])[shown]
    assert torch.allclose(P[shown].double(), divided)


def test_a_batch_is_not_told_its_own_labels_but_the_next_one_is() -> None:
    features, y, mask = batch()
    heads = [trained(), trained()]
    first = [head(features, labels, mask).logits for head, labels in zip(heads, (y, 1 - y), strict=True)]
    assert torch.equal(*first)
    following = [head(*batch(1)).logits for head in heads]
    assert (following[0] - following[1]).abs().max() > 1e-4


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # dynamo looks at it
def test_compiled_its_gradients_are_not_told_either() -> None:
    plain, head = trained(), trained()
    compiled = torch.compile(head, dynamic=False, backend="aot_eager")
    for module in (plain, compiled):
        module(*batch()).logits.square().sum().backward()
    assert same_counts(counts_of(head), counts_of(plain))
    assert torch.allclose(head.W.weight.grad, plain.W.weight.grad, atol=1e-6)


def test_nothing_is_counted_in_evaluation_or_without_labels() -> None:
    head = trained()
    before = counts_of(head)
    assert head(batch()[0]).losses
    assert same_counts(counts_of(head), before)
    assert head.eval()(*batch()).losses == {}
    assert same_counts(counts_of(head), before)


def test_a_finding_that_a_scene_never_showed_sends_nothing() -> None:
    head = made()
    features, y, mask = batch()
    y[:, 1] = 0
    head(features, y, mask)
    assert (head.cooccurrence()[:, 1] == 0).all()
    output = head(features, y, mask)
    (output.logits.sum() + output.losses["scenes"]).backward()
    assert output.logits.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in head.parameters())


def test_a_masked_label_counts_nowhere_whatever_it_is() -> None:
    features, y, mask = batch()
    counts, outputs = [], []
    for hidden in (0.0, 1.0, math.nan):
        head = trained()
        outputs.append(head(features, torch.where(mask, y, hidden), mask))
        counts.append(counts_of(head))
    assert not mask.all()
    for found, output in zip(counts[1:], outputs[1:], strict=True):
        assert same_counts(found, counts[0])
        assert torch.equal(output.logits, outputs[0].logits)
        assert torch.equal(output.losses["scenes"], outputs[0].losses["scenes"])


def test_a_mixed_image_counts_with_the_labels_of_the_one_it_shows_most() -> None:
    features, y, mask = batch()
    mixed, plain = made(), made()
    mixed(features, 0.7 * y + 0.3 * y.flip(0), mask)
    plain(features, y, mask)
    assert same_counts(counts_of(mixed), counts_of(plain))


def test_counts_stay_exact_where_floats_do_not() -> None:
    head = made(scenes=1)
    large = 2**53
    for name in COUNTS:
        getattr(head, name).fill_(large)
    features, y, mask = batch()
    head(features, y, mask)
    shown = ((y == 1) & mask).long()
    assert torch.equal(head.together[0] - large, shown.T @ shown)
    assert torch.equal(head.given[0] - large, shown.T @ mask.long())
    assert head.images.tolist() == [large + B]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_counts_are_exact_and_scenes_in_fp32(dtype: torch.dtype) -> None:
    features, y, mask = batch(known=1.1)
    many = [tensor.repeat(301, *[1] * (tensor.ndim - 1)) for tensor in (features, y, mask)]
    half, full = made(), made()
    with torch.autocast("cpu", dtype):
        output = half(*many)
    expected = full(*many)
    assert same_counts(counts_of(half), counts_of(full))
    assert half.together.diagonal(dim1=1, dim2=2).sum() == 301 * y.sum()
    assert output.logits.dtype is output.losses["scenes"].dtype is torch.float32
    assert torch.equal(output.losses["scenes"], expected.losses["scenes"])
    assert torch.allclose(output.logits, expected.logits, atol=0.02)


def test_dropout_is_on_the_findings_vectors_in_training_alone() -> None:
    head, features = made(dropout=1.0), batch()[0]
    no_image = made().eval()(torch.zeros(B, C, H, W)).logits
    assert torch.allclose(head(features).logits, no_image)
    assert torch.allclose(head.eval()(features).logits, made().eval()(features).logits)


def test_gradients_reach_every_parameter() -> None:
    head = trained(entropy_weight=0.0)
    output = head(*batch())
    assert output.losses["scenes"] == 0
    (output.logits.square().sum() + output.losses["scenes"]).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert (parameter.grad != 0).any(), name
    names = {name for name, _ in head.named_parameters()}
    assert {"W.weight", "U.weight", "V.weight", "w.weight", "readout.weight"} <= names
    assert {"gru.W.weight", "gru.U_gates.weight", "gru.U.weight"} <= names


def test_scene_vectors_learn_from_the_entropies_alone_too() -> None:
    head = made(mixture="hard")
    head(*batch()).losses["scenes"].backward()
    assert (head.W.weight.grad.abs().amax(1) > 0).all()


@pytest.mark.parametrize("mixture", ["soft", "hard"])
def test_one_scene_costs_nothing_and_holds_no_parameter_for_show(mixture: str) -> None:
    head = trained(scenes=1, mixture=mixture)
    output = head(*batch())
    assert output.losses["scenes"] == 0
    (output.logits.square().sum() + output.losses["scenes"]).backward()
    assert head.W is None
    assert all(parameter.grad.any() for parameter in head.parameters())


def test_a_seeds_other_weights_are_those_they_were_when_one_scene_had_a_weight(cpu: Machine) -> None:
    head = made(scenes=1, cell="torch", embeddings="cooccurrence")
    with seeded(cpu, 0):
        expected = {
            "U.weight": torch.nn.Linear(C, 5, bias=False).weight,
            "V.weight": torch.nn.Linear(3, 5, bias=False).weight,
            "w.weight": torch.nn.Linear(5, 1, bias=False).weight,
            "W.weight": torch.nn.Linear(C, 1, bias=False).weight,
            "gru.weight_ih": torch.nn.GRUCell(C, C).weight_ih,
            "readout.weight": torch.nn.Linear(2 * C, C).weight,
        }
    state = head.state_dict()
    assert expected.keys() - state.keys() == {"W.weight"}
    assert all(torch.equal(state[name], expected[name]) for name in expected.keys() & state.keys())


@pytest.mark.parametrize("scenes", [1, 2])
def test_an_older_checkpoint_says_no_cell_has_torchs_and_scores_as_it_did(
    scenes: int, cpu: Machine, tmp_path: Path
) -> None:
    """Where it is of one scene, it also holds a W, on which nothing depended."""
    stated = {name: value for name, value in SETTINGS.items() if name != "cell"}
    settings = stated | {"kind": "salgl", "scenes": scenes}
    with seeded(cpu, 0):
        model = build_model(TINY, init="none", findings=3, head=head_settings(settings), size=32)
    gray = pictures(0)[0]
    y, mask = (tensor[:, :3] for tensor in batch()[1:])
    model.head(model.features(gray), y, mask)  # scenes have counts now
    state = model.eval().state_dict()
    state |= {"head.W.weight": torch.ones(scenes, state["head.U.weight"].shape[1])} if scenes == 1 else {}
    assert {"head.gru.weight_ih", "head.W.weight"} <= state.keys()
    card = Card(
        findings=["a", "b", "c"],
        id_column="Image_name",
        backbone=TINY,
        head=settings,
        size=32,
        preprocessing="v1",
        fold=0,
        k=1,
        epoch=1,
        macro_auc=0.75,
        prevalence=[0.1, 0.2, 0.3],
        params={},
        sha256={},
        versions={},
    )
    save_checkpoint(tmp_path / "fold0.safetensors", state, card)
    loaded = load_fold(tmp_path / "fold0.safetensors", cpu)
    assert torch.equal(loaded.model(gray).logits, model(gray).logits)
    assert loaded.model.head.settings.cell == "torch"


def test_scenes_cost_least_where_images_are_sure_and_scenes_even() -> None:
    sure, torn = torch.eye(3).repeat(2, 1), torch.full((6, 3), 1 / 3)
    collapsed = torch.eye(3)[[0] * 6]
    assert scene_loss(sure).item() == pytest.approx(0, abs=1e-6)
    assert scene_loss(torn).item() == pytest.approx(math.log(3))
    assert scene_loss(collapsed).item() == pytest.approx(math.log(3))


def test_a_scene_of_probability_zero_has_a_finite_loss_and_gradient() -> None:
    logits = torch.tensor([[0.0, -1e4], [0.0, -1e4]], requires_grad=True)
    pi = logits.softmax(1)
    assert (pi[:, 1] == 0).all()
    assert (entropy(pi) == 0).all()
    loss = scene_loss(pi)
    assert loss.item() == pytest.approx(math.log(2))
    loss.backward()
    assert logits.grad.isfinite().all()


def test_permuting_findings_permutes_logits_and_counts() -> None:
    head, order = trained(), torch.tensor([2, 0, 3, 1])
    other = copy.deepcopy(head)
    with torch.no_grad():
        for permuted, original in (
            (other.embeddings.E, head.embeddings.E),
            (other.classifier.weight, head.classifier.weight),
            (other.classifier.bias, head.classifier.bias),
        ):
            permuted.copy_(original[order])
        for name in ("together", "given"):
            getattr(other, name).copy_(getattr(head, name)[:, order][:, :, order])
    features, y, mask = batch()
    logits = head(features, y, mask).logits
    assert torch.allclose(other(features, y[:, order], mask[:, order]).logits, logits[:, order], atol=1e-6)
    assert torch.equal(other.together, head.together[:, order][:, :, order])
    assert torch.equal(other.given, head.given[:, order][:, :, order])


@pytest.mark.parametrize("mixture", ["soft", "hard"])
def test_scenes_have_no_order(mixture: str) -> None:
    head, order = trained(scenes=3, mixture=mixture), torch.tensor([2, 0, 1])
    other = copy.deepcopy(head)
    with torch.no_grad():
        for name in ("W.weight", *COUNTS):
            other.state_dict()[name].copy_(head.state_dict()[name][order])
    assert not torch.equal(other.together, head.together)
    assert torch.allclose(other(batch()[0]).logits, head(batch()[0]).logits, atol=1e-6)


def test_in_evaluation_the_rest_of_the_batch_does_not_matter() -> None:
    head, features = trained().eval(), batch()[0]
    alone = torch.cat([head(row).logits for row in features.split(1)])
    assert torch.allclose(head(features).logits, alone, atol=1e-6)


def test_a_state_dict_holds_counts_and_embeddings() -> None:
    rng = np.random.default_rng(0)
    y, known = (rng.random((20, L)) < 0.5).astype(float), rng.random((20, L)) < 0.9
    head = made(embeddings="cooccurrence", dropout=0.5)
    head.begin(y, known, findings=list("abcd"))
    assert np.allclose(head.embeddings.E.numpy(), label_embeddings(y, known, dim=3))
    head(*batch())
    other = made(embeddings="cooccurrence")
    other.load_state_dict(head.state_dict())
    assert same_counts(counts_of(other), counts_of(head))
    assert torch.equal(other.eval()(batch()[0]).logits, head.eval()(batch()[0]).logits)


def test_it_shows_where_findings_look_and_what_occurs_together() -> None:
    head, features = trained().eval(), batch()[0]
    with torch.inference_mode():
        looked = head.look(features)
    attention, scenes = looked["attention"], looked["scenes"]
    assert attention.axes == ("image", "finding", "row", "column")
    assert np.allclose(attention.values.reshape(B, L, H * W), head.attention(features).detach())
    assert np.allclose(attention.values.sum((2, 3)), 1)
    assert scenes.axes == ("image", "scene")
    assert np.allclose(scenes.values, head.scenes(features).detach())
    learned = head.learned()
    assert {picture.axes for picture in learned.values()} == {("scene", "given", "finding")}
    assert np.array_equal(learned["scene_counts"].values, head.together)
    assert np.allclose(learned["scene_cooccurrence"].values, head.cooccurrence())


def test_the_share_of_the_largest_scene_is_tracked() -> None:
    head = made()
    assert head.tracked() == {"largest_scene_share": 0.0}
    head.images.copy_(torch.tensor([1, 3]))
    assert head.tracked() == {"largest_scene_share": 0.75}


LOSS = partial(asymmetric_loss, gamma_neg=4.0, gamma_pos=0.0, clip=0.05)


def learner(cpu: Machine) -> Learner:
    with seeded(cpu, 0):
        head = SETTINGS | {"kind": "salgl"}
        model = build_model(TINY, init="none", findings=L, head=head_settings(head), size=32)
    return Learner(model, LOSS, cpu, weight_decay=1e-4, clip_norm=1.0, ema_decay=0.9)


def pictures(seed: int) -> Batch:
    _, y, mask = batch(seed)
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (B, 1, 32, 32), generator=rng).float(), y, mask


def test_the_moving_average_has_the_very_counts(cpu: Machine) -> None:
    learns = learner(cpu)
    for step in range(3):
        learns.step(*pictures(step), lr=1e-3, keys=(step,))
    assert learns.model.head.images.sum() == 3 * B
    assert same_counts(counts_of(learns.averaged.head), counts_of(learns.model.head))


def test_a_skipped_step_is_not_counted(cpu: Machine) -> None:
    learns = learner(cpu)
    learns.step(*pictures(0), lr=1e-3, keys=(0,))
    before = counts_of(learns.model.head)
    gray, y, mask = pictures(1)
    gray[1, 0, 3, 3] = math.inf
    learns.step(gray, y, mask, lr=1e-3, keys=(1,))
    assert learns.skipped == 1
    assert same_counts(counts_of(learns.model.head), before)
    assert same_counts(counts_of(learns.averaged.head), before)


def test_a_process_alone_is_the_sum() -> None:
    summand = torch.tensor([1.0, 2.0], requires_grad=True)
    assert summed(summand) is summand


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, torch.Tensor]]:
    """What each of two processes saw."""
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-W", "error", str(Path(salgl_ranks.__file__)), str(folder)]
    runs = [subprocess.Popen(words, env=os.environ | world | {"RANK": str(rank)}) for rank in range(2)]
    assert [run.wait() for run in runs] == [0, 0]
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def test_a_sum_over_processes_is_exact_and_hands_on_everyones_gradients(
    ranks: list[dict[str, torch.Tensor]],
) -> None:
    for seen in ranks:
        assert seen["total"].tolist() == [3.0, 20.0]
        assert seen["of both losses"].tolist() == [2 * 2 * 3.0, 2 * 2 * 20.0]
        assert seen["count"].tolist() == [salgl_ranks.LARGE]


def test_two_processes_count_and_learn_what_one_does(ranks: list[dict[str, torch.Tensor]]) -> None:
    alone = salgl_ranks.train(slice(None), processes=1)
    losses = torch.stack([seen["losses"] for seen in ranks])
    assert (losses[0] - losses[1]).abs().min() > 1e-4  # each has its own images' entropies
    assert torch.allclose(losses.mean(0), alone["losses"], rtol=0, atol=1e-6)
    for seen in ranks:
        assert same_counts(seen, alone)
        for name in alone.keys() - {*COUNTS, "losses"}:
            assert torch.allclose(seen[name], alone[name], rtol=0, atol=1e-6), name
    assert alone["images"].min() > 0
