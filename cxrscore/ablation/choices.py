"""One setting of a head chosen inside the training folds: what is compared afterwards has no part in it.

For fold f of K: with each value, train on all folds but f and f + 1 (after the last comes the first) and
validate on f + 1. The value with the highest macro-AUC there, of equal ones the first, then trains on all
folds but f, as every other head does.

In    heads by name, the setting and its values, seeds, the project's settings; what trains.
Out   Chosen of each head and seed; the runs that are compared. Each value's training is kept, and done once.
Source: Lanchantin, Sekhon & Qi, arXiv:1904.08049, 8.3 choose lambda on validation data; nested folds,
Varma & Simon, "Bias in error estimation when using cross-validation for model selection", 2006.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from cxrscore.ablation.runs import Run, layout_of
from cxrscore.ablation.sweep import Choice, with_head
from cxrscore.core.errors import UserError
from cxrscore.core.files import read_json
from cxrscore.core.paths import Layout

if TYPE_CHECKING:
    from cxrscore.project.params import Params

Head = Mapping[str, Any]


@dataclass(frozen=True)
class Chosen:
    """Of one head and seed: each fold's value, and the macro-AUC of all values by which it was chosen."""

    values: Mapping[int, Any]
    areas: Mapping[int, Sequence[float]]


def named(name: str) -> str:
    """The row, and the folder, of a head whose setting is chosen."""
    return f"{name}-chosen"


def inner_fold(fold: int, *, k: int) -> int:
    """The fold that values are validated on where `fold` is held out."""
    return (fold + 1) % k


def inner_runs(
    name: str, head: Head, choice: Choice, *, seed: int, params: "Params", layout: Layout
) -> dict[int, list[Run]]:
    """Fold -> one run per value. Raises UserError where two folds leave nothing to train on."""
    k = params.folds.k
    if k < 3:
        raise UserError(f"folds.k: {k}; --choose validates on a further fold: set it to 3 or more.")

    def run(fold: int, value: Any) -> Run:
        place = f"{named(name)}/seed{seed}/fold{fold}/{choice.key}={quote(str(value), safe='')}"
        settings = with_head(params, {**head, choice.key: value}, seed)
        return Run(
            f"{named(name)} ({choice.key} {value}, fold {fold} held out)",
            seed,
            inner_fold(fold, k=k),
            settings,
            layout.experiment(place),
            held_out=fold,
        )

    return {fold: [run(fold, value) for value in choice.values] for fold in params.folds.train}


def best(choice: Choice, runs: Mapping[int, Sequence[Run]]) -> Chosen:
    """From trainings that are done."""
    areas = {fold: [_area(run) for run in of_fold] for fold, of_fold in runs.items()}
    values = {fold: choice.values[found.index(max(found))] for fold, found in areas.items()}
    return Chosen(values, areas)


def _area(run: Run) -> float:
    """Macro-AUC of the epoch that was kept, on the fold that it was validated on."""
    return float(read_json(run.layout.summary(run.fold))["macro_auc"])


def choose_values(
    heads: Mapping[str, Head],
    seeds: Sequence[int],
    choice: Choice,
    *,
    params: "Params",
    layout: Layout,
    train: Callable[[Sequence[Run]], None],
) -> dict[str, dict[int, Chosen]]:
    """`heads`: those that have the setting. -> name -> seed -> what was chosen, after all values trained."""
    inner = {
        (name, seed): inner_runs(name, head, choice, seed=seed, params=params, layout=layout)
        for name, head in heads.items()
        for seed in seeds
    }
    train([run for of_head in inner.values() for of_fold in of_head.values() for run in of_fold])
    return {name: {seed: best(choice, inner[name, seed]) for seed in seeds} for name in heads}


def outer_runs(
    name: str, head: Head, key: str, chosen: Mapping[int, Chosen], *, params: "Params", layout: Layout
) -> list[Run]:
    """Each seed and fold with the value that was chosen for it."""
    return [
        Run(
            named(name),
            seed,
            fold,
            with_head(params, {**head, key: value}, seed),
            layout_of(layout, named(name), seed),
        )
        for seed, of_seed in chosen.items()
        for fold, value in of_seed.values.items()
    ]


def told(choice: Choice, chosen: Mapping[int, Chosen]) -> dict[str, Any]:
    """For JSON: the setting, and by seed and fold the value and each value's macro-AUC."""
    return {
        "setting": choice.key,
        "values": {
            str(seed): {str(fold): value for fold, value in one.values.items()}
            for seed, one in chosen.items()
        },
        "macro_auc": {
            str(seed): {
                str(fold): {
                    str(value): round(area, 5) for value, area in zip(choice.values, areas, strict=True)
                }
                for fold, areas in one.areas.items()
            }
            for seed, one in chosen.items()
        },
    }


def note(name: str, facts: Mapping[str, Any]) -> str:
    """For a person."""
    values = "; ".join(
        f"seed {seed}: {', '.join(f'{value} for fold {fold}' for fold, value in of_seed.items())}"
        for seed, of_seed in facts["values"].items()
    )
    return (
        f"{name}: {facts['setting']} is chosen for each fold by another fold that is left out of "
        f"training for it ({values}); parameters and ms are those of the first"
    )
