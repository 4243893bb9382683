"""What a seed decides is the same on every processor: cohorts, pictures, folds, prepared pixels, embeddings.

The hashes are what every machine must give. `another_machine` is a second one in this process: each library
function whose last bits, signs or directions are its processor's choice gives another valid answer.
"""

import csv
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import seeds
from conftest import Project
from seeds import DEMO_IMAGES, DEMO_SIZE, GOLDEN, TEST_SHARE

from cxrscore.core.device import Machine
from cxrscore.core.progress import Silent
from cxrscore.images.inputs.folder import list_images
from cxrscore.model.ensemble import checkpoint_paths
from cxrscore.phantom import make_phantoms
from cxrscore.phantoms.cohort import draw_cohort
from cxrscore.phantoms.copula import LATERAL
from cxrscore.phantoms.radiograph import encode, picture
from cxrscore.score import score
from cxrscore.scoring.options import Options
from cxrscore.tables.cooccurrence import label_embeddings
from cxrscore.tables.score_table import read_scores

DEMO = Path(__file__).parents[2] / "cxrscore" / "demo"
SCORES_WITHIN = 1e-5  # of fp32 scores; 1.2e-7 seen: a sum of a few thousand products in another order


class Backwards:
    """What os.scandir found, from its end."""

    def __init__(self, found: Any) -> None:
        self.found = found

    def __enter__(self) -> Any:
        return reversed(list(self.found))

    def __exit__(self, *error: object) -> None:
        self.found.close()

    def __iter__(self) -> Any:
        return reversed(list(self.found))


def moved(values: Any, rng: np.random.Generator) -> Any:
    """Each by an ulp up, down, or not at all; 0 stays, as sin(0) is 0 in every library."""
    array = np.asarray(values)
    towards = rng.choice([-np.inf, 0.0, np.inf], size=array.shape).astype(array.dtype)
    other = np.where((towards == 0) | (array == 0), array, np.nextafter(array, towards))
    return other if array.ndim else array.dtype.type(other)


def turned(vectors: np.ndarray, values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Columns with other signs, and those of equal values in other directions of the same plane."""
    vectors = vectors * rng.choice([-1.0, 1.0], size=vectors.shape[-1])
    rotation = np.array([[0.6, -0.8], [0.8, 0.6]])
    for i in np.flatnonzero(np.abs(np.diff(values)) < 1e-12):
        vectors[:, [i, i + 1]] = vectors[:, [i, i + 1]] @ rotation
    return vectors


def forget() -> None:
    """What the package has computed once and keeps."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "cxrscore":
            for value in vars(module).values():
                if hasattr(value, "cache_clear"):
                    value.cache_clear()


@pytest.fixture
def another_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Signs of vectors flipped, those of equal values rotated, last bits moved."""
    forget()
    rng = np.random.default_rng(0)
    usual_eigh, usual_svd, usual_qr = np.linalg.eigh, np.linalg.svd, np.linalg.qr

    def eigh(matrix: Any) -> Any:
        values, vectors = usual_eigh(matrix)
        return moved(values, rng), moved(turned(vectors, values, rng), rng)

    def svd(matrix: Any) -> Any:
        left, values, right = usual_svd(matrix)
        signs = rng.choice([-1.0, 1.0], size=len(values))
        return moved(left * signs, rng), moved(values, rng), moved(right * signs[:, None], rng)

    def qr(matrix: Any) -> Any:
        q, r = usual_qr(matrix)
        signs = rng.choice([-1.0, 1.0], size=q.shape[1])
        return moved(q * signs, rng), moved(r * signs[:, None], rng)

    def off_by_an_ulp(usual: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **named: moved(usual(*args, **named), rng)

    for name, function in (("eigh", eigh), ("svd", svd), ("qr", qr)):
        monkeypatch.setattr(np.linalg, name, function)
    for name in ("exp", "log", "sin", "cos", "power"):
        monkeypatch.setattr(np, name, off_by_an_ulp(getattr(np, name)))
    yield
    forget()


@pytest.mark.parametrize("what", GOLDEN)
def test_a_seed_gives_the_same_on_every_machine(what: str) -> None:
    make, expected = GOLDEN[what]
    assert make() == expected


@pytest.mark.parametrize("what", GOLDEN)
def test_a_machine_whose_libraries_choose_otherwise_gives_the_same(what: str, another_machine: None) -> None:
    make, expected = GOLDEN[what]
    assert make() == expected


def with_twins(seed: int) -> np.ndarray:
    """Six findings of 60 images: the last three are the first one again, and two others are as common."""
    y = (np.random.default_rng(seed).random((60, 6)) < 0.3).astype(np.int8)
    y[:, 3:] = y[:, :1]
    y[:, 2] = np.roll(y[:, 1], 30)
    return y


def test_embeddings_are_the_same_where_findings_are_equal(request: pytest.FixtureRequest) -> None:
    def found() -> list[bytes]:
        tables = [with_twins(seed) for seed in range(40)]
        return [label_embeddings(y, np.ones(y.shape, dtype=bool), dim=6).tobytes() for y in tables]

    here = found()
    request.getfixturevalue("another_machine")
    assert found() == here


def test_the_other_machine_is_another(another_machine: None) -> None:
    """An eigenvector decides nothing any more; the one that once did has another sign here."""
    matrix = np.diag([1.0, 1.0, 2.0, 3.0, 5.0]) + 0.1
    roots = [
        vectors * np.sqrt(values) for values, vectors in (np.linalg.eigh(matrix), np.linalg.eigh(matrix))
    ]
    assert np.abs(roots[0] - roots[1]).max() > 0.1
    assert (np.exp(np.linspace(0, 1, 100)) != np.exp(np.linspace(0, 1, 100))).any()


def test_the_demo_is_the_cohort_of_seed_0() -> None:
    """Every row of its tables, in their order; `cxrscore phantom` with 1,700 images of 96 px made it."""
    rows = {name: (DEMO / name).read_text(encoding="utf-8") for name in ("labels.csv", "test_labels.csv")}
    drawn = draw_cohort(0, images=DEMO_IMAGES, test_share=TEST_SHARE)
    for name, test in (("labels.csv", False), ("test_labels.csv", True)):
        found = [
            (
                row["Patient_ID"],
                row["Study"],
                row["Sex"],
                row["Age"],
                row["ViewPosition"],
                *list(row.values())[7:],
            )
            for row in csv.DictReader(io.StringIO(rows[name]))
        ]
        expected = [
            (f"{one.patient:08d}", f"{one.number:03d}", one.sex, str(one.age), position, *map(str, one.y))
            for one in drawn
            if one.test == test
            for position in one.positions
        ]
        assert found == expected
        assert len(found) == {False: 1365, True: 335}[test]
    assert all(len(one.y) == LATERAL for one in drawn)


def demo_views() -> list[tuple[Any, int]]:
    """The studies and the numbers of their images, in the order of the tables."""
    studies = draw_cohort(0, images=DEMO_IMAGES, test_share=TEST_SHARE)
    return [(study, number) for study in studies for number in range(1, 1 + len(study.positions))]


def assert_drawn_as_committed(views: list[tuple[Any, int]]) -> None:
    for study, number in views:
        name = f"{study.patient:08d}_{study.number:03d}_{number:03d}.jpg"
        committed = DEMO / ("test" if study.test else "images") / name
        assert encode(picture(study, number, size=DEMO_SIZE, seed=0)) == committed.read_bytes(), name


def test_images_of_the_demo_are_drawn_again_to_the_byte() -> None:
    views = demo_views()
    some = views[::60] + [(study, number) for study, number in views if number > 1][::20]
    assert {study.positions[number - 1] for study, number in some} >= {"PA", "AP", "Lateral"}
    assert_drawn_as_committed(some)


@pytest.mark.slow
@pytest.mark.parametrize("machine", ["this one", "another"])
def test_all_images_of_the_demo_are_drawn_again_to_the_byte(
    machine: str, request: pytest.FixtureRequest
) -> None:
    views = demo_views()
    assert len(views) == DEMO_IMAGES
    if machine == "another":
        request.getfixturevalue("another_machine")
    assert_drawn_as_committed(views)


def test_a_process_in_other_surroundings_gives_the_same() -> None:
    """Another hash seed, locale and time zone, one thread, libjpeg-turbo without SIMD."""
    elsewhere = {"PYTHONHASHSEED": "1", "LC_ALL": "C", "TZ": "Asia/Kathmandu"}
    surroundings = os.environ | elsewhere | {"OMP_NUM_THREADS": "1", "JSIMD_FORCENONE": "1"}
    words = [sys.executable, seeds.__file__]
    done = subprocess.run(words, env=surroundings, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{name}: {expected}" for name, (_, expected) in GOLDEN.items()]


def test_another_processor_gives_the_same_models_rows_almost_the_same_scores(
    project: Project, tmp_path: Path, cpu: Machine
) -> None:
    """The rows, their order and names are the same; sums are rounded in another order."""
    images, models = str(project.data / "test"), project.layout.models
    score(images, tmp_path / "here.csv", Options(workers=0), models=models, machine=cpu, progress=Silent())
    slowest = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}
    words = ["score", images, "--models", str(models), "--dtype", "fp32", "--device", "cpu", "--workers", "0"]
    command = [sys.executable, "-m", "cxrscore", *words, "-o", str(tmp_path / "there.csv")]
    subprocess.run(command, env=os.environ | slowest, capture_output=True, check=True)
    *facts, here, _, _ = read_scores(tmp_path / "here.csv")
    *their_facts, there, _, _ = read_scores(tmp_path / "there.csv")
    assert facts == their_facts
    assert np.abs(here - there).max() < SCORES_WITHIN


def test_the_order_of_a_directory_is_not_the_order_of_a_listing(
    tmp_path: Path, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual_scandir, usual_listdir = os.scandir, os.listdir

    def found() -> Any:
        ensemble = [path.name for path in checkpoint_paths(project.layout.models)]
        return list_images(project.data / "images").paths, ensemble

    here = found()
    monkeypatch.setattr(os, "scandir", lambda path=".": Backwards(usual_scandir(path)))
    monkeypatch.setattr(os, "listdir", lambda path=".": usual_listdir(path)[::-1])
    assert found() == here


def test_the_phantom_command_writes_the_same_tables_and_pictures(tmp_path: Path) -> None:
    make_phantoms(tmp_path / "out", images=12, size=DEMO_SIZE, seed=0)
    for path in (tmp_path / "out").rglob("*.jpg"):
        folder = "test" if (DEMO / "test" / path.name).is_file() else "images"
        assert path.read_bytes() == (DEMO / folder / path.name).read_bytes()
