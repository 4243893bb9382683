"""What a person chose for a run of `score`, with its defaults."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """How to score; none of it changes which pixels belong to which row."""

    template: Path | None = None
    id_kind: str = "relpath"
    root: Path | None = None  # of the paths in a table
    path_column: str | None = None
    study_column: str | None = None
    follow_symlinks: bool = False
    folds: tuple[int, ...] | None = None
    bit_depth: int | None = None  # of samples stored in 16 bits; none: as the models were trained
    views: tuple[str, ...] | None = None  # names in predict.VIEWS; none: as trained
    inputs: str | None = None  # a table of what heads read beside the pixels, or none: all of it is unknown
    level: str = "image"  # study: the mean over a study's images
    batch_size: int | None = None
    compile: str = "auto"
    workers: int = 2
    timeout_s: float = 8.0
    shard_rows: int = 256
    overwrite: bool = False
    resume: bool = False
    on_error: str = "quarantine"  # fail: write nothing | fill: the prevalence of the training rows
    max_errors: int | None = None
    format: str = "csv"  # or parquet
    std: bool = False
    csv_safe: bool = False
    calibrated: bool = False  # the mean of calibrated probabilities
    binary: str | None = None  # 0 and 1, by the thresholds of this rule
    abstain: str | None = None  # which calls are left out: conformal or disagreement
    decisions: Path | None = None  # none: decisions.json beside the folder of models
    by_fold: bool = False  # also each fold's own scores, which the stage `test` keeps for `decide`
