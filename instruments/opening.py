"""Opens one instrument of a bench file: driver, options, link, calibration, composition.

For the Bench, which opens all that a run needs, and for the check, which opens one after the other.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from instruments import attenuator, spectrograph, stripe
from instruments.attenuator import WaveplateAttenuator, waveplate_calibration
from instruments.calibration import Calibration, read_calibration
from instruments.config import InstrumentTable
from instruments.errors import ConfigError, InstrumentError
from instruments.registry import driver
from instruments.roles import Identity, Rotator, Stage
from instruments.stripe import StripeSlit, slit_calibration

if TYPE_CHECKING:
    from instruments.bench import Bench

# Whose calibration a role's `calibration` file is, and what it may hold.
_CALIBRATED = {
    "attenuator": ("attenuator", attenuator.CALIBRATED),
    "stripe": ("slit", stripe.CALIBRATED),
    "monochromator": ("spectrograph", spectrograph.CALIBRATED),
}


def open_role(bench: Bench, role: str, adapted: Callable[[type], type] = lambda kind: kind) -> Any:
    """Open and compose one instrument, and leave it to the caller.

    `adapted` may put another class in the place of the driver's, for a real link. On the way out
    with an error the instrument is closed.

    Raises:
        ConfigError: driver, option or calibration are not what they must be.
        InstrumentError: the instrument does not answer, or is another one; its role is named.
        ResourceInUse: another process has it.
    """
    config = bench.config
    table = config.instruments.get(role)  # type: ignore[call-overload]
    if table is None:
        table = InstrumentTable(driver=bench.simulation.driver(role))
    entry = driver(table.driver, role, config.file)
    kind = entry.load(role)
    options = _options(kind, table, role, config.file)
    options = _from_bench(bench, kind, role) | options
    instrument: Any = None
    bench.hold(table.resource)
    try:
        if table.simulated:
            instrument = bench.simulation.mount(role, table.driver, kind, options, table.resource)
        elif hasattr(kind, "open_link"):
            link = bench.links.get(table.resource)
            if link is None:
                link = bench.links[table.resource] = kind.open_link(table.resource)
            instrument = adapted(kind)(link, clock=bench.clock, **options)
        else:
            instrument = kind(table.resource, clock=bench.clock, **options)
        instrument.connect()
        bench.drivers[role] = instrument
        bench._identities[role] = instrument.identity
        found = _calibration(bench, role, table, instrument.identity)
        if role == "attenuator" and isinstance(instrument, Rotator):
            plate = waveplate_calibration(found) if found is not None else None
            instrument = WaveplateAttenuator(instrument, plate)
        elif role == "stripe" and isinstance(instrument, Stage):
            slit = slit_calibration(found) if found is not None else None
            instrument = StripeSlit(instrument, bench.source.stripe_length_mm or 0.0, slit)
    except BaseException as error:
        with contextlib.suppress(Exception):
            instrument.close()
        if isinstance(error, InstrumentError):
            raise type(error)(f"{role} at {table.resource}: {error}") from error
        raise
    return instrument


def _calibration(
    bench: Bench, role: str, table: InstrumentTable, identity: Identity
) -> Calibration | None:
    """Read the calibration file that a role names, None if it names none."""
    if not table.calibration:
        return None
    key = f"instruments.{role}.calibration"
    if role not in _CALIBRATED:
        raise ConfigError(
            f"no calibration is known for this role; those that have one: {', '.join(_CALIBRATED)}",
            file=bench.config.file,
            key=key,
        )
    kind, names = _CALIBRATED[role]
    found = read_calibration(bench.config.folder / table.calibration, kind, names)
    found.check_made_with(role, table.driver, identity, key)
    bench.calibrations[role] = found
    return found


def _options(kind: type, table: InstrumentTable, role: str, file: str | None) -> dict[str, Any]:
    """Check the driver's own options against its constructor."""
    names = list(inspect.signature(kind).parameters)
    allowed = [name for name in names[1:] if name not in ("clock", "sdk", "name")]
    for name in table.options:
        if name not in allowed:
            raise ConfigError(
                f"unknown key for the driver {table.driver!r}; allowed here: "
                f"{', '.join(['driver', 'resource', 'calibration', *allowed])}",
                file=file,
                key=f"instruments.{role}.{name}",
            )
    return table.options


def _from_bench(bench: Bench, kind: type, role: str) -> dict[str, Any]:
    """Return the options that a driver takes from other tables of the bench file.

    A gate counts the shots of the pump's repetition rate: another one would count wrongly.
    """
    config, known = bench.config, inspect.signature(kind).parameters
    found: dict[str, Any] = {}
    if role == "cryostat":
        limits = config.limits
        found = {
            "temperature_min_K": limits.temperature_min_K,
            "temperature_max_K": limits.temperature_max_K,
            "heater_range_max": limits.heater_range_max,
        }
    elif role == "pulse_gate":
        table = config.instruments.get("pulse_gate")
        rate_Hz = bench.source.repetition_rate_Hz
        given = table.options.get("rate_Hz") if table is not None else None
        if given is not None and given != rate_Hz:
            raise ConfigError(
                f"{given!r} was given, but the pump's repetition_rate_Hz is {rate_Hz:g}: the gate "
                "would count wrong; leave rate_Hz out, or correct [pump]",
                file=config.file,
                key="instruments.pulse_gate.rate_Hz",
            )
        found = {"rate_Hz": rate_Hz}
    return {name: value for name, value in found.items() if name in known}
