"""The presets of the other three papers: each number against the paper that states it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import PRESETS, TINY, Project, prepare_and_split
from ruamel.yaml import YAML

import cxrscore
from cxrscore.core.paths import Layout
from cxrscore.evaluate import evaluate
from cxrscore.model.checkpoint import read_card
from cxrscore.project.params import Params
from cxrscore.project.params_file import read_params

L = 14  # findings of the presets


def preset(name: str) -> Params:
    return read_params(Path(cxrscore.__file__).parent / "presets" / f"{name}.yaml")


def test_lamp_is_trained_as_its_appendix_says() -> None:
    params = preset("lamp")
    train: Any = params.train
    head = train.head
    # 8.2: T = 2, d = 512, K = 4 heads, batches of 32. 8.3: Adam, 2e-4, dropout 0.2, lambda of 0, .1, .2, .3
    assert (head.kind, head.steps, head.dim, head.heads, train.batch_size) == ("lamp", 2, 512, 4, 32)
    assert (train.optimizer, train.lr, train.weight_decay, head.dropout) == ("adam", 2e-4, 0.0, 0.2)
    assert head.auxiliary_weight in (0, 0.1, 0.2, 0.3)
    assert (train.loss.kind, train.loss.max_pos_weight, train.loss.label_smoothing) == ("bce", 1.0, 0.0)
    # a constant rate
    assert (train.schedule, train.warmup_epochs) == ("step", 0.0)
    assert train.step_epochs >= train.epochs
    assert train.weights == "raw"


def test_a_gcn_is_trained_as_its_experiments_say() -> None:
    params = preset("a-gcn")
    train: Any = params.train
    assert (train.head.kind, train.head.graph, train.head.identity_weight) == ("agcn", "learned", 1.0)
    assert (train.head.embedding_dim, train.head.hidden, train.head.threshold) == (300, 1024, 0.4)
    assert (train.backbone.partition(".")[0], train.init) == ("resnet101", "imagenet")
    # SGD with momentum, 0.01 over 10 every 30 epochs of 65, weight decay 1e-4, batches of 32
    assert (train.optimizer, train.schedule, train.step_epochs, train.epochs) == ("sgd", "step", 30, 65)
    assert (train.patience, train.warmup_epochs, train.batch_size) == (65, 0.0, 32)
    assert len(params.labels.findings) == L
    assert train.lr * L == pytest.approx(0.01)
    assert train.weight_decay / L == pytest.approx(1e-4)
    # 448 px out of 512, mirrored; nothing else
    augment = train.augment
    assert (params.prepare.size, augment.square, augment.flip) == (448, True, 0.5)
    assert augment.scale == [(448 / 512) ** 2] * 2
    assert (augment.degrees, augment.jitter, augment.rand_ops, augment.cutout, augment.mixup) == (0,) * 5
    assert (train.loss.kind, train.loss.max_pos_weight, train.weights) == ("bce", 1.0, "raw")


def test_salgl_is_trained_as_4_1_says() -> None:
    params = preset("salgl")
    train: Any = params.train
    head, augment, loss = train.head, train.augment, train.loss
    assert (head.kind, head.steps, head.entropy_weight) == ("salgl", 3, 1.0)
    assert (train.backbone.partition(".")[0], train.init, params.prepare.size) == (
        "resnet101",
        "imagenet",
        448,
    )
    # 80 epochs, AdamW, batches of 128, 1-cycle to 1e-4, an average of 0.9997
    assert (train.epochs, train.patience, train.batch_size, train.lr) == (80, 80, 128, 1e-4)
    assert (train.optimizer, train.schedule, train.warmup_epochs) == ("adamw", "one_cycle", 0.0)
    assert (train.ema_decay, train.weights) == (0.9997, "best")
    # equation 17: gamma+ 0, gamma- 2, no shift of the probability
    assert loss.model_dump() == {
        "kind": "asl",
        "gamma_neg": 2.0,
        "gamma_pos": 0.0,
        "clip": 0.0,
        "label_smoothing": 0.0,
    }
    assert (augment.rand_ops, augment.rand_magnitude, augment.cutout) == (2, 9, 0.5)
    assert (augment.scale, augment.flip, augment.degrees, augment.jitter) == ([1.0, 1.0], 0.0, 0.0, 0.0)


@pytest.mark.parametrize("name", ["lamp", "a-gcn", "salgl"])
def test_labels_and_folds_are_those_of_the_first_paper(name: str) -> None:
    ours, first = preset(name), preset("paper")
    assert (ours.labels, ours.folds) == (first.labels, first.folds)
    assert ours.train.views == ["plain"]


def descend(scale: float, *, lr: float, weight_decay: float) -> torch.Tensor:
    """Weights in fp64 after 50 steps down `scale` times the mean cross-entropy over L findings."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(5, L, generator=generator, dtype=torch.float64).requires_grad_()
    optimizer = torch.optim.SGD([weights], lr=lr, momentum=0.9, weight_decay=weight_decay)
    for _ in range(50):
        x = torch.randn(8, 5, generator=generator, dtype=torch.float64)
        y = torch.randint(0, 2, (8, L), generator=generator).double()
        optimizer.zero_grad()
        loss = scale * torch.nn.functional.binary_cross_entropy_with_logits(x @ weights, y)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return weights.detach()


def test_a_sum_over_findings_at_a_gcns_scaled_rate_is_the_papers_mean() -> None:
    papers = descend(1.0, lr=0.01, weight_decay=1e-4)
    ours = descend(L, lr=0.01 / L, weight_decay=L * 1e-4)
    assert (ours - papers).abs().max() < 1e-12
    assert (descend(L, lr=0.01, weight_decay=1e-4) - papers).abs().max() > 0.1


def made_small(name: str, folder: Path, phantoms: Path) -> Project:
    """The preset with the fewest keys changed that let it run on 40 small images: sizes, folds, backbone."""
    yaml, path = YAML(), folder / "params.yaml"
    shutil.copy(PRESETS / f"{name}.yaml", path)
    settings = yaml.load(path.read_text(encoding="utf-8"))
    larger = settings["prepare"]["train_size"]
    settings["prepare"].update(size=32, train_size=larger and 40)
    settings["folds"].update(k=2, train=[0, 1])
    settings["train"].update(backbone=TINY, init="none", epochs=2, batch_size=8)
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(settings, file)
    return Project(phantoms, read_params(path), Layout(folder / "out"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lamp", "a-gcn", "salgl"])
def test_a_recipe_runs_from_images_to_metrics(name: str, phantoms: Path, tmp_path: Path) -> None:
    """Optimizer, schedule, changes of images, loss and head are the preset's own."""
    made = made_small(name, tmp_path, phantoms)
    layout, params, stated = made.layout, made.params, preset(name).train
    for key in ("optimizer", "schedule", "augment", "loss", "head", "lr", "weights", "clip_norm"):
        assert getattr(params.train, key) == getattr(stated, key)
    prepare_and_split(made)
    for fold in (0, 1):
        made.train(fold)
        summary = json.loads(layout.summary(fold).read_text())
        assert (summary["steps"], summary["skipped"]) == (4, 0)  # 2 epochs of 2 batches
        assert read_card(layout.checkpoint(fold)).head["kind"] == params.train.head.kind
    metrics = evaluate(made.labels, layout, labels=params.labels, folds=[0, 1]).metrics
    assert 0 <= metrics["macro_auc"] <= 1 and metrics["images"] == 40
