"""Each group has the figures that it has alone; gaps are paired by patient; small cells show no number."""

import csv
import json
import math
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import scipy.stats
from conftest import Project, contents
from sklearn.metrics import roc_auc_score

from cxrscore import api
from cxrscore.core.errors import UserError
from cxrscore.core.progress import Silent
from cxrscore.core.text_table import TextTable
from cxrscore.evaluate import evaluate_table
from cxrscore.evaluation.group_columns import SEVERAL, UNKNOWN, Grouping, groupings, years
from cxrscore.evaluation.joined_scores import Scored
from cxrscore.evaluation.subgroup_tables import COLUMNS, as_json, blocks, long_rows
from cxrscore.evaluation.subgroups import Subgroups, checked_measures, subgroups, subgroups_of
from cxrscore.statistics.bootstrap import draws
from cxrscore.statistics.estimates import MACRO, SEED, estimates
from cxrscore.statistics.interval_rules import TABLE
from cxrscore.statistics.intervals import FEWEST
from cxrscore.statistics.sample import Sample
from cxrscore.tables.score_file import read_score_file

FINDINGS = ("Edema", "Fracture", "Hernia")


def a_sample(*, patients: int = 60, images: int = 3, rare: int = 0, seed: int = 0) -> Sample:
    """Scores that know something of the truth; `rare`: patients who show the last finding."""
    generator = np.random.default_rng(seed)
    n = patients * images
    y = (generator.random((n, 3)) < 0.4).astype(np.int8)
    if rare:
        y[:, 2] = np.arange(n) < rare * images
    scores = y + generator.normal(size=(n, 3))
    cluster = np.repeat(np.arange(patients), images)
    mask = generator.random((n, 3)) < 0.9
    return Sample(FINDINGS, y, mask, scores, cluster)


def by_image(sample: Sample, seed: int = 1) -> Grouping:
    """Two groups that split the images of most patients."""
    member = np.random.default_rng(seed).choice(2, p=[0.4, 0.6], size=len(sample))
    return Grouping("View", ("AP", "PA"), member)


def test_a_groups_figures_are_those_of_its_images_alone() -> None:
    sample = a_sample(patients=160)
    grouping = by_image(sample)
    found = subgroups(sample, grouping, resamples=0)
    for i, group in enumerate(found.groups):
        alone = estimates(sample.rows(grouping.member == i), ["auc"], resamples=0)
        assert group.images == int((grouping.member == i).sum())
        for key, figure in group.figures.items():
            assert figure.estimate.value == pytest.approx(alone[key].value, abs=1e-12)


def freedom_slowly(sample: Sample, rows: np.ndarray, j: int) -> tuple[float, float]:
    """Degrees of freedom and widening, by Kish's formula for the patients of a class and Welch's for two."""
    worths = []
    for value in (0, 1):
        images = Counter(
            int(sample.cluster[i]) for i in rows if sample.mask[i, j] and sample.y[i, j] == value
        )
        worths.append(sum(images.values()) ** 2 / sum(count**2 for count in images.values()))
    a, b = worths
    degrees = (1 / a + 1 / b) ** 2 / (1 / a**2 / (a - 1) + 1 / b**2 / (b - 1))
    return degrees, ((1 / a + 1 / b) / ((a - 1) / a**2 + (b - 1) / b**2)) ** 0.5


def test_a_gap_is_the_difference_in_the_same_resamples_of_patients() -> None:
    """Against a loop that repeats the images of the drawn patients and asks scikit-learn; degrees of freedom
    by Satterthwaite's formula over the areas that the gap is made of.
    """
    sample = a_sample(patients=160)
    grouping = by_image(sample)
    found = subgroups(sample, grouping, resamples=50)
    (times,) = draws(sample.clusters, 50, np.random.default_rng(SEED), rows=len(sample))
    areas = np.full((50, 2, 3), np.nan)
    for r, side, j in product(range(50), range(2), range(3)):
        drawn = np.repeat(np.arange(len(sample)), times[sample.cluster, r].astype(int))
        rows = drawn[sample.mask[drawn, j] & (grouping.member[drawn] == side)]
        areas[r, side, j] = roc_auc_score(sample.y[rows, j], sample.scores[rows, j])
    sides = [np.flatnonzero(grouping.member == side) for side in (0, 1)]
    freedoms = np.array([[freedom_slowly(sample, rows, j) for j in range(3)] for rows in sides])
    group = found.groups[0]
    assert (found.reference, group.name) == ("PA", "AP")
    for name, these in (*((name, [j]) for j, name in enumerate(FINDINGS)), (MACRO, [0, 1, 2])):
        estimate = group.gaps["auc", name].estimate
        variances = areas[:, :, these].var(0)
        own, widening = freedoms[:, these, 0], freedoms[:, these, 1]
        wider = variances * widening**2
        degrees = wider.sum() ** 2 / (wider**2 / own).sum()
        gaps = (areas[:, 0] - areas[:, 1])[:, these].mean(1)
        reach = scipy.stats.t.ppf(0.975, degrees) * gaps.std(ddof=1) * (wider.sum() / variances.sum()) ** 0.5
        ends = (estimate.value - reach, estimate.value + reach)
        assert (estimate.low, estimate.high) == pytest.approx(ends, abs=1e-9)


def test_a_gap_of_groups_of_the_same_patients_is_known_better_than_of_other_patients() -> None:
    """Each patient has the same image in both groups: the gap is zero in every resample, as independent
    resamples of the two groups would not have it.
    """
    half = a_sample(patients=50, images=1)
    twice = Sample(
        FINDINGS,
        *(np.concatenate([part, part]) for part in (half.y, half.mask, half.scores, half.cluster)),
    )
    grouping = Grouping("Scanner", ("a", "b"), np.repeat([0, 1], 50))
    gap = subgroups(twice, grouping, resamples=100).groups[1].gaps["auc", MACRO].estimate
    assert (gap.value, gap.low, gap.high) == pytest.approx((0, 0, 0), abs=1e-12)


def test_a_cell_of_few_patients_has_words_and_no_number_anywhere() -> None:
    sample = a_sample(rare=FEWEST - 2)
    everyone = Grouping("Sex", ("F",), np.zeros(len(sample), dtype=np.int64))
    found = subgroups(sample, everyone, resamples=20)
    shown = int(sample.shown()[0][2])
    figure = found.groups[0].figures["auc", "Hernia"]
    assert math.isnan(figure.estimate.value)
    assert math.isnan(figure.estimate.low)
    assert figure.estimate.why == f"too few ({shown} patients show it)"
    assert found.groups[0].figures["auc", MACRO].findings == 2
    told = as_json([found])["Sex"]["groups"]["F"]["figures"]["auc"]["Hernia"]
    assert told == {"why": figure.estimate.why}
    row = next(dict(zip(COLUMNS, row, strict=True)) for row in long_rows([found]) if "Hernia" in row)
    assert (row["value"], row["low"], row["why"]) == (None, None, figure.estimate.why)


def test_a_group_of_all_images_has_the_intervals_of_the_sample_and_no_other() -> None:
    """By every measure, with a rare finding, few calls, and a finding whose slope many resamples lack."""
    sample = a_sample(patients=60, rare=4)
    probs = 1 / (1 + np.exp(3 - 3 * sample.scores))
    probs[:, 1] = np.where(sample.y[:, 1] == 1, 0.9, 0.1)
    probs[:2, 1] = [0.5, 0.45] if sample.y[0, 1] == 0 else [0.45, 0.5]
    sample = Sample(FINDINGS, sample.y, sample.mask, probs, sample.cluster)
    everyone = Grouping("Sex", ("F",), np.zeros(len(sample), dtype=np.int64))
    names = checked_measures(["all"])
    (group,) = subgroups(sample, everyone, names, resamples=50).groups
    found = estimates(sample, names, resamples=50)
    kinds = set()
    for key, figure in group.figures.items():
        if key[1] == MACRO:
            continue
        ours, theirs = figure.estimate, found[key]
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), nan_ok=True), key
        assert ours.why == theirs.why or (math.isnan(ours.value) and math.isnan(theirs.low)), key
        kinds.add((math.isnan(ours.value), math.isnan(ours.low)))
    assert kinds == {(False, False), (False, True), (True, True)}


def test_a_figure_of_all_findings_needs_patients_who_show_any() -> None:
    sample = a_sample(patients=60)
    few = Sample(
        FINDINGS, sample.y * (sample.cluster < 4)[:, None], sample.mask, sample.scores, sample.cluster
    )
    everyone = Grouping("Sex", ("F",), np.zeros(len(sample), dtype=np.int64))
    (group,) = subgroups(few, everyone, ["subset_accuracy"], resamples=50).groups
    estimate = group.figures["subset_accuracy", TABLE].estimate
    assert math.isnan(estimate.value) and math.isnan(estimate.low)
    assert estimate.why == "fewer than 20 patients show a finding, or lack one: 4 and 60"


def test_the_gap_of_a_mean_is_over_the_findings_that_both_groups_have() -> None:
    """The group without the third finding is as good in the others: a mean over other findings differs."""
    generator = np.random.default_rng(0)
    y = (generator.random((200, 3)) < 0.5).astype(np.int8)
    y[100:, 2] = 0
    scores = y + np.array([0.8, 0.8, 9.0]) * generator.normal(size=(200, 3))
    sample = Sample(FINDINGS, y, np.ones(y.shape, dtype=bool), scores, np.arange(200))
    found = subgroups(sample, Grouping("Site", ("a", "b"), np.repeat([0, 1], 100)), resamples=0)
    a, b = found.groups
    assert (a.figures["auc", MACRO].findings, b.figures["auc", MACRO].findings) == (3, 2)
    both = [
        b.figures["auc", n].estimate.value - a.figures["auc", n].estimate.value for n in ("Edema", "Fracture")
    ]
    assert b.gaps["auc", MACRO].findings == 2
    assert b.gaps["auc", MACRO].estimate.value == pytest.approx(np.mean(both))
    assert b.gaps["auc", "Hernia"].estimate.why == "no figure in one of the groups"


def test_the_reference_is_the_group_of_most_patients_that_is_known() -> None:
    sample = a_sample(patients=60, images=1)
    member = np.repeat([0, 1, 2], [10, 20, 30])
    found = subgroups(sample, Grouping("Sex", ("F", "M", UNKNOWN), member), resamples=0)
    assert found.reference == "M"
    assert [bool(group.gaps) for group in found.groups] == [True, False, True]
    assert [group.patients for group in found.groups] == [10, 20, 30]


def test_other_resamples_do_not_change_with_the_order_of_images() -> None:
    sample, order = a_sample(), np.random.default_rng(5).permutation(180)
    grouping = by_image(sample)
    turned = Sample(
        FINDINGS, sample.y[order], sample.mask[order], sample.scores[order], sample.cluster[order]
    )
    one = subgroups(sample, grouping, resamples=30)
    other = subgroups(turned, Grouping("View", ("AP", "PA"), grouping.member[order]), resamples=30)
    mine, theirs = (found.groups[0].gaps["auc", MACRO].estimate for found in (one, other))
    assert (mine.low, mine.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_the_page_says_how_many_gaps_there_were_and_what_chance_does() -> None:
    sample = a_sample(patients=160)
    found = subgroups(sample, by_image(sample), resamples=50)
    sentences = [block for block in blocks([found]) if isinstance(block, str)]
    assert any(block.startswith("3 gaps with an interval; ") for block in sentences)
    assert any("about 0.2 would by chance if no groups differed" in block for block in sentences)  # 3 / 20


def test_nothing_to_compare_is_said() -> None:
    sample = a_sample(patients=FEWEST - 1)
    found = subgroups(sample, by_image(sample), resamples=20)
    assert all(not figure.findings for group in found.groups for figure in group.figures.values())
    said = [block for block in blocks([found]) if isinstance(block, str)]
    assert any(block.startswith("No gap of AUC can be measured. 6 cells with too few") for block in said)


def test_a_measure_that_is_none_is_refused() -> None:
    with pytest.raises(UserError, match="--by-measures: 'acu'; choose from auc"):
        checked_measures(["acu"])
    with pytest.raises(UserError, match="--by-measures: none; choose from auc"):
        checked_measures([])
    assert "auc" in checked_measures(["all"])


LABELS = """Image_name,Patient_ID,Patient Gender,Age,View_Position,Edema
a,1,M,045Y,PA,1
b,1,M,58,AP,0
c,2,F,011M,PA,0
d,3, ,411,,1
e,4,F,90+,PA,0
f,5,F,,pa,1
"""


def scored_of(root: Path, text: str = LABELS, ids: Sequence[str] = "abcdef") -> Scored:
    (root / "labels.csv").write_text(text)
    scores = "".join(f"{name},{0.01 * i:.2f}\n" for i, name in enumerate(ids, start=1))
    (root / "sub.csv").write_text(f"Image_name,Edema\n{scores}")
    return evaluate_table(read_score_file(root / "sub.csv"), root / "labels.csv", labels=None).scored


def groups_of(root: Path, name: str, **how: object) -> tuple[Grouping, list[str]]:
    scored = scored_of(root)
    (found,) = groupings(scored, root / "labels.csv", [name], id_column="Image_name", **how)  # type: ignore[arg-type]
    return found, [found.groups[i] for i in found.member]


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("Sex", ["M", "M", "F", UNKNOWN, "F", "F"]),
        ("patient_gender", ["M", "M", "F", UNKNOWN, "F", "F"]),
        ("AgeBand", ["40-59", "40-59", "0-17", UNKNOWN, "80+", UNKNOWN]),
        ("viewposition", ["PA", "AP", "PA", UNKNOWN, "PA", "pa"]),
    ],
)
def test_a_column_is_found_in_any_spelling_and_what_is_blank_is_unknown(
    tmp_path: Path, name: str, groups: list[str]
) -> None:
    assert groups_of(tmp_path, name)[1] == groups


def test_bands_begin_where_they_are_asked_to_and_are_in_order(tmp_path: Path) -> None:
    found, groups = groups_of(tmp_path, "age_band", bands=(1, 58))
    assert groups == ["1-57", "58+", "0-0", UNKNOWN, "58+", UNKNOWN]
    assert found.groups == ("0-0", "1-57", "58+", UNKNOWN)
    assert any("1 cell of 'Age' that no age can be, such as '411'" in note for note in found.notes)


@pytest.mark.parametrize(
    ("cell", "age"),
    [
        ("045Y", 45),
        ("58", 58),
        ("58.5", 58.5),
        ("006M", 0.5),
        ("> 89", 89),
        ("62 years", 62),
        ("411", None),
        ("-3", None),
        ("adult", None),
    ],
)
def test_ages_are_read_as_tables_write_them(cell: str, age: float | None) -> None:
    assert years(cell) == age


@pytest.mark.parametrize(
    ("by", "how", "message"),
    [
        (
            "Scanner",
            {},
            "--by Scanner: no such column in .*; there are 'Patient_ID', 'Patient Gender', 'Age'",
        ),
        ("AgeBand", {"bands": (40, 30)}, r"--age-bands 40,30: list the ages .* such as 18,40,60,80"),
        ("AgeBand", {"bands": ()}, r"--age-bands : list the ages"),
    ],
)
def test_a_column_that_is_not_there_is_refused(
    tmp_path: Path, by: str, how: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        groups_of(tmp_path, by, **how)


def test_a_column_of_many_values_is_no_column_of_groups(tmp_path: Path) -> None:
    rows = "".join(f"i{n},{n},{n % 2}\n" for n in range(60))
    scored = scored_of(tmp_path, f"Image_name,Age,Edema\n{rows}", [f"i{n}" for n in range(60)])
    with pytest.raises(UserError, match=r"--by Age: 'Age' of .* has 60 values; name a column .* or AgeBand"):
        groupings(scored, tmp_path / "labels.csv", ["Age"], id_column="Image_name")


def test_readers_who_differ_about_a_group_are_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("Image_name,Reader,Edema\na,x,1\na,y,1\nb,x,0\n")
    (tmp_path / "sub.csv").write_text("Image_name,Edema\na,0.5\nb,0.4\n")
    table = read_score_file(tmp_path / "sub.csv")
    scored = evaluate_table(table, tmp_path / "labels.csv", labels=None, readers="any").scored
    with pytest.raises(UserError, match=r"labels.csv:3: 'a' is 'y' in 'Reader' here and 'x' above"):
        groupings(scored, tmp_path / "labels.csv", ["Reader"], id_column="Image_name")


def test_a_study_is_of_the_group_that_its_images_agree_on(tmp_path: Path) -> None:
    rows = ["1_1_1.png,PA,M", "1_1_2.png,LL,M", "2_1_1.png,PA,", "2_1_2.png,PA,F"]
    text = "Image_name,View,Sex,Edema\n" + "".join(f"{row},{i % 2}\n" for i, row in enumerate(rows))
    (tmp_path / "labels.csv").write_text(text)
    (tmp_path / "sub.csv").write_text("Study,Edema\n2_1,0.3\n1_1,0.2\n")
    found = evaluate_table(read_score_file(tmp_path / "sub.csv"), tmp_path / "labels.csv", labels=None)
    view, sex = groupings(found.scored, tmp_path / "labels.csv", ["View", "Sex"], id_column="Image_name")
    assert [view.groups[i] for i in view.member] == ["PA", SEVERAL]
    assert [sex.groups[i] for i in sex.member] == ["F", "M"]


def test_studies_have_their_own_plural() -> None:
    sample = a_sample(patients=160)
    found = subgroups(sample, by_image(sample), unit="study", resamples=0)
    tables = [block for block in blocks([found]) if isinstance(block, TextTable)]
    assert tables[0].rows[0][:2] == ["View", "studies"]
    few = a_sample(patients=60, rare=3)
    (group,) = subgroups(few, by_image(few), unit="study", resamples=0).groups[:1]
    assert group.figures["auc", "Hernia"].estimate.why == "too few (2 studies show it)"


def test_without_patients_a_note_says_whom_the_intervals_are_over(tmp_path: Path) -> None:
    scored = scored_of(tmp_path, LABELS.replace("Patient_ID", "Who"))
    how = {"id_column": "Image_name", "labels": None, "resamples": 0, "progress": Silent()}
    found, notes = subgroups_of(scored, tmp_path / "labels.csv", ["Sex"], **how)  # type: ignore[arg-type]
    assert isinstance(found[0], Subgroups)
    assert any("patients are not known; intervals take each image for a patient" in note for note in notes)
    assert found[0].groups[0].figures["auc", "Edema"].estimate.why == "too few (1 image shows it)"


def test_the_command_measures_groups_of_out_of_fold_scores(project: Project, door, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    copy = project.copy_to(tmp_path)
    before = copy.layout.metrics.read_bytes()
    words = ["evaluate", "--labels", copy.labels, "--by", "Sex,AgeBand,ViewPosition", "--resamples", 100]
    call = door(*words, "--by-out", "groups.csv", "--json")
    assert call.code == 0, call.err
    assert copy.layout.metrics.read_bytes() == before
    facts = json.loads(call.out)
    assert facts["macro_auc"] == json.loads(before)["macro_auc"]
    assert list(facts["by"]) == ["Sex", "AgeBand", "ViewPosition"]
    for column in facts["by"].values():
        assert sum(group["images"] for group in column["groups"].values()) == facts["images"]
    with Path("groups.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["column"] for row in rows} == {"Sex", "AgeBand", "ViewPosition"}
    told = door(*words)
    assert "less" in told.out


def test_options_without_their_groups_are_refused(project: Project, door) -> None:  # type: ignore[no-untyped-def]
    assert "--by-out: there are no groups to write" in door("evaluate", "--by-out", "x.csv").err
    assert "--readers: out-of-fold scores are measured as params" in door("evaluate", "--readers", "any").err
    assert "--age-bands young: list whole years" in door("evaluate", "--age-bands", "young").err


def test_groups_that_cannot_be_measured_are_refused_before_anything_is_written(  # type: ignore[no-untyped-def]
    project: Project, door, tmp_path: Path
) -> None:
    copy = project.copy_to(tmp_path)
    shutil.rmtree(copy.layout.plots)
    copy.layout.metrics.unlink()
    words = ["evaluate", "--labels", copy.labels, "--resamples", 0]
    for more, told in (
        (["--by", "Nope"], "--by Nope: no such column"),
        (["--by", "Sex", "--age-bands", "40"], "--age-bands: --by names Sex, and no AgeBand; add AgeBand"),
        (["--by", "AgeBand", "--age-bands", "60,40"], "--age-bands 60,40: list the ages"),
        (["--by", "Sex", "--by-measures", "aucc"], "--by-measures: 'aucc'; choose from"),
        (["--age-bands", "40"], "--age-bands: there are no groups to measure"),
        (["--by-measures", "auc"], "--by-measures: there are no groups to measure"),
        (["--by", "Sex", "--by-out", "groups.json"], "groups.json: tables of groups are CSV or Parquet"),
    ):
        call = door(*words, *more)
        assert call.code == 2 and told in call.err, (more, call.err)
        assert not copy.layout.plots.exists() and not copy.layout.metrics.exists()
        arguments = {"by": None, "age_bands": None, "by_measures": None, "by_out": None}
        given = dict(zip(more[::2], more[1::2], strict=True))
        arguments |= {name.removeprefix("--").replace("-", "_"): value for name, value in given.items()}
        ages = arguments["age_bands"]
        bands = None if ages is None else [int(age) for age in ages.split(",")]
        with pytest.raises(UserError, match=re.escape(told)):
            api.evaluate(labels=copy.labels, out=copy.layout.root, **arguments | {"age_bands": bands})  # type: ignore[arg-type]
        assert not copy.layout.plots.exists() and not copy.layout.metrics.exists()


def test_the_table_of_groups_replaces_nothing_that_is_read_and_nothing_of_the_pipeline(  # type: ignore[no-untyped-def]
    project: Project, door, tmp_path: Path
) -> None:
    copy = project.copy_to(tmp_path)
    shutil.copy(copy.layout.scores(0, views=False), "sub.csv")
    Path("hard.csv").hardlink_to("sub.csv")
    Path("mine.csv").write_text("mine", encoding="utf-8")
    words = ["evaluate", "--labels", copy.labels, "--out", copy.layout.root, "--by", "Sex", "--resamples", 0]
    before = contents(tmp_path)
    for more, told in (
        ([copy.labels], "would replace what is read here; choose another name"),
        (["sub.csv"], "would replace what is read here; choose another name"),
        (["hard.csv"], "would replace what is read here; choose another name"),
        ([copy.layout.folds], "which is the pipeline's; choose another folder"),
        ([copy.layout.root / "new.csv"], "which is the pipeline's; choose another folder"),
        (["."], "'.': not a file name"),
        ([tmp_path], "not a regular file"),
    ):
        for force in ([], ["--overwrite"]):
            call = door(*words, "--scores", "sub.csv", *force, "--by-out", *more)
            assert call.code == 2 and told in call.err, (more, call.err)
    kept = door(*words, "--by-out", "mine.csv")
    assert kept.code == 2 and "mine.csv: exists; --overwrite replaces it" in kept.err
    assert contents(tmp_path) == before
    assert door(*words, "--by-out", "mine.csv", "--overwrite").code == 0
    assert door(*words, "--by-out", "groups.parquet").code == 0
    plain, packed = pl.read_csv("mine.csv"), pl.read_parquet("groups.parquet")
    assert packed.columns == plain.columns and packed["value"].to_list() == plain["value"].to_list()


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        (["M", "m", "F", "F"], "'M' and 'm'"),
        (["1", "1.0", "0", "0"], "'1' and '1.0'"),
        (["01", "1", "male", "Male"], "'1' and '01'; 'Male' and 'male'"),
        (["M", "Male", "F", "f "], "'F' and 'f'"),
        (["M", "F", "", "Unknown"], ""),
        (["1", "2", "10", "M"], ""),
    ],
)
def test_groups_that_are_spelt_alike_are_named_and_stay_apart(
    tmp_path: Path, cells: list[str], told: str
) -> None:
    rows = "".join(f"i{i},{cell},{i % 2}\n" for i, cell in enumerate(cells))
    (tmp_path / "labels.csv").write_text(f"Image_name,Sex,Edema\n{rows}", encoding="utf-8")
    (tmp_path / "sub.csv").write_text("Image_name,Edema\ni0,0.1\ni1,0.2\ni2,0.3\ni3,0.4\n", encoding="utf-8")
    scored = evaluate_table(
        read_score_file(tmp_path / "sub.csv"), tmp_path / "labels.csv", labels=None, resamples=0
    ).scored
    (found,) = groupings(scored, tmp_path / "labels.csv", ["Sex"], id_column="Image_name")
    known = {cell.strip() for cell in cells} - {"", "Unknown"}
    assert set(found.groups) - {UNKNOWN} == known
    notes = [note for note in found.notes if "each is measured apart" in note]
    assert len(notes) == bool(told) and all(f"one number: {told}; each" in note for note in notes)
