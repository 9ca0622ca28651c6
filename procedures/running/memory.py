"""Memory that is free but still this process's: given back between runs.

The allocator of Linux keeps what large arrays have left behind in pieces; a process that measures
run after run for days would grow by it. For whoever carries out more than one run.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from functools import lru_cache
from typing import Any


def give_back() -> None:
    """Have what is no longer used freed, and handed back to the system where that is possible.

    Takes some hundredths of a second. Garbage is collected only in the main thread: widgets must
    not be taken apart in another.
    """
    if threading.current_thread() is threading.main_thread():
        gc.collect()
    trim = _trim()
    if trim is not None:
        trim(0)


@lru_cache(maxsize=1)
def _trim() -> Any:
    """Return malloc_trim of the C library, None where there is none."""
    if sys.platform != "linux":
        return None
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):  # another C library
        return None
