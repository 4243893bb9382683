"""What is trained in a race: the same network, recipe and images for every way; and ours, ready to train.

In    a backbone's name, S, B, the device and its number format; a label table and prepared images.
Out   TrainingSetup; FoldData in which every image is trained on; a Learner; the recipe as `train` takes it.
The numbers are the paper's (presets/paper.yaml), but for weights that are random and a plain head.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from cxrscore.benchmarks.random_models import HEAD
from cxrscore.core.device import Machine, seeded
from cxrscore.core.errors import promise
from cxrscore.images.image_store import open_store
from cxrscore.model.loss import build_loss
from cxrscore.model.network import build_model
from cxrscore.tables.datasets.chexpert import FINDINGS
from cxrscore.tables.labels import read_labels
from cxrscore.training.fold_data import FoldData
from cxrscore.training.learner import Learner

SCALE, FLIP, DEGREES = (0.84, 1.0), 0.5, 10.0
GAMMA_NEG, GAMMA_POS, CLIP = 4.0, 0.0, 0.05
LR, WEIGHT_DECAY, CLIP_NORM, EMA_DECAY = 2e-4, 1e-4, 1.0, 0.999


@dataclass(frozen=True)
class TrainingSetup:
    """The work of every way in a race."""

    backbone: str
    size: int
    batch_size: int
    machine: Machine

    def __str__(self) -> str:
        return f"{self.backbone}, batches of {self.batch_size} at {self.size} px"


class Section(SimpleNamespace):
    """A section of params.yaml without pydantic, which a machine that only computes may lack."""

    def model_dump(self) -> dict[str, Any]:
        return {name: v.model_dump() if isinstance(v, Section) else v for name, v in vars(self).items()}


LABELS: Any = Section(
    format="table",
    id="Image_name",
    patient=None,
    patient_pattern=None,
    study=None,
    patient_ids="text",
    findings=list(FINDINGS),
    blank="zero",
    uncertain="error",
    readers="error",
)


def recipe(setup: TrainingSetup, *, epochs: int) -> Any:
    """The section `train`."""
    return Section(
        backbone=setup.backbone,
        init="none",
        init_except=[],
        drop_path=0.0,
        freeze_epochs=0,
        head=Section(**asdict(HEAD)),
        loss=Section(kind="asl", gamma_neg=GAMMA_NEG, gamma_pos=GAMMA_POS, clip=CLIP, label_smoothing=0.0),
        augment=Section(
            scale=list(SCALE),
            square=False,
            flip=FLIP,
            degrees=DEGREES,
            jitter=0.0,
            rand_ops=0,
            rand_magnitude=9,
            cutout=0.0,
            mixup=0.0,
        ),
        views=["plain"],
        epochs=epochs,
        schedule="cosine",
        step_epochs=30,
        warmup_epochs=1.0,
        patience=epochs,
        batch_size=setup.batch_size,
        accumulate=1,
        optimizer="adamw",
        lr=LR,
        layer_decay=1.0,
        weight_decay=WEIGHT_DECAY,
        clip_norm=CLIP_NORM,
        ema_decay=EMA_DECAY,
        ema_warmup=True,
        weights="best",
        max_bad_steps=20,
        seed=0,
    )


def every_image(labels_csv: Path, prepared: Path, machine: Machine) -> FoldData:
    """All rows of a store that holds every labelled image: train on them, validate on none."""
    store, table = open_store(prepared), read_labels(labels_csv, **LABELS.model_dump())
    promise(list(table.ids) == list(store.ids), "phantoms can all be read")
    return FoldData(
        store=store,
        findings=table.findings,
        targets=torch.from_numpy(table.targets).to(machine.device),
        y=torch.from_numpy(table.y).float().to(machine.device),
        mask=torch.from_numpy(table.mask).to(machine.device),
        train=np.arange(len(store)),
        val=np.arange(0),
        k=1,
    )


def new_learner(setup: TrainingSetup, *, compile: bool = False, checkpointing: bool = False) -> Learner:
    """As `train` makes it."""
    params = recipe(setup, epochs=1)
    machine = replace(setup.machine, compile=compile, checkpointing=checkpointing)
    with seeded(machine, params.seed):
        model = build_model(setup.backbone, init="none", findings=len(FINDINGS), head=HEAD, size=setup.size)
    none = np.zeros((0, len(FINDINGS)))
    return Learner(
        model,
        build_loss(none, none, device=machine.device, **params.loss.model_dump()),
        machine,
        weight_decay=params.weight_decay,
        clip_norm=params.clip_norm,
        ema_decay=params.ema_decay,
    )
