"""Metrics, training curves, folds and what the head learned -> one page that needs nothing beside it.

In    out/metrics.json, out/plots (auc.csv, tables of predictions and of what was learned), out/history,
      out/summary, out/balance.json; out/test_metrics.json where there is a held-out test;
      out/decision_metrics.json and out/decisions where `decide` has run.
Out   out/report.html.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined

from cxrscore.core.errors import UserError
from cxrscore.core.files import is_number, read_json, write_text
from cxrscore.core.paths import Layout
from cxrscore.evaluation import figures
from cxrscore.evaluation.head_pictures import TABLES, mean_of_rows
from cxrscore.evaluation.prediction_pictures import correlation_picture, histogram_picture, worst_images
from cxrscore.evaluation.published_results import PUBLISHED, has_the_papers_findings
from cxrscore.tables.csv_table import read_table

Tables = Mapping[str, Sequence[Mapping[str, str]]]  # rows by name of the table
MISSING = object()
TEMPLATE = Path(__file__).with_name("report.html.j2")


def write_report(layout: Layout, *, folds: Sequence[int]) -> None:
    of_folds = [f"folds.{fold}" for fold in folds]
    means = ("macro_auc", "views.macro_auc", "study.macro_auc", *(f"{name}.macro_auc" for name in of_folds))
    metrics = _facts(
        layout.metrics,
        ["images", "findings_defined"],
        perhaps=["patients", *means],
        tables=["views", *of_folds],
    )
    shares = [*(f"images.{name}" for name in of_folds), "identical_files.across_folds", "findings.deviation"]
    balance = _facts(layout.balance, shares)
    if balance.setdefault("patients", None):
        _facts(layout.balance, ["patients.split", "patients.total"])
    summaries = {str(fold): _facts(layout.summary(fold), ["epoch", "steps", "skipped"]) for fold in folds}
    areas = _areas(layout.plots / "auc.csv")
    pooled, averaged = areas["all", "one"], areas["all", "views"]
    by_fold = {str(fold): [row["auc"] for row in areas[str(fold), "one"].values()] for fold in folds}
    pictures = {
        "auc": figures.auc_by_finding(list(pooled), [row["auc"] for row in pooled.values()], by_fold),
        "history": figures.history({str(fold): _history(layout.history(fold)) for fold in folds}),
        "positives": figures.positives(
            {name: int(row["positives"]) for name, row in pooled.items()}, images=int(metrics["images"])
        ),
        "histograms": histogram_picture(_rows(layout.plots / "histograms.csv"), list(pooled)),
    }
    if len(pooled) > 1:  # else there is no pair
        rows = _rows(layout.plots / "correlations.csv")
        pictures["correlations"] = correlation_picture(rows, list(pooled))
    page = Environment(autoescape=True, undefined=StrictUndefined).from_string(
        TEMPLATE.read_text(encoding="utf-8")
    )
    write_text(
        layout.report,
        page.render(
            metrics=metrics,
            test=_test(layout),
            decisions=_decisions(layout),
            balance=balance,
            summaries=summaries,
            pooled=pooled,
            averaged=averaged,
            pictures=pictures,
            worst=worst_images(_rows(layout.plots / "worst_images.csv"), list(pooled)),
            learned=_learned(layout.plots, list(pooled)),
            published=_published(layout, metrics, list(pooled)),
        ),
    )


def _test(layout: Layout) -> dict[str, Any] | None:
    """The metrics of the held-out test, if the project has one."""
    if not layout.test_metrics.exists():
        return None
    counts = ["test.images", "test.findings_defined", "test.identical_files"]
    perhaps = ["test.patients", "test.macro_auc", "test.study.macro_auc"]
    found: dict[str, Any] = _facts(layout.test_metrics, counts, perhaps=perhaps, tables=["test.auc"])["test"]
    return {"spread": {}} | found  # one fold alone has none


def _decisions(layout: Layout) -> dict[str, Any] | None:
    """What `decide` measured, if it has run: numbers out of fold and perhaps on the test, and the curves."""
    if not layout.decision_metrics.exists():
        return None
    errors = ("calibration_error", "brier", "log_loss")
    names = [f"{name}.{when}" for name in errors for when in ("before", "after")]
    names += ["coverage.present", "coverage.absent", "calls_kept"]
    names += [f"{name}.{of}" for name in ("ppv", "npv") for of in ("all", "kept")]
    perhaps = [*names, *(f"test.{name}" for name in names)]
    found = _facts(layout.decision_metrics, [], perhaps=perhaps)
    curves: dict[str, dict[str, list[float]]] = {}
    curve = layout.decision_tables / "curve.csv"
    _there(curve)
    drawn = len(curve.read_text(encoding="utf-8").splitlines()) > 1  # of too few patients there is no curve
    for row in _rows(curve) if drawn else ():
        if row["finding"] == "all findings":
            points = curves.setdefault(f"{row['scores']}, {row['by']}", {})
            for column in ("kept", "accuracy", "ppv", "npv"):
                points.setdefault(column, []).append(float(row[column] or "nan"))
    parts = {"out of fold": found} | ({"test": found["test"]} if "test" in found else {})
    stops = {
        f"{name}, conformal": part["calls_kept"] for name, part in parts.items() if part.get("calls_kept")
    }
    picture = figures.kept_calls(curves, stops) if curves else ""
    return {"parts": parts, "errors": errors, "picture": picture}


def _published(layout: Layout, metrics: Mapping[str, Any], findings: Sequence[str]) -> dict[str, Any] | None:
    """The papers' results, and this project's: on its test images if they were scored, else out of fold. None
    where its findings are others.
    """
    if not has_the_papers_findings(findings):
        return None
    if layout.test_metrics.is_file():
        tested = _facts(layout.test_metrics, [], perhaps=["test.macro_auc"])["test"]
        return {"rows": PUBLISHED, "mine": tested.get("macro_auc"), "tested": True}
    return {"rows": PUBLISHED, "mine": metrics.get("macro_auc"), "tested": False}


def _learned(plots: Path, findings: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Of each table that the head's kind has left, what the template shows: `picture` as SVG, and numbers."""
    tables = {path.stem: _rows(path) for path in sorted(plots.glob("*.csv")) if path.stem in TABLES}
    shown = {"coupling": _coupling, "adjacency": _adjacency, "attention_labels": _attention_labels}
    shown |= {"probes": _probes, "attention_tokens": _attention_maps, "attention": _attention_maps}
    shown |= {"attention_inputs": _attention_inputs, "scene_cooccurrence": _scenes}
    return {name: show(name, tables, findings) for name, show in shown.items() if tables.get(name)}


def _coupling(name: str, tables: Tables, findings: Sequence[str]) -> dict[str, Any]:
    sparsity: dict[float, list[float]] = {}
    for row in tables.get("coupling_sparsity", []):  # no pairs of one finding alone
        sparsity.setdefault(float(row["below"]), []).append(float(row["share"]))
    picture = figures.heat_maps(
        {"": mean_of_rows(tables[name], findings).values},
        findings,
        row="source: whose probability pushes",
        column="target: whose logit is pushed",
        scale="coupling A, mean over folds",
        signed=True,
    )
    largest = max(abs(float(row["value"])) for row in tables[name])
    shares = {below: float(np.mean(of_folds)) for below, of_folds in sparsity.items()}
    gates = len({row["gate"] for row in tables.get("gates_shares", [])})
    return {"picture": picture, "largest": largest, "sparsity": shares, "gates": gates}


def _adjacency(name: str, tables: Tables, findings: Sequence[str]) -> dict[str, Any]:
    matrix = mean_of_rows(tables[name], findings).values
    signed = bool((matrix < 0).any())
    picture = figures.heat_maps(
        {"": _off_diagonal(matrix)},
        findings,
        row="finding: whose classifier is made",
        column="source: what it is made from",
        scale="weight in the label graph, mean over folds",
        signed=signed,
    )
    return {"picture": picture, "signed": signed, "kept": _mean(matrix.diagonal())}


def _attention_labels(name: str, tables: Tables, findings: Sequence[str]) -> dict[str, Any]:
    """(L, T, L): one panel per step."""
    steps = mean_of_rows(tables[name], findings).values.swapaxes(0, 1)
    picture = figures.heat_maps(
        {
            f"step {t} of {len(steps)}: {100 * _mean(step.diagonal()):.0f} % to itself": _off_diagonal(step)
            for t, step in enumerate(steps, start=1)
        },
        findings,
        row="finding: who attends",
        column="source: to whom",
        scale="share of the finding's attention",
        signed=False,
    )
    of_labels = tables.get("prior_graph")
    graph = of_labels or tables.get("given_graph")
    several = len(findings) > 1  # else there is no pair
    pairs = _mean(_off_diagonal(mean_of_rows(graph, findings).values)) if graph and several else None
    return {"picture": picture, "pairs": pairs, "of_labels": bool(of_labels)}


def _probes(name: str, tables: Tables, findings: Sequence[str]) -> dict[str, Any]:
    """(L, T, P)."""
    return {"picture": figures.probes(mean_of_rows(tables[name], findings).values, findings)}


def _attention_maps(name: str, tables: Tables, findings: Sequence[str]) -> dict[str, Any]:
    """(L, h, w), or (L, T, h, w), of which the last step is shown: attention over an even one."""
    found = mean_of_rows(tables[name], findings)
    maps = found.values[:, -1] if "step" in found.axes else found.values
    even = maps.mean((1, 2), keepdims=True)
    picture = figures.small_maps(maps / even, findings, scale="attention, as a multiple of an even one")
    return {"picture": picture, "rows": maps.shape[1], "columns": maps.shape[2]}


def _attention_inputs(name: str, tables: Tables, findings: Sequence[str]) -> dict[str, Any]:
    """Finding -> further input -> the share of the finding's attention in the last step, mean over folds."""
    last = max(int(row["step"]) for row in tables[name])
    of: dict[str, dict[str, list[float]]] = {finding: {} for finding in findings}
    for row in tables[name]:
        if int(row["step"]) == last:
            of[row["finding"]].setdefault(row["input"], []).append(float(row["value"]))
    columns = list(dict.fromkeys(row["input"] for row in tables[name]))
    shares = {
        finding: {column: float(np.mean(values)) for column, values in found.items()}
        for finding, found in of.items()
        if found  # no validated image shows it
    }
    return {"columns": columns, "shares": shares}


def _scenes(name: str, tables: Tables, findings: Sequence[str]) -> dict[str, Any]:
    """(K, L, L), NaN where no fold has an image with the given finding: one panel per scene; beside it how
    images fall into scenes, and images of each view.
    """
    of_scene: dict[int, list[Mapping[str, str]]] = {}
    for row in tables["scenes_shares"]:
        of_scene.setdefault(int(row["scene"]), []).append(row)
    means = {
        k: {column: float(np.mean([float(row[column]) for row in rows])) for column in ("mean", "share")}
        for k, rows in of_scene.items()
    }
    views: dict[str, dict[int, int]] = {}
    for row in tables.get("scenes_by_view", []):
        of_view = views.setdefault(row["view"], dict.fromkeys(means, 0))
        of_view[int(row["scene"])] += int(row["images"])
    together = np.full((len(means), len(findings), len(findings)), np.nan)
    found = mean_of_rows(tables[name], findings).values
    together[: len(found)] = found  # the last scenes have no row where nothing was counted in them
    picture = figures.heat_maps(
        {
            f"scene {k}: {100 * means[k]['share']:.0f} % of images": _off_diagonal(matrix)
            for k, matrix in enumerate(together)
        },
        findings,
        row="given: a finding that is there",
        column="finding: how often it is there, too",
        scale="share of images with both, among those with the given one",
        signed=False,
    )
    return {
        "picture": picture,
        "scenes": means,
        "views": dict(sorted(views.items())),
        "most": math.log(len(means)),
        "entropies": _mean_of_folds(tables.get("scenes_entropy", [])),
        "frequencies": _frequencies(tables["scene_counts"], findings),
        "surest": _surest(tables.get("scenes_images", [])),
    }


def _mean_of_folds(rows: Sequence[Mapping[str, str]]) -> dict[str, float]:
    """One row per fold -> each column's mean."""
    names = [name for name in rows[0] if name != "fold"] if rows else []
    return {name: float(np.mean([float(row[name]) for row in rows])) for name in names}


def _frequencies(rows: Sequence[Mapping[str, str]], findings: Sequence[str]) -> str:
    """How often each scene's training images show each finding: the diagonals of the counts, as shares of all
    that the scene shows.
    """
    shown = np.einsum("kii->ki", mean_of_rows(rows, findings).values)
    shares = shown / np.maximum(shown.sum(1, keepdims=True), 1)
    overall = shown.sum(0) / max(shown.sum(), 1)
    return figures.shares_by_panel(
        {f"scene {k}": of_scene.tolist() for k, of_scene in enumerate(shares)},
        findings,
        overall=overall.tolist(),
        scale="share of the scene's positive labels (line: of all scenes' together)",
    )


def _surest(rows: Sequence[Mapping[str, str]]) -> dict[int, list[dict[str, Any]]]:
    """Scene -> its images, the surest first: name, fold, and probability of the scene."""
    images: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        one = {"image": row["image"], "fold": row["fold"], "share": float(row["share"])}
        images.setdefault(int(row["scene"]), []).append(one)
    return images


def _mean(values: np.ndarray) -> float:
    """Of what is defined."""
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if len(defined) else math.nan


def _off_diagonal(matrix: np.ndarray) -> np.ndarray:
    """With NaN on the diagonal, which would set the colour scale for all others."""
    return np.where(np.eye(len(matrix), dtype=bool), np.nan, matrix)


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


def _facts(
    path: Path, numbers: Sequence[str], *, perhaps: Sequence[str] = (), tables: Sequence[str] = ()
) -> dict[str, Any]:
    """What a stage wrote. Raises UserError where there is no number under one of these dotted names,
    something other than a number under one that is there `perhaps`, or no dictionary under one of `tables`.
    """
    _there(path)
    try:
        facts = read_json(path)
        at = {name: _at(facts, name) for name in (*numbers, *perhaps, *tables)}
        odd = [name for name in numbers if not is_number(at[name])]
        odd += [name for name in perhaps if at[name] is not MISSING and not is_number(at[name])]
        odd += [name for name in tables if not isinstance(at[name], dict)]
        if odd:
            raise ValueError(f"at {odd[0]}")
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path}: damaged ({error}); run `dvc repro`.") from error
    return dict(facts)


def _at(facts: Any, name: str) -> Any:
    """What stands under a dotted name, or MISSING. Raises TypeError where a part of it is no table."""
    for part in name.split("."):
        if not isinstance(facts, dict):
            raise TypeError(f"at {name}")
        if part not in facts:
            return MISSING
        facts = facts[part]
    return facts


def _rows(path: Path) -> list[dict[str, str]]:
    _there(path)
    table = read_table(path)
    cells = zip(*table.columns.values(), strict=True)
    return [dict(zip(table.columns, row, strict=True)) for row in cells]


def _there(path: Path) -> None:
    if not path.is_file():
        raise UserError(f"{path}: no such file; run `dvc repro` first.")
