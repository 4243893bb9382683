"""What labels say of findings together: against counting by hand, with labels that are not known."""

from collections.abc import Callable
from math import log
from typing import Literal

import numpy as np
import pytest

from cxrscore.tables.cooccurrence import (
    binary_graph,
    centred_conditional,
    conditional_probability,
    cooccurring,
    label_edges,
    label_embeddings,
    pair_counts,
    positive_mutual_information,
    prevalence,
    reweighted_graph,
)

Labels = tuple[np.ndarray, np.ndarray]
L, NEVER, ALWAYS, UNKNOWN = 7, 4, 5, 6  # findings 0 to 3 come and go


def labels(seed: int = 0, rows: int = 80) -> Labels:
    """y (n, L) and mask: a fifth of the labels unknown, and one in the table where it is unknown."""
    rng = np.random.default_rng(seed)
    y = (rng.random((rows, L)) < [0.5, 0.3, 0.2, 0.05, 0, 1, 0.5]).astype(np.float32)
    y[:, 1] = np.where(rng.random(rows) < 0.6, y[:, 0], y[:, 1])
    mask = rng.random((rows, L)) < [0.8] * UNKNOWN + [0.0]
    return np.where(mask, y, 1), mask


def rows_where(known: np.ndarray, *findings: int) -> list[int]:
    return [n for n in range(len(known)) if all(known[n, i] for i in findings)]


def probability_by_hand(y: np.ndarray, mask: np.ndarray, i: int, j: int) -> float:
    """P(j | i)."""
    rows = [n for n in rows_where(mask, i, j) if y[n, i] == 1]
    return sum(y[n, j] for n in rows) / len(rows) if rows else 0.0


def share_by_hand(y: np.ndarray, mask: np.ndarray, *findings: int) -> float:
    """Of the images in which all of them are known, the share that shows them all."""
    rows = rows_where(mask, *findings)
    return sum(all(y[n, i] == 1 for i in findings) for n in rows) / len(rows) if rows else 0.0


def excess_by_hand(y: np.ndarray, mask: np.ndarray, i: int, j: int) -> float:
    """P(j | i) - P(j), both among the images in which both are known."""
    both = rows_where(mask, i, j)
    with_i = [n for n in both if y[n, i] == 1]
    if i == j or not with_i:
        return 0.0
    return sum(y[n, j] for n in with_i) / len(with_i) - sum(y[n, j] for n in both) / len(both)


def information_by_hand(y: np.ndarray, mask: np.ndarray, i: int, j: int) -> float:
    together = share_by_hand(y, mask, i, j)
    if i == j:
        return max(log(2), -log(together)) if together else log(2)
    apart = share_by_hand(y, mask, i) * share_by_hand(y, mask, j)
    return max(0.0, log(together / apart)) if together else 0.0


def each_pair(of: Callable[[int, int], float]) -> np.ndarray:
    return np.array([[of(i, j) for j in range(L)] for i in range(L)])


@pytest.mark.parametrize("seed", range(3))
def test_statistics_are_those_counted_by_hand(seed: int) -> None:
    y, mask = labels(seed)
    together, known = pair_counts(y, mask)
    shown = each_pair(lambda i, j: sum(y[n, i] == y[n, j] == 1 for n in rows_where(mask, i, j)))
    assert np.array_equal(together, shown)
    assert np.array_equal(known, each_pair(lambda i, j: len(rows_where(mask, i, j))))
    assert np.allclose(prevalence(y, mask), [share_by_hand(y, mask, i) for i in range(L)], atol=1e-6)
    conditional = each_pair(lambda i, j: probability_by_hand(y, mask, i, j))
    assert np.allclose(conditional_probability(y, mask), conditional, atol=1e-6)
    excess = each_pair(lambda i, j: excess_by_hand(y, mask, i, j))
    assert np.allclose(centred_conditional(y, mask), excess, atol=1e-6)
    assert np.array_equal(cooccurring(y, mask), (shown > 0) | np.eye(L, dtype=bool))
    information = each_pair(lambda i, j: information_by_hand(y, mask, i, j))
    assert np.allclose(positive_mutual_information(y, mask), information, atol=1e-6)


Direction = Literal["paper", "code"]


@pytest.mark.parametrize("direction", ["paper", "code"])
@pytest.mark.parametrize("threshold", [0.1, 0.4, 1.0])
def test_a_finding_shares_its_weight_with_those_that_often_go_with_it(
    threshold: float, direction: Direction
) -> None:
    """ML-GCN's equations 7 and 8; in the code's direction, with those that it often goes with."""
    y, mask = labels()
    weighted, binary = np.zeros((L, L)), np.zeros((L, L))
    for i in range(L):
        often = []
        for j in range(L):
            given, other = (i, j) if direction == "paper" else (j, i)
            if j != i and probability_by_hand(y, mask, given, other) >= threshold:
                often.append(j)
        weighted[i, i], binary[i, i] = 0.8 if often else 1, 1
        for j in often:
            weighted[i, j], binary[i, j] = 0.2 / len(often), 1
    assert (binary.sum(1) > 1).any()
    edges = label_edges(y, mask, threshold=threshold, direction=direction)
    assert np.array_equal(binary_graph(edges), binary)
    assert np.allclose(reweighted_graph(edges, p=0.2), weighted, atol=1e-7)
    assert np.allclose(reweighted_graph(edges, p=0.2).sum(1), 1, atol=1e-6)


def test_of_a_rare_finding_within_a_common_one_the_edge_is_one_way() -> None:
    y = np.zeros((20, 2))
    y[:10, 0] = y[:2, 1] = 1
    mask = np.ones((20, 2), dtype=bool)
    edges = {
        direction: label_edges(y, mask, threshold=0.4, direction=direction) for direction in ("paper", "code")
    }
    assert edges["paper"].tolist() == [[False, False], [True, False]]  # the rare one takes from the common
    assert edges["code"].tolist() == [[False, True], [False, False]]


def test_a_share_of_exactly_the_threshold_is_an_edge() -> None:
    y = np.zeros((10, 2))
    y[:5, 0] = 1  # five show finding 0,
    y[:2, 1] = 1  # two of them finding 1 too: 0.4, and back 1.0
    mask = np.ones((10, 2), dtype=bool)
    assert label_edges(y, mask, threshold=0.4, direction="paper").tolist() == [[False, True], [True, False]]
    assert label_edges(y, mask, threshold=0.41, direction="paper").tolist() == [[False, False], [True, False]]


def test_given_is_the_row_of_a_conditional_probability() -> None:
    y = np.array([[1, 1], [0, 1], [0, 1], [0, 1]])
    assert conditional_probability(y, np.ones((4, 2), dtype=bool)).tolist() == [[1, 1], [0.25, 1]]


def test_a_pair_counts_only_where_both_labels_are_known() -> None:
    y = np.array([[1, 1], [1, 1], [1, 0], [1, 1]])
    mask = np.array([[True, True], [True, False], [True, True], [False, True]])
    together, known = pair_counts(y, mask)
    assert together.tolist() == [[3, 1], [1, 2]]
    assert known.tolist() == [[3, 2], [2, 3]]
    assert conditional_probability(y, mask)[0, 1] == 0.5
    assert positive_mutual_information(y, mask)[0, 1] == 0  # 1/2 of both known; 3/3 and 2/3 alone
    assert not cooccurring(y[[1]], mask[[1]])[0, 1]


def test_centred_co_occurrence_is_zero_where_one_finding_tells_nothing_of_another() -> None:
    every = np.ones((4, 3), dtype=bool)
    apart = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 1], [0, 0, 1]])  # 0 and 1 independent, 0 and 2 never both
    assert centred_conditional(apart, every).tolist() == [[0, 0, -0.5], [0, 0, 0], [-0.5, 0, 0]]


def test_what_an_unknown_label_says_in_the_table_changes_nothing() -> None:
    y, mask = labels()
    other = np.where(mask, y, 0)
    assert (other != y).any()
    for statistic in (
        prevalence,
        conditional_probability,
        centred_conditional,
        cooccurring,
        positive_mutual_information,
    ):
        assert np.array_equal(statistic(y, mask), statistic(other, mask))
    edges = [label_edges(one, mask, threshold=0.4, direction="paper") for one in (y, other)]
    assert np.array_equal(*edges)
    assert np.array_equal(label_embeddings(y, mask, dim=L), label_embeddings(other, mask, dim=L))


def test_findings_without_positives_or_without_labels_go_with_nothing() -> None:
    y, mask = labels()
    for finding in (NEVER, UNKNOWN):
        others = [i for i in range(L) if i != finding]
        assert prevalence(y, mask)[finding] == 0
        for related in (
            conditional_probability(y, mask),
            cooccurring(y, mask),
            label_edges(y, mask, threshold=0.1, direction="paper"),
            positive_mutual_information(y, mask),
        ):
            assert not related[finding, others].any()
            assert not related[others, finding].any()


def test_a_finding_that_every_image_shows_follows_each_and_tells_nothing_of_it() -> None:
    y, mask = labels()
    every = np.ones_like(mask)  # all labels known: with gaps, shares of pairs differ from those alone
    y[:, NEVER] = 0
    shown = [i for i in range(L) if i != NEVER]
    assert (conditional_probability(y, every)[shown, ALWAYS] == 1).all()
    information = positive_mutual_information(y, every)
    assert np.allclose(np.delete(information[ALWAYS], ALWAYS), 0)
    assert information[ALWAYS, ALWAYS] == pytest.approx(log(2))
    assert prevalence(y, mask)[ALWAYS] == 1


def test_embeddings_have_a_row_a_finding_and_at_most_as_many_columns() -> None:
    for dim, columns in ((1, 1), (3, 3), (L, L), (300, L)):
        embeddings = label_embeddings(*labels(), dim=dim)
        assert embeddings.shape == (L, columns)
        assert embeddings.dtype == np.float32
        assert np.array_equal(embeddings, label_embeddings(*labels(), dim=L)[:, :columns])


def test_products_of_embeddings_are_the_mutual_information_if_it_has_no_negative_eigenvalue() -> None:
    y, mask = labels()
    information = positive_mutual_information(y, mask)
    assert np.linalg.eigvalsh(information).min() > 0
    embeddings = label_embeddings(y, mask, dim=L)
    assert np.allclose(embeddings @ embeddings.T, information, atol=1e-5)


def test_if_it_has_they_are_the_matrix_of_its_absolute_eigenvalues() -> None:
    y = np.zeros((400, L))  # 0 goes with 1, 1 with 2, but never 0 with 2
    y[:20, :2], y[20:40, 1:3] = 1, 1
    mask = np.ones_like(y, dtype=bool)
    information = positive_mutual_information(y, mask)
    eigenvalues, vectors = np.linalg.eigh(information)
    assert eigenvalues.min() < -0.1
    embeddings = label_embeddings(y, mask, dim=L)
    expected = vectors @ np.diag(abs(eigenvalues)) @ vectors.T
    assert np.allclose(embeddings @ embeddings.T, expected, atol=1e-5)


def test_each_column_is_for_the_finding_that_those_before_explain_least() -> None:
    information = positive_mutual_information(*labels())
    values, vectors = np.linalg.eigh(information)
    rest = vectors @ np.diag(abs(values)) @ vectors.T
    for column in label_embeddings(*labels(), dim=L).T.astype(float):
        pivot = rest.diagonal().round(6).argmax()
        assert column[pivot] ** 2 == pytest.approx(rest[pivot, pivot], abs=1e-5)
        rest = rest - np.outer(column, column)
        assert np.allclose(rest[pivot], 0, atol=1e-5)
    assert np.allclose(rest, 0, atol=1e-5)


def test_columns_beyond_the_rank_are_zero() -> None:
    y = np.zeros((100, 3), dtype=int)
    y[:10, :2] = 1  # two findings that always go together: their rows of M are alike
    embeddings = label_embeddings(y, np.ones_like(y, dtype=bool), dim=3)
    assert np.array_equal(embeddings[0], embeddings[1])
    assert not embeddings[:, 2].any()


def test_findings_that_always_go_together_leave_no_rounding_errors() -> None:
    for seed in range(100):
        y = (np.random.default_rng(seed).random((80, 6)) < 0.3).astype(int)
        y[:, 3:] = y[:, :1]
        embeddings = label_embeddings(y, np.ones_like(y, dtype=bool), dim=6)
        assert np.isfinite(embeddings).all()
        assert (embeddings[3:] == embeddings[0]).all()
        assert np.abs(embeddings).max() < 3


def test_permuting_findings_permutes_embeddings() -> None:
    """Their products, always; themselves, where no two findings are equally unexplained."""
    y, mask = labels()
    order = np.array([2, 6, 0, 3, 5, 1, 4])
    plain, permuted = (label_embeddings(y[:, some], mask[:, some], dim=L) for some in (np.arange(L), order))
    assert np.allclose(permuted @ permuted.T, (plain @ plain.T)[order][:, order], atol=1e-5)
    some, chosen = [0, 1, 2, 3], [2, 0, 3, 1]
    plain, permuted = (label_embeddings(y[:, one], mask[:, one], dim=4) for one in (some, chosen))
    assert np.allclose(permuted, plain[chosen], atol=1e-5)


def test_every_finding_has_an_embedding_and_no_two_the_same() -> None:
    embeddings = label_embeddings(*labels(), dim=L)
    apart = [np.linalg.norm(embeddings[i] - embeddings[j]) for i in range(L) for j in range(i)]
    assert np.linalg.norm(embeddings, axis=1).min() > 0.8  # the root of log 2 is 0.83
    assert min(apart) > 0.5


def test_the_order_of_images_changes_no_statistic() -> None:
    y, mask = labels()
    back = label_embeddings(y[::-1], mask[::-1], dim=L)
    assert np.array_equal(back, label_embeddings(y, mask, dim=L))
