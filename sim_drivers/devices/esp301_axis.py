"""An axis of the simulated ESP301: motor, counter, switches, and how long everything takes.

For the simulated controller in `newport_esp301`, which speaks to the host; here nothing is known
of lines and commands. Positions are millimetres from the home switch ("true") or of the counter,
which begins at zero wherever the stage stands when the controller is switched on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from sim_drivers.noise import generator, normals

# What an axis reports, by the last two digits of the error.
FOLLOWING, PLUS_LIMIT, MINUS_LIMIT, PLUS_SOFT, MINUS_SOFT = 3, 4, 5, 6, 7
NOT_ENABLED, HOMING_ABORTED, DURING_HOMING = 13, 20, 30

PARAMETERS = {"VA": 2.0, "VU": 4.0, "AC": 8.0, "AG": 8.0, "AU": 40.0, "SL": -0.01, "SR": 25.01} | {
    "BA": 0.0,
    "SU": 0.0000541,
    "OH": 2.0,
    "JH": 1.0,
    "JW": 0.2,
    "FE": 0.1,
}

Piece = tuple[float, float, float, float]  # seconds, from mm, mm/s, mm/s2


@dataclass(frozen=True)
class _Motion:
    start_s: float
    pieces: tuple[Piece, ...]
    finish: float
    arrive: Callable[[float], None]
    homing: bool = False
    pauses: tuple[tuple[float, float], ...] = ()  # the motion looks done from, to (s after start)

    @property
    def end_s(self) -> float:
        return self.start_s + sum(piece[0] for piece in self.pieces)

    def at(self, now: float) -> tuple[float, float]:
        """Return true position (mm) and speed (mm/s)."""
        left = now - self.start_s
        for seconds, begin, speed, gain in self.pieces:
            if left < seconds:
                return begin + speed * left + 0.5 * gain * left**2, speed + gain * left
            left -= seconds
        return self.finish, 0.0


def way(begin: float, finish: float, velocity: float, up: float, down: float) -> tuple[Piece, ...]:
    """Return the pieces of a move that speeds up, runs and slows down."""
    distance, sign = abs(finish - begin), math.copysign(1.0, finish - begin)
    if distance == 0.0:
        return ()
    top = min(velocity, math.sqrt(2.0 * distance * up * down / (up + down)))
    ramp, brake = top**2 / (2.0 * up), top**2 / (2.0 * down)
    run = max(distance - ramp - brake, 0.0)
    return (
        (top / up, begin, 0.0, sign * up),
        (run / top, begin + sign * ramp, sign * top, 0.0),
        (top / down, finish - sign * brake, sign * top, -sign * down),
    )


class SimulatedAxis:
    """Motor, counter and switches of one axis.

    Args:
        device: name that keys the noise; seed: of it.
        start_mm: true position at power-on; by default somewhere in 5 to 20 mm.
        motor_on: whether the motor is on after power-on.
        settle_um: standard deviation of a settled position; never beyond 0.3 um.
        home_um: standard deviation of the home switch (the limit switches: five times that).
        stale_done_s: how long after a command the motion still looks done.
        home_pause_s: how long the motion looks done between two parts of a home search.
        switches_mm: true positions of the limit switches.
        report: told the error and the bench time when something happens.
    """

    def __init__(
        self,
        device: str,
        seed: int,
        *,
        start_mm: float | None,
        motor_on: bool,
        settle_um: float,
        home_um: float,
        stale_done_s: float,
        home_pause_s: float,
        switches_mm: tuple[float, float],
        report: Callable[[int, float], None],
    ) -> None:
        self.device, self.seed = device, seed
        self.settle_um, self.home_um = settle_um, home_um
        self.stale_done_s, self.home_pause_s = stale_done_s, home_pause_s
        self.switches_mm = switches_mm
        self.moves = 0
        self.homings = 0
        self.stuck = False  # faults: the motor does not turn
        self._report = report
        self._motor_on_at_power_up = motor_on
        drawn = float(generator(seed, device, 0).uniform(5.0, 20.0))
        self.rest_mm = drawn if start_mm is None else start_mm
        self.power_up()

    def power_up(self) -> None:
        """Begin anew: the counter is zero wherever the stage stands."""
        self.parameters = dict(PARAMETERS)
        self.units = 2
        self.zero_mm = self.rest_mm
        self.target = 0.0
        self.powered = self._motor_on_at_power_up
        self._motion: _Motion | None = None

    # ---- what can be known ----------------------------------------------------------------------

    def true_mm(self, now: float) -> float:
        """Return where the stage really stands (mm from the home switch)."""
        return self.rest_mm if self._motion is None else self._motion.at(now)[0]

    def counter(self, now: float) -> float:
        """Return what the counter says (mm)."""
        return self.true_mm(now) - self.zero_mm

    def speed(self, now: float) -> float:
        """Return the velocity (mm/s)."""
        return 0.0 if self._motion is None else self._motion.at(now)[1]

    @property
    def moving(self) -> bool:
        """Whether it is in motion."""
        return self._motion is not None

    @property
    def homing(self) -> bool:
        """Whether it searches its reference."""
        return self._motion is not None and self._motion.homing

    @property
    def end_s(self) -> float | None:
        """The bench time at which the motion ends, None at rest."""
        return None if self._motion is None else self._motion.end_s

    def looks_done(self, now: float) -> bool:
        """Return what the controller says about the motion."""
        motion = self._motion
        if motion is None:
            return True
        since = now - motion.start_s
        return since < self.stale_done_s or any(a <= since < b for a, b in motion.pauses)

    def settle(self, now: float) -> None:
        """End the motion if its time has come."""
        motion = self._motion
        if motion is not None and now >= motion.end_s:
            self._motion = None
            self.rest_mm = motion.finish
            motion.arrive(motion.end_s)

    # ---- what can be done -----------------------------------------------------------------------

    def go(self, target: float, now: float, limited: bool = True) -> int:
        """Start a move to a counter position (mm); return the error that forbids it, or 0."""
        if not self.powered:
            return NOT_ENABLED
        if self.homing:
            return DURING_HOMING
        low, high = self.parameters["SL"], self.parameters["SR"]
        if limited and not low <= target <= high:
            return PLUS_SOFT if target > high else MINUS_SOFT
        self.target = target
        self.moves += 1
        self.rest_mm, self._motion = self.true_mm(now), None
        finish = self.zero_mm + target + 1e-3 * self._noise_um("move", self.moves, self.settle_um)
        self._run(finish, self.parameters["VA"], now, lambda _: None)
        return 0

    def search(self, mode: int, now: float) -> int:
        """Start a home search; return the error that forbids it, or 0."""
        if not self.powered:
            return NOT_ENABLED
        if self.homing:
            return DURING_HOMING
        if mode == 0:
            return self.go(0.0, now, limited=False)
        self.homings += 1
        self.rest_mm, self._motion = self.true_mm(now), None
        at_limit = {3: 1, 5: 1, 4: 0, 6: 0}.get(mode)
        place = 0.0 if at_limit is None else self.switches_mm[at_limit]
        spread = self.home_um * (1.0 if at_limit is None else 5.0)
        finish = place + 1e-3 * self._noise_um("home", self.homings, spread)
        parameters = self.parameters
        there = way(self.rest_mm, finish, parameters["OH"], parameters["AC"], parameters["AG"])
        first = sum(piece[0] for piece in there)
        rest = ((self.home_pause_s + 0.5, finish, 0.0, 0.0),)  # back off, and on at low speed
        pauses = ((first, first + self.home_pause_s),)
        if self.stuck:
            self._halt_by_following(now, homing=True)
            return 0

        def found(_: float) -> None:
            self.zero_mm, self.target = self.rest_mm, 0.0

        self._motion = _Motion(now, (*there, *rest), finish, found, True, pauses)
        return 0

    def stop(self, now: float) -> None:
        """Slow down and stop; a home search is given up."""
        motion = self._motion
        if motion is None:
            return
        begin, speed = motion.at(now)
        down = self.parameters["AG"]
        seconds = abs(speed) / down
        finish = begin + 0.5 * speed * seconds
        self.target = finish - self.zero_mm
        self.rest_mm = begin
        gain = -math.copysign(down, speed)
        self._motion = _Motion(now, ((seconds, begin, speed, gain),), finish, lambda _: None)
        if motion.homing:
            self._report(HOMING_ABORTED, now)

    def power(self, on: bool, now: float) -> None:
        """Switch the motor; off stops it where it is."""
        if not on:
            self.rest_mm, self._motion = self.true_mm(now), None
        self.powered = on

    def define(self, value: float, now: float) -> None:
        """Let the counter say `value` here."""
        self.zero_mm = self.true_mm(now) - value
        self.target = value

    def _run(
        self, finish: float, velocity: float, now: float, arrive: Callable[[float], None]
    ) -> None:
        if self.stuck:
            self._halt_by_following(now)
            return
        up, down = self.parameters["AC"], self.parameters["AG"]
        low, high = self.switches_mm
        if low <= finish <= high:
            pieces = (*way(self.rest_mm, finish, velocity, up, down), (0.02, finish, 0.0, 0.0))
            self._motion = _Motion(now, pieces, finish, arrive)
            return
        # It runs into a limit switch at speed, where the motor is cut.
        switch = high if finish > high else low
        pieces = way(self.rest_mm, switch, velocity, up, 1e3 * up)
        error = PLUS_LIMIT if finish > high else MINUS_LIMIT
        self._motion = _Motion(now, pieces, switch, lambda at_s: self._fail(error, at_s))

    def _halt_by_following(self, now: float, homing: bool = False) -> None:
        rest = ((0.5, self.rest_mm, 0.0, 0.0),)
        self._motion = _Motion(
            now, rest, self.rest_mm, lambda at_s: self._fail(FOLLOWING, at_s), homing
        )

    def _fail(self, error: int, at_s: float) -> None:
        self.powered = False
        self._report(error, at_s)

    def _noise_um(self, what: str, number: int, sigma_um: float) -> float:
        drawn = sigma_um * float(normals(self.seed, f"{self.device}:{what}", number, 1)[0])
        return min(max(drawn, -3.0 * sigma_um), 3.0 * sigma_um)
