"""What one streak camera behind RemoteEx can do, read from it: ranges, limits, names, identity.

For `instruments.drivers.hamamatsu_remoteex`. HPD-TA serves many units: single sweep with ranges in
words ("5 ns"), synchroscan with ranges by number, delay generators in seconds, phase shifters in
ps, with and without a spectrograph. Stops at reading; settings are changed by the driver.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from instruments.drivers import remoteex_values as values
from instruments.drivers.remoteex_session import DELAY, SPEC, TUBE, RemoteExSession
from instruments.errors import BadReply, DeviceFault, NotReady
from instruments.roles import Identity, Limits

PLACES = ("AI", "PC")
"""The camera's settings for analog integration and for photon counting."""
_DELAY_UNITS_PS = {"Delay A": 1e12, "Delay Time": 1.0}
_SERIAL = re.compile(r"serial\s*(?:number|no\.?)?\s*:\s*([\w-]+)", re.I)


@dataclass(frozen=True)
class Sweep:
    """A time range: how it is written, the full sweep (ps), the unit of its time table."""

    text: str
    full_ps: float
    unit: str


@dataclass(frozen=True)
class StreakUnit:
    """What is there.

    Attributes:
        sweeps: rising. limits: by name of the setting; exposures_AI, exposures_PC: frames.
        exposures: what the camera lists, by place. delay_name, delay_unit_ps: "" without one.
        trigger_known, lock_known: whether it tells of its trigger, and of its phase lock.
    """

    identity: Identity
    sweeps: tuple[Sweep, ...]
    limits: Mapping[str, Limits]
    exposures: Mapping[str, tuple[str, ...]]
    delay_name: str
    delay_unit_ps: float
    trigger_known: bool
    lock_known: bool

    def sweep(self, text: str) -> Sweep:
        """Return the range that is written so; BadReply if the unit has not listed it."""
        for sweep in self.sweeps:
            if sweep.text == text:
                return sweep
        raise BadReply(f"the time range {text!r} is not in the unit's own list")


def learn(ask: RemoteExSession, synchroscan_ps: Sequence[float], gain_limit: int) -> StreakUnit:
    """Read what the unit can do.

    Raises:
        DeviceFault: there is no streak unit. NotReady: its ranges are numbers, and not configured.
    """
    tube, delay, spec = (ask.names(place) for place in (TUBE, DELAY, SPEC))
    if "MCP Gain" not in tube or "Time Range" not in tube:
        raise DeviceFault(f"{ask.name}: HPD-TA has no streak unit among its devices")
    sweeps = _sweeps(ask, synchroscan_ps)
    gain = ask.describe(TUBE, "MCP Gain")
    limits = {
        "mcp_gain": Limits(max(gain.low, 0.0), min(gain.high, float(gain_limit)), ""),
        "time_range_ps": Limits(0.0, sweeps[-1].full_ps, "ps"),
    }
    delay_name = next((name for name in _DELAY_UNITS_PS if name in delay), "")
    unit_ps = _DELAY_UNITS_PS.get(delay_name, 1.0)
    if delay_name:
        found = ask.describe(DELAY, delay_name)
        limits["delay_ps"] = Limits(max(found.low * unit_ps, 0.0), found.high * unit_ps, "ps")
    if "Wavelength" in spec:
        found = ask.describe(SPEC, "Wavelength")
        limits["wavelength_nm"] = Limits(found.low, found.high, "nm")
    exposures = {place: _exposures(ask, place) for place in PLACES}
    listed = [[values.exposure_s(text) for text in texts] for texts in exposures.values()]
    limits["exposure_s"] = Limits(max(map(min, listed)), min(map(max, listed)), "s")
    for place in PLACES:
        found = ask.describe(("Cam", place), "NrExposures")
        limits[f"exposures_{place}"] = Limits(max(found.low, 1.0), found.high, "")
    found = ask.describe(("Cam", "PC"), "Threshold")
    limits["threshold"] = Limits(found.low, found.high, "counts")
    return StreakUnit(
        identity=_identity(ask),
        sweeps=sweeps,
        limits=limits,
        exposures=exposures,
        delay_name=delay_name,
        delay_unit_ps=unit_ps,
        trigger_known="Trigger status" in tube,
        lock_known="Device Status" in delay,
    )


def _sweeps(ask: RemoteExSession, synchroscan_ps: Sequence[float]) -> tuple[Sweep, ...]:
    entries = ask.describe(TUBE, "Time Range").entries
    found = []
    for text in entries:
        known = values.time_range(text)
        if known is None:
            place = values.whole(text)
            if not 0 < place <= len(synchroscan_ps):
                raise NotReady(
                    f"{ask.name}: a synchroscan unit with {len(entries)} time ranges; give the "
                    "full sweep of each (ps) as synchroscan_ps in the bench file"
                )
            known = (float(synchroscan_ps[place - 1]), "ps")
        found.append(Sweep(text, *known))
    if not found:
        raise BadReply(f"{ask.name}: the time ranges are not listed")
    return tuple(sorted(found, key=lambda sweep: sweep.full_ps))


def _exposures(ask: RemoteExSession, place: str) -> tuple[str, ...]:
    entries = ask.describe(("Cam", place), "Exposure").entries
    if not entries:
        raise BadReply(f"{ask.name}: the exposures of {place} are not listed")
    return entries


def _identity(ask: RemoteExSession) -> Identity:
    device = ask.get(TUBE, "DeviceName")
    version = ask.agreed(lambda: ask.call("AppInfo", "Version"))
    camera = ask.agreed(lambda: ask.call("CamParamGet", "Setup", "CameraInfo", lines=True))
    serial = _SERIAL.search(",".join(camera))
    return Identity("Hamamatsu", device, serial.group(1) if serial else "", ",".join(version))
