"""The frames in a reply of the ICL: checked, and as an array.

For `icl_camera`. The ICL has written them in several ways: lists of x and of y, flat or in a list
of their own, or (in the manual's text) pairs of x and y. All are read; nothing is cut, padded,
rounded or clipped to make it fit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from instruments.drivers.icl_device import records, whole
from instruments.errors import BadReply

_FINE_STAMP = re.compile(r".*\d{1,2}:\d{2}:\d{2}\.\d{3,}\s*")


def timestamp_of(results: Mapping[str, Any]) -> str | None:
    """Return when the frames were complete, None if the reply does not tell to the millisecond.

    Two series cannot end in the same millisecond: the same text means the same frames.
    """
    stamp = results.get("timestamp")
    return stamp if isinstance(stamp, str) and _FINE_STAMP.fullmatch(stamp) else None


def counts_of(
    results: Mapping[str, Any], frames: int, size: tuple[int, int]
) -> npt.NDArray[np.uint16]:
    """Return the frames of a reply, (frames, pixels), in the order of the pixels on the chip.

    Args:
        results: of ccd_getAcquisitionData.
        frames: how many were asked for. size: pixels and rows of the chip, all rows binned.

    Raises:
        BadReply: other frames than those, or counts that are no 16-bit numbers.
    """
    listed = records(results, "acquisition")
    if len(listed) != frames:
        raise BadReply(f"the ICL sends {len(listed)} frames, {frames} were asked for")
    numbers = [whole(entry, "acqIndex", 0, 2**31) for entry in listed]
    order = sorted(range(frames), key=numbers.__getitem__)
    first = numbers[order[0]]
    if first not in (0, 1) or [numbers[i] for i in order] != list(range(first, first + frames)):
        raise BadReply(f"the ICL numbers its frames {numbers[:8]}, expected is 1 to {frames}")
    data = np.empty((frames, size[0]), dtype=np.uint16)
    for row, place in enumerate(order):
        regions = records(listed[place], "roi")
        if len(regions) != 1:
            raise BadReply(f"the ICL sends {len(regions)} regions a frame, one was asked for")
        data[row] = _region(regions[0], size)
    return data


def _region(region: Mapping[str, Any], size: tuple[int, int]) -> npt.NDArray[np.uint16]:
    expected = {"xSize": size[0], "ySize": size[1], "xBinning": 1, "yBinning": size[1]}
    for key, value in expected.items():
        if key in region and whole(region, key, 0, 65536) != value:
            raise BadReply(
                f"the ICL sends a region with {key} = {region[key]}, {value} was asked for"
            )
    if "yData" in region:
        values = _line(region["yData"], "yData")
        if "xData" in region and len(_line(region["xData"], "xData")) != len(values):
            raise BadReply("the ICL sends xData and yData of different lengths")
    elif "xyData" in region:
        values = [pair[1] for pair in _pairs(region["xyData"])]
    else:
        raise BadReply(f"the ICL sends a region without data, only {', '.join(region)[:60]}")
    if len(values) != size[0]:
        raise BadReply(f"the ICL sends {len(values)} pixels, the chip has {size[0]}")
    if not set(map(type, values)) <= {int, float}:
        raise BadReply("the ICL sends counts that are not all numbers")
    numbers = np.asarray(values, dtype=np.float64)
    whole_counts = np.isfinite(numbers) & (numbers == np.floor(numbers))
    good = whole_counts & (numbers >= 0.0) & (numbers <= 65535.0)
    if not good.all():
        wrong = int(np.argmin(good))
        raise BadReply(f"the ICL sends {values[wrong]} for pixel {wrong}, which is no 16-bit count")
    return numbers.astype(np.uint16)


def _line(data: object, key: str) -> list[Any]:
    """Return a list of numbers that may lie in a list of one row."""
    if isinstance(data, list) and len(data) == 1 and isinstance(data[0], list):
        data = data[0]
    if not isinstance(data, list):
        raise BadReply(f"the ICL sends {key} that is no list")
    return data


def _pairs(data: object) -> list[list[Any]]:
    if isinstance(data, list) and len(data) == 1 and _are_pairs(data[0]):
        data = data[0]
    if not _are_pairs(data):
        raise BadReply("the ICL sends xyData that are not pairs")
    assert isinstance(data, list)
    return data


def _are_pairs(data: object) -> bool:
    return isinstance(data, list) and all(
        isinstance(pair, list) and len(pair) == 2 for pair in data
    )
