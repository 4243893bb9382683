"""What was decided out of fold, in one sealed file that is bound to the checkpoints it was decided for.

In    FoldMaps, thresholds, Limits, and which models, views and findings they are of.
Out   out/decisions.json, and the same back. Raises UserError for a file that is damaged, was changed by hand,
      or is of another ensemble.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import UserError
from cxrscore.core.files import is_count, is_number
from cxrscore.core.sealed_json import read_sealed_json, write_sealed_json
from cxrscore.decisions.abstention import (
    CONFORMAL,
    WAYS,
    Limits,
    kept_by_all,
    kept_by_limits,
)
from cxrscore.decisions.calibration import CalibrationMap
from cxrscore.decisions.fold_maps import NONE, OWN, POOLED, FoldMaps
from cxrscore.decisions.thresholds import RULES, calls_of

SCHEMA = 1
MADE_BY = "cxrscore decide"
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Decisions:
    """`models`: fold and sha256 of each checkpoint, in the order of `maps`. `thresholds`: rule -> (L,), NaN
    where there is none. `settings`: coverage, sensitivity and specificity, as they were chosen.
    """

    findings: tuple[str, ...]
    models: tuple[tuple[int, str], ...]
    views: tuple[str, ...]
    settings: Mapping[str, float]
    maps: FoldMaps
    thresholds: Mapping[str, Floats]
    limits: Limits

    def mean(self, by_fold: NDArray[np.floating]) -> Floats:
        """(F, ..., L) scores -> (..., L) probabilities: calibrated model by model, then averaged."""
        found: Floats = self.maps.calibrated(by_fold).mean(0)
        return found

    def calls(self, by_fold: NDArray[np.floating], *, rule: str, abstain: str | None) -> Floats:
        """(F, ..., L) scores -> (..., L) 1, 0, and NaN where nothing is decided."""
        thresholds, calibrated = self.thresholds[rule], self.maps.calibrated(by_fold)
        probs = calibrated.mean(0)
        calls = calls_of(probs, thresholds)
        if abstain is None:
            return calls
        if abstain == CONFORMAL:
            kept = kept_by_limits(probs, calls, self.limits)
        else:
            kept = kept_by_all(calibrated, calls, thresholds)
        return np.where(kept, calls, np.nan)


def write_decisions(path: Path, decisions: Decisions) -> None:
    d = decisions
    findings: dict[str, Any] = {}
    for j, name in enumerate(d.findings):
        findings[name] = {
            "calibration": {
                "fitted_to": d.maps.source[j],
                "patients_with_it": [shown[j] for shown in d.maps.shown],
                "maps": [{"a": own[j].a, "b": own[j].b, "c": own[j].c} for own in d.maps.maps],
            },
            "thresholds": {rule: _or_null(values[j]) for rule, values in d.thresholds.items()},
            "present_ruled_out_below": _or_null(d.limits.present_below[j]),
            "absent_ruled_out_above": _or_null(d.limits.absent_above[j]),
        }
    facts = {
        "schema": SCHEMA,
        "models": [{"fold": fold, "sha256": sha256} for fold, sha256 in d.models],
        "views": list(d.views),
        "settings": dict(d.settings),
        "findings": findings,
    }
    write_sealed_json(path, facts)


def read_decisions(path: Path) -> tuple[Decisions, str]:
    """-> the decisions and the sha256 of the file."""
    facts, sha256 = read_sealed_json(path, made_by=MADE_BY)
    if is_count(facts.get("schema")) and facts["schema"] > SCHEMA:
        raise UserError(
            f"{path}: schema {facts['schema']}, this version reads up to {SCHEMA}; update cxrscore."
        )
    try:
        return _decisions(facts), sha256
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not of the shape of decisions ({error}); run `{MADE_BY}` again.") from error


def refuse_other_ensemble(
    path: Path,
    decisions: Decisions,
    *,
    models: Sequence[tuple[int, str]],
    views: Sequence[str],
    findings: Sequence[str],
) -> None:
    """`models`: fold and sha256 of each that scores, in the order of their scores. Raises UserError."""
    again = f"use those, or run `{MADE_BY}` for these"
    own, given = [fold for fold, _ in decisions.models], [fold for fold, _ in models]
    if own != given:
        raise UserError(f"{path}: made for folds {own}, not for {given}; {again}.")
    others = [
        fold for (fold, own), (_, sha256) in zip(decisions.models, models, strict=True) if own != sha256
    ]
    if others:
        raise UserError(
            f"{path}: made for other checkpoints: the SHA-256 of fold {others[0]} is another one; {again}."
        )
    if list(decisions.views) != list(views):
        mine, theirs = ",".join(decisions.views), ",".join(views)
        raise UserError(
            f"{path}: made for the views {mine}, not for {theirs}; use those with --views {mine}."
        )
    if list(decisions.findings) != list(findings):
        raise UserError(
            f"{path}: made for other findings than these checkpoints score; run `{MADE_BY}` again."
        )


def check_choice(*, calibrated: bool, binary: str | None, abstain: str | None, level: str) -> bool:
    """Whether decisions are asked for. Raises UserError for what does not go together."""
    if not (calibrated or binary or abstain):
        return False
    if binary is not None and binary not in RULES:
        raise UserError(f"--binary: {binary!r}; one of {', '.join(RULES)}.")
    if abstain is not None and abstain not in WAYS:
        raise UserError(f"--abstain: {abstain!r}; one of {', '.join(WAYS)}.")
    if calibrated and binary:
        raise UserError("--calibrated: writes probabilities, and --binary 0 and 1; give one of the two.")
    if abstain and not binary:
        raise UserError("--abstain: leaves cells of a table of 0 and 1 blank; give --binary RULE, too.")
    if level == "study":
        option = "--binary" if binary else "--calibrated"
        raise UserError(
            f"--level study: {option} was decided from scores of single images, and a mean over a study is "
            "another score; use --level image."
        )
    return True


def _or_null(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _decisions(facts: Mapping[str, Any]) -> Decisions:
    """Raises ValueError, or what facts of another shape make Python raise."""
    findings, models, settings = facts["findings"], facts["models"], facts["settings"]
    _right(facts["schema"] == SCHEMA, f"schema {facts['schema']!r}")
    _right(bool(findings) and bool(models), "no finding or no model")
    _right(all(is_count(one["fold"]) and isinstance(one["sha256"], str) for one in models), "models")
    _right(all(isinstance(view, str) for view in facts["views"]), "views")
    _right(settings.keys() == {"coverage", "sensitivity", "specificity"}, "settings")
    _right(all(map(_is_share, settings.values())), "settings")
    by_finding = [_calibration(one["calibration"], len(models)) for one in findings.values()]
    for one in findings.values():
        _right(one["thresholds"].keys() == set(RULES), "other rules than this version has")
    return Decisions(
        findings=tuple(findings),
        models=tuple((one["fold"], one["sha256"]) for one in models),
        views=tuple(facts["views"]),
        settings=dict(settings),
        maps=FoldMaps(
            maps=tuple(zip(*(maps for maps, _, _ in by_finding), strict=True)),
            source=tuple(source for _, source, _ in by_finding),
            shown=tuple(zip(*(counts for _, _, counts in by_finding), strict=True)),
        ),
        thresholds={
            rule: np.array([_or_nan(one["thresholds"][rule]) for one in findings.values()]) for rule in RULES
        },
        limits=Limits(
            present_below=np.array([_or_nan(one["present_ruled_out_below"]) for one in findings.values()]),
            absent_above=np.array([_or_nan(one["absent_ruled_out_above"]) for one in findings.values()]),
        ),
    )


def _calibration(facts: Mapping[str, Any], folds: int) -> tuple[list[CalibrationMap], str, list[int]]:
    source, shown = facts["fitted_to"], facts["patients_with_it"]
    _right(source in (OWN, POOLED, NONE), f"fitted_to {source!r}")
    _right(len(shown) == len(facts["maps"]) == folds and all(map(is_count, shown)), "as many maps as models")
    for one in facts["maps"]:
        _right(one.keys() == {"a", "b", "c"} and all(map(is_number, one.values())), "a map of other numbers")
        _right(one["a"] > 0 and one["b"] > 0, "a map that does not increase")
    return [CalibrationMap(**one) for one in facts["maps"]], source, shown


def _is_share(value: Any) -> TypeGuard[float]:
    return is_number(value, least=0) and value <= 1


def _or_nan(value: Any) -> float:
    _right(value is None or (is_number(value, least=0) and value <= 2), f"a threshold of {value!r}")
    return np.nan if value is None else float(value)


def _right(held: bool, what: str) -> None:
    if not held:
        raise ValueError(what)
