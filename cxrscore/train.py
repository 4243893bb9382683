"""Train one fold: prepared images and labels -> a checkpoint, its out-of-fold table, its history.

In    out/prepared, out/folds.csv, data/labels.csv.
Out   out/models/fold{k}.safetensors (the moving average at the epoch with the best validation macro-AUC),
      out/oof/fold{k}.csv and .flip.csv (predictions of the very file that was saved),
      out/history/fold{k}.csv, out/summary/fold{k}.json.
Source: Srivastava, Gupta & Nath, "Learning sparse label couplings for multilabel chest X-ray diagnosis",
III-A to III-F.
"""

import copy
import json
import math
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from cxrscore import __version__
from cxrscore.augment import draw_warps, epoch_order, warp
from cxrscore.batches import batches
from cxrscore.checkpoint import Card, load_fold, save_checkpoint
from cxrscore.errors import UserError
from cxrscore.files import sha256_file, write_table, write_text
from cxrscore.fold_data import FoldData, read_fold
from cxrscore.layout import Layout
from cxrscore.learner import Learner, lr_at
from cxrscore.loss import build_loss
from cxrscore.machine import Machine, seeded
from cxrscore.metrics import auc_by_finding, macro
from cxrscore.model import CXRModel, build_model, parameter_count
from cxrscore.predict import mean, pad, predict_views
from cxrscore.submission import write_scores

if TYPE_CHECKING:
    from cxrscore.params import LabelParams, TrainParams
    from cxrscore.progress import Progress

CALMER = "lower train.lr, or use --dtype fp32"
SPARSE_BELOW = 0.01  # |A| under this counts as no coupling: at alpha 0.3 it moves a logit by at most 0.003


def train_fold(
    fold: int,
    *,
    labels_csv: Path,
    layout: Layout,
    labels: "LabelParams",
    params: "TrainParams",
    machine: Machine,
    progress: "Progress",
) -> None:
    data = read_fold(fold, labels_csv=labels_csv, layout=layout, labels=labels, machine=machine)
    _check(data, fold, params)
    with seeded(machine, params.seed, fold):
        model = build_model(
            params.backbone,
            init=params.init,
            findings=len(data.findings),
            head=params.head.model_dump(),
            size=data.store.size,
            init_except=params.init_except,
            drop_path=params.drop_path,
        )
    progress.say(
        f"fold {fold}: {len(data.train):,} images to train, {len(data.val):,} to validate, "
        f"{parameter_count(model):,} parameters, on {machine}"
    )
    best, history, learner = fit(model, data, params, machine=machine, progress=progress)
    facts = {
        "labels": sha256_file(labels_csv),
        "folds": sha256_file(layout.folds),
        "images": data.store.sha256_index,
    }
    if params.init not in ("none", "imagenet"):
        facts["init"] = sha256_file(Path(params.init))
    card = _card(data, fold, labels, params, best=best, sha256=facts)
    save_checkpoint(layout.checkpoint(fold), learner.averaged, card)
    _write_history(layout, fold, history, learner, card)
    _write_scores(
        layout, fold, data, machine=machine, batch_size=2 * params.batch_size, expected=card.macro_auc
    )


def _check(data: FoldData, fold: int, params: "TrainParams") -> None:
    if not len(data.val):
        raise UserError(f"--fold {fold}: no image is validated in it; folds are 0 to {data.k - 1}.")
    if params.batch_size > len(data.train):
        raise UserError(
            f"train.batch_size: {params.batch_size} is more than the {len(data.train)} images to train on."
        )
    y, mask = data.truth(data.val)
    if np.isnan(macro(auc_by_finding(y, mask, y))):
        raise UserError(
            f"--fold {fold}: no finding has both positives and negatives to validate on; use fewer folds."
        )


def fit(
    model: CXRModel, data: FoldData, params: "TrainParams", *, machine: Machine, progress: "Progress"
) -> tuple[dict[str, Any], list[dict[str, Any]], Learner]:
    """-> the best epoch's row, all epochs' rows, and the learner whose average holds the best epoch's
    weights.
    """
    learner = Learner(
        model,
        build_loss(*data.truth(data.train), device=machine.device, **params.loss.model_dump()),
        machine,
        lr=params.lr,
        weight_decay=params.weight_decay,
        clip_norm=params.clip_norm,
        ema_decay=params.ema_decay,
    )
    history: list[dict[str, Any]] = []
    best: dict[str, Any] = {"macro_auc": -1.0, "epoch": 0}
    best_weights = copy.deepcopy(learner.averaged.state_dict())
    for epoch in range(params.epochs):
        losses = _train_epoch(learner, data, params, epoch, progress)
        scores = predict_rows(
            learner.averaged, data, batch_size=2 * params.batch_size, flip=False, machine=machine
        )
        if not np.isfinite(scores).all():
            raise UserError(f"train: the scores after epoch {epoch} are not finite; {CALMER}.")
        areas = auc_by_finding(*data.truth(data.val), scores[0])
        row = {
            "epoch": epoch,
            "train_loss": float(np.mean(losses)) if losses else math.nan,
            "macro_auc": macro(areas),
            "skipped": learner.skipped,
        }
        history.append(row | _sparsity(learner.averaged))
        progress.say(
            f"epoch {epoch}: train loss {row['train_loss']:.4f}, validation macro-AUC {row['macro_auc']:.4f}"
        )
        if row["macro_auc"] > best["macro_auc"]:
            best, best_weights = row, copy.deepcopy(learner.averaged.state_dict())
        elif epoch - best["epoch"] >= params.patience:
            progress.say(f"no better epoch for {params.patience}: stopped early")
            break
    learner.averaged.load_state_dict(best_weights)
    return best, history, learner


def _train_epoch(
    learner: Learner, data: FoldData, params: "TrainParams", epoch: int, progress: "Progress"
) -> list[float]:
    """One pass -> the finite losses, one a step."""
    order = epoch_order(data.train, seed=params.seed, epoch=epoch)
    per_epoch = len(order) // params.batch_size
    low, high = params.augment.scale
    theta = torch.from_numpy(
        draw_warps(
            len(data.store),
            seed=params.seed,
            epoch=epoch,
            scale=(low, high),
            flip=params.augment.flip,
            degrees=params.augment.degrees,
        )
    )
    progress.start(f"epoch {epoch}", per_epoch * params.batch_size)
    losses: list[float] = []
    device = learner.machine.device
    for i, (rows, gray) in enumerate(_batches(data, order, params.batch_size, device)):
        step = epoch * per_epoch + i
        lr = lr_at(
            step,
            warmup=round(params.warmup_epochs * per_epoch),
            total=params.epochs * per_epoch,
            peak=params.lr,
        )
        pixels = warp(gray, theta[rows].to(device, non_blocking=True))
        loss = learner.step(pixels, data.y[rows], data.mask[rows], lr=lr, keys=(params.seed, epoch, i))
        if learner.skipped_in_a_row > params.max_bad_steps:
            raise UserError(f"train: no finite loss in {learner.skipped_in_a_row} steps in a row; {CALMER}.")
        losses += [loss] if np.isfinite(loss) else []
        progress.advance(len(rows), f"loss {loss:.3f}")
    return losses


def _batches(
    data: FoldData, order: np.ndarray, batch_size: int, device: torch.device
) -> Iterator[tuple[np.ndarray, Tensor]]:
    return batches(data.store, order, batch_size=batch_size, device=device, whole_only=True)


def predict_rows(
    model: CXRModel, data: FoldData, *, batch_size: int, flip: bool, machine: Machine
) -> np.ndarray:
    """The validation rows -> (V, n_val, L) probabilities, in batches of one shape."""
    model.eval()
    parts = []
    for rows, gray in batches(
        data.store, data.val, batch_size=batch_size, device=machine.device, whole_only=False
    ):
        probs = predict_views(model, pad(gray, batch_size), flip=flip, machine=machine)
        parts.append(probs[:, : len(rows)].cpu())
    return torch.cat(parts, dim=1).numpy()


def _sparsity(model: CXRModel) -> dict[str, float]:
    learned = model.head.learned()
    if "coupling" not in learned or len(learned["coupling"]) < 2:
        return {}
    A = learned["coupling"].abs()
    off = A[~torch.eye(len(A), dtype=torch.bool, device=A.device)]
    return {
        "coupling_largest": float(off.max()),
        "coupling_sparse_share": float((off < SPARSE_BELOW).float().mean()),
    }


def _card(
    data: FoldData,
    fold: int,
    labels: "LabelParams",
    params: "TrainParams",
    *,
    best: dict[str, Any],
    sha256: dict[str, str],
) -> Card:
    y, mask = data.truth(data.train)
    prevalence = (y * mask).sum(0) / np.maximum(mask.sum(0), 1)
    return Card(
        findings=list(data.findings),
        id_column=labels.id,
        backbone=params.backbone,
        head=params.head.model_dump(),
        size=data.store.size,
        preprocessing=data.store.preprocessing,
        fold=fold,
        k=data.k,
        epoch=best["epoch"],
        macro_auc=best["macro_auc"],
        prevalence=[round(float(share), 6) for share in prevalence],
        params={"labels": labels.model_dump(), "train": params.model_dump()},
        sha256=sha256,
        versions={"cxrscore": __version__, "torch": version("torch"), "timm": version("timm")},
    )


def _write_history(
    layout: Layout, fold: int, history: list[dict[str, Any]], learner: Learner, card: Card
) -> None:
    write_table(
        layout.history(fold), list(history[0]), [[f"{v:.6g}" for v in row.values()] for row in history]
    )
    learned = {
        name: matrix.cpu().double().numpy().round(6).tolist()
        for name, matrix in learner.averaged.head.learned().items()
    }
    summary = {
        "epoch": card.epoch,
        "macro_auc": card.macro_auc,
        "steps": learner.steps,
        "skipped": learner.skipped,
        "parameters": parameter_count(learner.model),
        "findings": card.findings,
        "learned": learned,
    }
    write_text(layout.summary(fold), json.dumps(summary, indent=1) + "\n")


def _write_scores(
    layout: Layout, fold: int, data: FoldData, *, machine: Machine, batch_size: int, expected: float
) -> None:
    """The out-of-fold tables, from the checkpoint as it lies on disk: what was saved is what was measured."""
    loaded = load_fold(layout.checkpoint(fold), machine)
    views = torch.from_numpy(
        predict_rows(loaded.model, data, batch_size=batch_size, flip=True, machine=machine)
    )
    again = macro(auc_by_finding(*data.truth(data.val), views[0].numpy()))
    assert abs(again - expected) < 1e-3, f"saved {layout.checkpoint(fold)}: measured {again}, was {expected}"
    ids = [data.store.ids[row] for row in data.val]
    for flip, probs in ((False, views[0]), (True, mean(views))):
        write_scores(
            layout.scores(fold, flip=flip), loaded.card.id_column, ids, loaded.card.findings, probs.numpy()
        )
