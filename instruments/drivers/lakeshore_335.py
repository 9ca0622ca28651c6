"""Lake Shore 331, 335 and 336 temperature controllers: the cryostat of the bench.

A temperature counts as held when the readings have been in the band for the whole dwell time; and
whatever is wrong with sensor, heater or temperature takes the heater off before it is reported.
Stops at one heater output and its control sensor: curves, zones and alarms are set up at the front
panel, and the compressor has a switch of its own.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

from pymeasure.adapters import Adapter

from instruments.clock import Clock
from instruments.drivers.lakeshore_controller import (
    HOTTEST_K,
    PID_LIMITS,
    RAMP,
    RANGES,
    SETPOINT_K,
    LakeShoreController,
    choice,
)
from instruments.dwell import Dwell
from instruments.errors import ConfigError, DeviceFault, InstrumentError, NotReady
from instruments.roles import Cryostat, Identity, Limits, Setting, Status

log = logging.getLogger(__name__)

_AUTOMATIC = ((5.0, 1), (30.0, 2), (math.inf, 3))  # up to this temperature (K), this range
_POLL_S = (0.25, 5.0)  # during a wait: near the set point, and far from it
_GLANCE_S = 0.02  # for so long the line is waited for before it is seen what others were told
_APPROACH = 0.2  # seconds between two looks for each kelvin that is missing


class LakeShoreCryostat(LakeShoreController, Cryostat):
    """One heater output of the controller, regulating one sensor.

    Args:
        adapter: an open pymeasure adapter.
        clock: the bench's clock.
        output: the heater output, 1 or 2 (a 331 has one).
        sensor: the control sensor, "A" or "B" (a 336 has "A" to "D").
        band_K: stable is inside this distance from the set point ...
        dwell_s: ... for this time, without a gap in the readings.
        heater_range: 1 to 3, or 0 to choose by temperature (low to 5 K, medium to 30 K, high).
        heater_range_max: the highest range allowed.
        temperature_min_K, temperature_max_K: the temperatures that may be asked for (K).
        pid: gain, reset, rate; None leaves the controller's.
        identity_contains: what the reply to `*IDN?` must contain (case does not matter).
    """

    DRIVER_ID: ClassVar[str] = "lakeshore-335"

    def __init__(
        self,
        adapter: Adapter,
        clock: Clock | None = None,
        output: int = 1,
        sensor: str = "A",
        band_K: float = 0.05,
        dwell_s: float = 60.0,
        heater_range: int = 0,
        heater_range_max: int = 3,
        temperature_min_K: float = 4.0,
        temperature_max_K: float = 320.0,
        pid: Sequence[float] | None = None,
        identity_contains: str = "LSCI",
    ) -> None:
        super().__init__(adapter, clock, output, sensor)
        choice("heater_range_max", heater_range_max, RANGES)
        choice("heater_range", heater_range, range(heater_range_max + 1))
        for key, value in (("band_K", band_K), ("dwell_s", dwell_s)):
            if not 0.0 < value < math.inf:
                raise ConfigError(f"a positive number is allowed, not {value!r}", key=key)
        if not 0.0 < temperature_min_K < temperature_max_K < HOTTEST_K:
            raise ConfigError(
                f"0 < temperature_min_K < temperature_max_K < {HOTTEST_K:g} is allowed, "
                f"not {temperature_min_K!r} and {temperature_max_K!r}",
                key="temperature_max_K",
            )
        fits = pid is None or (
            len(pid) == len(PID_LIMITS)
            and all(
                limit.low <= value <= limit.high
                for limit, value in zip(PID_LIMITS, pid, strict=True)
            )
        )
        if not fits:
            raise ConfigError(
                f"three numbers are allowed (0.1 to 1000, 0.1 to 1000, 0 to 200), not {pid!r}",
                key="pid",
            )
        self._fixed_range, self._range_max = heater_range, heater_range_max
        self._temperatures = Limits(temperature_min_K, temperature_max_K, "K")
        self._wanted_pid, self._wanted_id = pid, identity_contains
        self._identity: Identity | None = None
        self._dwell = Dwell(band_K, dwell_s)
        self._target_K = math.nan  # what was asked for last
        self._heating = False  # whether the heater should be on, as far as is known here
        self._on_ramp = False

    # ---- opening --------------------------------------------------------------------------------

    def connect(self) -> None:
        """Identify the controller, set up its loop, and take over what it is doing.

        A heater that is on stays as it is if its set point is allowed: a sample that somebody has
        cooled stays cold. After a power cut it is off, and stays off until a temperature is set.

        Raises NoReply, BadReply, WrongIdentity, ConfigError (no such sensor or output in this
        model), NotReady (the set point is not in kelvin), DeviceFault (a setting was not taken).
        """
        with self.lock:
            self._identity = self.identify(
                self._wanted_id, self._temperatures.high, self._wanted_pid
            )
            used, setpoint = self.heater_range, self.setpoint_K
            if used == 0:
                self._hold(None)
            elif used > self._range_max or not (
                self._temperatures.low <= setpoint <= self._temperatures.high
            ):
                log.warning(
                    "%s: it was heating in range %s for %g K, which is not allowed here; heater "
                    "off",
                    self.name,
                    RANGES.get(used, used),
                    setpoint,
                )
                self.heater_off()
            elif self.ramping:  # its end may be known here only
                self._hold(None if math.isnan(self._target_K) else self._target_K)
                self._heating = self._on_ramp = True
            else:
                self._hold(setpoint)
        self.seal()

    def _hold(self, target_K: float | None) -> None:
        """Note what is held from now on (None: nothing, the heater is off)."""
        self._target_K = math.nan if target_K is None else target_K
        self._heating, self._on_ramp = target_K is not None, False
        self._dwell.restart(target_K)

    # ---- the role -------------------------------------------------------------------------------

    @property
    def identity(self) -> Identity:
        """Model, serial number and firmware; NotReady before `connect`."""
        if self._identity is None:
            raise NotReady(f"{self.name}: not connected yet; connect it first")
        return self._identity

    @property
    def limits(self) -> Mapping[str, Limits]:
        """The temperatures (K), ramps (K/min) and heater ranges that may be asked for."""
        return {
            "temperature_K": self._temperatures,
            "ramp_K_per_min": RAMP,
            "heater_range": Limits(0.0, self._range_max, ""),
        }

    @property
    def temperature_K(self) -> float:
        """The control sensor's temperature (K); DeviceFault (heater off) if it is not valid.

        Each reading counts for `stable`, too.
        """
        with self.lock:
            kelvin = self._valid_K()
            if kelvin > self._temperatures.high and self.heater_range > 0:
                self._give_up(f"{kelvin:.2f} K is above the limit of {self._temperatures.high:g} K")
            if self._on_ramp:
                self._on_ramp = bool(self.ramping)
            self._dwell.note(kelvin, self.clock.now(), moving=self._on_ramp)
            return kelvin

    def glance_K(self, limit_K: float) -> float:
        """See Cryostat.glance_K; takes the replies to others' questions where those are newer.

        Raises DeviceFault (heater off) if the sensor is not valid.
        """
        begun_s = self.clock.now()
        while not self.lock.acquire(timeout=_GLANCE_S):
            told = [kelvin for kelvin, moment in self.seen_K if moment > begun_s]
            if told and (told[-1] <= limit_K or (len(told) > 1 and told[-2] > limit_K)):
                return self.plausible_K(told[-1])
        try:
            kelvin = self.one_K()
            if kelvin > limit_K:
                again = self.one_K()
                kelvin = again if again <= limit_K else min(kelvin, again)
            if kelvin <= limit_K:
                self.require_valid_sensor()
            kelvin = self.plausible_K(kelvin)
            self._dwell.note(kelvin, self.clock.now(), moving=self._on_ramp)
            return kelvin
        except DeviceFault as error:
            self._give_up(str(error).removeprefix(f"{self.name}: "))
            raise
        finally:
            self.lock.release()

    def watch(self) -> float:
        """Read the temperature (K) and see to the heater; to be called about once a second.

        Raises:
            DeviceFault: sensor, heater or temperature are not as they should be; the heater is
                off, or switched itself off.
            NoReply, BadReply: the controller cannot be understood.
        """
        with self.lock:
            kelvin = self.temperature_K
            self._require_sound_heater()
            if self._heating:
                hottest = max(kelvin, self._target_K) if self._on_ramp else self._target_K
                used, wanted = self.heater_range, self._range_for(hottest)
                if used == 0 and wanted > 0:
                    self._hold(None)
                    raise DeviceFault(
                        f"{self.name}: its heater is off though nobody here switched it off (its "
                        "temperature limit, a power cut, or its front panel?)"
                    )
                if self._fixed_range == 0 and wanted < used:
                    self.set_range(wanted)  # cooled down: less power regulates better
            return kelvin

    @property
    def stable(self) -> bool:
        """Whether the readings have been within the band for the dwell time, up to now."""
        return self._dwell.stable(self.clock.now())

    @property
    def heater_percent(self) -> float:
        """The heater's output (% of its range)."""
        return self.read_percent()

    def set_temperature(self, temperature_K: float, ramp_K_per_min: float | None = None) -> None:
        """Ask for a temperature (K), at a ramp (K/min, 0.1 to 100) from the present one if given.

        Returns at once. Raises LimitError outside the limits, DeviceFault if sensor or heater are
        not in order or a setting is not taken, NotReady while it is above its upper limit.
        """
        _ = self.identity
        target = self._temperatures.check("temperature_K", temperature_K)
        if ramp_K_per_min is not None:
            RAMP.check("ramp_K_per_min", ramp_K_per_min)
        with self.lock:
            here = self._valid_K()
            if here > self._temperatures.high:
                raise NotReady(
                    f"{self.name}: it is at {here:.1f} K, above its limit of "
                    f"{self._temperatures.high:g} K; let it cool with the heater off first"
                )
            self._require_sound_heater()
            self._hold(None)
            self._target_K = target
            self.set_ramp(None)
            if ramp_K_per_min is not None:
                self.set_setpoint(here)  # a ramp begins at the set point, wherever that was left
                self.set_range(self._range_for(max(here, target)))
                self.set_ramp(ramp_K_per_min)
            self.set_setpoint(target, ramped=ramp_K_per_min is not None)
            on_ramp = ramp_K_per_min is not None and bool(self.ramping)
            if not on_ramp:
                self.set_range(self._range_for(target))
            self._hold(target)
            self._on_ramp = on_ramp

    def wait_until_stable(self, timeout_s: float) -> float:
        """Wait until stable, return the temperature (K).

        Raises:
            NotReady: not stable after `timeout_s`, no temperature asked for, or the heater was
                switched off meanwhile. DeviceFault: see `watch`.
        """
        begun_s = self.clock.now()
        if not self._heating:
            raise NotReady(f"{self.name}: no temperature is being held; set one first")
        while True:
            kelvin = self.watch()
            if not self._heating:
                raise NotReady(f"{self.name}: the heater was switched off during the wait")
            if self.stable:
                self._require_setpoint()
                return kelvin
            left_s = begun_s + timeout_s - self.clock.now()
            if left_s <= 0.0:
                raise NotReady(self._too_long(kelvin, timeout_s))
            far_K = abs(kelvin - self._target_K) if math.isfinite(self._target_K) else 0.0
            self.clock.sleep(min(max(_APPROACH * far_K, _POLL_S[0]), _POLL_S[1], left_s))

    def heater_off(self) -> None:
        """Switch the heater off and see that it is; DeviceFault if it stays on."""
        with self.lock:
            self._hold(None)
            self.set_range(0)

    def make_safe(self) -> None:
        """Switch the heater off, verified: for a cooled sample nothing else is safer.

        The compressor is not on this wire: the sample drifts to the cold head's temperature. If
        the heater does not go off, set point, manual output and (335, 336) the output's mode are
        tried, too, before it raises.
        """
        with self.lock:
            try:
                self.heater_off()
                return
            except InstrumentError as error:
                log.warning("%s: the heater did not go off (%s); once more", self.name, error)
                self.expect_trouble()
            self.cut_by_other_means()
            self.heater_off()

    def status(self) -> Status:
        """Ask sensor, heater and loop; the heater goes off if one of them is faulty."""
        with self.lock:
            try:
                kelvin, used = self._valid_K(), self.heater_range
                self._require_sound_heater()
            except DeviceFault as error:
                return Status(False, str(error).removeprefix(f"{self.name}: "))
            if used == 0:
                return Status(True, f"{kelvin:.3f} K, heater off")
            text = f"{kelvin:.3f} K of {self.setpoint_K:g} K, heater {RANGES.get(used, used)}"
        if kelvin > self._temperatures.high:
            return Status(False, f"{text}: above its limit of {self._temperatures.high:g} K")
        return Status(True, text + (", stable" if self.stable else ""))

    def snapshot(self) -> dict[str, Setting]:
        """Return readings and settings as they are now; DeviceFault if the sensor is not valid."""
        with self.lock:
            on, ramp_K_per_min = self.ramp
            gain, reset, rate = self.pid
            return {
                "sensor": Setting(self._sensor),
                "output": Setting(self._output),
                "temperature": Setting(self._valid_K(), "K"),
                "setpoint": Setting(self.setpoint_K, "K"),
                "stable": Setting(self.stable),
                "band": Setting(self._dwell.band, "K"),
                "dwell": Setting(self._dwell.dwell_s, "s"),
                "heater_range": Setting(self.heater_range),
                "heater_range_max": Setting(self._range_max),
                "heater_output": Setting(self.heater_percent, "%"),
                "ramp": Setting(ramp_K_per_min if on else 0.0, "K/min"),
                "gain": Setting(gain),
                "reset": Setting(reset),
                "rate": Setting(rate),
            }

    # ---- what must hold -------------------------------------------------------------------------

    def _valid_K(self) -> float:
        try:
            return self.read_K()
        except DeviceFault as error:
            self._give_up(str(error).removeprefix(f"{self.name}: "))
            raise AssertionError from error  # never reached: giving up raises

    def _require_sound_heater(self) -> None:
        fault = self.read_heater_fault()
        if fault:
            self._give_up(f"its heater is {fault}")

    def _give_up(self, why: str) -> None:
        """Heater off at once, then DeviceFault."""
        try:
            self.make_safe()
        except InstrumentError as error:
            worse = DeviceFault(
                f"{self.name}: {why}; AND THE HEATER COULD NOT BE SWITCHED OFF: do it at the panel"
            )
            raise worse from error
        raise DeviceFault(f"{self.name}: {why}; the heater is off")

    def _require_setpoint(self) -> None:
        held = self.setpoint_K
        if not abs(held - self._target_K) <= SETPOINT_K:
            self._dwell.restart(self._target_K)
            raise DeviceFault(
                f"{self.name}: its set point is {held:g} K instead of {self._target_K:g} K; did "
                "somebody change it at the front panel?"
            )

    def _range_for(self, hottest_K: float) -> int:
        """Return the range that regulates up to a temperature (K; any, if it is not known)."""
        if self._fixed_range:
            return self._fixed_range
        known_K = math.inf if math.isnan(hottest_K) else hottest_K
        return min(next(r for top, r in _AUTOMATIC if known_K <= top), self._range_max)

    def _too_long(self, kelvin: float, timeout_s: float) -> str:
        used, percent = self.heater_range, math.nan
        with contextlib.suppress(InstrumentError):
            percent = self.heater_percent
        text = (
            f"{self.name}: not stable at {self._target_K:g} K after {timeout_s:g} s: it is at "
            f"{kelvin:.3f} K, heater at {percent:.0f} % of range {RANGES.get(used, used)}"
        )
        if percent > 99.0 and kelvin < self._target_K:
            return f"{text}; allow a higher range (heater_range, heater_range_max), or wait longer"
        if percent < 1.0 and kelvin > self._target_K:
            return f"{text}; is the compressor running, and can it get there? Or wait longer"
        return f"{text}; wait longer, widen band_K, or tune its PID"
