"""Radiographs -> a table: the ensemble's mean probability over views and folds, one row per file.

In    a folder, glob, table or archive of images; fold checkpoints; perhaps a template (a sample submission).
Out   the table, by rename; beside it what could not be scored, which bytes made each row, what made it all.
listed = scored + quarantined, always: a file never gets a neighbour's pixels, a black image or silence.
Source of the rule (mean of probabilities over views, then over folds): sparse label couplings, III-F.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cxrscore.core.device import Machine
from cxrscore.core.errors import Stopped, UserError, WorkersLost
from cxrscore.core.progress import Progress
from cxrscore.core.signals import asked_to_stop
from cxrscore.images.inputs.listing import list_input
from cxrscore.scoring.finish import Outcome, finish, finished_before
from cxrscore.scoring.journal import Journal, opened_journal
from cxrscore.scoring.options import Options
from cxrscore.scoring.output import Outputs, check_outputs
from cxrscore.scoring.resume import begin_run
from cxrscore.scoring.score_rows import score_rows
from cxrscore.scoring.setup import refuse_to_replace, set_up


def score(
    source: str, out: Path, options: Options, *, models: Path, machine: Machine, progress: Progress
) -> Outcome:
    """Raises UserError, and then nothing was written; Busy; Stopped, and then `resume` resumes it."""
    if options.overwrite and options.resume:
        raise UserError("--overwrite starts over and --resume resumes: give one of the two.")
    files = Outputs(out)
    check_outputs(files)
    with opened_journal(files.journal, shard_rows=options.shard_rows) as journal, asked_to_stop() as asked:
        refuse_to_replace(files, journal, options)
        progress.say(f"listing {source}")
        listing = list_input(
            source,
            exclude=files.all(),
            follow_symlinks=options.follow_symlinks,
            root=options.root,
            path_column=options.path_column,
            study_column=options.study_column,
        )
        setup = set_up(listing, files, options, journal, models=models, machine=machine, progress=progress)
        if setup.is_finished(journal):
            return finished_before(setup)
        with _kept_on_faults(files, journal, resumed=options.resume and journal.begun):
            run = begin_run(setup, journal, asked, progress)
            score_rows(run, setup)
            progress.say(f"writing {files.table}")
            outcome = finish(run, setup)
            if left := journal.remove():
                others = ", ".join(left[:3])
                progress.say(
                    f"{files.journal}: not removed, as it holds files that are not of this run: {others}"
                )
    return outcome


@contextmanager
def _kept_on_faults(files: Outputs, journal: Journal, *, resumed: bool) -> Iterator[None]:
    """A disk that is full or fails stops a run, and what it has scored stays. A refusal removes the journal
    that this call has begun; what an earlier call had scored stays.
    """
    try:
        yield
    except UserError:
        if not resumed:
            journal.remove()
        raise
    except OSError as error:
        raise Stopped(f"{error.filename or files.table.parent}: {error.strerror}") from error
    except WorkersLost as error:
        raise Stopped(*error.lines) from error
