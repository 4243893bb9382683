"""The paper's recipe runs as it is shipped: its model, a training step and a validation batch at 380 px."""

from pathlib import Path

import pytest
import torch

import cxrscore.params
from cxrscore.augment import draw_warps, warp
from cxrscore.loss import build_loss
from cxrscore.machine import Machine, seeded
from cxrscore.model import build_model, parameter_count
from cxrscore.params import read_params
from cxrscore.predict import mean, predict_views
from cxrscore.training.learner import Learner

PAPER = Path(cxrscore.params.__file__).parent / "presets" / "paper.yaml"
BATCH = 2  # of the preset's 24: what fits any machine; the shapes are otherwise the paper's


def test_the_paper_preset_takes_a_step_and_scores_a_batch(
    cpu: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    params = read_params(PAPER)
    train, findings, size = params.train, len(params.labels.findings), params.prepare.size
    with seeded(cpu, train.seed):
        model = build_model(
            train.backbone, init="none", findings=findings, head=train.head.model_dump(), size=size
        )
    with capsys.disabled():
        print(f"\npaper preset: {parameter_count(model):,} parameters at {size} px")  # noqa: T201
    assert parameter_count(model) == 46_935_298
    y = (torch.arange(BATCH * findings) % 3 == 0).float().view(BATCH, findings)
    mask = torch.ones(BATCH, findings, dtype=torch.bool)
    learner = Learner(
        model,
        build_loss(y.numpy(), mask.numpy(), device=cpu.device, **train.loss.model_dump()),
        cpu,
        lr=train.lr,
        weight_decay=train.weight_decay,
        clip_norm=train.clip_norm,
        ema_decay=train.ema_decay,
    )
    gray = torch.randint(0, 256, (BATCH, 1, size, size), generator=torch.Generator().manual_seed(0)).to(
        torch.uint8
    )
    low, high = train.augment.scale
    theta = draw_warps(
        BATCH, seed=0, epoch=0, scale=(low, high), flip=train.augment.flip, degrees=train.augment.degrees
    )
    loss = learner.step(warp(gray, torch.from_numpy(theta)), y, mask, lr=train.lr, keys=(0,))
    probs = mean(predict_views(learner.ema.module.eval(), gray, views=train.views, machine=cpu))
    assert 0 < loss < 100
    assert probs.shape == (BATCH, findings)
    assert ((probs > 0) & (probs < 1)).all()
