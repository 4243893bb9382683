"""What `bench` measured, as tables for a person."""

from collections.abc import Iterator, Mapping
from typing import Any


def as_text(result: Mapping[str, Any]) -> str:
    lines = [", ".join(str(fact) for fact in result["about"].values())]
    for name, part in result.items():
        if name != "about":
            for race in part["races"]:
                lines += ["", *_race(race)]
            lines += ["", *_facts(part["facts"])]
    return "\n".join(lines)


def _race(race: Mapping[str, Any]) -> Iterator[str]:
    """A line each: milliseconds a thing, things a second, how many times faster and the rounds' range."""
    yield f"{race['what']}; median of {race['rounds']} rounds (lowest to highest)"
    width = max(len(name) for name in race["lines"])
    against = list(next(iter(race["lines"].values()))["times"])
    heads = "".join(f"  {'times ' + other:>26.26}" for other in against)
    yield f"  {'':{width}}  {'ms/' + race['unit']:>10}  {race['unit'] + 's/s':>10}{heads}"
    for name, line in race["lines"].items():
        each_ms = 1e3 * line["seconds"]["median"] / race["count"]
        times = "".join(f"  {_range(line['times'][other]):>26}" for other in against)
        yield f"  {name:{width}}  {each_ms:10.4g}  {line['per_second']:10.2f}{times}"


def _range(spread: Mapping[str, float]) -> str:
    return f"{spread['median']:.2f} ({spread['low']:.2f} to {spread['high']:.2f})"


def _facts(facts: Mapping[str, Any], indent: str = "  ") -> Iterator[str]:
    for name, fact in facts.items():
        words = name.replace("_", " ")
        if isinstance(fact, dict):
            yield f"{indent}{words}"
            yield from _facts(fact, indent + "  ")
        else:
            yield f"{indent}{words}: {f'{fact:.4g}' if isinstance(fact, float) else fact}"
