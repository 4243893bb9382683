"""Every head goes the one way: it trains, saves, loads, scores and resumes where it was stopped; what it
takes from labels it takes from the training fold.
"""

import csv
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from conftest import COUPLING, Project, contents
from pydantic import ValidationError
from some_heads import AGCN, ONE_OF_EACH, SALGL, SETTINGS, a_head, head_params
from torch import Tensor
from trainings import Told, stops_at, train

from cxrscore.core.device import Machine
from cxrscore.core.errors import Stopped, UserError
from cxrscore.core.progress import Silent
from cxrscore.core.signals import Asked
from cxrscore.evaluate import evaluate
from cxrscore.evaluation.head_pictures import read_learned, write_learned
from cxrscore.model.checkpoint import load_fold
from cxrscore.model.ensemble import load_ensemble
from cxrscore.model.heads.registry import KINDS
from cxrscore.model.loss import build_loss
from cxrscore.project.params import HeadParams
from cxrscore.report import write_report
from cxrscore.score import score
from cxrscore.scoring.options import Options
from cxrscore.tables.cooccurrence import label_embeddings
from cxrscore.tables.score_table import read_scores
from cxrscore.train import build_learner
from cxrscore.training.epochs import train_epoch
from cxrscore.training.fold_data import FoldData, read_fold
from cxrscore.training.run_state import Course

L, C = 5, 6
NAMES = [f"finding {i}" for i in range(L)]
FOR_THEMSELVES = ("independent", "independent gmp", "mlp")  # these take nothing from labels but by learning
DEAD = {  # what weighs one alone: its share is 1 whatever the weights
    "lamp el": [f"sub_steps.{i}.{part}.weight" for i in (1, 3) for part in ("query", "key")],
}
WITH_NO_DROPOUT = {name: settings | {"dropout": 0.0} for name, settings in SETTINGS.items()}


def labels(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(n, L) labels in which the second follows the first, and a mask that hides a fifth."""
    rng = np.random.default_rng(seed)
    y = (rng.random((n, L)) < 0.4).astype(np.float32)
    y[:, 1] = np.where(rng.random(n) < 0.9, y[:, 0], y[:, 1])
    return y, rng.random((n, L)) < 0.8


def begun(name: str) -> Any:
    torch.manual_seed(0)
    head = a_head(findings=L, channels=C, **WITH_NO_DROPOUT[name])
    head.begin(*labels(50), findings=NAMES)
    return head


def features(n: int = 4) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(n, C, 3, 3))).float()


def total(head: Any, y: Tensor, mask: Tensor) -> Tensor:
    """What training minimises."""
    loss = build_loss(
        *labels(50),
        kind="asl",
        gamma_neg=4.0,
        gamma_pos=0.0,
        clip=0.05,
        label_smoothing=0.0,
        device=torch.device("cpu"),
    )
    output = head(features(len(y)), y, mask)
    further = [head.auxiliary_weight * loss(logits, y, mask) for logits in output.auxiliary.values()]
    return sum([*further, *output.losses.values()], start=loss(output.logits, y, mask))


def test_the_settings_here_are_those_that_params_know_and_cover_every_kind() -> None:
    for settings in SETTINGS.values():
        assert head_params(settings).model_dump() == settings
    assert {settings["kind"] for settings in SETTINGS.values()} == set(KINDS)
    for section in get_args(HeadParams):
        kind = KINDS[get_args(section.model_fields["kind"].annotation)[0]]
        decided_by_rows = {"encodings"}  # of training: a checkpoint states them, params.yaml cannot
        assert {field.name for field in fields(kind)} - decided_by_rows == section.model_fields.keys()


@pytest.mark.parametrize("name", SETTINGS)
def test_every_head_gives_one_logit_a_finding(name: str) -> None:
    assert begun(name).eval()(features()).logits.shape == (4, L)


@pytest.mark.parametrize("name", SETTINGS)
def test_every_parameter_that_learns_is_reached(name: str) -> None:
    """So that no process waits for a gradient that never comes, and nothing is carried along for show."""
    head = begun(name).train()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter += 0.05 * torch.randn_like(parameter)  # what starts at zero hides what it multiplies
    y, mask = (torch.from_numpy(part) for part in labels(8))
    head(features(8), y, mask)  # scenes have counts now
    total(head, y, mask).backward()
    untouched = [n for n, p in head.named_parameters() if p.grad is None]
    assert untouched == []
    dead = [n for n, p in head.named_parameters() if not p.grad.any()]
    assert dead == DEAD.get(name, [])


@pytest.mark.parametrize("name", SETTINGS)
def test_what_is_masked_changes_no_loss_and_no_state(name: str) -> None:
    y, mask = (torch.from_numpy(part) for part in labels(8))
    head, other = begun(name).train(), begun(name).train()
    for _ in range(2):
        one = total(head, y, mask)
        two = total(other, torch.where(mask, y, 1 - y), mask)
        assert torch.equal(one, two)
    states = zip(head.state_dict().values(), other.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in states)
    assert not torch.equal(one, total(begun(name).train(), 1 - y, mask)), "what is not masked does count"


@pytest.mark.parametrize("name", SETTINGS)
def test_a_head_with_the_state_of_another_needs_neither_labels_nor_files(name: str) -> None:
    head = begun(name).eval()
    other = a_head(findings=L, channels=C, **WITH_NO_DROPOUT[name]).eval()
    other.load_state_dict(head.state_dict())
    assert torch.equal(head(features()).logits, other(features()).logits)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_row_does_not_depend_on_its_neighbours(name: str) -> None:
    head = begun(name).eval()
    alone = torch.cat([head(row).logits for row in features().split(1)])
    assert torch.allclose(head(features()).logits, alone, atol=1e-6)


@pytest.mark.parametrize("name", SETTINGS)
def test_in_bf16_the_logits_are_those_of_fp32_but_for_rounding(name: str) -> None:
    head = begun(name).eval().requires_grad_(False)
    exact = head(features()).logits
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = head(features()).logits
    assert rounded.isfinite().all()
    assert torch.allclose(rounded.float(), exact, atol=0.05 * float(exact.abs().max()) + 0.02)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_single_finding_that_is_never_known_or_never_shown_has_a_score(name: str, tmp_path: Path) -> None:
    for y, known in ((np.zeros((20, 1)), True), (np.ones((20, 1)), True), (np.ones((20, 1)), False)):
        head = a_head(findings=1, channels=C, **WITH_NO_DROPOUT[name]).train()
        head.begin(y, np.full((20, 1), known), findings=["only"])
        output = head(features(), torch.from_numpy(y[:4]).float(), torch.full((4, 1), known))
        assert output.logits.isfinite().all()
        assert all(loss.isfinite() for loss in output.losses.values())
        assert head.eval()(features()).logits.isfinite().all()
        write_learned(tmp_path / "a.json", ["only"], head.learned(), head={})


@pytest.fixture
def mine(project: Project, tmp_path: Path) -> Project:
    return project.copy_to(tmp_path / "mine")


@pytest.mark.parametrize("name", [*ONE_OF_EACH, "independent gmp", "salgl hard"])
def test_a_head_trains_is_measured_reported_and_scores_with_what_it_saved(
    mine: Project, name: str, cpu: Machine, tmp_path: Path
) -> None:
    head = head_params(SETTINGS[name])
    for fold in (0, 1):
        mine.train(fold, head=head)
    for loaded in load_ensemble(mine.layout.models, cpu):
        assert loaded.card.head == head.model_dump()
        found = read_learned(mine.layout.learned(loaded.card.fold))
        assert (found.findings, found.head) == (loaded.card.findings, loaded.card.head)
        assert bool(found.pictures) == (head.kind not in ("independent", "mlp"))
    params = mine.params
    metrics, *_ = evaluate(mine.labels, mine.layout, labels=params.labels, folds=params.folds.train)
    assert metrics["macro_auc"] > 0
    write_report(mine.layout, folds=params.folds.train)
    outcome = score(
        str(mine.data / "test"),
        tmp_path / "sub.csv",
        Options(workers=0),
        models=mine.layout.models,
        machine=cpu,
        progress=Silent(),
    )
    _, ids, _, probs, *_ = read_scores(tmp_path / "sub.csv")
    assert len(ids) == outcome.scored == 8
    assert (probs > 0).all()
    assert (probs < 1).all()


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_a_head_that_was_stopped_ends_with_the_same_bytes(
    project: Project, tmp_path: Path, name: str
) -> None:
    head = head_params(SETTINGS[name])
    alone, stopped = project.copy_to(tmp_path / "alone"), project.copy_to(tmp_path / "stopped")
    train(alone, head=head)
    asked = Asked()
    with pytest.raises(Stopped):
        train(stopped, told=Told(stops_at(3, asked, signal.SIGTERM)), asked=asked, head=head)
    told = Told()
    train(stopped, told=told, head=head)
    assert told.goes_on
    assert contents(stopped.layout.root) == contents(alone.layout.root)


def fold_0(project: Project, cpu: Machine) -> FoldData:
    return read_fold(
        0, labels_csv=project.labels, layout=project.layout, labels=project.params.labels, machine=cpu
    )


def after_an_epoch(project: Project, data: FoldData, head: Any, cpu: Machine) -> list[dict[str, Tensor]]:
    """The states of a new learner, and of the same after one epoch."""
    params = project.with_settings(head=head).train
    learner = build_learner(0, data, params, machine=cpu)
    new = {name: tensor.clone() for name, tensor in learner.model.state_dict().items()}
    train_epoch(learner, data, params, Course(), progress=Silent())
    return [new, learner.model.state_dict()]


@pytest.mark.parametrize("name", [name for name in SETTINGS if name not in FOR_THEMSELVES])
def test_labels_of_the_validated_rows_reach_no_head(project: Project, cpu: Machine, name: str) -> None:
    head, data = head_params(SETTINGS[name]), fold_0(project, cpu)
    usual = after_an_epoch(project, data, head, cpu)
    data.y[data.val] = 1 - data.y[data.val]
    data.mask[data.val[::2]] = False
    swapped = after_an_epoch(project, data, head, cpu)
    for before, after in zip(usual, swapped, strict=True):
        assert all(torch.equal(before[key], after[key]) for key in before)
    data.y[data.train] = 1 - data.y[data.train]
    other = after_an_epoch(project, data, head, cpu)
    if name not in ("coupling", "agcn cos"):  # these two take nothing from labels but by learning
        assert any(not torch.equal(usual[0][key], other[0][key]) for key in other[0]), "they take something"


def test_couplings_kept_at_zero_train_to_the_independent_heads_very_numbers(
    mine: Project, tmp_path: Path
) -> None:
    mine.train(0, head=head_params(SETTINGS["independent"]))
    plain = mine.layout.scores(0, views=True).read_bytes()
    mine.train(0, head=head_params(COUPLING | {"lr_scale": 0.0}))
    assert mine.layout.scores(0, views=True).read_bytes() == plain
    mine.train(0, head=head_params(COUPLING))
    assert mine.layout.scores(0, views=True).read_bytes() != plain


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (SETTINGS["salgl soft"], "head.kind is salgl, but lamp"),
        (SETTINGS["lamp prior"] | {"graph": "fc"}, "head.graph is fc, but prior"),
        (SETTINGS["lamp prior"] | {"auxiliary_weight": 0.3}, "head.auxiliary_weight is 0.3, but 0.2"),
    ],
)
def test_folds_of_different_heads_are_no_ensemble(
    mine: Project, cpu: Machine, other: dict[str, Any], what: str
) -> None:
    mine.train(0, head=head_params(SETTINGS["lamp prior"]), epochs=1, warmup_epochs=0.0)
    mine.train(1, head=head_params(other), epochs=1, warmup_epochs=0.0)
    with pytest.raises(
        UserError, match=f"fold1.safetensors: {what}.*an ensemble needs folds of one training"
    ):
        load_ensemble(mine.layout.models, cpu)


def embeddings_of(project: Project, folder: Path) -> Path:
    """A user's file for the project's findings: four columns."""
    findings = project.params.labels.findings
    np.save(folder / "E.npy", np.random.default_rng(0).normal(size=(len(findings), 4)))
    (folder / "E.txt").write_text("\n".join(findings) + "\n")
    return folder / "E.npy"


@pytest.mark.parametrize("settings", [AGCN | {"graph": "learned"}, SALGL | {"scenes": 2}])
def test_label_embeddings_of_the_user_train_and_are_needed_no_more(
    mine: Project, cpu: Machine, tmp_path: Path, settings: dict[str, Any]
) -> None:
    path = embeddings_of(mine, tmp_path)
    mine.train(0, head=head_params(settings | {"embeddings": str(path), "embedding_dim": 4}))
    expected = torch.from_numpy(np.load(path)).float()
    path.unlink()
    loaded = load_fold(mine.layout.checkpoint(0), cpu)
    assert torch.equal(loaded.model.head.embeddings.E, expected)
    assert "embeddings" in loaded.card.sha256


def test_folds_of_other_bytes_at_the_same_path_are_no_one_model(mine: Project, tmp_path: Path) -> None:
    path = embeddings_of(mine, tmp_path)
    head = head_params(AGCN | {"graph": "cos", "embeddings": str(path), "embedding_dim": 4})
    for fold in (0, 1):
        mine.train(fold, head=head, epochs=1, warmup_epochs=0.0)
        np.save(path, np.load(path) + 1)
    with pytest.raises(
        UserError, match=r"fold1.safetensors: trained otherwise than fold 0: sha256.embeddings"
    ):
        evaluate(mine.labels, mine.layout, labels=mine.params.labels, folds=[0, 1])


def test_label_embeddings_in_another_order_are_refused_before_any_work(mine: Project, tmp_path: Path) -> None:
    path = embeddings_of(mine, tmp_path)
    names = path.with_suffix(".txt")
    names.write_text("\n".join(reversed(mine.params.labels.findings)))
    before = contents(mine.layout.root)
    with pytest.raises(UserError, match=r"E.txt:1: 'Support Devices', but the findings' order has 'Atelect"):
        mine.train(0, head=head_params(AGCN | {"graph": "dot", "embeddings": str(path), "embedding_dim": 4}))
    assert contents(mine.layout.root) == before


def edges_of(folder: Path, *edges: str) -> Path:
    path = folder / "edges.csv"
    path.write_text("\n".join(["a,b", *edges]) + "\n")
    return path


EDGES = ("Lung Opacity,Edema", "Lung Opacity,Consolidation", "Consolidation,Pneumonia")


def test_a_label_graph_of_the_user_trains_and_is_needed_no_more(
    mine: Project, cpu: Machine, tmp_path: Path
) -> None:
    path, told = edges_of(tmp_path, *EDGES), Told()
    train(mine, told=told, head=head_params(SETTINGS["lamp fc"] | {"graph": str(path)}))
    path.unlink()
    loaded = load_fold(mine.layout.checkpoint(0), cpu)
    assert int(loaded.model.head.links.sum()) == 14 + 2 * len(EDGES)
    assert "graph" in loaded.card.sha256
    (said,) = [line for line in told.lines if "edges.csv has no edge of" in line]
    assert said.endswith("Pleural Other, Pneumothorax, Support Devices")
    assert not any(name in said for name in ("Edema", "Pneumonia,"))


def test_other_edges_at_the_same_path_are_another_training(mine: Project, tmp_path: Path) -> None:
    """Another fingerprint, so that no state of the one is resumed by the other; and no ensemble with it."""
    head = head_params(SETTINGS["lamp fc"] | {"graph": str(edges_of(tmp_path, *EDGES))})
    asked, told = Asked(), Told()
    with pytest.raises(Stopped):
        train(mine, told=Told(stops_at(3, asked, signal.SIGTERM)), asked=asked, head=head)
    edges_of(tmp_path, *EDGES[1:])
    train(mine, told=told, head=head)
    assert not told.goes_on
    edges_of(tmp_path, *EDGES)
    mine.train(1, head=head)
    with pytest.raises(UserError, match=r"fold1.safetensors: trained otherwise than fold 0: sha256.graph"):
        evaluate(mine.labels, mine.layout, labels=mine.params.labels, folds=[0, 1])


def test_edges_of_other_findings_are_refused_before_any_work(mine: Project, tmp_path: Path) -> None:
    path, before = edges_of(tmp_path, "Lung Opacity,Oedema"), contents(mine.layout.root)
    head = head_params(SETTINGS["lamp fc"] | {"graph": str(path)})
    with pytest.raises(UserError, match=r"edges.csv:2: 'Oedema' is not in .*; the nearest is 'Edema'"):
        mine.train(0, head=head)
    path.unlink()
    with pytest.raises(UserError, match=r"train.head.graph: .*edges.csv: no such file; write its edges"):
        mine.train(0, head=head)
    assert contents(mine.layout.root) == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"graph": "tree"}, "one of fc, el, prior, or a .csv file of edges is needed, not 'tree'"),
        ({"feature_steps": -1}, "greater than or equal to 0"),
    ],
)
def test_settings_of_lamp_that_mean_nothing_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        head_params(SETTINGS["lamp fc"] | change)


def test_embeddings_from_co_occurrence_are_those_of_the_training_rows(project: Project, cpu: Machine) -> None:
    data = fold_0(project, cpu)
    params = project.with_settings(head=head_params(SETTINGS["agcn learned"])).train
    learner = build_learner(0, data, params, machine=cpu)
    expected = label_embeddings(*data.truth(data.train), dim=16)
    assert np.array_equal(learner.model.head.embeddings.E.numpy(), expected)
    everyone = label_embeddings(*data.truth(np.arange(len(data.store))), dim=16)
    assert not np.array_equal(expected, everyone)


def test_a_wrong_embedding_is_refused_without_importing_torch(mine: Project) -> None:
    code = (
        "import sys; from pathlib import Path; from types import SimpleNamespace as S; "
        "from cxrscore.core.paths import Layout; from cxrscore.training.preflight import refuse_early; "
        "head = S(embeddings='cooccurence'); "
        "train = S(batch_size=8, accumulate=1, epochs=1, schedule='cosine', init='none', "
        "augment=S(mixup=0), head=head); "
        f"\ntry: refuse_early(0, layout=Layout(Path({str(mine.layout.root)!r})), params=train)"
        "\nexcept Exception as e: print(e, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (
        "train.head.embeddings: cooccurence: no such file; "
        "set it to cooccurrence, learned or a .npy file. False"
    )


def test_the_pictures_tables_name_findings_and_scenes(mine: Project) -> None:
    for fold in (0, 1):
        mine.train(fold, head=head_params(SETTINGS["salgl soft"]))
    params = mine.params
    evaluate(mine.labels, mine.layout, labels=params.labels, folds=params.folds.train)
    with (mine.layout.plots / "scenes_by_view.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["view"] for row in rows} == {"AP", "PA", "Lateral"}
    assert sum(int(row["images"]) for row in rows) == 40
    tables = {}
    for name in ("scene_counts", "scene_cooccurrence"):
        with (mine.layout.plots / f"{name}.csv").open(newline="") as file:
            tables[name] = list(csv.DictReader(file))
    counts = tables["scene_counts"]
    assert {row["given"] for row in counts} == set(params.labels.findings)
    shown = {row["given"] for row in counts if row["given"] == row["finding"] and row["value"] != "0"}
    assert {row["given"] for row in tables["scene_cooccurrence"]} == shown < set(params.labels.findings)
