"""Folds are whole patients, even over findings, pairs and images, and the same on every machine."""

import itertools
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from iterstrat.ml_stratifiers import MultilabelStratifiedKFold

from cxrscore.core.errors import UserError
from cxrscore.phantoms.cohort import draw_cohort
from cxrscore.tables.stratify import FINDING, UNIT, Ints, stratify, stratify_buckets, stratify_images


def some_images(
    n: int, L: int, patients: int, *, seed: int = 0, share: float = 0.3
) -> tuple[np.ndarray, np.ndarray]:
    """y (n, L) and group (n,), every patient with at least one image."""
    rng = np.random.default_rng(seed)
    y = (rng.random((n, L)) < share).astype(np.int8)
    return y, rng.permutation(np.r_[np.arange(patients), rng.integers(0, patients, n - patients)])


def reached(y: np.ndarray, fold: np.ndarray, k: int) -> np.ndarray:
    """(k, L): has the fold a positive of the finding?"""
    return np.stack([y[fold == f].any(0) for f in range(k)])


def obvious(y: np.ndarray, group: np.ndarray, *, k: int, seed: int) -> np.ndarray:
    """The method as its sentence says it: for each patient all squared distances from the targets."""
    n, L = y.shape
    columns = [np.ones(n, dtype=int), *y.T.astype(int)]
    columns += [
        y[:, i].astype(int) * y[:, j] for i in range(L) for j in range(i + 1, L) if (y[:, i] * y[:, j]).any()
    ]
    counts = {g: [int(column[group == g].sum()) for column in columns] for g in sorted(set(group.tolist()))}
    total = [int(column.sum()) for column in columns]
    weight = [int(UNIT / max(t / k, 1)) * (FINDING if d <= L else 1) for d, t in enumerate(total)]
    jitter = np.random.default_rng(seed).uniform(0.75, 1, len(counts))
    heavy = {
        g: sum(w * c * c for w, c in zip(weight, own, strict=True)) * u
        for (g, own), u in zip(counts.items(), jitter, strict=True)
    }
    held = [[0] * len(total) for _ in range(k)]

    def distance(folds: list[list[int]]) -> int:
        return sum(w * (k * h - t) ** 2 for row in folds for w, h, t in zip(weight, row, total, strict=True))

    fold_of = {}
    for g in sorted(counts, key=lambda g: -heavy[g]):
        added = [
            [*held[:f], [h + c for h, c in zip(held[f], counts[g], strict=True)], *held[f + 1 :]]
            for f in range(k)
        ]
        fold_of[g] = min(range(k), key=lambda f: distance(added[f]))
        held = added[fold_of[g]]
    return np.array([fold_of[g] for g in group.tolist()])


@pytest.mark.parametrize("seed", range(8))
def test_the_fast_greedy_is_the_obvious_one(seed: int) -> None:
    y, group = some_images(90, 4, 40, seed=seed)
    assert (stratify(y, group, k=3, seed=seed) == obvious(y, group, k=3, seed=seed)).all()


@settings(max_examples=60)
@given(
    data=st.data(),
    k=st.integers(2, 4),
    patients=st.integers(4, 12),
    extra=st.integers(0, 20),
    L=st.integers(1, 5),
)
def test_every_image_has_a_fold_no_fold_is_empty_and_no_patient_is_split(
    data: st.DataObject, k: int, patients: int, extra: int, L: int
) -> None:
    y, group = some_images(patients + extra, L, patients, seed=data.draw(st.integers(0, 999)), share=0.4)
    fold = stratify(y, group, k=k, seed=0)
    assert fold.shape == group.shape and fold.dtype == np.int64
    assert set(fold.tolist()) == set(range(k))
    assert len(set(zip(group.tolist(), fold.tolist(), strict=True))) == patients


@pytest.mark.parametrize("seed", range(40))
def test_a_finding_reaches_every_fold_where_any_split_at_all_does_that(seed: int) -> None:
    k, patients = 2 + seed % 2, 4 + seed % 3
    y, group = some_images(patients, 4, patients, seed=seed, share=0.45)
    fold = stratify(y, group, k=k, seed=0)
    needed = y.sum(0) >= k
    lacking = (~reached(y, fold, k))[:, needed].sum()
    every = (
        np.array(way)[group] for way in itertools.product(range(k), repeat=patients) if len(set(way)) == k
    )
    assert lacking == 0 or all((~reached(y, way, k))[:, needed].any() for way in every)


@pytest.mark.parametrize("k", [2, 3, 5])
def test_a_rare_finding_reaches_every_fold(k: int) -> None:
    y, group = some_images(400, 4, 100, seed=k)
    y[:, 3] = 0
    for patient in range(10, 10 + k):
        y[np.flatnonzero(group == patient)[0], 3] = 1
    assert reached(y, stratify(y, group, k=k, seed=0), k).all()


def test_findings_that_exclude_one_another_end_the_search_with_the_fewest_lacking() -> None:
    y = np.array(
        [[1, 0, 1], [1, 1, 0], [0, 1, 1]]
    )  # two folds of three patients: one of three pairs stays together
    assert (~reached(y, stratify(y, [0, 1, 2], k=2, seed=0), 2)).sum() == 1


def test_the_order_of_rows_changes_no_fold() -> None:
    y, group = some_images(300, 5, 80)
    order = np.random.default_rng(1).permutation(300)
    assert (stratify(y[order], group[order], k=3, seed=5) == stratify(y, group, k=3, seed=5)[order]).all()


def test_patients_by_name_or_by_number_get_the_same_folds() -> None:
    y, group = some_images(300, 5, 80)
    names = [f"patient{g:05}" for g in group]
    assert (stratify(y, names, k=3, seed=0) == stratify(y, group, k=3, seed=0)).all()


def test_the_same_seed_gives_the_same_folds_and_another_seed_others() -> None:
    y, group = some_images(300, 5, 80)
    first, again, other = (stratify(y, group, k=3, seed=seed) for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).mean() > 0.1


def test_as_many_folds_as_patients_gives_each_its_own() -> None:
    y, group = some_images(9, 3, 6)
    assert len({f for f, _ in zip(stratify(y, group, k=6, seed=0).tolist(), group, strict=True)}) == 6


@pytest.mark.parametrize("k", [0, 1, 7])
def test_fewer_than_two_folds_or_more_than_patients_are_refused(k: int) -> None:
    y, group = some_images(9, 3, 6)
    with pytest.raises(UserError, match=rf"folds\.k: {k} folds of 6 patients; k is at least 2 and at most"):
        stratify(y, group, k=k, seed=0)
    with pytest.raises(UserError, match=rf"folds\.k: {k} folds of 6 images; k is at least 2 and at most"):
        stratify_images(y[:6], k=k, seed=0)


def test_images_are_split_as_the_iterative_stratification_package_splits_them() -> None:
    y, _ = some_images(120, 4, 60)
    theirs = MultilabelStratifiedKFold(n_splits=3, shuffle=True, random_state=7).split(y, y)
    fold = stratify_images(y, k=3, seed=7)
    assert [np.flatnonzero(fold == f).tolist() for f in range(3)] == [val.tolist() for _, val in theirs]


@pytest.mark.parametrize(
    "y", [np.array([[1], [0]] * 6), np.zeros((12, 3), dtype=int), np.ones((12, 3), dtype=int)]
)
def test_images_with_a_single_finding_or_without_contrast_are_split_evenly(y: np.ndarray) -> None:
    fold = stratify_images(y, k=3, seed=0)
    assert np.bincount(fold).tolist() == [4, 4, 4]
    assert [int(y[fold == f, 0].sum()) for f in range(3)] == [int(y[:, 0].sum()) // 3] * 3


def test_without_the_package_images_are_dealt_from_buckets_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "iterstrat.ml_stratifiers", None)
    y, _ = some_images(120, 4, 60)
    with pytest.warns(
        UserWarning, match="iterative-stratification is not installed: images are dealt from buckets"
    ):
        fold = stratify_images(y, k=3, seed=0)
    assert (fold == stratify_buckets(y, k=3, seed=0)).all()


def test_buckets_spread_every_label_combination_to_within_one_image() -> None:
    y, _ = some_images(500, 4, 60)
    fold = stratify_buckets(y, k=3, seed=0)
    for combination in np.unique(y, axis=0):
        held = np.bincount(fold[(y == combination).all(1)], minlength=3)
        assert held.max() - held.min() <= 1
    rarest = y.sum(0).argmin()
    held = np.bincount(fold[y[:, rarest] == 1], minlength=3)
    assert held.max() - held.min() <= 1


def test_buckets_are_shuffled_by_the_seed() -> None:
    y, _ = some_images(500, 4, 60)
    assert (stratify_buckets(y, k=3, seed=0) != stratify_buckets(y, k=3, seed=1)).any()
    assert (stratify_buckets(y, k=3, seed=1) == stratify_buckets(y, k=3, seed=1)).all()


@pytest.fixture(scope="module")
def cohort() -> tuple[np.ndarray, list[str]]:
    """y (n, 14) and a patient per image, with CheXpert's prevalences, correlations and visits per patient."""
    studies = draw_cohort(0, images=30_000, test_share=0.0)
    y = np.array([study.y for study in studies for _ in study.positions], dtype=np.int8)
    return y, [str(study.patient) for study in studies for _ in study.positions]


def deviations(y: np.ndarray, fold: Ints, k: int) -> tuple[float, float]:
    """The largest |share / (1 / k) - 1|, in a fold, of a finding and of a pair with 50 or more images."""
    y = y.astype(np.int64)
    left, right = np.triu_indices(y.shape[1], 1)
    labels = np.stack([y[fold == f].sum(0) for f in range(k)])
    pairs = np.stack([(y[fold == f].T @ y[fold == f])[left, right] for f in range(k)])
    pairs = pairs[:, pairs.sum(0) >= 50]
    return abs(labels / labels.mean(0) - 1).max(), abs(pairs / pairs.mean(0) - 1).max()


def test_a_cohorts_folds_are_even_and_whole(
    cohort: tuple[np.ndarray, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    y, patient = cohort
    lines = []
    found = {}
    for name in ("ours", "iterative-stratification"):
        start = time.perf_counter()
        fold = stratify(y, patient, k=3, seed=0) if name == "ours" else stratify_images(y, k=3, seed=0)
        seconds = time.perf_counter() - start
        places = set(zip(patient, fold.tolist(), strict=True))
        folds_of_one = np.unique([one for one, _ in places], return_counts=True)[1]
        found[name] = (*deviations(y, fold, 3), int((folds_of_one > 1).sum()))
        labels, pairs, split = found[name]
        lines.append(
            f"{name:25} {seconds:.2f} s, labels within {labels:.3%}, pairs within {pairs:.2%}, "
            f"{split} of {len(set(patient))} patients split"
        )
    with capsys.disabled():
        print("", *lines, sep="\n")  # noqa: T201
    labels, pairs, split = found["ours"]
    assert split == 0
    assert labels <= found["iterative-stratification"][0]  # what rounding to whole images leaves
    assert pairs < found["iterative-stratification"][1] / 4
