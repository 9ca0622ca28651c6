"""The regulation inside a simulated temperature controller: set point, ramp, PID, heater.

Between the controller's commands (sim_drivers.devices.lakeshore_335) and the cryostat it regulates
(sim_drivers.thermal). It works in the controller's own period and is brought up to date when
somebody asks. Where nothing can happen (output off, or pinned far from the set point, or at rest)
several periods are taken at once, so that hours pass in milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from sim_drivers.thermal import Cryostat, heater_power_W

PERIOD_S = 0.1
OFF, CLOSED, OPEN = "off", "closed", "open"


class HeaterLoop:
    """One heater output, closed over the stage's temperature.

    Attributes:
        mode: OFF, CLOSED or OPEN (the manual output alone).
        heater_range: 0 (off) to 3. full_W: the power of each range.
        p, i, d: gain (%/K), reset (1000/s), rate (% of a quarter of the reset time).
        manual_percent: the output of OPEN; CLOSED adds it.
        percent: the output now (% of the full current).
        power_fault: the heater gets nothing (open, or shorted).
        blind: the control sensor gives no reading; the output is zero meanwhile.
        trip_K: above this temperature the range is switched off; 0 for never.

    Args:
        cryostat: what is heated. start_s: bench time at which its state is given.
        pump_W: asked for the mean power of the light in the sample between two bench times (W).
    """

    def __init__(
        self,
        cryostat: Cryostat,
        start_s: float,
        pump_W: Callable[[float, float], float] = lambda from_s, to_s: 0.0,
    ) -> None:
        self.cryostat = cryostat
        self.start_s = start_s
        self.ticks = 0
        self.full_W = (0.0, 0.5, 5.0, 50.0)
        self.mode = CLOSED
        self.heater_range = 0
        self.p, self.i, self.d = 50.0, 20.0, 0.0
        self.manual_percent = 0.0
        self.percent = 0.0
        self.power_fault = False
        self.blind = False
        self.trip_K = 0.0
        self.tripped = False
        self.ramp_on = False
        self.ramp_K_min = 0.1
        self.target_K = 0.0
        self.setpoint_K = 0.0
        self._pump_W = pump_W
        self._told_pump_W = 0.0
        self._integral = 0.0  # percent
        self._change = math.inf  # of the output in the last period
        self._last_K = cryostat.stage.temperature_K

    # ---- settings -----------------------------------------------------------------------------

    def set_target(self, kelvin: float) -> None:
        """Give a set point; it is reached at the ramp's rate while the ramp is on."""
        self.target_K = kelvin
        if not self.ramp_on or self.ramp_K_min <= 0.0:
            self.setpoint_K = kelvin

    def set_ramp(self, on: bool, K_per_min: float) -> None:
        """Switch the ramp; switching it off ends one under way at its target."""
        self.ramp_on, self.ramp_K_min = on, K_per_min
        if not on:
            self.setpoint_K = self.target_K

    def set_range(self, heater_range: int) -> None:
        """Choose the heater's range; 0 is off and forgets what the integral held."""
        if heater_range == 0 or self.heater_range == 0:
            self._integral = 0.0
        self.heater_range = heater_range
        if heater_range == 0:
            self.percent = 0.0

    @property
    def ramping(self) -> bool:
        """Whether the set point is on its way."""
        return self.setpoint_K != self.target_K

    @property
    def heater_W(self) -> float:
        """What the heater gives off now (W)."""
        if self.power_fault:
            return 0.0
        return heater_power_W(self.percent, self.full_W[self.heater_range])

    # ---- time ---------------------------------------------------------------------------------

    def settle(self, now: float) -> None:
        """Bring everything up to the last period that ended by a bench time."""
        due = math.floor((now - self.start_s) / PERIOD_S + 1e-6)
        if due <= self.ticks:
            return
        begun_s = self.start_s + self.ticks * PERIOD_S
        pump_W = self._pump_W(begun_s, self.start_s + due * PERIOD_S)
        if pump_W != self._told_pump_W:
            self._told_pump_W, self._change = pump_W, math.inf
        while self.ticks < due:
            self._regulate()
            periods = self._stride(due - self.ticks)
            seconds = periods * PERIOD_S
            self.cryostat.advance(seconds, self.heater_W, pump_W)
            self._move_setpoint(seconds)
            self.ticks += periods
            if self.heater_range and 0.0 < self.trip_K < self.cryostat.stage.temperature_K:
                self.set_range(0)
                self.tripped = True

    def _move_setpoint(self, seconds: float) -> None:
        if self.ramping:
            way = self.ramp_K_min / 60.0 * seconds
            left = self.target_K - self.setpoint_K
            step = left if abs(left) <= way else math.copysign(way, left)
            self.setpoint_K = self.target_K if step == left else self.setpoint_K + step

    def _regulate(self) -> None:
        """Work out the output for the coming period."""
        before, here = self.percent, self.cryostat.stage.temperature_K
        if self.heater_range == 0 or self.mode == OFF or self.blind:
            self.percent, self._integral = 0.0, 0.0
        elif self.mode == OPEN:
            self.percent = self.manual_percent
        else:
            error = self.setpoint_K - here
            reset_per_s = self.i / 1000.0
            rate_s = 0.25 * self.d / 100.0 / reset_per_s if reset_per_s > 0.0 else 0.0
            slope = (here - self._last_K) / PERIOD_S
            fixed = self.p * (error - rate_s * slope) + self.manual_percent
            gained = self._integral + self.p * reset_per_s * error * PERIOD_S
            wanted = fixed + gained
            if 0.0 <= wanted <= 100.0 or (wanted > 100.0) == (error < 0.0):
                self._integral = min(max(gained, -100.0), 100.0)  # never winds up
            elif error < 0.0:
                self._integral = max(self._integral, 0.0)
            self.percent = min(max(fixed + self._integral, 0.0), 100.0)
        self._change = abs(self.percent - before)
        self._last_K = here

    def _stride(self, periods: int) -> int:
        """Return how many periods may pass with the output as it is (1 to `periods`)."""
        if periods == 1:
            return 1
        warming = self.heater_W > 0.0
        if self.heater_range == 0 or self.mode != CLOSED or self.blind:
            return min(periods, 20) if warming and self.trip_K else periods
        rates = self.cryostat.rates_K_s(self.heater_W, self._told_pump_W)
        error = self.setpoint_K - self.cryostat.stage.temperature_K
        pinned = (self.percent == 0.0 and error < -1.0) or (
            self.percent == 100.0 and error > max(1.0, 200.0 / self.p)
        )
        if pinned:
            closing = abs(rates[1]) + (self.ramp_K_min / 60.0 if self.ramping else 0.0) + 1e-6
            most = 0.2 * abs(error) / closing
        elif (
            abs(error) < 2e-3
            and self._change < 1e-3
            and not self.ramping
            and max(abs(rate) for rate in rates) < 2e-4
        ):
            most = 2.0
        else:
            return 1
        return min(max(int(most / PERIOD_S), 1), periods, 600)

    # ---- for runs that are resumed ------------------------------------------------------------

    def state(self) -> dict[str, float]:
        """Return everything that decides how it goes on."""
        return {
            **self.cryostat.state(),
            "start_s": self.start_s,
            "ticks": float(self.ticks),
            "range": float(self.heater_range),
            "mode": float((OFF, CLOSED, OPEN).index(self.mode)),
            "p": self.p,
            "i": self.i,
            "d": self.d,
            "manual_percent": self.manual_percent,
            "percent": self.percent,
            "change": min(self._change, 1e9),
            "integral": self._integral,
            "last_K": self._last_K,
            "pump_W": self._told_pump_W,
            "trip_K": self.trip_K,
            "ramp_on": float(self.ramp_on),
            "ramp_K_min": self.ramp_K_min,
            "target_K": self.target_K,
            "setpoint_K": self.setpoint_K,
        }

    def restore(self, state: dict[str, float], now: float) -> None:
        """Take back what `state` returned, as the state at the bench time `now`."""
        self.cryostat.restore(state)
        self.start_s, self.ticks = state["start_s"], int(state["ticks"])
        if not 0.0 <= now - (self.start_s + self.ticks * PERIOD_S) < 2.0 * PERIOD_S:
            self.start_s = now - self.ticks * PERIOD_S  # another clock: time goes on from here
        self.heater_range = int(state["range"])
        self.mode = (OFF, CLOSED, OPEN)[int(state["mode"])]
        self.p, self.i, self.d = state["p"], state["i"], state["d"]
        self.manual_percent, self.percent = state["manual_percent"], state["percent"]
        self._change, self._integral = state["change"], state["integral"]
        self._last_K, self._told_pump_W = state["last_K"], state["pump_W"]
        self.trip_K = state["trip_K"]
        self.ramp_on, self.ramp_K_min = bool(state["ramp_on"]), state["ramp_K_min"]
        self.target_K, self.setpoint_K = state["target_K"], state["setpoint_K"]
