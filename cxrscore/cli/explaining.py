"""The command that explains scores: what the label head did to each finding's logit.

In    radiographs, fold checkpoints.
Out   a table per image on stdout; on request a CSV file and pictures; exit code 3 for files not read.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxrscore.cli.messages import on_terminal, show, tell
from cxrscore.cli.options import (
    CORES,
    INPUT,
    OUT,
    OUTPUT,
    AsJson,
    Device,
    Overwrite,
    ScoringDtype,
    Workers,
    fold_list,
    view_list,
)
from cxrscore.cli.score_options import BatchSize, BitDepth, Folds, Models, Timeout, Views
from cxrscore.cli.score_options import Inputs as InputTable
from cxrscore.cli.terminal import print_notes
from cxrscore.core.errors import counted
from cxrscore.core.text_table import Block, TextTable, column_widths

if TYPE_CHECKING:
    from cxrscore.explain import Explained, Explanation

SHOWN = 10  # images on stdout; all are in the CSV file and in the JSON

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGE",
        help="Image files, or one folder, quoted glob pattern, CSV of paths, .tar or .zip of radiographs.",
        rich_help_panel=INPUT,
    ),
]
Table = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="OUTPUT", help="Write the table to this CSV file.", rich_help_panel=OUTPUT
    ),
]
Pictures = Annotated[
    Path | None,
    typer.Option(
        "--pictures", help="Folder for one SVG picture per image; it is made.", rich_help_panel=OUTPUT
    ),
]


Attended = Annotated[
    str | None,
    typer.Option(
        "--attention",
        metavar="FINDING",
        help="With --pictures: also draw where this finding looks in each image, and what each step adds, "
        "for the head lamp (default: not drawn).",
        rich_help_panel=OUTPUT,
    ),
]


def explain(
    inputs: Inputs,
    bit_depth: BitDepth = None,
    models: Models = OUT / "models",
    folds: Folds = None,
    views: Views = None,
    input_table: InputTable = None,
    output: Table = None,
    pictures: Pictures = None,
    attention: Attended = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    timeout_s: Timeout = 8.0,
    batch_size: BatchSize = None,
    workers: Workers = CORES,
    device: Device = "auto",
    dtype: ScoringDtype = "auto",
) -> None:
    """Explain scores by what findings pass to each other.

    For each image and finding: the probability that `score` writes, the logit before and after the label
    head, and the finding that pushed it most. Logits and pushes are means over the folds and views; the
    probability is the mean of their probabilities, as in `score`. Heads that read their logits once, at
    their end, are refused. The exit code is 3 if a file could not be read.

    Example: cxrscore explain data/test/00000298_002_001.jpg --pictures explained
    """
    chosen, averaged = fold_list(folds), view_list(views)
    from cxrscore.core.errors import Stopped, UserError
    from cxrscore.explain import as_json as facts_of
    from cxrscore.explain import explain, refuse_to_replace, write_explained, write_pictures
    from cxrscore.scoring.compute_settings import choose_scoring_machine
    from cxrscore.scoring.options import Options

    if attention is not None and pictures is None:
        raise UserError("--attention: pictures of it have no place to go; add --pictures FOLDER.")
    refuse_to_replace(output, pictures, overwrite=overwrite)
    options = Options(
        folds=chosen,
        views=averaged,
        inputs=input_table,
        bit_depth=bit_depth,
        batch_size=batch_size,
        workers=workers,
        timeout_s=timeout_s,
    )
    try:
        with on_terminal() as progress:
            found = explain(
                inputs,
                options,
                models=models,
                exclude=[path for path in (output, pictures) if path],
                attention=attention,
                machine=choose_scoring_machine(device, dtype),
                progress=progress,
            )
    except Stopped as stopped:
        print_notes(*stopped.lines)
        raise SystemExit(stopped.code) from stopped
    if output is not None:
        write_explained(output, found)
    if pictures is not None:
        write_pictures(pictures, found)
    tell(found.notes)
    show(facts_of(found), lambda _: _blocks(found), as_json=as_json)
    if found.faults:
        print_notes(*(f"not explained: {path} ({kind}: {why})" for path, _, kind, why in found.faults))
        raise typer.Exit(3)


def _blocks(found: "Explanation") -> list[Block]:
    """What the numbers are, then an image's name and its findings, most probable first."""
    over = f"{counted(len(found.folds), 'fold')} and {counted(len(found.views), 'view')}"
    blocks: list[Block] = [f"means over {over} ({', '.join(found.views)})"]
    for image in found.images[:SHOWN]:
        rows = _rows(image, found)
        blocks += ["", image.name, TextTable(rows, headed=True, widths=column_widths(rows))]
    if len(found.images) > SHOWN:
        more = counted(len(found.images) - SHOWN, "more image")
        blocks += ["", f"{more}: -o writes all of them to a file"]
    return blocks


def _rows(image: "Explained", found: "Explanation") -> list[list[str]]:
    rows = [["finding", "probability", *found.stages, "change"]]
    rows[0] += ["pushed most by", "push"] if image.pushes is not None else []
    for j in sorted(range(len(found.findings)), key=lambda j: -image.probs[j]):
        row = [found.findings[j], f"{image.probs[j]:.4f}"]
        row += [_shown(float(stage[j])) for stage in image.logits]
        row.append(_shown(float(image.change[j]), sign="+"))
        if image.pushes is not None:
            i = image.strongest(j)
            row += ["", ""] if i is None else [found.findings[i], _shown(float(image.pushes[i, j]), sign="+")]
        rows.append(row)
    return rows


def _shown(value: float, *, sign: str = "-") -> str:
    """Four digits; what rounds to zero has no sign."""
    text = f"{value:{sign}.4f}"
    return text[1:] if text in ("-0.0000", "+0.0000") else text
