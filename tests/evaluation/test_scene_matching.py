"""Scenes have no order of their own: they are matched before anything is averaged."""

import math
from itertools import permutations

import numpy as np
import pytest

from cxrscore.evaluation.head_pictures import Picture
from cxrscore.evaluation.scene_matching import (
    SUREST,
    aligned,
    entropies,
    matched,
    share_rows,
    surest_rows,
    view_rows,
)

K, L = 3, 4


def fold(order: list[int] | None = None, noise: int | None = None) -> dict[str, Picture]:
    """What a head with K scenes shows, its scenes in this order, with a little noise of its own."""
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 50, size=(K, L, L)).astype(float)
    if noise is not None:
        counts += np.random.default_rng(noise).integers(0, 3, size=counts.shape)
    order = order or [0, 1, 2]
    conditional = counts / np.einsum("kii->ki", counts)[..., None]
    return {
        "scenes": Picture(("image", "scene"), rng.dirichlet(np.ones(K), size=6)[:, order]),
        "scene_counts": Picture(("scene", "given", "finding"), counts[order]),
        "scene_cooccurrence": Picture(("scene", "given", "finding"), conditional[order]),
        "attention": Picture(("finding", "row", "column"), rng.random((L, 2, 2))),
    }


def mean(folds: list[dict[str, Picture]], name: str) -> np.ndarray:
    return np.mean([pictures[name].values for pictures in folds], axis=0)


@pytest.mark.parametrize("name", ["scenes", "scene_counts", "scene_cooccurrence", "attention"])
def test_a_permutation_of_a_folds_scenes_changes_no_mean_once_they_are_matched(name: str) -> None:
    plain = [fold(), fold(noise=1), fold(noise=2)]
    mixed = [fold(), fold([2, 0, 1], noise=1), fold([1, 0, 2], noise=2)]
    assert np.array_equal(mean(aligned(mixed), name), mean(plain, name))
    if name != "attention":
        assert not np.allclose(mean(mixed, name), mean(plain, name), atol=0.01)


def test_the_matching_is_the_best_of_all() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        one, other = rng.random((2, K, L))
        best = min(permutations(range(K)), key=lambda order: np.square(one[list(order)] - other).sum())
        assert tuple(matched(one, other)) == best


def test_scenes_are_told_by_what_occurs_in_them_and_not_by_how_many_images_they_have() -> None:
    first, other = fold(), fold([1, 2, 0])
    counts = other["scene_counts"]
    other["scene_counts"] = Picture(counts.axes, counts.values * np.array([1, 100, 10])[:, None, None])
    found = aligned([first, other])[1]
    assert np.array_equal(found["scene_cooccurrence"].values, first["scene_cooccurrence"].values)


def test_a_scene_without_an_image_matches_what_is_left() -> None:
    first, other = fold(), fold([2, 1, 0])
    for pictures, empty in ((first, 0), (other, 2)):
        pictures["scene_counts"].values[empty] = 0
    assert np.array_equal(aligned([first, other])[1]["scenes"].values, first["scenes"].values)


def test_a_head_without_scenes_stays_as_it_is() -> None:
    folds = [{"coupling": Picture(("source", "target"), np.full((2, 2), k))} for k in (0.1, 0.2)]
    assert aligned(folds) == folds


SHARES = Picture(("image", "scene"), np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3]]))


def test_shares_are_means_and_images_by_their_largest() -> None:
    assert list(share_rows(SHARES)) == [[0, "0.6", "0.75"], [1, "0.4", "0.25"]]


def test_images_are_counted_by_view_and_a_view_without_one_as_zero() -> None:
    rows = list(view_rows(SHARES, ["PA", "AP", "Lateral", "PA"]))
    assert rows == [
        [0, "AP", 1],
        [0, "Lateral", 0],
        [0, "PA", 2],
        [1, "AP", 0],
        [1, "Lateral", 1],
        [1, "PA", 0],
    ]


def test_an_image_whose_gates_are_all_shut_belongs_to_none() -> None:
    gates = Picture(("image", "gate"), np.array([[0.0, 0.0], [0.0, 2.0], [0.0, 0.0], [1.0, 0.5]]))
    assert list(share_rows(gates)) == [[0, "0.25", "0.25"], [1, "0.625", "0.25"]]
    assert list(view_rows(gates, ["PA"] * 4)) == [[0, "PA", 1], [1, "PA", 1]]


def test_entropies_are_of_an_image_of_the_mean_and_of_the_shares_of_images() -> None:
    def slow(*shares: float) -> float:
        return -sum(share * math.log(share) for share in shares if share)

    found = entropies(SHARES)
    each = [slow(0.9, 0.1), slow(0.6, 0.4), slow(0.2, 0.8), slow(0.7, 0.3)]
    assert found["per_image"] == pytest.approx(sum(each) / 4)
    assert found["of_mean"] == pytest.approx(slow(0.6, 0.4))
    assert found["of_shares"] == pytest.approx(slow(0.75, 0.25))


def test_certain_images_in_even_scenes_have_no_entropy_each_and_all_of_it_together() -> None:
    certain = Picture(("image", "scene"), np.eye(3).repeat(2, 0))
    assert entropies(certain) == {
        "per_image": 0,
        **dict.fromkeys(("of_mean", "of_shares"), pytest.approx(math.log(3))),
    }
    collapsed = Picture(("image", "scene"), np.tile([1.0, 0.0], (4, 1)))
    assert {str(value) for value in entropies(collapsed).values()} == {"0.0"}


def test_the_surest_images_of_a_scene_are_those_of_all_folds_and_equal_ones_stand_by_name() -> None:
    other = Picture(("image", "scene"), np.array([[0.9, 0.1], [0.95, 0.05]]))
    rows = list(surest_rows({0: (SHARES, ["d", "c", "b", "a"]), 4: (other, ["b2", "x"])}))
    assert rows == [
        [0, 1, 4, "x", "0.95"],
        [0, 2, 4, "b2", "0.9"],
        [0, 3, 0, "d", "0.9"],
        [0, 4, 0, "a", "0.7"],
        [0, 5, 0, "c", "0.6"],
        [1, 1, 0, "b", "0.8"],
    ]


def test_of_a_scene_so_many_images_are_named_and_of_one_scene_none() -> None:
    names = [f"{i:02}" for i in range(30)]
    many = Picture(("image", "scene"), np.tile([0.75, 0.25], (30, 1)))
    assert [row[3] for row in surest_rows({0: (many, names)})] == names[:SUREST]
    assert list(surest_rows({0: (Picture(("image", "scene"), np.ones((30, 1))), names)})) == []
