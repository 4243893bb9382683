"""Batches come in the order asked for, whatever reads ahead."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from cxrscore.images.image_store import Store, StoredImage, open_store, write_store
from cxrscore.training.batches import batches

CPU = torch.device("cpu")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Image i is 4 x 4 pixels of value i, in shards of three."""

    def images() -> Iterator[StoredImage]:
        for i in range(11):
            yield StoredImage(f"{i}.png", np.full((4, 4), i, np.uint8), f"{i:064}", 4, 4)

    write_store(tmp_path, images(), size=4, id_column="Image_name", preprocessing="v1", shard_rows=3)
    return open_store(tmp_path)


@pytest.mark.parametrize("batch_size", [1, 3, 4, 11, 20])
def test_every_row_comes_once_in_its_place(store: Store, batch_size: int) -> None:
    order = np.random.default_rng(0).permutation(11)
    found = list(batches(store, order, batch_size=batch_size, device=CPU, whole_only=False))
    assert np.concatenate([rows for rows, _ in found]).tolist() == order.tolist()
    for rows, gray in found:
        assert (gray.dtype, gray.shape) == (torch.uint8, (len(rows), 1, 4, 4))
        assert (gray == torch.from_numpy(rows)[:, None, None, None]).all()


def test_a_last_batch_that_is_not_full_is_left_out_for_training(store: Store) -> None:
    order = np.arange(11)[::-1]
    found = [rows.tolist() for rows, _ in batches(store, order, batch_size=4, device=CPU, whole_only=True)]
    assert found == [[10, 9, 8, 7], [6, 5, 4, 3]]


def test_no_rows_are_no_batches(store: Store) -> None:
    assert not list(batches(store, np.arange(0), batch_size=4, device=CPU, whole_only=False))


def test_a_row_that_is_not_there_is_an_error_and_no_other_row(store: Store) -> None:
    with pytest.raises(IndexError, match="out of bounds"):
        list(batches(store, np.array([0, 11]), batch_size=1, device=CPU, whole_only=False))


def test_a_reader_can_be_left_early(store: Store) -> None:
    reader = batches(store, np.arange(11), batch_size=1, device=CPU, whole_only=False)
    assert next(reader)[0].tolist() == [0]
    reader.close()
    assert not list(reader)
