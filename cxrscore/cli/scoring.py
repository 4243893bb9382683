"""Commands that score, check beforehand and verify afterwards.

In    a folder, pattern, table or archive of radiographs; fold checkpoints; for `verify` a finished table.
Out   a score table, or verdicts; exit codes 1 a mismatch, 3 quarantined files, 4 stopped.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxrscore.cli.messages import facts_blocks, on_terminal, resuming_command, say_how_to_resume, show, tell
from cxrscore.cli.options import (
    CORES,
    INPUT,
    OUT,
    OUTPUT,
    AsJson,
    Device,
    FollowSymlinks,
    Overwrite,
    PathColumn,
    Root,
    ScoringDtype,
    Source,
    Workers,
    fold_list,
    view_list,
)
from cxrscore.cli.score_options import (
    Abstain,
    BatchSize,
    Binary,
    BitDepth,
    Calibrated,
    CheckedDepth,
    Compile,
    CsvSafe,
    DecisionsFile,
    Folds,
    IdKind,
    Inputs,
    Level,
    MaxErrors,
    Models,
    OnError,
    Output,
    Resume,
    ShardRows,
    Std,
    StudyColumn,
    TableFormat,
    Template,
    Timeout,
    Views,
)
from cxrscore.cli.terminal import print_lines, print_notes

if TYPE_CHECKING:
    from cxrscore.scoring.finish import Outcome
    from cxrscore.verify import Verdict


def score(
    source: Source,
    *,
    root: Root = None,
    path_column: PathColumn = None,
    study_column: StudyColumn = None,
    follow_symlinks: FollowSymlinks = False,
    bit_depth: BitDepth = None,
    models: Models = OUT / "models",
    folds: Folds = None,
    views: Views = None,
    inputs: Inputs = None,
    calibrated: Calibrated = False,
    binary: Binary = None,
    abstain: Abstain = None,
    decisions: DecisionsFile = None,
    output: Output,
    template: Template = None,
    id_kind: IdKind = "relpath",
    level: Level = "image",
    table_format: TableFormat = None,
    std: Std = False,
    csv_safe: CsvSafe = False,
    overwrite: Overwrite = False,
    on_error: OnError = "quarantine",
    max_errors: MaxErrors = None,
    timeout_s: Timeout = 8.0,
    resume: Resume = False,
    shard_rows: ShardRows = 256,
    batch_size: BatchSize = None,
    compile_models: Compile = "auto",
    workers: Workers = CORES,
    device: Device = "auto",
    dtype: ScoringDtype = "auto",
) -> None:
    """Write a table of probabilities, one row per radiograph.

    Each probability is the mean over the folds and the views for test-time augmentation. Files that cannot be
    read are listed in OUTPUT.errors.csv, and the exit code is 3. A run that was stopped can be resumed with
    --resume and then gives the same bytes. OUTPUT.provenance.json records what made the table.

    Example: cxrscore score data/test --template data/sample_submission.csv -o sub.csv
    """
    from cxrscore.decisions.decision_file import check_choice
    from cxrscore.project.option_rules import table_format as checked_format

    written_as = checked_format(output, table_format, called="--format")
    check_choice(calibrated=calibrated, binary=binary, abstain=abstain, level=level)
    chosen, averaged = fold_list(folds), view_list(views)
    from cxrscore.images.inputs.listing import kind_of_input

    kind_of_input(source)  # a missing folder costs no import of torch

    from cxrscore.core.errors import Stopped
    from cxrscore.score import score
    from cxrscore.scoring.compute_settings import choose_scoring_machine
    from cxrscore.scoring.options import Options

    options = Options(
        template=template,
        id_kind=id_kind,
        root=root,
        path_column=path_column,
        study_column=study_column,
        follow_symlinks=follow_symlinks,
        folds=chosen,
        views=averaged,
        inputs=inputs,
        bit_depth=bit_depth,
        level=level,
        batch_size=batch_size,
        compile=compile_models,
        workers=workers,
        timeout_s=timeout_s,
        shard_rows=shard_rows,
        overwrite=overwrite,
        resume=resume,
        on_error=on_error,
        max_errors=max_errors,
        format=written_as,
        std=std,
        csv_safe=csv_safe,
        calibrated=calibrated,
        binary=binary,
        abstain=abstain,
        decisions=decisions,
    )
    try:
        with on_terminal() as progress:
            machine = choose_scoring_machine(device, dtype)
            outcome = score(source, output, options, models=models, machine=machine, progress=progress)
    except Stopped as stopped:
        say_how_to_resume(stopped.lines, resuming_command(stopped.words))
        raise SystemExit(stopped.code) from stopped
    _tell_outcome(outcome, on_error, calls=binary is not None)


def _tell_outcome(outcome: "Outcome", on_error: str, *, calls: bool) -> None:
    tell(outcome.notes)
    sum_of = f"{outcome.scored:,} scored + {outcome.quarantined:,} quarantined"
    print_notes(f"{outcome.listed:,} listed = {sum_of}")
    if outcome.quarantined:
        filled = "have blank rows" if calls else "have the training prevalences in their rows"
        rows = filled if on_error == "fill" else "have no row"
        print_notes(f"quarantined files {rows}; they are listed in {outcome.errors_csv}")
        raise typer.Exit(3)


Size = Annotated[
    int,
    typer.Option("--size", min=32, max=4096, help="Pixels per side to decode to.", rich_help_panel=INPUT),
]
Faults = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="OUTPUT", help="Write the faults to this CSV file.", rich_help_panel=OUTPUT
    ),
]


def check(
    source: Source,
    root: Root = None,
    path_column: PathColumn = None,
    follow_symlinks: FollowSymlinks = False,
    bit_depth: CheckedDepth = None,
    size: Size = 380,
    output: Faults = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    timeout_s: Timeout = 8.0,
    workers: Workers = CORES,
) -> None:
    """List the files that `score` would quarantine.

    Every file is decoded as `score` decodes it; no model is loaded. The exit code is 3 if a file would be
    quarantined.

    Example: cxrscore check data/test -o faults.csv
    """
    from cxrscore.check import check, refuse_to_replace, write_findings

    if output is not None:
        refuse_to_replace(output, overwrite=overwrite)
    with on_terminal() as progress:
        found = check(
            source,
            size=size,
            bit_depth=bit_depth,
            workers=workers,
            timeout_s=timeout_s,
            listed={"root": root, "path_column": path_column, "follow_symlinks": follow_symlinks},
            exclude=[output] if output else [],
            progress=progress,
        )
    if output is not None:
        write_findings(output, found)
    tell(found.notes)
    show(found.as_json(), facts_blocks, as_json=as_json)
    if found.faults:
        first = "; ".join(f"{path} ({kind}: {why})" for path, _, kind, why in found.faults[:5])
        print_notes(f"first: {first}")
        raise typer.Exit(3)


def verify(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="Table that `score` wrote.")],
    models: Annotated[
        Path | None, typer.Option("--models", help="Folder of checkpoints to compare as well.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--input", help="Folder, table or archive of the images to read and compare as well."),
    ] = None,
    inputs: Annotated[
        Path | None,
        typer.Option("--inputs", help="Table that `score` was given, to compare as well (default: none)."),
    ] = None,
    decisions: Annotated[
        Path | None,
        typer.Option(
            "--decisions",
            help="File that the table was decided by, to compare as well (default: with --models, "
            "decisions.json beside that folder).",
        ),
    ] = None,
    root: Root = None,
    path_column: PathColumn = None,
    follow_symlinks: FollowSymlinks = False,
) -> None:
    """Compare a score table with its provenance file.

    The bytes of the table are compared, and on request the models and the images that it was made from. The
    exit code is 1 if something does not match.

    Example: cxrscore verify sub.csv --models out/models --input data/test
    """
    from cxrscore.verify import verify

    with on_terminal() as progress:
        listed = {"root": root, "path_column": path_column, "follow_symlinks": follow_symlinks}
        verdicts = list(
            verify(
                table,
                models=models,
                source=source,
                inputs=inputs,
                decisions=decisions,
                listed=listed,
                progress=progress,
            )
        )
    for verdict in verdicts:
        print_lines(*_verdict_lines(verdict))
    if any(verdict.faults for verdict in verdicts):
        raise typer.Exit(1)


def _verdict_lines(verdict: "Verdict") -> list[str]:
    mark = "FAIL" if verdict.faults else "OK  "
    return [f"{mark} {verdict.question}", *(f"     {fault}" for fault in verdict.faults)]
