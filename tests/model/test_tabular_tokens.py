"""Sex, age and view as tokens: the equations in loops, and a head without them that is what it was."""

from math import cos, exp, isnan, nan, sin, sqrt
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from some_heads import a_head

from cxrscore.core.device import Machine, seeded
from cxrscore.core.errors import BrokenPromise, UserError
from cxrscore.model.heads.lamp import Lamp
from cxrscore.tables.tabular_inputs import Encoding

L, C, D, HEIGHT, WIDTH = 3, 5, 8, 2, 3
PLACES = HEIGHT * WIDTH
SETTINGS = {"dropout": 0.0, "graph": "fc", "steps": 2, "dim": D, "heads": 2, "auxiliary_weight": 0.2}
ENCODINGS = [Encoding("Age", (), 60.0, 18.0, 20.0, 90.0), Encoding("Sex", ("F", "M"))]
WITH = {"inputs": ["Age", "Sex"], "encodings": [encoding.as_json() for encoding in ENCODINGS]}
VALUES = torch.tensor([[0.5, 1.0], [-1.5, 0.0], [nan, 1.0], [2.0, nan]])
Vectors = NDArray[np.float64]


def features(rows: int = len(VALUES)) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(rows, C, HEIGHT, WIDTH))).float()


def head_with(**settings: Any) -> Lamp:
    with seeded(Machine(torch.device("cpu"), torch.float32), 0):
        head = a_head("lamp", findings=L, channels=C, **SETTINGS | settings)
    assert isinstance(head, Lamp)
    return head.eval()


def drawn() -> Lamp:
    """With weights so large that attention is far from even."""
    head, generator = head_with(**WITH), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(0.7 * torch.randn(parameter.shape, generator=generator))
    return head


def normal(vector: Vectors, w: dict[str, Vectors], name: str) -> Vectors:
    mean = sum(vector) / D
    spread = sqrt(sum((value - mean) ** 2 for value in vector) / D + 1e-5)
    return (vector - mean) / spread * w[f"{name}.weight"] + w[f"{name}.bias"]


def one_sub_step(nodes: Vectors, sources: Vectors, w: dict[str, Vectors]) -> tuple[Vectors, Vectors]:
    """-> nodes, and attention, the mean over two heads; all pairs are linked."""
    new, shares = [], np.zeros((len(nodes), len(sources)))
    for i, node in enumerate(nodes):
        heard: list[float] = []
        for k in range(2):
            own = slice(k * D // 2, (k + 1) * D // 2)
            query = w["query.weight"][own] @ node
            scores = [exp(query @ (w["key.weight"][own] @ source) / sqrt(D)) for source in sources]
            alpha = [score / sum(scores) for score in scores]
            heard.extend(sum(a * (w["value.weight"][own] @ s) for a, s in zip(alpha, sources, strict=True)))
            shares[i] += np.array(alpha) / 2
        message = normal(node + w["join.weight"] @ np.array(heard), w, "attention_norm")
        hidden = np.maximum(w["mlp.0.weight"] @ message + w["mlp.0.bias"], 0)
        new.append(normal(message + w["mlp.2.weight"] @ hidden + w["mlp.2.bias"], w, "mlp_norm"))
    return np.array(new), shares


def place(row: int, column: int) -> list[float]:
    rates = [1 / 10_000 ** (i / (D // 4)) for i in range(D // 4)]
    return [wave(at * rate) for at in (row, column) for wave in (sin, cos) for rate in rates]


def reference(w: dict[str, Vectors], image: Vectors, age: float, sex: float) -> tuple[Vectors, list[Vectors]]:
    """Logits, and the attention of each step to places and then to age and sex."""
    tokens = [
        w["project.weight"] @ image[:, row, column] + w["project.bias"] + place(row, column)
        for row in range(HEIGHT)
        for column in range(WIDTH)
    ]
    first = {name: w[f"further.columns.0.{name}"] for name in ("w", "v", "unknown")}
    tokens.append(first["unknown"] if isnan(age) else age * first["w"] + first["v"])
    tokens.append(w["further.columns.1.E"][2 if isnan(sex) else int(sex)])
    nodes, attention = w["W_y"], []
    for i in range(4):
        own = {n.removeprefix(f"sub_steps.{i}."): a for n, a in w.items() if n.startswith(f"sub_steps.{i}.")}
        nodes, shares = one_sub_step(nodes, np.array(tokens) if i % 2 == 0 else nodes, own)
        attention += [shares] if i % 2 == 0 else []
    return np.array([w["W_y"][j] @ nodes[j] + w["b"][j] for j in range(L)]), attention


def test_logits_and_attention_are_those_of_the_equations() -> None:
    head = drawn()
    w = {name: tensor.double().numpy() for name, tensor in head.state_dict().items()}
    logits, pictures = head(features(), inputs=VALUES).logits.detach(), head.look(features(), VALUES)
    places, inputs = pictures["attention_tokens"], pictures["attention_inputs"]
    assert places.axes == ("image", "finding", "step", "row", "column")
    assert inputs.axes == ("image", "finding", "step", "input")
    for i, image in enumerate(features().double().numpy()):
        expected, attention = reference(w, image, *VALUES[i].tolist())
        assert np.allclose(logits[i], expected, atol=1e-5)
        for step, shares in enumerate(attention):
            seen = places.values[i, :, step].reshape(L, PLACES)
            assert np.allclose(seen, shares[:, :PLACES], atol=1e-5)
            assert np.allclose(inputs.values[i, :, step], shares[:, PLACES:], atol=1e-5)


def test_each_value_changes_the_logits_and_unknown_is_a_value_of_its_own() -> None:
    head, maps = drawn(), features(1).expand(6, -1, -1, -1)
    rows = torch.tensor([[0.5, 0.0], [0.5, 1.0], [0.5, nan], [0.0, 0.0], [nan, 0.0], [nan, nan]])
    logits = head(maps, inputs=rows).logits
    gaps = (logits[:, None] - logits[None]).abs().amax(-1) + torch.eye(len(rows))
    assert gaps.min() > 1e-3


def test_an_image_is_scored_by_its_own_values_alone() -> None:
    head, order = drawn(), [2, 0, 3, 1]
    whole, other = head(features(), inputs=VALUES), head(features()[order], inputs=VALUES[order])
    assert torch.allclose(other.logits, whole.logits[order], atol=1e-6)


def test_one_step_reaches_every_parameter() -> None:
    head = drawn().train()
    head(features(), inputs=VALUES).logits.square().sum().backward()
    still = [name for name, p in head.named_parameters() if p.grad is None or not p.grad.abs().any()]
    assert still == []
    table = head.get_parameter("further.columns.1.E")
    assert table.grad is not None
    assert table.grad.abs().sum(1).min() > 0  # F, M, unknown
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())


def test_a_head_without_inputs_starts_with_the_weights_it_always_had() -> None:
    before = head_with().state_dict()  # settings of an older checkpoint, without the key
    assert all(torch.equal(before[name], now) for name, now in head_with(inputs=[]).state_dict().items())
    further = head_with(**WITH).state_dict()
    assert all(torch.equal(further[name], tensor) for name, tensor in before.items())
    assert {name.split(".")[0] for name in further.keys() - before.keys()} == {"further"}
    assert "attention_inputs" not in head_with().look(features())


def test_a_head_is_never_given_less_or_more_than_it_reads() -> None:
    with pytest.raises(BrokenPromise, match="2 inputs was given none"):
        head_with(**WITH)(features())
    with pytest.raises(BrokenPromise, match="0 inputs was given some"):
        head_with()(features(), inputs=VALUES)
    with pytest.raises(BrokenPromise, match="2 columns"):
        head_with(**WITH)(features(), inputs=VALUES[:, :1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"inputs": ["Age", "Sex"]}, r"\['Age', 'Sex'\] with encodings of \[\]"),
        (WITH | {"inputs": ["Sex", "Age"]}, r"\['Sex', 'Age'\] with encodings of \['Age', 'Sex'\]"),
        (WITH | {"encodings": [{"column": "Age"}]}, "encodings: .* a list of encodings"),
        ({"inputs": ["Age", "Age"]}, "inputs: .* a list of distinct texts"),
        ({"inputs": "Age"}, "inputs: .* a list of distinct texts"),
    ],
)
def test_inputs_without_their_encodings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        head_with(**settings)
