"""Train one fold: prepared images and labels -> a checkpoint, its out-of-fold table, its history.

In    out/prepared, out/folds.csv, data/labels.csv; where a run was stopped, its state in .cxrscore.
Out   out/models/fold{k}.safetensors (of the epoch with the best validation macro-AUC, by train.weights: the
      raw weights, their moving average, or the better of the two),
      out/oof/fold{k}.csv and .views.csv (predictions of the very file that was saved),
      out/history/fold{k}.csv, out/summary/fold{k}.json, out/learned/fold{k}.json (what the head learned).
Source: Srivastava, Gupta & Nath, "Learning sparse label couplings for multilabel chest X-ray diagnosis",
III-A to III-F.
"""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor

from cxrscore.core.device import Machine, seeded
from cxrscore.core.errors import Stopped, promise
from cxrscore.core.files import half_written
from cxrscore.core.fold_summary import write_summary
from cxrscore.core.malloc import reused_memory
from cxrscore.core.paths import Layout
from cxrscore.core.signals import Asked
from cxrscore.evaluation.head_pictures import write_learned
from cxrscore.model.checkpoint import Card, Fold, load_fold, save_checkpoint
from cxrscore.model.heads.registry import head_settings
from cxrscore.model.loss import build_loss
from cxrscore.model.network import build_model, parameter_count
from cxrscore.model.predict import mean
from cxrscore.statistics.roc_area import auc_by_finding, macro
from cxrscore.tables.csv_table import write_table
from cxrscore.tables.score_table import write_scores
from cxrscore.tables.tabular_inputs import with_encodings
from cxrscore.training.epochs import Diverged, fit, validation_batch
from cxrscore.training.fold_data import FoldData
from cxrscore.training.job import Job, card_of, identity, read_job
from cxrscore.training.learner import Learner
from cxrscore.training.preflight import undeclared_files
from cxrscore.training.process_group import world
from cxrscore.training.progress_lines import (
    QUIET_S,
    Outlook,
    crop_factors,
    left_out,
    outlook_of,
    start_in_average,
)
from cxrscore.training.resume_state import StateFolder, state_root
from cxrscore.training.run_state import Course, Keeper
from cxrscore.training.validation import look_at_rows, predict_rows

if TYPE_CHECKING:
    from cxrscore.core.progress import Progress
    from cxrscore.project.params import Params, TrainParams

PIPELINE = Path("dvc.yaml")
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Keeping:
    """How a run is kept: its state every `every_s` seconds; `fresh` forgets what an earlier run has kept."""

    every_s: float = 300.0
    fresh: bool = False


def train_fold(
    fold: int,
    *,
    labels_csv: Path,
    layout: Layout,
    params: "Params",
    machine: Machine,
    progress: "Progress",
    keeping: Keeping = Keeping(),
    asked: Asked | None = None,
    held_out: int | None = None,
) -> None:
    """Resumes where a run of the same training was stopped: to the same bytes on a CPU. `held_out`: a further
    fold that has no part in it, neither in training nor in validation.

    Raises UserError before any work, and Stopped, Busy.
    """
    outlook = outlook_of(fold, params, layout)
    weights = "" if params.train.init == "none" else f" with weights of {params.train.init}"
    progress.say(f"{outlook}: reading {layout.prepared}, building {params.train.backbone}{weights}")
    everyone = world()
    job = everyone.agreed(
        lambda: read_job(
            fold, labels_csv=labels_csv, layout=layout, params=params, machine=machine, held_out=held_out
        )
    )
    fingerprint = identity(job, machine)
    state = StateFolder(state_root(layout.root) / fingerprint[:16])
    with reused_memory(), _held(state, layout, fold) if everyone.first else nullcontext():
        if keeping.fresh and everyone.first:
            state.drop()
        everyone.gather(None)  # nobody looks for a state before it is dropped
        if others := state.others_gb():
            place = state.folder.parent
            progress.say(f"unfinished trainings of other settings hold {others:.1f} GB in {place}")
        keeper = Keeper(state, asked or Asked(), keeping.every_s)
        _train(job, layout, machine=machine, keeper=keeper, progress=progress, outlook=outlook)
        if everyone.first:
            state.drop()


@contextmanager
def _held(state: StateFolder, layout: Layout, fold: int) -> Iterator[None]:
    """Nobody else trains this, and nobody else writes these outputs. Raises Busy, UserError, Stopped."""
    with state.held(f"{layout.trained.resolve()} {fold}"):
        for folder in layout.trained.glob("*/"):
            for half in half_written(folder, rf"fold{fold}(\.views)?\.(safetensors|csv|json)"):
                half.unlink()
        try:
            yield
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise Stopped(
                f"train: no space left to write {error.filename or layout.trained}; free some space"
            ) from error


def _train(
    job: Job,
    layout: Layout,
    *,
    machine: Machine,
    keeper: Keeper,
    progress: "Progress",
    outlook: Outlook,
) -> None:
    everyone, data = world(), job.data
    learner = everyone.agreed(lambda: build_learner(job.fold, data, job.params.train, machine=machine))
    processes = f", {everyone.size} processes" if everyone.size > 1 else ""
    progress.say(
        f"{outlook}: {len(data.train):,} images to train, {len(data.val):,} to validate, "
        f"{parameter_count(learner.model):,} parameters, on {machine}{processes}"
    )
    for note in _notes(job, processes=everyone.size):
        progress.say(f"{outlook}: {note}")
    if machine.compile:
        progress.say(f"{outlook}: the first step compiles the model, which takes a minute or two")
    try:
        course = fit(learner, data, job.params.train, keeper=keeper, progress=progress, outlook=outlook)
    except Diverged as fault:
        _give_up(job, fault, keeper, machine)
    progress.say(
        f"{outlook}: saving the model of epoch {course.best['epoch'] + 1}, macro-AUC "
        f"{course.best['macro_auc']:.4f}, and predicting {len(data.val):,} images with it"
    )
    keeper.keep(learner, course)
    if everyone.first:
        layout.summary(job.fold).unlink(missing_ok=True)  # of an earlier training, whose outputs now go
        save_checkpoint(layout.checkpoint(job.fold), course.weights, card_of(job, course.best))
    everyone.gather(None)  # all processes predict with the file
    loaded = load_fold(layout.checkpoint(job.fold), machine)
    progress.start(f"fold {job.fold}, predicting", len(data.val), quiet_s=QUIET_S)
    views = _predict_again(job, loaded, machine=machine, keeper=keeper, after=progress.advance)
    if views is None:
        keeper.stop(learner, course)
    seen = look_at_rows(
        loaded.model,
        data,
        batch_size=validation_batch(job.params.train),
        machine=machine,
        asked=keeper.asked,
    )
    if seen is None:
        keeper.stop(learner, course)
    if everyone.first:
        _write_scores(layout, job, loaded.card, views)
        pictures = loaded.model.head.learned() | seen
        write_learned(layout.learned(job.fold), data.findings, pictures, head=_head_of(loaded.card))
        _write_history(layout, job.fold, course)
        _write_summary(layout, loaded, learner)  # last: it says that all is there


def _notes(job: Job, *, processes: int) -> Iterator[str]:
    """What a person should know before hours of training."""
    yield from job.notes
    yield from (f"of the images to validate, {note}" for note in job.data.notes)
    images, train = len(job.data.train), job.params.train
    sizes: Any = {"size": job.data.store.size, "train_size": job.params.prepare.train_size}
    yield from filter(
        None,
        (
            left_out(images, train, processes=processes),
            start_in_average(images, train),
            crop_factors(**sizes, scale=train.augment.scale),
        ),
    )
    yield from (
        f"{path} is no dependency of train in {PIPELINE}: DVC will not see it change; add it to its deps"
        for path in undeclared_files(train, PIPELINE)
    )


def build_learner(fold: int, data: FoldData, params: "TrainParams", *, machine: Machine) -> Learner:
    """At step 0: weights from (seed, fold) or the file of `init`."""
    truth = data.truth(data.train)
    with seeded(machine, params.seed, fold):
        model = build_model(
            params.backbone,
            init=params.init,
            init_except=params.init_except,
            drop_path=params.drop_path,
            findings=len(data.findings),
            head=head_settings(with_encodings(params.head.model_dump(), data.encodings)),
            size=data.store.size,
        )
        model.head.begin(*truth, findings=data.findings)
    return Learner(
        model,
        build_loss(*truth, device=machine.device, **params.loss.model_dump()),
        machine,
        weight_decay=params.weight_decay,
        clip_norm=params.clip_norm,
        ema_decay=params.ema_decay,
        ema_warmup=params.ema_warmup,
        optimizer=params.optimizer,
        layer_decay=params.layer_decay,
        parts=params.accumulate,
    )


def _give_up(job: Job, fault: Diverged, keeper: Keeper, machine: Machine) -> NoReturn:
    """The best weights until then are kept as a checkpoint, where the state was. Raises UserError."""
    best, kept = fault.course.best, ""
    if best and world().first:
        save_checkpoint(keeper.folder.good, fault.course.weights, card_of(job, best))
    if world().first:
        keeper.folder.drop_states()  # they lead to where we are
    world().gather(None)  # nobody leaves before it is written
    if best:
        epoch, area = best["epoch"] + 1, best["macro_auc"]
        kept = f" The best until then, epoch {epoch} (macro-AUC {area:.4f}), is kept: {keeper.folder.good}."
    calmer = "lower train.lr" + (", or use --dtype fp32" if machine.dtype is not torch.float32 else "")
    world().refuse(f"train: {fault}; {calmer}.{kept}")


def _predict_again(
    job: Job, loaded: Fold, *, machine: Machine, keeper: Keeper, after: Callable[[int], None]
) -> Tensor | None:
    """(V, n_val, L) from the checkpoint as it lies on disk: what was saved is what was measured. None where
    someone asked to stop.
    """
    data = job.data
    found = predict_rows(
        loaded.model,
        data,
        views=loaded.card.views,
        batch_size=validation_batch(job.params.train),
        machine=machine,
        asked=keeper.asked,
        after=after,
    )
    if found is None:
        return None
    again, expected = macro(auc_by_finding(*data.truth(data.val), found[0])), loaded.card.macro_auc
    promise(abs(again - expected) < 1e-3, f"saved {loaded.path}: measured {again}, was {expected}")
    return torch.from_numpy(found)


def _write_scores(layout: Layout, job: Job, card: Card, views: Tensor) -> None:
    ids = [job.data.store.ids[row] for row in job.data.val]
    for averaged, probs in ((False, views[0]), (True, mean(views))):
        path = layout.scores(job.fold, views=averaged)
        write_scores(path, card.id_column, ids, card.findings, probs.numpy())


def _head_of(card: Card) -> dict[str, Any]:
    """Its settings, which are those of all folds, and which bytes were at the path that one of them is."""
    own = {f"{name}_sha256": card.sha256[name] for name in ("embeddings", "graph") if name in card.sha256}
    return {name: value for name, value in card.head.items() if name != "encodings"} | own


def _write_history(layout: Layout, fold: int, course: Course) -> None:
    columns = [name for name in course.history[0] if name != "weights"]  # a word; the areas of both are there
    rows = [[f"{row[name]:.6g}" for name in columns] for row in course.history]
    write_table(layout.history(fold), columns, rows)


def _write_summary(layout: Layout, loaded: Fold, learner: Learner) -> None:
    card = loaded.card
    facts = {
        "epoch": card.epoch,
        "macro_auc": card.macro_auc,
        "weights": card.weights,
        "steps": learner.steps,
        "skipped": learner.skipped,
        "parameters": parameter_count(loaded.model),
        "findings": card.findings,
    }
    write_summary(layout, card.fold, facts, card=asdict(card))
