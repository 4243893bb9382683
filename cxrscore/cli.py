"""The door: one command, one call. The only place that prints, reads argv and exits; heavy imports wait
inside.

In    argv, CXRSCORE_* environment variables, params.yaml.
Out   results on stdout or in files, progress on stderr, exit codes 0 done, 2 mend the call, 3 done with
      quarantined files.
"""

import json
import shlex
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cxrscore import __version__

if TYPE_CHECKING:
    from cxrscore.terminal import Terminal

app = typer.Typer(
    name="cxrscore",
    help="Score folders of chest radiographs with fold models trained here; every step versioned with DVC.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(help="The project's data.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(data_app, name="data")

LabelsCsv = Annotated[Path, typer.Option("--labels", help="Label table.")]
Images = Annotated[Path, typer.Option("--images", help="Folder that the label table's names are in.")]
Out = Annotated[Path, typer.Option("--out", help="Folder of the pipeline's outputs.")]
ParamsFile = Annotated[Path, typer.Option("--params", help="Settings of the pipeline.")]
Device = Annotated[str, typer.Option("--device", envvar="CXRSCORE_DEVICE", help="auto, cpu, cuda or cuda:N.")]
Dtype = Annotated[str, typer.Option("--dtype", envvar="CXRSCORE_DTYPE", help="auto, fp32, bf16 or fp16.")]
Workers = Annotated[
    int, typer.Option("--workers", envvar="CXRSCORE_WORKERS", min=0, max=256, help="Decoders at work.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
LABELS, IMAGES, OUT, PARAMS = Path("data/labels.csv"), Path("data/images"), Path("out"), Path("params.yaml")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    pass


@app.command()
def prepare(
    labels: LabelsCsv = LABELS,
    images: Images = IMAGES,
    out: Out = OUT,
    params: ParamsFile = PARAMS,
    workers: Workers = 2,
) -> None:
    """Decode every labelled image once to S x S and store it.

    Example: cxrscore prepare
    """
    from cxrscore.layout import Layout
    from cxrscore.params import read_params
    from cxrscore.prepare import prepare

    settings = read_params(params)
    with _progress() as progress:
        notes = prepare(
            labels,
            images,
            Layout(out).prepared,
            labels=settings.labels,
            params=settings.prepare,
            workers=workers,
            progress=progress,
        )
    _tell(notes)


@app.command()
def folds(labels: LabelsCsv = LABELS, out: Out = OUT, params: ParamsFile = PARAMS) -> None:
    """Give each patient, or each image, the fold that validates it; balanced over findings and pairs.

    Example: cxrscore folds
    """
    from cxrscore.folds import make_folds
    from cxrscore.layout import Layout
    from cxrscore.params import read_params

    settings, layout = read_params(params), Layout(out)
    _tell(
        make_folds(
            labels,
            layout.prepared / "index.csv",
            layout.folds,
            layout.balance,
            labels=settings.labels,
            params=settings.folds,
        )
    )


@app.command()
def train(
    fold: Annotated[int, typer.Option("--fold", min=0, help="The fold to validate on.")],
    labels: LabelsCsv = LABELS,
    out: Out = OUT,
    params: ParamsFile = PARAMS,
    device: Device = "auto",
    dtype: Dtype = "auto",
) -> None:
    """Train one fold's model; write its checkpoint and its out-of-fold table.

    Example: cxrscore train --fold 0
    """
    from cxrscore.layout import Layout
    from cxrscore.params import read_params

    settings = read_params(params)  # a wrong word costs no import of torch

    from cxrscore.machine import choose_machine
    from cxrscore.train import train_fold

    with _progress() as progress:
        train_fold(
            fold,
            labels_csv=labels,
            layout=Layout(out),
            labels=settings.labels,
            params=settings.train,
            machine=choose_machine(device, dtype),
            progress=progress,
        )


@app.command()
def evaluate(
    scores: Annotated[
        Path | None, typer.Option("--scores", help="Any score table; else the out-of-fold ones.")
    ] = None,
    labels: LabelsCsv = LABELS,
    out: Out = OUT,
    params: ParamsFile = PARAMS,
    as_json: AsJson = False,
) -> None:
    """Measure scores against labels: area under the ROC curve by finding, and their mean.

    Example: cxrscore evaluate --scores sub.csv --labels data/test_labels.csv
    """
    from cxrscore.evaluate import evaluate, evaluate_table
    from cxrscore.layout import Layout
    from cxrscore.params import read_params

    if scores is None:
        settings = read_params(params)
        metrics, notes = evaluate(labels, Layout(out), labels=settings.labels, folds=settings.folds.train)
    else:
        declared = read_params(params).labels if params.exists() else None
        metrics, notes = evaluate_table(scores, labels, labels=declared)
    _tell(notes)
    typer.echo(json.dumps(metrics, indent=1) if as_json else _metrics_text(metrics))


@app.command()
def report(out: Out = OUT, params: ParamsFile = PARAMS) -> None:
    """Write out/report.html: the metrics, the training curves, the folds, and what the head learned.

    Example: cxrscore report
    """
    from cxrscore.layout import Layout
    from cxrscore.params import read_params
    from cxrscore.report import write_report

    layout = Layout(out)
    write_report(layout, folds=read_params(params).folds.train)
    typer.echo(layout.report)


@app.command()
def score(
    folder: Annotated[Path, typer.Argument(help="Folder of radiographs, read recursively.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The table to write.")],
    models: Annotated[Path, typer.Option("--models", help="Folder of fold checkpoints.")] = OUT / "models",
    template: Annotated[
        Path | None,
        typer.Option("--template", help="A sample submission: its rows, order and columns are kept."),
    ] = None,
    id_kind: Annotated[
        Literal["relpath", "name", "stem"], typer.Option("--id", help="What names a row.")
    ] = "relpath",
    folds: Annotated[str | None, typer.Option("--folds", help="Use these folds only, such as 0,2.")] = None,
    views: Annotated[
        Literal["flip", "none"], typer.Option("--views", help="Average with the mirror image or not.")
    ] = "flip",
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, max=4096, help="Images a forward.")] = 16,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
    follow_symlinks: Annotated[
        bool, typer.Option("--follow-symlinks", help="Follow links that lead out of the folder.")
    ] = False,
    on_error: Annotated[
        Literal["quarantine", "fail", "fill"],
        typer.Option(
            "--on-error", help="A file that cannot be scored: no row, no table, or the prevalences."
        ),
    ] = "quarantine",
    workers: Workers = 2,
    device: Device = "auto",
    dtype: Dtype = "auto",
) -> None:
    """Write one row of probabilities for each radiograph in a folder: the mean over flips and folds.

    Files that cannot be read are named in OUTPUT.errors.csv, and the exit code is 3.

    Example: cxrscore score data/test --template data/sample_submission.csv -o sub.csv
    """
    chosen = _fold_list(folds)

    from cxrscore.machine import choose_machine
    from cxrscore.score import Options, score

    options = Options(
        template=template,
        id_kind=id_kind,
        folds=chosen,
        flip=views == "flip",
        batch_size=batch_size,
        workers=workers,
        overwrite=overwrite,
        follow_symlinks=follow_symlinks,
        on_error=on_error,
    )
    with _progress() as progress:
        machine = choose_machine(device, dtype)
        outcome = score(folder, output, options, models=models, machine=machine, progress=progress)
    _tell(outcome.notes)
    typer.echo(
        f"{outcome.listed:,} listed = {outcome.scored:,} scored + {len(outcome.quarantined):,} quarantined",
        err=True,
    )
    if outcome.quarantined:
        rows = "hold the training prevalences" if on_error == "fill" else "have no row"
        typer.echo(f"quarantined files {rows}; they are named in {outcome.errors_csv}", err=True)
        raise typer.Exit(3)


@app.command()
def phantom(
    out: Annotated[Path | None, typer.Argument(help="Folder to make; it must not hold anything yet.")] = None,
    images: Annotated[int, typer.Option("--images", min=1, help="How many, test images included.")] = 1000,
    size: Annotated[int, typer.Option("--size", min=32, max=4096, help="Pixels a side, about.")] = 512,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another seed, other patients.")] = 0,
    sheet: Annotated[
        Path | None, typer.Option("--sheet", help="Also draw a contact sheet of the findings, a PNG.")
    ] = None,
    workers: Workers = 2,
) -> None:
    """Make synthetic chest radiographs with labels: no patient, no licence, for trying and measuring.

    Example: cxrscore phantom /tmp/phantoms --images 200 --size 512 --sheet /tmp/sheet.png
    """
    from cxrscore.errors import UserError
    from cxrscore.phantom import contact_sheet, make_phantoms

    if out is None and sheet is None:
        raise UserError("phantom: name a folder to make, or a --sheet to draw.")
    if out is not None:
        make_phantoms(out, images=images, size=size, seed=seed, workers=max(1, workers))
        typer.echo(out)
    if sheet is not None:
        contact_sheet(sheet, size=size, seed=seed)
        typer.echo(sheet)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="The project to make.")],
    labels: Annotated[Path, typer.Option("--labels", help="Label table.")],
    images: Annotated[Path, typer.Option("--images", help="Folder that its names are in.")],
    preset: Annotated[
        Literal["demo", "paper"], typer.Option("--preset", help="Settings to start from.")
    ] = "paper",
) -> None:
    """Make a DVC project for one's own radiographs; images are hard-linked where the file system allows.

    Example: cxrscore init chest --labels labels.csv --images images/ --preset paper
    """
    from cxrscore.project import init_project

    _tell(init_project(folder, labels_csv=labels, images=images, preset=preset))
    typer.echo(f"cd {shlex.quote(str(folder))} && dvc repro")


@data_app.command("use")
def data_use(
    labels: Annotated[Path, typer.Option("--labels", help="Label table.")],
    images: Annotated[Path, typer.Option("--images", help="Folder that its names are in.")],
    project: Annotated[Path, typer.Option("--project", help="The project's folder.")] = Path(),
) -> None:
    """Replace the project's data (the demo's import too) by one's own, and keep its settings in step.

    Example: cxrscore data use --labels labels.csv --images images/
    """
    from cxrscore.project import use_data

    _tell(use_data(project, labels_csv=labels, images=images))


@app.command(hidden=True)
def code(out: Out = OUT) -> None:
    """Write the fingerprint of each stage's code, for projects that use an installed cxrscore.

    Example: cxrscore code
    """
    from cxrscore.project import write_code_fingerprints

    write_code_fingerprints(out / "code")


def _progress() -> "closing[Terminal]":
    from cxrscore.terminal import Terminal

    return closing(Terminal())


def _tell(notes: Iterable[str]) -> None:
    for note in notes:
        typer.echo(f"note: {note}", err=True)


def _fold_list(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    words = text.split(",")
    if not all(word.strip().isdecimal() for word in words) or len({int(word) for word in words}) != len(
        words
    ):
        raise typer.BadParameter(
            f"{text!r}: distinct fold numbers with commas between, such as 0,2", param_hint="--folds"
        )
    return tuple(sorted(int(word) for word in words))


def _metrics_text(metrics: dict[str, Any]) -> str:
    """A table for a person: a finding a line, then the mean and what it rests on."""
    width = max((len(name) for name in metrics["auc"]), default=10)
    lines = [f"{name:<{width}}  {area:.4f}" for name, area in metrics["auc"].items()]
    counts = [f"{metrics[name]:,} {name}" for name in ("images", "patients") if name in metrics]
    macro = _number(metrics)
    lines.append(
        f"{'macro-AUC':<{width}}  {macro}  ({metrics['findings_defined']} findings, {', '.join(counts)})"
    )
    if "flip" in metrics:
        lines.append(f"{'with flip':<{width}}  {_number(metrics['flip'])}")
        lines += [f"{'fold ' + name:<{width}}  {_number(fold)}" for name, fold in metrics["folds"].items()]
    return "\n".join(lines)


def _number(metrics: dict[str, Any]) -> str:
    return f"{metrics['macro_auc']:.4f}" if "macro_auc" in metrics else "undefined"
