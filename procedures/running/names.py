"""Names of run files: safe on every system, and created exclusively."""

from __future__ import annotations

import os
import re
from datetime import datetime
from pathlib import Path

_RESERVED = {"con", "prn", "aux", "nul", *(f"{d}{n}" for d in ("com", "lpt") for n in range(10))}
_LONGEST = 60


def safe(text: str) -> str:
    """Return `text` as part of a file name: letters, digits, dot, dash, underscore."""
    clean = re.sub(r"[^\w.\-]+", "-", text, flags=re.ASCII).strip("-._")[:_LONGEST].rstrip("-._")
    if not clean:
        return "sample"
    return f"{clean}_" if clean.split(".")[0].lower() in _RESERVED else clean


def create_exclusively(folder: Path, measurement: str, sample: str, moment: float) -> Path:
    """Create an empty file `YYYYMMDD-HHMMSS_<measurement>_<sample>.h5` that did not exist.

    An existing name is never touched: a number is put behind it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stamp = datetime.fromtimestamp(moment).strftime("%Y%m%d-%H%M%S")
    stem = f"{stamp}_{safe(measurement)}_{safe(sample)}"
    for number in range(1, 10_000):
        path = folder / (f"{stem}.h5" if number == 1 else f"{stem}-{number}.h5")
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        except FileExistsError:
            continue
        return path
    raise FileExistsError(f"{folder}: ten thousand files of the name {stem} exist")
