"""What a step of a plan waits for, or depends on: sentences of the plan as data.

`When` asks an instrument ("cryostat below 12 K"), `After` asks what became of earlier steps ("the
step before succeeded"), `Moment` is a time of day or a date. For the plan, which reads them, and
the night, which asks. A sentence that is not understood raises ValueError with those that are.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from instruments.bench import Bench

_PULSES = 20
_SCALES = {"J": 1.0, "mJ": 1e-3, "uJ": 1e-6, "µJ": 1e-6, "nJ": 1e-9}
_READERS: dict[str, tuple[dict[str, float], Callable[[Any], float]]] = {
    "cryostat": ({"K": 1.0}, lambda role: float(role.temperature_K)),
    "camera": ({"C": 1.0, "°C": 1.0}, lambda role: float(role.temperature_C)),
    "energy_meter": (_SCALES, lambda role: float(role.read_pulses(_PULSES).mean_J)),
}
_ROLES = (
    *("attenuator", "stripe", "monochromator", "camera", "streak", "cryostat", "energy_meter"),
    *("shutter", "pulse_gate"),
)
_COMPARED = re.compile(
    r"(?:the )?(?P<role>[a-z_ ]+?) (?:is )?(?P<way>below|above) "
    r"(?P<value>\S+?)\s*(?P<unit>[^\d\s]+)"
)
_READY = re.compile(r"(?:the )?(?P<role>[a-z_ ]+?) (?:is )?ready")
_BEFORE = re.compile(r"(?:the )?step before (?P<end>succeeded|failed)")
_ALL = re.compile(r"all steps before (?P<end>succeeded)")
_NAMED = re.compile(r"(?:the )?step ['\"]?(?P<name>.+?)['\"]? (?P<end>succeeded|failed)")


@dataclass(frozen=True)
class When:
    """An instrument is to be so: `way` is "below", "above" (of `value`, in `unit`) or "ready"."""

    text: str
    role: str
    way: str
    value: float = 0.0
    unit: str = ""

    def met(self, bench: Bench) -> tuple[bool, str]:
        """Ask the instrument; return whether it is so, and how it is, for the log.

        Raises InstrumentError where it does not tell.
        """
        instrument = bench.need(self.role)
        if self.way == "ready":
            status = instrument.status()
            return status.ok, f"{self.role}: {status.text}"
        units, read = _READERS[self.role]
        found = read(instrument) / units[self.unit]
        is_met = found < self.value if self.way == "below" else found > self.value
        return is_met, f"{self.role} at {found:.4g} {self.unit}"


@dataclass(frozen=True)
class After:
    """Earlier steps are to have ended so: the one `before`, "all" of them, or those of a name."""

    text: str
    which: str
    succeeded: bool


@dataclass(frozen=True)
class Moment:
    """A time of day, or a date and time; local time where it has no zone."""

    text: str
    at: time | datetime

    def resolve(self, after_s: float) -> float:
        """Return the moment (seconds since 1970): a time of day is the next one from `after_s`."""
        if isinstance(self.at, datetime):
            return self.at.timestamp()
        begun = datetime.fromtimestamp(after_s)
        found = datetime.combine(begun.date(), self.at)
        if found < begun.replace(microsecond=0):
            found += timedelta(days=1)
        return found.timestamp()


def parse_when(text: Any) -> When:
    """Understand "cryostat below 12 K", "energy_meter above 0.2 uJ", "camera ready"."""
    words = _words(text)
    if found := _COMPARED.fullmatch(words):
        role, unit = _role(found["role"]), found["unit"]
        if role not in _READERS:
            raise ValueError(
                f"{text!r}: of the {role} no reading can be compared; that is possible for "
                f"{', '.join(_READERS)}; or ask whether the {role} is ready"
            )
        units = _READERS[role][0]
        if unit not in units:
            raise ValueError(f"{text!r}: the unit is {unit!r}, allowed are {', '.join(units)}")
        try:
            value = float(found["value"])
        except ValueError:
            raise ValueError(f"{text!r}: {found['value']!r} is not a number") from None
        if value != value:
            raise ValueError(f"{text!r}: {found['value']!r} is not a number")
        return When(words, role, found["way"], value, unit)
    if found := _READY.fullmatch(words):
        return When(words, _role(found["role"]), "ready")
    raise ValueError(
        f'{text!r} is not understood; write "cryostat below 12 K", "energy_meter above 0.2 uJ", '
        '"camera below -60 C", or "camera ready"'
    )


def parse_after(text: Any) -> After:
    """Understand "the step before succeeded", "all steps before succeeded", "step NAME failed"."""
    words = _words(text)
    if found := _BEFORE.fullmatch(words):
        return After(words, "before", found["end"] == "succeeded")
    if found := _ALL.fullmatch(words):
        return After(words, "all", True)
    if found := _NAMED.fullmatch(words):
        return After(words, f"step {found['name']}", found["end"] == "succeeded")
    raise ValueError(
        f'{text!r} is not understood; write "the step before succeeded" (or failed), '
        '"all steps before succeeded", or "step NAME succeeded" (or failed)'
    )


def parse_moment(value: Any) -> Moment:
    """Understand "22:30", "2026-11-27 03:00", or TOML's own times and dates."""
    if isinstance(value, datetime | time):
        return Moment(str(value), value)
    if isinstance(value, str):
        text = value.strip()
        for kind in (time, datetime):
            try:
                return Moment(text, kind.fromisoformat(text))
            except ValueError:
                continue
    if isinstance(value, date):
        raise ValueError(f"{value} has no time of day; write {value}T22:30:00")
    raise ValueError(f'{value!r} is no time; write "22:30" or "2026-11-27 03:00"')


def _words(text: Any) -> str:
    if not isinstance(text, str):
        raise ValueError(f"{text!r} was given, a sentence is wanted")
    return " ".join(text.split())


def _role(text: str) -> str:
    role = text.strip().replace(" ", "_")
    if role not in _ROLES:
        raise ValueError(f"{text!r} is no instrument; there are: {', '.join(_ROLES)}")
    return role
