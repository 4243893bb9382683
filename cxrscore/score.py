"""Radiographs -> a table: the ensemble's mean probability over views and folds, a row a file.

In    a folder, glob, table or archive of images; fold checkpoints; perhaps a template (a sample submission).
Out   the table, by rename; beside it what could not be scored, which bytes made each row, what made it all.
listed = scored + quarantined, always: a file never gets a neighbour's pixels, a black image or silence.
Source of the rule (mean of probabilities over views, then over folds): sparse label couplings, III-F.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from cxrscore.core.device import Machine
from cxrscore.core.errors import Stopped, UserError, WorkersLost
from cxrscore.core.progress import Progress
from cxrscore.core.signals import asked_to_stop
from cxrscore.core.user_cache import secure_code_cache
from cxrscore.images.decoding.decode import sha256_of
from cxrscore.images.inputs.listing import list_input
from cxrscore.model.checkpoint import Card, Fold
from cxrscore.model.ensemble import load_ensemble, trained_views
from cxrscore.scoring.compute import build_engine, folded_backbone
from cxrscore.scoring.compute_settings import Recipe, choose_batch_size, choose_recipe, dtype_word, merges_fit
from cxrscore.scoring.finish import Outcome, finish, finished_before
from cxrscore.scoring.journal import Journal, is_recipe, opened_journal
from cxrscore.scoring.options import Options
from cxrscore.scoring.output import Outputs, check_outputs, check_room
from cxrscore.scoring.provenance import fingerprint, first_difference, read_provenance
from cxrscore.scoring.row_ids import read_template
from cxrscore.scoring.row_plan import Plan, make_plan
from cxrscore.scoring.run import Reading, Run, refuse_faults, score_all, try_again

MAX_ERRORS_SHARE, MAX_ERRORS = 0.01, 10  # more than both: the folder is plainly wrong


def score(
    source: str, out: Path, options: Options, *, models: Path, machine: Machine, progress: Progress
) -> Outcome:
    """Raises UserError, and then nothing was written; Busy; Stopped, and then `resume` goes on."""
    if options.overwrite and options.resume:
        raise UserError("--overwrite starts anew and --resume goes on: name one of them.")
    files = Outputs(out)
    check_outputs(files)
    template = read_template(options.template) if options.template else None
    with opened_journal(files.journal, shard_rows=options.shard_rows) as journal, asked_to_stop() as asked:
        _refuse_to_replace(files, journal, options)
        progress.say(f"listing {source}")
        listing = list_input(
            source,
            exclude=files.all(),
            follow_symlinks=options.follow_symlinks,
            root=options.root,
            path_column=options.path_column,
            study_column=options.study_column,
        )
        progress.say(f"loading the models of {models}")
        ensemble = load_ensemble(models, machine, folds=options.folds)
        card, views = ensemble[0].card, options.views or trained_views(ensemble)
        plan, notes = make_plan(
            listing,
            card,
            template=template,
            id_kind=options.id_kind,
            by_study=options.level == "study",
            fill=options.on_error == "fill",
        )
        _check(files, plan, ensemble, options, journal)
        kept = _kept_recipe(journal, files) if options.resume else None
        how: dict[str, Any] = {"views": len(views), "kept": kept, "machine": machine, "progress": progress}
        recipe = _recipe(ensemble, plan, options, **how)
        read_as: dict[str, Any] = {"views": views, "bit_depth": _bit_depth(options, card)}
        identity = fingerprint(ensemble, recipe, plan, device=machine.device, **read_as)
        if options.resume and not journal.begun and files.table.exists():
            return finished_before(files, identity, plan, options, notes=notes)
        with _storage_faults(files.table.parent):
            resumed = _begin(journal, identity, plan, resume=options.resume)
            run = Run(plan, journal, asked, progress, options.on_error == "fail", _max_errors(plan, options))
            try:
                _compute(run, ensemble, recipe, options, views=views, machine=machine)
                progress.say(f"writing {files.table}")
                outcome = finish(run, files, ensemble, identity, options, notes=notes)
            except UserError:
                if not resumed:
                    journal.remove()  # nothing was written; what an earlier call had scored stays
                raise
            if left := journal.remove():
                progress.say(
                    f"{files.journal}: stays, as it holds what is not the run's: {', '.join(left[:3])}"
                )
    return outcome


@contextmanager
def _storage_faults(folder: Path) -> Iterator[None]:
    """A disk that is full or fails stops a run; what is kept there by then stays."""
    try:
        yield
    except OSError as error:
        raise Stopped(f"{error.filename or folder}: {error.strerror}") from error
    except WorkersLost as error:
        raise Stopped(*error.lines) from error


def _refuse_to_replace(files: Outputs, journal: Journal, options: Options) -> None:
    """Raises UserError where this call would lose what another has done."""
    if options.overwrite or options.resume:
        return
    if journal.begun:
        raise UserError(
            f"{files.journal}: an interrupted run is kept there; --resume goes on with it, --overwrite "
            "starts anew."
        )
    for path in files.files():
        if path.exists():
            raise UserError(f"{path}: exists; --overwrite replaces it, or choose another name.")


def _check(files: Outputs, plan: Plan, ensemble: Sequence[Fold], options: Options, journal: Journal) -> None:
    """Raises UserError for what can be known to go wrong before hours of work."""
    if options.std and len(ensemble) < 2:
        raise UserError("--std: the spread over folds needs two folds or more.")
    unreadable = [*plan.faults, *((path, *plan.known[path]) for path in plan.paths if path in plan.known)]
    if options.on_error == "fail" and unreadable:
        path, _, kind, why = unreadable[0]
        raise UserError(f"{path} ({kind}: {why}); mend or remove it; `cxrscore check` names all such files.")
    if not (options.resume and journal.begun):  # else a part of it is on the disk already
        check_room(files, rows=len(plan.paths), folds=len(ensemble), findings=len(plan.columns))


def _max_errors(plan: Plan, options: Options) -> int:
    if options.max_errors is not None:
        return options.max_errors
    return max(MAX_ERRORS, int(MAX_ERRORS_SHARE * len(plan.paths)))


def _recipe(
    ensemble: Sequence[Fold],
    plan: Plan,
    options: Options,
    *,
    views: int,
    machine: Machine,
    kept: Mapping[str, Any] | None,
    progress: Progress,
) -> Recipe:
    """How to compute; a resumed run keeps what was chosen for it, whatever was measured since. Raises
    UserError.
    """
    card = ensemble[0].card
    batch_size = choose_batch_size(options.batch_size, machine, size=card.size)
    if kept is not None:
        if not merges_fit(kept["merge"], ensemble[0].model.backbone):
            raise UserError(
                "--resume: the run merged convolutions that these models lack; --overwrite starts anew."
            )
        compiled = kept["compile"] if options.compile == "auto" else options.compile == "on"
        return Recipe(dtype_word(machine.dtype), batch_size, compiled, kept["merge"])
    recipe = choose_recipe(
        card.backbone,
        lambda: folded_backbone(ensemble[0].model, machine),
        machine,
        size=card.size,
        batch_size=batch_size,
        compile=options.compile,
        forwards=-(-len(plan.paths) // batch_size) * views * len(ensemble),
        say=progress.say,
    )
    return _safely(recipe, asked=options.compile == "on", progress=progress) if recipe.compile else recipe


def _safely(recipe: Recipe, *, asked: bool, progress: Progress) -> Recipe:
    """Compiled only where the code is safe from others. Raises UserError where compiling was asked for."""
    try:
        secure_code_cache()
    except UserError as fault:
        if asked:
            raise
        progress.say(f"not compiled, though it would pay: {fault}")
        return replace(recipe, compile=False)
    return recipe


def _bit_depth(options: Options, card: Card) -> int | None:
    """Of samples stored in 16 bits: what was asked for, else what the models were trained with."""
    return options.bit_depth or card.bit_depth


def _kept_recipe(journal: Journal, files: Outputs) -> Mapping[str, Any] | None:
    """That of the run to go on with, under way or finished; None where there is neither."""
    run: Mapping[str, Any] = {}
    if journal.begun:
        run = journal.fingerprint()
    elif files.table.exists() and files.provenance.exists():
        run = read_provenance(files.provenance)["run"]
        if not is_recipe(run["recipe"]):
            raise UserError(f"{files.provenance}: of another version of cxrscore; --overwrite starts anew.")
    kept: Mapping[str, Any] | None = run.get("recipe")
    return kept


def _begin(journal: Journal, identity: Mapping[str, Any], plan: Plan, *, resume: bool) -> bool:
    """Start the journal, or go on with the one that is there: then True. Raises UserError where that was of
    another run.
    """
    if not (resume and journal.begun):
        journal.begin(identity, plan.manifest())
        return False
    difference = first_difference(journal.fingerprint(), identity)
    if difference is not None:
        name, before, now = difference
        what = f"{name} was {before}, and is now {now}"
        if name in ("files", "manifest_sha256"):
            what = f"of its files there are now {_changes(journal.manifest(), _numbers(plan))}"
        raise UserError(
            f"{journal.folder}: the run that it keeps is another one: {what}; make it as it was, or start "
            "anew with --overwrite."
        )
    journal.resume()
    _refuse_other_bytes(journal, plan)
    return True


def _refuse_other_bytes(journal: Journal, plan: Plan) -> None:
    """A file whose status changed since may hold other bytes of the same size and time, as `cp -p` leaves
    them: if it was scored by then it is read again. Raises UserError where its bytes are others.
    """
    before, now, others = journal.manifest(), _numbers(plan), []
    for rows in journal.rows():
        for i, file in enumerate(rows.files, rows.start):
            path = plan.paths[i]
            same = path in before and before[path] == now[path]
            if not same and file.sha256 and sha256_of(plan.listing.place(path)) != file.sha256:
                others.append(path)
    if others:
        some = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        raise UserError(
            f"{journal.folder}: {len(others):,} files that were scored have other bytes now ({some}); make "
            "them as they were, or start anew with --overwrite."
        )


def _numbers(plan: Plan) -> dict[str, tuple[int, int, int]]:
    """Path -> bytes and times of change."""
    return {path: (size, changed, status) for path, size, changed, status in plan.manifest()}


def _changes(before: Mapping[str, tuple[int, ...]], now: Mapping[str, tuple[int, ...]]) -> str:
    """What became of a listing, in a few words. The time of change of a status alone is no change."""
    before, now = ({path: numbers[:2] for path, numbers in listed.items()} for listed in (before, now))
    changes = (
        ("more", sorted(now.keys() - before.keys())),
        ("fewer", sorted(before.keys() - now.keys())),
        ("changed since", sorted(path for path in before.keys() & now.keys() if before[path] != now[path])),
    )
    words = [
        f"{len(paths):,} {what} ({', '.join(paths[:3])}{', ...' if len(paths) > 3 else ''})"
        for what, paths in changes
        if paths
    ]
    return " and ".join(words) or "the same, in another order or with other hashes declared"


def _compute(
    run: Run,
    ensemble: Sequence[Fold],
    recipe: Recipe,
    options: Options,
    *,
    views: Sequence[str],
    machine: Machine,
) -> None:
    card, total, done = ensemble[0].card, len(run.plan.paths), run.journal.done
    for rows in run.journal.rows():
        run.note(rows)
    refuse_faults(run)  # a run that was stopped for its faults is not done by resuming it
    if done:
        run.progress.say(f"resuming: {done:,} of {total:,} files are done")
    run.progress.start("score", total - done)
    if done == total and not run.slow:
        return
    compiling = "; the first batch compiles the models, which takes minutes" if recipe.compile else ""
    run.progress.say(
        f"scoring {total - done:,} files: {len(ensemble)} folds, {len(views)} views, batches of "
        f"{recipe.batch_size}, on {machine}{compiling}"
    )
    engine = build_engine(ensemble, recipe, machine, views=views, chunk=min(run.halvings, default=None))
    reading = Reading(
        size=card.size,
        batch_size=recipe.batch_size,
        workers=options.workers,
        timeout_s=options.timeout_s,
        bit_depth=_bit_depth(options, card),
    )
    if done < total:
        begun = time.monotonic()
        score_all(run, engine, reading)
        seconds = time.monotonic() - begun
        rate, shares = (total - done) / max(seconds, 1e-9), run.clock.shares()
        run.progress.say(f"{total - done:,} files in {seconds:.1f} s, {rate:.1f}/s; time: {shares}")
    try_again(run, engine, reading)
