"""The quick models score as those that were trained do, in whatever memory there is, and tell of what is not
a number.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Project
from numpy.typing import NDArray

from cxrscore.core.device import Machine
from cxrscore.core.errors import Stopped, UserError
from cxrscore.model.checkpoint import Fold
from cxrscore.model.ensemble import load_ensemble
from cxrscore.model.predict import predict_folds
from cxrscore.scoring.compute import Engine, build_engine
from cxrscore.scoring.compute_settings import Recipe


@pytest.fixture
def folds(project: Project, cpu: Machine) -> Sequence[Fold]:
    return load_ensemble(project.layout.models, cpu)


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (8, 32, 32), dtype=np.uint8)


def engine(folds: Sequence[Fold], dtype: torch.dtype = torch.float32, **recipe: Any) -> Engine:
    word = {torch.float32: "fp32", torch.bfloat16: "bf16"}[dtype]
    chosen = Recipe(**{"dtype": word, "batch_size": 8, **recipe})
    return build_engine(folds, chosen, Machine(torch.device("cpu"), dtype), views=["plain", "flip"])


def as_trained(folds: Sequence[Fold], pixels: NDArray[np.uint8], cpu: Machine) -> NDArray[np.float32]:
    gray = torch.from_numpy(pixels)[:, None]
    probs: NDArray[np.float32] = predict_folds(
        [fold.model for fold in folds], gray, views=["plain", "flip"], machine=cpu
    ).numpy()
    return probs


@pytest.mark.parametrize(("dtype", "within"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
def test_quick_models_score_as_those_that_were_validated(
    folds: Sequence[Fold], pixels: NDArray[np.uint8], cpu: Machine, dtype: torch.dtype, within: float
) -> None:
    found = engine(folds, dtype).start(pixels).result()
    assert found.shape == (2, 8, 14) and found.dtype == np.float32
    assert np.abs(found - as_trained(folds, pixels, cpu)).max() < within


NO_COMPILER = not (shutil.which("g++") or shutil.which("clang++"))
COMPILERS = [
    "aot_eager",
    pytest.param(
        "inductor",
        marks=[pytest.mark.slow, pytest.mark.skipif(NO_COMPILER, reason="needs a C++ compiler")],
    ),
]


@pytest.mark.parametrize("compiler", COMPILERS)
def test_compiled_models_score_the_same_each_fold_with_its_own_weights(
    folds: Sequence[Fold],
    pixels: NDArray[np.uint8],
    cpu: Machine,
    compiler: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usual = torch.compile
    if compiler != "inductor":  # whose options the other does not take
        monkeypatch.setattr(torch, "compile", lambda body, **_: usual(body, dynamic=False, backend=compiler))
    found = engine(folds, compile=True).start(pixels).result()
    assert np.abs(found - as_trained(folds, pixels, cpu)).max() < 1e-6
    assert np.abs(found[0] - found[1]).max() > 1e-4


def test_models_that_cannot_be_compiled_are_told_with_the_way_around(
    folds: Sequence[Fold], monkeypatch: pytest.MonkeyPatch
) -> None:
    def compiled(*_: Any, **__: Any) -> Any:
        def call(gray: torch.Tensor) -> None:
            raise RuntimeError("InvalidCxxCompiler: no working C++ compiler was found\nmore")

        return call

    monkeypatch.setattr(torch, "compile", compiled)
    with pytest.raises(UserError, match=r"no working C\+\+ compiler was found.*use --compile off"):
        engine(folds, compile=True)


def test_a_row_has_the_same_bytes_in_any_place_and_company(
    folds: Sequence[Fold], pixels: NDArray[np.uint8]
) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        ours = engine(folds, dtype)
        found = ours.start(pixels).result()
        order = np.random.default_rng(1).permutation(8)
        assert np.array_equal(ours.start(pixels[order]).result(), found[:, order])
        alone = np.zeros_like(pixels)
        alone[5] = pixels[2]
        assert np.array_equal(ours.start(alone).result()[:, 5], found[:, 2])


def test_one_image_exactly_is_that_image_in_fp32(
    folds: Sequence[Fold], pixels: NDArray[np.uint8], cpu: Machine
) -> None:
    found = engine(folds, torch.bfloat16).exactly(pixels[3])
    assert found == pytest.approx(as_trained(folds, pixels, cpu)[:, 3], abs=1e-6)


def short_of_memory(most: int, message: str, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """From now on a forward of more than `most` images does not fit; -> the sizes that were tried."""
    tried: list[int] = []

    def predict(models: Any, gray: torch.Tensor, **words: Any) -> torch.Tensor:
        tried.append(len(gray))
        if len(gray) > most:
            raise torch.OutOfMemoryError(message) if message.startswith("CUDA") else RuntimeError(message)
        return predict_folds(models, gray, **words)

    monkeypatch.setattr("cxrscore.scoring.compute.predict_folds", predict)
    return tried


OUT_OF_MEMORY = ("CUDA out of memory", "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")


@pytest.mark.parametrize("message", OUT_OF_MEMORY)
def test_where_memory_does_not_last_the_same_images_are_done_in_smaller_parts(
    folds: Sequence[Fold], pixels: NDArray[np.uint8], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = engine(folds).start(pixels).result()
    tried = short_of_memory(2, message, monkeypatch)
    ours = engine(folds)
    assert ours.start(pixels).result() == pytest.approx(expected, abs=1e-6)
    assert tried == [8, 4, 2, 2, 2, 2]
    assert ours.take_halvings() == (4, 2)
    assert ours.take_halvings() == ()
    ours.start(pixels)
    assert tried[6:] == [2, 2, 2, 2]  # what was learnt stays


@pytest.mark.parametrize("message", OUT_OF_MEMORY)
def test_without_memory_for_one_image_the_run_stops_and_can_be_resumed(
    folds: Sequence[Fold], pixels: NDArray[np.uint8], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_of_memory(0, message, monkeypatch)
    with pytest.raises(
        Stopped, match="a forward pass of one image needs more memory than there is"
    ) as stopped:
        engine(folds).start(pixels)
    assert stopped.value.code == 4


def test_a_device_that_is_lost_stops_the_run_and_another_fault_keeps_its_traceback(
    folds: Sequence[Fold], pixels: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(message: str) -> None:
        def predict(*_: Any, **__: Any) -> None:
            raise RuntimeError(message)

        monkeypatch.setattr("cxrscore.scoring.compute.predict_folds", predict)

    fail("CUDA error: an illegal memory access was encountered\nmore")
    with pytest.raises(Stopped, match="the device was lost: CUDA error: an illegal memory access") as stopped:
        engine(folds).start(pixels)
    assert stopped.value.code == 4
    fail("shapes do not match")
    with pytest.raises(RuntimeError, match="shapes do not match"):
        engine(folds).start(pixels)


def test_an_infinite_logit_is_no_score_though_its_sigmoid_would_look_right(
    folds: Sequence[Fold], pixels: NDArray[np.uint8]
) -> None:
    folds[1].model.head.classifier.bias[3] = torch.inf
    ours = engine(folds)
    found = ours.start(pixels).result()
    assert np.isnan(found[1, :, 3]).all() and np.isfinite(found[0]).all()
    assert np.isnan(ours.exactly(pixels[0])[1, 3])


def test_the_models_given_stay_as_they_were(
    folds: Sequence[Fold], pixels: NDArray[np.uint8], tmp_path: Path
) -> None:
    before = {name: value.clone() for name, value in folds[0].model.state_dict().items()}
    engine(folds, torch.bfloat16).start(pixels).result()
    after = folds[0].model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
