"""The Python API: the numbers and bytes of the commands, in a script, a notebook or on standard input."""

import doctest
import importlib
import inspect
import pickle
import pkgutil
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, get_args

import numpy as np
import polars as pl
import pytest
from conftest import Project, contents
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score
from typer.main import get_command

import cxrscore
import cxrscore.score
from cxrscore import api
from cxrscore.__main__ import main
from cxrscore.cli import comparing, measured_stages, projects, scoring, stages
from cxrscore.cli.app import app
from cxrscore.core.errors import Stopped, Unreadable, UserError
from cxrscore.python_api.arguments import processes
from cxrscore.tables import csv_table

PAGE = Path(__file__).parents[2] / "docs" / "python-api.md"
HERE: dict[str, Any] = {"device": "cpu", "workers": 1}


@pytest.fixture
def at_home(project: Project, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder is a project of its own, with data and all outputs at their usual places."""
    home = tmp_path / "project"
    shutil.copytree(phantoms, home / "data")
    shutil.copytree(project.layout.root, home / "out")
    shutil.copy(project.layout.root.parent / "params.yaml", home)
    monkeypatch.chdir(home)
    return home


def pixels_of(ensemble: api.Ensemble, table: pl.DataFrame) -> NDArray[np.uint8]:
    return np.stack([ensemble.read(f"data/test/{name}") for name in table[:, 0]])


def test_importing_the_api_loads_no_heavy_library() -> None:
    heavy = {"torch", "polars", "dvc", "numpy", "timm", "typer", "rich", "pydantic"}
    code = f"import sys, cxrscore, cxrscore.api; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_needs_no_model_imports_no_torch() -> None:
    """It takes ten seconds and more."""
    modules = "sys, cxrscore.python_api.frames, cxrscore.check, cxrscore.phantom"
    code = f"import {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def calls() -> dict[str, Callable[[int], object]]:
    """One call of each function, for the n-th time, in a project's folder."""
    return {
        "check": lambda n: api.check("data/test", size=32, workers=1),
        "compare": lambda n: api.compare("out/oof/fold0.csv", "out/oof/fold0.views.csv"),
        "decide": lambda n: api.decide(),
        "evaluate": lambda n: api.evaluate(),
        "folds": lambda n: api.folds(),
        "labels_frame": lambda n: api.labels_frame(api.read_labels(params="params.yaml")),
        "load_ensemble": lambda n: api.load_ensemble(device="cpu"),
        "phantom": lambda n: api.phantom(f"phantoms{n}", images=2, size=32, workers=1),
        "prepare": lambda n: api.prepare(workers=1),
        "read_image": lambda n: api.read_image(next(iter(sorted(Path("data/test").iterdir()))), size=32),
        "read_labels": lambda n: api.read_labels(params="params.yaml"),
        "report": lambda n: api.report(),
        "score": lambda n: api.score("data/test", out=f"sub{n}.csv", **HERE),
        "stratify": lambda n: api.stratify(np.eye(6, dtype=int), list("aabbcc"), k=2),
        "test": lambda n: api.test(workers=1, device="cpu"),
        "train": lambda n: api.train(0, device="cpu"),
        "verify": lambda n: api.verify(f"sub{n}.csv", models="out/models", source="data/test"),
    }


def test_each_function_works_twice_after_all_modules_are_imported(at_home: Path) -> None:
    """A function of the package that has a module's name would be hidden when that module is imported."""
    for module in pkgutil.walk_packages(cxrscore.__path__, "cxrscore."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    functions = {name for name in api.__all__ if inspect.isfunction(getattr(api, name))}
    assert functions == set(calls())
    for name, call in calls().items():
        first, second = call(1), call(2)
        assert type(first) is type(second), name
    assert inspect.ismodule(cxrscore.score)
    assert inspect.isfunction(api.score)


OURS = {  # a command's parameter -> the function's argument
    "compile_models": "compile",
    "compile_model": "compile",
    "output": "out",
    "id_kind": "id",
    "table_format": "format",
}
PAIRS: list[
    tuple[Callable[..., object], Callable[..., object], set[str]]
] = [  # without what a terminal needs
    (api.score, scoring.score, set()),
    (api.check, scoring.check, {"as_json", "output", "overwrite"}),
    (api.verify, scoring.verify, set()),
    (api.prepare, stages.prepare, set()),
    (api.folds, stages.folds, set()),
    (api.train, stages.train, {"gpus"}),
    (api.report, stages.report, set()),
    (api.decide, measured_stages.decide, {"as_json"}),
    (api.test, measured_stages.test, {"as_json"}),
    (api.evaluate, measured_stages.evaluate, {"as_json"}),
    (api.compare, comparing.compare, {"as_json"}),
    (api.phantom, projects.phantom, {"sheet"}),
]
REQUIRED = {("phantom", "out"), ("score", "out")}  # by one of the two only


def arguments(command: Callable[..., object], without: set[str]) -> dict[str, inspect.Parameter]:
    """A command's options, by the names of the function's arguments."""
    found = inspect.signature(command, eval_str=True).parameters
    return {OURS.get(name, name): option for name, option in found.items() if name not in without}


def words_of(annotation: Any) -> set[str]:
    """All literal texts in an annotation."""
    inner = set().union(*map(words_of, get_args(annotation)))
    return {annotation} if isinstance(annotation, str) else inner


@pytest.mark.parametrize(("function", "command", "without"), PAIRS, ids=lambda value: "")
def test_a_functions_arguments_defaults_and_words_are_its_commands(
    function: Callable[..., object], command: Callable[..., object], without: set[str]
) -> None:
    options, ours = arguments(command, without), dict(inspect.signature(function).parameters)
    ours.pop("progress", None)
    assert set(ours) == set(options)
    for name, option in options.items():
        if name == "workers":
            assert (ours[name].default, option.default) == (None, processes(None))
        elif (function.__name__, name) not in REQUIRED:
            default = option.default
            assert ours[name].default == (default.as_posix() if isinstance(default, Path) else default), name
        choices = get_args(option.annotation)[0]
        if words_of(choices):
            assert words_of(ours[name].annotation) == words_of(choices), name


def test_the_page_names_every_command_and_option_that_is_no_function() -> None:
    page = PAGE.read_text(encoding="utf-8")
    paragraph = page[page.index("**Only as commands**") :].partition("\n\n")[0]
    root = get_command(app)
    commands = dict(root.commands)  # type: ignore[attr-defined]
    for group in ("data", "weights"):
        commands |= {f"{group} {name}": command for name, command in commands.pop(group).commands.items()}
    callable_ones = {function.__name__ for function, _, _ in PAIRS}
    options = {f"{command.__name__} --{word}" for _, command, without in PAIRS for word in without}
    named = {f"`{name}`" for name in set(commands) - callable_ones - {"code"}}
    named |= {f"`{option}`" for option in options if not option.endswith(("--as_json", "--overwrite"))}
    assert set(re.findall("`[^`]+`", paragraph)) == named | {"`--json`"}


def bounds() -> Iterator[tuple[Callable[..., object], str, float, float | None]]:
    """Each option that is a number: the function, its argument, the least and the most."""
    for function, command, without in PAIRS:
        for name, option in arguments(command, without).items():
            for about in get_args(option.annotation)[1:]:
                if about.min is not None:
                    yield function, name, about.min, about.max


@pytest.mark.parametrize(
    ("function", "name", "least", "most"),
    [pytest.param(*case, id=f"{case[0].__name__}-{case[1]}") for case in bounds()],
)
def test_a_number_has_its_options_bounds(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    function: Callable[..., object],
    name: str,
    least: float,
    most: float | None,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    given: dict[str, Any] = {  # what gets a call past its numbers, to be refused then
        api.score: {"source": "nowhere", "out": "sub.csv", "device": "cpu"},
        api.check: {"source": "nowhere"},
        api.train: {"fold": 0},
        api.phantom: {"out": "full"},
        api.prepare: {},
        api.test: {},
        api.evaluate: {},
    }[function]
    step = 0.01 if isinstance(least, float) and least % 1 else 1
    for wrong in [least - step, *([most + 1] if most is not None else []), "1", None]:
        if wrong is not None or inspect.signature(function).parameters[name].default is not None:
            with pytest.raises(UserError, match=rf"\A{name}: .* was expected"):
                function(**given | {name: wrong})
    for right in [least, *([most] if most is not None else [])]:
        with pytest.raises(UserError) as refusal:
            function(**given | {name: right})
        assert not re.match(rf"{name}: .* was expected", str(refusal.value))


def test_the_documented_examples_are_true(at_home: Path) -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    public = {name for name in api.__all__ if inspect.isfunction(getattr(api, name))}
    modules = sorted({getattr(api, name).__module__ for name in public})
    tests = [finder.find(importlib.import_module(name), globs={"Path": Path}) for name in modules]
    found = [test for test in chain.from_iterable(tests) if test.examples]
    assert public <= {test.name.rpartition(".")[2] for test in found}
    lines: list[str] = []
    for test in found:
        doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=lines.append)
    assert not lines, "".join(lines)


def test_predict_gives_the_bits_that_score_writes(at_home: Path) -> None:
    scores = api.score("data/test", **HERE)
    ensemble = api.load_ensemble("out/models", device="cpu")
    probs = ensemble.predict(pixels_of(ensemble, scores.table))
    assert probs.dtype == np.float32
    assert ensemble.findings == tuple(scores.table.columns[1:])
    assert probs.tobytes() == np.ascontiguousarray(scores.table[:, 1:].to_numpy()).tobytes()


def test_a_row_does_not_depend_on_the_rows_beside_it(at_home: Path) -> None:
    scores = api.score("data/test", **HERE)
    ensemble = api.load_ensemble(device="cpu", batch_size=4)
    pixels = pixels_of(ensemble, scores.table)
    together = ensemble.predict(pixels)
    assert np.concatenate([ensemble.predict(one[None]) for one in pixels]).tobytes() == together.tobytes()
    backwards = ensemble.predict(pixels[::-1])  # no copy: strides are negative
    assert backwards[::-1].tobytes() == together.tobytes()


def test_no_image_gives_no_row_and_read_only_pixels_are_taken(at_home: Path) -> None:
    ensemble = api.load_ensemble(device="cpu", folds=[1], views=["plain"])
    pixels = np.full((1, ensemble.size, ensemble.size), 7, np.uint8)
    pixels.flags.writeable = False
    assert (ensemble.folds, ensemble.views) == ((1,), ("plain",))
    assert ensemble.predict(pixels).shape == (1, len(ensemble.findings))
    assert ensemble.predict(pixels[:0]).shape == (0, len(ensemble.findings))


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        ([[1, 2]], r"pixels: a list; a numpy array of uint8 of shape \(n, 32, 32\) was expected"),
        (np.zeros((1, 32, 32)), r"pixels: float64 of shape \(1, 32, 32\); uint8 of shape"),
        (np.zeros((32, 32), np.uint8), r"put one image in as pixels\[None\]"),
        (
            np.zeros((2, 1, 32, 32), np.uint8),
            r"uint8 of shape \(2, 1, 32, 32\); uint8 of shape \(n, 32, 32\)",
        ),
        (np.zeros((2, 48, 48), np.uint8), r"uint8 of shape \(2, 48, 48\); uint8 of shape \(n, 32, 32\)"),
    ],
)
def test_other_pixels_are_refused_with_what_would_be_right(at_home: Path, pixels: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        api.load_ensemble(device="cpu").predict(pixels)


def test_an_image_file_that_cannot_be_read_says_why_and_which(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image at all")
    with pytest.raises(Unreadable, match=r"a\.png: not a recognized image format") as fault:
        api.read_image(tmp_path / "a.png", size=32)
    assert fault.value.kind == "NOT_AN_IMAGE"


def test_score_writes_the_commands_bytes(
    at_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--template", "data/sample_submission.csv", "--std", "--workers", "1", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["cxrscore", "score", "data/test", "-o", "one/sub.csv", *words])
    for folder in ("one", "two"):
        Path(folder).mkdir()
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    scores = api.score(
        "data/test", out="two/sub.csv", template="data/sample_submission.csv", std=True, **HERE
    )
    one, two = contents(Path("one")), contents(Path("two"))
    told = "sub.csv.provenance.json"  # when it was made
    assert {**one, told: b""} == {**two, told: b""}
    assert scores.path == Path("two/sub.csv")
    assert scores.std is not None
    assert scores.std.columns == scores.table.columns
    assert api.verify("two/sub.csv", models="out/models", source="data/test")["holds"].all()
    assert capsys.readouterr().out == ""


def test_the_returned_table_is_the_file(at_home: Path) -> None:
    csv = api.score("data/test", out="sub.csv", **HERE).table
    parquet = api.score("data/test", out="sub.parquet", **HERE).table
    assert parquet.equals(pl.read_parquet("sub.parquet"))
    assert csv.equals(pl.read_csv("sub.csv", schema=csv.schema))
    assert np.allclose(csv[:, 1:].to_numpy(), parquet[:, 1:].to_numpy(), rtol=1e-6)


def test_without_a_name_for_the_table_nothing_is_left_on_disk(
    at_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    before = contents(at_home)
    scores = api.score("data/test", **HERE)
    assert scores.path is None
    assert contents(at_home) == before
    assert not any((tmp_path / "temporary").iterdir())


@pytest.mark.parametrize("out", [None, "sub.csv"])
def test_a_file_that_cannot_be_scored_is_warned_of_and_named(at_home: Path, out: str | None) -> None:
    (at_home / "data" / "test" / "00000000_001_001.jpg").write_bytes(b"damaged")
    with pytest.warns(api.QuarantineWarning, match=r"1 of \d+ files could not be scored and have no row"):
        scores = api.score("data/test", out=out, **HERE)
    assert (scores.quarantined, scores.listed) == (1, scores.scored + 1)
    assert len(scores.table) == scores.scored
    assert scores.errors["path"].to_list() == ["00000000_001_001.jpg"]
    assert scores.errors["kind"].to_list() == ["NOT_AN_IMAGE"]


def test_a_run_that_keeps_nothing_says_so_when_it_is_stopped(at_home: Path) -> None:
    (at_home / "data" / "test" / "00000000_001_001.jpg").write_bytes(b"damaged")
    with pytest.raises(Stopped, match="nothing is kept, as `out` was not given"):
        api.score("data/test", max_errors=0, **HERE)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"level": "patient"}, "level: one of image, study, not 'patient'"),
        ({"batch_size": 0}, "batch_size: 0; a whole number from 1 to 4,096 was expected"),
        ({"batch_size": 2.5}, r"batch_size: 2\.5; a whole number"),
        ({"batch_size": True}, "batch_size: True; a whole number"),
        ({"workers": -1}, "workers: -1; a whole number from 0 to 256"),
        ({"timeout_s": 0.0}, r"timeout_s: 0\.0; a number of seconds of at least 0\.1 was expected"),
        ({"timeout_s": "x"}, r"timeout_s: 'x'; a number of seconds"),
        ({"timeout_s": float("nan")}, r"timeout_s: nan; a number of seconds"),
        ({"folds": [0, 0]}, "folds: 0, 0; list distinct fold numbers"),
        ({"folds": "0,2"}, "folds: 0,2; list distinct fold numbers"),
        ({"folds": []}, "folds: none; list distinct fold numbers"),
        ({"folds": [0, 0.5]}, r"folds: 0, 0\.5; list distinct fold numbers"),
        ({"overwrite": "no"}, "overwrite: 'no'; True or False was expected"),
        ({"compile": True}, "compile: one of auto, on, off, not True"),
        ({"format": "csv"}, "format: csv, and no file to write; name one in out"),
        ({"views": ["flip"]}, "views: flip; list distinct names of plain, flip"),
        ({"out": "sub.csv", "format": "parquet"}, r"sub\.csv: format is parquet; name the table"),
        ({"resume": True}, "out: not given, so there is nothing to resume"),
        ({"device": "tpu"}, "--device tpu: one of auto, cpu"),
    ],
)
def test_a_wrong_argument_is_refused_with_what_would_be_right(
    at_home: Path, wrong: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        api.score("data/test", **HERE | wrong)


def test_load_ensemble_compiles_with_the_words_of_score(at_home: Path) -> None:
    assert api.load_ensemble(device="cpu", compile="off").folds == (0, 1)
    for wrong in ("auto", False):
        with pytest.raises(UserError, match=f"compile: one of on, off, not {wrong!r}"):
            api.load_ensemble(device="cpu", compile=wrong)  # type: ignore[arg-type]


def test_train_refuses_before_it_trains(at_home: Path) -> None:
    with pytest.raises(UserError, match="state_every_s: -5; a number of seconds of at least 0"):
        api.train(0, state_every_s=-5, device="cpu")
    with pytest.raises(UserError, match="compile: 'off'; True or False was expected"):
        api.train(0, compile="off", device="cpu")  # type: ignore[arg-type]


def test_evaluate_agrees_with_scikit_learn_for_a_file_a_record_and_a_frame(at_home: Path) -> None:
    scores = api.score("data/test", out="sub.csv", **HERE)
    found = api.evaluate("sub.csv", "data/test_labels.csv")
    truth = pl.read_csv("data/test_labels.csv", infer_schema=False)
    joined = scores.table.select("Image_name").join(truth, on="Image_name", maintain_order="left")
    for name, images, positives, auc, precision in found.findings.iter_rows():
        y, probs = joined[name].cast(pl.Int8).to_numpy(), scores.table[name].to_numpy()
        assert (images, positives) == (len(y), y.sum())
        if 0 < y.sum() < len(y):
            assert auc == pytest.approx(roc_auc_score(y, probs))
            assert precision == pytest.approx(average_precision_score(y, probs))
        else:
            assert auc is None
            assert precision is None
    assert found.macro_auc == pytest.approx(found.findings["auc"].mean())
    assert found.macro_average_precision == pytest.approx(found.findings["average_precision"].mean())
    assert found.metrics["macro_auc"] == round(found.macro_auc, 5)
    for other in (scores, scores.table):
        assert api.evaluate(other, "data/test_labels.csv").findings.equals(found.findings)


def test_a_parquet_table_is_evaluated_as_the_frame_that_it_holds(at_home: Path) -> None:
    scores = api.score("data/test", out="sub.parquet", **HERE)
    found = [api.evaluate(form, "data/test_labels.csv") for form in ("sub.parquet", scores, scores.table)]
    assert found[0].findings.equals(found[1].findings)
    assert found[0].findings.equals(found[2].findings)


def test_evaluate_without_scores_measures_the_folds_as_the_stage_does(at_home: Path) -> None:
    before = Path("out/metrics.json").read_bytes()
    found = api.evaluate()
    assert Path("out/metrics.json").read_bytes() == before
    assert found.folds is not None
    assert found.folds["fold"].to_list() == [0, 1]
    assert found.metrics["macro_auc"] == round(found.macro_auc, 5)
    assert int(found.findings["images"][0]) == found.metrics["images"]


@pytest.mark.parametrize("few", [1, 50, 99])
def test_too_few_resamples_for_an_interval_are_refused(at_home: Path, few: int) -> None:
    for measured in (partial(api.evaluate, by=["Sex"]), api.evaluate, api.test):
        with pytest.raises(UserError, match=rf"resamples: {few}; a whole number from 100 to 100,000"):
            measured(resamples=few)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"Image_name": ["a"], "Edema": ["no number"]}, "'a': Edema: a number from 0 to 1, not 'no number'"),
        ({"Image_name": ["a"], "Edema": [None]}, "scores: holds nulls or NaN"),
        ({"Image_name": ["a"], "Edema": [float("nan")]}, "scores: holds nulls or NaN"),
        ({"Image_name": [None], "Edema": [0.5]}, "scores: holds nulls or NaN"),
        ({"Image_name": ["a"], "Edema": [1.5]}, r"scores: 'a': Edema: a number from 0 to 1, not 1\.5"),
        ({"Image_name": ["a", "a"], "Edema": [0.5, 0.6]}, "scores: id 'a' is in several rows; keep one"),
        ({"Image_name": ["a"]}, r"scores: a frame of shape \(1, 1\); ids and a column per finding"),
        ({}, r"scores: a frame of shape \(0, 0\); ids and a column per finding"),
    ],
    ids=str,
)
def test_a_frame_without_probabilities_is_refused(columns: dict[str, list[Any]], words: str) -> None:
    with pytest.raises(UserError, match=words):
        api.evaluate(pl.DataFrame(columns), "labels.csv")


def test_a_frame_keeps_all_digits_and_is_read_as_a_file_would_be(tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("Image_name,Edema\na,1\nb,0\nc,0\n", encoding="utf-8")
    close = [0.5 + 1e-12, 0.5, 0.1, 0.1]
    frame = pl.DataFrame({"Image_name": list("abcc"), "Edema": close, "Usage": ["Public"] * 4})
    found = api.evaluate(frame, labels, params=tmp_path / "none.yaml")
    assert found.macro_auc == 1  # to seven digits a and b would be equal
    assert found.metrics["images"] == 3
    assert "scores: 1 exact repeat of an earlier row, not counted again." in found.notes


def test_a_frame_is_evaluated_without_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("Image_name,Edema\na,1\nb,0\n", encoding="utf-8")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    frame = pl.DataFrame({"Image_name": ["a", "b"], "Edema": [0.9, 0.1]})
    assert api.evaluate(frame, labels, params=tmp_path / "none.yaml").macro_auc == 1


def test_evaluate_reads_each_score_table_once(at_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    read = csv_table.read_text
    monkeypatch.setattr(
        "cxrscore.tables.foreign_table.read_text", lambda path: opened.append(path.name) or read(path)
    )
    api.evaluate()
    shutil.copy("out/oof/fold0.csv", "sub.csv")
    api.evaluate("sub.csv", "data/labels.csv")
    assert sorted(name for name in opened if name != "labels.csv") == [
        *("fold0.csv", "fold0.views.csv", "fold1.csv", "fold1.views.csv", "sub.csv")
    ]


def test_labels_are_read_as_a_plain_table_unless_settings_say_more(at_home: Path) -> None:
    plain = api.read_labels("data/labels.csv", findings=["Edema"])
    assert (plain.findings, plain.patient) == (("Edema",), None)
    declared = api.read_labels("data/labels.csv", params="params.yaml", study=None, findings=["Edema"])
    assert declared.patient is not None
    assert (plain.ids, plain.y.tolist()) == (declared.ids, declared.y.tolist())
    with pytest.raises(UserError, match="Those with only 0, 1, -1 and blanks: Atelectasis"):
        api.read_labels("data/labels.csv")
    with pytest.raises(UserError, match=r"labels\.blank: .*'zero', 'ignore' or 'error'"):
        api.read_labels("data/labels.csv", findings=["Edema"], blank="maybe")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "File;Edema\na.png;1\nb.png;0\n",
        "File\tEdema\na.png\t1\nb.png\t0\n",
        ",Picture,Edema\n0,a.png,1\n1,b.png,0\n",
    ],
    ids=["semicolons", "tabs", "pandas' index"],
)
def test_the_id_column_is_found_in_tables_as_other_programs_write_them(tmp_path: Path, text: str) -> None:
    (tmp_path / "labels.csv").write_text(text, encoding="utf-8")
    table = api.read_labels(tmp_path / "labels.csv", findings=["Edema"])
    assert (table.ids, table.y.tolist()) == (["a.png", "b.png"], [[1], [0]])


def test_an_unknown_label_is_null_in_a_frame(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("Image,Edema,Age\na.png,1,40\nb.png,,41\n", encoding="utf-8")
    table = api.read_labels(tmp_path / "labels.csv", findings=["Edema"], blank="ignore")
    frame = api.labels_frame(table)
    assert frame.to_dict(as_series=False) == {
        "id": ["a.png", "b.png"],
        "age": ["40", "41"],
        "Edema": [1, None],
    }


def test_stratify_keeps_patients_whole_and_refuses_what_is_no_label() -> None:
    rng = np.random.default_rng(0)
    y, patient = rng.integers(0, 2, (60, 3)), rng.integers(0, 20, 60)
    fold = api.stratify(y, patient.tolist(), k=4, seed=1)
    assert all(len(set(fold[patient == one])) == 1 for one in set(patient))
    assert sorted(set(api.stratify(y, k=4).tolist())) == [0, 1, 2, 3]
    with pytest.raises(UserError, match=r"y: an array of shape \(1, 1\); labels of 0 and 1"):
        api.stratify([[2]], ["a"], k=2)
    with pytest.raises(UserError, match="patient: 1 of 60 images; give one for each row of y"):
        api.stratify(y, ["a"], k=2)


def test_progress_is_written_to_stderr_where_it_is_asked_for(
    at_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.score("data/test", **HERE)
    assert capsys.readouterr() == ("", "")
    api.score("data/test", progress=True, **HERE)
    assert re.search(r"8 files in [\d.]+ s", capsys.readouterr().err)


def blocks() -> list[str]:
    """The Python of the documentation's page, block by block."""
    return re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def run_python(home: Path, *words: str, stdin: str | None = None) -> str:
    command = [sys.executable, "-W", "error", *words]
    done = subprocess.run(command, cwd=home, input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_page_runs_from_top_to_bottom(at_home: Path) -> None:
    assert max(map(len, PAGE.read_text(encoding="utf-8").splitlines())) <= 120
    names: dict[str, Any] = {"__name__": "page"}
    for i, block in enumerate(blocks()):
        exec(compile(block, f"{PAGE.name}, block {i}", "exec"), names)


DRAW_AND_DECODE = """
print('begun')
from cxrscore.api import phantom, prepare
folder = phantom('drawn', images=12, size=48, workers=2)
prepared = prepare(folder / 'labels.csv', folder / 'images', out='other', workers=2)
print(len(list(folder.glob('images/*'))) == len(prepared.index) > 0)
"""


def test_workers_of_a_program_on_standard_input_draw_and_decode(at_home: Path) -> None:
    """multiprocessing would look for the program's file, and find none."""
    assert run_python(at_home, "-", stdin=DRAW_AND_DECODE) == "begun\nTrue\n"


def test_a_script_without_a_guard_runs_once(at_home: Path) -> None:
    """multiprocessing would run it again in each worker."""
    (at_home / "script.py").write_text(DRAW_AND_DECODE, encoding="utf-8")
    assert run_python(at_home, "script.py") == "begun\nTrue\n"


@pytest.mark.slow  # 15 s each: torch and timm are imported again
@pytest.mark.parametrize("way", ["script", "standard input"])
def test_the_page_runs_as_a_program(at_home: Path, way: str) -> None:
    code = "\n".join(blocks())
    if way == "script":
        (at_home / "page.py").write_text(code, encoding="utf-8")
        run_python(at_home, "page.py")
    else:
        run_python(at_home, "-", stdin=code)


@pytest.mark.slow  # 20 s: a kernel is started, and imports torch and timm
@pytest.mark.filterwarnings("default")  # of jupyter's own libraries; the kernel raises ours
def test_the_page_runs_as_a_notebook(at_home: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    cells = ["import warnings; warnings.simplefilter('error', category=UserWarning)", *blocks()]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    resources = {"metadata": {"path": str(at_home)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    assert all(cell.execution_count for cell in notebook.cells)


def test_an_array_that_runs_backwards_is_predicted_as_its_copy(at_home: Path) -> None:
    ensemble = api.load_ensemble("out/models", device="cpu", batch_size=4)
    pixels = np.random.default_rng(0).integers(0, 256, (5, ensemble.size, ensemble.size), np.uint8)
    assert (ensemble.predict(pixels[::-1]) == ensemble.predict(pixels[::-1].copy())).all()
    assert (ensemble.predict(pixels[:1][::-1]) == ensemble.predict(pixels[:1])).all()


@pytest.mark.parametrize("name", ["id", "patient"])
def test_a_finding_that_is_called_like_a_column_of_the_frame_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "l.csv").write_text(f"Image_name,P,{name}\na.png,1,0\nb.png,2,1\n")
    table = api.read_labels(tmp_path / "l.csv", id="Image_name", patient="P", findings=[name])
    with pytest.raises(UserError, match=f"a column '{name}' of its own; rename the finding"):
        api.labels_frame(table)


def test_a_fault_comes_back_from_another_process_as_it_was() -> None:
    fault = api.Unreadable("TOO_SMALL", "a.png: 9 x 9 pixels")
    again = pickle.loads(pickle.dumps(fault))
    assert (type(again), again.kind, str(again)) == (api.Unreadable, fault.kind, str(fault))


def test_a_name_that_is_not_utf_8_is_listed_as_a_table_would_hold_it(tmp_path: Path) -> None:
    (tmp_path / "bad\udcff.jpg").write_bytes(b"no image")
    assert api.check(tmp_path, workers=0).errors["path"].to_list() == ["bad%FF.jpg"]
