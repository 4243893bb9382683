"""Label tables, as arrays and frames; patients assigned to folds.

In    a CSV file of labels and what its columns mean; or arrays of labels and patients.
Out   LabelTable; a polars frame of it; fold (n,) int64.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cxrscore.core.errors import UserError
from cxrscore.python_api.arguments import LABELS, PathLike, label_settings, number

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import ArrayLike, NDArray

    from cxrscore.tables.label_table import LabelTable


def read_labels(
    path: PathLike = LABELS,
    *,
    params: PathLike | None = None,
    format: Literal["table", "chexpert", "nih"] | None = None,
    id: str | None = None,
    patient: str | None = None,
    patient_pattern: str | None = None,
    study: str | None = None,
    patient_ids: Literal["text", "number", "distinct"] | None = None,
    findings: Sequence[str] = (),
    blank: Literal["zero", "ignore", "error"] | None = None,
    uncertain: Literal["zero", "one", "ignore", "error"] | None = None,
    readers: Literal["error", "majority", "any", "mean"] | None = None,
) -> "LabelTable":
    """A label table: `ids`, `findings`, `y` (n, L) int8 of 0 and 1, `mask` (n, L) bool, `patient`, `study`.

    What is not given is as the section `labels` of `params` says; without `params`, as in a plain table:
    `id` is a column named as images are (Image_name, Image Index, Path, ...), else the first; there are no
    patients and studies; a blank label, one of -1 and a second row of an image are errors; and `findings`
    have to be listed. Where `mask` is False the label is unknown, and `y` is 0. Raises UserError.

    Examples:
        >>> from cxrscore.api import read_labels
        >>> table = read_labels("data/labels.csv", patient="Patient_ID", findings=["Edema", "Fracture"])
        >>> table.y.shape == table.mask.shape == (len(table.ids), 2)
        True
        >>> read_labels("data/labels.csv", params="params.yaml").findings[:2]
        ('Atelectasis', 'Cardiomegaly')
    """
    from cxrscore.evaluation.joined_scores import PLAIN
    from cxrscore.project.params_file import read_params
    from cxrscore.tables import labels
    from cxrscore.tables.datasets.column_names import IDS, named
    from cxrscore.tables.foreign_table import read_foreign_table

    settings = {**PLAIN, "findings": []} if params is None else read_params(Path(params)).labels.model_dump()
    given = {
        "format": format,
        "id": id,
        "patient": patient,
        "patient_pattern": patient_pattern,
        "study": study,
        "patient_ids": patient_ids,
        "findings": list(findings) or None,
        "blank": blank,
        "uncertain": uncertain,
        "readers": readers,
    }
    settings |= {name: value for name, value in given.items() if value is not None}
    if "id" not in settings:
        columns = list(read_foreign_table(Path(path)).columns)
        settings["id"] = named(columns, IDS) or columns[0]
    return labels.read_labels(Path(path), **label_settings(settings))


def labels_frame(table: "LabelTable") -> "pl.DataFrame":
    """A label table as a frame: id, then patient, study, view, sex and age where they are known, then one
    Int8 column per finding, null where the label is unknown.

    Examples:
        >>> from cxrscore.api import labels_frame, read_labels
        >>> frame = labels_frame(read_labels("data/labels.csv", params="params.yaml"))
        >>> frame.columns[:4], frame["Edema"].dtype
        (['id', 'patient', 'study', 'view'], Int8)
    """
    from cxrscore.python_api.frames import labels_frame as frame_of

    return frame_of(table)


def stratify(
    y: "ArrayLike", patient: Sequence[Any] | None = None, *, k: int = 5, seed: int = 0
) -> "NDArray[np.int64]":
    """(n, L) labels of 0 and 1 -> (n,) int64, the fold from 0 to k - 1 in which each image is validated.

    Findings and pairs of findings are spread evenly, and no patient lies in two folds. Without `patient` the
    images are dealt one by one, and those of one patient may lie in several folds. The same for the same
    seed on every machine. Raises UserError, as for more folds than patients.

    Examples:
        >>> from cxrscore.api import stratify
        >>> y = [[1, 0], [0, 1], [1, 0], [0, 1]]
        >>> fold = stratify(y, ["a", "b", "c", "d"], k=2)
        >>> sorted(fold.tolist())
        [0, 0, 1, 1]
    """
    import numpy as np

    from cxrscore.tables import stratify as stratification

    number("k", k, least=2)
    number("seed", seed, least=0)
    labels = np.asarray(y)
    if labels.ndim != 2 or not np.isin(labels, (0, 1)).all():
        raise UserError(f"y: an array of shape {labels.shape}; labels of 0 and 1, (n, L), were expected.")
    if patient is None:
        return stratification.stratify_images(labels, k=k, seed=seed)
    if len(patient) != len(labels):
        raise UserError(f"patient: {len(patient)} of {len(labels)} images; give one for each row of y.")
    return stratification.stratify(labels, patient, k=k, seed=seed)
