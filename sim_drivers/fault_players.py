"""How faults are played: when one acts, and what the host then sees of the device.

For faults.py beside this, which says who has which. A `Fault` acts at a bench time, or by noise
keyed by the number of the exchange. `DeviceFaults` has a device play it (`fault(kind, active)`),
`FaultyWire` plays on the wire of a device that speaks bytes what breaks on the way (silence,
timeout, garbage, disconnect), `LaserFaults` has the World's source play it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any, ClassVar

from instruments.config import FaultTable
from sim_drivers.link import WireDevice
from sim_drivers.noise import generator, normals

log = logging.getLogger(__name__)

ON_THE_WIRE = frozenset({"silence", "timeout", "garbage", "disconnect"})
LATE_S = 90.0
"""A reply that is late comes so much later: after any time-out of a driver."""
DRIFT_PER_S = 0.002
"""How fast a drifting laser loses its energy: 11 % a minute."""


class Fault:
    """One table of the bench file: whether it acts at a bench time, or on an exchange."""

    def __init__(self, number: int, table: FaultTable, seed: int) -> None:
        self.number = number
        self.device, self.kind = table.device, table.kind
        self._after_s, self._for_s = table.after_s, table.for_s
        self._seed = seed
        self._key = f"fault:{number}:{table.device}:{table.kind}"
        self._below = _quantile(table.probability or 0.0)
        self.acting = False
        self.begun = False
        """Of one with a time: that it has begun once, so that an event does not happen twice."""
        self.until_s = 0.0
        """Of one with a probability and a duration: when it ends."""

    @property
    def at_times(self) -> bool:
        """Whether it acts at a time, not by chance."""
        return self._after_s is not None

    @property
    def lasts(self) -> bool:
        """Whether it was given a duration."""
        return self._for_s is not None

    @property
    def span_s(self) -> tuple[float, float]:
        """When it begins and ends, of one with a time (s after the bench was made)."""
        begins_s = self._after_s or 0.0
        return begins_s, begins_s + (self._for_s or math.inf)

    @property
    def single(self) -> bool:
        """Whether it hits one exchange and no more."""
        return not self.at_times and not self.lasts

    def acts(self, elapsed_s: float, exchange: int, begins: bool) -> bool:
        """Return whether it acts so long after the bench was made, in an exchange.

        begins: the exchange begins now, which is when chance decides.
        """
        if self._after_s is not None:
            begins_s, ends_s = self.span_s
            return begins_s <= elapsed_s < ends_s
        if begins and self.hits(exchange):
            if self._for_s is None:
                return True
            self.until_s = elapsed_s + self._for_s
        return self.acting if self._for_s is None else elapsed_s < self.until_s

    def hits(self, exchange: int) -> bool:
        """Return whether chance has it hit an exchange, by number."""
        return bool(normals(self._seed, self._key, exchange, 1)[0] < self._below)

    def coin(self, exchange: int) -> bool:
        """Return one of two outcomes of an exchange that it has hit."""
        return bool(normals(self._seed, f"{self._key}:coin", exchange, 1)[0] < 0.0)

    def break_bytes(self, data: bytes, number: int) -> bytes:
        """Return `data` with half of its bytes changed, at least one."""
        draw = generator(self._seed, f"{self._key}:bytes", number)
        broken = bytearray(data)
        hit = draw.random(len(broken)) < 0.5
        hit[int(draw.integers(len(broken)))] = True
        for place, change in enumerate(draw.integers(1, 256, len(broken)).tolist()):
            if hit[place]:
                broken[place] ^= change
        return bytes(broken)


class DeviceFaults:
    """The faults of one device that plays them itself: has `fault(kind, active)` and FAULTS.

    Such a device may tell of its calls (`on_call(function)`), which functions start something
    (STARTS: its exchanges) and which open it (OPENS). One that does not is kept up to date by the
    clock, and knows no probabilities.
    """

    _UNPLUG: ClassVar[tuple[str, ...]] = ("disconnect", "restart")
    """Kinds that keep the link from being opened for as long as they last."""

    def __init__(self, device: Any, faults: Sequence[Fault], elapsed: Callable[[], float]) -> None:
        self.device = device
        self.faults = tuple(faults)
        self.exchanges = 0
        self._elapsed = elapsed

    def called(self, function: str) -> None:
        """Note a call of the device's library."""
        self.update(begins=function in getattr(self.device, "STARTS", ()))
        if function in getattr(self.device, "OPENS", ()) and not self.unplugged:
            self._connect(True)

    def update(self, *, begins: bool = False) -> None:
        """Bring the faults up to now; `begins`: an exchange begins."""
        now = self._elapsed()
        if begins:
            self.exchanges += 1
        for fault in self.faults:
            if begins and fault.single and fault.acting:
                self._change(fault, False)
            if fault.at_times and not fault.begun and now >= fault.span_s[1]:
                self._change(fault, True)  # it has happened, though nobody has looked
            acts = fault.acts(now, self.exchanges, begins)
            if acts != fault.acting:
                self._change(fault, acts)

    def calm(self) -> None:
        """End whatever acts: what is to act at a time just restored begins anew."""
        for fault in self.faults:
            if fault.acting:
                self._change(fault, False)

    @property
    def _can_be_opened(self) -> bool:
        return hasattr(self.device, "OPENS")

    @property
    def unplugged(self) -> bool:
        """Whether the link cannot be opened now."""
        return any(f.acting and f.lasts and f.kind in self._UNPLUG for f in self.faults)

    def _change(self, fault: Fault, acts: bool) -> None:
        fault.acting = acts
        happens = acts and not (fault.at_times and fault.begun)
        fault.begun = fault.begun or acts
        log.info("simulated fault %s of %s %s", fault.kind, fault.device, ("ends", "begins")[acts])
        if fault.kind == "disconnect":
            if happens:
                self._connect(False)
            if not self._can_be_opened and not (acts and fault.lasts):
                self._connect(True)  # what cannot say that it is opened again is only cut
        elif fault.kind == "restart":
            if happens or not acts:
                self.device.fault("restart", acts)
            if happens and fault.lasts and "restart" in self._UNPLUG and self._can_be_opened:
                self._connect(False)
        else:
            self._play(fault, acts)
            if fault.kind == "identity" and happens and self._can_be_opened:
                self._connect(False)  # somebody has put the cable into another instrument

    def _play(self, fault: Fault, acts: bool) -> None:
        self.device.fault(fault.kind, acts)

    def _connect(self, connected: bool) -> None:
        self.device.fault("disconnect", not connected)


class FaultyWire(DeviceFaults):
    """What the host has of a device that speaks bytes, with what breaks on the way."""

    _UNPLUG = ("disconnect",)  # one that starts is silent on its wire, as long as that lasts

    def __init__(
        self, device: WireDevice, faults: Sequence[Fault], elapsed: Callable[[], float]
    ) -> None:
        super().__init__(device, faults, elapsed)
        self._dead = False
        self._ever_opened = False
        self._late: list[tuple[float, bytes]] = []
        self._pieces = 0

    def opened(self) -> None:
        """See Wire; OSError while it is unplugged."""
        with self.device.device_lock:
            self.update()
            self._ever_opened = True
            if self.unplugged:
                raise ConnectionError("the simulated device is not there")
            self._dead = False
            self._late.clear()
            self.device.opened()

    def receive(self, data: bytes) -> None:
        """See Wire; an exchange begins with what the host writes."""
        with self.device.device_lock:
            self._ever_opened = True
            self.update(begins=True)
            self._refuse_if_dead()
            silent = self._acting("silence", "restart")
            if silent is None or (silent.single and silent.coin(self.exchanges)):
                self.device.receive(data)

    def due(self) -> float | None:
        """See Wire."""
        found: float | None = self.device.due()
        if self._late:
            found = self._late[0][0] if found is None else min(found, self._late[0][0])
        return found

    def take(self) -> bytes:
        """See Wire."""
        with self.device.device_lock:
            self.update()
            self._refuse_if_dead()
            now, data = self.device.clock.now(), self.device.take()
            broken = self._acting("garbage")
            if self._acting("silence", "restart"):
                data = b""
            elif data and self._acting("timeout"):
                self._late.append((now + LATE_S, data))
                data = b""
            elif data and broken is not None:
                self._pieces += 1
                data = broken.break_bytes(data, 4096 * self.exchanges + self._pieces % 4096)
            while self._late and self._late[0][0] <= now:
                data = self._late.pop(0)[1] + data
            return bytes(data)

    def _acting(self, *kinds: str) -> Fault | None:
        """Return the fault of these kinds that acts; a restart is silent as long as it lasts."""
        for fault in self.faults:
            if fault.acting and fault.kind in kinds and (fault.kind != "restart" or fault.lasts):
                return fault
        return None

    def _refuse_if_dead(self) -> None:
        if self._dead:
            raise ConnectionError("the simulated link is dead; open it again")

    def _play(self, fault: Fault, acts: bool) -> None:
        if fault.kind not in ON_THE_WIRE:
            self.device.fault(fault.kind, acts)

    @property
    def _can_be_opened(self) -> bool:
        return True

    def _connect(self, connected: bool) -> None:
        self._dead = not connected and self._ever_opened


class LaserFaults(DeviceFaults):
    """The faults of the laser, played by the World's source, at the very moment of the bench file.

    Kept up to date whenever the World settles.
    """

    def _play(self, fault: Fault, acts: bool) -> None:
        begins_s, ends_s = fault.span_s
        now = self.device.clock.now()
        moment = min(self.device.start_s + (begins_s if acts else ends_s), now)
        source = self.device.source
        if fault.kind == "laser_off":
            source.switch(not acts, moment)
            if acts and fault.lasts:  # in the dark nobody may settle the World: it ends by itself
                source.switch(True, self.device.start_s + ends_s)
        else:
            source.run_away(moment, -DRIFT_PER_S if acts else 0.0)


def _quantile(share: float) -> float:
    """Return below which value a normal draw lies with a probability of 0 to 1."""
    if 0.0 < share < 1.0:
        return NormalDist().inv_cdf(share)
    return math.inf if share else -math.inf
