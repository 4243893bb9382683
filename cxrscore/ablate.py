"""The fair ablation of label heads: the project's training with each head in turn, and all compared with one.

In    names of heads (head_variants.py), or values of one head's setting (sweep.py), perhaps values to choose
      from (choices.py); seeds; prepared images, folds, labels, the project's settings.
Out   out/ablation: one folder per head and seed with what its trainings write; table.csv, ablation.json and
      ablation.svg, one row per head; gains.csv and gains.svg, by finding; of a sweep sweep.csv and sweep.svg.
"""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from cxrscore.ablation import choices
from cxrscore.ablation.experiments import facts_of, run_experiments
from cxrscore.ablation.runs import Run, layout_of, minutes_of, plan, refuse_bad_rows, train_all
from cxrscore.ablation.scene_entropy import scene_entropies, scene_notes
from cxrscore.ablation.sweep import Choice, Sweep, heads_of, settings_by_row
from cxrscore.ablation.table import (
    RESAMPLES,
    cells,
    compare,
    gain_cells,
    notes_of,
    read_scored,
    sweep_cells,
    sweep_points,
    table_blocks,
)
from cxrscore.benchmarks.heads import head_costs, rows
from cxrscore.core.device import Machine
from cxrscore.core.errors import Stopped
from cxrscore.core.files import write_text
from cxrscore.core.paths import Layout
from cxrscore.core.progress import Progress
from cxrscore.core.signals import Asked
from cxrscore.evaluation import figures
from cxrscore.model.backbone import map_shape
from cxrscore.model.head_variants import REFERENCE, settings_of
from cxrscore.scoring.compute_settings import choose_batch_size, device_name
from cxrscore.tables.csv_table import write_table
from cxrscore.tables.label_table import LabelTable
from cxrscore.tables.labels import read_labels
from cxrscore.tables.tabular_inputs import choose_encodings, with_encodings
from cxrscore.train import Keeping

if TYPE_CHECKING:
    from cxrscore.project.params import Params

__all__ = ["ablate", "ablate_by_choice", "ablate_by_experiments", "table_blocks"]
NOT_ALWAYS = ("ablation.svg", "gains.csv", "gains.svg", "sweep.csv", "sweep.svg")
ROUNDS = 5  # that heads are timed
KEPT = "/*/\n"  # what .gitignore leaves out: the trainings


def ablate(
    compared: Sequence[str] | Sweep,
    seeds: Sequence[int],
    *,
    labels_csv: Path,
    layout: Layout,
    params: "Params",
    machine: Machine,
    progress: Progress,
    keeping: Keeping,
    asked: Asked,
) -> dict[str, Any]:
    """Train what is not done of these heads, or of one head's values, then compare with the first of them.
    The independent head is one of them. Raises UserError, Stopped, Busy; what is done is kept.
    """
    heads = heads_of(compared, params)
    write_text(layout.ablation / ".gitignore", KEPT)
    train_all(
        plan(heads, seeds, params=params, layout=layout, own=settings_by_row(compared, params)),
        labels_csv=labels_csv,
        machine=machine,
        progress=progress,
        keeping=keeping,
        asked=asked,
    )
    layouts = {name: {seed: layout_of(layout, name, seed) for seed in seeds} for name in heads}
    return tabulate(
        layouts,
        heads,
        labels_csv=labels_csv,
        layout=layout,
        params=params,
        machine=machine,
        progress=progress,
        asked=asked,
        values=Values(_sweep(compared)),
    )


def ablate_by_choice(
    names: Sequence[str], seeds: Sequence[int], *, choice: Choice, keeping: Keeping, **shared: Any
) -> dict[str, Any]:
    """The same with a setting of the heads that have it chosen for each fold inside its training folds; the
    others are trained as they are. `shared`: what tabulate takes, too.
    """
    params, layout = shared["params"], shared["layout"]
    heads = settings_of(names, params.train.head.model_dump())
    write_text(layout.ablation / ".gitignore", KEPT)
    same: dict[str, Any] = {name: shared[name] for name in ("labels_csv", "machine", "progress", "asked")}
    train: Callable[[Sequence[Run]], None] = partial(train_all, keeping=keeping, **same)
    refuse_bad_rows(
        plan(heads, seeds, params=params, layout=layout),
        labels_csv=shared["labels_csv"],
        machine=shared["machine"],
    )
    beside = (names[0], REFERENCE)
    open_to = {name: head for name, head in heads.items() if choice.key in head and name not in beside}
    where: dict[str, Any] = {"params": params, "layout": layout}
    found = choices.choose_values(open_to, seeds, choice, **where, train=train)
    runs = plan({name: head for name, head in heads.items() if name not in found}, seeds, **where)
    for name, chosen in found.items():
        runs += choices.outer_runs(name, heads[name], choice.key, chosen, **where)
    train(runs)
    rows = {}
    for name, head in heads.items():
        if name in found:
            first = next(iter(found[name][seeds[0]].values.values()))
            rows[choices.named(name)] = {**head, choice.key: first}
        else:
            rows[name] = head
    layouts = {row: {seed: layout_of(layout, row, seed) for seed in seeds} for row in rows}
    facts = {choices.named(name): choices.told(choice, chosen) for name, chosen in found.items()}
    return tabulate(layouts, rows, values=Values(chosen=facts), **shared)


def ablate_by_experiments(
    compared: Sequence[str] | Sweep,
    seeds: Sequence[int],
    *,
    project: Path,
    asked: Asked,
    **shared: Any,
) -> dict[str, Any]:
    """The same in a DVC project, each head and seed an experiment. `shared`: what tabulate takes, too."""
    heads = heads_of(compared, shared["params"])
    with tempfile.TemporaryDirectory() as folder:
        layouts = run_experiments(
            heads,
            seeds,
            project=project,
            folder=Path(folder),
            facts=facts_of(shared["labels_csv"], shared["params"], shared["machine"]),
            progress=shared["progress"],
            asked=asked,
        )
        return tabulate(layouts, heads, asked=asked, values=Values(_sweep(compared)), **shared)


@dataclass(frozen=True)
class Values:
    """Values of a setting that rows stand for: of a sweep; or those chosen, by row, as choices.told."""

    sweep: Sweep | None = None
    chosen: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def _sweep(compared: Sequence[str] | Sweep) -> Sweep | None:
    return compared if isinstance(compared, Sweep) else None


def tabulate(
    layouts: Mapping[str, Mapping[int, Layout]],
    heads: Mapping[str, Mapping[str, Any]],
    *,
    labels_csv: Path,
    layout: Layout,
    params: "Params",
    machine: Machine,
    progress: Progress,
    asked: Asked,
    values: "Values | None" = None,
) -> dict[str, Any]:
    """Name -> seed -> where its score tables are -> the result, which is also written. Raises Stopped."""
    sweep, chosen = (values.sweep, values.chosen) if values else (None, {})
    inputs = sorted({column for head in heads.values() for column in head.get("inputs", ())})
    table = read_labels(labels_csv, **params.labels.model_dump(), inputs=inputs)
    scored = read_scored(layouts, params.folds.train, table)
    size = params.prepare.size
    images = choose_batch_size(None, machine, size=size)
    with torch.inference_mode():
        features = torch.rand(images, *map_shape(params.train.backbone, size=size), device=machine.device)
        features = features.to(memory_format=torch.channels_last)  # as backbones give them
    progress.say(f"ablate: timing {len(heads)} heads on {device_name(machine.device)}")
    stated = {name: _stated(head, table) for name, head in heads.items()}
    costs = head_costs(stated, features, findings=table.findings, rounds=ROUNDS, progress=progress)
    timed = f"{device_name(machine.device)}, fp32, {rows(images, machine)}"

    def after(resamples: int) -> None:
        if asked.number:
            raise Stopped("ablate: stopped while comparing; the trainings are kept", code=128 + asked.number)
        progress.advance(resamples)

    progress.say(f"ablate: comparing by {RESAMPLES:,} resamples of patients")
    progress.start("comparing", RESAMPLES)
    found = compare(scored, sweep=sweep, after=after)
    scenes = scene_entropies(layouts, params.folds.train)
    for name, of_scenes in scenes.items():
        found[name]["scene_entropy"] = of_scenes
    for name, of_row in layouts.items():
        found[name]["minutes"] = minutes_of(of_row, params.folds.train)
    result: dict[str, Any] = {
        "heads": {
            name: found[name] | asdict(costs[name]) | {"settings": dict(heads[name])} for name in heads
        },
        "reference": scored.reference,
        "left_out": dict(scored.left_out),
        "notes": notes_of(scored, patients=table.patient is not None, timed=timed) + scene_notes(scenes),
    }
    if sweep:
        result["sweep"] = {"head": sweep.head, "key": sweep.key, "points": sweep_points(found, sweep)}
    for name, facts in chosen.items():
        result["heads"][name]["chosen"] = dict(facts)
        result["notes"].append(choices.note(name, facts))
    _write(layout.ablation, result)
    return result


def _stated(head: Mapping[str, Any], table: LabelTable) -> dict[str, Any]:
    """As checkpoints state it, encodings by all rows; a fold may have seen a category less."""
    cells = {column: table.inputs[column] for column in head.get("inputs", ())}
    return with_encodings(head, choose_encodings(cells, source=str(table.path)))


def _write(folder: Path, result: Mapping[str, Any]) -> None:
    for name in NOT_ALWAYS:  # those of another ablation
        (folder / name).unlink(missing_ok=True)
    header, *body = cells(result)
    write_table(folder / "table.csv", header, body)
    write_text(folder / "ablation.json", json.dumps(result, indent=1) + "\n")
    rows, reference = result["heads"], result["reference"]
    differences = {name: row["difference"] for name, row in rows.items() if "difference" in row}
    if differences:
        write_text(folder / "ablation.svg", figures.differences(differences, reference=reference) + "\n")
        header, *body = gain_cells(rows)
        write_table(folder / "gains.csv", header, body)
        best = max(differences, key=lambda name: rows[name]["macro_auc"])  # of equal ones the first
        drawn = figures.gains(rows[best]["gains"], head=best, reference=reference)
        write_text(folder / "gains.svg", drawn + "\n")
    if "sweep" in result:
        header, *body = sweep_cells(result["sweep"]["points"])
        write_table(folder / "sweep.csv", header, body)
        level = rows[reference]["macro_auc"]
        drawn = figures.sweep(**result["sweep"], reference=reference, level=level)
        write_text(folder / "sweep.svg", drawn + "\n")
