"""Loads one camera module of pylablib and nothing else.

Under a package name of our own and without the packages' `__init__` (they pull in Qt, numba and
every other driver: 2 s and 180 MB), nor pandas. For the camera drivers, when they connect.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import os
import sys
import threading
import types
import warnings
from typing import Any

from instruments.errors import NotReady
from instruments.postponed import postponed

PACKAGE = "gainbench_pylablib"
_import_lock = threading.Lock()


def load(name: str, *, private: bool) -> Any:
    """Return pylablib's module `name` ("devices.Andor.AndorSDK2"), or a copy of it of one's own."""
    spec = importlib.util.find_spec("pylablib")
    if spec is None or not spec.submodule_search_locations:
        raise NotReady("pylablib is not installed; install it with: pip install pylablib")
    root = next(iter(spec.submodule_search_locations))
    parent = name.rpartition(".")[0]
    with _import_lock, warnings.catch_warnings(), postponed("pandas"):
        warnings.simplefilter("ignore")  # escape sequences in its docstrings
        for package in (PACKAGE, f"{PACKAGE}.{parent}"):
            if package not in sys.modules:
                bare = types.ModuleType(package)
                below = package.split(".")[1:]
                bare.__path__ = [os.path.join(root, *below)]
                sys.modules[package] = bare
        module = importlib.import_module(f"{PACKAGE}.{name}")
        if not private:
            return module
        found = importlib.util.find_spec(f"{PACKAGE}.{name}")
        assert found is not None and found.loader is not None
        copy = importlib.util.module_from_spec(found)
        found.loader.exec_module(copy)
        return copy


def seven_digits(value: float) -> float:
    """Return a number that passed through single precision without its false digits."""
    number = float(value)
    return float(f"{number:.7g}") if math.isfinite(number) else number
