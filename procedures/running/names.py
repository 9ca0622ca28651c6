"""Names of run files: safe on every system, and created exclusively."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

from instruments.ownership import rename_exclusively

_RESERVED = {"con", "prn", "aux", "nul", *(f"{d}{n}" for d in ("com", "lpt") for n in range(10))}
_LONGEST = 60


def safe(text: str) -> str:
    """Return `text` as part of a file name: letters, digits, dot, dash, underscore."""
    clean = re.sub(r"[^\w.\-]+", "-", text, flags=re.ASCII).strip("-._")[:_LONGEST].rstrip("-._")
    if not clean:
        return "sample"
    return f"{clean}_" if clean.split(".")[0].lower() in _RESERVED else clean


def place_exclusively(
    temporary: Path, folder: Path, measurement: str, sample: str, moment: float
) -> Path:
    """Give a finished file the name `YYYYMMDD-HHMMSS_<measurement>_<sample>.h5`, exclusively.

    An existing name is never touched: a number is put behind it. The file appears whole or not at
    all, whenever the process is killed.
    """
    stamp = datetime.fromtimestamp(moment).strftime("%Y%m%d-%H%M%S")
    stem = f"{stamp}_{safe(measurement)}_{safe(sample)}"
    for number in range(1, 10_000):
        path = folder / (f"{stem}.h5" if number == 1 else f"{stem}-{number}.h5")
        try:
            rename_exclusively(temporary, path)
        except FileExistsError:
            continue
        return path
    raise FileExistsError(f"{folder}: ten thousand files of the name {stem} exist")
