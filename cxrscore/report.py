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

TEMPLATE = Path(__file__).with_name("report.html.j2")


def write_report(layout: Layout, *, folds: Sequence[int]) -> None:
    metrics, balance = _json(layout.metrics), _json(layout.balance)
    summaries = {str(fold): _json(layout.summary(fold)) for fold in folds}
    areas = _areas(layout.plots / "auc.csv")
    findings = list(areas["all"])
    by_fold = {name: [row["auc"] for row in rows.values()] for name, rows in areas.items() if name != "all"}
    pictures = {
        "auc": figures.auc_by_finding(findings, [areas["all"][name]["auc"] for name in findings], by_fold),
        "history": figures.history({str(fold): _history(layout.history(fold)) for fold in folds}),
    }
    couplings = [
        summary["learned"]["coupling"] for summary in summaries.values() if "coupling" in summary["learned"]
    ]
    if couplings:
        pictures["coupling"] = figures.coupling(findings, np.mean(couplings, axis=0))
    page = Environment(autoescape=True, undefined=StrictUndefined).from_string(
        TEMPLATE.read_text(encoding="utf-8")
    )
    write_text(
        layout.report,
        page.render(
            metrics=metrics, balance=balance, summaries=summaries, areas=areas["all"], pictures=pictures
        ),
    )


def _areas(path: Path) -> dict[str, dict[str, dict[str, float]]]:
    """fold -> finding -> auc (NaN where undefined) and positives."""
    areas: dict[str, dict[str, dict[str, float]]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            values = {"auc": float(row["auc"] or "nan"), "positives": int(row["positives"])}
            areas.setdefault(row["fold"], {})[row["finding"]] = values
    return areas


def _history(path: Path) -> dict[str, list[float]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in rows[0]}


def _json(path: Path) -> dict[str, Any]:
    try:
        loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; run `dvc repro` first.") from error
    return loaded
