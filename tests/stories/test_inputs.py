"""Sex, age and view beside the pixels: an image gets its own values, from training to the scored table, and
no score is made where it was not said what they are.
"""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Project, contents, make_project
from some_heads import LAMP, head_params

from cxrscore.api import load_ensemble
from cxrscore.core.device import Machine
from cxrscore.core.errors import Stopped, UserError
from cxrscore.core.progress import Silent
from cxrscore.core.signals import Asked
from cxrscore.evaluate import evaluate
from cxrscore.evaluation.head_pictures import read_learned
from cxrscore.evaluation.joined_scores import label_settings
from cxrscore.explain import Explanation, explain
from cxrscore.images.reading import read_image
from cxrscore.model.checkpoint import load_fold, read_card
from cxrscore.model.predict import mean, predict_views
from cxrscore.report import write_report
from cxrscore.score import score
from cxrscore.scoring import score_rows
from cxrscore.scoring.finish import Outcome
from cxrscore.scoring.options import Options
from cxrscore.tables.tabular_inputs import Encoding, encode
from cxrscore.training.augment import draw_blanks
from cxrscore.training.fold_data import FoldData, read_fold
from cxrscore.training.job import read_job
from cxrscore.verify import verify

COLUMNS = ("Sex", "Age", "ViewCategory")
HEAD = LAMP | {"graph": "fc", "inputs": list(COLUMNS), "dropout": 0.0}
Rows = list[dict[str, str]]


@pytest.fixture(scope="module")
def mine(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Two folds whose heads read three columns. Shared: read only."""
    made = make_project(phantoms, tmp_path_factory.mktemp("inputs"))
    for fold in made.params.folds.train:
        made.train(fold, head=head_params(HEAD), lr=1e-2)
    return made


def table_of(path: Path) -> Rows:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def written(path: Path, rows: Rows) -> str:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


@pytest.fixture
def who(mine: Project) -> Rows:
    """The images to score, and what is known of them."""
    names = ("Image_name", *COLUMNS)
    return [{name: row[name] for name in names} for row in table_of(mine.data / "test_labels.csv")]


def run(mine: Project, out_csv: Path, inputs: str | None, **options: Any) -> Outcome:
    return score(
        str(options.pop("folder", mine.data / "test")),
        out_csv,
        Options(**{"workers": 0, "batch_size": 3, "inputs": inputs, **options}),
        models=options.pop("models", mine.layout.models),
        machine=Machine(torch.device("cpu"), torch.float32),
        progress=Silent(),
    )


def scores(out_csv: Path) -> dict[str, np.ndarray]:
    rows = table_of(out_csv)
    return {row.pop("Image_name"): np.array([float(v) for v in row.values()], np.float32) for row in rows}


def by_hand(mine: Project, row: dict[str, str], cpu: Machine) -> np.ndarray:
    """Of one image: each fold encodes by its own rows."""
    pixels = read_image((mine.data / "test" / row["Image_name"]).read_bytes(), size=32)
    gray, folds = torch.from_numpy(pixels.copy())[None, None], []
    for number in mine.params.folds.train:
        fold = load_fold(mine.layout.checkpoint(number), cpu)
        encodings = [Encoding.told(about) for about in fold.card.head["encodings"]]
        cells = {name: [row[name]] for name in COLUMNS}
        values = torch.from_numpy(encode(encodings, cells, source="by hand"))
        views = [fold.model(view, inputs=values).logits.sigmoid() for view in (gray, gray.flip(-1))]
        folds.append(torch.stack(views).mean(0)[0])
    return torch.stack(folds).mean(0).numpy()


def test_each_image_is_scored_with_its_own_row_in_whatever_order_the_rows_stand(
    mine: Project, who: Rows, cpu: Machine, tmp_path: Path
) -> None:
    who[0]["Sex"] = who[1]["Age"] = who[2]["ViewCategory"] = ""
    run(mine, tmp_path / "a.csv", written(tmp_path / "who.csv", who))
    run(mine, tmp_path / "b.csv", written(tmp_path / "turned.csv", who[::-1]))
    found = scores(tmp_path / "a.csv")
    for row in who:
        assert np.allclose(found[row["Image_name"]], by_hand(mine, row, cpu), atol=1e-5)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    others = [
        {**row, "Age": other["Age"], "Sex": other["Sex"]} for row, other in zip(who, who[::-1], strict=True)
    ]
    run(mine, tmp_path / "c.csv", written(tmp_path / "others.csv", others))
    assert (tmp_path / "a.csv").read_bytes() != (tmp_path / "c.csv").read_bytes()


def test_files_that_are_tried_again_get_their_own_values(
    mine: Project, who: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cxrscore.core.errors import Unreadable
    from cxrscore.images.decoding.pool import decode_batches

    table = written(tmp_path / "who.csv", who)
    run(mine, tmp_path / "usual.csv", table)
    slow = {1, 4, 6}

    def late(*args: Any, **how: Any) -> Any:
        from dataclasses import replace

        for batch in decode_batches(*args, **how):
            items = [
                replace(one, pixels=None, fault=Unreadable("TIMEOUT", "no pixels after 8 s"))
                if one.index in slow
                else one
                for one in batch.items
            ]
            yield replace(batch, items=tuple(items))

    with monkeypatch.context() as patch:
        patch.setattr(score_rows, "decode_batches", late)
        outcome = run(mine, tmp_path / "late.csv", table)
    assert outcome.scored == len(who)
    expected, found = scores(tmp_path / "usual.csv"), scores(tmp_path / "late.csv")
    assert all(np.allclose(found[name], expected[name], atol=1e-6) for name in expected)


def test_models_with_inputs_are_not_scored_without_a_word_on_them(mine: Project, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--inputs: not given, and these models read Sex, Age, ViewCategory"):
        run(mine, tmp_path / "sub.csv", None)
    assert contents(tmp_path) == {}


def test_models_without_inputs_refuse_a_table(project: Project, tmp_path: Path) -> None:
    for asked in ("none", str(project.data / "test_labels.csv")):
        with pytest.raises(UserError, match="--inputs: these models read the pixels alone"):
            run(project, tmp_path / "sub.csv", asked)


def test_none_scores_every_value_as_unknown(mine: Project, who: Rows, cpu: Machine, tmp_path: Path) -> None:
    outcome = run(mine, tmp_path / "none.csv", "none")
    assert "--inputs none: scored with unknown Sex, Age, ViewCategory" in outcome.notes
    found = scores(tmp_path / "none.csv")
    for row in who:
        unknown = row | dict.fromkeys(COLUMNS, "")
        assert np.allclose(found[row["Image_name"]], by_hand(mine, unknown, cpu), atol=1e-5)


def refused(mine: Project, rows: Rows, folder: Path, message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(mine, folder / "sub.csv", written(folder / "who.csv", rows))
    assert not (folder / "sub.csv").exists()


def test_a_table_that_does_not_fit_is_refused(mine: Project, who: Rows, tmp_path: Path) -> None:
    first, second = who[0]["Image_name"], who[1]["Image_name"]
    refused(mine, who[1:], tmp_path, f"1 image without a row: '{first}'")
    refused(
        mine, [*who, {**who[0], "Age": "1"}], tmp_path, f"'{first}' is also on line 2, with another 'Age'"
    )
    again = {**who[0], "Image_name": f"./{first}", "Age": "1"}
    refused(
        mine, [*who, again], tmp_path, rf"'\./{first}' means '{first}', as line 2 does, with another 'Age'"
    )
    for far in ("999", "1e15", "-70"):
        refused(
            mine, [*who[1:], {**who[0], "Age": far}], tmp_path, rf"'Age' is {far}, far from the \d+ to \d+ of"
        )
    refused(mine, [{**who[0], "Image_name": " "}, *who], tmp_path, "who.csv:2: 'Image_name' is blank")
    refused(
        mine, [{**row, "Age": "061Y"} for row in who], tmp_path, "'Age' has no value that the models know"
    )
    refused(mine, [*who[:-1], {**who[-1], "Age": "old"}], tmp_path, "'Age' is 'old'.*numbers there")
    refused(
        mine,
        [{**row, "Sex": row["Sex"][0]} for row in who],
        tmp_path,
        "'Sex' has no value that the models know, such as '[FM]'.*'Female', 'Male'",
    )
    without = [{name: cell for name, cell in row.items() if name != "Age"} for row in who]
    refused(mine, without, tmp_path, "no column 'Age'")
    renamed = [{("name" if n == "Image_name" else n): cell for n, cell in row.items()} for row in who]
    refused(mine, renamed, tmp_path, "no column 'Image_name'")
    stem = second.removesuffix(".jpg")
    doubled = [*who[:1], *who[2:], {**who[1], "Image_name": stem}, {**who[1], "Image_name": f"{stem}.png"}]
    refused(mine, doubled, tmp_path, f"without a row: '{second}'; unclear are .*also fits another name")
    with pytest.raises(UserError, match=r"missing.csv: No such file.*name a CSV file in --inputs, or none"):
        run(mine, tmp_path / "sub.csv", str(tmp_path / "missing.csv"))


def test_what_training_has_not_seen_is_told_and_a_repeat_is_none(
    mine: Project, who: Rows, tmp_path: Path
) -> None:
    ages = [int(row["Age"]) for row in table_of(mine.labels)]
    for row in who:
        row["Age"] = str(max(ages))
    who[0]["Sex"], who[1]["Age"] = "Other", "120"
    outcome = run(mine, tmp_path / "sub.csv", written(tmp_path / "who.csv", [*who, who[0]]))
    notes = "\n".join(outcome.notes)
    assert "'Sex': 1 value that no training row has, and that count as unknown, such as 'Other'" in notes
    assert f"'Age': 1 value outside the training rows' {min(ages)} to {max(ages)}, such as '120'" in notes
    assert notes.count("'Age'") == 1


def test_a_run_with_another_table_is_not_resumed(
    mine: Project, who: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, out_csv = written(tmp_path / "who.csv", who), tmp_path / "sub.csv"
    run(mine, tmp_path / "whole.csv", table)
    with monkeypatch.context() as patch:
        patch.setattr(score_rows, "_stop_if_asked", stop_after_a_batch)
        with pytest.raises(Stopped, match="asked"):
            run(mine, out_csv, table)
    for row in who:
        row["Age"] = str(int(row["Age"]) + 1)
    with pytest.raises(UserError, match=r"belongs to another run: inputs\.table_sha256 was"):
        run(mine, out_csv, written(tmp_path / "older.csv", who), resume=True)
    with pytest.raises(UserError, match=r"another run: inputs\.table_sha256 was .*, and is now none"):
        run(mine, out_csv, "none", resume=True)
    run(mine, out_csv, table, resume=True)
    assert out_csv.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    with pytest.raises(UserError, match=r"from a finished run with inputs\.table_sha256"):
        run(mine, out_csv, "none", resume=True)


def stop_after_a_batch(run: Any) -> None:
    run.journal.commit()
    raise Stopped("asked to stop")


def test_verify_compares_the_table_of_inputs(
    mine: Project, project: Project, who: Rows, tmp_path: Path
) -> None:
    table = Path(written(tmp_path / "who.csv", who))
    run(mine, tmp_path / "sub.csv", str(table))
    run(mine, tmp_path / "none.csv", "none")
    run(project, tmp_path / "pixels.csv", None)

    def told(name: str, inputs: Path) -> list[str]:
        found = list(verify(tmp_path / name, models=None, source=None, inputs=inputs, progress=Silent()))
        (verdict,) = [one for one in found if "inputs" in one.question]
        return list(verdict.faults)

    assert told("sub.csv", table) == []
    assert "with --inputs none" in told("none.csv", table)[0]
    assert "the pixels alone" in told("pixels.csv", table)[0]
    assert "missing" in told("sub.csv", tmp_path / "gone.csv")[0]
    written(table, [row | {"Sex": "Female"} for row in who])
    assert "does not match" in told("sub.csv", table)[0]
    stated = json.loads((tmp_path / "sub.csv.provenance.json").read_text())["run"]["inputs"]
    assert stated["columns"] == list(COLUMNS)
    assert "inputs" not in json.loads((tmp_path / "pixels.csv.provenance.json").read_text())["run"]


def test_the_python_api_takes_the_same_values(mine: Project, who: Rows, tmp_path: Path) -> None:
    ensemble = load_ensemble(mine.layout.models, device="cpu", dtype="fp32", batch_size=3)
    assert ensemble.inputs == COLUMNS
    pixels = np.stack([ensemble.read(mine.data / "test" / row["Image_name"]) for row in who])
    values: dict[str, list[object]] = {name: [row[name] for row in who] for name in COLUMNS}
    values["Age"] = [np.int64(int(age)) for age in values["Age"]]  # type: ignore[call-overload]
    values["Sex"][0], who[0]["Sex"], values["Age"][1], who[1]["Age"] = None, "", float("nan"), ""
    run(mine, tmp_path / "sub.csv", written(tmp_path / "who.csv", who), compile="off")
    written_scores = scores(tmp_path / "sub.csv")
    with pytest.warns(UserWarning, match="inputs: 'Age': 2 values outside the training rows' 40 to 90"):
        found = ensemble.predict(pixels, values)
    assert np.allclose(found, [written_scores[row["Image_name"]] for row in who], atol=1e-6)
    run(mine, tmp_path / "none.csv", "none", compile="off")
    nothing = scores(tmp_path / "none.csv")
    assert np.allclose(ensemble.predict(pixels, "none"), [nothing[r["Image_name"]] for r in who], atol=1e-6)
    with pytest.raises(UserError, match="these models read Sex, Age, ViewCategory"):
        ensemble.predict(pixels)
    with pytest.raises(UserError, match="a mapping of exactly Sex, Age, ViewCategory"):
        ensemble.predict(pixels, {"Sex": values["Sex"]})
    with pytest.raises(UserError, match="'Age' has 1 value for 8 images"):
        ensemble.predict(pixels, values | {"Age": [61]})


def data_of(mine: Project, fold: int, cpu: Machine, **labels: Any) -> FoldData:
    return read_fold(
        fold,
        labels_csv=labels.pop("labels_csv", mine.labels),
        layout=mine.layout,
        labels=mine.params.labels.model_copy(update=labels),
        machine=cpu,
        inputs=COLUMNS,
    )


def test_only_the_rows_that_a_fold_trains_on_decide_its_encoding(
    mine: Project, cpu: Machine, tmp_path: Path
) -> None:
    data = data_of(mine, 0, cpu)
    validated = {data.store.ids[row] for row in data.val}
    rows = table_of(mine.labels)
    for row in rows:
        if row["Image_name"] in validated:
            row |= {"Sex": "Other", "Age": "999"}
    changed = data_of(mine, 0, cpu, labels_csv=Path(written(tmp_path / "labels.csv", rows)))
    assert changed.encodings == data.encodings
    assert data.inputs is not None
    assert changed.inputs is not None
    assert torch.equal(changed.inputs[data.train], data.inputs[data.train])
    assert changed.inputs[data.val][:, 0].isnan().all()
    assert ["Sex" in note or "Age" in note for note in changed.notes] == [True, True]
    card = read_card(mine.layout.checkpoint(0))
    assert card.head["encodings"] == [encoding.as_json() for encoding in data.encodings]
    assert read_card(mine.layout.checkpoint(1)).head["encodings"] != card.head["encodings"]


def test_validated_rows_are_predicted_with_their_own_values(mine: Project, cpu: Machine) -> None:
    data, fold = data_of(mine, 0, cpu), load_fold(mine.layout.checkpoint(0), cpu)
    assert data.inputs is not None
    rows = table_of(mine.layout.scores(0, views=True))
    findings = fold.card.findings
    for row, at in zip(rows[:4], data.val[:4], strict=True):
        gray = torch.from_numpy(data.store.read(np.array([at])).copy())[:, None]
        probs = mean(
            predict_views(fold.model, gray, views=fold.card.views, machine=cpu, inputs=data.inputs[[at]])
        )
        assert row["Image_name"] == data.store.ids[at]
        assert np.allclose(probs[0], [float(row[name]) for name in findings], atol=1e-5)


def test_a_tenth_of_the_values_is_unknown_in_an_epoch_by_seed_epoch_and_image_alone() -> None:
    drawn = draw_blanks(20_000, 3, seed=1, epoch=2)
    assert drawn.mean(0) == pytest.approx([0.1] * 3, abs=0.01)
    assert np.array_equal(draw_blanks(500, 3, seed=1, epoch=2), drawn[:500])
    assert not np.array_equal(draw_blanks(20_000, 3, seed=1, epoch=3), drawn)


def test_a_training_with_inputs_that_was_stopped_ends_with_the_same_bytes(
    mine: Project, tmp_path: Path
) -> None:
    from trainings import Told, stops_at, train

    whole, stopped = (mine.copy_to(tmp_path / name) for name in ("whole", "stopped"))
    settings: dict[str, Any] = {"head": head_params(HEAD), "accumulate": 2}
    train(whole, **settings)
    asked = Asked()
    with pytest.raises(Stopped):
        train(stopped, told=Told(each_step=stops_at(3, asked, 15)), asked=asked, **settings)
    train(stopped, **settings)
    paths = [one.layout.checkpoint(0) for one in (whole, stopped)]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def explained(mine: Project, inputs: str | None, **more: Any) -> Explanation:
    return explain(
        [str(mine.data / "test")],
        Options(workers=0, batch_size=3, inputs=inputs),
        models=mine.layout.models,
        machine=Machine(torch.device("cpu"), torch.float32),
        progress=Silent(),
        **more,
    )


def test_explain_takes_the_inputs_that_score_takes(mine: Project, tmp_path: Path, who: Rows) -> None:
    """The probabilities are those of score, row by row; with all unknown they are others."""
    table = written(tmp_path / "who.csv", who)
    run(mine, tmp_path / "sub.csv", table)
    scores = {row["Image_name"]: row for row in table_of(tmp_path / "sub.csv")}
    found = explained(mine, table, attention=mine.params.labels.findings[0])
    for image in found.images:
        own = [float(scores[image.name][name]) for name in found.findings]
        assert np.allclose(image.probs, own, atol=1e-6)
        assert (
            image.attention is not None and (image.attention.maps.sum((1, 2)) < 1).all()
        )  # the rest: inputs
    unknown = explained(mine, "none")
    assert any("scored with unknown Sex, Age" in note for note in unknown.notes)
    assert not np.allclose(unknown.images[0].probs, found.images[0].probs, atol=1e-6)
    with pytest.raises(UserError, match="--inputs: not given, and these models read Sex, Age, ViewCategory"):
        explained(mine, None)


@pytest.mark.parametrize("called", ["filename", "Image ID"])
def test_the_id_column_of_inputs_may_be_called_as_that_of_test_labels_may(
    mine: Project, tmp_path: Path, who: Rows, called: str
) -> None:
    """One rule for both tables: the stage `test` reads its labels and its inputs from one file."""
    renamed = [{called if name == "Image_name" else name: cell for name, cell in row.items()} for row in who]
    table = written(tmp_path / "who.csv", renamed)
    assert label_settings(Path(table), "Image_name", mine.params.labels)[0]["id"] == called
    run(mine, tmp_path / "sub.csv", table)
    run(mine, tmp_path / "same.csv", written(tmp_path / "plain.csv", who))
    assert (tmp_path / "sub.csv").read_bytes() == (tmp_path / "same.csv").read_bytes()


def test_pictures_of_the_inputs_reach_the_plots(mine: Project, tmp_path: Path) -> None:
    copy = mine.copy_to(tmp_path)
    learned = read_learned(copy.layout.learned(0))
    assert learned.pictures["attention_inputs"].axes == ("finding", "step", "input")
    assert learned.head["inputs"] == list(COLUMNS)
    assert "encodings" not in learned.head
    together = learned.pictures["attention_tokens"].values.sum((2, 3))
    together = together + learned.pictures["attention_inputs"].values.sum(2)
    assert np.allclose(together[np.isfinite(together)], 1, atol=1e-4)
    evaluate(copy.labels, copy.layout, labels=copy.params.labels, folds=copy.params.folds.train)
    rows = table_of(copy.layout.plots / "attention_inputs.csv")
    assert {row["input"] for row in rows} == {*COLUMNS}
    values, findings = learned.pictures["attention_inputs"].values, learned.findings
    for row in (row for row in rows if row["fold"] == "0"):
        at = findings.index(row["finding"]), int(row["step"]), COLUMNS.index(row["input"])
        assert float(row["value"]) == pytest.approx(values[at], abs=1e-5)
    write_report(copy.layout, folds=copy.params.folds.train)
    page = copy.layout.report.read_text()
    assert "Findings attend to further inputs" in page
    assert all(f"<th>{column}</th>" in page for column in COLUMNS)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("Image_name", "'Image_name' is the id in"),
        ("Patient_ID", "'Patient_ID' is the patient in"),
        ("Study", "'Study' is the study in"),
        ("Edema", "'Edema' is a finding in"),
        ("sex", r"no column 'sex'; the nearest is 'Sex'"),
    ],
)
def test_a_column_that_tells_the_answer_or_is_not_there_is_refused(
    mine: Project, cpu: Machine, column: str, message: str
) -> None:
    head = head_params(HEAD | {"inputs": ["Age", column]})
    params = mine.with_settings(head=head)
    with pytest.raises(UserError, match=message):
        read_job(0, labels_csv=mine.labels, layout=mine.layout, params=params, machine=cpu)


def test_folds_that_read_other_columns_make_no_ensemble(mine: Project, tmp_path: Path) -> None:
    copy = mine.copy_to(tmp_path)
    copy.train(1, head=head_params(HEAD | {"inputs": ["Age"]}))
    with pytest.raises(UserError, match=r"head\.inputs"):
        run(copy, tmp_path / "sub.csv", "none")


def test_the_command_scores_and_verifies_with_a_table(mine: Project, door: Any, tmp_path: Path) -> None:
    shutil.copytree(mine.data / "test", tmp_path / "images")
    words = ["score", "images", "--models", mine.layout.models, "--workers", "1", "--device", "cpu"]
    assert "these models read Sex, Age, ViewCategory" in door(*words, "-o", "sub.csv").err
    table = mine.data / "test_labels.csv"
    assert door(*words, "-o", "sub.csv", "--inputs", table).code == 0
    assert door("verify", "sub.csv", "--inputs", table).code == 0
    assert door("verify", "sub.csv", "--inputs", mine.labels).code == 1


def test_in_python_a_value_that_is_not_known_is_warned_of(mine: Project, who: Rows) -> None:
    ensemble = load_ensemble(mine.layout.models, device="cpu")
    pixels = np.zeros((2, ensemble.size, ensemble.size), np.uint8)
    values = {"Sex": ["Male", "male"], "Age": [50, 50], "ViewCategory": ["Frontal", "Frontal"]}
    with pytest.warns(
        UserWarning, match="inputs: 'Sex': 1 value that no training row has, .* such as 'male'"
    ):
        ensemble.predict(pixels, values)
    with pytest.raises(UserError, match="inputs: 'Age' is 5000, far from the"):
        ensemble.predict(pixels, values | {"Sex": ["Male", "Male"], "Age": [50, 5000]})
