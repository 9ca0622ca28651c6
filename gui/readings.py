"""Asks every instrument how it is, for the bench panel; in the bench's thread. Moves nothing."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gui.rundata import RunData
from gui.snapshot import BAD, BUSY, OK, WARN, BeamView, BenchView, InstrumentView
from gui.words import prefixed, significant
from instruments.errors import BenchError
from instruments.roles import Limits

if TYPE_CHECKING:
    from instruments.bench import Bench

_ADVICE = {
    "NoReply": "check its power and cable; it is asked again and its link reopened",
    "BadReply": "noise on the line, or another program talks to it; close that, check the cable",
    "WrongIdentity": "another instrument answers: put the cable back",
    "DeviceFault": "look at the instrument's own display",
}


def advice_for(error: BaseException) -> str:
    """Return what to do about an instrument's error."""
    return _ADVICE.get(type(error).__name__, "")


def look(bench: Bench, role: str) -> InstrumentView:
    """Return how an instrument is; one that does not answer is BAD and says why."""
    instrument: Any = bench.instruments[role]
    now = time.monotonic()
    try:
        identity = str(instrument.identity)
        ask: Callable[[Any, Any], dict[str, Any]] = _BY_ROLE.get(role, _plain)
        found = ask(bench, instrument)
    except BenchError as error:
        return InstrumentView(
            role, BAD, _short(str(error)), time_s=now, since_s=now, advice=advice_for(error)
        )
    return InstrumentView(role, identity=identity, time_s=now, since_s=now, **found)


def _short(text: str) -> str:
    first = text.splitlines()[0] if text else "does not answer"
    return first if len(first) < 160 else f"{first[:157]}..."


def _plain(_bench: Bench, instrument: Any) -> dict[str, Any]:
    status = instrument.status()
    return {"state": OK if status.ok else WARN, "words": status.text}


def _shutter(_bench: Bench, shutter: Any) -> dict[str, Any]:
    status = shutter.status()
    is_open = shutter.is_open
    words = "open" if is_open else "closed"
    if not status.ok:
        return {"state": BAD, "words": status.text, "values": {"open": float(is_open)}}
    return {
        "state": WARN if is_open else OK,
        "words": f"{words}: light on the sample" if is_open else words,
        "values": {"open": float(is_open)},
    }


def _not_homed(what: str) -> dict[str, Any]:
    return {"state": WARN, "words": f"not homed: {what} unknown", "homed": False}


def _attenuator(bench: Bench, attenuator: Any) -> dict[str, Any]:
    limits = {"fluence_uJ_cm2": bench.pump.limits}
    if not getattr(attenuator, "homed", True):
        return {**_not_homed("transmission"), "limits": limits}
    status = attenuator.status()
    transmission = attenuator.transmission
    full = bench.pump.source.full_pulse_energy_J * 1e6 / bench.pump.area_cm2
    return {
        "state": OK if status.ok else WARN,
        "words": "ready" if status.ok else status.text,
        "reading": f"T {significant(transmission)}",
        "values": {"fluence_uJ_cm2": transmission * full},
        "limits": limits,
    }


def _stripe(_bench: Bench, stripe: Any) -> dict[str, Any]:
    if not stripe.homed:
        return {**_not_homed("length"), "limits": dict(stripe.limits)}
    status = stripe.status()
    length = stripe.length_mm
    return {
        "state": OK if status.ok else WARN,
        "words": "ready" if status.ok else status.text,
        "reading": f"{length:.3f} mm",
        "values": {"length_mm": length},
        "limits": dict(stripe.limits),
    }


def _monochromator(_bench: Bench, mono: Any) -> dict[str, Any]:
    wavelength, grating = mono.wavelength_nm, mono.grating
    return {
        "state": OK,
        "words": f"{grating.grooves_per_mm:g}/mm",
        "reading": f"{wavelength:.2f} nm",
        "values": {"wavelength_nm": wavelength, "grating": float(grating.slot)},
        "limits": {k: v for k, v in mono.limits.items() if k == "wavelength_nm"},
        "gratings": tuple(mono.gratings),
    }


def _camera(bench: Bench, camera: Any) -> dict[str, Any]:
    status = camera.status()
    limits: Mapping[str, Limits] = {}
    if bench.spectrograph is not None:
        limits = {"exposure_s": bench.spectrograph.exposure_limits}
    return {
        "state": OK if status.ok else WARN,
        "words": "cold, stable" if status.ok else status.text,
        "reading": f"{camera.temperature_C:.0f} °C",
        "values": {"exposure_s": camera.exposure_s, "temperature_C": camera.temperature_C},
        "limits": limits,
    }


def _energy_meter(_bench: Bench, meter: Any) -> dict[str, Any]:
    status = meter.status()
    return {"state": OK if status.ok else WARN, "words": status.text}


def _streak(_bench: Bench, streak: Any) -> dict[str, Any]:
    status = streak.status()
    return {
        "state": OK if status.ok else WARN,
        "words": status.text,
        "reading": prefixed(streak.time_range_ps * 1e-12, "s"),
        "values": {"time_range_ps": streak.time_range_ps, "mcp_gain": float(streak.mcp_gain)},
        "limits": {k: v for k, v in streak.limits.items() if k == "mcp_gain"},
        "choices": tuple(streak.time_ranges_ps),
    }


def _cryostat(bench: Bench, cryostat: Any) -> dict[str, Any]:
    status = cryostat.status()
    kelvin, setpoint = cryostat.temperature_K, cryostat.setpoint_K
    heater, stable = cryostat.heater_percent, cryostat.stable
    allowed = bench.config.limits
    state, words = (OK, "stable") if stable else (BUSY, f"going to {setpoint:g} K")
    if not stable and heater == 0.0 and kelvin < setpoint:
        state, words = OK, f"set to {setpoint:g} K"
    if not status.ok:
        state, words = WARN, status.text
    return {
        "state": state,
        "words": f"{words}, heater {heater:.0f} %",
        "reading": f"{kelvin:.2f} K",
        "values": {"temperature_K": kelvin, "setpoint_K": setpoint, "heater_percent": heater},
        "limits": {"setpoint_K": Limits(allowed.temperature_min_K, allowed.temperature_max_K, "K")},
    }


_BY_ROLE: dict[str, Callable[[Any, Any], dict[str, Any]]] = {
    "shutter": _shutter,
    "attenuator": _attenuator,
    "stripe": _stripe,
    "monochromator": _monochromator,
    "camera": _camera,
    "energy_meter": _energy_meter,
    "streak": _streak,
    "cryostat": _cryostat,
}
_PULSES_S = 0.12
"""How long the energy meter is listened to for a live reading."""


def beam(bench: Bench) -> BeamView:
    """Return what hits the sample, by the energy meter where there is one."""
    pump = bench.pump
    rate = pump.source.repetition_rate_Hz
    pulses = max(min(round(rate * _PULSES_S), pump.source.pulses_per_reading), 2)
    found = None
    with contextlib.suppress(BenchError):  # none seen in this range: its card tells how it is
        found = pump.measure_fluence(pulses)
    return BeamView(
        rate,
        found.pulse_energy_J if found is not None else None,
        found.value_uJ_cm2 if found is not None else None,
        found.error_uJ_cm2 if found is not None else 0.0,
        found is not None and found.measured,
        shots_so_far(bench),
        pump.given_dose_J_cm2,
        time.monotonic(),
    )


def during_run(view: BenchView, data: RunData | None) -> BenchView:
    """Return the bench as the last record of a run tells it: nothing else is asked meanwhile."""
    instruments = dict(view.instruments)
    for role in instruments:
        if role not in ("shutter", "cryostat"):
            instruments[role] = InstrumentView(
                role, BUSY, "in use", identity=instruments[role].identity,
                gratings=instruments[role].gratings, choices=instruments[role].choices,
            )  # fmt: skip
    if data is None or not data.rows_complete:
        return replace(view, instruments=instruments, beam=_only_shots(view.beam))
    values = {name: data.last(name) for name, column in data.table.items() if not column.axes}
    for role, (name, text, key) in _IN_RECORDS.items():
        if role in instruments and values.get(name) is not None:
            value = float(values[name])
            instruments[role] = replace(
                instruments[role], words="last record", reading=text(value), values={key: value}
            )
    fluence = values.get("fluence")
    _put(instruments, "attenuator", "fluence_uJ_cm2", values.get("fluence_setpoint"))
    centre = data.decisions.get("centre_wavelength_nm")
    if centre is not None and _put(instruments, "monochromator", "wavelength_nm", centre):
        shown = replace(instruments["monochromator"], reading=f"{float(centre):.1f} nm")
        instruments["monochromator"] = shown
    rate = view.beam.repetition_rate_Hz if view.beam is not None else 0.0
    beam_now = BeamView(
        rate,
        _number(values.get("pulse_energy")),
        _number(fluence),
        _number(values.get("fluence_errors")) or 0.0,
        True,
        int(values.get("shots_on_sample") or 0),
        _number(values.get("dose")) or 0.0,
    )
    kelvin = view.temperature_K if view.temperature_K else _number(values.get("temperature"))
    return replace(view, instruments=instruments, beam=beam_now, temperature_K=kelvin)


def _put(instruments: dict[str, InstrumentView], role: str, key: str, value: Any) -> bool:
    """Show a value in the field of an instrument; return whether it has one."""
    if role not in instruments or value is None:
        return False
    values = {**instruments[role].values, key: float(value)}
    instruments[role] = replace(instruments[role], values=values)
    return True


def _only_shots(seen: BeamView | None) -> BeamView | None:
    return replace(seen, energy_J=None, fluence_uJ_cm2=None) if seen is not None else None


def _number(value: Any) -> float | None:
    return None if value is None or not math.isfinite(float(value)) else float(value)


_IN_RECORDS: dict[str, tuple[str, Callable[[float], str], str]] = {
    "attenuator": (
        "attenuator_transmission",
        lambda value: f"T {significant(value)}",
        "transmission",
    ),
    "stripe": ("stripe_length", lambda value: f"{value:.3f} mm", "length_mm"),
    "camera": ("exposure", lambda value: f"{significant(value)} s", "exposure_s"),
    "energy_meter": ("pulse_energy", lambda value: prefixed(value, "J"), "energy_J"),
    "monochromator": ("centre_wavelength", lambda value: f"{value:.1f} nm", "wavelength_nm"),
    "streak": ("mcp_gain", lambda value: f"gain {value:.0f}", "mcp_gain"),
}


def shots_so_far(bench: Bench) -> int:
    """Return the shots on the sample since the bench was opened, those falling now included."""
    return int(bench.pump.given_shots + bench.pump.unbooked()[0])
