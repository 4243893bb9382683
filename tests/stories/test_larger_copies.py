"""Random crops are taken from larger copies of the same pictures; everything else sees what it saw before."""

import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Project, contents
from PIL import Image
from test_prepare import a_project, run
from trainings import Told, train

from cxrscore.core.device import Machine
from cxrscore.core.errors import UserError
from cxrscore.core.progress import Silent
from cxrscore.images.image_store import StoredImage, open_store, others_in, remove_store, write_store
from cxrscore.images.reading import decode_copies, read_header
from cxrscore.model.checkpoint import read_card
from cxrscore.prepare import prepare
from cxrscore.train import build_learner
from cxrscore.training.augment import draw_warps, warp
from cxrscore.training.epochs import train_epoch
from cxrscore.training.fold_data import FoldData, read_fold
from cxrscore.training.run_state import Course


def a_jpeg(width: int, height: int) -> bytes:
    coarse = np.random.default_rng(width).integers(0, 256, (30, 40), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(file, "JPEG")
    return file.getvalue()


def all_pixels(folder: Path) -> np.ndarray:
    store = open_store(folder)
    return store.read(np.arange(len(store)))


def some_images(n: int) -> Iterator[StoredImage]:
    for i in range(n):
        small, large = (np.full((side, side), i, np.uint8) for side in (4, 6))
        yield StoredImage(f"{i}, é.png", small, f"{i:064}", 9, 9, large)


def larger(project: Project, size: int | None) -> Project:
    """The project with another train_size, its images not prepared again."""
    settings = project.params.prepare.model_copy(update={"train_size": size})
    return dataclasses.replace(project, params=project.params.model_copy(update={"prepare": settings}))


@pytest.fixture
def mine(project: Project, tmp_path: Path) -> Project:
    """Prepared with copies of 36 px beside those of 32."""
    mine = larger(project.copy_to(tmp_path), 36)
    prepare(
        mine.labels,
        mine.data / "images",
        mine.layout.prepared,
        labels=mine.params.labels,
        params=mine.params.prepare,
        workers=0,
        progress=Silent(),
    )
    return mine


def read(project: Project, cpu: Machine) -> FoldData:
    return read_fold(
        0,
        labels_csv=project.labels,
        layout=project.layout,
        labels=project.params.labels,
        machine=cpu,
        train_size=project.params.prepare.train_size,
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_both_copies_are_of_the_same_decoded_picture(tmp_path: Path, workers: int) -> None:
    """Also where a JPEG is reduced: by the smaller side, so that the smaller copy stays as it is alone."""
    project = a_project(tmp_path, ["a.png", "b.jpg", "c.jpg"])
    (tmp_path / "images/b.jpg").write_bytes(a_jpeg(140, 130))
    (tmp_path / "images/c.jpg").write_bytes(a_jpeg(700, 600))
    run(project)
    alone = contents(project[2])
    run(project, train_size=48, workers=workers)
    copies = [all_pixels(project[2]), all_pixels(project[2] / "train")]
    assert {name: data for name, data in contents(project[2]).items() if "train" not in str(name)} == alone
    for i, name in enumerate(["a.png", "b.jpg", "c.jpg"]):
        data = (tmp_path / "images" / name).read_bytes()
        expected, coloured = decode_copies(data, read_header(data), sizes=(32, 48))
        assert [len(one) for one in expected] == [32, 48] and not coloured
        assert all((copy[i] == one).all() for copy, one in zip(copies, expected, strict=True))


def test_turned_pictures_are_turned_in_both_copies(tmp_path: Path) -> None:
    project = a_project(tmp_path, ["a.png"])
    film = Image.fromarray(np.repeat(np.arange(0, 200, 4, dtype=np.uint8)[None], 40, 0))
    exif = Image.Exif()
    exif[0x0112] = 6
    film.save(tmp_path / "images/a.png", exif=exif)
    run(project, train_size=48)
    for folder in (project[2], project[2] / "train"):
        (pixels,) = all_pixels(folder)
        assert (np.diff(pixels.astype(int), axis=0) >= 0).all() and not np.diff(pixels, axis=1).any()


def test_an_unreadable_file_is_in_neither_copy(tmp_path: Path) -> None:
    project = a_project(tmp_path, ["a.png", "b.png", "c.png"])
    (tmp_path / "images/b.png").write_bytes(b"")
    run(project, train_size=48)
    stores = open_store(project[2]), open_store(project[2] / "train")
    assert [store.ids for store in stores] == 2 * [["a.png", "c.png"]]
    assert [store.size for store in stores] == [32, 48]
    assert stores[0].sha256 == stores[1].sha256


def test_preparing_again_replaces_or_removes_the_larger_copies(tmp_path: Path) -> None:
    project = a_project(tmp_path, ["a.png", "b.png"])
    run(project)
    alone = contents(project[2])
    for size in (48, 64):
        run(project, train_size=size)
        assert open_store(project[2] / "train").size == size
    run(project)
    assert contents(project[2]) == alone and not (project[2] / "train").exists()


def test_a_stranger_beside_the_larger_copies_is_named_and_left_alone(tmp_path: Path) -> None:
    project = a_project(tmp_path, ["a.png", "b.png"])
    run(project, train_size=48)
    (project[2] / "train/mine.txt").write_text("notes")
    before = contents(project[2])
    with pytest.raises(UserError, match=r"holds other files, such as 'train/mine.txt'"):
        run(project)
    assert contents(project[2]) == before


def test_pictures_too_small_for_the_larger_copy_are_counted(tmp_path: Path) -> None:
    project = a_project(tmp_path, ["a.png", "b.png"])  # of 50 x 40
    assert run(project, train_size=40) == ()
    (note,) = run(project, train_size=48)
    assert note.startswith("2 images have a side shorter than prepare.train_size 48")


def test_the_indices_differ_in_the_digests_of_the_pixels_alone(tmp_path: Path) -> None:
    write_store(
        tmp_path, some_images(7), size=4, id_column="id", preprocessing="v1", larger_size=6, shard_rows=3
    )
    first, second = open_store(tmp_path), open_store(tmp_path / "train")
    assert (first.ids, first.sha256) == (second.ids, second.sha256)
    assert np.array_equal(first.place, second.place) and not np.array_equal(first.digests, second.digests)
    for store in (first, second):
        assert (store.read([6, 0, 3])[:, 0, 0] == [6, 0, 3]).all()
        assert len(store.shards) == 3


def test_a_store_with_larger_copies_is_removed_whole_and_another_folder_is_not(tmp_path: Path) -> None:
    write_store(tmp_path / "a", some_images(2), size=4, id_column="id", preprocessing="v1", larger_size=6)
    assert others_in(tmp_path / "a") == []
    remove_store(tmp_path / "a")
    assert not (tmp_path / "a").exists()
    write_store(tmp_path / "b", some_images(2), size=4, id_column="id", preprocessing="v1")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/shard-00000.npy").write_bytes(b"kept")
    (tmp_path / "b/train").symlink_to(tmp_path / "elsewhere")
    assert others_in(tmp_path / "b") == ["train"]
    remove_store(tmp_path / "b")
    assert (tmp_path / "elsewhere/shard-00000.npy").read_bytes() == b"kept"


def test_a_step_sees_crops_of_the_larger_copies(
    mine: Project, cpu: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, params = read(mine, cpu), mine.params.train
    learner = build_learner(0, data, params, machine=cpu)
    seen: list[torch.Tensor] = []

    def step(gray: torch.Tensor, *_: Any, **__: Any) -> float:
        seen.append(gray)
        return 0.5

    monkeypatch.setattr(learner, "step", step)
    rows: list[np.ndarray] = []
    really = data.crops.read
    monkeypatch.setattr(
        type(data.crops), "read", lambda store, some: rows.append((store, some)) or really(some)
    )
    train_epoch(learner, data, params, Course(), progress=Silent())
    assert all(store is data.larger for store, _ in rows)
    law = {
        "scale": tuple(params.augment.scale),
        "flip": params.augment.flip,
        "degrees": params.augment.degrees,
    }
    theta = torch.from_numpy(draw_warps(len(data.store), seed=params.seed, epoch=0, **law))
    for gray, (_, some) in zip(seen, rows, strict=True):
        assert gray.shape[1:] == (1, 32, 32)
        pixels = torch.from_numpy(really(some))[:, None]
        assert torch.equal(gray, warp(pixels, theta[some], size=32))


def test_validation_and_scores_use_the_copies_of_prepare_size(mine: Project, project: Project) -> None:
    """The checkpoint holds for the smaller side, and names the larger images among its sources."""
    train(mine)
    card, plain = read_card(mine.layout.checkpoint(0)), read_card(project.layout.checkpoint(0))
    assert card.size == plain.size == 32
    assert card.sha256["images"] == plain.sha256["images"]
    assert card.sha256["larger_images"] == open_store(mine.layout.prepared / "train").sha256_index
    assert "larger_images" not in plain.sha256
    assert card.macro_auc != plain.macro_auc  # it has learned from other crops


def test_larger_copies_that_nobody_asks_for_change_nothing(mine: Project, project: Project) -> None:
    plain = larger(mine, None)
    train(plain)
    assert plain.layout.checkpoint(0).read_bytes() == project.layout.checkpoint(0).read_bytes()


def test_missing_larger_copies_are_refused(project: Project, cpu: Machine) -> None:
    with pytest.raises(UserError, match=r"train: missing; prepare.train_size is 36.* `dvc repro prepare`"):
        read(larger(project, 36), cpu)


def test_larger_copies_of_another_size_are_refused(mine: Project, cpu: Machine) -> None:
    with pytest.raises(
        UserError, match=r"copies of 36 px, prepare.train_size is 40; run `dvc repro prepare`"
    ):
        read(larger(mine, 40), cpu)


def test_larger_copies_of_other_files_are_refused(mine: Project, cpu: Machine) -> None:
    index = mine.layout.prepared / "train/index.csv"
    lines = index.read_text().splitlines()
    cells = lines[1].split(",")
    lines[1] = ",".join([cells[0], 64 * "0", *cells[2:]])
    index.write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=r"train: made of other images than .*prepared; run `dvc repro"):
        read(mine, cpu)


def test_a_damaged_larger_copy_stops_the_training(mine: Project) -> None:
    shard = mine.layout.prepared / "train/shard-00000.npy"
    pixels = np.load(shard)
    pixels[len(pixels) // 2 :] ^= 1
    np.save(shard, pixels)
    with pytest.raises(UserError, match=r"train/shard-00000.npy: damaged: the pixels of"):
        train(mine)


def test_a_training_says_how_far_its_crops_are_enlarged(mine: Project) -> None:
    told = Told()
    train(mine, told=told, epochs=1, warmup_epochs=0.5)
    assert not [line for line in told.lines if "random crops" in line]
    told = Told()
    train(larger(mine, None), told=told, epochs=1, warmup_epochs=0.5)
    (line,) = [line for line in told.lines if "random crops" in line]
    assert line.endswith("enlarged by a factor of 1.09; prepare.train_size 35 keeps their detail")
