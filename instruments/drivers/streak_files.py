"""Reads streak images that a camera's own program has saved: ITEX (.img) and TIFF.

For cameras whose maker publishes no protocol. A file is data from anywhere: sizes are checked
against the file before memory is taken, axes must be what axes are, and whatever does not add up
is a BadReply that names the file and what is wrong with it. What a file does not tell (a plain TIFF
tells nothing but counts) must be given in `Given`. Stops at one image; which file is the next one
is the affair of `saved_streak_images`.

ITEX as HPD-TA and HiPic write it: 64 bytes of header (little-endian: "IM", length of the comment,
width, height, x and y offset, type 0/2/3 for 8/16/32 bits a pixel), the comment, the pixels by
lines, and the scaling tables as 32-bit floats. The comment is `[Section],key=value,key="value"`;
its Scaling section says where the tables are ("#offset,count", from older versions "*offset"). The
TIFF of the same programs has the comment as its ImageDescription and the tables behind the pixels.
"""

from __future__ import annotations

import io
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from instruments.errors import BadReply

FloatArray = npt.NDArray[np.float64]
Sections = dict[str, dict[str, str]]

SUFFIXES = (".img", ".tif", ".tiff")
ANALOG, COUNTING = "analog", "counting"

_HEADER = struct.Struct("<2s6H i H")
_HEADER_BYTES = 64
_PIXELS = {0: "<u1", 2: "<u2", 3: "<u4"}
_MOST_PIXELS = 1 << 26
_MODES = {"1": ANALOG, "2": ANALOG, "3": COUNTING, "4": ANALOG}
_TIME_PS = {"fs": 1e-3, "ps": 1.0, "ns": 1e3, "us": 1e6, "ms": 1e9, "s": 1e12}
_TIME_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_SECTION = re.compile(r"\[([^\[\]=\"]{1,40})\]")
_PAIR = re.compile(r"([^=,\[\]\"\r\n]{1,60})=(?:\"([^\"]*)\"|([^,\[\r\n\"]*))")
_QUANTITY = re.compile(r"\s*(\d+(?:\.\d*)?(?:E[+-]?\d+)?)\s*([a-z]*)\s*", re.IGNORECASE)
_TABLE = re.compile(r"#\s*(\d{1,12})\s*,\s*(\d{1,6})|\*\s*(\d{1,12})")


@dataclass(frozen=True)
class Given:
    """What the operator says about files that do not tell it themselves.

    time_ps, wavelength_nm: first and last pixel of an axis, linear in between. exposure_s: of one
    exposure. time_across: time runs along the lines of the image, not down its columns (where the
    file names the units of its axes, these decide).
    """

    time_ps: tuple[float, float] | None = None
    wavelength_nm: tuple[float, float] | None = None
    exposure_s: float | None = None
    mcp_gain: int | None = None
    saturation_counts: int = 65535
    time_across: bool = False


@dataclass(frozen=True)
class SavedImage:
    """An image as its file tells it.

    counts: (times, wavelengths) float32, time_ps and wavelength_nm: rising. time_range_ps: the
    sweep by its name, or the length of the time axis where it has none. mode, exposures, delay_ps:
    None where the file does not tell. saturated: a pixel is at the end of what one exposure (times
    the exposures that were summed) or the file can hold.
    """

    counts: npt.NDArray[np.float32]
    time_ps: FloatArray
    wavelength_nm: FloatArray
    time_range_ps: float
    exposure_s: float
    mcp_gain: int
    mode: str | None
    exposures: int | None
    delay_ps: float | None
    saturated: bool
    device: str


@dataclass(frozen=True)
class _Raw:
    """Pixels (lines, columns) and what stands beside them; `free_from` is where tables may be."""

    pixels: npt.NDArray[Any]
    sections: Sections
    content: bytes
    free_from: int
    filled: bool  # pixels and tables fill the file to its last byte


def read_streak_file(path: Path, given: Given | None = None) -> SavedImage:
    """Read an image; BadReply if the file is not one, or does not tell enough.

    Raises OSError if the file cannot be read at all.
    """
    given = given or Given()
    try:
        if path.stat().st_size > _HEADER_BYTES + 16 * _MOST_PIXELS:
            raise BadReply(f"it is too big ({path.stat().st_size} bytes)")
        raw = _read_itex(path) if path.suffix.lower() == ".img" else _read_tiff(path)
        return _interpret(raw, given)
    except BadReply as error:
        raise BadReply(f"{path.name}: {error}") from None
    except MemoryError:
        raise BadReply(f"{path.name}: it does not fit into memory") from None


# ---- containers -------------------------------------------------------------------------------


def _read_itex(path: Path) -> _Raw:
    content = path.read_bytes()
    if len(content) < _HEADER_BYTES or content[:2] != b"IM":
        raise BadReply("it is not an ITEX image (it does not begin with 'IM' and a header)")
    _, length, width, height, _, _, kind, images, channels = _HEADER.unpack_from(content)
    if kind not in _PIXELS:
        raise BadReply(f"pixels of type {kind} are not known (8, 16 or 32 bit are: 0, 2, 3)")
    if images not in (0, 1) or channels:
        raise BadReply("it holds several images; save them one by one")
    dtype, count = np.dtype(_PIXELS[kind]), width * height
    begin = _HEADER_BYTES + length
    end = begin + count * dtype.itemsize
    if not 0 < count <= _MOST_PIXELS:
        raise BadReply(f"{width} x {height} pixels make no image")
    if end > len(content):
        raise BadReply(
            f"it is cut: {width} x {height} pixels end at byte {end}, the file at {len(content)}"
        )
    pixels = np.frombuffer(content, dtype, count, begin).reshape(height, width)
    comment = content[_HEADER_BYTES:begin]
    return _Raw(pixels, _sections(comment), content, end, filled=True)


def _read_tiff(path: Path) -> _Raw:
    import tifffile  # only where such files are read

    content = path.read_bytes()
    try:
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            if len(file.pages) != 1:
                raise BadReply(f"it holds {len(file.pages) or 'no'} images; save them one by one")
            page: Any = file.pages[0]
            big = file.is_bigtiff
            (tags,) = struct.unpack_from(
                file.byteorder + ("Q" if big else "H"), content, page.offset
            )
            if page.offset + tags * (20 if big else 12) + (16 if big else 6) > len(content):
                raise BadReply("it is cut: the list of its tags is not complete")
            shape, dtype = tuple(page.shape), page.dtype
            if len(shape) != 2 or dtype is None or dtype.kind not in "uif":
                raise BadReply(f"it is not an image of single counts (shape {shape}, {dtype})")
            if not 0 < shape[0] * shape[1] <= _MOST_PIXELS:
                raise BadReply(f"{shape[1]} x {shape[0]} pixels make no image")
            strips = list(zip(page.dataoffsets, page.databytecounts, strict=True))
            if any(a < 8 or n < 1 or a + n > len(content) for a, n in strips):
                raise BadReply("it is cut: its pixels reach beyond the end of the file")
            size = shape[0] * shape[1] * dtype.itemsize
            if page.compression == 1 and sum(n for _, n in strips) != size:
                raise BadReply("its pixels are not as many as it says")
            pixels = page.asarray(maxworkers=1)
            comment = str(page.description).encode("utf-8", "replace")
    except (BadReply, OSError, MemoryError):
        raise
    except Exception as error:  # whatever a damaged file makes of the library
        raise BadReply(f"it is not a TIFF image that can be read ({error})") from None
    if pixels.shape != shape or not np.isfinite(pixels).all():
        raise BadReply("its pixels are not numbers")
    end = max(a + n for a, n in strips)
    return _Raw(pixels, _sections(comment), content, end, filled=False)


def _sections(comment: bytes) -> Sections:
    """Take a comment apart; what is not `[Section]` or `key=value` is passed over."""
    try:
        text = comment.decode("utf-8")
    except UnicodeDecodeError:
        text = comment.decode("latin-1")
    found: Sections = {}
    section: dict[str, str] = {}
    place = 0
    while place < len(text):
        if match := _SECTION.match(text, place):
            section = found.setdefault(match[1].strip().lower(), {})
        elif match := _PAIR.match(text, place):
            value = match[2] if match[2] is not None else match[3]
            section.setdefault(match[1].strip().lower(), value.strip())
        place = match.end() if match else place + 1
    return found


# ---- meaning ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Axis:
    values: FloatArray | None  # None where the file does not tell
    unit: str
    table: tuple[int, int] | None  # first byte and the one behind the last


def _interpret(raw: _Raw, given: Given) -> SavedImage:
    camera = raw.sections.get("streak camera", {})
    acquisition = raw.sections.get("acquisition", {})
    focused = "focus" in raw.sections.get("scaling", {}).get("scalingyscalingfile", "").lower()
    if focused or camera.get("mode", "").lower() == "focus":
        raise BadReply("it was taken in Focus mode and has no time axis; take it in Operate")
    lines, columns = raw.pixels.shape
    x, y = _axis(raw, "X", columns), _axis(raw, "Y", lines)
    _require_room(raw, [axis.table for axis in (x, y) if axis.table is not None])
    across = given.time_across
    if x.unit in _TIME_PS or y.unit == "nm":
        across = True
    elif x.unit == "nm" or y.unit in _TIME_PS:
        across = False
    time, wavelength = (x, y) if across else (y, x)
    counts = np.asarray(raw.pixels.T if across else raw.pixels, dtype=np.float32)
    if not np.isfinite(counts).all():
        raise BadReply("its pixels are beyond all counts")
    times, waves = counts.shape
    time_ps = _values(time, _TIME_PS, given.time_ps, times, "time", "time_axis_ps")
    wavelength_nm = _values(
        wavelength, {"nm": 1.0}, given.wavelength_nm, waves, "wavelength", "wavelength_axis_nm"
    )
    if time_ps[0] > time_ps[-1]:
        time_ps, counts = time_ps[::-1], counts[::-1]
    if wavelength_nm[0] > wavelength_nm[-1]:
        wavelength_nm, counts = wavelength_nm[::-1], counts[:, ::-1]
    span = float(time_ps[-1] - time_ps[0])
    time_range = _quantity(camera.get("time range", ""), _TIME_PS)
    if time_range is not None and not 0.3 < span / time_range < 3.0:
        raise BadReply(f"its time axis is {span:g} ps long, but the sweep {time_range:g} ps")
    exposure = _quantity(acquisition.get("exposuretime", ""), _TIME_S)
    exposure_s = given.exposure_s if exposure is None else exposure
    gain = _whole(camera, "mcp gain", 0)
    mcp_gain = given.mcp_gain if gain is None else gain
    for missing, key in ((exposure_s, "exposure_s"), (mcp_gain, "mcp_gain")):
        if missing is None:
            raise BadReply(f"it does not tell its {key}; give it as the option {key!r}")
    assert exposure_s is not None
    assert mcp_gain is not None
    mode, exposures = _MODES.get(acquisition.get("acqmode", "")), _whole(acquisition, "nrexposure")
    ends = [float(np.iinfo(raw.pixels.dtype).max)] if raw.pixels.dtype.kind in "ui" else []
    if mode != COUNTING:
        ends.append(float(given.saturation_counts) * (exposures or 1))
    return SavedImage(
        counts=np.ascontiguousarray(counts),
        time_ps=np.ascontiguousarray(time_ps),
        wavelength_nm=np.ascontiguousarray(wavelength_nm),
        time_range_ps=span if time_range is None else time_range,
        exposure_s=exposure_s,
        mcp_gain=mcp_gain,
        mode=mode,
        exposures=exposures,
        delay_ps=_delay_ps(raw.sections.get("delay box", {})),
        saturated=bool(ends) and bool(raw.pixels.max() >= min(ends)),
        device=" ".join(filter(None, (camera.get("devicename"), camera.get("pluginname")))),
    )


def _axis(raw: _Raw, letter: str, count: int) -> _Axis:
    """Return the scaling of the columns ("X") or the lines ("Y")."""
    scaling = raw.sections.get("scaling", {})
    prefix = f"scaling{letter.lower()}"
    unit = scaling.get(f"{prefix}unit", "").replace("\N{MICRO SIGN}", "u")
    kind, where = scaling.get(f"{prefix}type", ""), scaling.get(f"{prefix}scalingfile", "")
    if not kind or (not unit and kind == "1"):
        return _Axis(None, unit, None)
    if kind == "1":
        step = _number(scaling.get(f"{prefix}scale", ""))
        if step is None or step == 0.0:
            raise BadReply(f"the scale of its {letter} axis is none")
        return _Axis(step * np.arange(count, dtype=np.float64), unit, None)
    if kind != "2":
        raise BadReply(f"scaling type {kind!r} of its {letter} axis is not known (1, 2 are)")
    match = _TABLE.fullmatch(where.strip())
    if match is None:
        raise BadReply(f"the scaling table of its {letter} axis is not in the file ({where!r})")
    begin = int(match[1] or match[3])
    if match[2] is not None and int(match[2]) != count:
        raise BadReply(f"its {letter} axis has {count} pixels, but {int(match[2])} scale values")
    end = begin + 4 * count
    if begin < raw.free_from or end > len(raw.content):
        raise BadReply(
            f"it is cut or damaged: the scaling table of its {letter} axis would be bytes {begin} "
            f"to {end}, there is room from {raw.free_from} to {len(raw.content)}"
        )
    values = np.frombuffer(raw.content, "<f4", count, begin).astype(np.float64)
    return _Axis(values, unit, (begin, end))


def _require_room(raw: _Raw, tables: list[tuple[int, int]]) -> None:
    """Refuse tables that overlap, and an ITEX file that is not filled to its last byte."""
    place = raw.free_from
    for begin, end in sorted(tables):
        if begin < place or (raw.filled and begin != place):
            raise BadReply(f"it is damaged: a scaling table begins at byte {begin}, not {place}")
        place = end
    if raw.filled and place != len(raw.content):
        raise BadReply(f"it should end at byte {place}, but has {len(raw.content)}")


def _values(
    axis: _Axis,
    units: Mapping[str, float],
    given: tuple[float, float] | None,
    count: int,
    name: str,
    option: str,
) -> FloatArray:
    """Return an axis in ps or nm; BadReply if it does not rise or fall all the way."""
    if axis.values is not None:
        if axis.unit not in units:
            raise BadReply(f"its {name} axis is in {axis.unit!r}, not in {', '.join(units)}")
        values = axis.values * units[axis.unit]
    elif given is not None:
        values = np.linspace(given[0], given[1], count)
    else:
        raise BadReply(f"it has no {name} axis; give first and last pixel as the option {option!r}")
    steps = np.diff(values)
    if count < 2 or not (np.isfinite(values).all() and ((steps > 0).all() or (steps < 0).all())):
        raise BadReply(f"its {name} axis does not rise or fall from end to end")
    if name == "wavelength" and not 0.0 < values.min() <= values.max() < 1e5:
        raise BadReply(f"wavelengths of {values.min():g} to {values.max():g} nm make no sense")
    return np.asarray(values, dtype=float)


def _quantity(text: str, units: Mapping[str, float]) -> float | None:
    """Return what `5 ns` says, None if it is no positive number with one of the units."""
    match = _QUANTITY.fullmatch(text.replace("\N{MICRO SIGN}", "u"))
    if match is None or match[2] not in units:
        return None
    value = float(match[1]) * units[match[2]]
    return value if 0.0 < value < math.inf else None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _whole(section: Mapping[str, str], key: str, least: int = 1) -> int | None:
    text = section.get(key, "")
    if not text:
        return None
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII) or int(text) < least:
        raise BadReply(f"{key!r} is {text!r}, no number of {least} or more")
    return int(text)


def _delay_ps(section: Mapping[str, str]) -> float | None:
    """Return the delay box's delay; those of the synchroscan units count in ps."""
    return _number(section.get("delay time", ""))
