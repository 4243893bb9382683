"""The paper's recipe as it is shipped: a step of it is the step that forty plain lines take, at 380 px."""

import math
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

import cxrscore
from cxrscore.core.device import Machine, seeded
from cxrscore.model.heads.registry import head_settings
from cxrscore.model.loss import build_loss
from cxrscore.model.network import build_model, parameter_count
from cxrscore.model.predict import mean, predict_views
from cxrscore.project.params import TrainParams
from cxrscore.project.params_file import read_params
from cxrscore.training.augment import draw_warps, warp
from cxrscore.training.learner import Learner

PARAMS = read_params(Path(cxrscore.__file__).parent / "presets" / "paper.yaml")
L, S = len(PARAMS.labels.findings), PARAMS.prepare.size
BATCH = 2  # of the preset's 24: what fits any machine; the shapes are otherwise the paper's


PAPERS = PARAMS.train.backbone, S
ITS_SMALLEST_KIN = "seresnext26d_32x4d", 64  # for a run that a newcomer waits for


def batch_of(size: int) -> tuple[Tensor, Tensor, Tensor]:
    gray = torch.randint(0, 256, (BATCH, 1, size, size), generator=torch.Generator().manual_seed(0))
    y = (torch.arange(BATCH * L) % 3 == 0).float().view(BATCH, L)
    return gray.to(torch.uint8), y, torch.ones(BATCH, L, dtype=torch.bool)


def our_learner(
    train: TrainParams, y: Tensor, mask: Tensor, machine: Machine, *, backbone: str, size: int
) -> Learner:
    with seeded(machine, train.seed):
        model = build_model(
            backbone, init="none", findings=L, head=head_settings(train.head.model_dump()), size=size
        )
    return Learner(
        model,
        build_loss(y.numpy(), mask.numpy(), device=machine.device, **train.loss.model_dump()),
        machine,
        weight_decay=train.weight_decay,
        clip_norm=train.clip_norm,
        ema_decay=train.ema_decay,
        ema_warmup=train.ema_warmup,
        optimizer=train.optimizer,
        layer_decay=train.layer_decay,
        parts=train.accumulate,
    )


class Plain:
    """The paper's model and step written straight down, III-A to III-E, with nothing of the package."""

    def __init__(self, weights: dict[str, Tensor], backbone: str) -> None:
        self.net: Any = timm.create_model(backbone, num_classes=0, global_pool="")
        self.net.to(memory_format=torch.channels_last).train()
        self.fc, self.A = nn.Linear(2048, L), nn.Parameter(torch.zeros(L, L))
        self.net.load_state_dict({k[9:]: v for k, v in weights.items() if k.startswith("backbone.")})
        self.fc.load_state_dict({k[16:]: v for k, v in weights.items() if k.startswith("head.classifier.")})
        self.decayed = [*self.net.parameters(), *self.fc.parameters()]
        groups = [
            {"params": self.decayed, "weight_decay": 1e-4},
            {"params": [self.A], "weight_decay": 0.0},
        ]
        self.adamw = torch.optim.AdamW(groups, foreach=False)

    def step(self, gray: Tensor, y: Tensor, lr: float) -> float:
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        pixels = (gray - 255 * mean.view(3, 1, 1)) / (255 * std.view(3, 1, 1))
        maps = self.net(pixels.contiguous(memory_format=torch.channels_last))
        z = self.fc(nn.functional.dropout(maps.mean((2, 3)), 0.4))
        A = self.A * (1 - torch.eye(L))
        logits = z + 0.3 * torch.sigmoid(z) @ A
        shifted = (torch.sigmoid(logits) - 0.05).clamp(min=0)
        positive, negative = (
            y * nn.functional.logsigmoid(logits),
            (1 - y) * shifted**4 * torch.log1p(-shifted),
        )
        loss = -(positive + negative).sum() / len(y) + 1e-3 * A.abs().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        every = [*self.decayed, self.A]
        norm = math.sqrt(sum(float((p.grad.double() ** 2).sum()) for p in every if p.grad is not None))
        for p in every:
            assert p.grad is not None
            p.grad *= min(1.0, 1.0 / norm)
        for group in self.adamw.param_groups:
            group["lr"] = lr
        self.adamw.step()
        return float(loss.detach())


@pytest.mark.parametrize(
    ("backbone", "size"), [ITS_SMALLEST_KIN, pytest.param(*PAPERS, marks=pytest.mark.slow)]
)
def test_a_step_is_that_of_the_plain_reference(
    cpu: Machine, backbone: str, size: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """One step: its direction is a gradient's sign, so that in a second one rounding would be amplified."""
    gray, y, mask = batch_of(size)
    train = PARAMS.train
    learner = our_learner(train, y, mask, cpu, backbone=backbone, size=size)
    weights = {name: tensor.clone() for name, tensor in learner.model.state_dict().items()}
    plain = Plain(weights, backbone)
    with seeded(cpu, 7, 0, 0):  # the key, the pass, the process
        expected = plain.step(gray.float(), y, train.lr)
    loss = learner.step(gray.float(), y, mask, lr=train.lr, keys=(7,))
    names = [
        *(f"backbone.{name}" for name, _ in plain.net.named_parameters()),
        *("head.classifier.weight", "head.classifier.bias", "head.A"),
    ]
    theirs = dict(zip(names, (p.detach() for p in (*plain.decayed, plain.A)), strict=True))
    theirs |= {f"backbone.{name}": buffer for name, buffer in plain.net.named_buffers()}
    ours, average = (module.state_dict() for module in (learner.model, learner.averaged))
    apart = max(float((ours[name] - tensor).abs().max()) for name, tensor in theirs.items())
    with capsys.disabled():
        print(f"\npaper preset, {backbone}: after a step {apart:.1e} from the reference")  # noqa: T201
    assert loss == pytest.approx(expected, rel=1e-5)
    assert ours.keys() - theirs.keys() == {"mean", "std"}
    assert apart < 1e-5
    floats = [name for name in ours if ours[name].is_floating_point()]
    assert all(  # the average begins at the initial weights, with its decay
        torch.allclose(average[name], 0.999 * weights[name] + 0.001 * ours[name], atol=1e-6)
        for name in floats
    )


@pytest.mark.slow
def test_it_has_the_papers_size_and_scores_a_batch(cpu: Machine) -> None:
    gray, y, mask = batch_of(S)
    train = PARAMS.train
    assert train.backbone == "seresnext101_32x4d"
    learner = our_learner(train, y, mask, cpu, backbone=train.backbone, size=S)
    assert parameter_count(learner.model) == 46_935_298
    low, high = train.augment.scale
    theta = draw_warps(
        BATCH, seed=0, epoch=0, scale=(low, high), flip=train.augment.flip, degrees=train.augment.degrees
    )
    loss = learner.step(warp(gray, torch.from_numpy(theta)), y, mask, lr=train.lr, keys=(0,))
    probs = mean(predict_views(learner.averaged.eval(), gray, views=train.views, machine=cpu))
    assert math.isfinite(loss)
    assert probs.shape == (BATCH, L)
    assert ((probs > 0) & (probs < 1)).all()
