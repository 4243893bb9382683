"""Runs a Python module as if on another machine; several names are joined by a plus sign.

    python tests/programs/personalities.py no-avx pytest tests/stories/test_portable.py
    python tests/programs/personalities.py plain-torch+one-thread cxrscore score images/ -o sub.csv

as-found      this machine, unchanged
plain-torch   torch's own kernels without vector instructions (convolutions are oneDNN's and keep theirs)
avx2          torch's and oneDNN's kernels for AVX2
one-thread    one thread for torch, BLAS and polars
no-avx        numpy, libjpeg-turbo and the C library without AVX
elsewhere     another locale, time zone and hash seed

What is not named here is left as it was found; OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE are never touched.
"""

import os
import subprocess
import sys
from collections import ChainMap
from collections.abc import Callable


def without_avx() -> dict[str, str]:
    """What numpy may use here beyond its baseline, in its own words: they differ between its versions. What
    was switched off before stays so.
    """
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    before = os.environ.get("NPY_DISABLE_CPU_FEATURES", "").replace(",", " ").split()
    off = [name for name in __cpu_dispatch__ if name in before or __cpu_features__.get(name)]
    return {
        "NPY_DISABLE_CPU_FEATURES": " ".join(off),
        "JSIMD_FORCENONE": "1",
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F",
    }


PERSONALITIES: dict[str, Callable[[], dict[str, str]]] = {
    "as-found": dict,
    "plain-torch": lambda: {"ATEN_CPU_CAPABILITY": "default"},
    "avx2": lambda: {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "one-thread": lambda: {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"},
    "no-avx": without_avx,  # of numpy, libjpeg-turbo and the C library
    "elsewhere": lambda: {
        "PYTHONHASHSEED": "1",
        "TZ": "Asia/Kathmandu",
        "LC_ALL": "C",
        "PYTHONWARNDEFAULTENCODING": "1",  # see pyproject.toml: an error, where it is the program's
    },
}


def main(words: list[str]) -> int:
    names = words[0].split("+") if words else []
    unknown = [name for name in names if name not in PERSONALITIES]
    if len(words) < 2 or unknown:
        said = (
            f"no personality {unknown[0]!r}; they are {', '.join(PERSONALITIES)}.\n" if unknown else __doc__
        )
        sys.stderr.write(said)
        return 2
    changes = [PERSONALITIES[name]() for name in names]
    environment = dict(ChainMap(*changes, dict(os.environ)))
    if "no-avx" in names:
        environment.pop("NPY_ENABLE_CPU_FEATURES", None)  # numpy refuses both
    return subprocess.run([sys.executable, "-m", *words[1:]], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
