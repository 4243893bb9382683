"""A journal that holds rows already, or none -> the run begun or resumed.

In    what the run is (Setup), its journal.
Out   Run, which knows what became of the rows that are kept. Raises UserError where the journal is of another
      run, or a file that was scored has other bytes now.
"""

from collections.abc import Mapping

from cxrscore.core.errors import UserError, counted
from cxrscore.core.progress import Progress
from cxrscore.core.signals import Asked
from cxrscore.images.decoding.decode import sha256_of
from cxrscore.scoring.journal import Journal
from cxrscore.scoring.provenance import first_difference
from cxrscore.scoring.row_plan import Plan
from cxrscore.scoring.run import Run, refuse_faults
from cxrscore.scoring.setup import Setup


def begin_run(setup: Setup, journal: Journal, asked: Asked, progress: Progress) -> Run:
    if setup.options.resume and journal.begun:
        _refuse_another_run(setup, journal)
        journal.resume()
        _refuse_other_bytes(journal, setup.plan)
    else:
        journal.begin(setup.identity, setup.plan.manifest())
    fail = setup.options.on_error == "fail"
    inputs = setup.inputs.values if setup.inputs else None
    run = Run(setup.plan, journal, asked, progress, fail, setup.max_errors, inputs=inputs)
    for rows in journal.rows():
        run.note(rows)
    refuse_faults(run)  # a run that was stopped for its faults is not done by resuming it
    return run


def _refuse_another_run(setup: Setup, journal: Journal) -> None:
    difference = first_difference(journal.fingerprint(), setup.identity)
    if difference is None:
        return
    name, before, now = difference
    what = f"{name} was {before}, and is now {now}"
    if name in ("files", "manifest_sha256"):
        what = f"of its files there are now {_changes(journal.manifest(), _numbers(setup.plan))}"
    raise UserError(
        f"{journal.folder}: belongs to another run: {what}; restore what has changed, or start over with "
        "--overwrite."
    )


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
            f"{journal.folder}: {counted(len(others), 'file has', 'files have')} changed since being scored "
            f"({some}); restore them, or start over with --overwrite."
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
