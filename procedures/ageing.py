"""ageing: the same power sweep over days, to see the threshold rise in air.

The sweep is the power sweep's own. Between the sweeps the bench is dark and the run waits for the
day; on a virtual clock the days pass at once. On a real bench several power-sweep files, taken
when it suits and analysed together, give the same result. Stops at the record.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import ClassVar

from instruments.clock import VirtualClock
from procedures.columns import Column
from procedures.measurement import Needs, Point, Record
from procedures.parameters import Numbers, ParameterError
from procedures.power_sweep import PowerSweep
from procedures.running.signals import Stopped

DAY_S = 86_400.0
_LOOK_S = 5.0  # while waiting, an abort is seen this soon


class Ageing(PowerSweep):
    """Spectra against fluence, day after day."""

    MEASUREMENT: ClassVar[str] = "ageing"
    TITLE: ClassVar[str] = "Emission spectra against pump fluence over days"
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        *PowerSweep.COLUMNS[:-3],
        Column("sweep", "", "Number of the sweep", "uint16"),
        Column("day", "d", "Days in air when the record was taken"),
        *PowerSweep.COLUMNS[-3:],
    )

    days = Numbers(
        "days",
        units="d",
        minimum=0.0,
        maximum=3650.0,
        default=[0.0, 7.0, 14.0, 21.0],
        description="when to sweep; the first sweep is made at once",
    )

    def check(self) -> None:
        """Refuse days that do not rise."""
        days = list(self.days)
        if not days:
            raise ParameterError("at least one day is needed", key="days")
        if any(later <= earlier for earlier, later in itertools.pairwise(days)):
            raise ParameterError(f"{days} was given, the days must rise", key="days")
        super().check()

    def plan(self) -> list[Point]:
        """A whole sweep a day; the first point of each later day knows how long to wait."""
        once = super().plan()
        before = [self.days[0], *self.days[:-1]]
        return [
            {
                **point,
                "sweep": float(number),
                "day": day,
                "wait_days": day - earlier if place == 0 else 0.0,
            }
            for number, (day, earlier) in enumerate(zip(self.days, before, strict=True))
            for place, point in enumerate(once)
        ]

    def needs(self, point: Point) -> Needs:
        """As in a power sweep, and the waiting."""
        found = super().needs(point)
        return replace(found, seconds=found.seconds + point["wait_days"] * DAY_S)

    def prepare(self) -> None:
        """As in a power sweep; the days are counted from here."""
        self.decisions.setdefault("first_day_s", self.bench.clock.now())
        super().prepare()
        self._told_day: float | None = None

    def record(self, point: Point) -> Record:
        """Wait for the day, then take spectrum and background at one fluence."""
        if point["wait_days"] > 0.0:
            self._wait_for(point["day"])
        if self._told_day != point["day"]:
            self._let_age(point["day"])
            self._told_day = point["day"]
        return super().record(point)

    def own_columns(self, point: Point) -> Record:
        """Way, sweep and day."""
        since_s = self.bench.clock.now() - float(self.decisions["first_day_s"])
        return {
            **super().own_columns(point),
            "sweep": int(point["sweep"]),
            "day": self.days[0] + since_s / DAY_S,
        }

    def _wait_for(self, day: float) -> None:
        """Wait, dark, until a day has come; begin it like the first one.

        Raises Stopped if the run is aborted meanwhile.
        """
        clock = self.bench.clock
        due_s = float(self.decisions["first_day_s"]) + (day - self.days[0]) * DAY_S
        if clock.now() < due_s:
            self.bench.pump.shut()
            if isinstance(clock, VirtualClock):
                self._let_age(day, due_s - clock.now())
            while clock.now() < due_s:
                self.check_sink()
                if self._stopped():
                    raise Stopped
                clock.sleep(min(due_s - clock.now(), _LOOK_S))
        self._background = None
        self._exposure_s = self._whole_shots(min(0.1, float(self.exposure_max_s)))

    def _let_age(self, day: float, later_s: float = 0.0) -> None:
        """Tell a simulated bench how old its film is, and on a virtual clock let time pass.

        Its laser is off meanwhile: shots and drift go on where they were. Nothing on a real bench.
        """
        state = self.bench.state()
        if state.get("world.age_days", day) == day and not later_s:
            return  # a real bench, or one that knows
        if "world.age_days" in state:
            state["world.age_days"] = day
            for name in ("world.now_s", "world.start_s"):
                state[name] += later_s
            self.bench.restore(state)
