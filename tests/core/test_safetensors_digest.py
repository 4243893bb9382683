"""Facts and tensors are under one seal: a change in either is noticed, and what is read is of one file."""

import dataclasses
import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bitflips
import pytest
import torch
from conftest import COUPLING, TINY, unseal
from safetensors.torch import load_file, save_file
from test_checkpoint import CARD, save_folds

import cxrscore.model.ensemble
from cxrscore.core.device import Machine, seeded
from cxrscore.core.errors import UserError
from cxrscore.core.files import sha256_file
from cxrscore.core.safetensors_digest import KEY, is_ours, read_facts, read_sealed, write_sealed
from cxrscore.model.checkpoint import load_fold, read_card, save_checkpoint
from cxrscore.model.ensemble import load_ensemble
from cxrscore.model.heads.registry import head_settings
from cxrscore.model.network import CXRModel, build_model

FACTS = {"names": ["a", "b"], "share": 0.1, "nested": {"é": [1, None, True]}}
TENSORS = {"w": torch.arange(6.0).reshape(2, 3), "count": torch.tensor(7), "none": torch.zeros(0, 3)}


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    write_sealed(tmp_path / "s.safetensors", TENSORS, FACTS)
    return tmp_path / "s.safetensors"


@pytest.fixture
def checkpoint(tmp_path: Path, tiny_model: CXRModel) -> Path:
    save_checkpoint(tmp_path / "fold0.safetensors", tiny_model.state_dict(), CARD)
    return tmp_path / "fold0.safetensors"


def entry_of(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    entry: dict[str, Any] = json.loads(header["__metadata__"][KEY])
    return entry


def put_entry(path: Path, entry: object) -> None:
    """The same tensors, and this as our metadata entry: an object, or its text."""
    save_file(load_file(path), path, metadata={KEY: entry if isinstance(entry, str) else json.dumps(entry)})


def replace_in_header(path: Path, old: bytes, new: bytes) -> None:
    """As an editor of bytes does it: the header's length is kept in step."""
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = data[8:end].replace(old, new)
    assert header != data[8:end]
    path.write_bytes(len(header).to_bytes(8, "little") + header + data[end:])


def refused_by_all(path: Path, match: str) -> None:
    cpu = Machine(torch.device("cpu"), torch.float32)
    for read in (read_card, lambda path: load_fold(path, cpu), lambda path: load_ensemble(path.parent, cpu)):
        with pytest.raises(UserError, match=match):
            read(path)


def test_facts_and_tensors_come_back_with_the_sha256_of_the_file(sealed: Path) -> None:
    found = read_sealed(sealed)
    assert found.facts == read_facts(sealed) == FACTS
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in TENSORS.items())
    assert found.sha256 == sha256_file(sealed)


def test_two_finding_names_that_change_places_are_noticed(checkpoint: Path) -> None:
    replace_in_header(checkpoint, rb"[\"a\", \"b\"", rb"[\"b\", \"a\"")
    refused_by_all(checkpoint, "its facts do not match their SHA-256")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (rb"\"size\": 32", rb"\"size\": 64"),
        (rb"[0.1, 0.2", rb"[0.2, 0.1"),
        (rb"\"fold\": 0", rb"\"fold\": 1"),
        (rb"\"alpha\": 0.3", rb"\"alpha\": 0.4"),
        (rb"\"macro_auc\": 0.75", rb"\"macro_auc\": 0.99"),
    ],
    ids=["size", "prevalences change places", "fold", "a setting of the head", "area"],
)
def test_no_fact_is_changed_unnoticed(checkpoint: Path, old: bytes, new: bytes) -> None:
    replace_in_header(checkpoint, old, new)
    refused_by_all(checkpoint, "its facts do not match their SHA-256")


def test_tensors_of_one_file_under_the_facts_of_another_are_noticed(tmp_path: Path, cpu: Machine) -> None:
    save_folds(tmp_path, cpu)
    first, second = (tmp_path / f"fold{fold}.safetensors" for fold in (0, 1))
    entry = entry_of(second)
    put_entry(first, entry)
    with pytest.raises(UserError, match="its weights do not match"):
        load_fold(first, cpu)
    put_entry(first, entry_of(second) | {"tensors": entry_of(first)["tensors"][::-1]})
    refused_by_all(first, "its facts do not match")


def test_hundreds_of_flipped_bits_are_all_refused(tmp_path: Path) -> None:
    tally = bitflips.flip_bits(bitflips.make_checkpoint(tmp_path), flips=300, seed=1)
    assert tally.wrong == []
    assert tally.counts["refused"] > 590


def test_the_program_that_flips_bits_sees_another_model_and_a_traceback(tmp_path: Path) -> None:
    path = bitflips.make_checkpoint(tmp_path)
    card, digest = bitflips.meaning(path, "fold")
    assert bitflips.outcome_of(path, "fold", (card, digest)) == ("same", "")
    other = dataclasses.replace(card, epoch=4)
    assert bitflips.outcome_of(path, "ensemble", (other, digest))[0] == "another"
    assert bitflips.outcome_of(path, "fold", (card, ""))[0] == "another"
    assert bitflips.outcome_of(None, "fold", (card, ""))[0] == "traceback"  # type: ignore[arg-type]


DAMAGED = "its facts do not match their SHA-256"
UNREADABLE = r"not a readable \.safetensors file"
ENTRIES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no seal": (lambda entry: {name: entry[name] for name in ("facts", "tensors")}, DAMAGED),
    "a seal too many": (lambda entry: entry | {"seal2": ""}, DAMAGED),
    "a seal that is null": (lambda entry: entry | {"seal": None}, DAMAGED),
    "a seal that is a list": (lambda entry: entry | {"seal": [entry["seal"]]}, DAMAGED),
    "facts that are a list": (lambda entry: entry | {"facts": [entry["facts"]]}, DAMAGED),
    "facts that are null": (lambda entry: entry | {"facts": None}, DAMAGED),
    "tensors that are a number": (lambda entry: entry | {"tensors": 7}, DAMAGED),
    "nothing": (lambda _: {}, DAMAGED),
    "a list": (lambda entry: [entry], UNREADABLE),
    "null": (lambda _: "null", UNREADABLE),
    "a number": (lambda _: "7", UNREADABLE),
    "no JSON": (lambda _: "{", UNREADABLE),
    "no text at all": (lambda _: "", UNREADABLE),
    "a name twice": (lambda e: json.dumps(e)[:-1] + ', "seal": "' + e["seal"] + '"}', UNREADABLE),
    "NaN": (lambda entry: entry | {"facts": {"card": float("nan")}}, UNREADABLE),
    "infinite": (lambda _: '{"facts": -Infinity}', UNREADABLE),
    "too large a float": (lambda _: '{"facts": 1e999}', UNREADABLE),
    "too long a whole number": (lambda _: '{"facts": ' + "9" * 5000 + "}", UNREADABLE),
    "a nesting too deep to read": (lambda _: "[" * 100_000, UNREADABLE),
    "a nesting too deep to copy": (lambda _: '{"facts":' + "[" * 500 + "]" * 500 + "}", UNREADABLE),
    "half a surrogate pair": (lambda _: '{"facts": "\\ud800"}', DAMAGED),
}


@pytest.mark.parametrize("kind", ENTRIES)
def test_an_odd_metadata_entry_is_an_error_to_mend(checkpoint: Path, kind: str) -> None:
    change, match = ENTRIES[kind]
    put_entry(checkpoint, change(entry_of(checkpoint)))
    refused_by_all(checkpoint, match)


HEADERS = [
    b"[]",
    b"7",
    b"null",
    b'{"__metadata__": 7}',
    b'{"__metadata__": {"cxrscore": 7}}',
    b'{"__metadata__": {"cxrscore": "{}", "cxrscore": "{}"}}',
    b'{"w": {"dtype": "F32", "shape": [], "data_offsets": ["a", "b"]}}',
    b'{"w": {"dtype": "F32", "shape": [], "data_offsets": [0, 99999999999999999999999]}}',
    b'{"w": {"dtype": "F32", "shape": []}}',
    b'{"w": 7}',
    b"\xff\xfe",
    b"{" * 5000,
    b'{"a":' * 100_000,
]


@pytest.mark.parametrize("header", HEADERS, ids=lambda header: header[:60].decode("latin-1"))
def test_an_odd_header_is_an_error_to_mend(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "fold0.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    refused_by_all(path, UNREADABLE)


@pytest.mark.parametrize("length", [2**64 - 1, 2**63, 10**9, 101])
def test_a_header_longer_than_its_file_is_not_waited_for(tmp_path: Path, length: int) -> None:
    path = tmp_path / "fold0.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + b" " * 100)
    refused_by_all(path, UNREADABLE)


@pytest.mark.parametrize("dtype", ["F8_E8M0", "F4", "C64", "F99", "F16"])
def test_tensors_of_a_type_that_was_not_sealed_are_an_error_to_mend(
    checkpoint: Path, cpu: Machine, dtype: str
) -> None:
    replace_in_header(checkpoint, b'"dtype":"F32"', f'"dtype":"{dtype}"'.encode())
    with pytest.raises(UserError, match=UNREADABLE):
        load_fold(checkpoint, cpu)


def test_what_cannot_be_opened_is_named(tmp_path: Path, cpu: Machine) -> None:
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(UserError, match=r"folder.safetensors: not a readable .*Is a directory"):
        load_fold(tmp_path / "folder.safetensors", cpu)
    for read in (read_card, read_sealed):
        with pytest.raises(UserError, match=r"none.safetensors: no such file"):
            read(tmp_path / "none.safetensors")


def test_facts_that_json_has_no_word_for_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_sealed(tmp_path / "s.safetensors", TENSORS, {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_the_facts_are_read_without_the_tensors(sealed: Path) -> None:
    data = bytearray(sealed.read_bytes())
    data[-1] ^= 1
    sealed.write_bytes(data)
    assert read_facts(sealed) == FACTS
    with pytest.raises(UserError, match="its weights do not match their SHA-256"):
        read_sealed(sealed)


def test_a_file_of_another_program_is_not_ours_and_any_of_ours_is(sealed: Path, tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "other.safetensors", metadata={"format": "pt"})
    save_file(TENSORS, tmp_path / "plain.safetensors")
    assert not is_ours(tmp_path / "other.safetensors")
    assert not is_ours(tmp_path / "plain.safetensors")
    assert is_ours(sealed)
    put_entry(sealed, "damaged")
    assert is_ours(sealed)


def test_an_unsealed_checkpoint_is_refused_with_the_command_that_seals_it(checkpoint: Path) -> None:
    unseal(checkpoint)
    refused_by_all(checkpoint, rf"without a SHA-256 of its metadata.*`cxrscore reseal {checkpoint} -o NEW`")


def test_a_checkpoint_is_read_once(checkpoint: Path, tmp_path: Path, cpu: Machine) -> None:
    """A pipe gives its bytes once; what would open the file again would wait for ever."""
    data, pipe = checkpoint.read_bytes(), tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(data,), daemon=True)
    writer.start()
    loaded = load_fold(pipe, cpu)
    writer.join()
    assert (loaded.card, loaded.file_sha256) == (CARD, load_fold(checkpoint, cpu).file_sha256)


def swap_two_findings(folder: Path) -> None:
    loaded = read_sealed(folder / "fold1.safetensors")
    card = dataclasses.replace(CARD, fold=1, findings=["b", "a", "c"])
    save_checkpoint(folder / "fold1.safetensors", loaded.tensors, card)


def copy_over(folder: Path) -> None:
    shutil.copy(folder / "fold0.safetensors", folder / "fold1.safetensors")


def train_again(folder: Path) -> None:
    with seeded(Machine(torch.device("cpu"), torch.float32), 7):
        model = build_model(TINY, init="none", findings=3, head=head_settings(COUPLING), size=32)
    save_checkpoint(
        folder / "fold1.safetensors", model.state_dict(), dataclasses.replace(CARD, fold=1, epoch=0)
    )


@pytest.mark.parametrize("replace", [swap_two_findings, copy_over, train_again])
def test_what_was_checked_is_what_was_loaded(
    tmp_path: Path, cpu: Machine, monkeypatch: pytest.MonkeyPatch, replace: Callable[[Path], None]
) -> None:
    """Another process replaces a file when the cards have been checked."""
    save_folds(tmp_path, cpu)

    def load_late(path: Path, machine: Machine) -> Any:
        if path.name == "fold0.safetensors":
            replace(tmp_path)
        return load_fold(path, machine)

    monkeypatch.setattr(cxrscore.model.ensemble, "load_fold", load_late)
    with pytest.raises(
        UserError, match=r"fold1.safetensors: replaced by another checkpoint while it was read"
    ):
        load_ensemble(tmp_path, cpu)
