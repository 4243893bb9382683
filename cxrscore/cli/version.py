"""What `cxrscore --version` prints: enough to reproduce a result or to report a fault.

In    the packages installed here, and the device that a command would use.
Out   a line for each. torch takes seconds to import, so it is asked only on a machine with an NVIDIA driver.
"""

import ctypes
import platform
from importlib.metadata import version

from cxrscore import __version__
from cxrscore.core.resources import usable_cores

DRIVER = "libcuda.so.1"


def version_lines() -> list[str]:
    return [
        f"cxrscore {__version__}",
        f"Python {platform.python_version()}",
        f"torch {version('torch')}",
        f"timm {version('timm')}",
        f"device: {_device()}",
    ]


def _device() -> str:
    """The one that `--device auto` takes."""
    if has_driver():
        import torch

        if torch.cuda.is_available():
            others = torch.cuda.device_count() - 1
            return torch.cuda.get_device_name(0) + (f" and {others} more" if others else "")
    cores = usable_cores()
    return f"cpu ({cores} core{'s' if cores > 1 else ''})"


def has_driver() -> bool:
    try:
        ctypes.CDLL(DRIVER)
    except OSError:
        return False
    return True
