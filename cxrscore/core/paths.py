"""Where the pipeline keeps its files: the names of dvc.yaml's outputs, in one place."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

NUMBERED = re.compile(r"fold([0-9]{1,3})\.(?:views\.)?(?:safetensors|csv|json)\Z")


@dataclass(frozen=True)
class Layout:
    """Paths under one output folder, `out` in a project; what a training writes can have a folder apart."""

    root: Path
    apart: Path | None = None

    def experiment(self, name: str) -> "Layout":
        """Another training of the same prepared images and folds."""
        return replace(self, apart=self.ablation / name)

    @property
    def trained(self) -> Path:
        return self.apart or self.root

    @property
    def ablation(self) -> Path:
        return self.root / "ablation"

    @property
    def prepared(self) -> Path:
        return self.root / "prepared"

    @property
    def folds(self) -> Path:
        return self.root / "folds.csv"

    @property
    def balance(self) -> Path:
        return self.root / "balance.json"

    @property
    def models(self) -> Path:
        return self.trained / "models"

    @property
    def oof(self) -> Path:
        return self.trained / "oof"

    @property
    def plots(self) -> Path:
        return self.root / "plots"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.json"

    @property
    def test(self) -> Path:
        return self.root / "test"

    @property
    def test_metrics(self) -> Path:
        return self.root / "test_metrics.json"

    @property
    def test_fold_scores(self) -> Path:
        """Of the held-out test, each fold's own; beside the scores, as `score` calls it."""
        return self.test / "scores.csv.folds.csv"

    @property
    def decisions(self) -> Path:
        return self.root / "decisions.json"

    @property
    def decision_tables(self) -> Path:
        return self.root / "decisions"

    @property
    def decision_metrics(self) -> Path:
        return self.root / "decision_metrics.json"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    def of_other_folds(self, folds: Iterable[int]) -> dict[int, list[Path]]:
        """What trainings of folds that are not in `folds` have left: fold -> its files."""
        wanted, found = set(folds), dict[int, list[Path]]()
        for folder in (
            self.models,
            self.oof,
            *(self.trained / name for name in ("history", "learned", "summary")),
        ):
            for path in sorted(folder.glob("fold*.*")):
                number = NUMBERED.match(path.name)
                if number and int(number[1]) not in wanted:
                    found.setdefault(int(number[1]), []).append(path)
        return found

    def checkpoint(self, fold: int) -> Path:
        return self.models / f"fold{fold}.safetensors"

    def scores(self, fold: int, *, views: bool) -> Path:
        """Of the image as it is, or the mean over all views of train.views."""
        return self.oof / (f"fold{fold}.views.csv" if views else f"fold{fold}.csv")

    def history(self, fold: int) -> Path:
        return self.trained / "history" / f"fold{fold}.csv"

    def learned(self, fold: int) -> Path:
        return self.trained / "learned" / f"fold{fold}.json"

    def summary(self, fold: int) -> Path:
        return self.trained / "summary" / f"fold{fold}.json"
