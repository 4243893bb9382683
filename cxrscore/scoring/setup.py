"""A listing and what was chosen -> all that a run of the scorer is before its first row.

In    the listing, the outputs' paths, Options, fold checkpoints, the machine; the journal of a stopped run.
Out   Setup: which rows, with which models, computed how; the fingerprint of all that decides a row's bytes.
      Raises UserError for all that can be known to go wrong before hours of work; nothing is written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cxrscore.core.device import Machine
from cxrscore.core.errors import UserError
from cxrscore.core.progress import Progress
from cxrscore.core.user_cache import secure_code_cache
from cxrscore.images.decoding.decode import Wanted
from cxrscore.images.inputs.listing import Listing
from cxrscore.model.checkpoint import Fold
from cxrscore.model.ensemble import load_ensemble, trained_views
from cxrscore.scoring.compute import folded_backbone
from cxrscore.scoring.compute_settings import Recipe, choose_batch_size, choose_recipe, dtype_word, merges_fit
from cxrscore.scoring.decided import Decided, read_decided
from cxrscore.scoring.input_table import InputValues, read_input_values
from cxrscore.scoring.journal import Journal, is_recipe
from cxrscore.scoring.options import Options
from cxrscore.scoring.output import Outputs, check_room
from cxrscore.scoring.provenance import fingerprint, read_provenance
from cxrscore.scoring.row_ids import read_template
from cxrscore.scoring.row_plan import Plan, make_plan

MAX_ERRORS_SHARE, MAX_ERRORS = 0.01, 10  # more than both: the folder is plainly wrong


@dataclass(frozen=True)
class Reading:
    """How files become pixels, in the first try and the second. `bit_depth`: of samples stored in 16 bits."""

    size: int
    batch_size: int
    workers: int
    timeout_s: float
    bit_depth: int | None

    def arguments(self) -> dict[str, Any]:
        """As `decode_batches` and `second_try` take them. Colours are not looked for: a JPEG that is coded as
        RGB would take 11.8 ms instead of 9.1 (2,400 x 2,000 to 380 px). `check` looks for them.
        """
        how = {name: getattr(self, name) for name in ("size", "batch_size", "workers", "timeout_s")}
        return how | {"wanted": Wanted(bit_depth=self.bit_depth)}


@dataclass(frozen=True)
class Setup:
    """A run before its first row. `identity`: its fingerprint, all that decides a row's bytes."""

    files: Outputs
    plan: Plan
    ensemble: Sequence[Fold]
    views: Sequence[str]
    recipe: Recipe
    reading: Reading
    identity: Mapping[str, Any]
    options: Options
    machine: Machine
    notes: Sequence[str]
    inputs: InputValues | None = None
    decided: Decided | None = None

    @property
    def findings(self) -> list[str]:
        return self.ensemble[0].card.findings

    @property
    def max_errors(self) -> int:
        """More quarantined files than these stop the run."""
        if self.options.max_errors is not None:
            return self.options.max_errors
        return max(MAX_ERRORS, int(MAX_ERRORS_SHARE * len(self.plan.paths)))

    def is_finished(self, journal: Journal) -> bool:
        """Whether --resume finds the table of a run that has ended."""
        return self.options.resume and not journal.begun and self.files.table.exists()


def set_up(
    listing: Listing,
    files: Outputs,
    options: Options,
    journal: Journal,
    *,
    models: Path,
    machine: Machine,
    progress: Progress,
) -> Setup:
    template = read_template(options.template) if options.template else None
    decided = read_decided(options, models)
    progress.say(f"loading the models of {models}")
    ensemble = load_ensemble(models, machine, folds=options.folds)
    card, views = ensemble[0].card, options.views or trained_views(ensemble)
    if decided:
        decided.refuse_other_ensemble(ensemble, views)
    plan, notes = make_plan(
        listing,
        card,
        template=template,
        id_kind=options.id_kind,
        by_study=options.level == "study",
        fill=options.on_error == "fill",
    )
    inputs = read_input_values(options.inputs, ensemble, plan)
    _refuse_what_would_fail(files, plan, ensemble, options, journal)
    forwards = Forwards(len(plan.paths), len(views), ensemble, machine)
    kept = _kept_recipe(journal, files) if options.resume else None
    recipe = forwards.choose(options, progress) if kept is None else forwards.resume(kept, options)
    reading = Reading(
        size=card.size,
        batch_size=recipe.batch_size,
        workers=options.workers,
        timeout_s=options.timeout_s,
        bit_depth=options.bit_depth or card.bit_depth,
    )
    identity = fingerprint(
        ensemble,
        recipe,
        plan,
        device=machine.device,
        views=views,
        bit_depth=reading.bit_depth,
        inputs=inputs.facts if inputs else None,
    )
    notes += inputs.notes if inputs else ()
    return Setup(
        files, plan, ensemble, views, recipe, reading, identity, options, machine, notes, inputs, decided
    )


def refuse_to_replace(files: Outputs, journal: Journal, options: Options) -> None:
    """Raises UserError where this call would lose what another has done."""
    if options.overwrite or options.resume:
        return
    if journal.begun:
        raise UserError(
            f"{files.journal}: holds an interrupted run; --resume resumes it, --overwrite starts over."
        )
    for path in files.files():
        if path.exists():
            raise UserError(f"{path}: exists; --overwrite replaces it, or choose another name.")


def _refuse_what_would_fail(
    files: Outputs, plan: Plan, ensemble: Sequence[Fold], options: Options, journal: Journal
) -> None:
    if options.std and len(ensemble) < 2:
        raise UserError("--std: the spread over folds needs two folds or more.")
    unreadable = [*plan.faults, *((path, *plan.known[path]) for path in plan.paths if path in plan.known)]
    if options.on_error == "fail" and unreadable:
        path, _, kind, why = unreadable[0]
        raise UserError(
            f"{path} ({kind}: {why}); repair or remove it; `cxrscore check` lists all such files."
        )
    if not (options.resume and journal.begun):  # else a part of it is on the disk already
        check_room(files, rows=len(plan.paths), folds=len(ensemble), findings=len(plan.columns))


@dataclass(frozen=True)
class Forwards:
    """The forward passes of a run, and how they are computed. Both ways raise UserError."""

    files: int
    views: int
    ensemble: Sequence[Fold]
    machine: Machine

    def choose(self, options: Options, progress: Progress) -> Recipe:
        card, batch_size = self.ensemble[0].card, self._batch_size(options)
        recipe = choose_recipe(
            card.backbone,
            lambda: folded_backbone(self.ensemble[0].model, self.machine),
            self.machine,
            size=card.size,
            batch_size=batch_size,
            compile=options.compile,
            forwards=-(-self.files // batch_size) * self.views * len(self.ensemble),
            say=progress.say,
        )
        return _safely(recipe, asked=options.compile == "on", progress=progress) if recipe.compile else recipe

    def resume(self, kept: Mapping[str, Any], options: Options) -> Recipe:
        """What was chosen when the run began, whatever was measured since."""
        if not merges_fit(kept["merge"], self.ensemble[0].model.backbone):
            raise UserError(
                "--resume: the run merged convolutions that these models lack; --overwrite starts over."
            )
        compiled = kept["compile"] if options.compile == "auto" else options.compile == "on"
        return Recipe(dtype_word(self.machine.dtype), self._batch_size(options), compiled, kept["merge"])

    def _batch_size(self, options: Options) -> int:
        return choose_batch_size(options.batch_size, self.machine, size=self.ensemble[0].card.size)


def _safely(recipe: Recipe, *, asked: bool, progress: Progress) -> Recipe:
    """Compiled only where the code is safe from others. Raises UserError where compiling was asked for."""
    try:
        secure_code_cache()
    except UserError as fault:
        if asked:
            raise
        progress.say(f"not compiled, although it would be faster: {fault}")
        return replace(recipe, compile=False)
    return recipe


def _kept_recipe(journal: Journal, files: Outputs) -> Mapping[str, Any] | None:
    """That of the run to resume, under way or finished; None where there is neither."""
    run: Mapping[str, Any] = {}
    if journal.begun:
        run = journal.fingerprint()
    elif files.table.exists() and files.provenance.exists():
        run = read_provenance(files.provenance)["run"]
        if not is_recipe(run["recipe"]):
            raise UserError(f"{files.provenance}: of another version of cxrscore; --overwrite starts over.")
    kept: Mapping[str, Any] | None = run.get("recipe")
    return kept
