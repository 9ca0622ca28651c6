"""The tube behind a RemoteEx session: dark, but for the time of an image.

For `instruments.drivers.hamamatsu_remoteex`. What light destroys is the micro-channel plate: its
gain is zero and the shutter closed, both read back, on every way out of an image, before Focus mode
and before a change of range; the gain goes up last, when the unit sweeps and its trigger is there.
Stops at light and dark: images and settings are others' business.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable, Iterator

from instruments.drivers import remoteex_values as values
from instruments.drivers.remoteex_session import DELAY, TUBE, RemoteExSession
from instruments.errors import DeviceFault, InstrumentError, NotReady

log = logging.getLogger(__name__)

SLOW_S = 20.0
"""Patience with a mode or a time range (s)."""
_NOT_LOCKED = re.compile(r"un-?locked|not locked|error|fail", re.I)


class TubeGuard:
    """Light and dark of one tube.

    Attributes:
        trigger_known, lock_known: whether the unit tells of its trigger, and of its phase lock.
        longest_frame_s: how long stopping an acquisition may take.
    """

    def __init__(self, session: RemoteExSession) -> None:
        self._session = session
        self._name = session.name
        self.trigger_known = False
        self.lock_known = False
        self.longest_frame_s = 10.0

    def read_gain(self) -> int:
        """Return the gain of the plate as it is now."""
        return values.whole(self._session.get(TUBE, "MCP Gain"))

    def closed(self) -> bool:
        """Return whether the shutter is closed."""
        return self._session.get(TUBE, "Shutter").lower() == "closed"

    @contextlib.contextmanager
    def lit(self, gain: int, check: Callable[[], None]) -> Iterator[None]:
        """Open the shutter and raise the gain inside the block; dark again on every way out.

        check: raises if the image is not wanted any more; called before each step.

        Raises:
            NotReady: no trigger. DeviceFault: refused, or the tube could not be darkened.
        """
        ask = self._session
        try:
            self.darken(stop=bool(ask.acquiring()))
            ask.set(TUBE, "Mode", "Operate", patience_s=SLOW_S)
            self._confirm_trigger()
            check()
            ask.set(TUBE, "Shutter", "Open")
            check()
            ask.set(TUBE, "MCP Gain", str(gain))
            check()
            yield
        except BaseException as error:
            try:
                self.darken(stop=True)
            except InstrumentError as worse:
                log.critical("%s", worse)
                if isinstance(error, Exception):
                    raise worse from error
            raise
        self.darken()

    def enter_focus(self) -> None:
        """Go to Focus mode, in the dark."""
        self.darken()
        self._session.set(TUBE, "Mode", "Focus", patience_s=SLOW_S)

    def _confirm_trigger(self) -> None:
        """Raise NotReady unless the unit sweeps, or is armed to."""
        if self.trigger_known:
            state = self._session.get(TUBE, "Trigger status")
            if state.lower() not in ("ready", "fired"):
                raise NotReady(f"{self._name}: the trigger is {state!r}; is the laser's there?")
        if self.lock_known:
            state = self._session.get(DELAY, "Device Status")
            if _NOT_LOCKED.search(state):
                raise NotReady(
                    f"{self._name}: the synchroscan unit is {state!r}; is the laser's signal there?"
                )

    def darken(self, stop: bool = False) -> None:
        """Set the gain to zero and close the shutter, both read back.

        stop: what is being acquired, too. Every step is tried, twice if need be, whatever the
        others do.

        Raises:
            DeviceFault: it could not be verified.
        """
        interrupted: BaseException | None = None
        problems: list[str] = []
        for second in (False, True):
            problems = []
            # Where it refuses because it is acquiring, it is stopped and asked again.
            steps = [self._gain_to_zero, self._close, *([self._stop] if stop or second else [])]
            for step in steps:
                try:
                    step()
                except Exception as error:
                    problems.append(str(error))
                except BaseException as error:  # Ctrl-C: first dark, then out
                    interrupted = error
                    problems.append(repr(error))
            if not problems:
                break
            if not second:
                with contextlib.suppress(Exception):
                    self._session.client.quieten()
        if problems:
            fault = DeviceFault(
                f"{self._name}: the tube could not be brought to gain 0 with the shutter closed; "
                f"do it by hand, now ({'; '.join(dict.fromkeys(problems))})"
            )
            if interrupted is None:
                raise fault
            log.critical("%s", fault)
        if interrupted is not None:
            raise interrupted

    def _gain_to_zero(self) -> None:
        self._session.set(TUBE, "MCP Gain", "0", busy_s=0.0, tries=2)

    def _close(self) -> None:
        self._session.set(TUBE, "Shutter", "Closed", busy_s=0.0, tries=2)

    def _stop(self) -> None:
        self._session.stop(self.longest_frame_s)
