"""The pipeline's commands, one per DVC stage, but for those that measure (measured_stages.py); and `code`,
which fingerprints the code of a stage.

In    labels and images, out/ as the stages before have left it, params.yaml.
Out   what the stage writes in out/; notes on stderr.
"""

import sys
from typing import Annotated

import typer

from cxrscore.cli.messages import (
    TRAIN_PATIENCE_S,
    last_words,
    on_terminal,
    resumable,
    tell,
)
from cxrscore.cli.options import (
    CORES,
    IMAGES,
    INPUT,
    LABELS,
    MACHINE,
    OUT,
    PARAMS,
    RESUMING,
    Device,
    Images,
    LabelsCsv,
    Out,
    ParamsFile,
    StateEvery,
    TrainingDtype,
    Workers,
)
from cxrscore.cli.terminal import print_lines, print_notes


def prepare(
    labels: LabelsCsv = LABELS,
    images: Images = IMAGES,
    out: Out = OUT,
    params: ParamsFile = PARAMS,
    workers: Workers = CORES,
) -> None:
    """Decode every labelled image once and store the pixels.

    Example: cxrscore prepare
    """
    from cxrscore.core.paths import Layout
    from cxrscore.prepare import prepare
    from cxrscore.project.params_file import read_params

    settings = read_params(params)
    with on_terminal() as progress:
        notes = prepare(
            labels,
            images,
            Layout(out).prepared,
            labels=settings.labels,
            params=settings.prepare,
            workers=workers,
            progress=progress,
        )
    tell(notes)


def folds(labels: LabelsCsv = LABELS, out: Out = OUT, params: ParamsFile = PARAMS) -> None:
    """Assign patients to folds, balanced over findings.

    Each image is in exactly one validation fold. Pairs of findings are balanced as well. With folds.method:
    image, images are assigned instead of patients.

    Example: cxrscore folds
    """
    from cxrscore.core.paths import Layout
    from cxrscore.folds import make_folds, remove_stale
    from cxrscore.project.params_file import read_params

    settings, layout = read_params(params), Layout(out)
    tell(
        make_folds(
            labels,
            layout.prepared / "index.csv",
            layout.folds,
            layout.balance,
            labels=settings.labels,
            params=settings.folds,
        )
    )
    tell(remove_stale(layout, params=settings.folds))


Fold = Annotated[int, typer.Option("--fold", min=0, help="Fold to validate on.", rich_help_panel=INPUT)]
Fresh = Annotated[
    bool,
    typer.Option(
        "--fresh",
        help="Start over instead of resuming a training that was stopped.",
        rich_help_panel=RESUMING,
    ),
]
Gpus = Annotated[
    int,
    typer.Option(
        "--gpus",
        min=1,
        max=64,
        help="Processes that share each batch, one per GPU.",
        rich_help_panel=MACHINE,
    ),
]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile",
        help="Compile the model: takes a minute or two, then steps are faster.",
        rich_help_panel=MACHINE,
    ),
]
Checkpointing = Annotated[
    bool,
    typer.Option(
        "--checkpointing",
        help="Recompute activations in the backward pass: less memory, slower steps.",
        rich_help_panel=MACHINE,
    ),
]


def train(
    fold: Fold,
    labels: LabelsCsv = LABELS,
    params: ParamsFile = PARAMS,
    out: Out = OUT,
    fresh: Fresh = False,
    state_every_s: StateEvery = 300.0,
    gpus: Gpus = 1,
    compile_model: Compile = False,
    checkpointing: Checkpointing = False,
    device: Device = "auto",
    dtype: TrainingDtype = "auto",
) -> None:
    """Train one fold's model and score its validation images.

    Writes the checkpoint and the out-of-fold scores. A training that was stopped or killed is resumed by
    giving the same command again. With --device cpu, --gpus counts processes on the CPU. `torchrun
    --nproc-per-node 4 -m cxrscore train --fold 0` works as well.

    Example: cxrscore train --fold 0
    """
    from cxrscore.core.paths import Layout
    from cxrscore.project.params_file import read_params

    settings = read_params(params)

    from cxrscore.training.preflight import refuse_early

    # a wrong word costs no import of torch
    refuse_early(fold, layout=Layout(out), params=settings.train, processes=gpus)

    from cxrscore.training.launch import Ended, local_device

    try:
        with resumable():
            if _launched(device, gpus):
                return

            from cxrscore.core.device import choose_machine
            from cxrscore.core.progress import Silent
            from cxrscore.core.signals import asked_to_stop
            from cxrscore.train import Keeping, train_fold
            from cxrscore.training.process_group import joined

            how = {"compile": compile_model, "checkpointing": checkpointing}
            machine = choose_machine(local_device(device), dtype, **how)
            with (
                asked_to_stop(TRAIN_PATIENCE_S, last_words) as asked,
                joined(machine) as world,
                on_terminal() as progress,
            ):
                train_fold(
                    fold,
                    labels_csv=labels,
                    layout=Layout(out),
                    params=settings,
                    machine=machine,
                    progress=progress if world.first else Silent(),
                    keeping=Keeping(state_every_s, fresh),
                    asked=asked,
                )
    except Ended as ended:
        raise SystemExit(ended.code) from ended


def _launched(device: str, gpus: int) -> bool:
    """Whether this call was for several processes, which have now run it."""
    from cxrscore.training.launch import check_devices, launch, launched

    several = gpus > 1 and not launched()
    if several:
        check_devices(device, gpus)
        print_notes(f"starting {gpus} processes")
        launch(sys.argv[1:], gpus)
    return several


def report(out: Out = OUT, params: ParamsFile = PARAMS) -> None:
    """Write an HTML report of metrics, curves and folds.

    It also shows what the label head learned. The page is out/report.html.

    Example: cxrscore report
    """
    from cxrscore.core.paths import Layout
    from cxrscore.project.params_file import read_params
    from cxrscore.report import write_report

    layout = Layout(out)
    write_report(layout, folds=read_params(params).folds.train)
    print_lines(str(layout.report))


def code(out: Out = OUT) -> None:
    """Write a fingerprint of the code of each stage.

    Projects that use an installed cxrscore depend on these files instead of on its modules.

    Example: cxrscore code
    """
    from cxrscore.project.create import write_code_fingerprints

    write_code_fingerprints(out / "code")
