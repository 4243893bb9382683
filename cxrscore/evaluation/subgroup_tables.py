"""Figures of subgroups as they are shown: rows of one long table, JSON, and text for a person.

In    Subgroups.
Out   rows under COLUMNS, blank where there is no number, with the reason in `why`; nested dicts; blocks.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from cxrscore.core.errors import counted
from cxrscore.core.text_table import Block, TextTable, column_widths
from cxrscore.evaluation.subgroups import UNITS, Figure, Group, Subgroups
from cxrscore.statistics.estimates import MACRO, Estimate, Key
from cxrscore.statistics.interval_rules import TABLE
from cxrscore.statistics.measures import MEASURES
from cxrscore.tables.csv_table import write_table

COLUMNS = (
    *("column", "group", "reference", "patients", "images", "measure", "finding", "findings"),
    *("patients_shown", "patients_not_shown", "value", "low", "high", "why"),
    *("gap", "gap_low", "gap_high", "gap_findings", "gap_why"),
)
WHOLE = ("patients", "images", "findings", "patients_shown", "patients_not_shown", "gap_findings")
NUMBERS = ("value", "low", "high", "gap", "gap_low", "gap_high")
DIGITS = 5
LARGEST = 5  # gaps that a person is shown of a column
Cell = str | int | float | None


def long_rows(found: Sequence[Subgroups]) -> Iterator[list[Cell]]:
    """One row for each column, group, measure and finding; None where there is no number."""
    for one in found:
        for group in one.groups:
            for key, figure in group.figures.items():
                reference = "" if group.name == one.reference else one.reference
                facts = [one.column, group.name, reference, group.patients, group.images, *key]
                shown = [None, None] if key[1] in (MACRO, TABLE) else [figure.shown, figure.unshown]
                value = figure.estimate
                gap = group.gaps.get(key, Figure(Estimate(math.nan), 0))
                yield [
                    *(*facts, figure.findings, *shown, *_numbers(value), value.why),
                    *(*_numbers(gap.estimate), gap.findings, gap.estimate.why),
                ]


def write_long_table(path: Path, found: Sequence[Subgroups]) -> None:
    rows = (["" if cell is None else cell for cell in row] for row in long_rows(found))
    write_table(path, COLUMNS, rows)


def as_json(found: Sequence[Subgroups]) -> dict[str, Any]:
    """Column -> reference, groups -> patients, images, figures and gaps -> measure -> finding -> numbers."""
    return {
        one.column: {
            "reference": one.reference,
            "groups": {
                group.name: {
                    "patients": group.patients,
                    "images": group.images,
                    "figures": _nested(group.figures.items()),
                    "gaps": _nested(group.gaps.items()),
                }
                for group in one.groups
            },
        }
        for one in found
    }


def _nested(figures: Iterable[tuple[Key, Figure]]) -> dict[str, dict[str, dict[str, Cell]]]:
    nested: dict[str, dict[str, dict[str, Cell]]] = {}
    for (measure, of), figure in figures:
        names = dict(zip(("value", "low", "high"), _numbers(figure.estimate), strict=True))
        told: dict[str, Cell] = {name: number for name, number in names.items() if number is not None}
        told |= {"why": figure.estimate.why} if figure.estimate.why else {}
        told |= {"findings": figure.findings} if of == MACRO else {}
        nested.setdefault(measure, {})[of] = told
    return nested


def _numbers(estimate: Estimate) -> list[Cell]:
    values = (estimate.value, estimate.low, estimate.high)
    return [None if math.isnan(value) else round(value, DIGITS) for value in values]


def blocks(found: Sequence[Subgroups]) -> list[Block]:
    """Of each column the groups with their means, then the gaps that are largest."""
    shown: list[Block] = []
    for one in found:
        shown += ["", *_groups_blocks(one), *_gaps_blocks(one)]
    return shown


def _groups_blocks(one: Subgroups) -> list[Block]:
    keys = [key for key in one.groups[0].figures if key[1] in (MACRO, TABLE)]
    titles = [MEASURES[measure].title for measure, _ in keys]
    header = [one.column, UNITS[one.unit]] + ["images"] * (one.unit != "image")
    for title, (_, of) in zip(titles, keys, strict=True):
        header += [
            title if of == TABLE else f"mean {title}",
            "95 % interval",
            "findings",
            f"less {one.reference}",
        ]
    rows = [header]
    for group in one.groups:
        row = [group.name, f"{group.patients:,}"] + [f"{group.images:,}"] * (one.unit != "image")
        for key in keys:
            row += _group_cells(group, key, is_reference=group.name == one.reference)
        rows.append(row)
    shared = [f"less {one.reference}: over those findings that both groups have"] * any(
        of == MACRO and group.figures[measure, of].findings != one.groups[0].figures[measure, of].findings
        for group in one.groups
        for measure, of in keys
    )
    return [TextTable(rows, headed=True, widths=column_widths(rows)), *shared]


def _group_cells(group: Group, key: Key, *, is_reference: bool) -> list[str]:
    figure = group.figures[key]
    value = figure.estimate
    if math.isnan(value.value):
        return [value.why, "", "", ""]
    over = "" if key[1] == TABLE else str(figure.findings)
    gap = group.gaps.get(key)
    less = "reference" if is_reference else _signed(gap.estimate) if gap else ""
    return [f"{value.value:.4f}", _ends(value, ".3f"), over, less]


def _signed(gap: Estimate) -> str:
    return gap.why if math.isnan(gap.value) else f"{gap.value:+.4f} {_ends(gap, '+.3f')}".rstrip()


def _ends(estimate: Estimate, form: str) -> str:
    return "" if math.isnan(estimate.low) else f"({estimate.low:{form}} to {estimate.high:{form}})"


def _gaps_blocks(one: Subgroups) -> list[Block]:
    """The largest gaps by finding, of the first measure; how many gaps there are, and what chance does."""
    measure = next(iter(one.groups[0].figures))[0]
    gaps = [
        (group.name, of, figure.estimate)
        for group in one.groups
        for (name, of), figure in group.gaps.items()
        if name == measure and of != MACRO and not math.isnan(figure.estimate.value)
    ]
    few = sum(
        math.isnan(figure.estimate.value)
        for group in one.groups
        for (name, of), figure in group.figures.items()
        if name == measure and of != MACRO
    )
    title = MEASURES[measure].title
    left_out = f"{counted(few, 'cell')} with too few {UNITS[one.unit]} or no value: no figure." if few else ""
    if not gaps:
        return [f"No gap of {title} can be measured. {left_out}".rstrip()]
    largest = sorted(gaps, key=lambda gap: -abs(gap[2].value))[:LARGEST]
    rows = [[f"{one.column}: largest gaps of {title}", "finding", f"less {one.reference}", "95 % interval"]]
    rows += [[name, of, f"{gap.value:+.4f}", _ends(gap, "+.3f")] for name, of, gap in largest]
    bounded = [gap for *_, gap in gaps if not math.isnan(gap.low)]
    apart = sum(gap.low > 0 or gap.high < 0 for gap in bounded)
    by_chance = len(bounded) * 0.05
    leave = counted(apart, "interval leaves", "intervals leave")
    chance = f"about {by_chance:.1f} would by chance if no groups differed."
    counts = f"{counted(len(bounded), 'gap')} with an interval; {leave} out 0, and {chance}" * bool(bounded)
    return [TextTable(rows, headed=True, widths=column_widths(rows)), *filter(None, (counts, left_out))]
