"""The demo's figures as `dvc repro` has just left them here, held against the committed ones.

    python tests/programs/golden.py    # after `dvc repro`; exit code 1 where something differs that must not

What the stages before training make is bit-identical on every processor, by the hashes in the committed
dvc.lock. What a training makes is not: sums are rounded in another order, and eight epochs from random
weights amplify it. Its macro-AUC has to lie within SPREAD, three times the largest difference seen, which is
0.006, between two servers of one instruction set.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
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


def differences(lock: str, metrics: str) -> list[str]:
    """Sentences about what differs and must not; prints the areas."""
    expected, found = hashes(committed("dvc.lock")), hashes(lock)
    wrong = [
        f"{path}: {found.get(path)}, committed {expected.get(path)}"
        for path in sorted(expected.keys() | found.keys())
        if found.get(path) != expected.get(path)
    ]
    here, there = areas(metrics), areas(committed("out/metrics.json"))
    for name, area in here.items():
        apart = area - there[name]
        sys.stdout.write(f"macro-AUC, {name}: {area:.5f}, committed {there[name]:.5f}, {apart:+.5f}\n")
        if abs(apart) > SPREAD:
            wrong.append(f"macro-AUC, {name}: more than {SPREAD} from the committed one")
    return wrong


def main() -> int:
    lock, metrics = ((ROOT / name).read_text(encoding="utf-8") for name in ("dvc.lock", "out/metrics.json"))
    wrong = differences(lock, metrics)
    sys.stdout.write(
        "\n".join(f"DIFFERS  {line}" for line in wrong) or f"identical: {', '.join(hashes(lock))}"
    )
    sys.stdout.write("\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
