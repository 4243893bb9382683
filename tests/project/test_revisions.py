"""Files of a revision or an experiment come from git and DVC's cache, and the workspace stays as it is."""

import shutil
from pathlib import Path

import pytest
from conftest import contents
from scored_projects import commit, empty_workspace, git, make_run, start
from test_pipeline import dvc, run

from cxrscore.core.errors import UserError
from cxrscore.project.revisions import commit_of, copy_files

OOF = "out/oof/fold0.csv"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two commits of other scores."""
    root = tmp_path_factory.mktemp("revisions") / "chest"
    make_run(root, seed=1, test=True)
    start(root)
    commit(root, "first")
    make_run(root, seed=2, test=True)
    commit(root, "second")
    return root


@pytest.fixture
def chest(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "chest"))


def test_each_revision_gives_its_own_files_and_the_workspace_is_left_alone(
    chest: Path, tmp_path: Path
) -> None:
    now = (chest / OOF).read_bytes()
    paths = ["params.yaml", OOF, "data/labels.csv", "out/test/scores.csv"]
    empty_workspace(chest)
    before = contents(chest)
    for name in ("HEAD", "HEAD~1"):
        found = copy_files(
            chest, commit_of(chest, name), [*paths, "no/such.csv"], tmp_path / name, called=name
        )
        assert found == set(paths) == set(contents(tmp_path / name))
    assert (tmp_path / "HEAD" / OOF).read_bytes() == now != (tmp_path / "HEAD~1" / OOF).read_bytes()
    assert (tmp_path / "HEAD" / "data/labels.csv").read_bytes().startswith(b"Image_name,Patient_ID,")
    after = contents(chest)
    assert {name: data for name, data in after.items() if not name.startswith(".dvc/tmp")} == before


def test_a_project_within_a_repository_gives_its_own_files(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    inner = tmp_path / "studies" / "chest"
    make_run(inner)
    start(inner)
    shutil.rmtree(inner / ".git")
    commit(inner, "inside")
    found = copy_files(
        inner, commit_of(inner, "HEAD"), [OOF, "params.yaml"], tmp_path / "copy", called="HEAD"
    )
    assert found == {OOF, "params.yaml"}
    assert (tmp_path / "copy" / OOF).read_bytes() == (inner / OOF).read_bytes()


def test_experiments_are_found_by_name_and_two_of_one_name_are_refused(chest: Path) -> None:
    first, second = git(chest, "rev-parse", "HEAD~1"), git(chest, "rev-parse", "HEAD")
    git(chest, "update-ref", f"refs/exps/{second[:2]}/{second[2:]}/noisy-mole", first)
    assert commit_of(chest, "noisy-mole") == first
    git(chest, "update-ref", f"refs/exps/{first[:2]}/{first[2:]}/noisy-mole", second)
    with pytest.raises(
        UserError, match=r"noisy-mole: `dvc exp show -A` has several .* \(.*; give the commit"
    ):
        commit_of(chest, "noisy-mole")
    git(chest, "tag", "noisy-mole", first)
    assert commit_of(chest, "noisy-mole") == first
    with pytest.raises(UserError, match=r"EXEC: no revision or experiment of"):
        git(chest, "update-ref", "refs/exps/exec/EXEC", first)
        commit_of(chest, "EXEC")


def test_what_the_cache_lacks_is_named_with_what_brings_it(chest: Path, tmp_path: Path) -> None:
    shutil.rmtree(chest / ".dvc" / "cache")
    head = commit_of(chest, "HEAD")
    with pytest.raises(UserError, match=rf"HEAD:{OOF}: not in the cache of DVC .*; `dvc pull` .* `dvc rep"):
        copy_files(chest, head, [OOF], tmp_path / "copy", called="HEAD")
    with pytest.raises(UserError, match=r"HEAD:data: not in the cache of DVC"):
        copy_files(chest, head, ["data/labels.csv"], tmp_path / "copy", called="HEAD")


def test_no_name_of_anything_is_refused(chest: Path, tmp_path: Path) -> None:
    for name in ("no-such", "--all", "HEAD~99", ""):
        with pytest.raises(UserError, match=r"no revision or experiment of .*; give a name that `git log`"):
            commit_of(chest, name)
    with pytest.raises(UserError, match=r"HEAD: no score table or project's folder, and .* is no project"):
        commit_of(tmp_path, "HEAD")
    shutil.rmtree(chest / ".git")
    with pytest.raises(UserError, match=r"no git repository, so 'HEAD' can be no revision; name a score"):
        commit_of(chest, "HEAD")


def test_a_lock_file_that_is_none_is_refused(chest: Path, tmp_path: Path) -> None:
    (chest / "dvc.lock").write_text("stages: [1]\n")
    git(chest, "commit", "--quiet", "--all", "--message", "broken")
    with pytest.raises(UserError, match=r"HEAD:dvc\.lock: not as DVC writes it .*; name another revision"):
        copy_files(chest, commit_of(chest, "HEAD"), [OOF], tmp_path / "copy", called="HEAD")


@pytest.mark.slow  # DVC starts a Python for each command
def test_what_dvc_itself_commits_and_saves_is_found(tmp_path: Path) -> None:
    """Outputs by file and by folder, a cache elsewhere, an experiment by its name."""
    root = make_run(tmp_path / "chest", seed=1, test=True)
    git(root, "init", "--quiet")
    dvc(root, "init", "--quiet")
    dvc(root, "config", "cache.dir", str(tmp_path / "cache"))
    stage = [
        "stage",
        "add",
        "--quiet",
        "--name",
        "train",
        "--outs",
        "out/oof/fold0.csv",
        "--outs",
        "out/test",
    ]
    dvc(root, *stage, "true")
    dvc(root, "add", "--quiet", "data")
    dvc(root, "commit", "--quiet", "--force")
    run(root, "git", "add", ".")
    run(root, "git", "commit", "--quiet", "--message", "first")
    first = {name: (root / name).read_bytes() for name in (OOF, "data/labels.csv", "out/test/scores.csv")}
    make_run(root, seed=2, test=True)
    dvc(root, "commit", "--quiet", "--force")
    dvc(root, "exp", "save", "--quiet", "--name", "second", "--force")
    second = {name: (root / name).read_bytes() for name in first}
    for name, files in (("HEAD", first), ("second", second)):
        folder = tmp_path / name
        assert copy_files(root, commit_of(root, name), files, folder, called=name) == set(files)
        assert contents(folder) == files
    assert first[OOF] != second[OOF]


@pytest.mark.parametrize("path", [OOF, "data/labels.csv"])
def test_a_file_that_was_edited_through_its_link_into_the_cache_is_refused(
    chest: Path, tmp_path: Path, path: str
) -> None:
    """DVC's cache is often linked: who writes into the workspace's file writes into the cache's."""
    held = next(
        one
        for one in (chest / ".dvc/cache").rglob("*")
        if one.is_file() and one.read_bytes() == (chest / path).read_bytes()
    )
    held.write_bytes(held.read_bytes().replace(b"0.5", b"0.4").replace(b",1", b",0"))
    message = rf"HEAD:{path}: changed in the cache of DVC \(.*another MD5 than its name\); remove that file"
    with pytest.raises(UserError, match=message):
        copy_files(chest, commit_of(chest, "HEAD"), [path], tmp_path / "copy", called="HEAD")


@pytest.mark.parametrize("text", ["{", "[{}]", "[]"])
def test_a_damaged_list_of_a_folder_is_refused(chest: Path, tmp_path: Path, text: str) -> None:
    for one in (chest / ".dvc/cache").rglob("*.dir"):
        one.write_text(text)
    with pytest.raises(UserError, match=r"HEAD:data: changed in the cache of DVC"):
        copy_files(chest, commit_of(chest, "HEAD"), ["data/labels.csv"], tmp_path / "copy", called="HEAD")


@pytest.mark.parametrize("text", ["[cache", "[foo]\nbar = 1\n"])
def test_a_broken_configuration_of_dvc_is_named(chest: Path, tmp_path: Path, text: str) -> None:
    (chest / ".dvc" / "config").write_text(text)
    message = r"\.dvc/config: DVC does not read it \(.*\); correct it until `dvc config -l` works"
    with pytest.raises(UserError, match=message):
        copy_files(chest, commit_of(chest, "HEAD"), [OOF], tmp_path / "copy", called="HEAD")
