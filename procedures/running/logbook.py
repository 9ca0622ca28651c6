"""The run's log inside its file: lines of a fixed length, long ones folded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from procedures.running import layout

_LOG_CHUNK = 230
Line = tuple[float, str, str]


def append_log(file: h5py.File, lines: Sequence[Line]) -> None:
    """Append (seconds since 1970, level, text) to the log of an open file."""
    log = file[f"{layout.ACQUISITION}/log"]
    first = log["time"].shape[0]
    for name, values in fold_lines(lines).items():
        if len(values):
            log[name].resize(first + len(values), axis=0)
            log[name][first:] = values


def fold_lines(lines: Sequence[Line]) -> dict[str, npt.NDArray[Any]]:
    """Return lines as the log's columns, long ones as several."""
    folded = [(moment, level, part) for moment, level, text in lines for part in fold(text)]
    return {
        "time": np.array([moment for moment, _, _ in folded], dtype="f8"),
        "level": _encoded([level for _, level, _ in folded], layout.LEVEL_DTYPE),
        "text": _encoded([text for _, _, text in folded], layout.LOG_DTYPE),
    }


def _encoded(texts: list[str], dtype: str) -> npt.NDArray[Any]:
    return np.array([text.encode(errors="replace") for text in texts], dtype=dtype)


def fold(text: str) -> list[str]:
    """Cut a text into pieces that fit the log's fixed length in UTF-8."""
    text = text.replace("\n", " | ")
    if len(text.encode(errors="replace")) <= _LOG_CHUNK:
        return [text]
    pieces, piece = [], ""
    for letter in text:
        if len((piece + letter).encode(errors="replace")) > _LOG_CHUNK:
            pieces.append(piece)
            piece = ""
        piece += letter
    return [*pieces, piece]
