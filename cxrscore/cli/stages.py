"""The pipeline's commands, one a DVC stage; and `code`, what an installed cxrscore's stages are keyed on.

In    labels and images, out/ as the stages before have left it, params.yaml.
Out   what the stage writes in out/; notes on stderr.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from cxrscore.cli.messages import (
    TRAIN_PATIENCE_S,
    last_words,
    metrics_blocks,
    on_terminal,
    show,
    tell,
    telling_what_goes_on,
)
from cxrscore.cli.options import (
    CORES,
    IMAGES,
    LABELS,
    OUT,
    PARAMS,
    AsJson,
    Device,
    Dtype,
    Images,
    LabelsCsv,
    Out,
    ParamsFile,
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
    """Decode every labelled image once to S x S and store it.

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
    """Give each patient, or each image, the fold that validates it; balanced over findings and pairs.

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


def train(
    fold: Annotated[int, typer.Option("--fold", min=0, help="The fold to validate on.")],
    labels: LabelsCsv = LABELS,
    out: Out = OUT,
    params: ParamsFile = PARAMS,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do not go on with a run that was stopped.")] = False,
    state_every_s: Annotated[
        float, typer.Option("--state-every-s", min=0, help="Seconds of work that a kill may cost.")
    ] = 300.0,
    gpus: Annotated[
        int, typer.Option("--gpus", min=1, max=64, help="Processes that share each batch, one per GPU.")
    ] = 1,
    compile_model: Annotated[
        bool, typer.Option("--compile", help="Compile the model: a minute or two, then faster steps.")
    ] = False,
    checkpointing: Annotated[
        bool, typer.Option("--checkpointing", help="Compute activations twice, and keep a fraction of them.")
    ] = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
) -> None:
    """Train one fold's model; write its checkpoint and its out-of-fold table.

    A run that was stopped or killed goes on when the same command is given again. With --device cpu, --gpus
    counts processes on the CPU; `torchrun --nproc-per-node 4 -m cxrscore train` works, too.

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
        with telling_what_goes_on():
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
                    world=world,
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


def evaluate(
    scores: Annotated[
        Path | None, typer.Option("--scores", help="Any score table. Default: the out-of-fold ones.")
    ] = None,
    labels: LabelsCsv = LABELS,
    out: Out = OUT,
    params: ParamsFile = PARAMS,
    as_json: AsJson = False,
) -> None:
    """Measure scores against labels: area under the ROC curve by finding, and their mean.

    Example: cxrscore evaluate --scores sub.csv --labels data/test_labels.csv
    """
    from cxrscore.core.paths import Layout
    from cxrscore.evaluate import evaluate, evaluate_table
    from cxrscore.project.params_file import read_params

    if scores is None:
        settings, layout = read_params(params), Layout(out)
        metrics, notes = evaluate(labels, layout, labels=settings.labels, folds=settings.folds.train)
        others = ", ".join(map(str, sorted(layout.of_other_folds(settings.folds.train))))
        notes += [f"files of fold {others} are left out; folds.train does not name them"] if others else []
    else:
        declared = read_params(params).labels if params.exists() else None
        metrics, notes = evaluate_table(scores, labels, labels=declared)
    tell(notes)
    show(metrics, metrics_blocks, as_json=as_json)


def report(out: Out = OUT, params: ParamsFile = PARAMS) -> None:
    """Write out/report.html: the metrics, the training curves, the folds, and what the head learned.

    Example: cxrscore report
    """
    from cxrscore.core.paths import Layout
    from cxrscore.project.params_file import read_params
    from cxrscore.report import write_report

    layout = Layout(out)
    write_report(layout, folds=read_params(params).folds.train)
    print_lines(str(layout.report))


def code(out: Out = OUT) -> None:
    """Write the fingerprint of each stage's code, for projects that use an installed cxrscore.

    Example: cxrscore code
    """
    from cxrscore.project.create import write_code_fingerprints

    write_code_fingerprints(out / "code")
