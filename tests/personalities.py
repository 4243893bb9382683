"""Runs a command as if on another processor, by name.

    python tests/personalities.py no-avx pytest tests/test_portable.py
    python tests/personalities.py                 # the names

What is not named here is left as it was found; OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE are never touched.
"""

import os
import subprocess
import sys


def numpy_dispatches() -> str:
    """What numpy may use here beyond its baseline, in its own words: they differ between its versions."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    return " ".join(name for name in __cpu_dispatch__ if __cpu_features__.get(name))


def surroundings(name: str) -> dict[str, str]:
    """The environment of a personality, less what it leaves alone. Raises KeyError."""
    if name == "no-avx":
        return {"NPY_DISABLE_CPU_FEATURES": numpy_dispatches(), "JSIMD_FORCENONE": "1"}
    return {"as-found": {}, "plain-torch": {"ATEN_CPU_CAPABILITY": "default", "OMP_NUM_THREADS": "1"}}[name]


def main(words: list[str]) -> int:
    if len(words) < 2:
        sys.stderr.write(f"{__doc__}\n    as-found, plain-torch, no-avx\n")
        return 2
    return subprocess.run(
        [sys.executable, "-m", *words[1:]], env=os.environ | surroundings(words[0])
    ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
