"""A simulated Lake Shore 331, 335 or 336 temperature controller on a closed-cycle cryostat.

For the driver, for other programs on a port, and for rehearsals of what goes wrong. It chains
commands, latches its errors in the event status register and answers nothing to what it does not
know, regulates the cryostat in its own period, and tells the World what the sample's temperature
is. Where the protocol sheet leaves a choice, every reading can be played. Stops at the line: the
commands are in lakeshore_registers, the cryostat in sim_drivers.thermal.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal

from instruments.clock import Clock
from sim_drivers.devices.lakeshore_registers import MODELS, Played, Registers
from sim_drivers.heater_loop import PERIOD_S, HeaterLoop
from sim_drivers.link import WireDevice
from sim_drivers.noise import normals
from sim_drivers.thermal import Cryostat

DEVICE = "lakeshore-335"
ROOM_K = 295.0
SPACING_S = 0.05  # between two messages
IMPOSTOR = "LSCI,MODEL218S,4800123,112099"


class SimulatedLakeShore(WireDevice):
    """The controller, its heater, its sensors and the cryostat.

    Args:
        clock: the bench's clock.
        world: told by `set_sample_temperature_K`, asked for `pump_power_W`, where it has
            them.
        seed: of the sensors' noise.
        model: 331, 335 or 336.
        start_K: of the cryostat (K). cryostat: another one than the usual.
        output, sensor: where the heater and the sensor of the stage are wired; the next sensor is
            the sample's, others are open.
        numbers: how readings are written: "fixed" +010.123, "six" +10.1230, "exponent".
        ramp_reply: the rate in `RAMP?`: "whole" 0,10, "fixed" 0,+010.0.
        setpoint_lag_s: how long `SETP?` still tells the old set point.
        ramping_setpoint: `SETP?` tells the moving set point of a ramp, not its target.
        invalid_K: what `KRDG?` tells of a sensor without a valid reading.
        off_percent: what `HTR?` tells with the heater off.
        fault_clears: `HTRST?` forgets a fault when it has told it, until it shows again.
        fault_turns_off: a faulty heater takes its range back.
        loop_form: a 331 also takes `RANGE 1,2` and the like.
        one_query: only the last query of a line is answered; a 331 does so always.
        crlf_only: a line ends with CR LF and nothing less (a 331's port).
        strict_timing: what comes within 50 ms of the message before is lost.
        latency_s: from a query to its reply. noise_K: of a reading at 10 K, one standard deviation.
        powerup: the range survives a restart. boot_s: how long a restart takes.
    """

    FAULTS: ClassVar[frozenset[str]] = frozenset({"identity", "sensor", "heater", "restart"})

    def __init__(
        self,
        clock: Clock,
        world: Any = None,
        *,
        seed: int = 0,
        model: int = 335,
        start_K: float = ROOM_K,
        cryostat: Cryostat | None = None,
        output: int = 1,
        sensor: str = "A",
        numbers: Literal["fixed", "six", "exponent"] = "fixed",
        ramp_reply: Literal["whole", "fixed"] = "fixed",
        setpoint_lag_s: float = 0.3,
        ramping_setpoint: bool = True,
        invalid_K: float = 0.0,
        off_percent: float = 0.0,
        fault_clears: bool = False,
        fault_turns_off: bool = False,
        loop_form: bool = False,
        one_query: bool = False,
        crlf_only: bool | None = None,
        strict_timing: bool = False,
        latency_s: float = 0.010,
        noise_K: float = 0.0015,
        powerup: bool = False,
        boot_s: float = 4.0,
    ) -> None:
        super().__init__(clock)
        self.world = world
        self.seed = seed
        self.model = model
        self.sensor, self.wired = sensor, output
        self.invalid_K, self.fault_clears = invalid_K, fault_clears
        self.fault_turns_off = fault_turns_off
        self.one_query = one_query or model == 331
        self.crlf_only = model == 331 if crlf_only is None else crlf_only
        self.strict_timing, self.latency_s = strict_timing, latency_s
        self.noise_K, self.boot_s = noise_K, boot_s
        self.sensor_status = 0  # faults: the bits of RDGST? for the stage's sensor
        self.heater_fault = 0  # faults: 1 open, 2 short
        self.cryostat = cryostat if cryostat is not None else Cryostat(start_K)
        self._pump = _mean_power(getattr(world, "pump_power_W", None))
        self._tell = getattr(world, "set_sample_temperature_K", None)
        self.begin_s = clock.now()
        self.loop = HeaterLoop(self.cryostat, self.begin_s, self._pump)
        loops = {
            number: self.loop if number == output else HeaterLoop(Cryostat(ROOM_K), self.begin_s)
            for number in range(1, int(MODELS[model]["outputs"]) + 1)
        }
        self.inputs = str(MODELS[model]["inputs"])
        played = Played(
            numbers, ramp_reply, setpoint_lag_s, ramping_setpoint, off_percent, loop_form
        )
        self.registers = Registers(
            model,
            clock,
            loops,
            self._sense,
            self._shown_fault,
            self.inputs.index(sensor) + 1,
            played,
        )
        self.registers.powerup[output] = int(powerup)
        self._buffer = b""
        self._mute_until_s = self._ready_s = self._told_fault_s = -math.inf
        self.settle(self.begin_s)

    # ---- for tests and faults -------------------------------------------------------------------

    @property
    def stage_K(self) -> float:
        """The true temperature of the stage now (K)."""
        self.settle(self.clock.now())
        return self.cryostat.stage.temperature_K

    @property
    def sample_K(self) -> float:
        """The true temperature of the sample now (K)."""
        self.settle(self.clock.now())
        return self.cryostat.sample.temperature_K

    def restart(self) -> None:
        """Cut the power for a moment: the heater is off, and it is mute until it has started."""
        with self.device_lock:
            now = self.clock.now()
            self.settle(now)
            self._outgoing.clear()
            self._buffer = b""
            self.registers.power_up()
            self._mute_until_s = now + self.boot_s

    def fault(self, kind: str, active: bool) -> None:
        """See WireDevice.fault; "sensor" and "heater" are open while it acts."""
        with self.device_lock:
            self.settle(self.clock.now())
            match kind:
                case "sensor":
                    self.sensor_status = 1 if active else 0
                case "heater":
                    self.heater_fault = 1 if active else 0
                case "identity":
                    own = str(MODELS[self.model]["identity"])
                    self.registers.identity = IMPOSTOR if active else own
                case "restart":
                    if active:
                        self.restart()
                case _:
                    super().fault(kind, active)

    def state(self) -> dict[str, float]:
        """Return temperatures, regulation and time: what a resumed run must find again."""
        now = self.clock.now()
        self.settle(now)
        return {"begin_s": self.begin_s, "now_s": now, **self.loop.state()}

    def restore(self, state: dict[str, float]) -> None:
        """Take back what `state` returned, as the state of now."""
        with self.device_lock:
            now = self.clock.now()
            self.loop.restore(state, now)
            self.begin_s = state["begin_s"] + (now - state["now_s"])
            self._outgoing.clear()
            self.registers.show_setpoints()
            self._mute_until_s = self._ready_s = self._told_fault_s = -math.inf
            self._tell_world()

    # ---- time -----------------------------------------------------------------------------------

    def settle(self, now: float) -> None:
        """Bring regulation and cryostat up to a bench time, and the World with them."""
        with self.device_lock:
            loop = self.loop
            loop.power_fault = self.heater_fault != 0
            loop.blind = self.sensor_status != 0
            loop.trip_K = self.registers.limits_K[self.sensor]
            wrong_input = (
                self.registers.control_input[self.wired] != self.inputs.index(self.sensor) + 1
            )
            loop.blind = loop.blind or wrong_input
            loop.settle(now)
            if self.heater_fault and self.fault_turns_off and loop.heater_range:
                loop.set_range(0)
            self._tell_world()

    def take(self) -> bytes:
        """See WireDevice.take."""
        self.settle(self.clock.now())
        return super().take()

    def _tell_world(self) -> None:
        if self._tell is not None:
            self._tell(self.cryostat.sample.temperature_K)

    # ---- what sensors and heater say --------------------------------------------------------

    def _sense(self, name: str) -> tuple[float, int]:
        """Return an input's reading (K) and status; a new reading comes every period.

        The input after the stage's is the sample's (with two inputs: the other one).
        """
        place = self.inputs.index(name) - self.inputs.index(self.sensor)
        wired = place in (0, 1) or len(self.inputs) == 2
        status = self.sensor_status if place == 0 else int(not wired)
        if status:
            return self.invalid_K, status
        true = (self.cryostat.sample if place else self.cryostat.stage).temperature_K
        number = max(math.floor((self.clock.now() - self.begin_s) / PERIOD_S + 1e-6), 0)
        drawn = float(normals(self.seed, f"{DEVICE}:{name}", number, 1)[0])
        return true + self.noise_K * (0.7 + 0.03 * true) * min(max(drawn, -4.0), 4.0), 0

    def _shown_fault(self, output: int) -> int:
        now = self.clock.now()
        if output != self.wired or not self.heater_fault:
            return 0
        if self.fault_clears and now < self._told_fault_s + 1.0:
            return 0
        self._told_fault_s = now
        return self.heater_fault

    # ---- lines ----------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take bytes; a line ends with LF, or CR LF."""
        with self.device_lock:
            now = self.clock.now()
            self.settle(now)
            if now < self._mute_until_s:
                return
            self._buffer += data
            end = b"\r\n" if self.crlf_only else b"\n"
            while end in self._buffer:
                raw, self._buffer = self._buffer.split(end, 1)
                if self.strict_timing and now < self._ready_s - 1e-6:
                    continue
                self._line(raw.decode("latin-1").strip("\r \t"))

    def _line(self, line: str) -> None:
        self._ready_s = self.clock.now() + SPACING_S
        answers = self.registers.answers(line)
        if answers:
            told = answers[-1] if self.one_query else ";".join(answers)
            self.send(f"{told}\r\n".encode("latin-1"), self.latency_s)
            self._ready_s += self.latency_s


def _mean_power(ask: Any) -> Callable[[float, float], float]:
    """Return what tells the mean pump power between two bench times (W).

    A world that knows only the power of now is asked for that.
    """
    if ask is None:
        return lambda from_s, to_s: 0.0
    if len(inspect.signature(ask).parameters) >= 2:
        return lambda from_s, to_s: float(ask(from_s, to_s))
    return lambda from_s, to_s: float(ask())
