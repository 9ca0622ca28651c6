"""The run's log inside its file: lines of a fixed length, long ones folded."""

from __future__ import annotations

import h5py
import numpy as np

from procedures.running import layout

_LOG_CHUNK = 230


def append_log(file: h5py.File, lines: list[tuple[float, str, str]]) -> None:
    """Append (seconds since 1970, level, text) to the log of an open file."""
    folded = [(moment, level, part) for moment, level, text in lines for part in fold(text)]
    log = file[f"{layout.ACQUISITION}/log"]
    first = log["time"].shape[0]
    if not folded:
        return
    for name, values in zip(("time", "level", "text"), zip(*folded, strict=True), strict=False):
        encoded = [v.encode(errors="replace") if isinstance(v, str) else v for v in values]
        log[name].resize(first + len(folded), axis=0)
        log[name][first:] = np.array(encoded, dtype=log[name].dtype)


def fold(text: str) -> list[str]:
    """Cut a text into pieces that fit the log's fixed length in UTF-8."""
    pieces, piece = [], ""
    for letter in text.replace("\n", " | "):
        if len((piece + letter).encode(errors="replace")) > _LOG_CHUNK:
            pieces.append(piece)
            piece = ""
        piece += letter
    return [*pieces, piece]
