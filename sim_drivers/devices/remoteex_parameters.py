"""The parameters of a simulated HPD-TA: their values, and how RemoteEx tells of them.

For `sim_drivers.devices.hamamatsu_remoteex`. A parameter has a label, a type (0 bool, 1 number,
2 list, 3 text, 4 exposure time, 5 display) and what belongs to it; names are found whatever their
case, blanks and dots. Stops at the values: what they do is the device's.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

UNITS_S = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_TIME = re.compile(r"\s*(\d+(?:\.\d*)?)\s*(ns|us|ms|s|m|h)\s*")
Answer = tuple[list[str], float]
"""The values of a reply, and how long the action takes (s)."""
_TRUE = ("true", "on", "yes")
_FALSE = ("false", "off", "no")
EXPOSURES = tuple(
    f"{value} {unit}"
    for unit, values in (
        ("us", (1200, 2000, 5000)),
        ("ms", (10, 20, 50, 100, 200, 500)),
        ("s", (1, 2, 5, 10)),
    )
    for value in values
)


class RemoteExError(Exception):
    """What RemoteEx answers with a code other than 0."""

    def __init__(self, code: int, *values: str, after_s: float = 0.0) -> None:
        super().__init__(code, *values)
        self.code, self.values, self.after_s = code, values, after_s


def seconds(text: str) -> float:
    """Return what an exposure text means in seconds; code 10 if it means nothing."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise RemoteExError(10)
    return float(found.group(1)) * UNITS_S[found.group(2)]


def exposure_text(value_s: float) -> str:
    """Return seconds as HPD-TA writes an exposure."""
    for unit, top in (("us", 0.0099995), ("ms", 0.99995)):
        if value_s < top:
            return f"{value_s / UNITS_S[unit]:.5g} {unit}"
    return f"{value_s:.5g} s"


def number_text(value: float) -> str:
    """Return a number without an exponent and without trailing zeros."""
    return f"{value:.12f}".rstrip("0").rstrip(".") or "0"


@dataclass
class Parameter:
    """One parameter.

    Attributes:
        label: as the dialogue names it. value: as it is told. kind: the type, 0 to 5.
        entries: of a list or an exposure. low, high: of a number; whole: integers only.
        changed: called with the new value after it is set. read: instead of `value`, if given.
        takes_s: how long setting it takes. free: whether an exposure need not be on its list.
    """

    label: str
    value: str
    kind: int
    entries: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    whole: bool = False
    changed: Callable[[str], None] | None = None
    read: Callable[[], str] | None = None
    takes_s: float = 0.002
    free: bool = True

    @property
    def now(self) -> str:
        """The value as it is told."""
        return self.value if self.read is None else self.read()

    def set(self, text: str) -> None:
        """Take a value; RemoteExError if it is not allowed."""
        self.value = self._accepted(text)
        if self.changed is not None:
            self.changed(self.value)

    def _accepted(self, text: str) -> str:
        if self.kind == 5:
            raise RemoteExError(7)
        if self.kind == 0:
            return self._switch(text)
        if self.kind == 1:
            try:
                number = float(text)
            except ValueError:
                raise RemoteExError(10) from None
            if not self.low <= number <= self.high or (self.whole and number != int(number)):
                raise RemoteExError(10)
            return str(int(number)) if self.whole else number_text(number)
        if self.kind == 2 or (self.kind == 4 and not self.free):
            if text not in self.entries:
                raise RemoteExError(10)
            return text
        if self.kind == 4:
            value = seconds(text)
            if not seconds(self.entries[0]) <= value <= seconds(self.entries[-1]):
                raise RemoteExError(10)
            return exposure_text(value)
        return text

    @staticmethod
    def _switch(text: str) -> str:
        word = text.strip().lower()
        if word in _TRUE:
            return "1"
        if word in _FALSE:
            return "0"
        try:
            return "1" if float(word) else "0"
        except ValueError:
            raise RemoteExError(10) from None

    def info(self, extended: bool) -> list[str]:
        """Return label, value and type, and what follows them in ...Info or ...InfoEx."""
        found = [self.label, self.now, str(self.kind)]
        if self.kind == 1:
            found += [number_text(self.low), number_text(self.high)]
        elif self.kind in (2, 4) and extended:
            found += [str(len(self.entries)), *self.entries]
        return found


def key(name: str) -> str:
    """Return a name as it is looked up."""
    return re.sub(r"[\s._]", "", name).lower()


@dataclass
class Group:
    """The parameters of one location, by name in the order in which they are listed."""

    parameters: dict[str, Parameter] = field(default_factory=dict)

    def find(self, name: str) -> Parameter:
        """Return a parameter; code 2 if there is none of that name."""
        wanted = key(name)
        for known, parameter in self.parameters.items():
            if key(known) == wanted:
                return parameter
        raise RemoteExError(2)

    def command(self, verb: str, args: list[str]) -> Answer:
        """Answer get, set, info, infoex or list; return values, and how long it takes (s)."""
        if verb == "list":
            return [str(len(self.parameters)), *self.parameters], 0.0
        if not args:
            raise RemoteExError(6)
        parameter = self.find(args[0])
        if verb == "get":
            return [parameter.now], 0.0
        if verb == "set":
            if len(args) < 2:
                raise RemoteExError(6)
            same = parameter.now == args[1]
            parameter.set(args[1])
            return [], 0.002 if same else parameter.takes_s
        return parameter.info(verb == "infoex"), 0.0


def camera_groups(columns: int, rows: int, free_exposures: bool) -> dict[str, Group]:
    """Return the groups of the read-out camera: Setup, Live, Acquire, AI and PC."""

    def exposure(start: str) -> Parameter:
        return Parameter("Exposure:", start, 4, EXPOSURES, free=free_exposures)

    def frames(start: int, high: int) -> Parameter:
        return Parameter("# of exposures:", str(start), 1, low=1, high=high, whole=True)

    info = (
        "OrcaFlash 4.0 V3\r\nProduct number: C13440-20C\r\nSerial number: 301730\r\n"
        "Firmware: 4.20.B\r\nVersion: 4.20.B03-A19-B02-4.02"
    )
    setup = {
        "TimingMode": Parameter(
            "Timing mode", "Internal timing", 2, ("Internal timing", "External timing")
        ),
        "TriggerMode": Parameter("Trigger mode", "Edge trigger", 2, ("Edge trigger",)),
        "TriggerSource": Parameter("Trigger source", "BNC", 2, ("BNC",)),
        "TriggerPolarity": Parameter("Trigger polarity", "neg.", 2, ("neg.", "pos.")),
        "ScanMode": Parameter("Scan mode", "Subarray", 2, ("Normal", "Subarray")),
        "Binning": Parameter("Binning", "2 x 2", 2, ("2 x 2",)),
        "HOffs": Parameter("Horizontal Offset", "0", 5),
        "HWidth": Parameter("Horizontal Width", str(columns), 5),
        "VOffs": Parameter("Vertical Offset", "0", 5),
        "VWidth": Parameter("Vertical Width", str(rows), 5),
        "ShowGainOffset": Parameter("Show Gain and Offset", "1", 0),
        "CameraInfo": Parameter("Camera info", info, 5),
    }
    return {
        "setup": Group(setup),
        "live": Group({"Exposure": exposure("100 ms")}),
        "acquire": Group({"Exposure": exposure("100 ms")}),
        "ai": Group({"Exposure": exposure("100 ms"), "NrExposures": frames(10, 100000)}),
        "pc": Group(
            {
                "Exposure": exposure("50 ms"),
                "NrExposures": frames(100, 100000),
                "Threshold": Parameter("Threshold", "30", 1, low=0, high=65535, whole=True),
            }
        ),
    }
