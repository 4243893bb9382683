"""How much memory a run of the scorer takes as its folder grows: a process each for few files and for many.

    python tests/programs/memory.py --files 2000 50000

Small phantoms, hard-linked, and a tiny model. Out: the highest resident memory of each run, in MB.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from cxrscore.benchmarks.random_models import save_folds
from cxrscore.core.device import Machine
from cxrscore.core.progress import Silent
from cxrscore.phantom import make_phantoms
from cxrscore.score import score
from cxrscore.scoring.options import Options

ORIGINALS = 100


def folder_of(root: Path, files: int) -> Path:
    """`files` images under names of their own, in folders of 1,000."""
    originals = sorted((root / "phantoms" / "images").iterdir())
    folder = root / str(files)
    for i in range(files):
        path = folder / f"{i // 1000:03d}" / f"{i:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(originals[i % len(originals)], path)
    return folder


def run(folder: Path, models: Path) -> None:
    torch.set_num_threads(1)
    outcome = score(
        str(folder),
        folder.with_suffix(".csv"),
        Options(workers=1, views=("plain",)),
        models=models,
        machine=Machine(torch.device("cpu"), torch.float32),
        progress=Silent(),
    )
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    sys.stdout.write(f"{outcome.scored:,} files: {highest:,.0f} MB\n")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, nargs="+", default=[2000, 50000])
    parser.add_argument("--run", type=Path, nargs=2, help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.run:
        run(*words.run)
        return
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        make_phantoms(root / "phantoms", images=ORIGINALS, size=48, seed=0, workers=1)
        gray = torch.zeros(2, 1, 32, 32, dtype=torch.uint8)
        (root / "models").mkdir()
        save_folds(root / "models", "test_resnet", gray, size=32, folds=2)
        for files in words.files:
            words_of_run = [sys.executable, __file__, "--run", folder_of(root, files), root / "models"]
            subprocess.run(words_of_run, check=True)


if __name__ == "__main__":
    main()
