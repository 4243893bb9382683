"""Numbers -> pictures: pure functions from arrays to SVG text, the same bytes for the same numbers."""

import io
import math
import textwrap
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from matplotlib.ticker import MaxNLocator, PercentFormatter

INK, SOFT, NOTHING = "#1b1f24", "#8a929c", "#c3c9d0"
FOLD_COLOURS = ("#0b6e99", "#c8553d", "#5a8f29", "#8e5ea2", "#d19a2a", "#4c5b6b")
UP, PALE_UP, DOWN, PALE_DOWN = "#c8553d", "#f0cdc5", "#0b6e99", "#cfe3ec"  # warm: more probable
BESIDE: Any = {"textcoords": "offset points", "va": "center"}
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.hashsalt": "cxrscore",  # else matplotlib draws random ids, and the report's bytes change
    "svg.fonttype": "none",
}


def auc_by_finding(
    findings: Sequence[str], pooled: Sequence[float], folds: Mapping[str, Sequence[float]]
) -> str:
    """(L,) areas out of fold, and each fold's (L,): one bar per finding, best first, with one dot per fold.
    NaN draws nothing.
    """
    order = sorted(range(len(findings)), key=lambda i: -1.0 if math.isnan(pooled[i]) else pooled[i])
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7, max(2.4, 0.9 + 0.27 * len(findings))), layout="constrained")
        axes = figure.add_subplot()
        rows = np.arange(len(findings))
        lengths = [pooled[i] - 0.5 for i in order]  # from chance, where nothing is known
        axes.barh(rows, lengths, left=0.5, height=0.62, color="#cfe3ec", label="all folds pooled")
        for n, (name, areas) in enumerate(folds.items()):
            colour = FOLD_COLOURS[n % len(FOLD_COLOURS)]
            axes.plot([areas[i] for i in order], rows, "o", ms=4, color=colour, label=f"fold {name}")
        axes.axvline(0.5, color=SOFT, lw=0.8, ls="--")
        axes.annotate(
            "chance", (0.5, len(findings) - 0.1), ha="center", color=SOFT, fontsize=8, annotation_clip=False
        )
        axes.set_yticks(rows, _plain([findings[i] for i in order]))
        drawn = [area for areas in (pooled, *folds.values()) for area in areas if not math.isnan(area)]
        axes.set_xlim(min(0.4, *drawn, 0.4) - 0.01, 1.0)
        axes.set_xlabel("area under the ROC curve, out of fold")
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return _svg(figure)


def history(folds: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Each fold's columns by name (epoch, train_loss, macro_auc): loss and validation macro-AUC by epoch."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 2.8), layout="constrained")
        panels = figure.subplots(1, 2)
        for axes, column, title in zip(
            panels, ("train_loss", "macro_auc"), ("training loss", "validation macro-AUC"), strict=True
        ):
            _curves(axes, column, title, folds)
        panels[1].legend(frameon=False, loc="lower right")
        return _svg(figure)


def _curves(axes: Axes, column: str, title: str, folds: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    for i, (name, columns) in enumerate(folds.items()):
        colour = FOLD_COLOURS[i % len(FOLD_COLOURS)]
        axes.plot(
            [e + 1 for e in columns["epoch"]],
            columns[column],
            "o-",
            ms=3,
            lw=1.4,
            color=colour,
            label=f"fold {name}",
        )
    axes.set_title(title, loc="left", fontsize=9.5)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def heat_maps(
    panels: Mapping[str, np.ndarray],
    findings: Sequence[str],
    *,
    row: str,
    column: str,
    scale: str,
    signed: bool,
) -> str:
    """Matrices (L, L) by title, two abreast, on one colour scale. `signed`: warm above zero and cool below,
    even on both sides; without it pale at zero and dark at the largest. NaN is grey.
    """
    abreast, cell = (1, 0.32) if len(panels) == 1 else (2, 0.24)  # inches; two of 14 findings fit the page
    down, side = math.ceil(len(panels) / abreast), cell * len(findings)
    names = _longest(findings)  # beside and under a panel
    with mpl.rc_context(STYLE):
        size = (names + 1.6 + abreast * (side + 0.1), down * (names + side + 0.7))
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(down, abreast, squeeze=False)
        colours = _colours(list(panels.values()), signed=signed)
        for axes in grid.flat[len(panels) :]:
            axes.set_axis_off()
        for i, (axes, (title, matrix)) in enumerate(zip(grid.flat, panels.items(), strict=False)):
            image = axes.imshow(matrix, **colours)
            axes.set_title(title, loc="left", fontsize=9.5)
            axes.set_xticks(range(len(findings)), _plain(findings), rotation=90)
            axes.set_yticks(range(len(findings)), _plain(findings))
            axes.tick_params(length=0, labelleft=i % abreast == 0)
            axes.set_xlabel(column)
            axes.set_ylabel(row if i % abreast == 0 else "")
        figure.colorbar(image, ax=grid, shrink=0.7, label=scale)
        return _svg(figure)


def small_maps(maps: np.ndarray, findings: Sequence[str], *, scale: str) -> str:
    """(L, h, w), none negative: one small map per finding, five abreast, on one colour scale from zero. A map
    of NaN says that no image is in it.
    """
    abreast = min(5, len(findings))
    down = math.ceil(len(findings) / abreast)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(0.9 + 1.7 * abreast, 0.2 + 1.95 * down), layout="constrained")
        grid = figure.subplots(down, abreast, squeeze=False)
        colours = _colours([maps], signed=False)
        for axes in grid.flat:
            axes.set_axis_off()
            axes.set(xticks=[], yticks=[])  # unseen, they take half of the drawing's time
        for axes, name, values in zip(grid.flat, findings, maps, strict=False):
            image = axes.imshow(values, **colours)
            axes.set_title("\n".join(_plain(textwrap.wrap(name, 20))), fontsize=8.5)
            if np.isnan(values).all():
                axes.annotate("no image", (0.5, 0.5), xycoords="axes fraction", ha="center", va="center")
        figure.colorbar(image, ax=grid, shrink=0.7, label=scale)
        return _svg(figure)


def positives(counts: Mapping[str, int], *, images: int) -> str:
    """Images that show each finding: one bar per finding, the most frequent on top, with its count and share
    of all images.
    """
    order = sorted(counts, key=lambda name: counts[name])  # bars are drawn from below
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7, max(2.0, 0.6 + 0.25 * len(order))), layout="constrained")
        axes = figure.add_subplot()
        rows = range(len(order))
        axes.barh(rows, [counts[name] for name in order], height=0.62, color="#9cc4d6")
        for row, name in enumerate(order):
            share = f"{counts[name]:,} ({100 * counts[name] / max(images, 1):.1f} %)"
            axes.annotate(share, (counts[name], row), (3, 0), fontsize=8, **BESIDE)
        axes.set_yticks(rows, _plain(order))
        axes.margins(x=0.15)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlabel("images that show the finding")
        return _svg(figure)


def histograms(counts: Mapping[str, Sequence[int]]) -> str:
    """Images by bin of probability from 0 to 1: one small panel per finding, five abreast, each as shares of
    the finding's images.
    """
    abreast = min(5, len(counts))
    down = math.ceil(len(counts) / abreast)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(0.6 + 1.7 * abreast, 0.5 + 1.3 * down), layout="constrained")
        grid = figure.subplots(down, abreast, squeeze=False, sharex=True)
        for axes in grid.flat[len(counts) :]:
            axes.set_axis_off()
        for axes, (name, images) in zip(grid.flat, counts.items(), strict=False):
            edges = np.linspace(0, 1, len(images) + 1)
            axes.stairs(np.array(images) / max(sum(images), 1), edges, fill=True, color="#9cc4d6")
            axes.set_title("\n".join(_plain(textwrap.wrap(name, 20))), fontsize=8.5)
            axes.set(xlim=(0, 1), xticks=[0, 0.5, 1], ylim=(0, None))
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            axes.yaxis.set_major_locator(MaxNLocator(2))
        figure.supxlabel("probability, out of fold", fontsize=9)
        figure.supylabel("share of images", fontsize=9)
        return _svg(figure)


def shares_by_panel(
    panels: Mapping[str, Sequence[float]], findings: Sequence[str], *, overall: Sequence[float], scale: str
) -> str:
    """Shares (L,) by title: one panel each, four abreast, findings in the order of `overall` (L,), the most
    frequent on top, whose value is a line across each bar.
    """
    order = sorted(range(len(findings)), key=lambda i: overall[i])
    abreast = min(4, len(panels))
    down, rows = math.ceil(len(panels) / abreast), np.arange(len(findings))
    with mpl.rc_context(STYLE):
        size = (
            _longest(findings) + 0.4 + abreast * (2.0 if abreast > 2 else 2.8),
            down * (0.7 + 0.2 * len(rows)),
        )
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(down, abreast, squeeze=False, sharex=True)
        for axes in grid.flat[len(panels) :]:
            axes.set_axis_off()
        for i, (axes, (title, shares)) in enumerate(zip(grid.flat, panels.items(), strict=False)):
            axes.barh(rows, [shares[j] for j in order], height=0.66, color="#9cc4d6")
            axes.plot([overall[j] for j in order], rows, "|", ms=8, mew=1.4, color=INK)
            axes.set_title(title, loc="left", fontsize=9.5)
            axes.set_yticks(rows, _plain([findings[j] for j in order]))
            axes.tick_params(axis="y", length=0, labelleft=i % abreast == 0)
            axes.tick_params(axis="x", labelbottom=True)
            axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
            axes.set_ylim(-0.6, len(rows) - 0.4)
        figure.supxlabel(scale, fontsize=9)
        return _svg(figure)


def probes(values: np.ndarray, findings: Sequence[str], *, labelled: Collection[str] = ()) -> str:
    """(L, T, P) probabilities after part p of step t: a row per finding, a column per state, named t.p, and
    the number in each cell. Findings that an image is `labelled` with stand out. NaN is grey. Source: figure
    2 (a) of arXiv:1904.08049, which has states from the bottom and findings from the left.
    """
    _, steps, parts = values.shape
    states = values.reshape(len(findings), -1)
    names = [f"{t + 1}.{p + 1}" for t in range(steps) for p in range(parts)]
    with mpl.rc_context(STYLE):
        size = (_longest(findings) + 1.6 + 0.55 * len(names), 0.7 + 0.27 * len(findings))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        image = axes.imshow(
            states, cmap=mpl.colormaps["Blues"].with_extremes(bad=NOTHING), vmin=0, vmax=1, aspect="auto"
        )
        for row, column in np.argwhere(np.isfinite(states)):
            ink = "white" if states[row, column] > 0.6 else INK
            cell = f"{states[row, column]:.2f}"
            axes.annotate(cell, (column, row), ha="center", va="center", fontsize=7.5, color=ink)
        axes.set_xticks(range(len(names)), names)
        axes.set_yticks(range(len(findings)), _plain(findings))
        for label, name in zip(axes.get_yticklabels(), findings, strict=True):
            label.set_color(FOLD_COLOURS[1] if name in labelled else INK)
        axes.tick_params(length=0)
        axes.set_xlabel("step.part")
        figure.colorbar(image, ax=axes, label="probability read out")
        return _svg(figure)


def attention_over_image(gray: np.ndarray, maps: Mapping[str, np.ndarray]) -> str:
    """An image (S, S), 0 black to 255 white, and maps (h, w) of one finding's attention to it by title: the
    image alone, then under each map, on one scale from no attention (clear) to the most (red). Source: figure
    2 (b) of arXiv:1904.08049.
    """
    most = max(float(values.max()) for values in maps.values()) or 1.0
    corners = (0, gray.shape[1], gray.shape[0], 0)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.4 * (1 + len(maps)), 2.7), layout="constrained")
        for axes, title in zip(figure.subplots(1, 1 + len(maps)), ("image", *maps), strict=True):
            axes.set_axis_off()
            axes.set_title(_plain([title])[0], fontsize=8.5)
            axes.imshow(gray, cmap="gray", vmin=0, vmax=255, extent=corners)
            if title in maps:
                share = maps[title] / most
                axes.imshow(
                    np.ones_like(share), cmap="Reds", vmin=0, vmax=1.4, alpha=0.7 * share, extent=corners
                )
        return _svg(figure)


def _longest(names: Sequence[str]) -> float:
    """Inches that the longest of these names takes along an axis."""
    font = FontProperties(family=STYLE["font.family"], size=STYLE["font.size"])
    drawn = [TextPath((0, 0), name, prop=font) for name in _plain(names)]
    widths = [path.get_extents().width for path in drawn if len(path.vertices)]  # blanks have none
    return float(max(widths, default=0.0)) / 72


def _colours(values: Sequence[np.ndarray], *, signed: bool) -> dict[str, Any]:
    sizes = np.abs(np.concatenate([np.ravel(part) for part in values]))
    most = float(sizes[np.isfinite(sizes)].max(initial=0)) or 1.0  # nothing but zeros has a plain scale
    colours = mpl.colormaps["RdBu_r" if signed else "Blues"].with_extremes(bad=NOTHING)
    return {"cmap": colours, "vmin": -most if signed else 0, "vmax": most}


def differences(heads: Mapping[str, Mapping[str, float]], *, reference: str) -> str:
    """Each head's macro_auc less that of `reference`, with the ends, low and high, of its interval: one line
    per head in the order given, filled where the interval leaves out 0.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 1.2 + 0.3 * len(heads)), layout="constrained")
        axes = figure.add_subplot()
        for row, ends in enumerate(heads.values()):
            low, middle, high = (ends[name] for name in ("low", "macro_auc", "high"))
            clear = low > 0 or high < 0
            axes.plot([low, high], [row, row], color=INK, lw=1.4, solid_capstyle="butt")
            axes.plot(middle, row, "o", ms=6, color=INK, markerfacecolor=INK if clear else "white")
        axes.axvline(0, color=SOFT, lw=0.8, ls="--", zorder=0)
        axes.set_yticks(range(len(heads)), _plain(list(heads)))
        axes.set_ylim(len(heads) - 0.4, -0.6)  # the first on top
        axes.xaxis.set_major_locator(MaxNLocator(7))
        for word, side, gap in (("worse", "right", -4), ("better", "left", 4)):
            axes.annotate(
                word, (0, 1), (gap, 3), ("data", "axes fraction"), "offset points", ha=side, color=SOFT
            )
        axes.set_xlabel(
            f"macro-AUC less that of {reference}, and its 95 % interval (filled: it leaves out 0)"
        )
        return _svg(figure)


MOST = 10  # gains, and as many losses
GAIN, LOSS = "#c8553d", "#0b6e99"


def gains(findings: Mapping[str, Mapping[str, float]], *, head: str, reference: str) -> str:
    """Each finding's auc of `head` less that of `reference`, with the ends, low and high, of its interval if
    it has one: one bar per finding, the largest gain on top; of many the MOST largest gains and losses. Full
    colour where the interval leaves out 0.
    """
    order = sorted(findings, key=lambda name: -findings[name]["auc"])
    left_out = max(0, len(order) - 2 * MOST)
    shown = order[:MOST] + order[MOST + left_out :]
    which = f": the {MOST} largest gains and losses of {len(order)} findings" if left_out else " per finding"
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 1.3 + 0.27 * len(shown)), layout="constrained")
        axes = figure.add_subplot()
        rows = [row + (0.6 if left_out and row >= MOST else 0) for row in range(len(shown))]  # a gap between
        for row, name in zip(rows, shown, strict=True):
            ends, middle = findings[name], findings[name]["auc"]
            clear = "low" in ends and (ends["low"] > 0 or ends["high"] < 0)
            colour = GAIN if middle > 0 else LOSS
            axes.barh(row, middle, height=0.62, color=colour, alpha=0.8 if clear else 0.3, lw=0)
            if "low" in ends:
                axes.plot([ends["low"], ends["high"]], [row, row], color=INK, lw=1.1, solid_capstyle="butt")
        axes.axvline(0, color=SOFT, lw=0.8)
        axes.set_yticks(rows, _plain(shown))
        axes.set_ylim(rows[-1] + 0.6, -0.6)  # the largest gain on top
        axes.xaxis.set_major_locator(MaxNLocator(7))
        axes.set_title(_plain([f"{head}, gain{which}"])[0], loc="left", fontsize=9.5)
        axes.set_xlabel(f"AUC less that of {reference}, and its 95 % interval (full colour: it leaves out 0)")
        return _svg(figure)


def sweep(points: Sequence[Mapping[str, float]], *, head: str, key: str, reference: str, level: float) -> str:
    """`points`: value of the setting `key`, macro_auc, mean_ap and, but for the first, low and high of the
    interval of the difference in macro-AUC from the first. `level`: the macro-AUC of `reference`.
    """
    values, places = [str(point["value"]) for point in points], range(len(points))
    first = points[0]["macro_auc"]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 3.0), layout="constrained")
        panels = figure.subplots(1, 2)
        for axes, column, title in zip(
            panels, ("macro_auc", "mean_ap"), ("macro-AUC", "mean average precision"), strict=True
        ):
            axes.plot(places, [point[column] for point in points], "o-", ms=5, lw=1.4, color=FOLD_COLOURS[0])
            axes.set_title(f"{head}: {title}", loc="left", fontsize=9.5)
            axes.set_xticks(places, values)  # evenly, as 1, 10, 100 would crowd on a scale
            axes.margins(x=0.08)
            axes.set_xlabel(key)
        for place, point in enumerate(points[1:], 1):
            ends = [first + point["low"], first + point["high"]]
            label = f"95 % interval of the difference from {key} {values[0]}" if place == 1 else None
            panels[0].plot([place] * 2, ends, color=FOLD_COLOURS[0], lw=1.1, label=label)
        panels[0].axhline(first, color=SOFT, lw=0.8, zorder=0)
        panels[0].axhline(level, color=FOLD_COLOURS[1], lw=0.9, ls="--", label=reference, zorder=0)
        figure.legend(frameon=False, loc="outside lower left", ncols=2)
        return _svg(figure)


def kept_calls(curves: Mapping[str, Mapping[str, Sequence[float]]], stops: Mapping[str, float]) -> str:
    """Of each curve by its name, `kept` shares of all calls, and which share of those is right: of all, of
    those of 1 (`ppv`), of those of 0 (`npv`), a panel each; NaN is not drawn. `stops`: the share that is
    kept in the end, a dot on the curve.
    """
    titles = {"accuracy": "of all answers", "ppv": "of the answers yes", "npv": "of the answers no"}
    lowest = min(
        one for points in curves.values() for column in titles for one in points[column] if one == one
    )
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.2, 3.3), layout="constrained")
        panels = figure.subplots(1, 3, sharey=True)
        for axes, (column, title) in zip(panels, titles.items(), strict=True):
            for n, (name, points) in enumerate(curves.items()):
                colour = FOLD_COLOURS[n % len(FOLD_COLOURS)]
                axes.plot(points["kept"], points[column], lw=1.6, color=colour, label=name)
                if name in stops:
                    there = np.interp(stops[name], points["kept"], points[column])
                    axes.plot(stops[name], there, "o", ms=6, color=colour)
            axes.set_title(title, loc="left", fontsize=9.5)
            axes.set(xlim=(0, 1.02), ylim=(min(0.5, lowest - 0.02), 1.01))
            axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        panels[0].set_ylabel("share that is right")
        panels[1].set_xlabel("share of questions that are answered, those with the least doubt first")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, frameon=False, loc="outside lower center", ncols=len(labels), fontsize=8.5
        )
        return _svg(figure)


def head_effects(
    title: str,
    findings: Sequence[str],
    probs: np.ndarray,
    stages: Mapping[str, np.ndarray],
    pushes: np.ndarray | None,
) -> str:
    """Of one image: (L,) probabilities as bars, the most probable first; beside them what the head did to the
    logits: with pushes (L, L), source by target, their sums up and down, the strongest one named; without,
    the logit after each stage.
    """
    order = np.argsort(-probs, kind="stable")
    names = _plain([findings[i] for i in order])
    rows = np.arange(len(findings))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.2, max(2.4, 1.1 + 0.3 * len(findings))), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(2, 3))
        left.barh(rows, probs[order], height=0.62, color="#cfe3ec")
        for row, prob in enumerate(probs[order]):
            left.annotate(f"{prob:.2f}", (prob, row), (3, 0), fontsize=8, **BESIDE)
        left.set(xlim=(0, 1.12), xticks=[0, 0.5, 1], xlabel="probability, as scored")
        left.set_yticks(rows, names)
        left.set_ylim(len(rows) - 0.4, -0.6)  # the first on top
        if pushes is None:
            _logit_path(right, np.stack(list(stages.values()))[:, order], list(stages))
        else:
            _pushes(right, pushes[:, order], findings)
        right.tick_params(axis="y", length=0)
        right.spines["left"].set_visible(False)
        figure.suptitle(_plain([textwrap.shorten(title, 90, placeholder=" ...")])[0], x=0.01, ha="left")
        return _svg(figure)


def _pushes(axes: Axes, pushes: np.ndarray, findings: Sequence[str]) -> None:
    """(L, L), sources by targets in the order of the rows."""
    up, down = pushes.clip(min=0).sum(0), pushes.clip(max=0).sum(0)
    rows = np.arange(pushes.shape[1])
    most = float(max(up.max(initial=0), -down.min(initial=0))) or 1.0
    axes.barh(rows, up, height=0.62, color=PALE_UP, label="pushes up")
    axes.barh(rows, down, height=0.62, color=PALE_DOWN, label="pushes down")
    for row in rows:
        i = int(np.abs(pushes[:, row]).argmax())
        push = float(pushes[i, row])
        if not push:
            continue
        axes.barh(row, push, height=0.62, color=UP if push > 0 else DOWN)
        end, gap, side = (up[row], 4, "left") if push > 0 else (down[row], -4, "right")
        name = _plain([findings[i]])[0]
        axes.annotate(name, (end, row), (gap, 0), ha=side, fontsize=8, **BESIDE)
    axes.plot(up + down, rows, "o", ms=4, color=INK, label="change in all")
    axes.axvline(0, color=SOFT, lw=0.8)
    axes.set_xlim(-2.3 * most, 2.3 * most)  # room for the names
    axes.xaxis.set_major_locator(MaxNLocator(5, symmetric=True))
    axes.set_xlabel("change in the logit; dark: the strongest push, and whose it is")
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, fontsize=8)


def _logit_path(axes: Axes, stages: np.ndarray, names: Sequence[str]) -> None:
    """(S, L): a finding's logits joined by a line, paler where they are earlier."""
    rows = np.arange(stages.shape[1])
    axes.hlines(rows, stages.min(0), stages.max(0), color=NOTHING, lw=1.2)
    for s, (name, logits) in enumerate(zip(names, stages, strict=True)):
        shade = mpl.colormaps["Blues"](0.3 + 0.7 * s / (len(names) - 1))
        axes.plot(logits, rows, "o", ms=4 + 2 * (s == len(names) - 1), color=shade, label=name)
    axes.axvline(0, color=SOFT, lw=0.8, ls="--")
    axes.set_xlabel("logit after each step; 0 is a probability of one half")
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=4, fontsize=8)


def _plain(names: Sequence[str]) -> list[str]:
    """Names as they are: matplotlib reads what stands between dollar signs as mathematics."""
    return [name.replace("$", r"\$") for name in names]


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None}, bbox_inches="tight")  # no long name is cut
    text = buffer.getvalue()
    return text[text.index("<svg") :]
