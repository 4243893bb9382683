"""Fold models nobody trained: as fast as trained ones, with numbers of the same size inside.

In    a backbone's name, radiographs, how many folds.
Out   CXRModels, and their checkpoints in a folder.

As timm makes them, the last batch norm of a block multiplies by 0: maps of zeros, which hide what a number
format rounds and which a GPU computes with less heat and so faster. Statistics are therefore measured on
radiographs, and those factors are BRANCH.
"""

from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn

from cxrscore import __version__
from cxrscore.core.device import Machine, seeded
from cxrscore.images.reading import PREPROCESSING
from cxrscore.model.checkpoint import Card, save_checkpoint
from cxrscore.model.heads.independent import IndependentSettings
from cxrscore.model.network import CXRModel, build_model
from cxrscore.tables.datasets.chexpert import FINDINGS

BRANCH = 0.2
CALIBRATION = 8  # images are enough for the statistics of a batch norm
HEAD = IndependentSettings(dropout=0.0, pool="gap")  # pooling, a linear layer: as in a notebook


def random_model(backbone: str, gray: Tensor, *, seed: int) -> CXRModel:
    """`gray` (b, 1, S, S): radiographs to measure the batch norms' statistics on. On the CPU, in fp32."""
    with seeded(Machine(torch.device("cpu"), torch.float32), seed):
        model = build_model(backbone, init="none", findings=len(FINDINGS), head=HEAD, size=gray.shape[-1])
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = None  # the mean of what it sees
            if not norm.weight.any():
                norm.weight.fill_(BRANCH)
        model.train()(gray)
    return model.eval().requires_grad_(False)


def card_of(backbone: str, *, size: int, fold: int, folds: int) -> Card:
    return Card(
        findings=list(FINDINGS),
        id_column="Image_name",
        backbone=backbone,
        head=asdict(HEAD),
        size=size,
        preprocessing=PREPROCESSING,
        fold=fold,
        k=folds,
        epoch=0,
        macro_auc=0.5,
        prevalence=[0.1] * len(FINDINGS),
        params={},
        sha256={},
        versions={"cxrscore": __version__, "torch": version("torch"), "timm": version("timm")},
    )


def save_folds(folder: Path, backbone: str, gray: Tensor, *, size: int, folds: int) -> Sequence[Path]:
    """-> the checkpoints, in fold order."""
    paths = [folder / f"fold{fold}.safetensors" for fold in range(folds)]
    for fold, path in enumerate(paths):
        card = card_of(backbone, size=size, fold=fold, folds=folds)
        save_checkpoint(path, random_model(backbone, gray, seed=fold).state_dict(), card)
    return paths
