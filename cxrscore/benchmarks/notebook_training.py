"""The training loop that a notebook would write: files opened and augmented in a DataLoader, timm, autocast.

In    a folder of radiographs with their names and targets, a TrainingSetup.
Out   NotebookTraining, whose epoch() trains on every image once (the rest of a last batch is left out). Every
      epoch decodes every file again. The number format is what such loops have: fp32, on a GPU autocast to
      fp16 with a scaler.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from PIL import Image
from timm.utils.model_ema import ModelEmaV2
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from cxrscore.benchmarks.training_setup import (
    CLIP,
    CLIP_NORM,
    DEGREES,
    EMA_DECAY,
    FLIP,
    GAMMA_NEG,
    GAMMA_POS,
    LR,
    SCALE,
    WEIGHT_DECAY,
    TrainingSetup,
)

TINY = 1e-8


class LabelledRadiographs(Dataset[tuple[Tensor, Tensor]]):
    """`y` (n, L) float32, row i for names[i]."""

    def __init__(self, folder: Path, names: Sequence[str], y: Tensor, setup: TrainingSetup) -> None:
        trained: Any = timm.get_pretrained_cfg(setup.backbone)
        self.folder, self.names, self.y = folder, names, y
        self.transform = v2.Compose(
            [
                v2.Resize((setup.size, setup.size), antialias=True),
                v2.RandomResizedCrop(setup.size, scale=SCALE, antialias=True),
                v2.RandomHorizontalFlip(FLIP),
                v2.RandomRotation(DEGREES),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(trained.mean, trained.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = Image.open(self.folder / self.names[index]).convert("RGB")
        return self.transform(image), self.y[index]


def loss_by_hand(logits: Tensor, y: Tensor) -> Tensor:
    """(B, L) logits and targets -> the asymmetric loss, summed over findings, averaged over images."""
    p = torch.sigmoid(logits.float())
    p_neg = (p - CLIP).clamp(min=0)
    positive = y * (1 - p) ** GAMMA_POS * torch.log(p.clamp(min=TINY))
    negative = (1 - y) * p_neg**GAMMA_NEG * torch.log((1 - p_neg).clamp(min=TINY))
    return -(positive + negative).sum(dim=1).mean()


class NotebookTraining:
    """A network with its optimizer, scaler, moving average and loader."""

    def __init__(self, images: LabelledRadiographs, setup: TrainingSetup, *, workers: int) -> None:
        self.device = setup.machine.device
        self.cuda = self.device.type == "cuda"
        self.loader = DataLoader(
            images,
            batch_size=setup.batch_size,
            shuffle=True,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.cuda,
            drop_last=True,
        )
        network: Any = timm.create_model(setup.backbone, num_classes=images.y.shape[1])
        self.model = network.to(self.device).train()
        self.ema: Any = ModelEmaV2(self.model, decay=EMA_DECAY)  # type: ignore[no-untyped-call]
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.cuda)

    def epoch(self) -> int:
        """-> steps taken."""
        losses = []
        for pixels, y in self.loader:
            pixels, y = pixels.to(self.device, non_blocking=True), y.to(self.device, non_blocking=True)
            with torch.autocast(self.device.type, enabled=self.cuda):
                logits = self.model(pixels)
            loss = loss_by_hand(logits, y)
            self.optimizer.zero_grad()
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP_NORM)
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.ema.update(self.model)
            losses.append(loss.item())
        return len(losses)
