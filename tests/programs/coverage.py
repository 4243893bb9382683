"""Which 95 % interval holds the truth 95 times of 100, where a finding has few patients.

    python tests/programs/coverage.py --simulations 1000 --to coverage.csv

Simulated: patients with as many images as in chest radiograph datasets (half have one, some twenty), whose
scores are binormal with an effect of the patient; half of a score's variance is the patient's own. `positive`
patients have at least one image that shows the finding, and may have others; `negative` ones have none. Two
ways of scoring go together (correlation 0.7), and the true areas are known: Phi(d / sqrt 2), with ties the
sum over the grid that scores are rounded to. All measures are taken of three findings in samples whose
numbers of positive patients vary, since most depend on it; their truth is that of half a million images. Of
patients with one image each (alone) areas alone are measured, and there DeLong's variance is one more way.

Out   one row per cell, figure and method: how often the interval held the truth, how often it lay above or
      below, its mean width, and how often there was one ("all": also where the package says too few).
Cells that FILE has are not simulated again.
"""

import argparse
import csv
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
from scipy.special import expit, logit
from scipy.stats import norm, t

from cxrscore.statistics.bootstrap import Prepared
from cxrscore.statistics.estimates import estimate_of
from cxrscore.statistics.interval_rules import TABLE, fewer, supports
from cxrscore.statistics.intervals import Freedom, effective_patients, freedom_of, interval
from cxrscore.statistics.measures import MEASURES
from cxrscore.statistics.sample import Sample

LARGEST, TAIL = 20, 1.6  # images of a patient: P(k) ~ k^-1.6, 51 % have one, 3.4 on average
SHARED = 0.5  # of a score's variance: the patient's own
TOGETHER = 0.7  # correlation of the two ways
STEP = 0.5  # of rounded scores, a quarter of their range between the classes
AREAS = {"fair": (0.75, 0.70), "good": (0.92, 0.88), "best": (0.97, 0.95)}  # of the two ways
PATIENTS = [(5, 100), (10, 100), (20, 100), (20, 20), (10, 10), (15, 15), (50, 100), (100, 400), (400, 400)]
ALONE = [(20, 20), (20, 100), (50, 100), (100, 400)]
FIGURES_OF = [(20, 20), (20, 100), (50, 50), (50, 100), (100, 100), (100, 400)]
FINDINGS = 3
NAMES = tuple(f"finding {j}" for j in range(FINDINGS))
HEADER = ["kind", "figure", "areas", "ties", "positive", "negative", "simulations", "method"]
HEADER += ["covered", "above", "below", "width", "given"]

Ends = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Cell:
    kind: str  # areas: the area and a difference of two, by many methods; alone: the same of one image each;
    # figures: every measure, by ours
    areas: str
    ties: bool
    positive: int
    negative: int


@dataclass(frozen=True)
class Images:
    """y (n,), scores (2, n), patient (n,) ascending."""

    y: np.ndarray
    scores: np.ndarray
    patient: np.ndarray


def sizes(draw: np.random.Generator, patients: int) -> np.ndarray:
    shares = np.arange(1, LARGEST + 1) ** -TAIL
    return 1 + draw.choice(LARGEST, size=patients, p=shares / shares.sum())


def simulate(cell: Cell, draw: np.random.Generator) -> Images:
    total = cell.positive + cell.negative
    shows = np.arange(total) < cell.positive
    size = np.ones(total, dtype=int) if cell.kind == "alone" else sizes(draw, total)
    patient = np.repeat(np.arange(total), size)
    first = np.append(True, np.diff(patient) > 0)
    y = shows[patient] & (first | (draw.random(len(patient)) < 0.6))
    own = _pairs(draw, total)[:, patient] * SHARED**0.5 + _pairs(draw, len(patient)) * (1 - SHARED) ** 0.5
    scores = own + y * np.array([[distance(area)] for area in AREAS[cell.areas]])
    return Images(y, np.round(scores / STEP) * STEP if cell.ties else scores, patient)


def _pairs(draw: np.random.Generator, n: int) -> np.ndarray:
    one, other = draw.standard_normal((2, n))
    return np.stack([one, TOGETHER * one + (1 - TOGETHER**2) ** 0.5 * other])


def distance(area: float) -> float:
    return float(2**0.5 * norm.ppf(area))


def true_area(area: float, ties: bool) -> float:
    if not ties:
        return area
    edges = STEP * (np.arange(-40, 41) + 0.5)
    negative, positive = (np.diff(norm.cdf(edges - d)) for d in (0, distance(area)))
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2)).sum())


class Areas:
    """Of one way: for each pair of patients, the pairs of images that are ranked right."""

    def __init__(self, images: Images, scores: np.ndarray) -> None:
        positive, negative = np.flatnonzero(images.y), np.flatnonzero(~images.y)
        self.total = int(images.patient[-1]) + 1
        self.with_p, p_starts = np.unique(images.patient[positive], return_index=True)
        self.with_n, n_starts = np.unique(images.patient[negative], return_index=True)
        mine, theirs = scores[positive][:, None], scores[negative][None]
        right = (mine > theirs) + np.float32(0.5) * (mine == theirs)
        right = np.add.reduceat(np.add.reduceat(right, n_starts, axis=1), p_starts, axis=0)
        self.right = right.astype(np.float32)  # half sums of a few hundred pairs: exact
        self.m = np.diff(np.append(p_starts, len(positive))).astype(np.float32)
        self.n = np.diff(np.append(n_starts, len(negative))).astype(np.float32)

    def of(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(R, patients) -> areas (R,), and what each patient's positives and negatives add to the error of
        each, a_i / M and b_i / N (R, patients): Obuchowski 1997.
        """
        wp, wn = weights[:, self.with_p], weights[:, self.with_n]
        big_m, big_n = (wp @ self.m)[:, None], (wn @ self.n)[:, None]
        by_negative, by_positive = wp @ self.right, wn @ self.right.T
        with np.errstate(invalid="ignore", divide="ignore"):
            area = (by_negative * wn).sum(1, keepdims=True) / (big_m * big_n)
            a, b = np.zeros((2, *weights.shape), dtype=np.float32)
            a[:, self.with_p] = (by_positive / big_n - self.m * area) / big_m
            b[:, self.with_n] = (by_negative / big_m - self.n * area) / big_n
        return area[:, 0].astype(float), a, b

    def variance(self, weights: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        def unbiased(k: np.ndarray) -> np.ndarray:
            return k / np.maximum(k - 1, 1)

        found = unbiased(weights[:, self.with_p].sum(1)) * (weights * a * a).sum(1)
        found += unbiased(weights[:, self.with_n].sum(1)) * (weights * b * b).sum(1)
        return found + 2 * unbiased(weights.sum(1)) * (weights * a * b).sum(1)


def drawn(draw: np.random.Generator, patients: int, resamples: int) -> np.ndarray:
    cells = draw.integers(patients, size=(resamples, patients)) + patients * np.arange(resamples)[:, None]
    return np.bincount(cells.ravel(), minlength=cells.size).reshape(cells.shape).astype(np.float32)


def degrees(images: Images) -> dict[str, float]:
    """Of freedom: patients of the rarer class, and as many as they are worth with images shared out so
    unevenly (Kish), less one.
    """
    counts = [np.bincount(images.patient[rows]) for rows in (images.y, ~images.y)]
    return {
        "z": np.inf,
        "t": min((c > 0).sum() for c in counts) - 1.0,
        "kish": round(min(c.sum() ** 2 / (c**2).sum() for c in counts) - 1.0, 1),
    }


@cache
def quantile(df: float) -> float:
    return float(t.ppf(0.975, df)) if df > 0 else np.inf


def around(value: float, error: float, df: float) -> tuple[float, float]:
    q = quantile(df)
    return value - q * error, value + q * error


def on_logit(value: float, error: float, df: float) -> tuple[float, float]:
    if not 0 < value < 1:
        return np.nan, np.nan
    low, high = expit(around(logit(value), error / (value * (1 - value)), df))
    return float(low), float(high)


def bca(value: float, values: np.ndarray, influence: np.ndarray) -> tuple[float, float]:
    """Efron & Tibshirani 1993, 14.3; the acceleration from what each patient adds to the error."""
    below = ((values < value).mean() + (values <= value).mean()) / 2
    if not 0 < below < 1:
        return np.nan, np.nan
    bias = norm.ppf(below)
    spread = (influence**2).sum()
    speed = (influence**3).sum() / (6 * spread**1.5) if spread else 0.0
    z = bias + norm.ppf([0.025, 0.975])
    low, high = np.quantile(values, norm.cdf(bias + z / (1 - speed * z)))
    return float(low), float(high)


def studentised(value: float, error: float, values: np.ndarray, errors: np.ndarray) -> tuple[float, float]:
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = (values - value) / errors
    ratios = ratios[np.isfinite(ratios)]
    if len(ratios) < 20:
        return np.nan, np.nan
    low, high = np.quantile(ratios, [0.025, 0.975])
    return value - high * error, value - low * error


def simple_ends(
    value: float, values: np.ndarray, df: dict[str, float], freedom: Freedom, *, unit: bool
) -> Ends:
    error = float(values.std(ddof=1))
    found: Ends = {"percentile": tuple(np.quantile(values, [0.025, 0.975]))}
    few = df["t"] + 1
    more = error * (few / max(few - 1, 1)) ** 0.5
    for name, k in df.items():
        found[f"plain {name}"] = around(value, error, k)
        if unit:
            found[f"logit {name}"] = on_logit(value, error, k)
            found[f"logit {name} wider"] = on_logit(value, more, k)
        else:
            found[f"plain {name} wider"] = around(value, more, k)
    scale = "unit" if unit else "plain"
    found["the package's"] = interval(value, values, scale=scale, freedom=freedom)
    return found


def area_ends(images: Images, draw: np.random.Generator, resamples: int) -> dict[str, Ends]:
    freedom = freedom_of(*(effective_patients(rows, images.patient) for rows in (images.y, ~images.y)))
    ways, df = [Areas(images, s) for s in images.scores], degrees(images)
    once, weights = np.ones((1, ways[0].total), dtype=np.float32), drawn(draw, ways[0].total, resamples)
    (v, a, b), (v2, a2, b2) = (way.of(once) for way in ways)
    (r, ra, rb), (r2, ra2, rb2) = (way.of(weights) for way in ways)
    found = {}
    for figure, value, parts, values, more in (
        ("auc", v, (a, b), r, (ra, rb)),
        ("auc difference", v2 - v, (a2 - a, b2 - b), r2 - r, (ra2 - ra, rb2 - rb)),
    ):
        one, defined = float(value[0]), np.isfinite(values)
        error = float(ways[0].variance(once, *parts)[0].clip(0)) ** 0.5
        errors = ways[0].variance(weights, *more)[defined].clip(0) ** 0.5
        values, unit = values[defined], figure == "auc"
        ends = simple_ends(one, values, df, freedom, unit=unit)
        ends["bca"] = bca(one, values, (parts[0] + parts[1])[0])
        ends["studentised"] = studentised(one, error, values, errors)
        for name, k in (df | {"welch": freedom.degrees}).items():
            ends[f"delong {name}"] = on_logit(one, error, k) if unit else around(one, error, k)
        if unit and 0 < one < 1:
            inside = (values > 0) & (values < 1)
            scale = values[inside] * (1 - values[inside])
            spread = error / (one * (1 - one))
            low, high = studentised(logit(one), spread, logit(values[inside]), errors[inside] / scale)
            ends["studentised logit"] = float(expit(low)), float(expit(high))
        found[figure] = ends
    return found


def simulate_findings(cell: Cell, draw: np.random.Generator, patients: int = 0) -> tuple[Sample, Sample]:
    """Either way of scoring FINDINGS that are alike; what a patient shows, and has of its own, is drawn for
    each. Scores are probabilities, calibrated by the share of images that show a finding.
    """
    total = patients or cell.positive + cell.negative
    share = cell.positive / (cell.positive + cell.negative)
    size = sizes(draw, total)
    patient = np.repeat(np.arange(total), size)
    first = np.append(True, np.diff(patient) > 0)[:, None]
    shows = draw.random((total, FINDINGS)) < share
    y = shows[patient] & (first | (draw.random((len(patient), FINDINGS)) < 0.6))
    own, each = (np.stack([_pairs(draw, n) for _ in range(FINDINGS)], axis=2) for n in (total, len(patient)))
    k = np.arange(1, LARGEST + 1)
    images = (k * k**-TAIL).sum() / (k**-TAIL).sum()
    prior = logit(share * (0.6 + 0.4 / images))
    ways = []
    for way, area in enumerate(AREAS[cell.areas]):
        d = distance(area)
        scores = own[way, patient] * SHARED**0.5 + each[way] * (1 - SHARED) ** 0.5 + y * d
        probs = expit(d * scores - d * d / 2 + prior)
        ways.append(Sample(NAMES, y.astype(np.int8), np.ones(y.shape, dtype=bool), probs, patient))
    return ways[0], ways[1]


def figures_of(sample: Sample) -> dict[str, Prepared]:
    """Of the first finding, or of all."""
    found = {}
    for name, measure in MEASURES.items():
        of = slice(None) if measure.of == "table" else 0
        if measure.fewest is not None and measure.top is None:
            found[name] = measure.prepare(sample.y[:, of], sample.mask[:, of], sample.scores[:, of])
    return found


def figure_ends(cell: Cell, draw: np.random.Generator, resamples: int) -> dict[str, Ends]:
    ways = simulate_findings(cell, draw)
    rules = [supports(way, list(MEASURES)) for way in ways]
    weights = drawn(draw, ways[0].clusters, resamples)[:, ways[0].cluster].T.astype(float)
    once, found = np.ones((len(weights), 1)), {}
    for (name, one), other in zip(figures_of(ways[0]).items(), figures_of(ways[1]).values(), strict=True):
        key = name, TABLE if MEASURES[name].of == "table" else NAMES[0]
        mine = replace(rules[0][key], few="")
        (value, second), (values, others) = (
            [figure.values(weight) for figure in (one, other)] for weight in (once, weights)
        )
        apart = fewer(rules[0][key], rules[1][key])
        for figure, support, estimate in (
            (name, rules[0][key], estimate_of(name, float(value[0]), values, mine)),
            (
                f"{name} difference",
                apart,
                estimate_of(
                    name,
                    float((second - value)[0]),
                    others - values,
                    replace(apart, few=""),
                    difference=True,
                ),
            ),
        ):
            ends = estimate.low, estimate.high
            found[figure] = {"all": ends, "the package's": (np.nan, np.nan) if support.few else ends}
    return found


def truths(cell: Cell, draw: np.random.Generator) -> dict[str, float]:
    if cell.kind != "figures":
        one, other = (true_area(area, cell.ties) for area in AREAS[cell.areas])
        return {"auc": one, "auc difference": other - one}
    ways = simulate_findings(cell, draw, patients=150_000)
    once, found = np.ones((len(ways[0]), 1)), {}
    first, second = (
        {name: float(figure.values(once)[0]) for name, figure in figures_of(way).items()} for way in ways
    )
    for name, value in first.items():
        found |= {name: value, f"{name} difference": second[name] - value}
    return found


def measure(cell: Cell, simulations: int, resamples: int) -> Iterator[list[object]]:
    draw = np.random.default_rng(zlib.crc32(repr(cell).encode()))
    truth = truths(cell, draw)
    ends: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for _ in range(simulations):
        if cell.kind == "figures":
            found = figure_ends(cell, draw, resamples)
        else:
            found = area_ends(simulate(cell, draw), draw, resamples)
        for figure, of in found.items():
            for method, pair in of.items():
                ends.setdefault((figure, method), []).append(pair)
    for (figure, method), pairs in ends.items():
        low, high = np.array([pair for pair in pairs if not np.isnan(pair).any()]).reshape(-1, 2).T
        if not len(low):
            continue
        above, below = (low > truth[figure] + 1e-12).mean(), (high < truth[figure] - 1e-12).mean()
        shares = (1 - above - below, above, below, (high - low).mean(), len(low) / simulations)
        place = (cell.areas, int(cell.ties), cell.positive, cell.negative, simulations)
        yield [cell.kind, figure, *place, method, *(f"{share:.4f}" for share in shares)]


def cells(quick: bool) -> list[Cell]:
    """Fewest patients first: those with most take nearly all of the time."""
    found = []
    for pair in PATIENTS[3:4] if quick else PATIENTS:
        every = list(product(list(AREAS)[:2], (False, True)))
        found += [Cell("areas", *which, *pair) for which in (every if min(pair) <= 20 else every[::3])]
    found += [Cell("alone", areas, False, *pair) for pair in ALONE for areas in list(AREAS)[:2]] * (not quick)
    found += [
        Cell("figures", areas, False, *pair) for pair in FIGURES_OF[: 1 if quick else None] for areas in AREAS
    ]
    return found


def written(path: Path) -> set[tuple[str, ...]]:
    """Cells that the table has."""
    if not path.exists():
        return set()
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    return {(row[0], *row[2:6]) for row in rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--quick", action="store_true", help="20 and 20 patients alone")
    parser.add_argument("--kind", choices=("areas", "alone", "figures"), help="these cells alone")
    parser.add_argument("--part", default="0/1", help="k/n: every n-th cell from the k-th on")
    parser.add_argument("--to", type=Path, default=Path("coverage.csv"))
    args = parser.parse_args()
    part, parts = map(int, args.part.split("/"))
    done = written(args.to)
    if not done:
        args.to.write_text(",".join(HEADER) + "\n", encoding="utf-8")
    for cell in [one for one in cells(args.quick) if args.kind in (None, one.kind)][part::parts]:
        place = (cell.areas, int(cell.ties), cell.positive, cell.negative)
        if (cell.kind, *map(str, place)) in done:
            continue
        rows = list(measure(cell, args.simulations, args.resamples))  # a cell is written whole
        with args.to.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
        for row in rows:
            print(*row, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
