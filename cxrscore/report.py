"""Metrics, training curves, folds and what the head learned -> one page that needs nothing beside it.

In    out/metrics.json, out/plots/auc.csv, out/history, out/summary, out/balance.json.
Out   out/report.html.
"""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined

from cxrscore import figures
from cxrscore.errors import UserError
from cxrscore.files import write_text
from cxrscore.layout import Layout
from cxrscore.learned import read_learned

NEAR_ZERO = 0.01  # a coupling under this moves a logit by at most 0.003 at alpha 0.3
TEMPLATE = Path(__file__).with_name("report.html.j2")


def write_report(layout: Layout, *, folds: Sequence[int]) -> None:
    metrics, balance = _json(layout.metrics), _json(layout.balance)
    summaries = {str(fold): _json(layout.summary(fold)) for fold in folds}
    areas = _areas(layout.plots / "auc.csv")
    pooled, averaged = areas["all", "one"], areas["all", "views"]
    by_fold = {str(fold): [row["auc"] for row in areas[str(fold), "one"].values()] for fold in folds}
    pictures = {
        "auc": figures.auc_by_finding(list(pooled), [row["auc"] for row in pooled.values()], by_fold),
        "history": figures.history({str(fold): _history(layout.history(fold)) for fold in folds}),
    }
    learned = [read_learned(layout.learned(fold))[1] for fold in folds]
    couplings = [pictures["coupling"].values for pictures in learned if "coupling" in pictures]
    sizes = np.abs(couplings or [[0.0]])
    if couplings:
        pictures["coupling"] = figures.coupling(list(pooled), np.mean(couplings, axis=0))
    page = Environment(autoescape=True, undefined=StrictUndefined).from_string(
        TEMPLATE.read_text(encoding="utf-8")
    )
    write_text(
        layout.report,
        page.render(
            metrics=metrics,
            balance=balance,
            summaries=summaries,
            pooled=pooled,
            averaged=averaged,
            pictures=pictures,
            largest=float(sizes.max()),
            near_zero=float((sizes < NEAR_ZERO).mean()),
        ),
    )


def _areas(path: Path) -> dict[tuple[str, str], dict[str, dict[str, float]]]:
    """(fold, view) -> finding -> auc (NaN where undefined) and positives."""
    areas: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    for row in _rows(path):
        values = {"auc": float(row["auc"] or "nan"), "positives": int(row["positives"])}
        areas.setdefault((row["fold"], row["view"]), {})[row["finding"]] = values
    return areas


def _history(path: Path) -> dict[str, list[float]]:
    rows = _rows(path)
    return {name: [float(row[name]) for row in rows] for name in rows[0]}


def _json(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(_text(path))
    return loaded


def _rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(_text(path).splitlines(keepends=True)))


def _text(path: Path) -> str:
    if not path.is_file():
        raise UserError(f"{path}: no such file; run `dvc repro` first.")
    return path.read_text(encoding="utf-8")
