"""The user's cache folder, and in it the code that torch compiles and loads: nobody else may write there.

In    $CXRSCORE_CACHE, by default $XDG_CACHE_HOME or ~/.cache; $TORCHINDUCTOR_CACHE_DIR, $TRITON_CACHE_DIR if
      set.
Out   a folder that is the user's own, mode 0700, where nobody else can rename it or its parents; UserError.

Left alone, torch loads libraries from /tmp/torchinductor_<user>, which anyone can make first.
"""

import os
import stat
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from cxrscore.core.errors import UserError

INDUCTOR, TRITON, CACHE = "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "CXRSCORE_CACHE"
BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def cache_folder() -> Path:
    """$CXRSCORE_CACHE, by default cxrscore in $XDG_CACHE_HOME or ~/.cache; it may not exist."""
    if named := os.environ.get(CACHE):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cxrscore"


def name_code_cache() -> None:
    """Before torch is imported, which otherwise makes a folder in the system's temporary one. Where
    ours cannot be used nothing is said yet: most calls compile nothing, and `secure_code_cache` says it to
    those that do.
    """
    if INDUCTOR not in os.environ:
        with suppress(UserError):
            os.environ[INDUCTOR] = str(private_folder(cache_folder() / "inductor", CACHE))


def secure_code_cache() -> Path:
    """From now on torch and triton keep compiled code in this folder, which is the user's alone. Raises
    UserError, also where torch does not take it.
    """
    torchs = import_module("torch._inductor.runtime.runtime_utils")  # moved within torch since 2.6
    config: Any = import_module("torch._inductor.config")
    default = Path(torchs.default_cache_dir())
    named = _chosen(INDUCTOR, default)
    folder = private_folder(*((named, INDUCTOR) if named else (cache_folder() / "inductor", CACHE)))
    kernels = _chosen(TRITON, default)
    if kernels is None or kernels.resolve().is_relative_to(folder):
        kernels = folder / "triton"
    else:
        kernels = private_folder(kernels, TRITON)
    for one in (folder, kernels):
        _refuse_planted(one)
    os.environ[INDUCTOR], os.environ[TRITON] = str(folder), str(kernels)
    if hasattr(config, "cpp_cache_precompile_headers"):  # they stay in the default folder whatever is named
        config.cpp_cache_precompile_headers = False
    if (used := Path(torchs.cache_dir())) != folder:
        raise UserError(f"{used}: torch keeps compiled code here, not in {folder}; use --compile off.")
    return folder


def _chosen(name: str, default: Path) -> Path | None:
    """What a person has set; torch sets its own choice, too."""
    path = os.environ.get(name)
    return Path(path) if path and not Path(path).is_relative_to(default) else None


def private_folder(folder: Path, variable: str) -> Path:
    """Made where it is missing -> its real path, without links. Raises UserError where another user could
    write in it or replace it; `variable` names another.
    """
    folder = folder.absolute()
    remedy = f"name a folder of your own in ${variable}; --compile off does without"
    try:
        _make(folder)
        if fault := _open_to_others(folder.lstat()):
            raise UserError(
                f"{folder}: holds code that will be run, and {fault}; remove it if nothing else is in it, or "
                f"{remedy}."
            )
        real = folder.resolve()
        for parent in real.parents:
            if fault := _replaceable_in(parent.lstat()):
                raise UserError(f"{parent}: {fault}, who could replace {real}; correct that, or {remedy}.")
    except OSError as error:
        raise UserError(f"{folder}: cannot hold compiled code ({error.strerror}); {remedy}.") from error
    return real


def _make(folder: Path) -> None:
    missing = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)  # mkdir(parents=True) gives the mode to the last one alone


def _open_to_others(about: os.stat_result) -> str:
    """Why code in this folder cannot be trusted, if so."""
    if stat.S_ISLNK(about.st_mode):
        return "is a link"
    if not stat.S_ISDIR(about.st_mode):
        return "is not a folder"
    if about.st_uid != os.geteuid():
        return f"belongs to user {about.st_uid}, not to you, user {os.geteuid()}"
    mode = stat.S_IMODE(about.st_mode)
    return f"is open to others (mode {mode:04o}, not 0700)" if mode & 0o077 else ""


def _replaceable_in(about: os.stat_result) -> str:
    """Who else could rename what is in a folder, if anyone; in a sticky one, such as /tmp, nobody can."""
    trusted = (0, os.geteuid(), Path("/").stat().st_uid)  # who owns / in a container could replace Python
    if about.st_uid not in trusted:
        return f"belongs to user {about.st_uid}"
    if about.st_mode & BY_OTHERS and not about.st_mode & stat.S_ISVTX:
        return f"can be written by others (mode {stat.S_IMODE(about.st_mode):04o})"
    return ""


def _refuse_planted(folder: Path) -> None:
    """Raises UserError for a file that another user has left: the folder was not always private."""
    for at, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(at, name)
            with suppress(FileNotFoundError):  # another run compiles at the same time
                if (owner := path.lstat().st_uid) not in (0, os.geteuid()):
                    raise UserError(f"{path}: code that user {owner} has left here; remove {folder}.")
