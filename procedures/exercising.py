"""Moves an instrument within its limits: for `gainbench check --move`.

To both ends of every limit, back to where it was, and once beyond, which must be refused. No light
and no heat: the shutter stays closed, a gate blocks, set points of temperature and gains are left
alone. Knows limits by their names, not the roles, so that a plug-in's instrument is exercised too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from instruments.errors import BenchError, DeviceFault, LimitError, NotReady
from instruments.roles import Limits

# How a quantity is set, where the verb is not set_QUANTITY.
_VERBS = {
    "wavelength_nm": ("go_to", "set_wavelength_nm"),
    "position_mm": ("move_to",),
    "angle_deg": ("move_to",),
}
# What moves something, and so must arrive where it was sent.
_MOVES = ("transmission", "length_mm", "position_mm", "angle_deg", "wavelength_nm")
# What heats, amplifies, or lets light through: never touched.
_LEFT_ALONE = ("temperature", "heater", "gain", "voltage", "fluence", "power", "shots", "pulses")
_MARGIN = 0.01  # of the travel: stages end at switches
_TOLERANCE = 0.01  # of the travel; a driver has its own, finer one
_COLDEST_STEP = 1.0


def exercise(instrument: Any) -> list[str]:
    """Move an instrument through its limits; return what was done, a line each.

    Raises:
        DeviceFault: it did not arrive, or accepted what is beyond a limit.
        InstrumentError: what the instrument itself reports.
    """
    done: list[str] = []
    homed = bool(getattr(instrument, "homed", True))
    prepare = getattr(instrument, "prepare", None) or getattr(instrument, "home", None)
    if prepare is not None:
        prepare()
        if not homed:
            done.append("homed")
    for name, limits in dict(instrument.limits).items():
        if any(part in name.lower() for part in _LEFT_ALONE):
            if "temperature_K" in name:
                done += _refuses_cold(instrument, name, limits)
            continue
        verb = _verb(instrument, name)
        if verb is not None and limits.low < limits.high:
            done.append(_there_and_back(instrument, name, limits, verb))
    for close in ("shut", "block"):
        if hasattr(instrument, close):
            getattr(instrument, close)()  # never opened here
            done.append({"shut": "closed", "block": "blocks"}[close])
    return done


def _verb(instrument: Any, name: str) -> Callable[[float], Any] | None:
    for verb in (*_VERBS.get(name, ()), f"set_{name}"):
        found = getattr(instrument, verb, None)
        if found is not None:
            return found  # type: ignore[no-any-return]
    return None


def _there_and_back(
    instrument: Any, name: str, limits: Limits, verb: Callable[[float], Any]
) -> str:
    before: float | None = None
    with contextlib.suppress(NotReady):
        value = getattr(instrument, name, None)
        before = float(value) if isinstance(value, float | int) else None
    span = limits.high - limits.low
    try:
        for target in (limits.low + _MARGIN * span, limits.high - _MARGIN * span):
            reached = verb(target)
            off = abs(float(reached) - target) if isinstance(reached, float | int) else 0.0
            if name in _MOVES and off > _TOLERANCE * span:
                raise DeviceFault(
                    f"{name}: {target:g} {limits.unit} was asked within its limits, "
                    f"{float(reached):g} was reached"
                )
        _refuses(name, limits, limits.high + max(_MARGIN * span, 1e-9), verb)
    finally:
        if before is not None and limits.low <= before <= limits.high:
            verb(before)
    return f"{name} {limits.low:g} to {limits.high:g} {limits.unit}".rstrip()


def _refuses_cold(instrument: Any, name: str, limits: Limits) -> list[str]:
    """Ask for a temperature below the limit: should it be accepted, no heater comes on."""
    verb = getattr(instrument, "set_temperature", None)
    if verb is None:
        return []
    _refuses(name, limits, limits.low - _COLDEST_STEP, verb)
    return [f"{name} {limits.low:g} to {limits.high:g} {limits.unit} (limit only)"]


def _refuses(name: str, limits: Limits, beyond: float, verb: Callable[[float], Any]) -> None:
    try:
        verb(beyond)
    except LimitError:
        return
    except BenchError as error:
        raise DeviceFault(
            f"{name}: {beyond:g} {limits.unit} is beyond its limit and was sent all the same "
            f"({error})"
        ) from error
    raise DeviceFault(f"{name}: {beyond:g} {limits.unit} is beyond its limit and was accepted")
