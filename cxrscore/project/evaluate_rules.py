"""The rules of `evaluate`'s options, for the command and the Python API alike: held before anything is
measured or written.

In    what was asked of groups of images, where to write it, and the files that are read.
Out   GroupOptions. Raises UserError.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cxrscore.core.errors import UserError
from cxrscore.evaluation.group_columns import AGE_BAND, BANDS, checked_bands, groupings
from cxrscore.evaluation.joined_scores import Scored, label_settings
from cxrscore.evaluation.subgroups import DEFAULT, checked_measures
from cxrscore.scoring.output import check_output
from cxrscore.tables.datasets.column_names import plain
from cxrscore.tables.foreign_table import read_foreign_table

if TYPE_CHECKING:
    from cxrscore.project.params import LabelParams

ENDINGS = (".csv", ".parquet")


@dataclass(frozen=True)
class GroupOptions:
    """`by`: columns, none where no groups are asked for. `bands`: where bands of age begin, if given."""

    by: tuple[str, ...] = ()
    bands: tuple[int, ...] | None = None
    measures: tuple[str, ...] = DEFAULT

    def check(
        self, scored: Scored, labels_csv: Path, *, id_column: str, labels: "LabelParams | None"
    ) -> None:
        """Raises UserError where columns of the labels do not make these groups of what is to be measured."""
        if not self.by:
            return
        settings, _ = label_settings(labels_csv, id_column, labels)
        groupings(scored, labels_csv, self.by, id_column=settings["id"], bands=self.bands or BANDS)
        own = [name for name in read_foreign_table(labels_csv).columns if plain(name) == plain(AGE_BAND)]
        if self.bands is not None and own:
            raise UserError(
                f"--age-bands: {labels_csv} has bands of its own, in {own[0]!r}; leave the option out, or "
                "rename the column."
            )


def group_options(
    by: Sequence[str] | None,
    *,
    bands: Sequence[int] | None,
    measures: Sequence[str] | None,
    table: Path | None,
    overwrite: bool,
    read: Sequence[Path | None],
    out: Path,
) -> GroupOptions:
    """None: not given. `table`: where to write the figures of groups; `read`: the files that are read."""
    if by is None:
        if table is not None:
            raise UserError("--by-out: there are no groups to write; name their columns with --by.")
        if bands is not None:
            raise UserError("--age-bands: there are no groups to measure; name their columns with --by.")
        if measures is not None:
            raise UserError("--by-measures: there are no groups to measure; name their columns with --by.")
        return GroupOptions()
    if not by:
        raise UserError("--by: names no column; list columns of the label table, such as Sex,AgeBand.")
    if bands is not None and not any(plain(name) == plain(AGE_BAND) for name in by):
        raise UserError(
            f"--age-bands: --by names {', '.join(by)}, and no {AGE_BAND}; add {AGE_BAND} to --by, or leave "
            "the option out."
        )
    if table is not None:
        _check_table(table, read=[one for one in read if one is not None], out=out, overwrite=overwrite)
    return GroupOptions(
        tuple(by),
        None if bands is None else tuple(checked_bands(bands)),
        checked_measures(DEFAULT if measures is None else measures),
    )


def _check_table(path: Path, *, read: Sequence[Path], out: Path, overwrite: bool) -> None:
    """Raises UserError where the table cannot or should not be written."""
    check_output(path)
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"{path}: tables of groups are CSV or Parquet; name it .csv or .parquet.")
    if any(one.exists() and path.exists() and path.samefile(one) for one in read):
        raise UserError(f"{path}: --by-out would replace what is read here; choose another name.")
    if path.resolve().is_relative_to(out.resolve()):
        raise UserError(f"{path}: --by-out lies in {out}, which is the pipeline's; choose another folder.")
    if path.exists() and not overwrite:
        raise UserError(f"{path}: exists; --overwrite replaces it, or choose another name.")


def check_readers(readers: str | None, *, out_of_fold: bool) -> None:
    if readers is not None and out_of_fold:
        raise UserError(
            "--readers: out-of-fold scores are measured as params.yaml says; set labels.readers there."
        )
