"""Values of one setting are rows of an ablation: what is refused, what is trained, what is compared."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import COUPLING, Project
from pydantic import ValidationError
from sklearn.metrics import average_precision_score, roc_auc_score
from trainings import Told

from cxrscore.ablate import ablate
from cxrscore.ablation.sweep import Sweep, heads_of, parse_values, settings_by_row, sweep_of
from cxrscore.ablation.table import compare, gain_cells, read_scored, sweep_cells, sweep_points, table_blocks
from cxrscore.cli.ablating import refuse_values
from cxrscore.core.device import Machine
from cxrscore.core.errors import UserError
from cxrscore.core.paths import Layout
from cxrscore.core.signals import Asked
from cxrscore.core.text_table import plain_text
from cxrscore.evaluation import figures
from cxrscore.model.head_variants import REFERENCE, settings_of
from cxrscore.statistics import bootstrap
from cxrscore.statistics.intervals import FEWEST
from cxrscore.tables.labels import LabelTable
from cxrscore.tables.score_table import write_scores
from cxrscore.train import Keeping

LEARNED = [REFERENCE, "agcn-learned"]
FINDINGS = ("Edema", "Pneumonia", "Fracture")


def test_values_are_distinct_ascending_and_whole_ones_are_integers() -> None:
    assert sweep_of("steps=3,1,2", [REFERENCE, "coupling"], COUPLING).values == [1, 2, 3]
    swept = sweep_of("l1=1e-3,0,2.0,0.5", [REFERENCE, "coupling"], COUPLING)
    assert (swept.key, swept.values) == ("l1", [0, 0.001, 0.5, 2])
    assert [type(value) for value in swept.values] == [int, float, float, int]


@pytest.mark.parametrize(
    "words",
    ["", "l1", "l1=", "l1=1", "l1=1,1.0", "=1,2", "a b=1,2", "l1=1,,2", "l1=[1],2", "l1=1,{a: 2}", "l1=1]"],
)
def test_words_that_are_no_key_and_values_are_refused(words: str) -> None:
    with pytest.raises(
        UserError, match=r"--choose: '.*'; give one setting and 2 or more distinct values, such as a=1,2"
    ):
        parse_values(words, option="--choose", example="a=1,2")


@pytest.mark.parametrize("words", ["l1=1,x", "l1=1,.nan", "l1=1,.inf", "l1=true,false", "l1=0,null"])
def test_values_of_a_number_that_are_none_are_refused(words: str) -> None:
    with pytest.raises(UserError, match=r"--sweep: '.*'; give numbers, such as identity_weight=0,0.5,1"):
        sweep_of(words, [REFERENCE, "coupling"], COUPLING)


def test_a_setting_of_the_training_without_its_section_is_called_by_its_full_name(project: Project) -> None:
    names, settings = [REFERENCE, "project"], project.params.model_dump()
    for words, said in (
        ("ema_warmup=true,false", "write train.ema_warmup."),
        ("jitter=0,0.1", "write train.augment.jitter."),
        ("train_size=null,48", "write prepare.train_size."),
        ("seed=0,1", "name one of dropout, alpha"),  # --seeds is for that
    ):
        with pytest.raises(UserError, match=rf"is not a number that project has; {said}"):
            sweep_of(words, names, COUPLING, settings=settings)


def test_a_sweep_is_of_one_head_and_of_a_number_it_has() -> None:
    swept = sweep_of("identity_weight=1,0,0.25", LEARNED, COUPLING)
    assert swept == Sweep("agcn-learned", "identity_weight", [0, 0.25, 1])
    assert list(swept.rows) == [f"agcn-learned@identity_weight={value}" for value in ("0", "0.25", "1")]
    assert sweep_of("dropout=0,0.5", [REFERENCE], COUPLING).head == REFERENCE
    with pytest.raises(UserError, match=r"of one head, not of 2 \(lamp-el, agcn-learned\); name it, such as"):
        sweep_of("identity_weight=0,1", [REFERENCE, "lamp-el", "agcn-learned"], COUPLING)
    with pytest.raises(
        UserError, match=r"--sweep: 'graph' is not a number .*; name one of dropout, threshold"
    ):
        sweep_of("graph=0,1", LEARNED, COUPLING)
    with pytest.raises(
        UserError, match=r"'prox' is not a number that coupling has; name one of dropout, alpha"
    ):
        sweep_of("prox=0,1", [REFERENCE, "coupling"], COUPLING)


def test_rows_differ_in_the_swept_value_alone_and_are_as_params_yaml_gives_them(project: Project) -> None:
    head = project.params.train.head.model_dump()
    rows = heads_of(Sweep("agcn-learned", "identity_weight", [0, 2]), project.params)
    plain = settings_of(LEARNED, head)
    assert rows == {
        REFERENCE: plain[REFERENCE],
        "agcn-learned@identity_weight=0": plain["agcn-learned"] | {"identity_weight": 0.0},
        "agcn-learned@identity_weight=2": plain["agcn-learned"] | {"identity_weight": 2.0},
    }
    assert type(rows["agcn-learned@identity_weight=2"]["identity_weight"]) is float
    assert heads_of(LEARNED, project.params) == plain


def test_a_value_that_params_yaml_could_not_hold_is_refused_in_its_words(project: Project) -> None:
    negative = Sweep("agcn-learned", "identity_weight", [-1, 0])
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        heads_of(negative, project.params)
    with pytest.raises(UserError, match="--sweep: identity_weight: a number of at least 0 is needed, not -1"):
        refuse_values(negative, project.params)
    with pytest.raises(UserError, match=r"--sweep: steps: an integer is needed, not 1\.5"):
        refuse_values(Sweep("coupling", "steps", [1, 1.5]), project.params)
    refuse_values(LEARNED, project.params)


def test_a_setting_of_the_training_is_swept_in_the_order_given() -> None:
    swept = sweep_of("train.weights=raw,best", [REFERENCE, "project"], COUPLING)
    assert (swept.key, list(swept.values), swept.of_training) == ("train.weights", ["raw", "best"], True)
    rows = list(sweep_of("train.ema_warmup=true,false", [REFERENCE, "project"], COUPLING).rows)
    assert rows == ["project@train.ema_warmup=true", "project@train.ema_warmup=false"]
    null = sweep_of("prepare.train_size=null,48", [REFERENCE, "project"], COUPLING)
    assert dict(null.rows) == {"project@prepare.train_size=null": None, "project@prepare.train_size=48": 48}
    assert not sweep_of("alpha=0,1", [REFERENCE, "coupling"], COUPLING).of_training


@pytest.mark.parametrize(
    "words", ["train.lr=", "train.lr=1e-3", "train.lr=1,1", "train.lr=[1],2", "train.init=a/b,c"]
)
def test_values_of_a_setting_that_are_not_distinct_and_plain_are_refused(words: str) -> None:
    with pytest.raises(UserError, match=r"--sweep: '.*'; (give one setting and 2|rows are named)"):
        sweep_of(words, [REFERENCE, "project"], COUPLING)


def test_each_row_of_such_a_sweep_has_settings_of_its_own(project: Project) -> None:
    sweep = Sweep("project", "train.augment.jitter", [0.0, 0.1])
    found = settings_by_row(sweep, project.params)
    assert [one.train.augment.jitter for one in found.values()] == [0.0, 0.1]
    assert {one.train.head for one in found.values()} == {project.params.train.head}
    assert set(heads_of(sweep, project.params)) == {REFERENCE, *found}
    assert settings_by_row(LEARNED, project.params) == {}
    with pytest.raises(UserError, match=r"--sweep: train\.augment\.jiter: no such setting; use one"):
        settings_by_row(Sweep("project", "train.augment.jiter", [0, 1]), project.params)
    with pytest.raises(UserError, match="--sweep: jitter: a number of at most 1 is needed, not 2"):
        refuse_values(Sweep("project", "train.augment.jitter", [0, 2]), project.params)


def test_a_sweep_of_a_setting_trains_what_it_says(
    project: Project, tmp_path: Path, cpu: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "FEWEST_IN_FOLD", 1)
    mine = project.copy_to(tmp_path)
    result = run(mine, Sweep("project", "train.weights", ["raw", "ema"]), Told(), cpu)
    kept = {
        value: {
            row["macro_auc"] == row[f"{value}_macro_auc"]
            for row in history(mine, f"project@train.weights={value}")
        }
        for value in ("raw", "ema")
    }
    assert kept == {"raw": {True}, "ema": {True}}
    assert [point["value"] for point in result["sweep"]["points"]] == ["raw", "ema"]
    assert all(row["minutes"] > 0 for row in result["heads"].values())
    shown = plain_text(table_blocks(result))
    assert "train.weights, with differences from raw:" in shown
    assert ">train.weights<" in (mine.layout.ablation / "sweep.svg").read_text()


def history(project: Project, row: str) -> list[dict[str, str]]:
    with project.layout.experiment(f"{row}/seed0").history(0).open(newline="") as file:
        return list(csv.DictReader(file))


def run(project: Project, compared: Any, told: Told, cpu: Machine) -> dict[str, Any]:
    return ablate(
        compared,
        [0],
        labels_csv=project.labels,
        layout=project.layout,
        params=project.with_settings(epochs=1),
        machine=cpu,
        progress=told,
        keeping=Keeping(every_s=1e9),
        asked=Asked(),
    )


def test_a_sweep_is_trained_once_and_leaves_its_table_and_picture(
    project: Project, tmp_path: Path, cpu: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "FEWEST_IN_FOLD", 1)
    mine = project.copy_to(tmp_path)
    folder = mine.layout.ablation
    first, second = Told(), Told()
    run(mine, Sweep("coupling", "alpha", [0, 2]), first, cpu)
    result = run(mine, Sweep("coupling", "alpha", [0, 0.5, 2]), second, cpu)
    begun = [line for line in second.lines if line.startswith("ablate: coupling@") and "already" not in line]
    assert [line.partition(", seed")[0] for line in begun] == ["ablate: coupling@alpha=0.5"] * 2
    assert list(result["heads"]) == [REFERENCE, *(f"coupling@alpha={value}" for value in ("0", "0.5", "2"))]
    assert [point["value"] for point in result["sweep"]["points"]] == [0, 0.5, 2]
    assert json.loads((folder / "ablation.json").read_text()) == result
    with (folder / "sweep.csv").open(newline="") as file:
        assert list(csv.reader(file)) == sweep_cells(result["sweep"]["points"])
    with (folder / "gains.csv").open(newline="") as file:
        assert list(csv.reader(file)) == gain_cells(result["heads"])
    assert ">alpha<" in (folder / "sweep.svg").read_text()
    run(mine, [REFERENCE, "coupling"], Told(), cpu)
    assert not list(folder.glob("sweep.*"))


def scored_by_hand(folder: Path, heads: list[str]) -> tuple[dict[str, dict[int, Layout]], LabelTable]:
    """80 images in two folds; the last finding is shown by none in the first fold."""
    draw = np.random.default_rng(0)
    y = (draw.random((80, 3)) < 0.4).astype(np.int8)
    y[0::2, 2] = 0
    ids = [f"{i}.png" for i in range(80)]
    layouts = {}
    for name in heads:
        layouts[name] = {seed: Layout(folder).experiment(f"{name}/seed{seed}") for seed in (0, 1)}
        for layout in layouts[name].values():
            scores = (0.7 * draw.random((80, 3)) + 0.2 * y).astype(np.float32)
            for fold in (0, 1):
                write_scores(layout.scores(fold, views=False), "id", ids[fold::2], FINDINGS, scores[fold::2])
    return layouts, LabelTable(Path("labels.csv"), ids, FINDINGS, y, np.ones(y.shape, dtype=bool), None)


def test_gains_are_mean_differences_in_auc_by_finding_where_a_fold_defines_it(tmp_path: Path) -> None:
    layouts, table = scored_by_hand(tmp_path, [REFERENCE, "other"])
    scored = read_scored(layouts, [0, 1], table)
    rows = compare(scored)
    assert "gains" not in rows[REFERENCE]
    for j, finding in enumerate(FINDINGS[:2]):
        differences = []
        for seed in (0, 1):
            for fold in (0, 1):
                truth = scored.truth[fold].y[:, j]
                own, other = (scored.ways[name][seed][fold][:, j] for name in ("other", REFERENCE))
                differences.append(roc_auc_score(truth, own) - roc_auc_score(truth, other))
        found = rows["other"]["gains"][finding]
        assert found["auc"] == pytest.approx(np.mean(differences), abs=1e-5)
        assert found["low"] < found["auc"] < found["high"]
    assert 0 < table.y[:, 2].sum() < FEWEST and FINDINGS[2] in scored.left_out
    assert list(rows["other"]["gains"]) == list(FINDINGS[:2])
    told = gain_cells(rows)
    assert len(told) == 3 and "" not in told[2]


def test_a_finding_that_no_fold_defines_has_no_gain(tmp_path: Path) -> None:
    layouts, table = scored_by_hand(tmp_path, [REFERENCE, "other"])
    table.y[:, 2] = 0
    assert list(compare(read_scored(layouts, [0, 1], table))["other"]["gains"]) == list(FINDINGS[:2])


def test_points_of_a_sweep_are_compared_with_its_first_value(tmp_path: Path) -> None:
    sweep = Sweep("head", "l1", [0, 1, 2])
    layouts, table = scored_by_hand(tmp_path, [REFERENCE, *sweep.rows])
    scored = read_scored(layouts, [0, 1], table)
    rows = compare(scored, sweep=sweep)
    points = sweep_points(rows, sweep)
    first, second, third = points
    assert "low" not in first
    for point in (second, third):
        assert point["difference"] == pytest.approx(point["macro_auc"] - first["macro_auc"], abs=2e-5)
        assert point["low"] < point["difference"] < point["high"]
    precisions = []
    for scores in (fold for seed in scored.ways["head@l1=1"] for fold in enumerate(seed)):
        truth = scored.truth[scores[0]].y
        shown = [j for j in range(2) if truth[:, j].any()]  # too few have the third
        precisions.append(np.mean([average_precision_score(truth[:, j], scores[1][:, j]) for j in shown]))
    assert second["mean_ap"] == pytest.approx(np.mean(precisions), abs=1e-5)
    assert {name: row["difference"] for name, row in compare(scored).items() if name != REFERENCE} == {
        name: row["difference"] for name, row in rows.items() if name != REFERENCE
    }


def gain(auc: float, width: float) -> dict[str, float]:
    return {"auc": auc, "low": auc - width, "high": auc + width}


def test_a_picture_of_many_gains_shows_the_ten_largest_and_the_ten_smallest() -> None:
    many = {f"Finding {i}": gain(0.01 * (i - 15), 0.02) for i in range(30)}
    drawn = figures.gains(many, head="lamp", reference=REFERENCE)
    assert [f">Finding {i}<" in drawn for i in range(30)] == [i < 10 or i >= 20 for i in range(30)]
    assert "the 10 largest gains and losses of 30 findings" in drawn
    assert "<svg" in figures.gains({"A": {"auc": 0.1}}, head="lamp", reference=REFERENCE)  # no interval
    few = figures.gains({"A": gain(0.1, 0.05), "B": gain(-0.1, 0.2)}, head="lamp", reference=REFERENCE)
    assert ">A<" in few and "lamp, gain per finding" in few
    assert few == figures.gains(
        {"B": gain(-0.1, 0.2), "A": gain(0.1, 0.05)}, head="lamp", reference=REFERENCE
    )
