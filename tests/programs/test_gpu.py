"""What is run on a lent GPU machine runs: on a CPU, with the smallest of settings."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROGRAMS, TINY

SMALL = {"DEVICE": "cpu", "BACKBONE": TINY, "SIZE": "64", "COMPILE": "off", "ROUNDS": "1", "BATCH_SIZES": "8"}
FEW = {
    "FEW": "60",
    "EPOCHS": "3",
    "BATCH_SIZE": "8",
    "FILES": "8",
    "TRAIN_FILES": "16",
    "SCORE_FILES": "8",
    "STATE_S": "0",
}


@pytest.mark.slow
def test_each_kind_of_step_is_taken_on_a_cpu(tmp_path: Path) -> None:
    steps = ["device", "decode", "score", "train-8", "best-batch", "few", "resume"]
    here = {"OUT": str(tmp_path / "results"), "WORK": str(tmp_path / "work"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(PROGRAMS / "gpu.py"), *steps],
        env=os.environ | SMALL | FEW | here,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = (tmp_path / "results" / "results.jsonl").read_text().splitlines()
    records = {record["step"]: record for record in map(json.loads, lines)}
    assert {name: record.get("error") for name, record in records.items()} == dict.fromkeys(steps)
    assert done.returncode == 0
    resumed = records["resume"]["result"]
    assert resumed["resuming"] and resumed["killed_and_resumed"]["largest_difference"] == 0.0
