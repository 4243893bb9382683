"""Settings: everything stated, nothing unknown, errors with line and remedy."""

import os
import re
import textwrap
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest
from hypothesis import given

import cxrscore
from cxrscore.core.errors import UserError
from cxrscore.model.head_variants import CHANGES, settings_of
from cxrscore.project.params import Params
from cxrscore.project.params_file import EARLIER, NEEDED, read_params

PRESETS = Path(cxrscore.__file__).parent / "presets"
DEMO = (PRESETS / "demo.yaml").read_text()
LINE_OF_LR = 1 + DEMO.partition("  lr: 2e-3")[0].count("\n")


def changed(tmp_path: Path, old: str, new: str) -> Path:
    assert old in DEMO
    path = tmp_path / "params.yaml"
    path.write_text(DEMO.replace(old, new, 1))
    return path


@pytest.mark.parametrize("preset", ["demo", "paper", "strong", "lamp", "a-gcn", "salgl"])
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
    assert (train.ema_warmup, train.weights) == (False, "ema")
    assert (train.optimizer, train.schedule, train.augment.square) == ("adamw", "cosine", False)
    assert loss.model_dump() == {
        "kind": "asl",
        "gamma_neg": 4.0,
        "gamma_pos": 0.0,
        "clip": 0.05,
        "label_smoothing": 0.0,
    }
    assert (head.kind, head.dropout, head.alpha, head.l1, head.mu, head.prox) == (  # type: ignore[union-attr]
        "coupling",
        0.4,
        0.3,
        1e-3,
        0.0,
        False,
    )
    assert (train.augment.scale, train.augment.flip, train.augment.degrees) == ([0.84, 1.0], 0.5, 10.0)


def test_scientific_notation_is_a_number(tmp_path: Path) -> None:
    assert read_params(changed(tmp_path, "lr: 2e-3", "lr: 1e-4")).train.lr == 1e-4


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "  lr: 2e-3",
            "  lerning_rate: 2e-3\n  lr: 2e-3",
            rf"params.yaml:{LINE_OF_LR}: train.lerning_rate: unknown key",
        ),
        ("    l1: 1e-3", "    l_1: 1e-3", r"train.head.l_1: unknown key; did you mean 'l1'\?"),
        ("  k: 3", "  k: 1", r"params.yaml:\d+: folds.k: a number of at least 2 is needed, not 1\."),
        ("lr: 2e-3", "lr: -1.0", r"train.lr: a number greater than 0 is needed, not -1\.0\."),
        ("lr: 2e-3", "lr: .nan", r"train.lr: "),
        ("lr: 2e-3", "lr: '2e-3'", r"train.lr: a number is needed, not '2e-3'\."),
        ("batch_size: 32", "batch_size: 0", r"train.batch_size: a number of at least 2 is needed, not 0\."),
        ("size: 96", "size: 0", r"prepare.size: a number of at least 32 is needed, not 0\."),
        ("  epochs: 8\n", "", r"train.epochs: missing"),
        (
            "  train_size: null ",
            "  # ",
            r"prepare.train_size: missing; add the newer key: `train_size: null` leaves results as they were",
        ),
        (
            "train_size: null",
            "train_size: 95",
            r"prepare: train_size is 95; set null, or a side from size \(96\) to twice that \(192\)",
        ),
        ("train_size: null", "train_size: 193", r"prepare: train_size is 193; .*reduced without smoothing"),
        ("train: [0, 1, 2]", "train: [0, 3]", r"folds: train lists distinct folds from 0 to 2"),
        ("scale: [0.84, 1.0]", "scale: [1.0, 0.84]", r"set scale to \[smallest, largest\]"),
        ("kind: coupling", "kind: cupling", r"train.head: kind is one of 'independent', 'mlp', 'coupling',"),
        ("kind: coupling", "kind: lamp", r"train.head.l1: unknown key; known here: auxiliary_weight, dim"),
        ("kind: coupling", "kind: lamp", r"train.head.graph: missing; .* see the presets and docs/params.md"),
        (
            "schedule: cosine ",
            "schedule: one_cycle ",
            r"train: warmup_epochs is 1 and schedule is one_cycle, .*; set warmup_epochs to 0\.",
        ),
        ("id: Image_name", "id: fold", r"labels: fold: named twice, or reserved"),
        ("patient: Patient_ID", "patient: Image_name", r"labels: Image_name: named twice, or reserved"),
        ("seed: 0", "seed: 4294967296", r"folds.seed: a number less than 4294967296 is needed"),
        (
            "patient_ids: text",
            "patient_ids: numbers",
            r"labels.patient_ids: one of 'text', 'number' or 'distinct' is needed, not 'numbers'\.",
        ),
        (
            "blank: zero",
            "blank: none",
            r"labels.blank: one of 'zero', 'ignore' or 'error' is needed, not 'none'\.",
        ),
    ],
)
def test_a_wrong_setting_is_named_with_its_line_and_remedy(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read_params(changed(tmp_path, old, new))


def test_a_proximal_step_needs_an_optimizer_with_a_second_moment(tmp_path: Path) -> None:
    path = changed(tmp_path, "prox: false", "prox: true")
    for optimizer in ("adamw", "adam"):
        path.write_text(path.read_text().replace("optimizer: adamw", f"optimizer: {optimizer}"))
        assert read_params(path).train.optimizer == optimizer
    path.write_text(path.read_text().replace("optimizer: adam", "optimizer: sgd"))
    with pytest.raises(
        UserError, match=r"train: head.prox is true and optimizer is sgd.* set optimizer to adamw or adam, or"
    ):
        read_params(path)


NEWER = [key for key in EARLIER if key.startswith("train.") and not key.startswith("train.head.")]


@pytest.mark.parametrize("key", NEWER)
def test_a_newer_key_that_is_missing_is_named_with_the_value_that_changes_nothing(
    tmp_path: Path, key: str
) -> None:
    name = key.rpartition(".")[2]
    (line,) = re.findall(rf"^ +{name}: .*\n", DEMO, flags=re.MULTILINE)
    assert f"{name}: {EARLIER[key]} " in line  # the demo trains as it did before
    words = f"{key}: missing; add the newer key: `{name}: {EARLIER[key]}` leaves"
    with pytest.raises(UserError, match=words):
        read_params(changed(tmp_path, line, ""))


def test_a_key_that_older_files_lack_is_named_with_the_value_that_keeps_their_results(tmp_path: Path) -> None:
    section = re.search(r"  head:\n(?:    .*\n)+", (PRESETS / "demo.yaml").read_text())
    assert section
    older = (
        "  head: {kind: agcn, dropout: 0.4, graph: learned, threshold: 0.4, reweight: 0.25, hidden: 9,\n"
        "         embeddings: cooccurrence, embedding_dim: 300, identity_weight: 1.0}\n"
    )
    told = r"train\.head\.degrees: missing; add the newer key: `degrees: absolute  # with identity_weight"
    with pytest.raises(UserError, match=told):
        read_params(changed(tmp_path, section[0], older))


def constraints(schema: Any) -> set[str]:
    """The faults that pydantic can find by the constraints and types of a JSON schema."""
    names = {
        "minimum": "greater_than_equal",
        "exclusiveMinimum": "greater_than",
        "maximum": "less_than_equal",
        "exclusiveMaximum": "less_than",
        "multipleOf": "multiple_of",
        "minLength": "string_too_short",
        "minItems": "too_short",
        "maxItems": "too_long",
        "enum": "literal_error",
    }
    types = {
        "number": "float_type",
        "integer": "int_type",
        "boolean": "bool_type",
        "string": "string_type",
        "array": "list_type",
        "object": "model_type",
        "null": "",
    }
    found: set[str] = set()
    if isinstance(schema, dict):
        found = {name for key, name in names.items() if key in schema}
        found |= {types[schema["type"]]} if isinstance(schema.get("type"), str) else set()
    for part in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        found |= constraints(part)
    return found - {""}


def test_every_constraint_of_a_setting_has_words_of_its_own() -> None:
    found = constraints(Params.model_json_schema())
    assert len(found) > 12
    assert found <= NEEDED.keys()


DEEP = 3000  # Python stops at 1,000 calls within each other


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x 1\nb: *x\n", "params.yaml:1: aliases"),
        ("a: 1\nb: *x\n", "params.yaml:2: aliases"),
        ("train: !!python/object:os.system {}\n", r"params.yaml:1: tags \(.*os.system\) are not read"),
        (
            "a: 1\nb: !!int x\n",
            r"params.yaml:2: tags \(tag:yaml.org,2002:int\) are not read; write the value",
        ),
        ("a: !!float x\n", "params.yaml:1: tags"),
        ("a: !!binary '&'\n", "params.yaml:1: tags"),
        ("a: !!bool x\n", "params.yaml:1: tags"),
        ("a: !!set {b}\n", "params.yaml:1: tags"),
        ("a: ! b\n", "params.yaml:1: tags"),
        ("%YAML 1.1\n---\na: no\n", "params.yaml:2: directives"),
        ("%TAG ! x:\n---\na: no\n", "params.yaml:2: directives"),
        ("a: 1\na: 2\n", "params.yaml:2: duplicate key 'a'"),
        ("a:\n  b: 1\n  'b': 1\n", "params.yaml:3: duplicate key 'b'"),
        ("a:\n\t- 1\n", "params.yaml:2: "),
        ("a: 1\n<<: {b: 1}\n", "params.yaml:2: '<<' is not the name of a setting"),
        ("? [a]\n: 1\n", "params.yaml:1: 'a list or section' is not the name of a setting"),
        ("1: a\n", "params.yaml:1: '1' is not the name of a setting; quote it"),
        ("~: a\n", "params.yaml:1: '~' is not the name of a setting"),
        ("a: 1\nb: 2023-99-01\n", "params.yaml:2: '2023-99-01' is read as a timestamp in YAML; quote it"),
        ("a: 2023-01-01\n", "params.yaml:1: '2023-01-01' is read as a timestamp"),
        ("a: =\n", "params.yaml:1: '=' is read as a value in YAML"),
        ("a: " + "9" * 5000, "params.yaml:1: a number of 5,000 characters"),
        ("a: 0x" + "f" * 9000, "params.yaml:1: a number of 9,002 characters"),
        ("a: 1." + "9" * 5000, "params.yaml:1: a number of 5,002 characters"),
        ("a: +_\n", r"params.yaml:1: '\+_' is not a number"),
        ("a: " + "[" * DEEP, "params.yaml:1: nested 16 deep"),
        ("{a: " * DEEP, "params.yaml:1: nested 16 deep"),
        ("- " * DEEP, "params.yaml:1: nested 16 deep"),
        ("? " * DEEP, "params.yaml:1: nested 16 deep"),
        ("".join(f"{' ' * i}a:\n" for i in range(400)), "params.yaml:17: nested 16 deep"),
        ("a: 1\nb: \0\n", r"params.yaml:2: the character U\+0000; remove it"),
        ("a: \x07\n", r"params.yaml:1: the character U\+0007"),
        ('a: "\\0"\n', r"params.yaml:1: a text with the character U\+0000"),
        ('a: "\\ud800"\n', r"params.yaml:1: a text with the character U\+D800"),
        ('a: 1\nb: "\\U00110000"\n', r"params.yaml:2: an invalid escape \\U"),
        ('a: "\\UFFFFFFFF"\n', r"params.yaml:1: an invalid escape \\U"),
        (b"a: 1\nb: caf\xe9\n", "params.yaml:2: byte 0xe9 is not UTF-8; save it as UTF-8"),
        ("a: 1".encode("utf-16"), "params.yaml:1: byte 0xff is not UTF-8"),
        ("a: 1\n--- \nb: 1\n", "params.yaml:2: "),
        ("- 1\n", "sections with settings"),
        ("", "sections with settings"),
        ("x" * 100_001, "100,001 bytes; settings fit in 100,000"),
    ],
)
def test_a_file_that_is_not_settings_is_refused(tmp_path: Path, text: bytes | str, message: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=message) as caught:
        read_params(path)
    assert len(str(caught.value)) < 1000


def test_a_file_of_a_hundred_megabytes_is_not_even_read(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.touch()
    os.truncate(path, 100_000_000)
    with pytest.raises(UserError, match="100,000,000 bytes; settings fit in 100,000"):
        read_params(path)


def test_a_byte_order_mark_and_other_line_ends_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + DEMO.replace("\n", "\r\n").encode())
    assert read_params(path) == read_params(PRESETS / "demo.yaml")


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ("lr: 1e999999999", r"train.lr: a finite number is needed, not inf\."),
        ("lr: .inf", r"train.lr: a finite number is needed, not inf\."),
        ("lr: -1e-999999", r"train.lr: a number greater than 0 is needed, not -?0\.0\."),
        ("lr: [[[[1]]]]", r"train.lr: a number is needed, not \[\[\[\[1\]\]\]\]\."),
        ("lr: " + "x" * 9000, r"train.lr: a number is needed, not 'x{76}\.\.\.\."),
        ("lr:", r"train.lr: a number is needed, not None\."),
    ],
)
def test_a_value_of_any_size_is_shown_in_short(tmp_path: Path, new: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_params(changed(tmp_path, "lr: 2e-3", new))
    assert len(str(caught.value)) < 1000


ODD = (
    *"[]{}:,?-&*!|>%@`\"'#~=<\t\n \0\x07\x85\ufeff\u2028\r\\_+.",
    *(
        "<<",
        "!!",
        "!!int ",
        "%YAML 1.1\n---\n",
        "\\x",
        "\\U",
        "0x",
        "0b",
        "1e",
        "9" * 4400,
        "2023-99-99",
        "~",
        ".nan",
    ),
    *("[" * 50, "? ", "- ", "\n---\n", "\n...\n", "null", "kind: lamp", "2023-01-01T99:00:00", "1:2", "no"),
)


def read_whole_or_refused(path: Path, data: bytes) -> bool:
    """Whether the settings were refused; anything but a UserError goes through."""
    path.write_bytes(data)
    try:
        read_params(path)
    except UserError as error:
        assert str(path) in str(error)
        return True
    return False


@given(data=st.data())
@hypothesis.settings(max_examples=100, deadline=None, database=None)
def test_settings_with_anything_amiss_anywhere_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    text = DEMO[DEMO.index("labels:") :]
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        gone = data.draw(st.sampled_from((0, 0, 1, 8, 200)))
        text = text[:at] + data.draw(st.sampled_from(ODD) | st.text(max_size=4)) + text[at + gone :]
    folder = tmp_path_factory.getbasetemp()
    read_whole_or_refused(folder / "params.yaml", text.encode(errors="surrogatepass"))


def test_a_missing_file_says_where_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cxrscore init"):
        read_params(tmp_path / "params.yaml")


def test_every_head_of_the_docs_is_read_and_is_the_ablations(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "heads.md").read_text()
    (block,) = re.findall(r"```yaml\n(head: .*?)```", page, re.DOTALL)
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
    assert kinds == ["independent", "mlp", "lamp", "agcn", "salgl"]


def test_a_project_from_before_feature_steps_is_told_the_value_that_it_had(tmp_path: Path) -> None:
    demo = (PRESETS / "demo.yaml").read_text()
    section = re.search(r"  head:\n(?:    .*\n)+", demo)
    assert section
    head = "{kind: lamp, dropout: 0, graph: el, steps: 2, dim: 8, heads: 2, auxiliary_weight: 0}"
    (tmp_path / "params.yaml").write_text(demo.replace(section[0], f"  head: {head}\n"))
    with pytest.raises(UserError, match=r"feature_steps: 0` leaves results as they were; with `graph: el`"):
        read_params(tmp_path / "params.yaml")


@pytest.mark.parametrize("name", ["index", "level_0"])
def test_an_id_column_that_our_own_tables_would_lose_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text((PRESETS / "demo.yaml").read_text().replace("id: Image_name", f"id: {name}"))
    with pytest.raises(UserError, match=f"{name}: named twice, or reserved .*; rename the column"):
        read_params(path)


def test_older_settings_of_salgl_are_told_what_trains_as_before(tmp_path: Path) -> None:
    demo = (PRESETS / "demo.yaml").read_text()
    section = re.search(r"  head:\n(?:    .*\n)+", demo)
    assert section
    page = (Path(__file__).parents[2] / "docs" / "heads.md").read_text()
    head = re.search(r"^head: \{kind: salgl.*?\}\n", page, re.DOTALL | re.MULTILINE)
    assert head
    path = tmp_path / "params.yaml"
    for steps in ("0", "1", "5"):
        stated = head[0].replace("steps: 3", f"steps: {steps}")
        path.write_text(demo.replace(section[0], textwrap.indent(stated, "  ")))
        assert read_params(path).train.head.model_dump()["steps"] == int(steps)
    path.write_text(demo.replace(section[0], textwrap.indent(head[0].replace(" cell: paper,", ""), "  ")))
    with pytest.raises(
        UserError,
        match=r"train\.head\.cell: missing; add the newer key: `cell: torch .*entropy_weight divided by",
    ):
        read_params(path)
