"""What `bench` measured, as tables for a person."""

from collections.abc import Iterator, Mapping
from typing import Any

from cxrscore.core.text_table import Block, TextTable

WIDTHS = (10, 10, 38)  # milliseconds, things a second, and times with their range
INDENT = "  "


def text_blocks(result: Mapping[str, Any]) -> list[Block]:
    blocks: list[Block] = [", ".join(str(fact) for fact in result["about"].values())]
    for name, part in result.items():
        if name != "about":
            for race in part["races"]:
                blocks += ["", *_race(race)]
            blocks += ["", *_facts(part["facts"])]
    return blocks


def _race(race: Mapping[str, Any]) -> Iterator[Block]:
    """One row per way: milliseconds a thing, things a second, how many times faster and the rounds' range."""
    yield f"{race['what']}; median of {race['rounds']} rounds (lowest to highest)"
    width = max(len(name) for name in race["lines"])
    against = list(next(iter(race["lines"].values()))["times"])
    compared_with = [f"times as fast as {other}" for other in against]
    rows = [["", f"ms/{race['unit']}", f"{race['unit']}s/s", *compared_with]]
    for name, line in race["lines"].items():
        each_ms = 1e3 * line["seconds"]["median"] / race["count"]
        times = (_range(line["times"][other]) for other in against)
        rows.append([name, f"{each_ms:.4g}", f"{line['per_second']:.2f}", *times])
    each, per_second, compared = WIDTHS
    widths = [width, each, per_second, *[compared] * len(against)]
    yield TextTable(rows, headed=True, widths=widths, indent=INDENT)


def _range(spread: Mapping[str, float]) -> str:
    return f"{spread['median']:.2f} ({spread['low']:.2f} to {spread['high']:.2f})"


def _facts(facts: Mapping[str, Any], indent: str = INDENT) -> Iterator[str]:
    for name, fact in facts.items():
        words = name.replace("_", " ")
        if isinstance(fact, dict):
            yield f"{indent}{words}"
            yield from _facts(fact, indent + INDENT)
        else:
            yield f"{indent}{words}: {f'{fact:.4g}' if isinstance(fact, float) else fact}"
