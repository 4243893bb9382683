"""Scoring, evaluation, labels and the stages as Python functions: for notebooks, scripts and other programs.

In    paths, arrays and plain keyword arguments, named as the options of the command of the same name, but
      for --output, which is `out`, and --input, which is `source`.
Out   arrays, polars frames and small records of them. Nothing is printed unless `progress=True`.

    from cxrscore.api import evaluate, load_ensemble, score

Paths are text or `pathlib.Path`, relative to the current folder. `workers` are decoding processes: by default
one per core, 16 at most; with 0 this process decodes, and a file that crashes a decoder takes it along.
`device` is auto, cpu, cuda or cuda:N; `dtype` is auto, fp32, bf16 or fp16.

All functions raise `UserError` for what the caller can correct; it says what was found, where, and what would
be right. Where it names an option such as --overwrite, the argument `overwrite` is meant. `Busy` says that
another run holds an output, `Stopped` that a run ended early and what it did is kept: a full disk, too many
files that cannot be read, or Ctrl-C in the main thread.

Heavy libraries are imported when a function first needs them: this module imports none. It is
the list of names; the functions are in python_api/.
"""

from cxrscore.core.errors import Busy, Stopped, Unreadable, UserError
from cxrscore.python_api.checks import check, verify
from cxrscore.python_api.comparison import compare
from cxrscore.python_api.ensemble import Ensemble, load_ensemble
from cxrscore.python_api.evaluation import evaluate, test
from cxrscore.python_api.images import phantom, read_image
from cxrscore.python_api.labels import labels_frame, read_labels, stratify
from cxrscore.python_api.pipeline import decide, folds, prepare, report, train
from cxrscore.python_api.records import (
    Checked,
    Comparison,
    Decided,
    Evaluation,
    FoldTable,
    Prepared,
    QuarantineWarning,
    Scores,
)
from cxrscore.python_api.scoring import score

__all__ = [
    "Busy",
    "Checked",
    "Comparison",
    "Decided",
    "Ensemble",
    "Evaluation",
    "FoldTable",
    "Prepared",
    "QuarantineWarning",
    "Scores",
    "Stopped",
    "Unreadable",
    "UserError",
    "check",
    "compare",
    "decide",
    "evaluate",
    "folds",
    "labels_frame",
    "load_ensemble",
    "phantom",
    "prepare",
    "read_image",
    "read_labels",
    "report",
    "score",
    "stratify",
    "test",
    "train",
    "verify",
]
