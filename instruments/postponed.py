"""Puts off the import of a package that others import and that we hardly ever need.

For pandas: pymeasure and pylablib import it when they are loaded, for functions that are not used
here, and it takes as long as everything else of a run's start together.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import types
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def postponed(package: str) -> Iterator[None]:
    """What is imported in the block gets a stand-in for `package`, real from its first use on.

    Outside the block nobody sees the stand-in. A package that is loaded or missing stays as it is.
    """
    if package in sys.modules or importlib.util.find_spec(package) is None:
        yield
        return
    stand_in = _StandIn(package)
    sys.modules[package] = stand_in
    try:
        yield
    finally:
        if sys.modules.get(package) is stand_in:
            del sys.modules[package]


class _StandIn(types.ModuleType):
    """Looks every attribute up in the real module, which is imported for the first."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in ("__path__", "__version__"):
            raise AttributeError(name)  # asked by tools that look at all modules
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)
