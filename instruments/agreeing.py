"""Believing a reply that carries no checksum: only when two in a row are alike.

For drivers of devices whose replies can be damaged without a sign of it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, TypeVar

from instruments.errors import BadReply, InstrumentError

T = TypeVar("T")


def until_alike(
    read: Callable[[], T],
    what: str,
    *,
    same: Callable[[T, T], Any] = operator.eq,
    readings: int = 5,
    failures: int = 1,
    doubt: Callable[[], None] | None = None,
) -> T:
    """Read until two readings in a row are alike, return the last.

    Args:
        read: asks once.
        what: named in the error, "the readings of the mode" for instance.
        same: whether two readings are alike.
        readings: at most so many.
        failures: the how-manieth InstrumentError of `read` is passed on; after an earlier one the
            comparison starts again.
        doubt: called when a reading failed or two were not alike.

    Raises BadReply if no two agree; what `read` raises.
    """
    earlier: list[T] = []
    failed = 0
    for _ in range(readings):
        try:
            value = read()
        except InstrumentError:
            failed += 1
            earlier = []
            if doubt is not None:
                doubt()
            if failed >= failures:
                raise
            continue
        if earlier and same(earlier[0], value):
            return value
        if earlier and doubt is not None:
            doubt()
        earlier = [value]
    raise BadReply(f"{what} do not agree with each other; check the cable")
