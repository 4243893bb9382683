"""Labels -> how findings occur together: prevalence, graphs, label embeddings. In numpy: no model, no torch.

In    y (n, L) 0/1 and mask (n, L) of a training fold's rows: nothing here may see a validated one.
Out   arrays (L,), (L, L), (L, d); a user's own embeddings from a file, checked against the findings' order.
A pair counts where both labels are known. Sources: positive pointwise mutual information as a factorized
matrix, Levy & Goldberg, "Neural word embedding as implicit matrix factorization", NeurIPS 2014; the static
graph, Chen et al., "Multi-label image recognition with graph convolutional networks" (ML-GCN), CVPR 2019,
equations 6 to 8.
"""

from collections.abc import Sequence
from pathlib import Path
from tokenize import TokenError
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import UserError, counted

Matrix = NDArray[np.float32]
COIN = np.log(2)  # the information, -log p, of a finding that half of the images show
DECIMALS = 6  # of embeddings: ten digits coarser than what a library's last bit decides
SMALLEST_PIVOT = 1e-9  # below it columns are rounding errors
COMPUTED = ("cooccurrence", "learned")  # where label embeddings are not from a user's file


def prevalence(y: np.ndarray, mask: np.ndarray) -> Matrix:
    """(L,): the share of positives among known labels; 0 where none is known."""
    share: Matrix = ((y * mask).sum(0) / np.maximum(mask.sum(0), 1)).astype(np.float32)
    return share


def pair_counts(y: np.ndarray, mask: np.ndarray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """-> (L, L) images that show both findings, and (L, L) images in which both labels are known."""
    positive, known = ((y == 1) & mask).astype(float), mask.astype(float)
    return positive.T @ positive, known.T @ known


def conditional_probability(y: np.ndarray, mask: np.ndarray) -> Matrix:
    """(L, L): P[i, j] = P(j | i), among images that show i and in which j is known; 0 where none is."""
    positive, known = ((y == 1) & mask).astype(float), mask.astype(float)
    together, of = positive.T @ positive, positive.T @ known
    share: Matrix = np.divide(together, of, out=np.zeros_like(of), where=of > 0).astype(np.float32)
    return share


def centred_conditional(y: np.ndarray, mask: np.ndarray) -> Matrix:
    """(L, L): C[i, j] = P(j | i) - P(j) among images in which both labels are known, from -1 to 1: how much
    more often j is there when i is. 0 where i tells nothing of j, where no such image shows i, and on the
    diagonal. Source: the added value of a rule i -> j, Geng & Hamilton, "Interestingness measures for data
    mining", ACM Computing Surveys 38, 2006.
    """
    positive, known = ((y == 1) & mask).astype(float), mask.astype(float)
    together, of, pairs = positive.T @ positive, positive.T @ known, known.T @ known
    given = np.divide(together, of, out=np.zeros_like(of), where=of > 0)
    alone = np.divide(of.T, pairs, out=np.zeros_like(of), where=pairs > 0)  # of.T: j shown, i known
    excess = np.where(of > 0, given - alone, 0)
    np.fill_diagonal(excess, 0)
    centred: Matrix = excess.astype(np.float32)
    return centred


def cooccurring(y: np.ndarray, mask: np.ndarray) -> NDArray[np.bool_]:
    """(L, L): whether any image shows both; a finding always goes with itself."""
    together, _ = pair_counts(y, mask)
    return (together > 0) | np.eye(len(together), dtype=bool)


def label_edges(
    y: np.ndarray, mask: np.ndarray, *, threshold: float, direction: Literal["paper", "code"]
) -> NDArray[np.bool_]:
    """(L, L), self excluded: whether finding i (row) takes from finding j (column). `paper`: where
    P(j | i) >= `threshold`, from what often goes with i; `code`: where P(i | j) is, from what i often goes
    with. Source: ML-GCN, equation 7; its published code transposes the matrix when it normalises it.
    """
    found = (conditional_probability(y, mask) >= threshold) & ~np.eye(y.shape[1], dtype=bool)
    return found if direction == "paper" else found.T


def binary_graph(edges: NDArray[np.bool_]) -> Matrix:
    """(L, L) edges -> 1 where there is one, and on the diagonal, as P(i | i) is 1. Source: ML-GCN, equation
    7.
    """
    graph: Matrix = (edges | np.eye(len(edges), dtype=bool)).astype(np.float32)
    return graph


def reweighted_graph(edges: NDArray[np.bool_], *, p: float) -> Matrix:
    """(L, L) edges -> 1 - p on the diagonal, and p over the number of neighbours for each of them, so that
    rows sum to 1. In a row without neighbours, where that quotient is undefined, p stays on the diagonal: 1.
    Source: ML-GCN, equation 8.
    """
    count = edges.sum(1, keepdims=True)
    own = np.where(count > 0, 1 - p, 1.0) * np.eye(len(edges))
    graph: Matrix = (own + p * edges / np.maximum(count, 1)).astype(np.float32)
    return graph


def positive_mutual_information(y: np.ndarray, mask: np.ndarray) -> NDArray[np.float64]:
    """(L, L): max(0, log p(i, j) / (p(i) p(j))), 0 where a pair never occurs. The diagonal, -log p(i), tells
    findings apart that go with no other. It is COIN at least: else a finding that all images show, or none,
    had an embedding of zeros, and a classifier that is made of it could not be learned.
    """
    together, known = pair_counts(y, mask)
    joint = together / np.maximum(known, 1)
    alone = joint.diagonal()
    expected = np.outer(alone, alone)
    ratio = np.divide(joint, expected, out=np.ones_like(joint), where=joint > 0)
    information = np.log(ratio).clip(min=0)
    np.fill_diagonal(information, information.diagonal().clip(min=COIN))
    return np.asarray(information)


def label_embeddings(y: np.ndarray, mask: np.ndarray, *, dim: int) -> Matrix:
    """(L, min(dim, L)): E with E E^T = |M|, which is the positive mutual information M with its negative
    eigenvalues made positive. Each column is for the finding that the columns before it explain least. With
    fewer than L columns the common findings, which have the least information, can be lost.

    Singular vectors would do as well, but their signs, and where singular values are equal their directions,
    are the BLAS kernel's choice. |M| has none, nor has its Cholesky factor: the same labels give the same
    numbers on every processor. Source: pivoted Cholesky, Higham, "Analysis of the Cholesky decomposition of a
    semi-definite matrix", 1990.
    """
    values, vectors = np.linalg.eigh(positive_mutual_information(y, mask))
    rest = (vectors * np.abs(values)) @ vectors.T  # |M|, whatever the vectors
    columns = np.zeros((len(rest), min(dim, len(rest))))
    for k in range(columns.shape[1]):
        largest = rest.diagonal().round(DECIMALS).argmax()  # of equal ones the first, whatever rounding says
        pivot = int(largest)
        if rest[pivot, pivot] < SMALLEST_PIVOT:
            break
        columns[:, k] = rest[:, pivot] / np.sqrt(rest[pivot, pivot])
        rest = rest - np.outer(columns[:, k], columns[:, k])
    embeddings: Matrix = (columns.round(DECIMALS) + 0.0).astype(np.float32)  # -0.0 would be rounding's choice
    return embeddings


def read_embeddings(path: Path, findings: Sequence[str], *, dim: int) -> Matrix:
    """(L, dim) from a user's `.npy` file, with the findings' names beside it in `.txt`, one a line, in the
    order of its rows. Raises UserError where anything is not as the findings of this training.
    """
    names_path = path.with_suffix(".txt")
    for needed in (path, names_path):
        if not needed.is_file():
            raise UserError(
                f"{needed}: no such file; give label embeddings as {path.name}, one row per finding, "
                f"and {names_path.name}, the findings' names in that order, one per line."
            )
    _check_names(names_path, findings)
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except (
        ValueError,
        TypeError,
        SyntaxError,
        TokenError,
        OSError,
        OverflowError,
    ) as error:  # so are damaged headers told
        raise UserError(
            f"{path}: not an array of numbers written by numpy.save ({error}); save it again."
        ) from error
    if array.dtype.kind not in "fiu":
        raise UserError(f"{path}: holds {array.dtype}; save real numbers, such as float32.")
    if array.ndim != 2 or len(array) != len(findings):
        raise UserError(
            f"{path}: shape {array.shape}; {counted(len(findings), 'row')} are needed, one per finding."
        )
    if array.shape[1] != dim:
        raise UserError(
            f"{path}: {array.shape[1]} columns; set train.head.embedding_dim to that (it is {dim})."
        )
    with np.errstate(over="ignore"):  # infinite in float32: refused below
        embeddings: Matrix = np.array(array, dtype=np.float32)
    for name, row in zip(findings, embeddings, strict=True):
        if not (np.isfinite(row).all() and row.any()):
            raise UserError(
                f"{path}: the row of {name!r} is all zeros or not finite in float32; correct that row."
            )
    return embeddings


def _check_names(path: Path, findings: Sequence[str]) -> None:
    """A BOM, CRLF and blank lines at the end are fine. Raises UserError."""
    try:
        names = path.read_text(encoding="utf-8-sig").rstrip("\n").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8; save the names as UTF-8 text.") from error
    if names == list(findings):
        return
    if sorted(names) == sorted(findings):
        line = next(i for i, (a, b) in enumerate(zip(names, findings, strict=True)) if a != b)
        raise UserError(
            f"{path}:{line + 1}: {names[line]!r}, but the findings' order has {findings[line]!r} here; bring "
            "rows and names to that order."
        )
    missing = [name for name in findings if name not in names]
    unknown = [name for name in names if name not in findings]
    twice = sorted({name for name in names if names.count(name) > 1})
    raise UserError(
        f"{path}: missing {missing}, unknown {unknown}, twice {twice}; write one line per finding, in their "
        "order."
    )
