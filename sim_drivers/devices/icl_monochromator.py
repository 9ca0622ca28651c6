"""A simulated iHR320 as the ICL shows it: drive, turret, slits, mirrors, filter wheels, shutter.

For the simulated ICL (`horiba_icl`). Moves take their time on the bench's clock; the World is told
the true wavelength, with the small error of a real drive. Slits, mirrors, wheels and the shutter
move and answer, but change nothing that light would notice. Speeds and the step of the drive are
plausible, not measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from instruments.clock import Clock
from sim_drivers.devices.icl_dialect import Answer, Dialect, Refusal, number_of, whole_of
from sim_drivers.heard import Heard
from sim_drivers.noise import generator

FOCAL_LENGTH_MM = 320.0
HALF_ANGLE_DEG = 10.63

_HIGHEST_AT_1200_NM = 1500.0
_STEP_AT_1200_NM = 0.002
_ACCESSORY_S = 1.0
_MISSING, _INVALID, _NO_ACCESSORY = -521, -513, -524


@dataclass(frozen=True)
class _Move:
    start_s: float = 0.0
    end_s: float = 0.0
    from_nm: float = 0.0
    to_nm: float = 0.0

    def at(self, now: float) -> float:
        if now >= self.end_s:
            return self.to_nm
        if now <= self.start_s:
            return self.from_nm
        return self.from_nm + (self.to_nm - self.from_nm) * (now - self.start_s) / (
            self.end_s - self.start_s
        )


class SimulatedIHR320:
    """The monochromator behind the ICL.

    Args:
        clock: the bench's clock. world: told the true wavelength (nm) and the grooves per mm.
        seed: keys the drive error, together with grating and position.
        dialect: which reading of the protocol is played.
        serial: serial number. gratings: position 0 to 2 -> (grooves per mm, blaze in nm).
        ports: port -> slit type (1: 2 mm, 2: 7 mm). mirrors: sides that have one.
        filter_wheels: which are there. initialized: homed since power-up.
        nm_per_s: speed with 1200 grooves/mm. grating_change_s, init_s: how long these take.
        drive_error_nm: one standard deviation of where a position really is, 1200 grooves/mm.
    """

    def __init__(
        self,
        clock: Clock,
        world: Any,
        *,
        seed: int = 0,
        dialect: Dialect | None = None,
        serial: str = "1745B-2019-iHR320",
        gratings: Mapping[int, tuple[float, float]] | None = None,
        ports: Mapping[int, int] | None = None,
        mirrors: tuple[str, ...] = ("entrance", "exit"),
        filter_wheels: tuple[int, ...] = (1, 2),
        initialized: bool = True,
        nm_per_s: float = 150.0,
        grating_change_s: float = 12.0,
        init_s: float = 45.0,
        drive_error_nm: float = 0.005,
    ) -> None:
        self.clock = clock
        self.world = world
        self.seed = seed
        self.dialect = dialect or Dialect()
        self.serial = serial
        self.gratings = dict(gratings or {0: (600.0, 500.0), 1: (1200.0, 500.0), 2: (300.0, 600.0)})
        self.ports = dict(ports or {1: 1, 2: 1, 4: 1})
        self.mirror_sides = mirrors
        self.filter_wheels = filter_wheels
        self.nm_per_s = nm_per_s
        self.grating_change_s = grating_change_s
        self.init_s = init_s
        self.drive_error_nm = drive_error_nm
        self.open = False
        self.stuck = False
        self.commands = Heard()
        self._verbs = self._dictionary()
        self.power_up(initialized)

    def power_up(self, initialized: bool) -> None:
        """Be as after switching on."""
        self.initialized = initialized
        self._init_until = 0.0
        self._busy_from = self._busy_until = 0.0
        self._turret = (0.0, 0, 0)  # from when on, slot before, slot after
        self._move = _Move()
        self._slits = dict.fromkeys(self.ports, 0.0)
        self._mirrors = dict.fromkeys(self.mirror_sides, 0)
        self._filters = dict.fromkeys(self.filter_wheels, 1)
        self._shutter = 0
        self.settle(self.clock.now())

    # ---- the physical state ------------------------------------------------------------------

    def slot(self, now: float) -> int:
        """Return the grating in the beam."""
        since, before, after = self._turret
        return after if now >= since else before

    def wavelength_nm(self, now: float) -> float:
        """Return where the drive says it stands (nm)."""
        return self._move.at(now)

    def settle(self, now: float) -> None:
        """Tell the World where the grating stands by now."""
        slot = self.slot(now)
        grooves = self.gratings[slot][0] or 1200.0
        shown = self._move.at(now)
        key = round(shown / _STEP_AT_1200_NM) * 16 + slot
        off = generator(int(self.seed), "ihr320", abs(key)).standard_normal()
        error = self.drive_error_nm * 1200.0 / grooves * float(off)
        self.world.set_monochromator(max(shown + error, 0.0) if shown else 0.0, grooves)

    def _start(self, seconds: float) -> float:
        """Be busy for some seconds; return the end."""
        now = self.clock.now()
        if now < self._busy_until:
            raise Refusal(-519)
        self._busy_from, self._busy_until = now, now + seconds
        return self._busy_until

    def _moved(self, end_s: float) -> Answer:
        wait = end_s - self.clock.now() if self.dialect.moves_block else 0.0
        return Answer({}, 0.005 + wait)

    # ---- requests ----------------------------------------------------------------------------

    def handle(self, verb: str, parameters: Mapping[str, Any]) -> Answer:
        """Carry out a command (its name without `mono_`); raises Refusal."""
        self.commands.append(verb)
        if verb not in self._verbs:
            raise Refusal(-2)
        if verb not in ("open", "close", "isOpen") and not self.open:
            raise Refusal(-506)
        self.settle(self.clock.now())
        return self._verbs[verb](parameters)

    def _dictionary(self) -> dict[str, Callable[[Mapping[str, Any]], Answer]]:
        return {
            "open": self._do_open,
            "close": self._do_close,
            "isOpen": lambda p: Answer({"open": self.open}),
            "init": self._do_init,
            "isInitialized": self._is_initialized,
            "isBusy": self._is_busy,
            "getConfig": lambda p: Answer({"configuration": self._configuration()}, 0.05),
            "getPosition": lambda p: Answer(
                {"wavelength": round(self.wavelength_nm(self.clock.now()), 6)}
            ),
            "setPosition": self._set_position,
            "moveToPosition": self._move_to,
            "getGratingPosition": lambda p: Answer({"position": self.slot(self.clock.now())}),
            "moveGrating": self._move_grating,
            "getFilterWheelPosition": lambda p: Answer({"position": self._filters[self._wheel(p)]}),
            "moveFilterWheel": self._move_filter,
            "getMirrorPosition": lambda p: Answer({"position": self._mirrors[self._side(p)]}),
            "moveMirror": self._move_mirror,
            "getSlitPositionInMM": lambda p: Answer({"position": self._slits[self._port(p)]}),
            "moveSlitMM": self._move_slit,
            "getSlitStepPosition": lambda p: Answer(
                {"position": round(self._slits[self._port(p)] / self._slit_step(p))}
            ),
            "moveSlit": self._step_slit,
            "shutterOpen": lambda p: self._set_shutter(1),
            "shutterClose": lambda p: self._set_shutter(0),
            "getShutterStatus": lambda p: Answer({"locationId": 0, "position": self._shutter}),
        }

    def _do_open(self, parameters: Mapping[str, Any]) -> Answer:
        if self.open:
            raise Refusal(-501)
        self.open = True
        return Answer({}, 0.8)

    def _do_close(self, parameters: Mapping[str, Any]) -> Answer:
        if not self.open:
            raise Refusal(-503)
        self.open = False
        return Answer({}, 0.1)

    def _do_init(self, parameters: Mapping[str, Any]) -> Answer:
        if self.initialized and not parameters.get("force", False):
            return Answer({})
        end = self._start(self.init_s)
        self.initialized = True
        self._init_until = end
        self._turret = (end, self.slot(self.clock.now()), 0)
        now = self.clock.now()
        self._move = _Move(now, end, self.wavelength_nm(now), 0.0)
        return self._moved(end)

    def _is_initialized(self, parameters: Mapping[str, Any]) -> Answer:
        now = self.clock.now()
        busy = now < self._busy_until and not self.dialect.initialized_while_busy
        done = self.initialized and now >= self._init_until
        return Answer({"initialized": done and not busy})

    def _is_busy(self, parameters: Mapping[str, Any]) -> Answer:
        now = self.clock.now()
        seen = self._busy_from + self.dialect.busy_after_s <= now < self._busy_until
        return Answer({"busy": seen})

    def _need_homed(self) -> None:
        if not self.initialized or self.clock.now() < self._init_until:
            raise Refusal(-505)

    def _set_position(self, parameters: Mapping[str, Any]) -> Answer:
        self._need_homed()
        wavelength = number_of(parameters, "wavelength", _MISSING, _INVALID)
        self._move = _Move(to_nm=wavelength)
        return Answer({})

    def _move_to(self, parameters: Mapping[str, Any]) -> Answer:
        self._need_homed()
        target = number_of(parameters, "wavelength", _MISSING, _INVALID)
        now = self.clock.now()
        scale = 1200.0 / (self.gratings[self.slot(now)][0] or 1200.0)
        if not 0.0 <= target <= _HIGHEST_AT_1200_NM * scale:
            raise Refusal(_INVALID)
        step = _STEP_AT_1200_NM * scale
        here = self.wavelength_nm(now)
        there = here if self.stuck else round(target / step) * step
        end = self._start(0.5 + abs(target - here) / (self.nm_per_s * scale))
        self._move = _Move(now, end, here, there)
        return self._moved(end)

    def _move_grating(self, parameters: Mapping[str, Any]) -> Answer:
        self._need_homed()
        slot = whole_of(parameters, "position", _MISSING, _INVALID)
        if slot not in self.gratings:
            raise Refusal(_INVALID)
        now = self.clock.now()
        before = self.slot(now)
        end = self._start(self.grating_change_s if slot != before else 0.1)
        if self.stuck or slot == before:
            return self._moved(end)
        self._turret = (end, before, slot)
        here = self.wavelength_nm(now)
        there = here
        grooves = self.gratings[before][0], self.gratings[slot][0]
        if not self.dialect.turret_keeps_wavelength and all(grooves):
            there = here * grooves[0] / grooves[1]
        self._move = _Move(end, end, here, there)
        return self._moved(end)

    # ---- accessories -------------------------------------------------------------------------

    def _port(self, parameters: Mapping[str, Any]) -> int:
        port = whole_of(parameters, "locationId", _MISSING, _INVALID)
        if port not in self.ports:
            raise Refusal(_NO_ACCESSORY)
        return port

    def _slit_step(self, parameters: Mapping[str, Any]) -> float:
        return 0.002 if self.ports[self._port(parameters)] == 1 else 0.007

    def _move_slit(self, parameters: Mapping[str, Any]) -> Answer:
        port = self._port(parameters)
        width = number_of(parameters, "position", _MISSING, _INVALID)
        if not 0.0 <= width <= (2.0 if self.ports[port] == 1 else 7.0):
            raise Refusal(_INVALID)
        end = self._start(_ACCESSORY_S)
        step = self._slit_step(parameters)
        if not self.stuck:
            self._slits[port] = round(round(width / step) * step, 6)
        return self._moved(end)

    def _step_slit(self, parameters: Mapping[str, Any]) -> Answer:
        steps = whole_of(parameters, "position", _MISSING, _INVALID)
        width = steps * self._slit_step(parameters)
        return self._move_slit({**parameters, "position": width})

    def _side(self, parameters: Mapping[str, Any]) -> str:
        place = whole_of(parameters, "locationId", _MISSING, _INVALID) - self.dialect.mirrors_from
        if place not in (0, 1):
            raise Refusal(_INVALID)
        side = ("entrance", "exit")[place]
        if side not in self.mirror_sides:
            raise Refusal(_NO_ACCESSORY)
        return side

    def _move_mirror(self, parameters: Mapping[str, Any]) -> Answer:
        side = self._side(parameters)
        position = whole_of(parameters, "position", _MISSING, _INVALID)
        if position not in (0, 1):
            raise Refusal(_INVALID)
        end = self._start(_ACCESSORY_S)
        if not self.stuck:
            self._mirrors[side] = position
        return self._moved(end)

    def _wheel(self, parameters: Mapping[str, Any]) -> int:
        wheel = whole_of(parameters, "locationId", _MISSING, _INVALID)
        if wheel not in self.filter_wheels:
            raise Refusal(_NO_ACCESSORY)
        return wheel

    def _move_filter(self, parameters: Mapping[str, Any]) -> Answer:
        wheel = self._wheel(parameters)
        position = whole_of(parameters, "position", _MISSING, _INVALID)
        if not 1 <= position <= 6:
            raise Refusal(_INVALID)
        end = self._start(_ACCESSORY_S)
        if not self.stuck:
            self._filters[wheel] = position
        return self._moved(end)

    def _set_shutter(self, position: int) -> Answer:
        self._shutter = position
        return Answer({})

    def _configuration(self) -> dict[str, Any]:
        stand_in = self.dialect.stand_in_names
        place = "location" if stand_in else "locationId"
        gratings = [
            {"blaze": blaze, "grooveDensity": grooves, "positionIndex": slot}
            for slot, (grooves, blaze) in self.gratings.items()
        ]
        sides = ("entrance", "exit")
        return {
            "filterWheels": [{place: wheel} for wheel in self.filter_wheels],
            "gratings": gratings,
            "mirrors": [{"locationId": 1 + sides.index(side)} for side in self.mirror_sides],
            "monoModel" if stand_in else "model": "iHR320",
            "ports": [
                {"monoPortLocation" if stand_in else "locationId": port, "slitType": kind}
                for port, kind in self.ports.items()
            ],
            "procuctId" if stand_in else "productId": "257",
            "serialNumber": "",
        }

    def listed(self) -> dict[str, Any]:
        """Return the entry in the ICL's list, but for the index."""
        return {"deviceType": "HORIBA Scientific iHR", "serialNumber": self.serial}
