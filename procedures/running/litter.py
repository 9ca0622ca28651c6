"""What killed processes leave beside run files, half-made copies and locks: swept by the next one.

Only names that this program gives, and only where the process that they name is gone, or (where
they name none) they are an hour old.
"""

from __future__ import annotations

import contextlib
import re
import time
from pathlib import Path

import psutil

_OF_PROCESS = re.compile(r".+\.(?P<pid>\d+)\.tmp|.+\.lock\.(?P<owner>\d+)-\d+")
_OF_NOBODY = re.compile(r"\.queued-.+\.tmp|.+\.h5\.(mended|rebuilt)\.tmp")
_OLD_S = 3600.0


def sweep(folder: Path) -> list[Path]:
    """Delete what killed processes left in a folder; return what it was."""
    swept = []
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if _is_litter(path):
                with contextlib.suppress(OSError):
                    path.unlink()
                    swept.append(path)
    return swept


def _is_litter(path: Path) -> bool:
    found = _OF_PROCESS.fullmatch(path.name)
    if found:
        return not psutil.pid_exists(int(found["pid"] or found["owner"]))
    if _OF_NOBODY.fullmatch(path.name):
        with contextlib.suppress(OSError):
            return time.time() - path.stat().st_mtime > _OLD_S
    return False
