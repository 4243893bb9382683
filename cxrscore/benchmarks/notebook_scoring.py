"""The loop that a notebook would write for K folds with flips: a DataLoader pass for each of them.

In    a folder of radiographs, fold checkpoints of random_model, where to write.
Out   a table like score's. Every file is opened and decoded K x 2 times, nothing is checked, nothing is kept
      on the way. The number format is what such loops have: fp32, on a GPU autocast.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

BATCH_SIZE = 16


class Radiographs(Dataset[Tensor]):
    def __init__(self, paths: Sequence[Path], backbone: str, *, size: int, flip: bool) -> None:
        trained: Any = timm.get_pretrained_cfg(backbone)
        steps: list[nn.Module] = [v2.Resize((size, size), antialias=True)]
        steps += [v2.RandomHorizontalFlip(p=1.0)] if flip else []
        steps += [
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(trained.mean, trained.std),
        ]
        self.paths, self.transform = paths, v2.Compose(steps)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        pixels: Tensor = self.transform(Image.open(self.paths[index]).convert("RGB"))
        return pixels


def notebook_loop(
    folder: Path,
    out_csv: Path,
    checkpoints: Sequence[Path],
    *,
    backbone: str,
    findings: Sequence[str],
    size: int,
    device: torch.device,
    workers: int,
) -> None:
    paths = sorted(folder.iterdir())
    passes = []
    for checkpoint in checkpoints:
        model = _load(backbone, checkpoint, len(findings)).to(device).eval()
        for flip in (False, True):
            dataset = Radiographs(paths, backbone, size=size, flip=flip)
            loader = DataLoader(
                dataset, batch_size=BATCH_SIZE, num_workers=workers, pin_memory=device.type == "cuda"
            )
            passes.append(_predict(model, loader, device))
    mean = np.mean(passes, axis=0)
    with out_csv.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Image_name", *findings])
        writer.writerows([path.name, *row] for path, row in zip(paths, mean.tolist(), strict=True))


def _load(backbone: str, checkpoint: Path, findings: int) -> nn.Module:
    pooled: Any = timm.create_model(backbone, num_classes=0)
    model = nn.Sequential(pooled, nn.Linear(pooled.num_features, findings))
    names = {"backbone": "0", "head.classifier": "1"}
    weights: dict[str, Any] = {}
    for name, tensor in load_file(checkpoint).items():
        for ours, theirs in names.items():
            if name.startswith(f"{ours}."):
                weights[theirs + name.removeprefix(ours)] = tensor
    model.load_state_dict(weights)
    return model


def _predict(model: nn.Module, loader: DataLoader[Tensor], device: torch.device) -> NDArray[np.float32]:
    probs = []
    with torch.no_grad(), torch.autocast(device.type, enabled=device.type == "cuda"):
        for pixels in loader:
            logits = model(pixels.to(device, non_blocking=True))
            probs.append(logits.float().sigmoid().cpu().numpy())
    return np.concatenate(probs)
