"""The command that trains the project with each label head in turn, and compares them.

In    names of heads, seeds; the project as `cxrscore folds` has left it.
Out   a table on stdout, the same and its picture in out/ablation.
"""

import os
from typing import Annotated, Any

import typer

from cxrscore.cli.messages import TRAIN_PATIENCE_S, last_words, on_terminal, show, telling_what_goes_on
from cxrscore.cli.options import LABELS, OUT, PARAMS, AsJson, Device, Dtype, LabelsCsv, Out, ParamsFile


def ablate(
    heads: Annotated[
        str | None,
        typer.Option(
            "--heads",
            help="Names with commas between, such as lamp-prior,agcn-static; lamp, agcn, salgl: all of that "
            "kind; project: the head of params.yaml. The independent one is always there.",
        ),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option("--seeds", help="One training per seed, such as 0,1. Default: train.seed.")
    ] = None,
    labels: LabelsCsv = LABELS,
    out: Out = OUT,
    params: ParamsFile = PARAMS,
    experiments: Annotated[
        bool,
        typer.Option("--experiments", help="Each head and seed as a DVC experiment of the last commit."),
    ] = False,
    state_every_s: Annotated[
        float, typer.Option("--state-every-s", min=0, help="Seconds of work that a kill may cost.")
    ] = 300.0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: AsJson = False,
) -> None:
    """Train all label heads alike, and tell by how much each differs from the independent one.

    Folds, epochs, backbone and loss are the project's; each difference in macro-AUC has an interval over
    patients. What is trained already is not trained again, and a run that was stopped goes on when the same
    command is given again.

    Example: cxrscore ablate
    """
    from cxrscore.core.paths import Layout
    from cxrscore.model.head_variants import choose
    from cxrscore.project.params_file import read_params
    from cxrscore.training.preflight import refuse_early

    settings = read_params(params)
    names = choose(heads, settings.train.head.model_dump())
    if experiments and (labels, out, params) != (LABELS, OUT, PARAMS):
        raise typer.BadParameter(
            "experiments have the project's own labels, outputs and settings; leave --labels, --out and "
            "--params out",
            param_hint="--experiments",
        )
    numbers, layout = seed_list(seeds) or [settings.train.seed], Layout(out)
    if not experiments:
        for fold in settings.folds.train:
            refuse_early(fold, layout=layout.experiment("head"), params=settings.train)

    from cxrscore.ablate import ablate, ablate_by_experiments, table_blocks
    from cxrscore.core.device import choose_machine
    from cxrscore.core.signals import asked_to_stop
    from cxrscore.train import Keeping

    shared: dict[str, Any] = {"labels_csv": labels, "layout": layout, "params": settings}
    shared["machine"] = choose_machine(device, dtype)
    with (
        telling_what_goes_on(),
        asked_to_stop(TRAIN_PATIENCE_S, last_words) as asked,
        on_terminal() as progress,
    ):
        shared |= {"progress": progress, "asked": asked}
        if experiments:
            os.environ.update(CXRSCORE_DEVICE=device, CXRSCORE_DTYPE=dtype)  # for the stages that DVC calls
            result = ablate_by_experiments(names, numbers, project=params.parent, **shared)
        else:
            result = ablate(names, numbers, keeping=Keeping(state_every_s), **shared)
    show(result, table_blocks, as_json=as_json)


def seed_list(text: str | None) -> list[int]:
    """Distinct numbers, ascending. Raises UserError."""
    from cxrscore.core.errors import UserError

    words = text.split(",") if text is not None else []
    numbers = {int(word) for word in words if word.isascii() and word.isdigit() and len(word) < 10}
    if len(numbers) != len(words):
        raise UserError(f"--seeds: {text!r}; give distinct numbers with commas between, such as 0,1.")
    return sorted(numbers)
