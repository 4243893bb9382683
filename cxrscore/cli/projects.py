"""Commands that make a project or change its data, and phantoms to fill one with.

In    a label table and a folder of images; for phantoms how many, how large and which seed.
Out   a DVC project, a project's new data, or a folder of synthetic radiographs with their labels.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from cxrscore.cli.options import CORES, LabelsCsv, Workers
from cxrscore.cli.words import shell_words, tell
from cxrscore.terminal import print_lines

OwnImages = Annotated[Path, typer.Option("--images", help="Folder that its names are in.")]


def init(
    folder: Annotated[Path, typer.Argument(help="The project to make.")],
    labels: LabelsCsv,
    images: OwnImages,
    preset: Annotated[
        Literal["demo", "paper", "strong"], typer.Option("--preset", help="Settings to start from.")
    ] = "paper",
) -> None:
    """Make a DVC project for one's own radiographs; images are hard-linked where the file system allows.

    Example: cxrscore init chest --labels labels.csv --images images/ --preset paper
    """
    from cxrscore.project import init_project

    tell(init_project(folder, labels_csv=labels, images=images, preset=preset))
    print_lines(f"cd {shell_words([str(folder)])} && dvc repro")


def data_use(
    labels: LabelsCsv,
    images: OwnImages,
    project: Annotated[Path, typer.Option("--project", help="The project's folder.")] = Path(),
) -> None:
    """Replace the project's data (the demo's import too) by one's own, and keep its settings in step.

    Example: cxrscore data use --labels labels.csv --images images/
    """
    from cxrscore.project import use_data

    tell(use_data(project, labels_csv=labels, images=images))


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
        print_lines(str(out))
    if sheet is not None:
        contact_sheet(sheet, size=size, seed=seed)
        print_lines(str(sheet))
