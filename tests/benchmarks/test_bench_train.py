"""Both ways of training that are raced do the same work: images, recipe, loss, steps."""

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from conftest import TINY
from torch import Tensor

from cxrscore.bench import bench
from cxrscore.benchmarks import train_epochs, train_steps, training_setup
from cxrscore.benchmarks.notebook_training import LabelledRadiographs, NotebookTraining, loss_by_hand
from cxrscore.benchmarks.step_memory import peak_memory
from cxrscore.benchmarks.train_epochs import facts_of_epochs, prepare_all, time_epochs
from cxrscore.benchmarks.training_setup import (
    LABELS,
    Section,
    TrainingSetup,
    every_image,
    new_learner,
    recipe,
)
from cxrscore.core.device import Machine
from cxrscore.core.errors import UserError
from cxrscore.core.progress import Silent
from cxrscore.images.image_store import Store
from cxrscore.model.loss import build_loss
from cxrscore.phantom import make_phantoms
from cxrscore.project.params import LabelParams, TrainParams
from cxrscore.tables.datasets.chexpert import FINDINGS
from cxrscore.training.epochs import train_epoch
from cxrscore.training.fold_data import FoldData
from cxrscore.training.run_state import Course

IMAGES = 6


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images, prepared too. Shared: read only."""
    folder = tmp_path_factory.mktemp("few") / "data"
    make_phantoms(folder, images=IMAGES, size=48, seed=0, test_share=0.0)
    return folder


@pytest.fixture
def small(cpu: Machine) -> TrainingSetup:
    return TrainingSetup(TINY, 32, 2, cpu)


@pytest.fixture
def data(phantoms: Path, small: TrainingSetup, tmp_path: Path) -> FoldData:
    out = tmp_path / "prepared"
    return prepare_all(phantoms / "images", phantoms / "labels.csv", out, small, workers=0)[0]


class Read(Store):
    """A store that remembers the rows it was asked for."""

    asked: ClassVar[Counter[int]] = Counter()

    def read(self, rows: Any) -> Any:
        Read.asked.update(int(row) for row in rows)
        return super().read(rows)


class Opened(LabelledRadiographs):
    """Radiographs that remember which were asked for."""

    def __init__(self, *words: Any) -> None:
        super().__init__(*words)
        self.asked: Counter[int] = Counter()

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        self.asked[index] += 1
        return super().__getitem__(index)


def test_both_train_on_every_image_once_an_epoch_in_equally_many_steps(
    phantoms: Path, data: FoldData, small: TrainingSetup
) -> None:
    every = dict.fromkeys(range(IMAGES), 1)
    opened = Opened(phantoms / "images", data.store.ids, data.y, small)
    steps = NotebookTraining(opened, small, workers=0).epoch()
    assert opened.asked == every
    fields = {field.name: getattr(data.store, field.name) for field in dataclasses.fields(Store)}
    Read.asked.clear()
    learner = new_learner(small)
    watched = dataclasses.replace(data, store=Read(**fields))
    pace = train_epoch(learner, watched, recipe(small, epochs=1), Course(), progress=Silent())
    assert Read.asked == every
    assert learner.steps == steps == IMAGES // small.batch_size
    assert pace.images == IMAGES


def test_waiting_is_a_part_of_the_epoch(data: FoldData, small: TrainingSetup) -> None:
    pace = train_epoch(new_learner(small), data, recipe(small, epochs=1), Course(), progress=Silent())
    assert 0 < pace.waiting_s < pace.seconds


def test_both_minimise_the_same_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(5, len(FINDINGS), generator=generator)
    y = (torch.rand(5, len(FINDINGS), generator=generator) < 0.3).float()
    none = np.zeros((0, len(FINDINGS)))
    settings = recipe(TrainingSetup(TINY, 32, 2, Machine(torch.device("cpu"), torch.float32)), epochs=1).loss
    ours = build_loss(none, none, device=torch.device("cpu"), **settings.model_dump())
    mask = torch.ones_like(y, dtype=torch.bool)
    torch.testing.assert_close(loss_by_hand(logits, y), ours(logits, y, mask))


def test_both_have_the_same_weights_to_learn(data: FoldData, phantoms: Path, small: TrainingSetup) -> None:
    radiographs = LabelledRadiographs(phantoms / "images", data.store.ids, data.y, small)
    theirs = NotebookTraining(radiographs, small, workers=0).model
    assert sum(p.numel() for p in theirs.parameters()) == sum(
        p.numel() for p in new_learner(small).model.parameters()
    )


def test_the_recipe_that_is_raced_is_one_that_params_yaml_takes(small: TrainingSetup) -> None:
    params = TrainParams.model_validate(recipe(small, epochs=3).model_dump())
    assert (params.batch_size, params.augment.scale) == (2, list(training_setup.SCALE))
    LabelParams.model_validate(LABELS.model_dump())


def test_a_section_dumps_the_sections_in_it() -> None:
    assert Section(a=1, b=Section(c=[2])).model_dump() == {"a": 1, "b": {"c": [2]}}


def test_a_target_belongs_to_the_image_of_its_name(phantoms: Path, data: FoldData, cpu: Machine) -> None:
    rows = (phantoms / "labels.csv").read_text().splitlines()[1:]
    by_name = {row.split(",")[0]: [float(cell) for cell in row.split(",")[-len(FINDINGS) :]] for row in rows}
    assert [by_name[name] for name in data.store.ids] == data.y.tolist()
    again = every_image(phantoms / "labels.csv", data.store.folder, cpu)
    assert again.train.tolist() == list(range(IMAGES))


def test_preparing_counts_once_over_the_papers_epochs(
    phantoms: Path, data: FoldData, small: TrainingSetup
) -> None:
    race, paces = time_epochs(
        phantoms / "images", data, small, workers=0, compile=False, rounds=2, progress=Silent()
    )
    assert [pace.images for pace in paces[train_epochs.OURS]] == [IMAGES] * 3  # one does not count
    notebook_s, ours_s = race.median_s(train_epochs.NOTEBOOK), race.median_s(train_epochs.OURS)
    facts = facts_of_epochs(race, paces, prepare_s=10.0)
    times = facts["times_the_notebook_loop_over_3_epochs_with_preparing"]
    assert times == pytest.approx(3 * notebook_s / (10.0 + 3 * ours_s))
    assert 0 < facts["share_of_an_epoch_waiting_for_images"][train_epochs.OURS] < 1


def test_bare_steps_learn(data: FoldData, small: TrainingSetup) -> None:
    gray = torch.from_numpy(data.store.read(range(2)))[:, None]
    step = train_steps.bare_steps(gray, data.y[:2], small, compile=False)
    model = step.args[0]  # type: ignore[attr-defined]
    before = [p.clone() for p in model.parameters()]
    step()
    assert any(not torch.equal(p, q) for p, q in zip(before, model.parameters(), strict=True))


def test_images_that_do_not_fill_a_batch_are_an_error() -> None:
    asked = {"files": 2, "phantom_px": 48, "size": 32, "backbone": TINY, "batch_size": 3, "workers": 0}
    with pytest.raises(UserError, match="--files 2: fewer than a batch of 3"):
        bench("train", asked, device="cpu", progress=Silent())


@pytest.mark.slow
def test_checkpointing_takes_less_memory_where_maps_are_large(cpu: Machine) -> None:
    setup = TrainingSetup("resnet26t", 160, 16, cpu)
    plain, checkpointed = (peak_memory(setup, checkpointing=way) for way in (False, True))
    assert 0 < checkpointed["peak_gib"] < plain["peak_gib"]
    assert plain["step_s"] > 0


@pytest.mark.slow
def test_a_step_that_cannot_be_taken_is_an_error_with_the_reason(cpu: Machine) -> None:
    with pytest.raises(UserError, match="timm has no model 'resnet_of_nobody'"):
        peak_memory(TrainingSetup("resnet_of_nobody", 32, 2, cpu), checkpointing=False)
