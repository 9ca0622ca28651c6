"""What the close button means to a run: the shutter stays closed until the operator goes on.

While it is held, nothing opens it: the run pauses, and the record that was being taken, which had
light for a part of its time only, is not kept but taken again.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from instruments.errors import InstrumentError, InterlockTripped
from instruments.roles import Identity, Limits, Setting, Shutter, Status
from procedures.running.signals import Stopped

if TYPE_CHECKING:
    from instruments.bench import Bench
    from procedures.measurement import Measurement, Point, Record


class ShutterHeld(InterlockTripped):
    """The operator has closed the shutter; nothing opens it until he goes on."""

    code = "shutter-held"


class Hold:
    """Whether the shutter is held closed; `count` tells how often it has been."""

    def __init__(self) -> None:
        self._free = threading.Event()
        self._free.set()
        self.count = 0

    def hold(self) -> None:
        """Keep it closed from now on."""
        self.count += 1
        self._free.clear()

    def release(self) -> None:
        """Let it be opened again."""
        self._free.set()

    @property
    def held(self) -> bool:
        """Whether it is held."""
        return not self._free.is_set()


class GuardedShutter(Shutter):
    """The bench's shutter, that does not open while it is held."""

    def __init__(self, shutter: Shutter, hold: Hold) -> None:
        self.shutter = shutter
        self._hold = hold
        self._sealed = True

    def open(self) -> None:
        """Open, unless it is held."""
        if self._hold.held:
            raise ShutterHeld("the shutter was closed by the operator and stays so until Resume")
        self.shutter.open()
        if self._hold.held:  # closed by hand while it opened
            self.shutter.shut()
            raise ShutterHeld("the shutter was closed by the operator and stays so until Resume")

    def shut(self) -> None:
        """Close."""
        self.shutter.shut()

    @property
    def is_open(self) -> bool:
        """See Shutter."""
        return self.shutter.is_open

    @property
    def identity(self) -> Identity:
        """See Role."""
        return self.shutter.identity

    def status(self) -> Status:
        """See Role."""
        return self.shutter.status()

    @property
    def limits(self) -> Mapping[str, Limits]:
        """See Role."""
        return self.shutter.limits

    def make_safe(self) -> None:
        """See Role."""
        self.shutter.make_safe()

    def snapshot(self) -> dict[str, Setting]:
        """See Role."""
        return self.shutter.snapshot()

    def close(self) -> None:
        """See Role."""
        self.shutter.close()


@contextlib.contextmanager
def guarded(bench: Bench, hold: Hold) -> Iterator[None]:
    """Have the bench's pump open its shutter only while it is not held."""
    shutter = bench.pump.shutter
    if shutter is not None:
        bench.pump.shutter = GuardedShutter(shutter, hold)
    try:
        yield
    finally:
        bench.pump.shutter = shutter


def take_again(measurement: Measurement, hold: Hold) -> None:
    """Have records that were being taken when the shutter was closed by hand taken again."""
    original = measurement.record

    def record(point: Point) -> Record:
        while True:
            count = hold.count
            found: Record | None = None
            try:
                if not hold.held:
                    found = original(point)
            except ShutterHeld:
                pass
            except InstrumentError:
                if hold.count == count:
                    raise
            if found is not None and hold.count == count:
                return found
            _wait(measurement, hold)

    measurement.record = record  # type: ignore[method-assign]


def _wait(measurement: Any, hold: Hold) -> None:
    measurement.bench.make_safe_for_pause()
    measurement.on_pause(True)
    try:
        while hold.held:
            measurement.check_sink()
            if measurement.control.aborted:
                raise Stopped
            hold._free.wait(0.1)
    finally:
        measurement.on_pause(False)
