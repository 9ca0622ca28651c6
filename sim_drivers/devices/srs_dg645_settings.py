"""The settings of a simulated DG645: what can be set, to what, and what is refused.

For the simulated generator: `do` takes a command that sets or asks for a setting, steps one, or
stores them all. Channels refer to one another; `program` says what that means for an output.
"""

from __future__ import annotations

import dataclasses
import re

from sim_drivers.devices.srs_dg645_pulses import Program
from sim_drivers.scpi import CommandError

# Errors, as LERR? numbers them.
VALUE, MODE, DELAY, LINK, RECALL, LOCKED = 10, 11, 12, 13, 14, 15
ILLEGAL, UNDEFINED, NO_QUERY, NO_SET, EXTRA, MISSING = 110, 111, 112, 113, 115, 116
BAD_FLOAT, BAD_INTEGER = 118, 120

Delay = tuple[int, float]
"""The channel that another refers to, and its delay after it (s)."""


@dataclasses.dataclass(frozen=True)
class _Setting:
    """A setting: lowest, highest, at delivery; how many indices; decimals of a reply, or whole."""

    low: float
    high: float
    default: float
    indices: range | None = None
    decimals: int | None = None


def _settings(longest_period_s: float) -> dict[str, _Setting]:
    return {
        "TSRC": _Setting(0, 6, 5),
        "TRAT": _Setting(1e-4, 1e7, 1000.0, None, 6),
        "TLVL": _Setting(-3.5, 3.5, 1.0, None, 2),
        "HOLD": _Setting(0.0, 2000.0, 0.0, None, 12),
        "INHB": _Setting(0, 5, 1),
        "ADVT": _Setting(0, 1, 0),
        "PRES": _Setting(1, 2**30, 1, range(5)),
        "PHAS": _Setting(0, 2**30, 0, range(1, 5)),
        "BURM": _Setting(0, 1, 0),
        "BURC": _Setting(1, 2**32 - 1, 5),
        "BURP": _Setting(100e-9, longest_period_s, 100e-6, None, 12),
        "BURD": _Setting(0.0, 2000.0, 0.0, None, 12),
        "BURT": _Setting(0, 1, 0),
        "LAMP": _Setting(0.5, 5.0, 2.5, range(5), 2),
        "LOFF": _Setting(-2.0, 2.0, 0.0, range(5), 2),
        "LPOL": _Setting(0, 1, 1, range(5)),
        "INSE": _Setting(0, 255, 0),
        "*ESE": _Setting(0, 255, 0),
        "*SRE": _Setting(0, 255, 0),
        "*PSC": _Setting(0, 1, 1),
        "SHDP": _Setting(0, 1, 1),
    }


# What a step command steps, by the last letters of SSxx and SPxx.
_STEPS = {
    "TR": "TRAT",
    "TL": "TLVL",
    "HD": "HOLD",
    "PS": "PRES",
    "PH": "PHAS",
    "BC": "BURC",
    "BP": "BURP",
    "BD": "BURD",
    "LA": "LAMP",
    "LO": "LOFF",
}


class Settings:
    """All settings of the generator.

    longest_period_s: of a burst. signed: replies with a plus sign.
    """

    def __init__(self, longest_period_s: float, signed: bool) -> None:
        self.signed = signed
        self.locked = False
        """Whether another interface holds the generator: nothing can be set from here."""
        self._table = _settings(longest_period_s)
        self._saved: dict[int, tuple[dict[tuple[str, int], float], dict[int, Delay]]] = {}
        self.reset()

    def reset(self) -> None:
        """Go back to how it was delivered."""
        self.values: dict[tuple[str, int], float] = {}
        self.delays: dict[int, Delay] = dict.fromkeys(range(2, 10), (0, 0.0))
        self._steps: dict[tuple[str, int], float] = {}
        for name, setting in self._table.items():
            for index in setting.indices or (0,):
                self.values[name, index] = setting.default

    def knows(self, name: str) -> bool:
        """Whether a command is about settings."""
        return (
            name in self._table
            or name in ("DLAY", "LINK", "*SAV", "*RCL")
            or (name[:2] in ("SS", "SP") and name[2:] in (*_STEPS, "DL"))
        )

    def do(self, name: str, query: bool, words: list[str]) -> str | None:
        """Do such a command with its parameters, return what it answers; CommandError if wrong."""
        if not query and self.locked:
            raise CommandError(LOCKED)
        if name in self._table:
            return self._setting(name, query, words)
        if name in ("DLAY", "LINK"):
            return self._delay(name, query, words)
        if name in ("*SAV", "*RCL"):
            if query:
                raise CommandError(NO_QUERY)
            self._store(name, _whole(_one(words)))
            return None
        return self._step(name, query, words)

    def program(self, output: int) -> Program:
        """Return what all this means for an output (1 AB ... 4 GH)."""
        value = self.values
        return Program(
            source=int(value["TSRC", 0]),
            rate_Hz=value["TRAT", 0],
            threshold_V=value["TLVL", 0],
            prescale=int(value["PRES", 0]) if value["ADVT", 0] else 1,
            inhibit=value["INHB", 0] > 0,
            burst=value["BURM", 0] > 0,
            cycles=int(value["BURC", 0]),
            period_s=value["BURP", 0],
            burst_delay_s=value["BURD", 0],
            open_s=self.after_t0(2 * output),
            close_s=self.after_t0(2 * output + 1),
            longest_s=max(self.after_t0(channel) for channel in self.delays),
            amplitude_V=value["LAMP", output],
            positive=value["LPOL", output] > 0,
        )

    def _setting(self, name: str, query: bool, words: list[str]) -> str | None:
        setting = self._table[name]
        index = 0
        if setting.indices is not None:
            if not words:
                raise CommandError(MISSING)
            index = _whole(words.pop(0))
            if index not in setting.indices:
                raise CommandError(VALUE)
        if query:
            take(words)
            return self._show(self.values[name, index], setting.decimals)
        text = _one(words)
        self._put(name, index, _number(text) if setting.decimals is not None else _whole(text))
        return None

    def _put(self, name: str, index: int, value: float) -> None:
        setting = self._table[name]
        if not setting.low <= value <= setting.high:
            raise CommandError(VALUE)
        if name == "BURP":
            value = round(value * 1e8) / 1e8
        elif setting.decimals is not None:
            value = round(value, setting.decimals)
        self.values[name, index] = value

    def _delay(self, name: str, query: bool, words: list[str]) -> str | None:
        if not words:
            raise CommandError(MISSING)
        channel = _whole(words.pop(0))
        if query:
            take(words)
            if channel not in self.delays:
                raise CommandError(LINK if 0 <= channel <= 1 else VALUE)
            reference, delay = self.delays[channel]
            return str(reference) + (f",{self._show(delay, 12)}" if name == "DLAY" else "")
        take(words, 2 if name == "DLAY" else 1)
        reference = _whole(words[0])
        self._relate(channel, reference, _number(words[1]) if name == "DLAY" else None)
        return None

    def _relate(self, channel: int, reference: int, delay: float | None) -> None:
        """Set a channel after another, and not after itself in a circle; None keeps its time."""
        if channel not in self.delays or reference not in (0, *self.delays):
            raise CommandError(LINK)
        back = reference
        while back:
            if back == channel:
                raise CommandError(LINK)
            back = self.delays[back][0]
        if delay is None:
            delay = self.after_t0(channel) - self.after_t0(reference)
        before = self.delays[channel]
        self.delays[channel] = (reference, round(delay / 5e-12) * 5e-12)
        if not all(0.0 <= self.after_t0(each) <= 2000.0 for each in self.delays):
            self.delays[channel] = before
            raise CommandError(DELAY)

    def after_t0(self, channel: int) -> float:
        """Return when a channel comes after T0 (s)."""
        total = 0.0
        while channel:
            channel, delay = self.delays[channel]
            total += delay
        return total

    def _step(self, name: str, query: bool, words: list[str]) -> str | None:
        what = _STEPS.get(name[2:], "DLAY")
        setting = self._table.get(what)
        indexed = setting is None or setting.indices is not None
        index = 0
        if indexed:
            if not words:
                raise CommandError(MISSING)
            index = _whole(words.pop(0))
            if index not in (tuple(self.delays) if setting is None else setting.indices or ()):
                raise CommandError(VALUE)
        whole = setting is not None and setting.decimals is None
        size = self._steps.get((what, index), 1.0 if whole else 1e-3)
        if query:
            take(words)
            return self._show(size, 12)
        if name.startswith("SS"):
            self._steps[what, index] = _number(_one(words))
            return None
        by = size if _whole(_one(words)) else -size
        if setting is None:
            reference, delay = self.delays[index]
            self._relate(index, reference, delay + by)
        else:
            self._put(what, index, self.values[what, index] + by)
        return None

    def _store(self, name: str, place: int) -> None:
        if name == "*SAV":
            if not 1 <= place <= 9:
                raise CommandError(VALUE)
            self._saved[place] = (dict(self.values), dict(self.delays))
        elif place == 0:
            self.reset()
        elif place in self._saved:
            values, delays = self._saved[place]
            self.values, self.delays = dict(values), dict(delays)
        else:
            raise CommandError(RECALL if 1 <= place <= 9 else VALUE)

    def _show(self, value: float, decimals: int | None) -> str:
        if decimals is None:
            return str(int(value))
        return f"{value:{'+' if self.signed else ''}.{decimals}f}"


def take(words: list[str], wanted: int = 0) -> None:
    """Raise CommandError unless a command has so many parameters (left)."""
    if len(words) != wanted:
        raise CommandError(EXTRA if len(words) > wanted else MISSING)


def _one(words: list[str]) -> str:
    take(words, 1)
    return words[0]


def _whole(text: str) -> int:
    if re.fullmatch(r"[+-]?\d{1,12}", text) is None:
        raise CommandError(BAD_INTEGER)
    return int(text)


def _number(text: str) -> float:
    if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,3})?", text, re.I) is None:
        raise CommandError(BAD_FLOAT)
    return float(text)
