"""The stages of a project: prepare, folds, train, decide and report; `evaluate` is in evaluation.py.

In    labels and images, out/ as the stages before have left it, params.yaml.
Out   what the stage writes in out/, and its tables as frames or its file's path.
"""

from pathlib import Path

from cxrscore.python_api.arguments import (
    IMAGES,
    LABELS,
    OUT,
    PARAMS,
    TEST_LABELS,
    PathLike,
    flag,
    number,
    processes,
    seconds,
)
from cxrscore.python_api.progress import shown_progress
from cxrscore.python_api.records import Decided, FoldTable, Prepared


def prepare(
    labels: PathLike = LABELS,
    images: PathLike = IMAGES,
    *,
    out: PathLike = OUT,
    params: PathLike = PARAMS,
    workers: int | None = None,
    progress: bool = False,
) -> Prepared:
    """Decode every labelled image once to S x S, and store it in OUT/prepared. Raises UserError.

    Examples:
        >>> from cxrscore.api import prepare
        >>> prepared = prepare(workers=1)
        >>> len(prepared.index) > 0, len(prepared.quarantine)
        (True, 0)
    """
    import polars as pl

    from cxrscore.core.paths import Layout
    from cxrscore.prepare import prepare as story
    from cxrscore.project.params_file import read_params
    from cxrscore.python_api.frames import read_frame

    decoders = processes(workers)
    settings, folder = read_params(Path(params)), Layout(Path(out)).prepared
    with shown_progress(progress) as shown:
        notes = story(
            Path(labels),
            Path(images),
            folder,
            labels=settings.labels,
            params=settings.prepare,
            workers=decoders,
            progress=shown,
        )
    whole = dict.fromkeys(("width", "height", "shard", "row"), pl.Int64)
    index, quarantine = read_frame(folder / "index.csv", whole), read_frame(folder / "quarantine.csv")
    return Prepared(index, quarantine, tuple(notes))


def folds(labels: PathLike = LABELS, *, out: PathLike = OUT, params: PathLike = PARAMS) -> FoldTable:
    """Assign patients, or images, to folds; write OUT/folds.csv and OUT/balance.json. Raises UserError.

    Examples:
        >>> from cxrscore.api import folds
        >>> folds().table.columns
        ['Image_name', 'Patient_ID', 'fold']
    """
    import polars as pl

    from cxrscore.core.paths import Layout
    from cxrscore.folds import make_folds, remove_stale
    from cxrscore.project.params_file import read_params
    from cxrscore.python_api.frames import read_frame

    settings, layout = read_params(Path(params)), Layout(Path(out))
    notes = make_folds(
        Path(labels),
        layout.prepared / "index.csv",
        layout.folds,
        layout.balance,
        labels=settings.labels,
        params=settings.folds,
    )
    stale = remove_stale(layout, params=settings.folds)
    return FoldTable(read_frame(layout.folds, {"fold": pl.Int64}), (*notes, *stale))


def train(
    fold: int,
    *,
    labels: PathLike = LABELS,
    out: PathLike = OUT,
    params: PathLike = PARAMS,
    fresh: bool = False,
    state_every_s: float = 300.0,
    compile: bool = False,
    checkpointing: bool = False,
    device: str = "auto",
    dtype: str = "auto",
    progress: bool = False,
) -> Path:
    """Train one fold's model -> its checkpoint; its out-of-fold tables are written beside it, in OUT/oof.

    A run that was stopped resumes when the same call is made again, unless it is `fresh`. In one process: for
    several GPUs use the command, `cxrscore train --gpus N`. Raises UserError, Busy, and Stopped.

    Examples:
        >>> from cxrscore.api import train
        >>> train(0, device="cpu").name
        'fold0.safetensors'
    """
    from cxrscore.core.paths import Layout
    from cxrscore.project.params_file import read_params
    from cxrscore.training.preflight import refuse_early

    number("fold", fold, least=0)
    keep_every_s = seconds("state_every_s", state_every_s, least=0)
    flags = {"compile": flag("compile", compile), "checkpointing": flag("checkpointing", checkpointing)}
    settings, layout = read_params(Path(params)), Layout(Path(out))
    refuse_early(fold, layout=layout, params=settings.train)

    from cxrscore.core.device import choose_machine
    from cxrscore.core.signals import asked_to_stop
    from cxrscore.train import Keeping, train_fold

    machine = choose_machine(device, dtype, **flags)
    with asked_to_stop() as asked, shown_progress(progress) as shown:
        train_fold(
            fold,
            labels_csv=Path(labels),
            layout=layout,
            params=settings,
            machine=machine,
            progress=shown,
            keeping=Keeping(keep_every_s, flag("fresh", fresh)),
            asked=asked,
        )
    return layout.checkpoint(fold)


def decide(
    labels: PathLike = LABELS,
    *,
    test_labels: PathLike = TEST_LABELS,
    out: PathLike = OUT,
    params: PathLike = PARAMS,
) -> Decided:
    """Calibrate scores and choose thresholds out of fold, and write OUT/decisions.json, which `score` reads.
    Raises UserError.

    Examples:
        >>> from cxrscore.api import decide
        >>> found = decide()
        >>> found.path.name, found.thresholds.columns[:3]
        ('decisions.json', ['scores', 'rule', 'finding'])
    """
    import polars as pl

    from cxrscore.core.paths import Layout
    from cxrscore.decide import decide as stage
    from cxrscore.project.params_file import read_params

    settings, layout = read_params(Path(params)), Layout(Path(out))
    found = stage(
        Path(labels),
        layout,
        labels=settings.labels,
        folds=settings.folds.train,
        params=settings.decide,
        test_labels_csv=Path(test_labels),
    )
    tables = {
        name: pl.read_csv((layout.decision_tables / f"{name}.csv").read_bytes(), infer_schema_length=None)
        for name in ("calibration", "thresholds", "coverage")
    }
    return Decided(layout.decisions, metrics=found.metrics, notes=tuple(found.notes), **tables)


def report(*, out: PathLike = OUT, params: PathLike = PARAMS) -> Path:
    """Write OUT/report.html from what `evaluate()` has measured, and return its path. Raises UserError.

    Examples:
        >>> from cxrscore.api import evaluate, report
        >>> found = evaluate()
        >>> report().name
        'report.html'
    """
    from cxrscore.core.paths import Layout
    from cxrscore.project.params_file import read_params
    from cxrscore.report import write_report

    layout = Layout(Path(out))
    write_report(layout, folds=read_params(Path(params)).folds.train)
    return layout.report
