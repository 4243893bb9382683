"""Label embeddings from labels, learned, and from a user's file: which files are refused, and how."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from cxrscore.core.errors import UserError
from cxrscore.model.heads.embeddings import LabelEmbeddings
from cxrscore.tables.cooccurrence import label_embeddings, read_embeddings

FINDINGS = ("Edema", "Lung Lesion", "Kyphose près du cœur")
L, D = 3, 4
ROWS = np.random.default_rng(0).normal(size=(L, D)).astype(np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file as it should be, with its names."""
    np.save(tmp_path / "words.npy", ROWS)
    (tmp_path / "words.txt").write_text("\n".join(FINDINGS) + "\n", encoding="utf-8")
    return tmp_path / "words.npy"


def test_a_file_with_its_names_is_read_as_it_is(path: Path) -> None:
    found = read_embeddings(path, FINDINGS, dim=D)
    assert found.dtype == np.float32
    assert np.array_equal(found, ROWS)


@pytest.mark.parametrize("dtype", ["float16", "float64", ">f4", "int64", "uint8"])
def test_any_real_numbers_are_taken(path: Path, dtype: str) -> None:
    rows = np.arange(1, 1 + L * D).reshape(L, D)
    np.save(path, rows.astype(dtype))
    assert np.array_equal(read_embeddings(path, FINDINGS, dim=D), rows)
    np.save(path, np.asfortranarray(rows.astype(dtype)))
    assert np.array_equal(read_embeddings(path, FINDINGS, dim=D), rows)


NAMES = {
    "a byte order mark": "\ufeff" + "\n".join(FINDINGS) + "\n",
    "line ends of Windows": "\r\n".join(FINDINGS) + "\r\n",
    "both": "\ufeff" + "\r\n".join(FINDINGS),
    "no line end at the end": "\n".join(FINDINGS),
    "blank lines at the end": "\n".join(FINDINGS) + "\n\n\n",
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_names_are_read_as_editors_save_them(path: Path, names: str) -> None:
    path.with_suffix(".txt").write_bytes(names.encode())
    assert np.array_equal(read_embeddings(path, FINDINGS, dim=D), ROWS)


WRONG_NAMES = {
    "another order": (
        "Edema\nKyphose près du cœur\nLung Lesion\n",
        r"words\.txt:2: 'Kyphose près du cœur', but the findings' order has 'Lung Lesion' here",
    ),
    "missing": ("Edema\nLung Lesion\n", r"words\.txt: missing \['Kyphose près du cœur'\], unknown \[\]"),
    "misspelt": (
        "Edema\nLung lesion\nKyphose près du cœur\n",
        r"\['Lung Lesion'\], unknown \['Lung lesion'\]",
    ),
    "one more": ("\n".join([*FINDINGS, "Nodule"]), r"missing \[\], unknown \['Nodule'\], twice \[\]"),
    "twice": ("\n".join([*FINDINGS, "Edema"]), r"missing \[\], unknown \[\], twice \['Edema'\]"),
    "a blank line between": ("\n\n".join(FINDINGS), r"missing \[\], unknown \['', ''\]"),
    "none": ("", r"missing \['Edema', 'Lung Lesion', 'Kyphose près du cœur'\]"),
}


@pytest.mark.parametrize(("names", "message"), WRONG_NAMES.values(), ids=WRONG_NAMES)
def test_names_that_are_not_the_findings_are_told(path: Path, names: str, message: str) -> None:
    path.with_suffix(".txt").write_text(names, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        read_embeddings(path, FINDINGS, dim=D)


def test_names_in_another_encoding_are_refused(path: Path) -> None:
    path.with_suffix(".txt").write_bytes("\n".join(FINDINGS).encode("cp1252"))
    with pytest.raises(UserError, match=r"words\.txt: not UTF-8; save the names as UTF-8"):
        read_embeddings(path, FINDINGS, dim=D)


@pytest.mark.parametrize("suffix", [".npy", ".txt"])
def test_a_missing_file_is_named_with_what_belongs_in_it(path: Path, suffix: str) -> None:
    path.with_suffix(suffix).unlink()
    message = rf"words\{suffix}: no such file; give label embeddings as words\.npy, .* and words\.txt, the"
    with pytest.raises(UserError, match=message):
        read_embeddings(path, FINDINGS, dim=D)


def with_entry(value: float, dtype: str = "float32") -> np.ndarray:
    rows = ROWS.astype(dtype)
    rows[1, 2] = value
    return rows


WRONG_ARRAYS = {
    "one row too few": (ROWS[:2], r"words\.npy: shape \(2, 4\); 3 rows are needed, one per finding"),
    "a vector": (ROWS[:, 0], r"words\.npy: shape \(3,\); 3 rows are needed"),
    "three axes": (ROWS[:, None], r"words\.npy: shape \(3, 1, 4\); 3 rows are needed"),
    "a number": (np.float32(1), r"words\.npy: shape \(\); 3 rows are needed"),
    "other columns": (
        ROWS[:, :3],
        r"words\.npy: 3 columns; set train\.head\.embedding_dim to that \(it",
    ),
    "no columns": (ROWS[:, :0], r"words\.npy: 0 columns; set train\.head\.embedding_dim"),
    "NaN": (with_entry(np.nan), r"words\.npy: the row of 'Lung Lesion' is all zeros or not finite"),
    "infinite": (with_entry(-np.inf), r"the row of 'Lung Lesion' is all zeros or not finite"),
    "too large for float32": (with_entry(1e300, "float64"), r"'Lung Lesion' is .* not finite in float32"),
    "a word without a vector": (ROWS * [[1], [1], [0]], r"the row of 'Kyphose près du cœur' is all zeros"),
    "strings": (ROWS.astype(str), r"words\.npy: holds <U32; save real numbers, such as float32"),
    "complex numbers": (ROWS.astype(complex), r"words\.npy: holds complex128; save real numbers"),
    "flags": (ROWS > 0, r"words\.npy: holds bool; save real numbers"),
}


@pytest.mark.parametrize(("array", "message"), WRONG_ARRAYS.values(), ids=WRONG_ARRAYS)
def test_arrays_that_are_no_embeddings_are_refused(path: Path, array: np.ndarray, message: str) -> None:
    np.save(path, array)
    with pytest.raises(UserError, match=message):
        read_embeddings(path, FINDINGS, dim=D)


def damaged_header(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"), }", b"),  ", 1))


def of_larger_shape(path: Path) -> None:
    """A header that asks for a hundred gigabytes: no memory is taken for it."""
    path.write_bytes(path.read_bytes().replace(b"(3, 4), }           ", b"(3, 9000000000), } ", 1))


def an_archive(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, ROWS)


WRONG_FILES: dict[str, Callable[[Path], object]] = {
    "pickled objects": lambda path: np.save(path, np.array([{"a": 1}, None]), allow_pickle=True),
    "cut in its numbers": lambda path: path.write_bytes(path.read_bytes()[:-3]),
    "cut in its header": lambda path: path.write_bytes(path.read_bytes()[:40]),
    "empty": lambda path: path.write_bytes(b""),
    "damaged in its header": damaged_header,
    "of a shape that is not in it": of_larger_shape,
    "a table": lambda path: path.write_text("Edema,0.1,0.2\n"),
    "an archive": an_archive,
}


@pytest.mark.parametrize("spoil", WRONG_FILES.values(), ids=WRONG_FILES)
def test_files_without_an_array_are_refused(path: Path, spoil: Callable[[Path], object]) -> None:
    before = path.read_bytes()
    spoil(path)
    assert path.read_bytes() != before
    with pytest.raises(UserError, match=r"words\.npy: not an array of numbers written by numpy\.save \(.+\)"):
        read_embeddings(path, FINDINGS, dim=D)


def labels() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return (rng.random((40, L)) < [0.5, 0.4, 0.2]).astype(float), rng.random((40, L)) < 0.9


def test_embeddings_are_those_of_their_source(path: Path) -> None:
    for source, dim, expected in (
        ("cooccurrence", 300, label_embeddings(*labels(), dim=300)),
        (str(path), D, ROWS),
    ):
        embeddings = LabelEmbeddings(source, findings=L, dim=dim)
        embeddings.begin(*labels(), findings=FINDINGS)
        assert embeddings.dim == expected.shape[1]
        assert np.array_equal(embeddings().numpy(), expected)
        assert not list(embeddings.parameters())


def test_only_learned_embeddings_learn_and_labels_do_not_touch_them() -> None:
    embeddings = LabelEmbeddings("learned", findings=L, dim=300)
    before = embeddings().detach().clone()
    embeddings.begin(*labels(), findings=FINDINGS)
    assert torch.equal(embeddings(), before)
    assert [tuple(weight.shape) for weight in embeddings.parameters()] == [(L, 300)]
    assert ((before.norm(dim=1) - 1).abs() < 0.2).all()


def test_a_file_of_other_findings_is_refused_when_training_begins(path: Path) -> None:
    embeddings = LabelEmbeddings(str(path), findings=L, dim=D)
    with pytest.raises(UserError, match=r"words\.txt: missing \['Nodule'\], unknown \['Lung Lesion'\]"):
        embeddings.begin(*labels(), findings=("Edema", "Nodule", FINDINGS[2]))


@pytest.mark.parametrize("source", ["cooccurrence", "learned", "a file"])
def test_the_state_alone_brings_embeddings_back(source: str, path: Path) -> None:
    source = str(path) if source == "a file" else source
    embeddings, again = (LabelEmbeddings(source, findings=L, dim=D) for _ in range(2))
    embeddings.begin(*labels(), findings=FINDINGS)
    path.unlink()
    again.load_state_dict(embeddings.state_dict())
    assert torch.equal(again(), embeddings())


def test_too_few_columns_to_tell_findings_apart_are_refused() -> None:
    y = np.zeros((100, 4))
    y[:30, :2] = 1  # always together
    y[60:65, 2] = y[70:72, 3] = 1
    embeddings = LabelEmbeddings("cooccurrence", findings=4, dim=2)
    with pytest.raises(UserError, match=r"embedding_dim: 2 columns leave no embedding for a, b; set it to 4"):
        embeddings.begin(y, np.ones_like(y, dtype=bool), findings=["a", "b", "c", "d"])
