"""Two runs or score tables against each other, as `cxrscore compare`.

In    names of revisions, experiments, folders or tables; or scores in memory.
Out   Comparison.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from cxrscore.python_api.arguments import PathLike, path_or_none
from cxrscore.python_api.progress import shown_progress
from cxrscore.python_api.records import Comparison, Scores

if TYPE_CHECKING:
    import polars as pl

COLUMNS = ("a", "b", "difference", "low", "high", "verdict", "more", "sentence")


def compare(
    a: "PathLike | Scores | pl.DataFrame",
    b: "PathLike | Scores | pl.DataFrame",
    *,
    labels: PathLike | None = None,
    project: PathLike = ".",
    progress: bool = False,
) -> Comparison:
    """How far the areas under the ROC curve and the other figures of `b` are from those of `a`, on the same
    images, with 95 % intervals over patients, and what may be said of each difference.

    Each is the name of a git revision or DVC experiment of `project`, "workspace", the folder of another
    project, a score table's file, or what `score` returned. `labels` measures both; without it runs have
    their own, and tables those of the project. Raises UserError, also where images, findings, labels or
    patients are not the same.

    Examples:
        >>> from cxrscore.api import compare
        >>> one_view, all_views = "out/oof/fold0.csv", "out/oof/fold0.views.csv"
        >>> found = compare(one_view, all_views, labels="data/labels.csv")
        >>> found.findings.columns[:6]
        ['finding', 'a', 'b', 'difference', 'low', 'high']
        >>> found.macro_auc["verdict"] in ("better", "worse", "cannot tell", "no interval")
        True
    """
    import polars as pl

    from cxrscore.compare import compare as story
    from cxrscore.python_api.frames import scores_in

    sides = (given if isinstance(given, str | Path) else scores_in(given) for given in (a, b))
    first, second = (str(side) if isinstance(side, Path) else side for side in sides)
    with shown_progress(progress) as shown:
        result = story(first, second, project=Path(project), labels_csv=path_or_none(labels), progress=shown)
    rows = [{"finding": name} | {key: one[key] for key in COLUMNS} for name, one in result["auc"].items()]
    numbers = dict.fromkeys(("a", "b", "difference", "low", "high"), pl.Float64)
    schema = {"finding": pl.String, **numbers, "verdict": pl.String, "more": pl.Int64, "sentence": pl.String}
    return Comparison(
        findings=pl.DataFrame(rows, schema),
        macro_auc=result.get("macro_auc", {}),
        figures=result,
        notes=tuple(result["notes"]),
    )
