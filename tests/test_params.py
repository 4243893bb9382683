"""Settings: everything stated, nothing unknown, errors with line and remedy."""

import re
import textwrap
from pathlib import Path

import pytest

import cxrscore
from cxrscore.errors import UserError
from cxrscore.params_file import read_params
from cxrscore.variants import CHANGES, settings_of

PRESETS = Path(cxrscore.__file__).parent / "presets"
DEMO = (PRESETS / "demo.yaml").read_text()


def changed(tmp_path: Path, old: str, new: str) -> Path:
    assert old in DEMO
    path = tmp_path / "params.yaml"
    path.write_text(DEMO.replace(old, new, 1))
    return path


@pytest.mark.parametrize("preset", ["demo", "paper", "strong"])
def test_the_presets_are_valid(preset: str) -> None:
    read_params(PRESETS / f"{preset}.yaml")


def test_the_paper_preset_is_the_papers_recipe() -> None:
    params = read_params(PRESETS / "paper.yaml")
    train, loss, head = params.train, params.train.loss, params.train.head
    assert (train.backbone, train.init, params.prepare.size) == ("seresnext101_32x4d", "imagenet", 380)
    assert (train.lr, train.weight_decay, train.epochs, train.patience, train.batch_size) == (
        2e-4,
        1e-4,
        3,
        3,
        24,
    )
    assert (train.ema_decay, train.clip_norm, train.warmup_epochs, params.folds.k) == (0.999, 1.0, 1.0, 3)
    assert loss.model_dump() == {
        "kind": "asl",
        "gamma_neg": 4.0,
        "gamma_pos": 0.0,
        "clip": 0.05,
        "label_smoothing": 0.0,
    }
    assert (head.kind, head.dropout, head.alpha, head.l1, head.prox) == ("coupling", 0.4, 0.3, 1e-3, False)  # type: ignore[union-attr]
    assert (train.augment.scale, train.augment.flip, train.augment.degrees) == ([0.84, 1.0], 0.5, 10.0)


def test_scientific_notation_is_a_number(tmp_path: Path) -> None:
    assert read_params(changed(tmp_path, "lr: 2e-3", "lr: 1e-4")).train.lr == 1e-4


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "  lr: 2e-3",
            "  lerning_rate: 2e-3\n  lr: 2e-3",
            r"params.yaml:68: train.lerning_rate: unknown key",
        ),
        ("    l1: 1e-3", "    l_1: 1e-3", r"train.head.l_1: unknown key; did you mean 'l1'\?"),
        ("  k: 3", "  k: 1", r"params.yaml:\d+: folds.k: .*greater than or equal to 2 \(found 1\)"),
        ("lr: 2e-3", "lr: -1.0", r"train.lr: .*greater than 0"),
        ("lr: 2e-3", "lr: .nan", r"train.lr: "),
        ("lr: 2e-3", "lr: '2e-3'", r"train.lr: .*valid number \(found '2e-3'\)"),
        ("batch_size: 32", "batch_size: 0", r"train.batch_size: .*greater than or equal to 2"),
        ("size: 96", "size: 0", r"prepare.size: .*greater than or equal to 32"),
        ("  epochs: 8\n", "", r"train.epochs: missing"),
        ("train: [0, 1, 2]", "train: [0, 3]", r"folds: train lists distinct folds from 0 to 2"),
        ("scale: [0.84, 1.0]", "scale: [1.0, 0.84]", r"scale is \[smallest, largest\]"),
        ("kind: coupling", "kind: cupling", r"train.head: kind is one of 'independent', 'coupling', 'lamp'"),
        ("kind: coupling", "kind: lamp", r"train.head.l1: unknown key; known here: auxiliary_weight, dim"),
        ("kind: coupling", "kind: lamp", r"train.head.graph: missing; .* see the presets and the README"),
        ("id: Image_name", "id: fold", r"labels: fold: named twice, or reserved"),
        ("patient: Patient_ID", "patient: Image_name", r"labels: Image_name: named twice, or reserved"),
        ("seed: 0", "seed: 4294967296", r"folds.seed: .*less than 4294967296"),
        (
            "patient_ids: text",
            "patient_ids: numbers",
            r"labels.patient_ids: .*'text', 'number' or 'distinct'",
        ),
        ("blank: zero", "blank: none", r"labels.blank: .*'zero', 'ignore' or 'error'"),
    ],
)
def test_a_wrong_setting_is_named_with_its_line_and_remedy(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read_params(changed(tmp_path, old, new))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x 1\nb: *x\n", "aliases"),
        ("train: !!python/object:os.system {}\n", "params.yaml:1: "),
        ("a: 1\na: 2\n", "duplicate key"),
        ("a:\n\t- 1\n", "params.yaml:2: "),
        ("- 1\n", "sections with settings"),
        ("", "sections with settings"),
        ("x" * 1_000_001, "settings fit in"),
    ],
    ids=["alias", "python tag", "duplicate key", "tab", "list", "empty", "huge"],
)
def test_a_file_that_is_not_settings_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_params(path)


def test_a_missing_file_says_where_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cxrscore init"):
        read_params(tmp_path / "params.yaml")


def test_every_head_of_the_readme_is_read_and_is_the_ablations(tmp_path: Path) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    (block,) = re.findall(r"```yaml\n(head: .*?)```", readme, re.DOTALL)
    heads = re.split(r"^(?=head:)", block, flags=re.MULTILINE)[1:]
    demo = (PRESETS / "demo.yaml").read_text()
    section = re.search(r"  head:\n(?:    .*\n)+", demo)
    assert section
    kinds = []
    for head in heads:
        text = demo.replace(section[0], textwrap.indent(head.strip(), "  ") + "\n")
        (tmp_path / "params.yaml").write_text(text)
        found = read_params(tmp_path / "params.yaml").train.head.model_dump()
        assert found in settings_of([*CHANGES], found).values()
        kinds.append(found["kind"])
    assert kinds == ["independent", "lamp", "agcn", "salgl"]
