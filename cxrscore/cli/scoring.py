"""Scoring and what stands around it: a check before, a verification after.

In    a folder, pattern, table or archive of radiographs; fold checkpoints; for `verify` a finished table.
Out   a score table, or verdicts; exit codes 1 does not match, 3 quarantined files, 4 stopped.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from cxrscore.cli.messages import facts_blocks, on_terminal, resuming_command, say_what_goes_on, show, tell
from cxrscore.cli.options import (
    CORES,
    OUT,
    AsJson,
    BitDepth,
    Device,
    Dtype,
    FollowSymlinks,
    Overwrite,
    PathColumn,
    Root,
    Source,
    Timeout,
    Workers,
    fold_list,
    format_of,
    view_list,
)
from cxrscore.cli.terminal import print_lines, print_notes


def score(
    source: Source,
    output: Annotated[Path, typer.Option("--output", "-o", help="The table to write.")],
    models: Annotated[Path, typer.Option("--models", help="Folder of fold checkpoints.")] = OUT / "models",
    template: Annotated[
        Path | None,
        typer.Option("--template", help="A sample submission: its rows, order and columns are kept."),
    ] = None,
    id_kind: Annotated[
        Literal["relpath", "name", "stem"], typer.Option("--id", help="What names a row.")
    ] = "relpath",
    root: Root = None,
    path_column: PathColumn = None,
    study_column: Annotated[
        str | None, typer.Option("--study-column", help="A CSV's column of studies, for --level study.")
    ] = None,
    folds: Annotated[str | None, typer.Option("--folds", help="Use these folds only, such as 0,2.")] = None,
    views: Annotated[
        str | None,
        typer.Option(
            "--views",
            help="Average over these, such as plain,flip,zoom,zoom_flip. Default: as trained. "
            "flip means plain,flip; none means plain.",
        ),
    ] = None,
    bit_depth: BitDepth = None,
    level: Annotated[
        Literal["image", "study"], typer.Option("--level", help="study: the mean over a study's images.")
    ] = "image",
    table_format: Annotated[
        Literal["csv", "parquet"] | None,
        typer.Option("--format", help="Of the table. Default: by OUTPUT's suffix."),
    ] = None,
    std: Annotated[
        bool, typer.Option("--std", help="Also write each finding's spread over folds, a second table.")
    ] = False,
    csv_safe: Annotated[
        bool, typer.Option("--csv-safe", help="Put ' before ids that a spreadsheet would run.")
    ] = False,
    on_error: Annotated[
        Literal["quarantine", "fail", "fill"],
        typer.Option(
            "--on-error", help="A file that cannot be scored: no row, no table, or the prevalences."
        ),
    ] = "quarantine",
    max_errors: Annotated[
        int | None,
        typer.Option("--max-errors", min=0, help="Stop after so many. Default: 1 % of files, at least 10."),
    ] = None,
    overwrite: Overwrite = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
    follow_symlinks: FollowSymlinks = False,
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", min=1, max=4096, help="Images per forward. Default: 16, on a GPU 256."),
    ] = None,
    compile_models: Annotated[
        Literal["auto", "on", "off"],
        typer.Option("--compile", help="auto: where `bench forward` has measured that it pays."),
    ] = "auto",
    shard_rows: Annotated[
        int, typer.Option("--shard-rows", min=1, help="Rows kept at once; a kill costs at most so many.")
    ] = 256,
    timeout_s: Timeout = 8.0,
    workers: Workers = CORES,
    device: Device = "auto",
    dtype: Dtype = "auto",
) -> None:
    """Write one row of probabilities for each radiograph: the mean over views and folds.

    Files that cannot be read are named in OUTPUT.errors.csv, and the exit code is 3. A run that was stopped
    goes on with --resume and gives the same bytes. OUTPUT.provenance.json says what made the table.

    Example: cxrscore score data/test --template data/sample_submission.csv -o sub.csv
    """
    chosen, averaged = fold_list(folds), view_list(views)

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
        format=format_of(output, table_format),
        std=std,
        csv_safe=csv_safe,
    )
    try:
        with on_terminal() as progress:
            machine = choose_scoring_machine(device, dtype)
            outcome = score(source, output, options, models=models, machine=machine, progress=progress)
    except Stopped as stopped:
        say_what_goes_on(stopped.lines, resuming_command(stopped.words))
        raise SystemExit(stopped.code) from stopped
    tell(outcome.notes)
    sum_of = f"{outcome.scored:,} scored + {outcome.quarantined:,} quarantined"
    print_notes(f"{outcome.listed:,} listed = {sum_of}")
    if outcome.quarantined:
        rows = "hold the training prevalences" if on_error == "fill" else "have no row"
        print_notes(f"quarantined files {rows}; they are named in {outcome.errors_csv}")
        raise typer.Exit(3)


def check(
    source: Source,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the faults to this table.")
    ] = None,
    size: Annotated[int, typer.Option("--size", min=32, max=4096, help="Pixels a side to decode to.")] = 380,
    bit_depth: BitDepth = None,
    overwrite: Overwrite = False,
    root: Root = None,
    path_column: PathColumn = None,
    follow_symlinks: FollowSymlinks = False,
    timeout_s: Timeout = 8.0,
    workers: Workers = CORES,
    as_json: AsJson = False,
) -> None:
    """Read every file as `score` would, and tell what it would quarantine; needs no model.

    The exit code is 3 where there is such a file.

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
    table: Annotated[Path, typer.Argument(help="A table that `score` wrote.")],
    models: Annotated[
        Path | None, typer.Option("--models", help="Folder of the checkpoints, to compare them too.")
    ] = None,
    source: Annotated[
        str | None, typer.Option("--input", help="The images' folder, table or archive, to read them again.")
    ] = None,
    root: Root = None,
    path_column: PathColumn = None,
    follow_symlinks: FollowSymlinks = False,
) -> None:
    """Compare a score table with its provenance: its bytes, its models, the images behind its rows.

    The exit code is 1 where something does not match.

    Example: cxrscore verify sub.csv --models out/models --input data/test
    """
    from cxrscore.verify import verify

    with on_terminal() as progress:
        listed = {"root": root, "path_column": path_column, "follow_symlinks": follow_symlinks}
        verdicts = list(verify(table, models=models, source=source, listed=listed, progress=progress))
    for verdict in verdicts:
        mark = "NO " if verdict.faults else "yes"
        print_lines(f"{mark} {verdict.question}", *(f"    {fault}" for fault in verdict.faults))
    if any(verdict.faults for verdict in verdicts):
        raise typer.Exit(1)
