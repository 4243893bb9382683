"""The demo's figures as `dvc repro` has just left them here, held against the committed ones.

    python tests/golden.py        # after `dvc repro`; exit code 1 where something differs that must not

What the stages before training make is bit-identical on every processor, by the hashes in the committed
dvc.lock. What a training makes is not: sums are rounded in another order, and eight epochs from random
weights amplify it. Its macro-AUC has to lie within SPREAD; 0.006 is what two servers with AVX-512 differ by.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
IDENTICAL = ("prepare", "folds")  # stages
SPREAD = 0.02  # of macro-AUC


def committed(name: str) -> str:
    words = ["git", "show", f"HEAD:{name}"]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def hashes(lock: str) -> dict[str, str]:
    """Path -> md5 of what the stages before training have made."""
    stages: dict[str, Any] = YAML(typ="safe").load(lock)["stages"]
    return {out["path"]: out["md5"] for name in IDENTICAL for out in stages[name]["outs"]}


def areas(metrics: str) -> dict[str, float]:
    found = json.loads(metrics)
    return {"one view": found["macro_auc"], **{name: found[name]["macro_auc"] for name in ("views", "study")}}


def main() -> int:
    lock, metrics = (
        (ROOT / "dvc.lock").read_text(encoding="utf-8"),
        (ROOT / "out" / "metrics.json").read_text(),
    )
    expected, found = hashes(committed("dvc.lock")), hashes(lock)
    wrong = [
        f"{path}: {md5} was {expected.get(path)}" for path, md5 in found.items() if expected.get(path) != md5
    ]
    for name, area in areas(committed("out/metrics.json")).items():
        here = areas(metrics)[name]
        sys.stdout.write(f"macro-AUC, {name}: {here:.5f}, committed {area:.5f}, {here - area:+.5f}\n")
        wrong += (
            [f"macro-AUC, {name}: more than {SPREAD} from the committed one"]
            if abs(here - area) > SPREAD
            else []
        )
    sys.stdout.write("".join(f"DIFFERS  {line}\n" for line in wrong) or f"identical: {', '.join(found)}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
