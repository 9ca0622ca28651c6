"""Opens HDF5 files in a process in which several threads do.

HDF5 keeps one state for a file in a process, whoever has opened it: a thread that lists a folder
and has a file open to read keeps another from writing it, and a SWMR reader from reading it. Each
reads only for a moment, so that waiting helps. Other processes are not concerned.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import h5py

_OTHERWISE = ("flag not the same for file that is already open", "already open for read-only")
_PATIENCE_S = 10.0
_PAUSE_S = 0.005


def open_hdf5(path: str | Path, mode: str, **options: Any) -> h5py.File:
    """Open a file as h5py does, once no other thread of this process has it open otherwise.

    Raises what h5py raises; after 10 s also where another thread keeps it open.
    """
    end = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return h5py.File(path, mode, **options)
        except OSError as error:
            text = str(error)
            if not any(words in text for words in _OTHERWISE) or time.monotonic() > end:
                raise
        time.sleep(_PAUSE_S)
