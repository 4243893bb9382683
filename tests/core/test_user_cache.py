"""Compiled code is loaded from a folder that is the user's own, and from no other."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from conftest import TINY, Project

from cxrscore.benchmarks.forward import _empty_compiler_cache
from cxrscore.core.device import Machine
from cxrscore.core.errors import UserError
from cxrscore.core.progress import Silent
from cxrscore.core.user_cache import cache_folder, name_code_cache, private_folder, secure_code_cache
from cxrscore.score import score
from cxrscore.scoring.compute_settings import describe
from cxrscore.scoring.measurement_cache import store
from cxrscore.scoring.options import Options
from cxrscore.train import train_fold

ROOT_ALONE = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
NO_COMPILER = not (shutil.which("g++") or shutil.which("clang++"))
SOMEBODY = 12345


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A cache folder that does not exist yet, and no other named."""
    with pytest.MonkeyPatch.context() as patch:  # after what a test sets, so that it is undone first
        for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
            patch.setenv(name, "")
            patch.delenv(name)
        patch.setenv("CXRSCORE_CACHE", str(tmp_path / "cache"))
        yield tmp_path / "cache"


def mode(path: Path) -> str:
    return f"{path.stat().st_mode & 0o7777:04o}"


def test_code_is_kept_in_the_users_cache_folder_which_is_made_for_him_alone(cache: Path) -> None:
    assert secure_code_cache() == cache / "inductor"
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(cache / "inductor")
    assert os.environ["TRITON_CACHE_DIR"] == str(cache / "inductor" / "triton")
    assert (mode(cache), mode(cache / "inductor")) == ("0700", "0700")


def test_no_umask_opens_it(cache: Path) -> None:
    before = os.umask(0)
    try:
        secure_code_cache()
    finally:
        os.umask(before)
    assert (mode(cache), mode(cache / "inductor")) == ("0700", "0700")


def test_what_torch_chose_when_it_was_imported_first_is_no_choice(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._inductor.runtime.runtime_utils import default_cache_dir

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", default_cache_dir())
    monkeypatch.setenv("TRITON_CACHE_DIR", f"{default_cache_dir()}/triton/0")
    assert secure_code_cache() == cache / "inductor"
    assert os.environ["TRITON_CACHE_DIR"] == str(cache / "inductor" / "triton")


def test_headers_that_torch_compiles_into_its_default_folder_whatever_is_named_are_not(cache: Path) -> None:
    from torch._inductor import config

    secure_code_cache()
    assert not config.cpp_cache_precompile_headers


def of_mode(number: int) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        folder.mkdir(parents=True)
        folder.chmod(number)

    return make


def a_link(folder: Path) -> None:
    (folder.parent.parent / "elsewhere").mkdir(mode=0o700)
    folder.parent.mkdir()
    folder.symlink_to(folder.parent.parent / "elsewhere")


def a_dangling_link(folder: Path) -> None:
    folder.parent.mkdir()
    folder.symlink_to("nowhere")


def a_file(folder: Path) -> None:
    folder.parent.mkdir()
    folder.write_text("mine", encoding="utf-8")


def below_a_file(folder: Path) -> None:
    folder.parent.write_text("mine", encoding="utf-8")


def in_an_open_folder(number: int) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        folder.parent.mkdir()
        folder.mkdir(mode=0o700)
        folder.parent.chmod(number)

    return make


def another_users(folder: Path) -> None:
    folder.mkdir(parents=True, mode=0o700)
    os.chown(folder, SOMEBODY, SOMEBODY)


def in_another_users(folder: Path) -> None:
    folder.mkdir(parents=True, mode=0o700)
    os.chown(folder.parent, SOMEBODY, SOMEBODY)


def with_a_planted_library(folder: Path) -> None:
    (folder / "ab").mkdir(parents=True)
    folder.chmod(0o700)
    (folder / "ab" / "cabc.so").write_bytes(b"\x7fELF")
    os.chown(folder / "ab" / "cabc.so", SOMEBODY, SOMEBODY)


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "0777": (
        of_mode(0o777),
        r"inductor: .*is open to others \(mode 0777, not 0700\); remove it if nothing else",
    ),
    "0755": (of_mode(0o755), r"inductor: .*is open to others \(mode 0755"),
    "0710": (of_mode(0o710), r"inductor: .*is open to others \(mode 0710"),
    "1777": (of_mode(0o1777), r"inductor: .*is open to others \(mode 1777"),
    "a link": (a_link, "inductor: .*is a link"),
    "a dangling link": (a_dangling_link, "inductor: .*is a link"),
    "a file": (a_file, "inductor: .*is not a folder"),
    "below a file": (below_a_file, r"inductor: cannot hold compiled code \(Not a directory\)"),
    "in an open folder": (in_an_open_folder(0o777), r"cache: can be written by others \(mode 0777\), who"),
    "in a group's folder": (in_an_open_folder(0o770), r"cache: can be written by others \(mode 0770\), who"),
}
OTHERS: dict[str, tuple[Callable[[Path], None], str]] = {
    "another user's": (another_users, f"inductor: .*belongs to user {SOMEBODY}, not to you, user 0"),
    "in another user's": (in_another_users, f"cache: belongs to user {SOMEBODY}, who could replace"),
    "a planted library": (with_a_planted_library, f"cabc.so: code that user {SOMEBODY} has left"),
}


@pytest.mark.parametrize("name", [*BAD, *(pytest.param(name, marks=ROOT_ALONE) for name in OTHERS)])
@pytest.mark.parametrize("variable", ["CXRSCORE_CACHE", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"])
def test_a_folder_that_others_can_write_is_refused_whoever_named_it(
    cache: Path, name: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, message = (BAD | OTHERS)[name]
    make(cache / "inductor")
    if variable != "CXRSCORE_CACHE":
        monkeypatch.setenv("CXRSCORE_CACHE", str(cache.parent / "another"))
        monkeypatch.setenv(variable, str(cache / "inductor"))
    with pytest.raises(UserError, match=message) as refused:
        secure_code_cache()
    assert name == "a planted library" or f"${variable}; --compile off does without" in str(refused.value)


def test_a_folder_of_the_administrators_is_not_ones_own() -> None:
    if os.geteuid() == 0:
        pytest.skip("for root it is")
    with pytest.raises(UserError, match=r"/: .*belongs to user 0, not to you"):
        private_folder(Path("/"), "CXRSCORE_CACHE")


def test_a_sticky_folder_such_as_tmp_and_a_readable_one_may_lie_above(cache: Path) -> None:
    for number in (0o1777, 0o755):
        cache.mkdir(exist_ok=True)
        cache.chmod(number)
        assert secure_code_cache() == cache / "inductor"


def test_a_link_above_is_followed_once_and_for_all(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache.parent / "disk").mkdir()
    cache.symlink_to("disk")
    assert secure_code_cache() == cache.parent / "disk" / "inductor"


def test_the_entry_point_names_the_folder_and_leaves_what_a_person_has_named(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_code_cache()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(cache / "inductor")
    assert mode(cache / "inductor") == "0700"
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/mine")
    name_code_cache()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "/mine"


def test_a_call_that_compiles_nothing_needs_no_such_folder(cache: Path) -> None:
    of_mode(0o777)(cache / "inductor")
    name_code_cache()
    assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ
    assert mode(cache / "inductor") == "0777"


def test_the_cache_folder_is_the_one_named_else_the_desktops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXRSCORE_CACHE", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert cache_folder() == Path("/a")
    monkeypatch.delenv("CXRSCORE_CACHE")
    assert cache_folder() == Path("/b/cxrscore")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "cxrscore"


def called(project: Project, tmp_path: Path, *words: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """`score` of the test's radiographs by another process that has an empty temporary folder."""
    (tmp_path / "empty").mkdir()
    asked = ["-o", str(tmp_path / "sub.csv"), "--models", str(project.layout.models), "--device", "cpu"]
    command = [sys.executable, "-m", "cxrscore", "score", str(project.data / "test"), *asked, *words]
    unset = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
    inherited = {name: value for name, value in os.environ.items() if name not in unset}
    return subprocess.run(
        command,
        env=inherited | {"TMPDIR": str(tmp_path / "empty")} | env,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_a_run_that_compiles_nothing_leaves_nothing_in_the_temporary_folder(
    project: Project, tmp_path: Path, cache: Path
) -> None:
    done = called(project, tmp_path, "--workers", "0")
    assert done.returncode == 0, done.stderr
    assert not list((tmp_path / "empty").glob("torchinductor*"))


def test_a_cache_of_somebody_elses_is_refused_before_anything_is_compiled(
    project: Project, tmp_path: Path, cache: Path
) -> None:
    of_mode(0o777)(cache / "inductor")
    done = called(project, tmp_path, "--workers", "0", "--compile", "on")
    assert done.returncode == 2, done.stderr
    assert "inductor: holds code that will be run, and is open to others (mode 0777" in done.stderr
    assert list((cache / "inductor").iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "empty"]


def test_without_compiling_such_a_cache_is_no_obstacle(project: Project, tmp_path: Path, cache: Path) -> None:
    of_mode(0o777)(cache / "inductor")
    done = called(project, tmp_path, "--workers", "0")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.skipif(NO_COMPILER, reason="needs a C++ compiler")
def test_compiled_models_lie_in_the_cache_folder_and_nowhere_else(
    project: Project, tmp_path: Path, cache: Path
) -> None:
    done = called(project, tmp_path, "--workers", "0", "--compile", "on")
    assert done.returncode == 0, done.stderr
    assert len([path for path in (cache / "inductor").rglob("*.so") if path.is_file()]) > 0
    assert mode(cache / "inductor") == "0700"
    assert not list((tmp_path / "empty").glob("torchinductor*"))


class Heard(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def test_where_compiling_would_pay_but_is_not_safe_the_run_says_so_and_does_without(
    project: Project, tmp_path: Path, cache: Path, cpu: Machine
) -> None:
    of_mode(0o777)(cache / "inductor")
    about = describe(TINY, cpu, size=32, batch_size=16)
    store(f"compile | {about}", {"eager_s": 1.0, "compiled_s": 0.5, "compile_s": 0.01})
    heard = Heard()
    asked = {"models": project.layout.models, "machine": cpu, "progress": heard}
    score(str(project.data / "test"), tmp_path / "sub.csv", Options(workers=0), **asked)
    assert any(
        said.startswith("not compiled, although it would be faster: ") and "inductor: holds code" in said
        for said in heard.said
    )
    with pytest.raises(UserError, match="inductor: holds code that will be run, and is open to others"):
        score(str(project.data / "test"), tmp_path / "on.csv", Options(workers=0, compile="on"), **asked)
    assert not list(tmp_path.glob("on.csv*"))


def test_a_training_is_not_compiled_where_others_could_write(
    project: Project, tmp_path: Path, cache: Path
) -> None:
    of_mode(0o777)(cache / "inductor")
    mine = project.copy_to(tmp_path)
    with pytest.raises(UserError, match="inductor: holds code that will be run, and is open to others"):
        train_fold(
            0,
            labels_csv=mine.labels,
            layout=mine.layout,
            params=mine.params,
            machine=Machine(torch.device("cpu"), torch.float32, compile=True),
            progress=Silent(),
        )


def test_a_bench_that_compiles_leaves_the_folders_as_they_were_named(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/mine")
    with _empty_compiler_cache():
        folder = secure_code_cache()
        assert os.environ["TRITON_CACHE_DIR"] == str(folder / "triton")
    assert not folder.exists()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "/mine"
    assert "TRITON_CACHE_DIR" not in os.environ
