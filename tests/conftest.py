"""Shared makings of tests: a tiny model, a machine, a project of phantoms that every stage has run on."""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import pytest
import torch
from refusals import watch
from ruamel.yaml import YAML
from safetensors.torch import save_file

import cxrscore
from cxrscore.__main__ import main
from cxrscore.core.device import Machine, seeded
from cxrscore.core.paths import Layout
from cxrscore.core.progress import Silent
from cxrscore.core.safetensors_digest import KEY, digest_of
from cxrscore.evaluate import evaluate
from cxrscore.folds import make_folds
from cxrscore.model.checkpoint import load_fold
from cxrscore.model.heads.registry import head_settings
from cxrscore.model.network import CXRModel, build_model
from cxrscore.phantom import make_phantoms
from cxrscore.prepare import prepare
from cxrscore.project.params import Params
from cxrscore.project.params_file import read_params
from cxrscore.report import write_report
from cxrscore.train import train_fold

TINY = "test_resnet"  # timm's smallest, 0.5 million parameters
COUPLING = {
    "kind": "coupling",
    "dropout": 0.1,
    "alpha": 0.3,
    "l1": 1e-3,
    "mu": 0.0,
    "prox": False,
    "lr_scale": 1.0,
    "steps": 1,
    "centred": False,
    "conditional": False,
    "rank": 4,
}
PROGRAMS = Path(__file__).parent / "programs"
PRESETS = Path(cxrscore.__file__).parent / "presets"

hypothesis.settings.register_profile("any machine", deadline=None)  # a slow one is no fault
hypothesis.settings.load_profile("any machine")
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # by a shell that put us in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # many tests send one
torch.set_num_threads(1)  # for tensors so small: test_train.py takes 6 s, with two on two busy cores 45 s


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="run the tests marked slow, too")


def pytest_xdist_auto_num_workers() -> int:
    """Of the cores that this process may use; each worker has a torch and a trained project of its own."""
    return min(4, len(os.sched_getaffinity(0)))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Slow tests run where they are asked for: by --all, by -m, or by their ids."""
    if config.getoption("--all") or config.option.markexpr:
        return
    asked = tuple(word.split("/")[-1] for word in config.args if "::" in word)
    slow = [
        item
        for item in items
        if item.get_closest_marker("slow") and not item.nodeid.split("/")[-1].startswith(asked or ("::",))
    ]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if item not in slow]


REFUSED = watch()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    """A test fails where a refusal that it met does not say where, or what would be right."""
    try:
        return (yield)
    finally:
        found = [*REFUSED]
        REFUSED.clear()
        assert not found, "\n".join(found)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a test measures stays out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXRSCORE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def cpu() -> Machine:
    return Machine(torch.device("cpu"), torch.float32)


@pytest.fixture
def tiny_model(cpu: Machine) -> CXRModel:
    with seeded(cpu, 0):
        return build_model(TINY, init="none", findings=3, head=head_settings(COUPLING), size=32)


@dataclass(frozen=True)
class Project:
    """Phantoms (images/, labels.csv, test/, sample_submission.csv), settings, and what the stages made."""

    data: Path
    params: Params
    layout: Layout

    @property
    def labels(self) -> Path:
        return self.data / "labels.csv"

    def copy_to(self, root: Path) -> "Project":
        """The same with outputs of its own, for a test that changes them; the phantoms stay shared."""
        return replace(self, layout=Layout(Path(shutil.copytree(self.layout.root, root / "out"))))

    def with_settings(self, *, labels: dict[str, Any] | None = None, **changes: Any) -> Params:
        """The settings, with these of labels and of train changed."""
        params = self.params
        changed = {
            "labels": params.labels.model_copy(update=labels),
            "train": params.train.model_copy(update=changes),
        }
        return params.model_copy(update=changed)

    def train(self, fold: int, *, labels: dict[str, Any] | None = None, **changes: Any) -> None:
        """The train stage on the CPU, with these settings changed."""
        train_fold(
            fold,
            labels_csv=self.labels,
            layout=self.layout,
            params=self.with_settings(labels=labels, **changes),
            machine=Machine(torch.device("cpu"), torch.float32),
            progress=Silent(),
        )


def make_tiny(params_yaml: Path) -> None:
    """The settings in the file, made small enough for a test: two folds, two epochs, 32 px."""
    yaml = YAML()
    settings = yaml.load(params_yaml.read_text(encoding="utf-8"))
    settings["prepare"].update(size=32, train_size=None)
    settings["folds"].update(k=2, train=[0, 1])
    settings["train"].update(backbone=TINY, init="none", epochs=2, warmup_epochs=0.5, batch_size=8)
    with params_yaml.open("w", encoding="utf-8") as file:
        yaml.dump(settings, file)


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 images of 18 patients with labels, and 8 of others to score. Shared: read only."""
    folder = tmp_path_factory.mktemp("phantoms") / "data"
    make_phantoms(folder, images=48, size=48, seed=0)
    return folder


def prepare_and_split(made: Project) -> None:
    """The stages before training."""
    layout, params = made.layout, made.params
    prepare(
        made.labels,
        made.data / "images",
        layout.prepared,
        labels=params.labels,
        params=params.prepare,
        workers=1,
        progress=Silent(),
    )
    make_folds(
        made.labels,
        layout.prepared / "index.csv",
        layout.folds,
        layout.balance,
        labels=params.labels,
        params=params.folds,
    )


def make_project(phantoms: Path, root: Path) -> Project:
    """Prepared images and folds of the phantoms, in `root`; nothing is trained yet."""
    root.mkdir(exist_ok=True)
    shutil.copy(PRESETS / "demo.yaml", root / "params.yaml")
    make_tiny(root / "params.yaml")
    made = Project(phantoms, read_params(root / "params.yaml"), Layout(root / "out"))
    prepare_and_split(made)
    return made


@pytest.fixture(scope="session")
def project(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """What the five stages make of the phantoms. Shared: read only, see Project.copy_to."""
    made = make_project(phantoms, tmp_path_factory.mktemp("project"))
    layout, params = made.layout, made.params
    for fold in params.folds.train:
        made.train(fold)
    evaluate(made.labels, layout, labels=params.labels, folds=params.folds.train)
    write_report(layout, folds=params.folds.train)
    return made


def as_an_earlier_version_told(layout: Layout, *folds: int) -> None:
    """Summaries without what says which files are of the training: what is edited after it is measured."""
    for fold in folds:
        summary = json.loads(layout.summary(fold).read_text())
        kept = {name: value for name, value in summary.items() if name not in ("training", "files")}
        layout.summary(fold).write_text(json.dumps(kept))


def unseal(path: Path, **card: Any) -> None:
    """The checkpoint as a version without seals wrote it; `card` changes what it says."""
    found = load_fold(path, Machine(torch.device("cpu"), torch.float32))
    old = asdict(found.card) | {"schema": 1}
    del old["bit_depth"]
    tensors = {name: tensor.contiguous() for name, tensor in found.model.state_dict().items()}
    text = json.dumps({"card": old | card, "sha256": digest_of(tensors)}, sort_keys=True)
    save_file(tensors, path, metadata={KEY: text})


def contents(folder: Path) -> dict[str, bytes]:
    """Every file under the folder, by its path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Call(NamedTuple):
    code: int
    out: str
    err: str


Door = Callable[..., Call]


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Door:
    """Runs `cxrscore` with these words in tmp_path, where params.yaml is a tiny project's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CXRSCORE_DEVICE", raising=False)
    shutil.copy(PRESETS / "demo.yaml", tmp_path / "params.yaml")
    make_tiny(tmp_path / "params.yaml")

    def call(*words: object) -> Call:
        monkeypatch.setattr(sys, "argv", ["cxrscore", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        code = stop.value.code
        assert code is None or isinstance(code, int)
        return Call(code or 0, *capsys.readouterr())

    return call
