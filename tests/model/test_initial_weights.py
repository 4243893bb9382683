"""Initial weights: found without waiting, fitted by name, and refused with the keys that do not fit."""

import dataclasses
import pickle
import shlex
import socket
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import timm
import torch
from conftest import COUPLING, TINY, unseal
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from test_checkpoint import CARD

from cxrscore.core.errors import UserError
from cxrscore.model.backbone import create_backbone
from cxrscore.model.checkpoint import save_checkpoint
from cxrscore.model.heads.registry import head_settings
from cxrscore.model.initial_weights import fitting_weights, load_weights
from cxrscore.model.network import CXRModel, build_model, check_backbone
from cxrscore.reseal import reseal

HUB_ID = "timm/test_resnet.r160_in1k"


def weights_file(path: Path, name: str = TINY, **changes: torch.Tensor) -> Path:
    """Random weights of the whole model at its own size, as timm publishes them."""
    weights = timm.create_model(name, pretrained=False, num_classes=10).state_dict()
    weights = {
        key: torch.rand_like(value) if value.is_floating_point() else value for key, value in weights.items()
    }
    save_file({key: value.contiguous() for key, value in (weights | changes).items()}, path)
    return path


def check(init: Path | str, name: str = TINY, size: int = 96, init_except: tuple[str, ...] = ()) -> None:
    check_backbone(name, size=size, init=str(init), init_except=init_except)


def test_local_weights_are_loaded_but_for_the_classifier(tmp_path: Path) -> None:
    path = weights_file(tmp_path / "w.safetensors")
    check(path)
    model = build_model(TINY, init=str(path), findings=3, head=head_settings(COUPLING), size=32)
    loaded = load_file(path)
    assert all(torch.equal(value, loaded[key]) for key, value in model.backbone.state_dict().items())


@pytest.mark.parametrize(
    "name",
    [
        "test_resnet",
        "test_convnext",
        "test_vit",
        "test_vit3",
        "test_vit_relpos",
        "test_mambaout",
        "test_maxvit",
    ],
)
def test_a_file_of_published_weights_is_what_timm_loads(name: str, tmp_path: Path) -> None:
    path = weights_file(tmp_path / "w.safetensors", name)
    ours = create_backbone(name, size=160)
    load_weights(ours, name, path)
    theirs = timm.create_model(
        name,
        pretrained=True,
        pretrained_cfg_overlay={"state_dict": load_file(path)},
        num_classes=0,
        global_pool="",
    )
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in ours.state_dict().items())


def test_weights_that_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    path = weights_file(tmp_path / "w.safetensors", extra=torch.zeros(1), **{"bn1.bias": torch.zeros(3)})
    with pytest.raises(UserError, match=r"does not fit the backbone test_resnet") as refused:
        check(path)
    assert [line.split(maxsplit=3) for line in refused.value.lines[1:-1]] == [
        ["key", "file", "backbone"],
        ["extra", "(1,)", "-", "unknown"],
        ["bn1.bias", "(3,)", "(32,)", "other shape"],
    ]
    assert "train.init_except" in refused.value.lines[-1]


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"does not fit the backbone test_resnet") as refused:
        check(weights_file(tmp_path / "w.safetensors", "test_efficientnet"))
    lines = refused.value.lines
    assert sum(line.endswith("  missing") for line in lines) == 10  # the first of
    assert "  missing: 71 in all" in lines


@pytest.mark.parametrize("form", ["zip", "legacy", "plain"])
def test_a_pickle_is_called_one_with_the_command_that_converts_it(tmp_path: Path, form: str) -> None:
    path = tmp_path / "my weights.safetensors"  # whatever it is called
    weights = load_file(weights_file(tmp_path / "w.safetensors"))
    if form == "plain":
        path.write_bytes(pickle.dumps({"epoch": 3}))
    else:
        torch.save(weights, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(UserError, match=r"train\.init: .*my weights\.safetensors: a pickle") as refused:
        check(path, init_except=("fc.*",))
    assert shlex.split(refused.value.lines[1]) == [
        *("cxrscore", "weights", "convert", str(path), "OUT.safetensors"),
        *("--backbone", TINY, "--init-except", "fc.*"),
    ]


def test_a_zip_of_something_else_is_not_called_a_pickle(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.safetensors", "w") as archive:
        archive.writestr("readme.txt", "images")
    with pytest.raises(UserError, match="not a readable") as refused:
        check(tmp_path / "w.safetensors")
    assert "pickle" not in str(refused.value)


def test_weights_whose_header_begins_like_a_pickle_are_loaded(tmp_path: Path) -> None:
    path = weights_file(tmp_path / "w.safetensors")
    weights = load_file(path)
    length = int.from_bytes(path.read_bytes()[:8], "little")
    wanted = next(n for n in range(length + 100, length + 70_000) if n % 65_536 == 0x0280)
    for padding in range(wanted - length - 100, wanted - length):
        save_file(weights, path, metadata={"padding": "x" * padding})
        if path.read_bytes()[:2] == b"\x80\x02":
            break
    assert path.read_bytes()[:2] == b"\x80\x02"
    check(path)


@pytest.mark.parametrize(
    ("prefix", "beside"),
    [
        ("module.", []),
        ("_orig_mod.", []),
        ("module.model.", []),
        ("module.", ["n_averaged"]),
        ("model.", ["loss.w"]),
    ],
)
def test_a_prefix_is_named_with_the_command_that_removes_it(
    tmp_path: Path, prefix: str, beside: list[str]
) -> None:
    path = weights_file(tmp_path / "w.safetensors")
    weights = {f"{prefix}{key}": value for key, value in load_file(path).items()}
    save_file(weights | {key: torch.zeros(1) for key in beside}, path)
    told = f"{len(weights)} of {len(weights) + len(beside)} keys begin with '{prefix}'"
    with pytest.raises(UserError, match=told) as refused:
        check(path)
    assert refused.value.lines[1].endswith(f"--backbone {TINY} --strip-prefix {prefix}")


def test_the_only_layer_of_a_file_is_no_prefix(tmp_path: Path) -> None:
    path = weights_file(tmp_path / "w.safetensors")
    save_file({key: value for key, value in load_file(path).items() if key.startswith("layer4.0.")}, path)
    with pytest.raises(UserError, match="does not fit") as refused:
        check(path)
    assert "begin with" not in str(refused.value)


def test_keys_named_by_a_pattern_may_be_missing_left_over_or_of_another_shape(tmp_path: Path) -> None:
    path = weights_file(tmp_path / "w.safetensors", extra=torch.zeros(1), **{"bn1.bias": torch.zeros(3)})
    weights = {key: value for key, value in load_file(path).items() if not key.startswith("layer4")}
    save_file(weights, path)
    patterns = ("extra", "bn1.*", "layer4.*")
    check(path, init_except=patterns)
    backbone = create_backbone(TINY, size=96)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    load_weights(backbone, TINY, path, patterns)
    after = backbone.state_dict()
    assert torch.equal(after["layer4.0.conv1.weight"], before["layer4.0.conv1.weight"])
    assert torch.equal(after["bn1.bias"], before["bn1.bias"])
    assert torch.equal(after["bn1.weight"], weights["bn1.weight"])
    with pytest.raises(UserError, match="extra"):
        check(path, init_except=patterns[1:])


def test_a_pattern_that_excuses_nothing_is_a_mistake(tmp_path: Path) -> None:
    path = weights_file(tmp_path / "w.safetensors")
    for pattern in ("laier4.*", "layer4.*"):  # the second names keys, but they fit
        with pytest.raises(
            UserError, match=rf"train\.init_except: '{pattern[:3]}.* matches no key of .* not fit"
        ):
            check(path, init_except=(pattern,))


def test_position_embeddings_of_another_grid_are_resampled(tmp_path: Path) -> None:
    path = weights_file(tmp_path / "w.safetensors", "test_vit")
    old = load_file(path)["pos_embed"]  # (1, 1 + 10 * 10, C)
    new = fitting_weights(create_backbone("test_vit", size=96), "test_vit", path)["pos_embed"]
    assert new.shape == (1, 1 + 6 * 6, old.shape[2])
    assert torch.equal(new[:, 0], old[:, 0])
    assert torch.allclose(new[:, 1:].mean(), old[:, 1:].mean(), atol=0.02)


def test_position_embeddings_that_timm_itself_leaves_are_resampled_too(tmp_path: Path) -> None:
    path = weights_file(tmp_path / "w.safetensors", "hiera_tiny_224")
    old = load_file(path)["pos_embed"]
    new = fitting_weights(create_backbone("hiera_tiny_224", size=96), "hiera_tiny_224", path)["pos_embed"]
    assert (old.shape[1], new.shape[1]) == (56 * 56, 24 * 24)


def test_the_norm_after_pooling_becomes_the_one_before_it(tmp_path: Path) -> None:
    path = weights_file(tmp_path / "w.safetensors", "test_vit2")
    fitted = fitting_weights(create_backbone("test_vit2", size=160), "test_vit2", path)
    assert torch.equal(fitted["norm.weight"], load_file(path)["fc_norm.weight"])


def test_a_checkpoint_of_ours_gives_its_backbone(tmp_path: Path, tiny_model: CXRModel) -> None:
    path = tmp_path / "fold0.safetensors"
    save_checkpoint(path, tiny_model.state_dict(), CARD)
    check(path)
    again = build_model(TINY, init=str(path), findings=5, head=head_settings(COUPLING), size=96)
    expected = tiny_model.backbone.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in again.backbone.state_dict().items())


def test_a_checkpoint_of_ours_at_another_size_gives_its_backbone(tmp_path: Path) -> None:
    model = build_model("test_vit", init="none", findings=3, head=head_settings(COUPLING), size=96)
    path = tmp_path / "fold0.safetensors"
    save_checkpoint(path, model.state_dict(), dataclasses.replace(CARD, backbone="test_vit", size=96))
    check(path, "test_vit", size=128)


@pytest.mark.parametrize("place", ["weights", "card", "seal"])
def test_a_damaged_checkpoint_of_ours_is_no_start(tmp_path: Path, tiny_model: CXRModel, place: str) -> None:
    path = tmp_path / "fold0.safetensors"
    save_checkpoint(path, tiny_model.state_dict(), CARD)
    data = bytearray(path.read_bytes())
    at = {"weights": len(data) - 1, "card": data.index(b"Image_name"), "seal": data.index(b"seal")}[place]
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"train\.init: .*fold0.* do not match their SHA-256"):
        check(path)


def test_an_unsealed_checkpoint_of_ours_is_no_start_until_it_is_sealed(
    tmp_path: Path, tiny_model: CXRModel
) -> None:
    path = tmp_path / "fold0.safetensors"
    save_checkpoint(path, tiny_model.state_dict(), CARD)
    unseal(path)
    with pytest.raises(UserError, match=r"train\.init: .*fold0.*cxrscore reseal"):
        check(path)
    reseal(path, tmp_path / "new.safetensors", overwrite=False)
    check(tmp_path / "new.safetensors")


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    path = weights_file(tmp_path / "w.safetensors", **{"bn1.bias": torch.full((32,), float("nan"))})
    with pytest.raises(UserError, match=r"bn1\.bias holds NaN or infinite values"):
        check(path)


def test_a_missing_or_broken_weights_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"not weights")
    with pytest.raises(UserError, match=r"missing\.safetensors: no such file"):
        check(tmp_path / "missing.safetensors")
    with pytest.raises(UserError, match=r"broken\.safetensors: not a readable \.safetensors file"):
        check(tmp_path / "broken.safetensors")


def test_a_backbone_without_published_weights_is_refused_at_once() -> None:
    with pytest.raises(
        UserError, match=r"train\.init: imagenet: timm has no weights of seresnet18; set train\.init"
    ):
        check("imagenet", "seresnet18")


def test_weights_in_another_form_are_named() -> None:
    with pytest.raises(UserError, match=r"are not a \.safetensors file; save those of https://"):
        check("imagenet", "legacy_seresnet18")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache and a hub that refuses connections."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("no_proxy", "*")
    set_hub(monkeypatch, "http://127.0.0.1:9")
    return tmp_path / "hub"


def set_hub(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """As HF_ENDPOINT would, which huggingface_hub reads once, when it is imported."""
    monkeypatch.setattr(constants, "ENDPOINT", address)
    path = constants.HUGGINGFACE_CO_URL_TEMPLATE.partition("/{repo_id}")
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + path[1] + path[2])


@pytest.fixture
def silent_server() -> Iterator[str]:
    """It takes a connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


REMEDY = rf"fetch model\.safetensors of the repository {HUB_ID} .* set train\.init to its path"


def test_without_a_connection_the_answer_comes_at_once_and_says_how_to_go_on(hub: Path) -> None:
    start = time.perf_counter()
    with pytest.raises(UserError, match=REMEDY):
        check("imagenet")
    with pytest.raises(UserError, match=REMEDY):
        build_model(TINY, init="imagenet", findings=3, head=head_settings(COUPLING), size=32)
    assert time.perf_counter() - start < 5


def test_a_server_that_never_answers_is_waited_for_three_seconds(
    hub: Path, silent_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_hub(monkeypatch, silent_server)
    start = time.perf_counter()
    with pytest.raises(UserError, match=REMEDY):
        check("imagenet")
    assert 2.5 < time.perf_counter() - start < 5


def test_the_offline_switch_is_kept_without_asking(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=REMEDY):
        check("imagenet")


def test_weights_in_the_local_cache_need_no_connection(hub: Path) -> None:
    snapshot = hub / f"models--{HUB_ID.replace('/', '--')}"
    (snapshot / "snapshots" / "abc").mkdir(parents=True)
    (snapshot / "refs").mkdir()
    (snapshot / "refs" / "main").write_text("abc")
    path = weights_file(snapshot / "snapshots" / "abc" / "model.safetensors")
    check("imagenet")
    model = build_model(TINY, init="imagenet", findings=3, head=head_settings(COUPLING), size=32)
    assert torch.equal(model.backbone.state_dict()["bn1.weight"], load_file(path)["bn1.weight"])


def test_weights_that_the_hub_hands_out_are_fetched_only_to_build(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = weights_file(tmp_path / "w.safetensors")
    with publishing(path) as (address, asked):
        set_hub(monkeypatch, address)
        check("imagenet")
        assert asked == ["HEAD"]
        model = build_model(TINY, init="imagenet", findings=3, head=head_settings(COUPLING), size=32)
    assert "GET" in asked
    assert torch.equal(model.backbone.state_dict()["bn1.weight"], load_file(path)["bn1.weight"])


@contextmanager
def publishing(path: Path) -> Iterator[tuple[str, list[str]]]:
    """A hub of one file: its address, and the methods it was asked with."""
    asked: list[str] = []

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            asked.append(self.command)
            self.send_response(200)
            self.send_header("Content-Length", str(path.stat().st_size))
            self.send_header("ETag", '"1"')
            self.send_header("X-Repo-Commit", "0" * 40)
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            self.wfile.write(path.read_bytes())

        def log_message(self, format: str, *args: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
