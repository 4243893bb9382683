"""The door: one command, one call. The only place that prints, reads argv and exits; heavy imports wait
inside.

In    argv, CXRSCORE_* environment variables, params.yaml.
Out   results on stdout or in files, progress on stderr; exit codes 0 done, 1 does not match (verify), 2 mend
      the call, 3 done with quarantined files, 4 stopped and resumable, 5 another run holds the output,
      130 and 143 interrupted and resumable.
"""

import json
import os
import shlex
import sys
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

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
Models = Annotated[Path, typer.Option("--models", help="Folder of fold checkpoints.")]
Root = Annotated[
    Path | None, typer.Option("--root", help="Folder that a CSV's paths are under; else its own.")
]
PathColumn = Annotated[str | None, typer.Option("--path-column", help="A CSV's column of paths.")]
Source = Annotated[
    str, typer.Argument(help="Folder, quoted pattern, CSV of paths, .tar or .zip of radiographs.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")]
BatchSize = Annotated[
    int | None,
    typer.Option("--batch-size", min=1, max=4096, help="Images a forward; else 16, on a GPU 256."),
]
Size = Annotated[int, typer.Option("--size", min=32, max=4096, help="Pixels a side to decode to.")]
FollowSymlinks = Annotated[
    bool, typer.Option("--follow-symlinks", help="Follow links that lead out of the folder.")
]
Timeout = Annotated[float, typer.Option("--timeout-s", min=0.1, help="Seconds that one file may take.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
CORES = min(16, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
TRAIN_PATIENCE_S = 8.0  # a step on a CPU may take a minute; who presses Ctrl-C waits no ten seconds
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
    workers: Workers = CORES,
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
    fresh: Annotated[bool, typer.Option("--fresh", help="Do not go on with a run that was stopped.")] = False,
    state_every_s: Annotated[
        float, typer.Option("--state-every-s", min=0, help="Seconds of work that a kill may cost.")
    ] = 120.0,
    gpus: Annotated[
        int, typer.Option("--gpus", min=1, max=64, help="Processes that share each batch, one a GPU.")
    ] = 1,
    compile_model: Annotated[
        bool, typer.Option("--compile", help="Compile the model: a minute or two, then faster steps.")
    ] = False,
    checkpointing: Annotated[
        bool, typer.Option("--checkpointing", help="Compute activations twice, and keep a fraction of them.")
    ] = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
) -> None:
    """Train one fold's model; write its checkpoint and its out-of-fold table.

    A run that was stopped or killed goes on when the same command is given again. With --device cpu, --gpus
    counts processes on the CPU; `torchrun --nproc-per-node 4 -m cxrscore train` works, too.

    Example: cxrscore train --fold 0
    """
    from cxrscore.layout import Layout
    from cxrscore.params import read_params

    settings = read_params(params)  # a wrong word costs no import of torch

    from cxrscore.errors import Stopped
    from cxrscore.machine import choose_machine
    from cxrscore.progress import Silent
    from cxrscore.signals import asked_to_stop
    from cxrscore.train import Keeping, train_fold
    from cxrscore.training.launch import Ended, launch
    from cxrscore.training.ranks import check_devices, joined, local_device

    try:
        if gpus > 1 and "RANK" not in os.environ:
            check_devices(device, gpus)
            return launch(sys.argv[1:], gpus)
        how = {"compile": compile_model, "checkpointing": checkpointing}
        machine = choose_machine(local_device(device), dtype, **how)
        with (
            asked_to_stop(TRAIN_PATIENCE_S, _last_words) as asked,
            joined(machine) as world,
            _progress() as progress,
        ):
            train_fold(
                fold,
                labels_csv=labels,
                layout=Layout(out),
                params=settings,
                machine=machine,
                progress=progress if world.first else Silent(),
                keeping=Keeping(state_every_s, fresh),
                world=world,
                asked=asked,
            )
    except Ended as ended:
        raise typer.Exit(ended.code) from ended
    except Stopped as stopped:
        if os.environ.get("RANK", "0") == "0":  # the first process says it, or its launcher
            _say(f"{stopped}. This goes on with it:")
            _say(_training_command())
        raise typer.Exit(stopped.code) from stopped


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
    source: Source,
    output: Annotated[Path, typer.Option("--output", "-o", help="The table to write.")],
    models: Models = OUT / "models",
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
            help="Average over these, such as plain,flip,zoom,zoom_flip; else as trained. flip: plain,flip; "
            "none: plain.",
        ),
    ] = None,
    level: Annotated[
        Literal["image", "study"], typer.Option("--level", help="study: the mean over a study's images.")
    ] = "image",
    table_format: Annotated[
        Literal["csv", "parquet"] | None,
        typer.Option("--format", help="Of the table; else what OUTPUT's suffix says."),
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
        typer.Option("--max-errors", min=0, help="Stop beyond so many; else 1 % of the files, at least 10."),
    ] = None,
    overwrite: Overwrite = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
    follow_symlinks: FollowSymlinks = False,
    batch_size: BatchSize = None,
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
    chosen, averaged = _fold_list(folds), _view_list(views)

    from cxrscore.errors import Stopped
    from cxrscore.score import score
    from cxrscore.scoring.options import Options
    from cxrscore.scoring.recipe import choose_scoring_machine

    options = Options(
        template=template,
        id_kind=id_kind,
        root=root,
        path_column=path_column,
        study_column=study_column,
        follow_symlinks=follow_symlinks,
        folds=chosen,
        views=averaged,
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
        format=_format(output, table_format),
        std=std,
        csv_safe=csv_safe,
    )
    try:
        with _progress() as progress:
            machine = choose_scoring_machine(device, dtype)
            outcome = score(source, output, options, models=models, machine=machine, progress=progress)
    except Stopped as stopped:
        _say(f"{stopped}. This goes on with it:")
        _say(_resuming_command(stopped.words))
        raise typer.Exit(stopped.code) from stopped
    _tell(outcome.notes)
    _say(f"{outcome.listed:,} listed = {outcome.scored:,} scored + {outcome.quarantined:,} quarantined")
    if outcome.quarantined:
        rows = "hold the training prevalences" if on_error == "fill" else "have no row"
        _say(f"quarantined files {rows}; they are named in {outcome.errors_csv}")
        raise typer.Exit(3)


@app.command()
def check(
    source: Source,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the faults to this table.")
    ] = None,
    size: Size = 380,
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
    with _progress() as progress:
        found = check(
            source,
            size=size,
            workers=workers,
            timeout_s=timeout_s,
            follow_symlinks=follow_symlinks,
            root=root,
            path_column=path_column,
            exclude=[output] if output else [],
            progress=progress,
        )
    if output is not None:
        write_findings(output, found)
    _tell(found.notes)
    facts = found.as_json()
    typer.echo(json.dumps(facts, indent=1) if as_json else _facts_text(facts))
    if found.faults:
        _say("first: " + "; ".join(f"{path} ({kind}: {why})" for path, _, kind, why in found.faults[:5]))
        raise typer.Exit(3)


@app.command()
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

    with _progress() as progress:
        listed = {"root": root, "path_column": path_column, "follow_symlinks": follow_symlinks}
        verdicts = list(verify(table, models=models, source=source, listed=listed, progress=progress))
    for verdict in verdicts:
        typer.echo(f"{'NO ' if verdict.faults else 'yes'} {verdict.question}")
        for fault in verdict.faults:
            typer.echo(f"    {fault}")
    if any(verdict.faults for verdict in verdicts):
        raise typer.Exit(1)


@app.command()
def phantom(
    out: Annotated[Path | None, typer.Argument(help="Folder to make; it must not hold anything yet.")] = None,
    images: Annotated[int, typer.Option("--images", min=1, help="How many, test images included.")] = 1000,
    size: Annotated[int, typer.Option("--size", min=32, max=4096, help="Pixels a side, about.")] = 512,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another seed, other patients.")] = 0,
    sheet: Annotated[
        Path | None, typer.Option("--sheet", help="Also draw a contact sheet of the findings, a PNG.")
    ] = None,
    workers: Workers = CORES,
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
def bench(
    what: Annotated[
        Literal["all", "decode", "forward", "score", "train", "step-memory"],
        typer.Argument(help="What to measure."),
    ] = "all",
    images: Annotated[
        Path | None, typer.Option("--images", help="Radiographs to decode; else phantoms of 2,500 px.")
    ] = None,
    files: Annotated[
        int | None, typer.Option("--files", min=1, help="How many; else 32, to train on 128, on a GPU 768.")
    ] = None,
    size: Annotated[
        int | None,
        typer.Option("--size", min=32, max=4096, help="Pixels a side; else 380, to train on a CPU 96."),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option("--backbone", help="timm's name; else seresnext101_32x4d, to train on a CPU resnet10t."),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size",
            min=1,
            max=4096,
            help="Images a forward, else 16, on a GPU 256; or a step, else 32, 24.",
        ),
    ] = None,
    compile_models: Annotated[
        Literal["auto", "on", "off"],
        typer.Option("--compile", help="off: no compiled forwards; on: compiled training too."),
    ] = "auto",
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Turns that each way is timed.")] = 5,
    workers: Workers = CORES,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: AsJson = False,
) -> None:
    """Measure this machine: decoding, forwards, scoring and training against what people write by hand.

    All ways take turns in one process; a ratio is the median over rounds. `score --compile auto` recalls what
    `bench forward` has measured. It takes some minutes.

    Example: cxrscore bench forward --json
    """
    from cxrscore.bench import as_text, bench

    words = {"images": images, "files": files, "size": size, "backbone": backbone, "batch_size": batch_size}
    asked = {name: value for name, value in words.items() if value is not None}
    asked |= {"compile": compile_models, "workers": workers, "rounds": rounds}
    with _progress() as progress:
        result = bench(what, asked, device=device, dtype=dtype, progress=progress)
    typer.echo(json.dumps(result, indent=1) if as_json else as_text(result))


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="The project to make.")],
    labels: Annotated[Path, typer.Option("--labels", help="Label table.")],
    images: Annotated[Path, typer.Option("--images", help="Folder that its names are in.")],
    preset: Annotated[
        Literal["demo", "paper", "strong"], typer.Option("--preset", help="Settings to start from.")
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


def _facts_text(facts: dict[str, object]) -> str:
    """A fact a line; of a dictionary, an entry a line."""
    lines = []
    for name, fact in facts.items():
        if isinstance(fact, dict):
            lines += [f"  {kind} {count:,}" for kind, count in fact.items()]
        elif fact is not None:
            lines.append(f"{name.replace('_', ' ')} {fact:,}")
    return "\n".join(lines)


def _say(line: str) -> None:
    with suppress(OSError, AttributeError):  # stderr may be closed: the exit code still speaks
        typer.echo(line, err=True)


def _resuming_command(more: Iterable[str]) -> str:
    """This very call with --resume in place of --overwrite, and `more` options."""
    words = [word for word in sys.argv[1:] if word not in ("--overwrite", "--resume")]
    end = words.index("--") if "--" in words else len(words)
    return shlex.join(["cxrscore", *words[:end], "--resume", *more, *words[end:]])


def _training_command() -> str:
    """What goes on with this training: the stage, where DVC called it, else this very call."""
    stage = os.environ.get("DVC_STAGE")
    words = [word for word in sys.argv[1:] if word != "--fresh"]
    return shlex.join(["dvc", "repro", stage] if stage else ["cxrscore", *words])


def _last_words(number: int) -> None:
    if os.environ.get("RANK", "0") == "0":
        _say("stopped within a step; the state kept last stands. This goes on with it:")
        _say(_training_command())


def _tell(notes: Iterable[str]) -> None:
    for note in notes:
        _say(f"note: {note}")


def _format(output: Path, asked: str | None) -> str:
    """What was asked for, else what the name says; they may not contradict one another."""
    named = {".parquet": "parquet", ".csv": "csv"}.get(output.suffix)
    if asked and named and asked != named:
        raise typer.BadParameter(f"{asked}, but the output is called {output.name}", param_hint="--format")
    return asked or named or "csv"


def _fold_list(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    words = text.split(",")
    numbers = {int(word) for word in words if word.strip().isdecimal() and len(word) < 10}
    if len(numbers) != len(words):
        raise typer.BadParameter(
            f"{text!r}: distinct fold numbers with commas between, such as 0,2", param_hint="--folds"
        )
    return tuple(sorted(numbers))


def _view_list(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None

    from cxrscore.params import View

    names = tuple({"flip": "plain,flip", "none": "plain"}.get(text, text).split(","))
    if names[0] != "plain" or len(set(names)) != len(names) or not set(names) <= set(get_args(View)):
        raise typer.BadParameter(
            f"{text!r}: distinct names of {', '.join(get_args(View))}, plain first, with commas between",
            param_hint="--views",
        )
    return names


def _metrics_text(metrics: dict[str, Any]) -> str:
    """A table for a person: a finding a line, then the mean and what it rests on."""
    width = max((len(name) for name in metrics["auc"]), default=10)
    lines = [f"{name:<{width}}  {area:.4f}" for name, area in metrics["auc"].items()]
    counts = [f"{metrics[name]:,} {name}" for name in ("images", "patients") if name in metrics]
    macro = _number(metrics)
    lines.append(
        f"{'macro-AUC':<{width}}  {macro}  ({metrics['findings_defined']} findings, {', '.join(counts)})"
    )
    means = {"with all views": "views", "study means": "study"}
    parts = {words: metrics[name] for words, name in means.items() if name in metrics}
    parts |= {f"fold {name}": fold for name, fold in metrics.get("folds", {}).items()}
    lines += [f"{words:<{width}}  {_number(part)}" for words, part in parts.items()]
    return "\n".join(lines)


def _number(metrics: dict[str, Any]) -> str:
    return f"{metrics['macro_auc']:.4f}" if "macro_auc" in metrics else "undefined"
