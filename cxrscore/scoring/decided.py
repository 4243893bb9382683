"""What a run of the scorer writes instead of the plain mean: calibrated probabilities, or calls.

In    Options; the file of decisions; (F, ..., L) scores of the ensemble.
Out   Decided, which reduces scores over folds. Raises UserError, before any work, for a choice that is none,
      a damaged file, or decisions of another ensemble.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import UserError
from cxrscore.decisions.decision_file import (
    Decisions,
    check_choice,
    read_decisions,
    refuse_other_ensemble,
)
from cxrscore.scoring.options import Options

if TYPE_CHECKING:
    from cxrscore.model.checkpoint import Fold

NAME = "decisions.json"


@dataclass(frozen=True)
class Decided:
    """`binary`: the rule whose thresholds make 0 and 1; None: probabilities. `sha256`: of the file."""

    path: Path
    decisions: Decisions
    sha256: str
    binary: str | None
    abstain: str | None

    def refuse_other_ensemble(self, ensemble: Sequence["Fold"], views: Sequence[str]) -> None:
        refuse_other_ensemble(
            self.path,
            self.decisions,
            models=[(fold.card.fold, fold.file_sha256) for fold in ensemble],
            views=views,
            findings=ensemble[0].card.findings,
        )

    def reduce(self, by_fold: NDArray[np.float32]) -> NDArray[np.float32]:
        """(F, ..., L) -> (..., L); NaN where nothing is decided. Computed in float64."""
        if self.binary is None:
            return self.decisions.mean(by_fold).astype(np.float32)
        return self.decisions.calls(by_fold, rule=self.binary, abstain=self.abstain).astype(np.float32)

    def spread(self, by_fold: NDArray[np.float32]) -> NDArray[np.float32]:
        """(F, L) -> (L,): the standard deviation over folds of calibrated probabilities."""
        spread: NDArray[np.float32] = self.decisions.maps.calibrated(by_fold).std(axis=0).astype(np.float32)
        return spread

    def without_threshold(self) -> list[str]:
        """Findings whose cells are all blank in a table of calls."""
        if self.binary is None:
            return []
        pairs = zip(self.decisions.findings, self.decisions.thresholds[self.binary], strict=True)
        return [name for name, threshold in pairs if np.isnan(threshold)]

    def facts(self) -> dict[str, Any]:
        """For the provenance: what shapes the table."""
        return {
            "sha256": self.sha256,
            "calibrated": True,
            "binary": self.binary,
            "abstain": self.abstain,
            **({"settings": dict(self.decisions.settings)} if self.binary else {}),
        }


def what_is_written(facts: Mapping[str, Any] | None) -> str:
    """`facts`: as Decided has them for the provenance; None: nothing is decided."""
    if facts is None:
        return "the plain mean of the models' probabilities"
    if facts["binary"] is None:
        return "calibrated probabilities"
    blank = f", blank where undecided ({facts['abstain']})" if facts["abstain"] else ""
    return f"calls, 0 and 1, by {facts['binary']}{blank}"


def read_decided(options: Options, models: Path) -> Decided | None:
    """None where the plain mean is asked for. `models`: the folder of checkpoints."""
    asked = check_choice(
        calibrated=options.calibrated, binary=options.binary, abstain=options.abstain, level=options.level
    )
    if not asked:
        if options.decisions is not None:
            raise UserError("--decisions: nothing is decided by it; give --calibrated or --binary RULE, too.")
        return None
    path = options.decisions or models.parent / NAME
    decisions, sha256 = read_decisions(path)
    return Decided(path, decisions, sha256, options.binary, options.abstain)
