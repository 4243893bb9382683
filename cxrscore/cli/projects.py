"""Commands that make a project or change its data, and phantoms to fill one with.

In    a label table and a folder of images; for phantoms how many, how large and which seed.
Out   a DVC project, a project's new data, or a folder of synthetic radiographs with their labels.
"""

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cxrscore.cli.messages import shell_words, tell
from cxrscore.cli.options import CORES, LabelsCsv, Workers
from cxrscore.cli.terminal import print_lines

if TYPE_CHECKING:
    from cxrscore.project.create import Source

OwnImages = Annotated[Path, typer.Option("--images", help="Folder that its names are in.")]
Id = Annotated[str | None, typer.Option("--id", help="Column that names the images.")]
Patient = Annotated[str | None, typer.Option("--patient", help="Column of patients.")]
PatientPattern = Annotated[
    str | None, typer.Option("--patient-pattern", help="Patient in a file's name, such as '^([0-9]+)_'.")
]
Study = Annotated[str | None, typer.Option("--study", help="Column of studies.")]
Findings = Annotated[
    str | None, typer.Option("--findings", help="Columns that are findings, such as 'Edema,Lung Lesion'.")
]
Blank = Annotated[
    Literal["zero", "ignore", "error"] | None, typer.Option("--blank", help="What a blank label means.")
]
Uncertain = Annotated[
    Literal["zero", "one", "ignore", "error"] | None,
    typer.Option("--uncertain", help="What a label of -1 means."),
]
Readers = Annotated[
    Literal["error", "majority", "any", "mean"] | None,
    typer.Option("--readers", help="What several rows of an image give."),
]
PatientIds = Annotated[
    Literal["text", "number", "distinct"] | None,
    typer.Option("--patient-ids", help="Whether 2 and 0002 are one patient."),
]
Link = Annotated[
    bool,
    typer.Option("--link/--copy", help="Link images (originals become read-only), or copy them."),
]


def init(
    folder: Annotated[Path, typer.Argument(help="The project to make.")],
    labels: LabelsCsv,
    images: OwnImages,
    preset: Annotated[
        Literal["demo", "paper", "strong"], typer.Option("--preset", help="Settings to start from.")
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
    link: Link = False,
) -> None:
    """Make a DVC project for one's own radiographs.

    Example: cxrscore init chest --labels labels.csv --images images/ --preset paper
    """
    from cxrscore.project.create import init_project

    columns = (id, patient, patient_pattern, study, findings)
    policies = {"blank": blank, "uncertain": uncertain, "readers": readers, "patient_ids": patient_ids}
    source = _source(labels, images, columns, policies, link=link)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that nothing is left behind
    outcome = init_project(folder, source, preset=preset, say=lambda note: tell([note]))
    tell(outcome.notes)
    where = f"cd {shell_words([str(folder)])}"
    tell([f"all is staged, and `dvc exp run` needs it committed: {where} && git commit -m start -- ."])
    _say_next(where, outcome.hindrances)


def data_use(
    labels: LabelsCsv,
    images: OwnImages,
    project: Annotated[Path, typer.Option("--project", help="The project's folder.")] = Path(),
    id: Id = None,
    patient: Patient = None,
    patient_pattern: PatientPattern = None,
    study: Study = None,
    findings: Findings = None,
    blank: Blank = None,
    uncertain: Uncertain = None,
    readers: Readers = None,
    patient_ids: PatientIds = None,
    link: Link = False,
) -> None:
    """Replace the project's data by one's own.

    Its settings are kept in step.

    Example: cxrscore data use --labels labels.csv --images images/
    """
    from cxrscore.project.create import use_data

    columns = (id, patient, patient_pattern, study, findings)
    policies = {"blank": blank, "uncertain": uncertain, "readers": readers, "patient_ids": patient_ids}
    source = _source(labels, images, columns, policies, link=link)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    outcome = use_data(project, source, say=lambda note: tell([note]))
    tell(outcome.notes)
    _say_next(f"cd {shell_words([str(project)])}", outcome.hindrances)


def _source(
    labels: Path,
    images: Path,
    columns: tuple[str | None, ...],
    policies: Mapping[str, str | None],
    *,
    link: bool,
) -> "Source":
    from cxrscore.project.create import Source
    from cxrscore.tables.datasets.describe import Said, listed

    id, patient, patient_pattern, study, findings = columns
    said = Said(id, patient, patient_pattern, study, listed(findings or ""))
    declared = {key: value for key, value in policies.items() if value is not None}
    return Source(labels, images, said, declared, link)


def _say_next(where: str, hindrances: list[str]) -> None:
    """`dvc repro` is named only where it runs."""
    if hindrances:
        tell([f"before `dvc repro`: {hindrance}" for hindrance in hindrances])
        print_lines(where)
    else:
        print_lines(f"{where} && dvc repro")


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
    from cxrscore.core.errors import UserError
    from cxrscore.phantom import contact_sheet, make_phantoms

    if out is None and sheet is None:
        raise UserError("phantom: name a folder to make, or a --sheet to draw.")
    if out is not None:
        make_phantoms(out, images=images, size=size, seed=seed, workers=max(1, workers))
        print_lines(str(out))
    if sheet is not None:
        contact_sheet(sheet, size=size, seed=seed)
        print_lines(str(sheet))
