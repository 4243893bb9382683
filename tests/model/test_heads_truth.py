"""Where the truth is known: label graphs beat independent rows of weights, and couplings are those planted.

A finding that depends on another one is not in the image otherwise: its best score is that of the other one.
Rows of weights reach that score with enough images, so that no head could beat them by much; here, finding 1
has about ten images for 128 channels, the one it depends on has 300. Images, steps, batches, optimizer and
its rate are the same for all heads, but that the independent one chooses its rate, and on the test images.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from some_heads import a_head
from torch import Tensor

from cxrscore.model.heads.base import Head
from cxrscore.statistics.bootstrap import Truth, resampled_areas
from cxrscore.statistics.intervals import interval
from cxrscore.statistics.roc_area import auc_by_finding, macro
from cxrscore.training.schedule import lr_at

SHARE = 0.3  # of images show a finding that depends on none
SEEDS = (20, 21, 22)  # each its own images, none of which settings were chosen by: that was with 0, 1, 2
COMMON = {
    "steps": 100,
    "batch": 32,
    "weight_decay": 10.0,
}  # independent: 10 gives AUC 0.63, 0.01 gives 0.62
RATE, RATES = 5e-3, (2e-3, 5e-3, 1e-2)  # of all heads; to choose from, for the independent one
SOURCE, RARE = 0, 1


class Edge(NamedTuple):
    """What a finding depends on, and its probability where that is there and where it is not."""

    source: int
    there: float
    absent: float


Edges = dict[int, Edge]  # of each dependent finding
Labels = NDArray[np.bool_]


def draw_labels(n: int, findings: int, edges: Edges, rng: np.random.Generator) -> Labels:
    y = rng.random((n, findings)) < SHARE
    for j, edge in edges.items():
        y[:, j] = rng.random(n) < np.where(y[:, edge.source], edge.there, edge.absent)
    return y


def draw_features(
    y: Labels, edges: Edges, rng: np.random.Generator, *, channels: int, gap: float, varies: float = 0.0
) -> Tensor:
    """(n, L) -> (n, C, 2, 2): each finding that depends on none moves the image by `gap` along a direction of
    its own, forth or back, times a log-normal factor that `varies` from image to image. Noise has deviation 1
    an image, 0.3 a place.
    """
    turned = np.linalg.qr(np.random.default_rng(99).normal(size=(channels, channels)))[0]
    directions = turned[: y.shape[1]]
    directions[list(edges)] = 0
    moves = gap * np.exp(varies * rng.normal(size=y.shape)) * (2.0 * y - 1)
    images = moves @ directions + rng.normal(size=(len(y), channels))
    places = 0.3 * rng.normal(size=(len(y), channels, 2, 2))
    return torch.from_numpy(images[:, :, None, None] + places).float()


def trained(
    settings: dict[str, object],
    features: Tensor,
    y: Labels,
    *,
    seed: int,
    lr: float,
    steps: int,
    batch: int,
    weight_decay: float,
) -> Head:
    """AdamW, with warm-up and cosine, on cross-entropy. Biases bear no weight decay, and those of classifiers
    start at the logit of the prevalence.
    """
    torch.manual_seed(seed)
    head = a_head(findings=y.shape[1], channels=features.shape[1], **settings)
    head.begin(y, np.ones_like(y), findings=[f"finding {j}" for j in range(y.shape[1])])
    target = torch.from_numpy(y).float()
    if hasattr(head, "classifier"):
        head.classifier.bias.data.copy_(target.mean(0).logit())
    own = head.own_groups(lr)
    taken = {id(parameter) for group in own for parameter in group["params"]}
    rest = [parameter for parameter in head.parameters() if id(parameter) not in taken]
    decayed = {
        "params": [parameter for parameter in rest if parameter.ndim > 1],
        "weight_decay": weight_decay,
    }
    biases = {"params": [parameter for parameter in rest if parameter.ndim == 1], "weight_decay": 0.0}
    optimizer = torch.optim.AdamW([decayed, biases, *own])
    order = torch.Generator().manual_seed(seed)
    for step in range(steps):
        rate = lr_at(step, warmup=steps // 10, total=steps, peak=lr)
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("lr_scale", 1.0)
        rows = torch.randperm(len(y), generator=order)[:batch]
        optimizer.zero_grad()
        loss_of(head, features[rows], target[rows]).backward()
        optimizer.step()
        head.after_step(optimizer)
    return head.eval()


def loss_of(head: Head, features: Tensor, y: Tensor) -> Tensor:
    def supervised(logits: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, y, reduction="sum") / len(y)

    output = head(features, y, torch.ones_like(y, dtype=torch.bool))
    further = [head.auxiliary_weight * supervised(logits) for logits in output.auxiliary.values()]
    return sum([*further, *output.losses.values()], start=supervised(output.logits))


@dataclass(frozen=True)
class Task:
    """1,000 images to train with; and fresh ones, half of which show the rare finding."""

    seed: int
    features: Tensor
    y: Labels
    test_features: Tensor
    test_y: Labels

    def wins(self, settings: dict[str, object], *, lr: float) -> NDArray[np.float64]:
        """(P, N): whether the image with the rare finding is scored above the one without; the mean is the
        AUC.
        """
        head = trained(settings, self.features, self.y, seed=self.seed, lr=lr, **COMMON)
        with torch.inference_mode():
            scores = head(self.test_features).logits[:, RARE].double().numpy()
        shown, others = scores[self.test_y[:, RARE]], scores[~self.test_y[:, RARE]]
        return (shown[:, None] > others) + 0.5 * (shown[:, None] == others)


@cache
def task(seed: int) -> Task:
    edges, rng = {RARE: Edge(SOURCE, there=0.03, absent=0.001)}, np.random.default_rng(seed)
    y, many = draw_labels(1000, 3, edges, rng), draw_labels(40_000, 3, edges, rng)
    with_it = np.flatnonzero(many[:, RARE])
    test_y = many[np.concatenate([with_it, np.flatnonzero(~many[:, RARE])[: len(with_it)]])]
    features, test_features = (
        draw_features(rows, edges, rng, channels=128, gap=1.25) for rows in (y, test_y)
    )
    return Task(seed, features, y, test_features, test_y)


@cache
def independent() -> tuple[float, list[NDArray[np.float64]]]:
    """The rate that is best on the test images, and the wins there, a seed each."""
    settings = {"kind": "independent", "dropout": 0.0, "pool": "gap"}
    found = {lr: [task(seed).wins(settings, lr=lr) for seed in SEEDS] for lr in RATES}
    best = max(found, key=lambda lr: np.mean([wins.mean() for wins in found[lr]]))
    return best, found[best]


def resampled(gains: NDArray[np.float64], rng: np.random.Generator, times: int = 2000) -> NDArray[np.float64]:
    """(P, N) differences of wins -> (times,) differences of AUC, images with and without drawn again."""
    positives, negatives = (rng.multinomial(n, np.full(n, 1 / n), size=times) for n in gains.shape)
    return ((positives @ gains) * negatives).sum(1) / gains.size


EMBEDDED = {"embeddings": "cooccurrence", "embedding_dim": 300}
HEADS = {
    "coupling": {"alpha": 0.3, "l1": 1e-5, "prox": True, "lr_scale": 100.0, "centred": True},
    "lamp": {
        "graph": "prior",
        "steps": 2,
        "dim": 32,
        "heads": 4,
        "auxiliary_weight": 0.2,
        "feature_steps": 0,
    },
    "agcn": {"graph": "cos", "threshold": 0.4, "reweight": 0.25, "hidden": 64, "identity_weight": 1.0}
    | EMBEDDED,
    "salgl": {"scenes": 1, "steps": 3, "cell": "paper", "mixture": "soft", "joint_dim": 32}
    | {"entropy_weight": 1.0}
    | EMBEDDED,
}


def wins_of(kind: str, **changes: object) -> list[NDArray[np.float64]]:
    """A seed each."""
    settings = {"kind": kind, "dropout": 0.0} | HEADS[kind] | changes
    return [task(seed).wins(settings, lr=RATE) for seed in SEEDS]


def lowest_gain(name: str, after: list[NDArray[np.float64]], before: list[NDArray[np.float64]]) -> float:
    """The lower end of the 95 % interval of the gain in AUC: its mean over the trainings as they are, over
    images that they could be tested on.
    """
    rng = np.random.default_rng(0)
    pairs = list(zip(before, after, strict=True))
    gains = np.mean([resampled(new - old, rng) for old, new in pairs], axis=0)
    low, high = np.percentile(gains, [2.5, 97.5])
    each = ", ".join(f"{old.mean():.3f} -> {new.mean():.3f}" for old, new in pairs)
    print(f"\n{name}: {each}; gain [{low:.3f}, {high:.3f}]")  # noqa: T201
    return float(low)


@pytest.mark.parametrize("kind", HEADS)
def test_a_head_beats_independent_rows_on_a_rare_finding_that_depends_on_another(kind: str) -> None:
    """Of coupling it is A's gain: at lr_scale 0 it is the independent head, and nearly so with the paper's
    settings, under which A stays small in 100 steps. Of lamp and salgl it is not the graph's: el, and salgl
    without messages, score at least as high, by what findings share otherwise.
    """
    rate, before = independent()
    assert lowest_gain(f"independent at {rate} -> {kind}", wins_of(kind), before) > 0


def test_the_gain_of_graph_convolutions_is_their_graphs_too() -> None:
    """That of `cos`. A graph learned from ten images of the finding does not beat the independent head."""
    assert lowest_gain("agcn, identity -> cos", wins_of("agcn"), wins_of("agcn", graph="identity")) > 0


GROUPS, TREE_IMAGES, TREE_TEST = 4, 60, 1000


def tree_labels(n: int, rng: np.random.Generator) -> Labels:
    """(n, 12): each third finding depends on none, and the two after it show with it: 80 % where it is there,
    2 % where it is not.
    """
    edges = {3 * g + i: Edge(3 * g, there=0.8, absent=0.02) for g in range(GROUPS) for i in (1, 2)}
    return draw_labels(n, 3 * GROUPS, edges, rng)


def tree_features(y: Labels, rng: np.random.Generator) -> Tensor:
    dependent = {j: Edge(j - j % 3, 0, 0) for j in range(y.shape[1]) if j % 3}
    return draw_features(y, dependent, rng, channels=64, gap=2.0)


def tree_file(folder: Path, *, shift: int) -> str:
    """Of the planted edges; shifted, each of the dependent findings is linked to another group's."""
    edges = [(3 * ((g + shift) % GROUPS), 3 * g + i) for g in range(GROUPS) for i in (1, 2)]
    path = folder / f"shifted by {shift}.csv"
    path.write_text("a,b\n" + "".join(f"finding {a},finding {b}\n" for a, b in edges))
    return str(path)


@pytest.mark.slow
def test_a_given_tree_of_findings_where_images_are_few(tmp_path: Path) -> None:
    """Eight of twelve findings are in the image by the four that they depend on alone; there are 60 images.
    Messages between findings help. That the planted edges help more than all pairs, or than edges of another
    tree, is printed, not asserted: they did not (docs/decisions.md). Intervals are over test images, of these
    trainings.
    """
    graphs = {"el": "el", "fc": "fc"}
    graphs |= {"tree": tree_file(tmp_path, shift=0), "another tree": tree_file(tmp_path, shift=1)}
    truths, scores = [], {name: list[NDArray[np.float64]]() for name in graphs}
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        y, test_y = tree_labels(TREE_IMAGES, rng), tree_labels(TREE_TEST, rng)
        images, test_images = tree_features(y, rng), tree_features(test_y, rng)
        number = TREE_TEST * len(truths) + np.arange(TREE_TEST)
        truths.append(Truth(test_y.astype(np.int8), np.ones_like(test_y), number))
        for name, graph in graphs.items():
            settings = {"kind": "lamp", "dropout": 0.0} | HEADS["lamp"] | {"graph": graph}
            how = {"steps": 300, "batch": 32, "weight_decay": 0.1}
            head = trained(settings, images, y, seed=seed, lr=2e-3, **how)
            with torch.inference_mode():
                scores[name].append(head(test_images).logits.double().numpy())
    ways = {name: [folds] for name, folds in scores.items()}
    found = resampled_areas(truths, ways, generator=np.random.default_rng(0), resamples=500)
    areas = {name: one.macro for name, one in found.items()}
    for name in graphs:
        each = [macro(auc_by_finding(t.y, t.mask, s)) for t, s in zip(truths, scores[name], strict=True)]
        more = areas["tree"] - areas[name]
        low, high = interval(float(more.mean()), more)
        told = f"{' '.join(f'{area:.4f}' for area in each)}; tree less this [{low:+.4f}, {high:+.4f}]"
        print(f"\n{name}: {told}")  # noqa: T201
    more = areas["fc"] - areas["el"]
    assert interval(float(more.mean()), more)[0] > 0


PLANTED = {1: Edge(0, there=0.6, absent=0.1), 3: Edge(2, there=0.1, absent=0.6)}


def recovered(edges: Edges, seed: int) -> NDArray[np.float32]:
    """A of 6 findings, all parameters learned together.

    A is distinguished from rows of weights only where a finding is plainer in some images than in others: its
    logit then keeps growing where its probability, and with it what depends on it, cannot. With evidence that
    does not vary, edges came out at 0.5 to 4 of 8.7, in one of three trainings beside a false one of 0.1. And
    exact zeros need gradients of little noise, so that a batch is all images here: with 256, two entries of
    28 were left at 3e-6.
    """
    rng = np.random.default_rng(seed)
    y = draw_labels(4000, 6, edges, rng)
    features = draw_features(y, edges, rng, channels=16, gap=2.0, varies=1.0)
    settings = {"kind": "coupling", "dropout": 0.0, "alpha": 0.3, "l1": 2e-3, "prox": True, "lr_scale": 3.0}
    head = trained(settings, features, y, seed=seed, lr=3e-2, steps=300, batch=4000, weight_decay=0.01)
    return head.learned()["coupling"].values


@pytest.mark.parametrize("seed", SEEDS)
def test_coupling_finds_the_planted_edges_with_their_signs_and_no_other(seed: int) -> None:
    A = recovered(PLANTED, seed)
    print(f"\n{A.round(2)}")  # noqa: T201
    found = {(int(i), int(j)): np.sign(A[i, j]) for i, j in np.argwhere(A)}
    assert found == {(0, 1): 1, (2, 3): -1}
    assert (np.abs(A[A != 0]) > 2).all(), "the log odds that were planted are worth 2.6 / 0.3 = 8.7"


def test_coupling_finds_no_edge_where_none_is_planted() -> None:
    assert not recovered({}, seed=0).any()
