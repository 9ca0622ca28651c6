"""The interlock: watches an open bench and closes the shutter when something is not as it must be.

In runs and outside them (the window), on its own: on the wall clock by threads, one for each
instrument it reads, so that a silent one hides no other; on the virtual clock in line, at multiples
of its period. What it looks for: a sample too warm; a blade that is open when it should be closed;
and while there is light, a pulse energy out of its band, pulses that stop coming, a reading too
old to count, a rule of the operator's own that does not hold. What cannot be known counts as wrong.
Once tripped it stays so, and no light is let on the sample, until `reset`. A shutter that does not
say at once that it is closed is not waited for: gate and attenuator stop the light.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from instruments.bench import Bench
from instruments.clock import Ticket, VirtualClock
from instruments.errors import BeyondRange, ConfigError, InterlockTripped, NoPulse
from instruments.rule import Rule

log = logging.getLogger(__name__)

Tell = Callable[[str, str], None]
_FEW_PULSES_S = 0.05  # as many pulses as come in that time are averaged, at least one,
_FEW_PULSES = 10  # at most so many
_STOPS_LIGHT = ("pulse_gate", "attenuator")  # where the shutter does not
_SHORTEST_S = 0.02  # of real time, between two readings of an instrument
_STALE_SHARE = 0.4  # on the virtual clock it looks twice before a reading is too old, not oftener:
# a simulated night would otherwise be spent looking
_RETRY_S = 1.0  # between attempts to close a shutter that does not close
_LIT_SHARE = 0.25  # of the period is between two readings while there is light
_NO_PULSE_PERIODS = 2.5  # of the laser without a pulse, but at least
_NO_PULSE_S = 0.15  # that time, are a laser that does not fire
_CONFIRM_S = 0.15  # of real time: a shutter says sooner that it is closed
_OTHERWISE_S = 2.0  # of real time: so long what stops the light otherwise is waited for


_BLADE = ("shutter_open", "meant")
_LOOP = ("setpoint_K", "heater_percent")


@dataclass(frozen=True)
class Reading:
    """What an instrument last told: values by name, when (bench time), or why it did not tell."""

    values: dict[str, float | bool]
    taken_s: float
    trouble: str = ""


class Interlock:
    """The watch over one open bench; a context manager, or `start` and `close`.

    Args:
        bench: open. tell: told (level, line) of what it does, from whatever thread.

    Raises ConfigError if [interlock] asks for readings that this bench cannot give.
    """

    def __init__(self, bench: Bench, tell: Tell = lambda level, text: None) -> None:
        self._bench = bench
        self._settings = bench.config.interlock
        self._rule = Rule(self._settings.rule) if self._settings.rule is not None else None
        self._virtual = isinstance(bench.clock, VirtualClock)
        self._tellers: list[Tell] = [tell]
        self._reason = ""
        self._shut = False
        self._closer: threading.Thread | None = None
        self._otherwise: dict[str, threading.Thread] = {}  # what is stopping the light, or has
        self._next_try_s = 0.0
        self._turn = 0
        self._guard = threading.RLock()
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []
        self._ticket: Ticket | None = None
        self._readings: dict[str, Reading] = {}
        self._sources = self._choose_sources()

    def _choose_sources(self) -> dict[str, Callable[[], dict[str, float | bool]]]:
        have, settings = self._bench.instruments, self._settings
        if self._rule is not None:
            for role in sorted(self._rule.roles - set(have)):
                raise ConfigError(
                    f"the rule {self._rule.text!r} needs the {role}, which this bench has not",
                    file=self._bench.config.file,
                    key="interlock.rule",
                )
        wanted = set(settings.roles)
        if not self._virtual:  # where asking costs nobody time, it is always asked
            wanted |= {"shutter", "cryostat"}
        elif settings.model_fields_set:
            wanted.add("shutter")
        reads = {
            "shutter": self._read_shutter,
            "cryostat": self._read_cryostat,
            "energy_meter": self._read_energy,
        }
        return {role: reads[role] for role in reads if role in wanted and role in have}

    # ---- what others call -----------------------------------------------------------------------

    @property
    def tripped(self) -> str:
        """Why the shutter was closed; "" while all is well."""
        return self._reason

    def check(self) -> None:
        """Raise InterlockTripped if it has tripped."""
        if self._reason:
            raise InterlockTripped(f"interlock: {self._reason}")

    def readings(self) -> dict[str, Reading]:
        """Return the last reading of each instrument that is watched, by role."""
        return dict(self._readings)

    def reset(self) -> None:
        """Allow light again; InterlockTripped if what tripped it still holds."""
        for role in self._sources:
            self._read(role)
        with self._guard:
            wrong = self._wrong()
            if wrong:
                raise InterlockTripped(f"interlock: {wrong}; mend that first")
            self._reason, self._shut = "", False
            self._otherwise.clear()
        self._tell("info", "interlock: reset")

    @contextlib.contextmanager
    def telling(self, tell: Tell) -> Iterator[None]:
        """Tell somebody else, too, inside the block (the log of a run)."""
        self._tellers.append(tell)
        try:
            yield
        finally:
            self._tellers.remove(tell)

    def __enter__(self) -> Interlock:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Watch from now on."""
        bench = self._bench
        for role in self._sources:
            self._read(role)
        bench.pump.allow = self._allow
        bench.interlock = self
        period = self._settings.period_s
        if self._virtual:
            if self._sources:
                rare = max(period, _STALE_SHARE * self._settings.stale_after_s)
                self._ticket = bench.clock.every(rare, self._look)
            return
        self._ticket = bench.clock.every(0.5 * period, self._judge)
        for role in self._sources:
            thread = threading.Thread(
                target=functools.partial(self._keep_reading, role),
                name=f"interlock: {role}",
                daemon=True,
            )
            thread.start()
            self._threads.append(thread)

    def state(self) -> dict[str, float]:
        """Return the readings of a watch on the virtual clock: when they are due depends on them.

        The same names from the beginning; what has not been told is nan.
        """
        found: dict[str, float] = {}
        for role in self._sources if self._virtual else ():
            reading = self._readings[role]
            found[f"interlock.{role}.taken_s"] = reading.taken_s
            found[f"interlock.{role}.trouble"] = float(bool(reading.trouble))
            for name in self._names(role):
                found[f"interlock.{role}.{name}"] = float(reading.values.get(name, math.nan))
        return found

    def restored(self, state: Mapping[str, float]) -> None:
        """Take over the readings of a run that is gone on with, where its state tells them.

        Otherwise a simulated bench was taken back to another time: its readings are of now.
        """
        now = self._bench.clock.now()
        for role, reading in self._readings.items():
            taken_s = state.get(f"interlock.{role}.taken_s")
            if taken_s is not None and self._virtual:
                values = {name: state[f"interlock.{role}.{name}"] for name in self._names(role)}
                known = {name: _plain(name, one) for name, one in values.items() if one == one}
                trouble = "trouble before" if state[f"interlock.{role}.trouble"] else ""
                self._readings[role] = Reading(known, taken_s, trouble)
            elif not reading.trouble:
                self._readings[role] = Reading(reading.values, now)

    def _names(self, role: str) -> tuple[str, ...]:
        """Return what an instrument is asked for."""
        asked = self._rule.names if self._rule is not None else frozenset()
        return {
            "shutter": _BLADE,
            "energy_meter": ("pulse_energy_J", "fluence_uJ_cm2"),
            "cryostat": ("temperature_K", *(name for name in _LOOP if name in asked)),
        }[role]

    def close(self) -> None:
        """Watch no longer."""
        self._closing.set()
        if self._ticket is not None:
            self._ticket.cancel()
        if self._bench.interlock is self:
            self._bench.interlock = None
            self._bench.pump.allow = lambda: None
        for thread in self._threads:
            thread.join(2.0)

    # ---- reading --------------------------------------------------------------------------------

    def _keep_reading(self, role: str) -> None:
        period_s = self._settings.period_s / self._speed
        took_s = 0.0  # in the dark it is the period from reading to reading, not from its end
        while True:
            lit = self._bench.pump.lit_since_s is not None
            pause_s = _LIT_SHARE * period_s if lit else period_s - took_s
            if self._closing.wait(max(pause_s, _SHORTEST_S)):
                return
            begun_s = time.monotonic()
            self._read(role)
            took_s = time.monotonic() - begun_s
            self._judge()

    @property
    def _speed(self) -> float:
        """Bench time over real time."""
        return float(getattr(self._bench.clock, "speed", 1.0))

    def _look(self) -> None:
        """What the virtual clock calls: read what is due and not in the middle of something."""
        for role in self._sources:
            if not self._busy(role):
                self._read(role)
        self._judge()

    def _busy(self, role: str) -> bool:
        """Whether this very thread is in the middle of an exchange over the link of a role."""
        owned = getattr(self._lock(role), "_is_owned", None)
        return bool(owned()) if owned is not None else False

    def _lock(self, role: str) -> Any:
        return getattr(self._bench.drivers.get(role), "lock", None) or contextlib.nullcontext()

    def _read(self, role: str) -> None:
        now = self._bench.clock.now()
        try:
            self._readings[role] = Reading(self._sources[role](), self._bench.clock.now())
        except Exception as error:  # whatever it is, there is no reading
            known = self._readings.get(role, Reading({}, now))
            self._readings[role] = Reading(known.values, known.taken_s, str(error))

    def _read_shutter(self) -> dict[str, float | bool]:
        with self._lock("shutter"):  # nobody moves the blade between the question and its meaning
            pump, speed = self._bench.pump, self._speed
            # Its closing may have been broken off by a signal, after which it is closed anew.
            told_s, now = pump.closing_since_s, self._bench.clock.now()
            closing = told_s is not None and now - told_s <= _CONFIRM_S * speed
            meant = closing or pump.lit_since_s is not None
            is_open = self._bench.instruments["shutter"].is_open  # type: ignore[attr-defined]
            return {"shutter_open": bool(is_open), "meant": meant}

    def _read_cryostat(self) -> dict[str, float | bool]:
        cryostat: Any = self._bench.instruments["cryostat"]
        now_K = cryostat.temperature_K if self._virtual else cryostat.glance_K(self._highest_K)
        found: dict[str, float | bool] = {"temperature_K": now_K}
        others = list(self._names("cryostat")[1:])
        known = self._readings.get("cryostat")
        if known is not None and not self._virtual:  # one a turn: the temperature must not wait
            found |= {name: known.values[name] for name in others if name in known.values}
            others = others[self._turn % len(others) :][:1] if others else []
            self._turn += 1
        for name in others:
            found[name] = getattr(cryostat, name)
        return found

    def _read_energy(self) -> dict[str, float | bool]:
        pump, clock = self._bench.pump, self._bench.clock
        seen = None if self._virtual else pump.energy_seen
        if seen is not None and clock.now() - seen[0] < self._settings.period_s:
            energy_J = seen[1]  # the run has just read it
        else:
            meter: Any = self._bench.instruments["energy_meter"]
            rate = pump.source.repetition_rate_Hz
            pulses = min(max(round(rate * _FEW_PULSES_S), 1), _FEW_PULSES)
            read = meter.read_pulses
            if not self._virtual:
                read = functools.partial(meter.watch_pulses, patience_s=self._patience_s)
            energy_J = self._energy_told(lambda: read(pulses).mean_J) / pump.source.pick_off_ratio
        return {"pulse_energy_J": energy_J, "fluence_uJ_cm2": energy_J * 1e6 / pump.area_cm2}

    def _energy_told(self, read: Callable[[], float]) -> float:
        """Return a pulse energy (J); under light no pulse has none, and one beyond the range more.

        Without a limit that such a pulse breaks there is no reading.
        """
        lit = self._bench.pump.lit_since_s
        try:
            return read()
        except NoPulse:
            if not self._settings.pulse_energy_min_J or not self._still_lit(lit):
                raise
            return 0.0
        except BeyondRange:
            if self._settings.pulse_energy_max_J is None or not self._still_lit(lit):
                raise
            return math.inf

    def _still_lit(self, since_s: float | None) -> bool:
        return since_s is not None and self._bench.pump.lit_since_s == since_s

    @property
    def _patience_s(self) -> float:
        """Bench time without a pulse after which the laser does not fire."""
        period_s = 1.0 / self._bench.pump.source.repetition_rate_Hz
        return max(_NO_PULSE_PERIODS * period_s, _NO_PULSE_S * self._speed)

    def _no_pulse(self) -> str:
        """Return since when there is no pulse, if whoever waits for one has waited too long."""
        if self._virtual:
            return ""
        meter: Any = self._bench.instruments["energy_meter"]
        if meter.unseen_s <= self._patience_s:
            return ""
        time.sleep(_SHORTEST_S)  # its reply may be there, and this process have been held up
        missed_s = float(meter.unseen_s)
        return f"no pulse for {missed_s:.2f} s" if missed_s > self._patience_s else ""

    def _values(self) -> dict[str, float | bool | None]:
        pump, now = self._bench.pump, self._bench.clock.now()
        shots, dose = pump.unbooked()
        since = pump.lit_since_s
        found: dict[str, float | bool | None] = {
            "light_s": now - since if since is not None else 0.0,
            "shots_on_sample": float(pump.shots + shots),
            "dose_J_cm2": pump.dose_J_cm2 + dose,
        }
        for reading in self._readings.values():
            old = now - reading.taken_s > self._settings.stale_after_s
            found |= dict.fromkeys(reading.values) if old else reading.values
        return found

    # ---- judging --------------------------------------------------------------------------------

    def _judge(self) -> None:
        if self._closing.is_set():
            return
        if self._unconfirmed_s > _CONFIRM_S * self._speed:
            self._stop_otherwise()
        elif not self._reason:
            self._otherwise.clear()
        with self._guard:
            if not self._reason:
                wrong = self._wrong()
                if not wrong:
                    return
                self._trip(wrong)
            if not self._shut and not self._busy("shutter"):
                self._darken()

    def _wrong(self, *, light: bool = False) -> str:
        """Return what is not as it must be, "" if nothing; light: as if there were some."""
        values = self._values()
        kelvin = values.get("temperature_K")
        if kelvin is not None and not kelvin <= self._highest_K:
            return f"the sample is at {kelvin:.1f} K, allowed are {self._highest_K:g} K"
        blade = self._readings.get("shutter")
        told = blade.values if blade is not None and not blade.trouble else {}
        if told.get("shutter_open") and not told["meant"]:
            return "the shutter is open, though it was closed"
        if self._unconfirmed_s > self._settings.stale_after_s:
            return f"the shutter has not said for {self._unconfirmed_s:.1f} s that it is closed"
        if self._bench.pump.lit_since_s is None and not light:
            return ""
        return self._wrong_with_light(values)

    def _wrong_with_light(self, values: dict[str, float | bool | None]) -> str:
        settings, now = self._settings, self._bench.clock.now()
        for role, reading in self._readings.items():
            age = now - reading.taken_s
            if age > settings.stale_after_s:
                why = f" ({reading.trouble})" if reading.trouble else ""
                return f"no reading of the {role} for {age:.1f} s{why}"
        energy = values.get("pulse_energy_J")
        low, high = settings.pulse_energy_min_J, settings.pulse_energy_max_J
        if self._otherwise:  # behind a dark attenuator there is too little to tell
            low = None
        missing = self._no_pulse() if low and self._bench.pump.lit_since_s is not None else ""
        if missing:
            return f"{missing}, at least {low:g} J are wanted"
        if energy is not None and low is not None and not energy >= low:
            return f"the pulse energy is {energy:.3g} J, at least {low:g} J are wanted"
        if energy is not None and high is not None and not energy <= high:
            return f"the pulse energy is {energy:.3g} J, at most {high:g} J are allowed"
        if self._rule is not None:
            holds = self._rule.holds(values)
            if holds is None:
                missing = ", ".join(n for n in sorted(self._rule.names) if values.get(n) is None)
                return f"the rule {self._rule.text!r} cannot be judged (no {missing or 'number'})"
            if not holds:
                told = ", ".join(f"{n} = {values[n]:.6g}" for n in sorted(self._rule.names))
                return f"the rule {self._rule.text!r} does not hold: {told}"
        return ""

    def _allow(self) -> None:
        """Refuse light while tripped, and where it would trip at once."""
        self.check()
        late = self._bench.clock.now() - self._settings.stale_after_s
        for role, reading in list(self._readings.items()):
            if reading.taken_s < late and not self._busy(role):
                self._read(role)
        with self._guard:
            wrong = self._wrong(light=True)
            if wrong:
                self._trip(wrong)
                if not self._busy("shutter"):
                    self._darken()
        self.check()

    # ---- acting ---------------------------------------------------------------------------------

    def _trip(self, reason: str) -> None:
        self._reason, self._shut = reason, False
        self._tell("error", f"interlock: {reason}; closing the shutter")

    def _darken(self) -> None:
        """Close the shutter; where that fails stop the light otherwise. Never raises."""
        if self._bench.clock.now() >= self._next_try_s:
            with self._bench.clock.guarded(lambda: None):  # the run is not to end in here
                self._stop_the_light()

    def _stop_the_light(self) -> None:
        """Close the shutter; one that is in doubt, or slow, is not waited for."""
        if self._virtual:
            self._close_shutter()
        else:
            if self._closer is None or not self._closer.is_alive():
                self._closer = threading.Thread(
                    target=self._close_shutter, name="interlock: closing", daemon=True
                )
                self._closer.start()
            blade = self._readings.get("shutter")
            in_doubt = blade is not None and blade.trouble
            self._closer.join(0.0 if in_doubt else _CONFIRM_S)
        if not self._shut:
            self._next_try_s = self._bench.clock.now() + _RETRY_S
            self._stop_otherwise()
        kelvin = self._values().get("temperature_K")
        if "cryostat" in self._sources and (kelvin is None or kelvin > self._highest_K):
            try:
                self._bench.instruments["cryostat"].heater_off()  # type: ignore[attr-defined]
                self._tell("info", "interlock: the heater is off")
            except Exception as error:
                self._tell("error", f"interlock: the heater cannot be switched off: {error}")

    def _close_shutter(self) -> None:
        bench, begun = self._bench, self._bench.clock.now()
        try:
            bench.make_safe_for_pause()
            self._shut = True
            took = bench.clock.now() - begun
            self._tell("info", f"interlock: the shutter is closed, after {took:.2f} s")
        except Exception as error:
            self._tell("error", f"interlock: the shutter does not close: {error}")

    @property
    def _unconfirmed_s(self) -> float:
        """For how long (bench time) the shutter has been told to close and not been seen closed."""
        since_s = self._bench.pump.closing_since_s
        if self._virtual or since_s is None:
            return 0.0
        return self._bench.clock.now() - since_s

    def _stop_otherwise(self) -> None:
        """Stop the light by gate and attenuator; each on its own, so that none waits for another.

        On the wall clock once for each time that there is light to be stopped.
        """
        have = [role for role in _STOPS_LIGHT if role in self._bench.instruments]
        if self._virtual:
            for role in have:
                self._make_safe(role)
            return
        with self._guard:
            fresh = {
                role: threading.Thread(
                    target=self._make_safe, args=(role,), name=f"interlock: {role}", daemon=True
                )
                for role in have
                if role not in self._otherwise
            }
            self._otherwise |= fresh
        for thread in fresh.values():
            thread.start()
        end = time.monotonic() + _OTHERWISE_S
        for thread in fresh.values():
            thread.join(max(end - time.monotonic(), 0.0))

    def _make_safe(self, role: str) -> None:
        try:
            self._bench.instruments[role].make_safe()
            self._tell("info", f"interlock: {role} made safe instead")
        except Exception as error:
            self._otherwise.pop(role, None)
            self._tell("error", f"interlock: {role} could not be made safe: {error}")

    @property
    def _highest_K(self) -> float:
        given = self._settings.temperature_max_K
        return given if given is not None else self._bench.config.limits.temperature_max_K

    def _tell(self, level: str, text: str) -> None:
        log.log(logging.ERROR if level == "error" else logging.INFO, "%s", text)
        for tell in list(self._tellers):
            try:
                tell(level, text)
            except Exception:
                log.exception("the interlock could not tell somebody")


def _plain(name: str, value: float) -> float | bool:
    return bool(value) if name in _BLADE else value
