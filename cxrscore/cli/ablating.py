"""The command that trains the project with each label head in turn, and compares them.

In    names of heads, seeds; the project as `cxrscore folds` has left it.
Out   a table on stdout, the same and its picture in out/ablation.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxrscore.cli.messages import TRAIN_PATIENCE_S, last_words, on_terminal, resumable, show
from cxrscore.cli.options import (
    LABELS,
    OUT,
    PARAMS,
    AsJson,
    Device,
    LabelsCsv,
    Out,
    ParamsFile,
    StateEvery,
    TrainingDtype,
)

if TYPE_CHECKING:
    from cxrscore.ablation.sweep import Choice, Sweep
    from cxrscore.project.params import Params

COMPARISON = "Comparison"


Heads = Annotated[
    str | None,
    typer.Option(
        "--heads",
        help="Heads to compare, separated by commas, such as coupling,lamp. lamp, agcn and "
        "salgl stand for all heads of that kind, project for the head in params.yaml. independent is "
        "always included (default: the main variants of every kind).",
        rich_help_panel=COMPARISON,
    ),
]
Seeds = Annotated[
    str | None,
    typer.Option(
        "--seeds",
        help="Seeds, one training each, such as 0,1 (default: train.seed).",
        rich_help_panel=COMPARISON,
    ),
]
Reference = Annotated[
    str,
    typer.Option(
        "--reference",
        help="Head that all others are compared with, such as lamp-el; it is always included.",
        rich_help_panel=COMPARISON,
    ),
]
SweepWords = Annotated[
    str | None,
    typer.Option(
        "--sweep",
        help="Compare values of one setting, one row per value: a number of the head in --heads, such as "
        "identity_weight=0,0.5,1, or a setting of the training, such as train.ema_warmup=true,false "
        "(default: settings stay as they are).",
        rich_help_panel=COMPARISON,
    ),
]
Choose = Annotated[
    str | None,
    typer.Option(
        "--choose",
        metavar="SETTING=VALUES",
        help="A setting of the heads that have it, and the values to choose from for each fold, such as "
        "auxiliary_weight=0,0.1,0.2,0.3. Each value is trained without the fold and one more, on which it is "
        "validated; the best one then trains on all but the fold (default: settings stay as they are).",
        rich_help_panel=COMPARISON,
    ),
]
Experiments = Annotated[
    bool,
    typer.Option(
        "--experiments",
        help="Run each head and seed as a DVC experiment on top of the last commit.",
        rich_help_panel=COMPARISON,
    ),
]


def ablate(
    heads: Heads = None,
    reference: Reference = "independent",
    seeds: Seeds = None,
    sweep: SweepWords = None,
    choose: Choose = None,
    experiments: Experiments = False,
    labels: LabelsCsv = LABELS,
    params: ParamsFile = PARAMS,
    out: Out = OUT,
    state_every_s: StateEvery = 300.0,
    device: Device = "auto",
    dtype: TrainingDtype = "auto",
    as_json: AsJson = False,
) -> None:
    """Compare label heads by training each on the same folds.

    Folds, epochs, backbone and loss are those of the project. The difference of each head from the one of
    --reference, in macro-AUC, has a bootstrap interval over patients. Finished trainings are kept; a run
    that was stopped is resumed by giving the same command again.

    Example: cxrscore ablate
    """
    from cxrscore.ablation.sweep import settings_by_row, sweep_of
    from cxrscore.core.paths import Layout
    from cxrscore.model import head_variants
    from cxrscore.project.params_file import read_params
    from cxrscore.training.preflight import refuse_early

    settings = read_params(params)
    own = settings.train.head.model_dump()
    names = head_variants.choose(heads, own, reference=reference)
    compared = names if sweep is None else sweep_of(sweep, names, own, settings=settings.model_dump())
    refuse_values(compared, settings)
    choice = choice_of(choose, names, settings)
    if choice and (experiments or sweep):
        other = "--experiments" if experiments else "--sweep"
        raise typer.BadParameter(f"remove it, or {other}", param_hint="--choose")
    if experiments and (labels, out, params) != (LABELS, OUT, PARAMS):
        raise typer.BadParameter(
            "experiments use the labels, outputs and settings of the project; remove --labels, --out and "
            "--params",
            param_hint="--experiments",
        )
    if experiments and sweep and sweep.startswith(("train.", "prepare.")):
        raise typer.BadParameter(
            "of settings of the training use `dvc exp run -S`, and remove --experiments", param_hint="--sweep"
        )
    numbers, layout = seed_list(seeds) or [settings.train.seed], Layout(out)
    if not experiments:
        for fold in settings.folds.train:
            for one in (settings, *settings_by_row(compared, settings).values()):
                refuse_early(fold, layout=layout.experiment("head"), params=one.train)

    from cxrscore.ablate import ablate, ablate_by_choice, ablate_by_experiments, table_blocks
    from cxrscore.core.device import choose_machine
    from cxrscore.core.signals import asked_to_stop
    from cxrscore.train import Keeping

    shared: dict[str, Any] = {"labels_csv": labels, "layout": layout, "params": settings}
    shared["machine"] = choose_machine(device, dtype)
    with (
        resumable(),
        asked_to_stop(TRAIN_PATIENCE_S, last_words) as asked,
        on_terminal() as progress,
    ):
        shared |= {"progress": progress, "asked": asked}
        if experiments:
            os.environ.update(CXRSCORE_DEVICE=device, CXRSCORE_DTYPE=dtype)  # for the stages that DVC calls
            result = ablate_by_experiments(compared, numbers, project=params.parent, **shared)
        elif choice:
            result = ablate_by_choice(names, numbers, choice=choice, keeping=Keeping(state_every_s), **shared)
        else:
            result = ablate(compared, numbers, keeping=Keeping(state_every_s), **shared)
    show(result, table_blocks, as_json=as_json)


def refuse_values(compared: "Sequence[str] | Sweep", params: "Params") -> None:
    """Raises UserError where params.yaml could not hold one of a sweep's values."""
    from pydantic import ValidationError

    from cxrscore.ablation.sweep import heads_of
    from cxrscore.core.errors import UserError
    from cxrscore.project.params_file import fault_words

    try:
        heads_of(compared, params)
    except ValidationError as error:
        faults = "; ".join(f"{problem['loc'][-1]}: {fault_words(problem)}" for problem in error.errors())
        raise UserError(f"--sweep: {faults}; give values that params.yaml may hold.") from error


def choice_of(words: str | None, names: Sequence[str], settings: "Params") -> "Choice | None":
    """What --choose says, of values that every head with that setting may have. Raises UserError."""
    from cxrscore.ablation.sweep import parse_choice
    from cxrscore.model.head_variants import REFERENCE, settings_of
    from cxrscore.project.params_file import check_head

    if words is None:
        return None
    others = [name for name in names[1:] if name != REFERENCE]
    heads = settings_of(others, settings.train.head.model_dump())
    choice = parse_choice(words, heads)
    for name, head in heads.items():
        for value in choice.values if choice.key in head else ():
            check_head(settings, head | {choice.key: value}, where=f"--choose: {name}")
    return choice


def seed_list(text: str | None) -> list[int]:
    """Distinct numbers, ascending. Raises UserError."""
    from cxrscore.core.errors import UserError

    words = text.split(",") if text is not None else []
    numbers = {int(word) for word in words if word.isascii() and word.isdigit() and len(word) < 10}
    if len(numbers) != len(words):
        raise UserError(f"--seeds: {text!r}; give distinct numbers, separated by commas, such as 0,1.")
    return sorted(numbers)
