"""Ways to do the same work, run in turn -> how much faster one is than another.

In    name -> a call without arguments; how many things a call handles.
Out   a Timing, and as JSON: seconds a call, things a second, and `times` faster than the lines named in
      `against`. Each is a median over rounds with the lowest and highest; `times` is the median of each
      round's own quotient, so what slows the machine for one round does not enter.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from cxrscore.core.progress import Progress
from cxrscore.scoring.compute_settings import interleaved


@dataclass(frozen=True)
class Timing:
    """`seconds`: of each line, a round each. `count`: things handled in such a time."""

    what: str
    unit: str
    count: int
    against: Sequence[str]
    seconds: Mapping[str, Sequence[float]]

    def times(self, line: str, other: str) -> list[float]:
        """How many times faster than `other` is `line`, round by round."""
        return [slow / fast for slow, fast in zip(self.seconds[other], self.seconds[line], strict=True)]

    def median_s(self, line: str) -> float:
        return statistics.median(self.seconds[line])

    def as_json(self) -> dict[str, Any]:
        lines = {
            name: {
                "seconds": spread(seconds),
                "per_second": self.count / statistics.median(seconds),
                "times": {other: spread(self.times(name, other)) for other in self.against},
            }
            for name, seconds in self.seconds.items()
        }
        rounds = len(next(iter(self.seconds.values())))
        return {"what": self.what, "unit": self.unit, "count": self.count, "rounds": rounds, "lines": lines}


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def in_turn(
    works: Mapping[str, Callable[[], object]],
    *,
    device: torch.device,
    rounds: int,
    progress: Progress,
) -> dict[str, list[float]]:
    """Seconds of each work, a round each, after one round that does not count; each call is a step."""

    def told(name: str) -> Callable[[], None]:
        def work() -> None:
            works[name]()
            progress.advance(1, name)

        return work

    return dict(zip(works, interleaved([told(name) for name in works], device, rounds=rounds), strict=True))
