"""Commands that make a project or change its data, and phantoms to fill one with.

In    a label table and a folder of images; for phantoms how many, how large and which seed.
Out   a DVC project, a project's new data, or a folder of synthetic radiographs with their labels.
"""

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cxrscore.cli.messages import shell_words, tell, tell_warnings
from cxrscore.cli.options import CORES, INPUT, DrawingWorkers, LabelsCsv
from cxrscore.cli.terminal import print_lines

if TYPE_CHECKING:
    from cxrscore.project.create import Source

COLUMNS, POLICIES = "Columns of the label table", "Labels and patients"

OwnImages = Annotated[
    Path,
    typer.Option("--images", help="Folder of the images named in the label table.", rich_help_panel=INPUT),
]
Id = Annotated[
    str | None,
    typer.Option("--id", help="Column that names the images (default: detected).", rich_help_panel=COLUMNS),
]
Patient = Annotated[
    str | None,
    typer.Option("--patient", help="Column of patients (default: detected).", rich_help_panel=COLUMNS),
]
PatientPattern = Annotated[
    str | None,
    typer.Option(
        "--patient-pattern",
        help="Regular expression that finds the patient in a file name, such as '^([0-9]+)_'.",
        rich_help_panel=COLUMNS,
    ),
]
Study = Annotated[
    str | None,
    typer.Option("--study", help="Column of studies (default: detected).", rich_help_panel=COLUMNS),
]
Findings = Annotated[
    str | None,
    typer.Option(
        "--findings",
        help="Columns that are findings, such as 'Edema,Lung Lesion' (default: detected).",
        rich_help_panel=COLUMNS,
    ),
]
Blank = Annotated[
    Literal["zero", "ignore", "error"] | None,
    typer.Option(
        "--blank",
        help="Meaning of a blank label: 0, not used, or an error (default: as in the settings).",
        rich_help_panel=POLICIES,
    ),
]
Uncertain = Annotated[
    Literal["zero", "one", "ignore", "error"] | None,
    typer.Option(
        "--uncertain",
        help="Meaning of the label -1: 0, 1, not used, or an error (default: as in the settings).",
        rich_help_panel=POLICIES,
    ),
]
Readers = Annotated[
    Literal["error", "majority", "any", "mean"] | None,
    typer.Option(
        "--readers",
        help="How several rows of the same image are combined (default: as in the settings).",
        rich_help_panel=POLICIES,
    ),
]
PatientIds = Annotated[
    Literal["text", "number", "distinct"] | None,
    typer.Option(
        "--patient-ids",
        help="Whether 2 and 0002 are the same patient: number says yes, distinct says no, text refuses such "
        "a table (default: as in the settings).",
        rich_help_panel=POLICIES,
    ),
]
TestLabels = Annotated[
    Path | None,
    typer.Option(
        "--test-labels",
        help="Label table of a held-out test (default: no test).",
        rich_help_panel=INPUT,
    ),
]
TestImages = Annotated[
    Path | None,
    typer.Option(
        "--test-images",
        help="Folder of the images of the held-out test (default: no test).",
        rich_help_panel=INPUT,
    ),
]
Link = Annotated[
    bool,
    typer.Option(
        "--link/--copy",
        help="Link the images (the originals become read-only), or copy them.",
        rich_help_panel=INPUT,
    ),
]


def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of the new project.")],
    labels: LabelsCsv,
    images: OwnImages,
    preset: Annotated[
        Literal["demo", "paper", "strong", "lamp", "a-gcn", "salgl"],
        typer.Option("--preset", help="Settings to start from.", rich_help_panel=INPUT),
    ] = "paper",
    id: Id = None,
    patient: Patient = None,
    patient_pattern: PatientPattern = None,
    study: Study = None,
    findings: Findings = None,
    blank: Blank = None,
    uncertain: Uncertain = None,
    readers: Readers = None,
    patient_ids: PatientIds = None,
    test_labels: TestLabels = None,
    test_images: TestImages = None,
    link: Link = False,
) -> None:
    """Make a DVC project for your own radiographs.

    The settings are written to params.yaml, the stages to dvc.yaml; `dvc repro` then runs them.

    Example: cxrscore init chest --labels labels.csv --images images/ --preset paper
    """
    from cxrscore.project.create import init_project

    columns = (id, patient, patient_pattern, study, findings)
    policies = {"blank": blank, "uncertain": uncertain, "readers": readers, "patient_ids": patient_ids}
    test = _test_source(test_labels, test_images, link=link)
    source = _source(labels, images, columns, policies, test, link=link)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that nothing is left behind
    outcome = init_project(folder, source, preset=preset, say=lambda note: tell([note]))
    tell(outcome.notes)
    where = f"cd {shell_words([str(folder)])}"
    tell([f"all files are staged; `dvc exp run` needs them committed: {where} && git commit -m start -- ."])
    _say_next(where, outcome.hindrances)


def data_use(
    labels: LabelsCsv,
    images: OwnImages,
    project: Annotated[
        Path, typer.Option("--project", help="Folder of the project.", rich_help_panel=INPUT)
    ] = Path(),
    id: Id = None,
    patient: Patient = None,
    patient_pattern: PatientPattern = None,
    study: Study = None,
    findings: Findings = None,
    blank: Blank = None,
    uncertain: Uncertain = None,
    readers: Readers = None,
    patient_ids: PatientIds = None,
    test_labels: TestLabels = None,
    test_images: TestImages = None,
    link: Link = False,
) -> None:
    """Replace the data of a project with your own.

    The settings that depend on the data, such as the findings, are updated in params.yaml.

    Example: cxrscore data use --labels labels.csv --images images/
    """
    from cxrscore.project.create import use_data

    columns = (id, patient, patient_pattern, study, findings)
    policies = {"blank": blank, "uncertain": uncertain, "readers": readers, "patient_ids": patient_ids}
    test = _test_source(test_labels, test_images, link=link)
    source = _source(labels, images, columns, policies, test, link=link)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    outcome = use_data(project, source, say=lambda note: tell([note]))
    tell(outcome.notes)
    _say_next(f"cd {shell_words([str(project)])}", outcome.hindrances)


def _source(
    labels: Path,
    images: Path,
    columns: tuple[str | None, ...],
    policies: Mapping[str, str | None],
    test: "Source | None",
    *,
    link: bool,
) -> "Source":
    from cxrscore.project.create import Source
    from cxrscore.tables.datasets.describe import Said, listed

    id, patient, patient_pattern, study, findings = columns
    said = Said(id, patient, patient_pattern, study, listed(findings or ""))
    declared = {key: value for key, value in policies.items() if value is not None}
    return Source(labels, images, said, declared, link, test)


def _test_source(labels: Path | None, images: Path | None, *, link: bool) -> "Source | None":
    from cxrscore.core.errors import UserError
    from cxrscore.project.create import Source

    if labels is None and images is None:
        return None
    if labels is None or images is None:
        raise UserError("--test-labels and --test-images: give both, the held-out images and their labels.")
    return Source(labels, images, link=link)


def _say_next(where: str, hindrances: list[str]) -> None:
    """`dvc repro` is named only if it would run."""
    if hindrances:
        tell_warnings(f"`dvc repro` would fail: {hindrance}" for hindrance in hindrances)
        print_lines(where)
    else:
        print_lines(f"{where} && dvc repro")


def phantom(
    out: Annotated[
        Path | None,
        typer.Argument(metavar="OUTPUT", help="Folder to write to; it must be new or empty."),
    ] = None,
    images: Annotated[
        int, typer.Option("--images", min=1, help="Number of images, test images included.")
    ] = 1000,
    size: Annotated[
        int, typer.Option("--size", min=32, max=4096, help="Pixels per side, approximately.")
    ] = 512,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed; each one gives other patients.")] = 0,
    sheet: Annotated[
        Path | None,
        typer.Option("--sheet", help="Also draw a contact sheet of the findings to this PNG file."),
    ] = None,
    workers: DrawingWorkers = CORES,
) -> None:
    """Make synthetic chest radiographs with labels.

    They show no real patient and need no licence: for trying cxrscore out and for measuring it.

    Example: cxrscore phantom /tmp/phantoms --images 200 --size 512 --sheet /tmp/sheet.png
    """
    from cxrscore.core.errors import UserError
    from cxrscore.phantom import contact_sheet, make_phantoms

    if out is None and sheet is None:
        raise UserError("phantom: name a folder to write to, or a --sheet to draw.")
    if out is not None:
        make_phantoms(out, images=images, size=size, seed=seed, workers=max(1, workers))
        print_lines(str(out))
    if sheet is not None:
        contact_sheet(sheet, size=size, seed=seed)
        print_lines(str(sheet))
