"""Light on the sample over many records, with its shots counted as they fall.

For measurements that expose for hours. `PumpBeam.light` counts when the shutter closes; here shots
and dose are booked record by record while it stays open, so that each record, and a run that is
interrupted, knows what the sample has had. Stops at the counting: what is recorded meanwhile is the
measurement's business.
"""

from __future__ import annotations

from instruments.bench import Bench
from instruments.errors import DeviceFault


class ContinuousLight:
    """The open shutter, and the shots since it was opened.

    Counts into `bench.pump.shots` and `bench.pump.dose_J_cm2`, at `fluence_uJ_cm2`, which whoever
    measures it sets.
    """

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._since_s: float | None = None
        self.fluence_uJ_cm2 = 0.0

    @property
    def on(self) -> bool:
        """Whether this has let light on the sample and not ended it."""
        return self._since_s is not None

    def ensure(self) -> bool:
        """Have light on the sample; return whether the shutter had to be opened.

        Raises:
            DeviceFault: the bench has no shutter, or somebody else has closed it meanwhile: it is
                not for this to open it again.
        """
        pump = self._bench.pump
        if pump.shutter is None:
            raise DeviceFault("this bench has no shutter: light cannot be let on the sample safely")
        if self._since_s is not None:
            if pump.shutter.is_open:
                return False
            self.count()  # at most as many as there can have been
            self._since_s = None
            pump.went_dark()
            raise DeviceFault(
                "shutter: found closed in the middle of an exposure; was an interlock tripped, or "
                "was it closed by hand?"
            )
        pump.permit(self.fluence_uJ_cm2)
        if pump.pulse_gate is not None:
            pump.pulse_gate.pass_all()
        # The blade moves between the command and the moment it is seen open: count from half-way
        # (from the command, should it never be seen).
        self._since_s = asked_s = self._bench.clock.now()
        pump.shutter.open()
        self._since_s = 0.5 * (asked_s + self._bench.clock.now())
        return True

    def due_s(self, shots: float) -> float:
        """Return the bench time at which so many shots will have fallen since the last count."""
        begun = self._since_s if self._since_s is not None else self._bench.clock.now()
        return begun + shots / self._bench.pump.source.repetition_rate_Hz

    def count(self, until_s: float | None = None) -> int:
        """Book the shots since the last count, until now or a time just past; return how many."""
        if self._since_s is None:
            return 0
        moment = self._bench.clock.now() if until_s is None else until_s
        rate = self._bench.pump.source.repetition_rate_Hz
        shots = max(round((moment - self._since_s) * rate), 0)
        # The part of a period that is left over belongs to the next count.
        self._since_s += shots / rate
        self._bench.pump.book(shots, self.fluence_uJ_cm2)
        self._bench.pump.counted_until(self._since_s)
        return shots

    def end(self) -> int:
        """Close the shutter and book the last shots; return how many they were.

        Raises what the shutter raises; the shots are booked all the same.
        """
        if self._since_s is None:
            return 0
        pump, asked_s = self._bench.pump, self._bench.clock.now()
        shut_s: float | None = None
        try:
            if pump.shutter is not None:
                pump.close_shutter()
                shut_s = 0.5 * (asked_s + self._bench.clock.now())
        finally:
            shots = self.count(shut_s)
            self._since_s = None
            pump.went_dark()
        return shots
