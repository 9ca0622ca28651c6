"""What the texts of RemoteEx mean: time ranges, exposures, parameter descriptions, image blocks.

For `instruments.drivers.hamamatsu_remoteex`. Pure functions from the server's words and bytes to
numbers with units, strict: what is not written as the server writes it is refused. Stops at the
meaning; talking is the driver's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from instruments.errors import BadReply

FloatArray = npt.NDArray[np.float64]
TIME_UNITS_PS = {"ps": 1.0, "ns": 1e3, "us": 1e6, "ms": 1e9, "s": 1e12}
_EXPOSURE_UNITS_S = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_NUMBER = re.compile(r"\s*[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?\s*")
_WITH_UNIT = re.compile(r"\s*(\d+(?:\.\d*)?)\s*([a-z]{1,2})\s*")
_WHOLE = re.compile(r"\s*\d{1,9}\s*")
_LARGEST_SIDE = 8192
NUMERIC, LIST, EXPOSURE = 1, 2, 4


def number(text: str) -> float:
    """Return a number; BadReply if it is none, or not finite."""
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise BadReply(f"{text!r} is not a number")
    return value


def whole(text: str) -> int:
    """Return a number that is not negative and has no fraction."""
    if not _WHOLE.fullmatch(text):
        raise BadReply(f"{text!r} is not a whole number")
    return int(text)


def time_range(text: str) -> tuple[float, str] | None:
    """Return a time range as ps and its unit: "5 ns" is (5000, "ns"); None for a bare number."""
    found = _WITH_UNIT.fullmatch(text)
    if found is None or found.group(2) not in TIME_UNITS_PS:
        return None
    return float(found.group(1)) * TIME_UNITS_PS[found.group(2)], found.group(2)


def exposure_s(text: str) -> float:
    """Return an exposure such as "100 ms" in seconds."""
    found = _WITH_UNIT.fullmatch(text)
    if found is None or found.group(2) not in _EXPOSURE_UNITS_S:
        raise BadReply(f"{text!r} is not an exposure")
    return float(found.group(1)) * _EXPOSURE_UNITS_S[found.group(2)]


def exposure_text(seconds: float) -> str:
    """Return seconds as RemoteEx takes them, without an exponent."""
    for unit, top_s in (("us", 0.9995e-3), ("ms", 0.9995)):
        if seconds < top_s:
            return f"{seconds / _EXPOSURE_UNITS_S[unit]:.6g} {unit}"
    return f"{seconds:.10g} s"


def plain(value: float, decimals: int) -> str:
    """Return a number without an exponent and without zeros at its end (RemoteEx refuses both)."""
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


@dataclass(frozen=True)
class Description:
    """A parameter as ...InfoEx describes it: value, type, and its entries or its interval."""

    label: str
    value: str
    kind: int
    entries: tuple[str, ...] = ()
    low: float = -math.inf
    high: float = math.inf


def description(values: Sequence[str], device: bool) -> Description:
    """Return the description behind DevParamInfoEx (`device`) or CamParamInfoEx."""
    if device:  # control and status available: 0, 1, or -1 as some units write true
        if len(values) < 2 or any(v.strip() not in ("0", "1", "-1") for v in values[:2]):
            raise BadReply(f"{','.join(values)[:60]!r} does not describe a parameter")
        values = values[2:]
    if len(values) < 3:
        raise BadReply(f"{','.join(values)[:60]!r} does not describe a parameter")
    label, value, kind, rest = values[0], values[1], whole(values[2]), tuple(values[3:])
    if kind in (LIST, EXPOSURE):
        if not rest or whole(rest[0]) != len(rest) - 1:
            raise BadReply(f"{label}: the list is not as long as it says")
        return Description(label, value, kind, tuple(entry.strip() for entry in rest[1:]))
    if kind == NUMERIC:
        if len(rest) not in (2, 3):  # some add the step
            raise BadReply(f"{label}: a number without its interval")
        low, high = number(rest[0]), number(rest[1])
        if low > high:
            raise BadReply(f"{label}: the interval {low:g} to {high:g} is empty")
        return Description(label, value, kind, (), low, high)
    return Description(label, value, kind)


@dataclass(frozen=True)
class Size:
    """Columns, rows and bytes a pixel of an image."""

    columns: int
    rows: int
    pixel_bytes: int

    @property
    def byte_count(self) -> int:
        """Bytes of the whole image."""
        return self.columns * self.rows * self.pixel_bytes


def image_size(values: Sequence[str]) -> Size:
    """Return the size that ImgDataGet(...,Data) announces: iDX,iDY,BBP,type."""
    if len(values) != 4:
        raise BadReply(f"{','.join(values)[:60]!r} does not announce an image")
    size = Size(*(whole(value) for value in values[:3]))
    sound = 0 < size.columns <= _LARGEST_SIDE and 0 < size.rows <= _LARGEST_SIDE
    if not sound or size.pixel_bytes not in (1, 2, 4):
        raise BadReply(f"an image of {size.columns} x {size.rows} x {size.pixel_bytes} bytes")
    return size


def agrees(size: Size, values: Sequence[str]) -> bool:
    """Return whether ImgDataInfo(...,Size), x0,y0,x1,y1,depth, tells of the same image.

    Whether the end is the last pixel or one behind, and the depth in bits or bytes, is not known.
    """
    if len(values) != 5:
        return False
    x0, y0, x1, y1, depth = (whole(value) for value in values)
    wide, high = x1 - x0, y1 - y0
    ends = (wide, high) in ((size.columns, size.rows), (size.columns - 1, size.rows - 1))
    return ends and depth in (size.pixel_bytes, 8 * size.pixel_bytes)


def table_count(values: Sequence[str]) -> int:
    """Return the number of values that ImgDataGet(...,ScalingTable) announces: N,type."""
    if len(values) != 2 or not 1 < whole(values[0]) <= _LARGEST_SIDE:
        raise BadReply(f"{','.join(values)[:60]!r} does not announce a scaling table")
    return whole(values[0])


def table(content: bytes, what: str) -> FloatArray:
    """Return a scaling table; BadReply unless it rises or falls throughout."""
    values = np.frombuffer(content, dtype="<f4").astype(np.float64)
    steps = np.diff(values)
    if not np.isfinite(values).all() or not ((steps > 0).all() or (steps < 0).all()):
        raise BadReply(f"the scaling table of {what} neither rises nor falls throughout")
    return values


def pixels(content: bytes, size: Size) -> npt.NDArray[np.float32]:
    """Return an image as (rows, columns)."""
    kind = {1: "u1", 2: "<u2", 4: "<u4"}[size.pixel_bytes]
    return np.frombuffer(content, kind).reshape(size.rows, size.columns).astype(np.float32)
