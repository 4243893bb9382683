"""A git revision or DVC experiment of a project -> some of its files as they were, in a folder; the workspace
is not touched.

In    a project's folder; a revision as git names it, or an experiment as `dvc exp show` does.
Out   its commit; copies of files: those that git holds, and those that DVC's cache holds under the hash that
      the revision's dvc.lock, or a .dvc file, states. Nothing is fetched from a remote.
Source: dvc.org/doc/user-guide/project-structure, dvc.lock, .dvc files and the layout of the cache.
"""

import hashlib
import json
import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from cxrscore.core.errors import UserError
from cxrscore.project.dvc_commands import in_git


def commit_of(project: Path, name: str) -> str:
    """A revision's commit; git's own names win over experiments of the same name. Raises UserError."""
    if not (project / "dvc.yaml").is_file():
        raise UserError(
            f"{name}: no score table or project's folder, and {project.resolve()} is no project whose "
            "revision it could be; run in a project's folder, or use --project."
        )
    if not in_git(project):
        raise UserError(
            f"{project.resolve()}: no git repository, so {name!r} can be no revision; name a score table, a "
            "project's folder, or workspace for the files as they are."
        )
    known = _git(project, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    if known is not None:
        return known.decode().strip()
    listed = (_git(project, "for-each-ref", "--format=%(objectname) %(refname)", "refs/exps") or b"").decode()
    refs = [line.partition(" ") for line in listed.splitlines()]
    found = {commit for commit, _, ref in refs if ref.count("/") == 4 and ref.endswith(f"/{name}")}
    if not found:
        raise UserError(
            f"{name}: no revision or experiment of {project.resolve()}, no score table and no project's "
            "folder; give a name that `git log` or `dvc exp show -A` shows, or a path."
        )
    if len(found) > 1:
        commits = ", ".join(sorted(one[:9] for one in found))
        raise UserError(
            f"{name}: `dvc exp show -A` has several of this name ({commits}); give the commit of the one to "
            "compare."
        )
    return found.pop()


def copy_files(project: Path, commit: str, paths: Iterable[str], folder: Path, *, called: str) -> set[str]:
    """Those of `paths`, relative to the project, that the commit has -> `folder`, under the same paths.
    `called`: what errors name the revision. Raises UserError where the cache lacks one.
    """
    outputs: dict[str, str] | None = None
    cache: Path | None = None
    found = set()
    for path in paths:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        held = _git(project, "cat-file", "blob", f"{commit}:./{path}")
        if held is not None:
            target.write_bytes(held)
            found.add(path)
            continue
        outputs = _outputs(project, commit, called) if outputs is None else outputs
        cache = cache or _cache_of(project)
        hashed = _hash_of(path, outputs, cache, called)
        if hashed is not None:
            target.write_bytes(_cached(cache, hashed, path, called))
            found.add(path)
    return found


def _cache_of(project: Path) -> Path:
    """As all of DVC's levels of configuration have it. Raises UserError where there is no DVC."""
    from dvc.config import Config, ConfigError  # a second less than `dvc cache dir`

    here = project.resolve()
    root = next((one for one in (here, *here.parents) if (one / ".dvc").is_dir()), None)
    if root is None:
        raise UserError(f"{project}: no DVC project; run `dvc init` there, or use --project.")
    path = root / ".dvc" / "config"
    try:
        return Path(Config(str(path.parent))["cache"].get("dir", path.parent / "cache"))
    except ConfigError as error:
        raise UserError(
            f"{path}: DVC does not read it ({error}); correct it until `dvc config -l` works."
        ) from error


def _outputs(project: Path, commit: str, called: str) -> dict[str, str]:
    """What DVC tracked at the commit: path -> md5, of a folder with the ending `.dir`."""
    listed = _git(project, "ls-tree", "-r", "-z", "--name-only", commit, "--", ".") or b""
    found: dict[str, str] = {}
    for path in os.fsdecode(listed).split("\0"):
        if PurePosixPath(path).suffix != ".dvc" and path != "dvc.lock":
            continue
        text = (_git(project, "cat-file", "blob", f"{commit}:./{path}") or b"").decode()
        try:
            values: Any = YAML(typ="safe").load(text)
            stages = values["stages"].values() if path == "dvc.lock" else [values]
            within = PurePosixPath(path).parent
            for stage in stages:
                for out in stage.get("outs", ()):
                    found[str(within / stage.get("wdir", ".") / out["path"])] = out.get("md5", "")
        except (YAMLError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{called}:{path}: not as DVC writes it ({type(error).__name__}); name another revision."
            ) from error
    return found


def _hash_of(path: str, outputs: Mapping[str, str], cache: Path, called: str) -> str | None:
    """Of the file, or of its entry in the folder that is tracked as a whole; None where there is none."""
    for part in (PurePosixPath(path), *PurePosixPath(path).parents):
        md5 = outputs.get(str(part))
        if not md5 or (str(part) != path and not md5.endswith(".dir")):
            continue
        if str(part) == path:
            return md5
        entries = json.loads(_cached(cache, md5, str(part), called))
        within = str(PurePosixPath(path).relative_to(part))
        return next((entry["md5"] for entry in entries if entry["relpath"] == within), None)
    return None


def _cached(cache: Path, md5: str, path: str, called: str) -> bytes:
    """The content, which is what its name says: a file that is linked from the cache may have been edited."""
    where = cache / "files" / "md5" / md5[:2] / md5[2:]
    if not where.is_file():
        raise UserError(
            f"{called}:{path}: not in the cache of DVC ({where}); `dvc pull` brings it from a remote, or "
            "check the revision out and run `dvc repro`."
        )
    data = where.read_bytes()
    if hashlib.md5(data, usedforsecurity=False).hexdigest() != md5.removesuffix(".dir"):
        raise UserError(
            f"{called}:{path}: changed in the cache of DVC ({where} has another MD5 than its name); remove "
            "that file, and bring it again with `dvc pull`, or check the revision out and run `dvc repro`."
        )
    return data


def _git(project: Path, *words: str) -> bytes | None:
    """What git prints; None where it refuses."""
    done = subprocess.run(["git", *words], cwd=project, capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None
