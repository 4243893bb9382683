"""A step's number -> its learning rate and, under the 1-cycle policy, its momentum.

In    the step, 0..total-1; the schedule's name; the peak; lengths in steps.
Out   numbers: pure functions of the step, so that a training that resumes has nothing to restore.
Sources: cosine, Srivastava, Gupta & Nath, "Learning sparse label couplings for multilabel chest X-ray
diagnosis", III-E; step, Li et al., "Learning category correlations for multi-label image recognition with
graph networks"; one_cycle, Smith, 2018, arXiv:1803.09820, with the shape and constants of torch's
OneCycleLR.
"""

import math

TENTH = 0.1  # of step; as a power of 10 it would overflow at the 309th
RISE = 0.3  # of one_cycle, these four: the share of the steps until the peak
FEWEST_OF_A_CYCLE = 4  # steps: of fewer the first one would lie behind the peak
START, END = 1 / 25, 1 / 25 / 1e4  # the first and the last rate, as shares of the peak
MOMENTUM, AT_PEAK = 0.95, 0.85  # at both ends, and at the peak


def lr_at(
    step: int, *, warmup: int, total: int, peak: float, schedule: str = "cosine", every: int = 1
) -> float:
    """cosine: linear to the peak over `warmup` steps, then half a cosine to zero. step: the same rise to the
    peak, and after every `every` steps from step 0 a tenth of it. one_cycle: `warmup` does not count, and
    `total` is FEWEST_OF_A_CYCLE at least.
    """
    if schedule == "one_cycle":
        return _cycle(step, total=total, start=START * peak, middle=peak, end=END * peak)
    peak = peak * TENTH ** (step // every) if schedule == "step" else peak
    if step < warmup:
        return peak * (step + 1) / warmup
    if schedule == "step":
        return peak
    progress = (step - warmup) / max(1, total - warmup)
    return peak * 0.5 * (1 + math.cos(math.pi * progress))


def momentum_at(step: int, *, total: int, schedule: str) -> float | None:
    """Momentum of sgd, first beta of adam and adamw; None leaves the optimizer its own."""
    if schedule != "one_cycle":
        return None
    return _cycle(step, total=total, start=MOMENTUM, middle=AT_PEAK, end=MOMENTUM)


def _cycle(step: int, *, total: int, start: float, middle: float, end: float) -> float:
    """Half a cosine from start to middle over the rise, and another one from there to the end."""
    top, last = RISE * total - 1, total - 1
    if step <= top:
        return _half_cosine(start, middle, step / top)
    return _half_cosine(middle, end, (step - top) / (last - top))


def _half_cosine(first: float, last: float, progress: float) -> float:
    return last + (first - last) / 2 * (1 + math.cos(math.pi * progress))
