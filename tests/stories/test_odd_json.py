"""Whatever stands in a file of ours that somebody damaged, a run says so or measures again."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from conftest import Project
from odd_json import TEXTS, VALUES, odd_places, odd_texts
from some_heads import SETTINGS
from torch import nn

from cxrscore.ablation.runs import done_mark, is_done, plan
from cxrscore.core.device import Machine
from cxrscore.core.errors import Busy, UserError
from cxrscore.core.files import read_json, sha256_bytes
from cxrscore.core.lock import locked
from cxrscore.core.progress import Silent
from cxrscore.evaluate import evaluate
from cxrscore.evaluation.head_pictures import read_learned
from cxrscore.images.image_store import open_store
from cxrscore.report import write_report
from cxrscore.score import score
from cxrscore.scoring.compute_settings import Recipe, choose_recipe, describe
from cxrscore.scoring.journal import MAGIC, File, Journal, Rows, opened_journal
from cxrscore.scoring.measurement_cache import recall, store
from cxrscore.scoring.options import Options
from cxrscore.scoring.provenance import read_provenance
from cxrscore.verify import verify

CPU = Machine(torch.device("cpu"), torch.float32)
RUN = {"recipe": {"dtype": "fp32", "batch_size": 4, "compile": False, "merge": {}}, "size": 32, "views": []}


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where measurements are kept; the folder does not exist yet."""
    monkeypatch.setenv("CXRSCORE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "measured.json"


def grouped() -> nn.Module:
    return timm.create_model("resnext26ts", pretrained=False, num_classes=0, global_pool="").eval()


ABOUT = describe("resnext26ts", CPU, size=64, batch_size=2)
GROUPED = [name for name, layer in grouped().named_modules() if getattr(layer, "groups", 1) > 1]
MERGES, AGAIN = {GROUPED[0]: 2, GROUPED[2]: 2}, {GROUPED[3]: 2}


def choose(monkeypatch: pytest.MonkeyPatch, *, forwards: int = 10**6) -> tuple[Recipe, bool]:
    """The recipe, and whether merges were measured for it."""
    again = []
    with monkeypatch.context() as patch:
        patch.setattr(
            "cxrscore.scoring.compute_settings.measure_merges", lambda *_, **__: again.append(1) or AGAIN
        )
        shape: dict[str, Any] = {"size": 64, "batch_size": 2}
        chosen = choose_recipe("resnext26ts", grouped, CPU, **shape, compile="auto", forwards=forwards)
    return chosen, bool(again)


NO_MERGES: list[Any] = [
    *(value for value in VALUES if value != {} and value is not None),
    {"no such layer": 2},
    {"stem": 2},
    {"stem.conv1.conv": 2},
    *({GROUPED[0]: factor} for factor in (0, 1, -3, 3, 10**9, 10**400, 64, "2", 2.0, True, None, [2], {})),
    {GROUPED[0]: 2, "x": 2},
]


@pytest.mark.parametrize("factors", NO_MERGES, ids=lambda factors: repr(factors)[:40])
def test_merges_that_do_not_fit_the_backbone_are_measured_again(
    measured: Path, factors: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(f"merge | {ABOUT}", factors)
    assert choose(monkeypatch)[0].merge == AGAIN
    assert choose(monkeypatch) == (Recipe("fp32", 2, False, AGAIN), False)


@pytest.mark.parametrize("factors", [{}, MERGES])
def test_merges_that_fit_are_not(
    measured: Path, factors: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    store(f"merge | {ABOUT}", factors)
    assert choose(monkeypatch) == (Recipe("fp32", 2, False, factors), False)


def test_figures_of_compiling_that_are_none_do_not_decide(
    measured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = {"eager_s": 1.0, "compiled_s": 0.5, "compile_s": 3.0}
    store(f"merge | {ABOUT}", {})
    store(f"compile | {ABOUT}", figures)
    assert choose(monkeypatch)[0].compile
    odd: list[Any] = [*VALUES, {"eager_s": 1.0, "compiled_s": 0.5}]
    bad = [value for value in VALUES if value not in (1.5, 10**9) or isinstance(value, bool)]
    odd += [{**figures, name: value} for name in figures for value in bad]
    for figure in odd:
        store(f"compile | {ABOUT}", figure)
        assert not choose(monkeypatch)[0].compile, figure


def test_a_store_of_any_content_is_as_if_there_were_none(
    measured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured.parent.mkdir()
    for text in odd_texts({f"merge | {ABOUT}": MERGES, f"compile | {ABOUT}": {"eager_s": 1.0}}, most=100):
        measured.write_bytes(text)
        first, _ = choose(monkeypatch)
        assert choose(monkeypatch) == (first, False), text[:80]  # what was measured again is kept


def test_a_store_in_any_place_holds_nobody_up(measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured.parent.mkdir()
    for kind in odd_places(measured):
        assert choose(monkeypatch)[0].merge == AGAIN, kind
    with measured.open("wb") as file:
        file.truncate(2 * 10**9)  # of no blocks: it takes no room
    assert recall("x") is None
    store("x", 1)
    assert recall("x") == 1


@pytest.mark.parametrize("kind", ["a file", "a dangling link", "a pipe"])
def test_a_cache_folder_that_is_none_costs_only_time(
    measured: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "a file":
        measured.parent.write_text("mine")
    elif kind == "a pipe":
        os.mkfifo(measured.parent)
    else:
        measured.parent.symlink_to("nowhere")
    for _ in range(2):
        assert choose(monkeypatch) == (Recipe("fp32", 2, False, AGAIN), True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_cache_that_cannot_be_read_costs_only_time(measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store("x", 1)
    measured.chmod(0)
    assert recall("x") is None


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with opened_journal(tmp_path / "sub.csv.journal", shard_rows=7) as opened:
        opened.begin(RUN, iter([("a.jpg", 1, 2), ("b.jpg", 3, 4)]))
        yield opened


def test_a_fingerprint_of_any_content_is_read_or_refused(journal: Journal) -> None:
    refused = 0
    for text in odd_texts(RUN, most=1000):
        (journal.folder / "run.json").write_bytes(text)
        try:
            recipe = journal.fingerprint()["recipe"]
        except UserError as error:
            refused += "--overwrite starts over" in str(error)
        else:
            assert Recipe(**recipe).as_json() == recipe
            assert type(recipe["compile"]) is bool and type(recipe["batch_size"]) is int
    assert refused > 50
    for _ in odd_places(journal.folder / "run.json"):
        with pytest.raises(UserError, match=r"run.json is damaged; --overwrite starts over"):
            journal.fingerprint()


def test_a_manifest_of_any_content_is_read_or_empty(journal: Journal) -> None:
    for text in odd_texts(["a.jpg", 1, 2]):
        (journal.folder / "manifest.jsonl").write_bytes(b'["b.jpg", 3, 4, 5]\n' + text + b"\n")
        for path, (size, changed, _) in journal.manifest().items():
            assert (type(path), type(size), type(changed)) == (str, int, int)
    for _ in odd_places(journal.folder / "manifest.jsonl"):
        assert journal.manifest() == {}


def test_a_shard_of_any_content_with_its_sha256_is_rows_or_none() -> None:
    values = np.ones((2, 1, 3), np.float32)
    values[1] = np.nan
    whole = Rows(0, [File(1, "ab"), File(2, "cd", ("decode", "TRUNCATED", "why"))], values, 1, 2, [4])
    line, _, raw = whole.encoded().partition(b"\n")[2].partition(b"\n")
    found = []
    for text in [line, *odd_texts(json.loads(line), most=3000)]:
        payload = text + b"\n" + raw
        rows = Rows.decoded(MAGIC + sha256_bytes(payload).encode() + b"\n" + payload)
        found.append(rows is not None)
        if rows is not None:
            assert Rows.decoded(rows.encoded()) is not None
            assert all(type(chunk) is int for chunk in (rows.start, rows.exact, *rows.halvings))
    assert found[0] and found.count(False) > 300


def scored(project: Project, out_csv: Path, **how: Any) -> object:
    options = Options(**{"workers": 0, "batch_size": 4, **how})
    return score(
        str(project.data / "test"),
        out_csv,
        options,
        models=project.layout.models,
        machine=CPU,
        progress=Silent(),
    )


def read_or_refused(work: Callable[[], object]) -> bool:
    try:
        work()
    except UserError:
        return False
    return True


def test_a_provenance_of_any_content_is_verified_or_refused(project: Project, tmp_path: Path) -> None:
    scored(project, tmp_path / "sub.csv")
    path = tmp_path / "sub.csv.provenance.json"
    whole = json.loads(path.read_text())
    whole["run"]["findings"] = whole["run"]["findings"][:1]

    def ask() -> None:
        read_provenance(path)
        list(verify(tmp_path / "sub.csv", models=project.layout.models, source=None, progress=Silent()))

    answers = []
    for text in odd_texts(whole, most=600):
        path.write_bytes(text)
        answers.append(read_or_refused(ask))
    assert True in answers and answers.count(False) > 100
    for kind in odd_places(path):
        assert not read_or_refused(ask), kind


def test_a_run_to_go_on_with_of_any_content_is_gone_on_with_or_refused(
    project: Project, tmp_path: Path
) -> None:
    out_csv = tmp_path / "sub.csv"
    with opened_journal(tmp_path / "sub.csv.journal", shard_rows=7) as journal:
        journal.begin(RUN, iter([]))
    path = journal.folder / "run.json"
    odd = [
        {"merge": {"no such layer": 2}},
        {"merge": {GROUPED[0]: 2}},
        {"merge": {"conv1": 0}},
        {"compile": "x"},
    ]
    recipes = [{"recipe": RUN["recipe"] | change} for change in odd]  # type: ignore[operator]
    for text in [*(json.dumps(run).encode() for run in recipes), *odd_texts(RUN, most=40)]:
        path.write_bytes(text)
        assert not read_or_refused(lambda: scored(project, out_csv, resume=True)), text[:80]
        assert path.read_bytes() == text


def test_a_finished_run_of_any_provenance_is_done_or_refused(project: Project, tmp_path: Path) -> None:
    scored(project, tmp_path / "sub.csv")
    path = tmp_path / "sub.csv.provenance.json"
    whole = json.loads(path.read_text())
    whole = {name: whole[name] for name in ("schema", "run", "choices", "counts", "sha256")}
    for text in odd_texts(whole, most=40):
        path.write_bytes(text)
        read_or_refused(lambda: scored(project, tmp_path / "sub.csv", resume=True))


NOT_REPORTED = ("auc", "pairs", "absent", "studies", "training", "files")


def test_a_report_says_which_file_is_damaged(project: Project, tmp_path: Path) -> None:
    mine = project.copy_to(tmp_path)
    layout, folds = mine.layout, mine.params.folds.train
    for path in (layout.metrics, layout.balance, layout.summary(0)):
        whole = path.read_bytes()
        told = json.loads(whole)
        told = {name: told[name] for name in told if name not in NOT_REPORTED}
        told |= {"findings": {"deviation": 0.1}} if "method" in told else {}
        refused = 0
        for text in odd_texts(told, most=10):
            path.write_bytes(text)
            try:
                write_report(layout, folds=folds)
            except UserError as error:
                assert str(path) in str(error)
                refused += 1
        assert refused > len(TEXTS), path
        path.write_bytes(whole)
        for _ in odd_places(path):
            with pytest.raises(UserError, match=r"run `dvc repro"):
                write_report(layout, folds=folds)
        path.write_bytes(whole)
    write_report(layout, folds=folds)


def test_a_mark_of_any_content_is_a_training_that_is_not_done(project: Project, tmp_path: Path) -> None:
    mine = project.copy_to(tmp_path)
    run = plan({"a": SETTINGS["independent"]}, [0], params=mine.params, layout=mine.layout)[0]
    path = done_mark(run)
    path.parent.mkdir(parents=True)
    for text in odd_texts({"fingerprint": "0" * 64, "scores_sha256": "0" * 64}):
        path.write_bytes(text)
        assert not is_done(run, "0" * 64)
    for _ in odd_places(path):
        assert not is_done(run, "0" * 64)


def test_what_was_learned_of_any_content_is_shown_or_refused(project: Project, tmp_path: Path) -> None:
    mine = project.copy_to(tmp_path)
    path, folds = mine.layout.learned(0), mine.params.folds.train
    told = json.loads(path.read_text())
    for text in odd_texts(told, most=300):
        path.write_bytes(text)
        read_or_refused(lambda: read_learned(path))
    small: dict[str, Any] = {"findings": told["findings"], "head": told["head"], "pictures": {}}
    shapes = {"coupling": ("source", "target"), "scenes": ("image", "scene"), "mine": ("finding",)}
    for name, axes in shapes.items():
        for values in ([], [[]], [[None]], [[1.0]], [1.0] * 14, [["x"]], [[1.0, 2.0]] * 20, 10**400):
            small["pictures"] = {name: {"axes": axes, "values": values}}
            path.write_text(json.dumps(small))
            read_or_refused(
                lambda: evaluate(mine.labels, mine.layout, labels=mine.params.labels, folds=folds)
            )
    for _ in odd_places(path):
        assert not read_or_refused(lambda: read_learned(path))


def test_prepared_images_with_any_about_are_opened_or_refused(project: Project, tmp_path: Path) -> None:
    mine = project.copy_to(tmp_path)
    path = mine.layout.prepared / "about.json"
    for text in odd_texts({"preprocessing": "x"}):
        path.write_bytes(text)
        read_or_refused(lambda: open_store(mine.layout.prepared))
    for _ in odd_places(path):
        assert not read_or_refused(lambda: open_store(mine.layout.prepared))


def test_a_lock_of_any_content_holds_and_names_whom_it_can(tmp_path: Path) -> None:
    with locked(tmp_path / "lock"):
        for text in odd_texts({"pid": 1, "host": "here", "started": "today"}):
            (tmp_path / "lock").write_bytes(text)
            with pytest.raises(Busy, match="another run is writing there"), locked(tmp_path / "lock"):
                pass


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"[1, 2, 3]")
    assert read_json(tmp_path / "a.json", most_bytes=9) == [1, 2, 3]
    with pytest.raises(ValueError, match="9 bytes, more than 8"):
        read_json(tmp_path / "a.json", most_bytes=8)
