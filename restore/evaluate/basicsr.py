"""BasicSR's modules: the field's reference for NIQE, the Frechet distance and random degradations.

Its release 1.4.2 imports `torchvision.transforms.functional_tensor`, which torchvision has merged into
`torchvision.transforms.functional`. This is the one place where that is mended.
"""

from __future__ import annotations

import importlib
import sys
import threading
import warnings
from typing import Any

from restore.errors import RuntimeUnavailableError

_MOVED = "torchvision.transforms.functional_tensor"
_lock = threading.Lock()


def basicsr_module(name: str) -> Any:
    """A module of BasicSR.

    Args:
        name: below the package, such as "metrics".

    Raises:
        RuntimeUnavailableError: BasicSR is not installed, or cannot be imported here.
    """
    full = f"basicsr.{name}"
    with _lock:
        if full in sys.modules:
            return sys.modules[full]
        try:
            return _import_mended(full)
        except ImportError as error:
            raise RuntimeUnavailableError(
                f"BasicSR cannot be imported ({error}); install pellucid[eval] (Python 3.12 at most)"
            ) from error


def _import_mended(full: str) -> Any:
    """Import with the moved module in its old place. What importing changes elsewhere is put back: BasicSR silences
    numpy's warnings for the whole process."""
    import numpy as np

    added = _MOVED not in sys.modules
    with np.errstate(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if added:
            sys.modules[_MOVED] = importlib.import_module("torchvision.transforms.functional")
        try:
            return importlib.import_module(full)
        finally:
            if added:
                sys.modules.pop(_MOVED, None)
