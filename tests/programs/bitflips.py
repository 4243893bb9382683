"""Single bits of a checkpoint are flipped, each in a file that is whole otherwise: none may load as another
model, and each refusal is an error that a person can correct.

In    how many flips, and a seed. A quarter falls on the card, a quarter on the header that holds it, and
      half on any byte of the file.
Out   one line of counts, and a line for each flip that went wrong; exit code 1 where one did.

    python tests/programs/bitflips.py --flips 10000

`same`: it loads with the card and the weights that were saved, for the bit means nothing.
"""

import argparse
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from cxrscore.core.device import Machine, seeded
from cxrscore.core.errors import UserError
from cxrscore.core.safetensors_digest import digest_of
from cxrscore.images.reading import PREPROCESSING
from cxrscore.model.checkpoint import Card, load_fold, save_checkpoint
from cxrscore.model.ensemble import load_ensemble
from cxrscore.model.heads.registry import head_settings
from cxrscore.model.network import build_model

CPU = Machine(torch.device("cpu"), torch.float32)
FINDINGS = ["Atelectasis", "Cardiomegaly", "Edema", "Pneumothorax"]
HEAD = {"kind": "independent", "dropout": 0.1, "pool": "gap"}


@dataclass
class Tally:
    """`counts` by outcome: refused, same, another, traceback; `wrong` describes the last two."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        names = ("refused", "same", "another", "traceback")
        return f"{self.counts.total()} loads: " + ", ".join(f"{self.counts[name]} {name}" for name in names)


def make_checkpoint(folder: Path) -> Path:
    """The one fold of an ensemble, so that the folder loads by itself."""
    with seeded(CPU, 0):
        model = build_model(
            "test_resnet", init="none", findings=len(FINDINGS), head=head_settings(HEAD), size=32
        )
    facts: dict[str, Any] = {"backbone": "test_resnet", "head": HEAD, "size": 32, "fold": 0, "k": 1}
    card = Card(
        FINDINGS,
        "Image_name",
        **facts,
        preprocessing=PREPROCESSING,
        epoch=3,
        macro_auc=0.8125,
        prevalence=[0.5, 0.25, 0.0625, 1e-05],
        params={"train": {"lr": 0.002, "views": ["plain"], "note": "\u00e9"}},
        sha256={"labels": "0" * 64},
        versions={"cxrscore": "0.1.0"},
        views=["plain"],
    )
    path = folder / "fold0.safetensors"
    save_checkpoint(path, model.state_dict(), card)
    return path


def ends_of(data: bytes) -> tuple[int, int, int, int]:
    """How far from the file's beginning each fourth flip may fall: the card, the header, the whole twice."""
    card = data.index(b"}", data.index(b"schema"))
    return card, 8 + int.from_bytes(data[:8], "little"), len(data), len(data)


@contextmanager
def flipped(path: Path, bit: int) -> Iterator[None]:
    """Inside, this bit of the file is the other one."""
    with path.open("r+b", buffering=0) as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        try:
            file.seek(bit // 8)
            file.write(bytes([byte ^ 1 << bit % 8]))
            yield
        finally:
            file.seek(bit // 8)
            file.write(bytes([byte]))


def flip_bits(path: Path, *, flips: int, seed: int) -> Tally:
    """Each flipped file is loaded alone and as its folder's ensemble."""
    chance, whole, tally = random.Random(seed), path.read_bytes(), Tally()
    saved = meaning(path, "fold")
    ends = ends_of(whole)
    for i in range(flips):
        bit = chance.randrange(8 * ends[i % len(ends)])
        with flipped(path, bit):
            for way in ("fold", "ensemble"):
                outcome, why = outcome_of(path, way, saved)
                tally.counts[outcome] += 1
                if outcome in ("another", "traceback"):
                    tally.wrong.append(f"bit {bit % 8} of byte {bit // 8}, as {way}: {outcome} {why}")
    assert path.read_bytes() == whole, "a flip was not undone"
    return tally


def meaning(path: Path, way: str) -> tuple[Card, str]:
    """All of a checkpoint that decides a score."""
    fold = load_fold(path, CPU) if way == "fold" else load_ensemble(path.parent, CPU)[0]
    return fold.card, digest_of(fold.model.state_dict())


def outcome_of(path: Path, way: str, saved: tuple[Card, str]) -> tuple[str, str]:
    try:
        found = meaning(path, way)
    except UserError as error:
        return "refused", str(error)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - a panic in Rust is no Exception
        return "traceback", f"{type(error).__name__}: {error}"
    return ("same", "") if found == saved else ("another", repr(found[0]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--flips", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        tally = flip_bits(make_checkpoint(Path(folder)), flips=args.flips, seed=args.seed)
    sys.stdout.write(f"{tally}\n")
    sys.stdout.writelines(f"WRONG {line}\n" for line in tally.wrong)
    return bool(tally.wrong)


if __name__ == "__main__":
    sys.exit(main())
