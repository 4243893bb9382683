"""What a person has in hand on the first day: `init` takes it and `prepare` reads it, or says what to do."""

from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import PRESETS
from hypothesis import HealthCheck, given, settings
from odd_tables import FILES, OddTable, odd_tables
from PIL import Image

from cxrscore.core.errors import UserError
from cxrscore.core.progress import Silent
from cxrscore.folds import make_folds
from cxrscore.images.image_store import open_store
from cxrscore.images.inputs.folder import list_images
from cxrscore.prepare import prepare
from cxrscore.project.create import Source, plan
from cxrscore.project.params import LabelParams
from cxrscore.project.params_file import parse_params
from cxrscore.tables.datasets.describe import Said
from cxrscore.tables.labels import read_labels

SMALL = (PRESETS / "demo.yaml").read_text().replace("k: 3", "k: 2").replace("[0, 1, 2]", "[0, 1]")
SMALL = SMALL.replace("batch_size: 32", "batch_size: 2")
Labels = dict[str, list[float]]  # NaN does not count


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("first") / "images"
    rng = np.random.default_rng(0)
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 50), dtype=np.uint8)).save(folder / name)
    return folder


def expected(table: OddTable, params: LabelParams) -> Labels:
    """File -> its labels, by polars: the policies on each row, then the rule for several rows."""
    rows = table.reference()
    policies = {"zero": 0.0, "one": 1.0, "ignore": None}
    labels = rows.select("file", *params.findings).with_columns(
        pl.col(params.findings)
        .fill_null(-2)
        .replace({-1: policies.get(params.uncertain), -2: policies[params.blank]})
    )
    if params.readers == "error":
        labels = labels.unique("file", keep="first", maintain_order=True)
    found: Labels = {}
    for file, group in labels.group_by("file"):
        means = group.select(pl.col(params.findings).mean()).row(0)
        found[str(file[0])] = [_by_rule(mean, params.readers) for mean in means]
    return found


def _by_rule(mean: float | None, readers: str) -> float:
    if mean is None or (readers == "majority" and mean == 0.5):
        return np.nan
    return {"majority": float(mean > 0.5), "any": float(mean > 0)}.get(readers, mean)


def meant(images: Path, table: OddTable, folder: Path, tally: Counter[str]) -> None:
    """One table all the way: what init accepts prepare reads, and the labels are those that were meant."""
    labels_csv = folder / "labels.csv"
    labels_csv.write_bytes(table.data)
    said = Said(id=table.id) if table.id == "scan" else Said()
    source = Source(labels_csv, images, said, table.declared)
    (folder / "small.yaml").write_text(SMALL)
    try:
        written, outcome = plan(source, list_images(images), settings_of=folder / "small.yaml", workers=0)
    except UserError as error:
        said_of = [word for word in table.refusals() if word in str(error)]
        assert said_of, f"{error} where {table.refusals() or 'nothing'} was to be said"
        tally[said_of[0]] += 1
        return
    assert not table.refusals()
    tally["accepted"] += 1
    params = parse_params(written, folder)
    size = params.prepare.model_copy(update={"size": 32})
    prepare(
        labels_csv, images, folder / "out", labels=params.labels, params=size, workers=0, progress=Silent()
    )
    read = read_labels(labels_csv, **params.labels.model_dump())
    assert open_store(folder / "out").ids == read.ids
    if not outcome.hindrances:
        tally["folded"] += 1
        out = (folder / "out" / "index.csv", folder / "folds.csv", folder / "balance.json")
        make_folds(labels_csv, *out, labels=params.labels, params=params.folds)
    assert params.labels.findings == list(table.taken())
    by_file = expected(table, params.labels)
    order = [file for file, _ in dict.fromkeys((file, 0) for file, _ in table.rows)]
    assert len(read) == len(order)
    for row, file in enumerate(order):
        found = np.where(read.mask[row], read.targets[row], np.nan)
        np.testing.assert_allclose(found, by_file[file])


QUIET = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}


@settings(max_examples=60, **QUIET)
@given(table=odd_tables())
def test_what_init_accepts_prepare_reads_as_it_was_meant(
    images: Path, tmp_path_factory: pytest.TempPathFactory, table: OddTable
) -> None:
    meant(images, table, tmp_path_factory.mktemp("table"), Counter())


@pytest.mark.slow
def test_of_2000_odd_tables_none_is_accepted_by_init_and_refused_by_prepare(
    images: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tally: Counter[str] = Counter()

    @settings(max_examples=2000, database=None, **QUIET)
    @given(table=odd_tables())
    def each(table: OddTable) -> None:
        meant(images, table, tmp_path_factory.mktemp("table"), tally)

    each()
    print(f"{sum(tally.values()):,} tables: {dict(tally)}")  # noqa: T201 - seen with -s
    assert len(tally) >= 7  # each refusal that a table may deserve was seen, too
    assert tally["accepted"] > 700
