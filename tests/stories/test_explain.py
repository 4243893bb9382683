"""`explain` tells of the very numbers that `score` writes: what each logit was before, and who pushed it."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from conftest import Door, Project
from some_heads import SETTINGS

from cxrscore.cli.explaining import _shown
from cxrscore.core.device import Machine, seeded
from cxrscore.core.errors import UserError
from cxrscore.core.progress import Silent
from cxrscore.evaluation import figures
from cxrscore.explain import (
    Explanation,
    explain,
    picture_names,
    refuse_to_replace,
    write_explained,
    write_pictures,
)
from cxrscore.images.reading import read_image
from cxrscore.model.checkpoint import load_fold, save_checkpoint
from cxrscore.model.heads.registry import head_settings
from cxrscore.model.network import build_model
from cxrscore.score import score
from cxrscore.scoring.options import Options

CPU = Machine(torch.device("cpu"), torch.float32)
FOLDS = (0, 1)


@pytest.fixture(scope="module")
def models(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's models with couplings that can be seen: two folds, each with its own."""
    folder = tmp_path_factory.mktemp("models")
    for fold in FOLDS:
        found = load_fold(project.layout.checkpoint(fold), CPU)
        A = torch.randn(found.model.head.A.shape, generator=torch.Generator().manual_seed(fold))
        found.model.head.A.copy_(A * (A.abs() > 1))
        save_checkpoint(folder / f"fold{fold}.safetensors", found.model.state_dict(), found.card)
    return folder


@pytest.fixture
def folder(project: Project, tmp_path: Path) -> Path:
    return Path(shutil.copytree(project.data / "test", tmp_path / "images"))


def look(*inputs: object, models: Path, **options: Any) -> Explanation:
    return explain(
        [str(one) for one in inputs],
        Options(**{"workers": 0, **options}),
        models=models,
        machine=CPU,
        progress=Silent(),
    )


def with_head(project: Project, settings: dict[str, Any], folder: Path) -> Path:
    """Fold models of the project's card with another head, untrained."""
    for fold in FOLDS:
        card = replace(load_fold(project.layout.checkpoint(fold), CPU).card, head=settings)
        with seeded(CPU, fold):
            model = build_model(
                card.backbone,
                init="none",
                findings=len(card.findings),
                head=head_settings(settings),
                size=card.size,
            )
        save_checkpoint(folder / f"fold{fold}.safetensors", model.state_dict(), card)
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("views", [None, ("plain",), ("plain", "flip", "zoom")])
def test_the_probabilities_are_those_that_score_writes(
    models: Path, folder: Path, tmp_path: Path, views: tuple[str, ...] | None
) -> None:
    write_explained(tmp_path / "explained.csv", look(folder, models=models, views=views))
    score(
        str(folder),
        tmp_path / "sub.csv",
        Options(workers=0, views=views),
        models=models,
        machine=CPU,
        progress=Silent(),
    )
    scored = {row.pop("Image_name"): row for row in rows(tmp_path / "sub.csv")}
    explained: dict[str, dict[str, str]] = {name: {} for name in scored}
    for row in rows(tmp_path / "explained.csv"):
        explained[row["image"]][row["finding"]] = row["probability"]
    assert explained == scored
    assert len(scored) == 8


def by_hand(models: Path, image: Path) -> tuple[np.ndarray, ...]:
    """Probabilities, logits before and after, and pushes of one image: loops over folds, views and findings
    in fp64, from the features that the models make of it.
    """
    told = []
    for fold in FOLDS:
        found = load_fold(models / f"fold{fold}.safetensors", CPU)
        head, alpha = found.model.head, found.card.head["alpha"]
        weight, bias, A = (
            part.detach().double().numpy() for part in (head.classifier.weight, head.classifier.bias, head.A)
        )
        gray = torch.tensor(read_image(image.read_bytes(), size=found.card.size))[None, None]
        for view in (gray, gray.flip(-1)):
            features = found.model.features(view)[0].double().numpy()
            before = weight @ features.mean((1, 2)) + bias
            p = 1 / (1 + np.exp(-before))
            pushes, after = np.zeros_like(A), before.copy()
            for i in range(len(p)):
                for j in range(len(p)):
                    if i != j:
                        pushes[i, j] = alpha * p[i] * A[i, j]
                        after[j] += pushes[i, j]
            told.append((1 / (1 + np.exp(-after)), before, after, pushes))
    return tuple(sum(parts) / len(told) for parts in zip(*told, strict=True))  # type: ignore[return-value]


def test_logits_and_pushes_are_means_over_folds_and_views(models: Path, folder: Path) -> None:
    found = look(folder, models=models)
    assert (found.stages, found.folds, found.views) == (("before", "after"), (0, 1), ("plain", "flip"))
    worst = 0.0
    for image in found.images:
        probs, before, after, pushes = by_hand(models, folder / image.name)
        assert image.pushes is not None
        for ours, slow in ((image.probs, probs), (image.logits, [before, after]), (image.pushes, pushes)):
            worst = max(worst, float(np.abs(ours - slow).max()))
        assert np.allclose(image.logits[0] + image.pushes.sum(0), image.logits[1], atol=1e-5)
        for j in range(len(found.findings)):
            assert image.strongest(j) == max(range(len(probs)), key=lambda i: abs(pushes[i, j]))
    assert worst < 5e-6, "8e-8 was measured"


def test_the_table_names_who_pushed_most_and_leaves_it_blank_where_nobody_did(
    project: Project, models: Path, folder: Path, tmp_path: Path
) -> None:
    write_explained(tmp_path / "pushed.csv", look(folder, models=models))
    A = sum(load_fold(models / f"fold{k}.safetensors", CPU).model.head.A.abs().numpy() for k in FOLDS)
    names = project.params.labels.findings
    for row in rows(tmp_path / "pushed.csv"):
        assert A[names.index(row["pushed_by"]), names.index(row["finding"])] > 0
        assert float(row["push"]) != 0
    silent = tmp_path / "silent"
    silent.mkdir()
    for fold in FOLDS:
        found = load_fold(models / f"fold{fold}.safetensors", CPU)
        found.model.head.A.zero_()
        save_checkpoint(silent / f"fold{fold}.safetensors", found.model.state_dict(), found.card)
    write_explained(tmp_path / "silent.csv", look(folder, models=silent))
    for row in rows(tmp_path / "silent.csv"):
        assert (row["pushed_by"], row["push"]) == ("", "")
        assert row["logit_before"] == row["logit_after"]


def test_files_by_name_are_explained_as_those_of_their_folder(models: Path, folder: Path) -> None:
    one, two, *_ = sorted(folder.iterdir())
    named = look(two, one, two, models=models)
    of_folder = {image.name: image for image in look(folder, models=models).images}
    assert [image.name for image in named.images] == [str(one), str(two)]
    for image in named.images:
        assert np.array_equal(image.probs, of_folder[Path(image.name).name].probs)


def test_a_file_that_cannot_be_read_is_named_and_changes_no_other(models: Path, folder: Path) -> None:
    whole = {image.name: image for image in look(folder, models=models).images}
    victim = sorted(folder.iterdir())[3]
    victim.write_bytes(victim.read_bytes()[:-300])
    found = look(folder, models=models)
    assert [fault[:3] for fault in found.faults] == [(victim.name, "decode", "TRUNCATED")]
    assert len(found.images) == 7
    for image in found.images:
        assert np.array_equal(image.logits, whole[image.name].logits)


def test_a_lamp_head_tells_its_logits_step_by_step_and_nobodys_pushes(
    project: Project, folder: Path, tmp_path: Path
) -> None:
    models = tmp_path / "lamp"
    models.mkdir()
    with_head(project, SETTINGS["lamp fc"], models)
    found = look(folder, models=models)
    assert found.stages == ("step1.tokens", "step1.labels", "step2.tokens", "step2.labels")
    write_explained(tmp_path / "lamp.csv", found)
    first = rows(tmp_path / "lamp.csv")[0]
    assert list(first)[3:] == [*(f"logit_{stage}" for stage in found.stages), "change"]
    model = load_fold(models / "fold0.safetensors", CPU).model
    features = torch.rand(2, model.head.project.in_features, 2, 2)
    last = model.head.effects(features).stages[:, -1]
    assert torch.allclose(last, model.head(features).logits, atol=1e-6)


@pytest.mark.parametrize("name", ["agcn learned", "agcn static", "salgl soft", "salgl hard"])
def test_graph_heads_tell_what_findings_add_to_each_other(
    project: Project, folder: Path, tmp_path: Path, name: str
) -> None:
    """Pushes of agcn add up to the change; salgl, whose messages pass through gates, names nobody."""
    models = tmp_path / "models"
    models.mkdir()
    with_head(project, SETTINGS[name], models)
    found = look(sorted(folder.iterdir())[0], models=models)
    (image,) = found.images
    assert found.stages == (("own", "logit") if name.startswith("agcn") else ("alone", "logit"))
    assert (image.pushes is None) == name.startswith("salgl")
    if image.pushes is not None:
        assert np.abs(image.pushes.diagonal()).max() == 0
        assert np.allclose(image.logits[0] + image.pushes.sum(0), image.logits[1], atol=1e-5)


@pytest.mark.parametrize("name", ["independent", "mlp", "agcn identity", "salgl attention alone"])
def test_a_head_that_reads_its_logits_once_is_refused(
    project: Project, folder: Path, tmp_path: Path, name: str
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    with_head(project, SETTINGS[name], models)
    with pytest.raises(UserError, match=f"head {SETTINGS[name]['kind']} reads its logits once"):
        look(folder, models=models)


def test_a_name_without_an_image_is_refused(models: Path, folder: Path, tmp_path: Path) -> None:
    image = next(folder.iterdir())
    (tmp_path / "page.png").write_text("<html>")
    with pytest.raises(UserError, match=r"gone\.png: no such file; name image files"):
        look(image, tmp_path / "gone.png", models=models)
    with pytest.raises(UserError, match=r"page\.png: not an image; name image files"):
        look(image, tmp_path / "page.png", models=models)
    with pytest.raises(UserError, match=r"gone: No such file or directory; give a folder"):
        look(tmp_path / "gone", models=models)


def test_pictures_are_numbered_and_hold_names_as_text(models: Path, folder: Path, tmp_path: Path) -> None:
    found = look(folder, models=models)
    write_pictures(tmp_path / "pictures", found)
    drawn = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert drawn == picture_names([image.name for image in found.images])
    for name, image in zip(drawn, found.images, strict=True):
        text = (tmp_path / "pictures" / name).read_text(encoding="utf-8")
        words = {"".join(one.itertext()).strip() for one in ElementTree.fromstring(text).iter()}
        assert {image.name, *found.findings} <= words
    assert picture_names(["a/x y.png", "b/x y.png"]) == ["0001-x_y.svg", "0002-x_y.svg"]


def test_a_picture_of_one_finding_or_of_no_push_is_drawn_and_never_changes() -> None:
    stages = {"before": np.array([0.5]), "after": np.array([0.5])}
    one = figures.head_effects("a.png", ["$x$"], np.array([0.6]), stages, np.zeros((1, 1)))
    assert one == figures.head_effects("a.png", ["$x$"], np.array([0.6]), stages, np.zeros((1, 1)))
    assert "$x$" in one
    assert "<svg" in figures.head_effects("a.png", ["x"], np.array([0.6]), stages, None)


def test_outputs_are_not_replaced_unless_asked(tmp_path: Path) -> None:
    table, pictures = tmp_path / "e.csv", tmp_path / "pictures"
    refuse_to_replace(table, pictures, overwrite=False)
    table.write_text("mine")
    with pytest.raises(UserError, match=r"e\.csv: exists; --overwrite replaces it"):
        refuse_to_replace(table, None, overwrite=False)
    pictures.mkdir()
    (pictures / "mine.svg").write_text("mine")
    with pytest.raises(UserError, match="pictures: not empty; --overwrite writes into it"):
        refuse_to_replace(None, pictures, overwrite=False)
    refuse_to_replace(table, pictures, overwrite=True)
    with pytest.raises(UserError, match=r"e\.csv: not a folder; name the folder"):
        refuse_to_replace(None, table, overwrite=True)


def test_the_command_prints_a_table_and_exits_3_where_a_file_was_not_read(
    door: Door, models: Path, folder: Path
) -> None:
    (folder / "empty.jpg").write_bytes(b"")
    call = door("explain", folder, "--models", models, "--device", "cpu", "--dtype", "fp32", "--workers", 0)
    assert call.code == 3
    assert "empty.jpg (EMPTY_FILE" in call.err
    assert "means over 2 folds and 2 views (plain, flip)" in call.out
    assert "pushed most by" in call.out
    facts = json.loads(
        door("explain", folder, "--models", models, "--json", "--device", "cpu", "--workers", 0).out
    )
    (first, *_), findings = facts["images"], load_fold(models / "fold0.safetensors", CPU).card.findings
    assert list(first["findings"]) == findings
    told = first["findings"][findings[0]]
    assert set(told["pushes"]) == set(findings[1:])
    assert told["logits"]["after"] - told["logits"]["before"] == pytest.approx(
        sum(told["pushes"].values()), abs=1e-5
    )


LAMP = {"kind": "lamp", "dropout": 0.0, "graph": "fc", "steps": 2, "dim": 8, "heads": 2}
LAMP |= {"auxiliary_weight": 0.2, "feature_steps": 0, "inputs": []}


def test_a_findings_attention_to_an_image_is_the_mean_of_the_folds_and_is_drawn(
    project: Project, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "lamp").mkdir()
    models = with_head(project, LAMP, tmp_path / "lamp")
    image = sorted(folder.iterdir())[0]
    (found,) = explain(
        [str(image)],
        Options(workers=0),
        models=models,
        attention="Edema",
        machine=CPU,
        progress=Silent(),
    ).images
    assert found.attention is not None
    gray = read_image(image.read_bytes(), size=project.params.prepare.size)
    at = list(project.params.labels.findings).index("Edema")
    with torch.inference_mode():
        maps = [
            fold.model.head.look(fold.model.features(torch.tensor(gray)[None, None]))
            for fold in (load_fold(models / f"fold{k}.safetensors", CPU) for k in FOLDS)
        ]
    expected = np.mean([one["attention_tokens"].values[0, at] for one in maps], axis=0)
    assert found.attention.maps == pytest.approx(expected, abs=1e-6)
    assert found.attention.maps.sum((1, 2)) == pytest.approx(1, abs=1e-5)
    assert found.attention.probes.shape == (len(project.params.labels.findings), 2, 2)


def test_pictures_of_attention_stand_beside_the_others(
    project: Project, folder: Path, tmp_path: Path, door: Any
) -> None:
    (tmp_path / "lamp").mkdir()
    models = with_head(project, LAMP, tmp_path / "lamp")
    image = sorted(folder.iterdir())[0]
    words = [
        "explain",
        image,
        "--models",
        models,
        "--device",
        "cpu",
        "--workers",
        "0",
        "--attention",
        "Edema",
    ]
    assert door(*words).code == 2
    assert door(*words, "--pictures", tmp_path / "drawn").code == 0
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == [
        f"0001-{image.stem}.attention.svg",
        f"0001-{image.stem}.probes.svg",
        f"0001-{image.stem}.svg",
    ]
    with pytest.raises(UserError, match="--attention: no finding 'Oedema'; use one of Atelectasis"):
        explain(
            [str(image)],
            Options(workers=0),
            models=models,
            attention="Oedema",
            machine=CPU,
            progress=Silent(),
        )


def test_what_rounds_to_zero_has_no_sign() -> None:
    assert [_shown(value) for value in (-1e-6, 1e-6, -0.0, -0.25)] == [
        "0.0000",
        "0.0000",
        "0.0000",
        "-0.2500",
    ]
    assert [_shown(value, sign="+") for value in (-1e-6, 1e-6, 0.25)] == ["0.0000", "0.0000", "+0.2500"]


def test_attention_is_of_the_head_that_has_it(models: Path, folder: Path) -> None:
    with pytest.raises(UserError, match=r"the head coupling do not attend .*; name models .* is lamp"):
        explain(
            [str(folder)],
            Options(workers=0),
            models=models,
            attention="Edema",
            machine=CPU,
            progress=Silent(),
        )
