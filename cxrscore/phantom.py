"""Synthetic chest radiographs, each finding drawn as its sign: data for a demo, for tests and benchmarks.

In    a folder that does not exist yet (or is empty), a number of images, their size, a seed.
Out   out/images/*.jpg, labels.csv            patients to train on
      out/test/*.jpg, sample_submission.csv   other patients, in an order that is not sorted
      out/test_labels.csv                     what is true of them
Files, names and columns have the Grand X-Ray SLAM shape. An image depends on (seed, patient, study, image)
alone.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cxrscore.core.errors import UserError
from cxrscore.core.files import write_bytes
from cxrscore.core.python_processes import call_in_processes
from cxrscore.phantoms.cohort import Study, draw_cohort
from cxrscore.phantoms.contact_sheet import contact_sheet
from cxrscore.phantoms.radiograph import encode, picture
from cxrscore.tables.csv_table import write_table
from cxrscore.tables.datasets.chexpert import FINDINGS

__all__ = ["contact_sheet", "make_phantoms", "write_pictures"]

ID = "Image_name"
COLUMNS = (ID, "Patient_ID", "Study", "Sex", "Age", "ViewCategory", "ViewPosition", *FINDINGS)


def make_phantoms(
    out: Path, *, images: int, size: int, seed: int, test_share: float = 0.2, workers: int = 1
) -> None:
    """Write `images` radiographs of about `size` x `size` px and their tables, or raise UserError."""
    _check(out, images=images, size=size, seed=seed, test_share=test_share, workers=workers)
    studies = draw_cohort(seed, images=images, test_share=test_share)
    parts = min(workers, len(studies))
    cohort = {"out": str(out), "images": images, "size": size, "seed": seed, "test_share": test_share}
    calls: list[dict[str, Any]] = [{**cohort, "part": part, "parts": parts} for part in range(parts)]
    if parts == 1:
        write_pictures(**calls[0])
    else:
        call_in_processes("cxrscore.phantom:write_pictures", calls)
    train, test = (sorted(_rows(studies, test=part)) for part in (False, True))
    order = np.random.default_rng([seed, images]).permutation(len(test))
    write_table(out / "test_labels.csv", COLUMNS, test)
    write_table(
        out / "sample_submission.csv", (ID, *FINDINGS), [(test[i][0], *[0] * len(FINDINGS)) for i in order]
    )
    write_table(out / "labels.csv", COLUMNS, train)


def write_pictures(
    out: str, *, images: int, size: int, seed: int, test_share: float, part: int, parts: int
) -> None:
    """Of the cohort's studies every `parts`-th, from `part` on: what one of several processes draws."""
    for study in draw_cohort(seed, images=images, test_share=test_share)[part::parts]:
        _write_study(study, out=Path(out), size=size, seed=seed)


def _check(out: Path, *, images: int, size: int, seed: int, test_share: float, workers: int) -> None:
    if images < 1:
        raise UserError(f"--images {images}: at least 1 image can be made.")
    if size < 32:
        raise UserError(f"--size {size}: a radiograph needs at least 32 px.")
    if seed < 0:
        raise UserError(f"--seed {seed}: a seed is 0 or more.")
    if workers < 1:
        raise UserError(f"--workers {workers}: at least 1 process has to work.")
    if not 0 <= test_share < 1:
        raise UserError(
            f"--test-share {test_share}: the share of patients to test on is at least 0 and below 1."
        )
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file; name a folder that does not exist yet.")
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out}: is not empty, and nothing in it is replaced; name a new folder.")


def _write_study(study: Study, *, out: Path, size: int, seed: int) -> None:
    folder = out / ("test" if study.test else "images")
    for image in range(1, len(study.positions) + 1):
        write_bytes(folder / _name(study, image), encode(picture(study, image, size=size, seed=seed)))


def _name(study: Study, image: int) -> str:
    return f"{study.patient:08d}_{study.number:03d}_{image:03d}.jpg"


def _rows(studies: list[Study], *, test: bool) -> Iterator[tuple[object, ...]]:
    for study in studies:
        for image, position in enumerate(study.positions, start=1):
            if study.test == test:
                category = "Lateral" if position == "Lateral" else "Frontal"
                who = (f"{study.patient:08d}", f"{study.number:03d}", study.sex, study.age)
                yield (_name(study, image), *who, category, position, *study.y)
