"""What `evaluate` and `test` print for a person: a table by finding, the papers' figures, means and folds.

In    metrics as they are written, with what statistics_table.as_facts adds to them.
Out   blocks of text. All other figures, and the interval of each, are in `--json` and statistics.csv.
"""

from collections.abc import Mapping
from typing import Any

from cxrscore.core.errors import counted
from cxrscore.core.text_table import Block, TextTable, column_widths

BY_FINDING = {
    "AUC": "auc",
    "AP": "average_precision",
    "Brier": "brier",
    "cal. error": "calibration_error",
    "sensitivity": "sensitivity_at_specificity_90",
}
COUNTED = ("cp", "cr", "cf1", "op", "or", "of1")
OF_TABLE = {
    "AP_all": "ap_all",
    "subset accuracy": "subset_accuracy",
    "Hamming loss": "hamming_loss",
    "example-based F1": "example_f1",
    "micro-averaged F1": "micro_f1",
    "macro-averaged F1": "macro_f1",
}
INTERVAL = "95 % interval"
UNCALIBRATED = 0.1  # mean calibration error; of scores of trainings with Asymmetric Loss it is 0.3
Facts = Mapping[str, Any]


def metrics_blocks(facts: dict[str, Any]) -> list[Block]:
    """The macro-AUC and what it rests on stand below the figures, then views, studies and folds."""
    means = _means(facts)
    widths = [max(len(row[0]) for row in means)]
    return [
        *_by_finding(facts),
        "",
        *_called(facts["statistics"]),
        "",
        *_of_table(facts["statistics"]),
        "",
        TextTable(means, widths=widths),
    ]


def _by_finding(facts: Facts) -> list[Block]:
    from cxrscore.statistics.estimates import MACRO

    figures, counts = facts["statistics"], facts["counts"]
    unit, ends = _unit(counts), _has_intervals(figures)
    header = ["", "AUC", *([INTERVAL] if ends else []), *list(BY_FINDING)[1:], f"{unit} with", "without"]
    rows = [header]
    for finding in (*counts, MACRO):
        cells = [_value(figures, name, finding) for name in BY_FINDING.values()]
        interval = [_interval(figures, "auc", finding)] if ends else []
        numbers = [f"{number:,}" for number in counts.get(finding, {}).values()]
        rows.append(["mean" if finding == MACRO else finding, cells[0], *interval, *cells[1:], *numbers])
    return [
        TextTable(rows, headed=True, widths=column_widths([[*row, "", ""][: len(header)] for row in rows])),
        "AP: average precision; cal. error: 15 bins of equal width; sensitivity: at 90 % specificity",
        *_whys(
            {"mean" if finding == MACRO else finding: ("auc", finding) for finding in (*counts, MACRO)},
            figures,
        ),
    ]


def _called(figures: Facts) -> list[Block]:
    """The papers' figures, and whether they mean anything: a threshold of 0.5 is for probabilities."""
    from cxrscore.statistics.estimates import MACRO
    from cxrscore.statistics.interval_rules import TABLE

    ends = _has_intervals(figures)
    rows = [
        ["called above 0.5", *(cell for of in ("all labels", "top 3") for cell in [of, *[INTERVAL] * ends])]
    ]
    places = {}
    for name in COUNTED:
        row = [name.upper()]
        for suffix in ("", "_top3"):
            row.append(_value(figures, name + suffix, TABLE))
            row += [_interval(figures, name + suffix, TABLE)] * ends
            places[f"{'top-3 ' * bool(suffix)}{name.upper()}"] = (name + suffix, TABLE)
        rows.append(row)
    error = figures.get("calibration_error", {}).get(MACRO, {}).get("value", 0.0)
    uncalibrated = (
        f"These scores are not calibrated (mean calibration error {error:.2f}), so 0.5 is an arbitrary "
        "threshold for them; `cxrscore score --calibrated` writes calibrated ones."
    )
    return [
        TextTable(rows, headed=True, widths=column_widths(rows)),
        *_whys(places, figures),
        *[uncalibrated] * (error > UNCALIBRATED),
    ]


def _whys(places: Mapping[str, tuple[str, str]], figures: Facts) -> list[str]:
    """`places`: what is shown -> measure and finding."""
    found: dict[str, list[str]] = {}
    for shown, (measure, finding) in places.items():
        why = figures.get(measure, {}).get(finding, {}).get("why")
        if why:
            found.setdefault(why, []).append(shown)
    return [f"no interval ({why}): {', '.join(names)}" for why, names in found.items()]


def _of_table(figures: Facts) -> list[Block]:
    from cxrscore.statistics.estimates import MACRO
    from cxrscore.statistics.interval_rules import TABLE

    places = {"mAP": ("average_precision", MACRO)} | {
        title: (name, TABLE) for title, name in OF_TABLE.items()
    }
    rows = [[title, _value(figures, *place), _interval(figures, *place)] for title, place in places.items()]
    return [TextTable(rows, widths=column_widths(rows)), *_whys(places, figures)]


def _means(facts: Facts) -> list[list[str]]:
    from cxrscore.statistics.estimates import MACRO, SHOWN

    counts = [counted(facts[f"{one}s"], one) for one in ("image", "patient") if f"{one}s" in facts]
    rests_on = f"({counted(facts['findings_defined'], 'finding')}, {', '.join(counts)})"
    folds = facts.get("folds", {})
    pooled = f", out of fold, {counted(len(folds) - 1, 'fold')} pooled" if folds else ""
    figures = facts["statistics"]
    why = figures.get("auc", {}).get(MACRO, {}).get("why")
    interval = f"no interval: {why}" if why else _interval(figures, "auc", MACRO)
    rows = [[f"macro-AUC{pooled}", _number(facts), interval, rests_on]]
    if SHOWN in figures.get("auc", {}) and _has_intervals(figures):
        often = sum(figures["auc"].get(finding, {}).get("low") is not None for finding in facts["counts"])
        named = f"of the {counted(often, 'finding')} with an interval"
        rows.append([named, _value(figures, "auc", SHOWN), _interval(figures, "auc", SHOWN)])
    labels = facts["labels_per_image"]
    spread = f"(median {labels['median']:g}, at most {labels['maximum']})"
    rows.append(["labels per image", f"{labels['mean']:.2f}", spread])
    images = facts["images_per_label"]
    spread = f"(median {images['median']:g}, at most {images['maximum']})"
    rows.append(["images per label", f"{images['mean']:.0f}", spread])
    means = {"with all views": "views", "study means": "study"}
    parts = {words: facts[name] for words, name in means.items() if name in facts}
    parts |= {f"fold {name}": fold for name, fold in folds.items()}
    return rows + [[words, _number(part)] for words, part in parts.items()]


def _unit(counts: Facts) -> str:
    """patients or, where nobody knows them, images."""
    return next((name.partition("_")[0] for of in counts.values() for name in of), "patients")


def _has_intervals(figures: Facts) -> bool:
    return any(one["low"] is not None or "why" in one for of in figures.values() for one in of.values())


def _value(figures: Facts, measure: str, finding: str) -> str:
    one = figures.get(measure, {}).get(finding)
    return "undefined" if one is None else f"{one['value']:.3f}"


def _interval(figures: Facts, measure: str, finding: str) -> str:
    one = figures.get(measure, {}).get(finding)
    if one is None or (one["low"] is None and "why" not in one):
        return ""
    return "none" if one["low"] is None else f"{one['low']:.3f} to {one['high']:.3f}"


def _number(facts: Facts) -> str:
    return f"{facts['macro_auc']:.4f}" if "macro_auc" in facts else "undefined"
