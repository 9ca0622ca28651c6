"""The pump beam: source, shutter, attenuator, energy meter and area make fluence and shots.

Fluence = pulse energy / area. The energy is measured by a pick-off behind the attenuator where the
bench has an energy meter (before the shutter, so that measuring costs the sample nothing), and
otherwise taken from the attenuator's calibration. Shots count only while the shutter is open.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from instruments.calibration import Calibration
from instruments.clock import Clock
from instruments.config import LimitsTable, PumpTable
from instruments.errors import ConfigError, DeviceFault, InstrumentError, LimitError, NotReady
from instruments.roles import Attenuator, Burst, EnergyMeter, Limits, PulseGate, Shutter

_HEADROOM = 1.3
"""The meter's range holds pulses this much above the expected one: noise, drift, calibration."""


@dataclass(frozen=True)
class Fluence:
    """A fluence as the bench knows it.

    value and error (independent of other records, one standard deviation) in uJ/cm2; pulse
    energy and the spread of single pulses in J; measured: by the meter, or from calibration.
    The error of the scale that all records share is PumpBeam.fluence_rel_unc.
    """

    value_uJ_cm2: float
    error_uJ_cm2: float
    pulse_energy_J: float
    pulse_spread_J: float
    measured: bool


_SHAPE = ("stripe_width_mm", "stripe_length_mm", "spot_diameter_mm")


def calibrated_pump(source: PumpTable, calibration: Calibration | None) -> PumpTable:
    """Return the pump as a calibration of the attenuator has measured it.

    Full pulse energy and area take the place of the bench file's, with their uncertainties; what
    the calibration does not hold stays. Raises ConfigError if the values make no beam.
    """
    if calibration is None:
        return source
    values, stderr = calibration.values, calibration.stderr
    found = source.model_dump(exclude_none=True)
    shape = {name: values[name] for name in _SHAPE if name in values}
    if shape:
        found = {k: v for k, v in found.items() if k not in _SHAPE} | shape
    if "full_pulse_energy_J" in values:
        energy_J = values["full_pulse_energy_J"]
        found["full_pulse_energy_J"] = energy_J
        if "full_pulse_energy_J" in stderr and energy_J > 0.0:
            found["pulse_energy_rel_unc"] = stderr["full_pulse_energy_J"] / energy_J
    if values.get("area_cm2", 0.0) > 0.0 and "area_cm2" in stderr:
        found["area_rel_unc"] = stderr["area_cm2"] / values["area_cm2"]
    try:
        return PumpTable.model_validate(found)
    except ValueError as error:
        raise ConfigError(f"makes no pump beam ({error})", file=calibration.path) from None


class PumpBeam:
    """What hits the sample, and how much of it has.

    Attributes:
        shots, dose_J_cm2: on the sample in this run; given_shots, given_dose_J_cm2: since the bench
            was opened, whatever runs there were.
        allow: asked before light is let on the sample; what it raises keeps the shutter closed.
        energy_seen: when the energy meter was last read, and the mean pulse energy at the sample.
        closing_since_s: since when (bench time) the shutter was told to close and has not been seen
            closed; None where it has.
    """

    def __init__(
        self,
        source: PumpTable,
        clock: Clock,
        attenuator: Attenuator | None,
        shutter: Shutter | None,
        energy_meter: EnergyMeter | None,
        limits: LimitsTable,
        pulse_gate: PulseGate | None = None,
    ) -> None:
        self.source = source
        self.clock = clock
        self.attenuator = attenuator
        self.shutter = shutter
        self.energy_meter = energy_meter
        self.pulse_gate = pulse_gate
        self._limits = limits
        self.shots = 0
        self.dose_J_cm2 = 0.0
        self.given_shots, self.given_dose_J_cm2 = 0, 0.0
        self.allow: Callable[[], None] = lambda: None
        self.energy_seen: tuple[float, float] | None = None
        self.closing_since_s: float | None = None
        self._current: Fluence | None = None
        self._opened_s: float | None = None
        self._lit_s: float | None = None
        self._uncounted_s = 0.0
        self._fluence_lit = 0.0

    @property
    def area_cm2(self) -> float:
        """Area under the full beam (cm2)."""
        return self.source.area_cm2

    @property
    def fluence_rel_unc(self) -> float:
        """Relative error of the fluence scale, common to all records (one standard deviation)."""
        return math.hypot(self.source.pulse_energy_rel_unc, self.source.area_rel_unc)

    @property
    def limits(self) -> Limits:
        """The fluences (uJ/cm2) that bench file, laser and attenuator allow together."""
        full = self.source.full_pulse_energy_J * 1e6 / self.area_cm2
        low, high = 0.0, full
        if self.attenuator is not None:
            reach = self.attenuator.limits["transmission"]
            low, high = full * reach.low, full * reach.high
        return Limits(
            max(low, self._limits.fluence_min_uJ_cm2),
            min(high, self._fluence_max_uJ_cm2),
            "uJ/cm^2",
        )

    @property
    def _fluence_max_uJ_cm2(self) -> float:
        """What a film stands: heat and multi-photon damage set in far earlier with fs pulses."""
        given = self._limits.fluence_max_uJ_cm2
        if given is not None:
            return given
        return 200.0 if self.source.pulse_width_s < 1e-9 else 50_000.0

    def shots_in(self, seconds: float) -> int:
        """Return the laser shots in a time (at least one for any light at all)."""
        return max(round(seconds * self.source.repetition_rate_Hz), 1)

    def set_fluence(self, fluence_uJ_cm2: float) -> Fluence:
        """Turn the attenuator for a fluence, then find out what it became.

        Raises LimitError outside `limits`; nothing has moved then.
        """
        self.limits.check("fluence", fluence_uJ_cm2)
        if self.attenuator is None:
            raise LimitError("fluence: this bench has no attenuator", key="fluence")
        full = self.source.full_pulse_energy_J * 1e6 / self.area_cm2
        self._current = None
        self.attenuator.set_transmission(fluence_uJ_cm2 / full)
        if self.energy_meter is not None:
            expected_J = fluence_uJ_cm2 * 1e-6 * self.area_cm2 * self.source.pick_off_ratio
            self.energy_meter.set_range_J(_HEADROOM * expected_J)
        return self.measure_fluence()

    def measure_fluence(self, pulses: int | None = None) -> Fluence:
        """Measure the fluence (energy meter), or take it from the calibration."""
        count = pulses if pulses is not None else self.source.pulses_per_reading
        if self.energy_meter is not None:
            energy = self.energy_meter.read_pulses(count)
            ratio = self.source.pick_off_ratio
            mean, spread = energy.mean_J / ratio, energy.spread_J / ratio
            error = energy.error_J / ratio
        else:
            if self.attenuator is None:
                raise InstrumentError("the fluence is unknown: no attenuator and no energy meter")
            full = self.source.full_pulse_energy_J
            mean, spread = full * self.attenuator.transmission, 0.0
            error = full * self.attenuator.transmission_error
        scale = 1e6 / self.area_cm2
        self._current = Fluence(
            mean * scale, error * scale, mean, spread, self.energy_meter is not None
        )
        if self.energy_meter is not None:
            self.energy_seen = (self.clock.now(), mean)
        return self._current

    @property
    def current(self) -> Fluence | None:
        """The fluence as last measured, None if it has not been since the attenuator moved."""
        return self._current

    @property
    def is_open(self) -> bool:
        """Whether this beam has opened its shutter (what the blade says: shutter.is_open)."""
        return self._opened_s is not None

    def book(self, shots: int, fluence_uJ_cm2: float) -> None:
        """Count shots that have fallen on the sample, at their fluence."""
        dose = shots * fluence_uJ_cm2 * 1e-6
        self.shots += shots
        self.dose_J_cm2 += dose
        self.given_shots += shots
        self.given_dose_J_cm2 += dose

    @property
    def lit_since_s(self) -> float | None:
        """Since when there is meant to be light on the sample (bench time), whoever lets it there.

        Not None before the shutter is told to open, None after it is seen closed.
        """
        return self._lit_s

    def permit(self, fluence_uJ_cm2: float | None = None) -> None:
        """Ask whether light may be let on the sample; from here on there is meant to be some.

        For whoever opens the shutter otherwise than by `open`, `light` or `fire`; `went_dark` is
        the end. Raises what `allow` raises, and DeviceFault where the bench has no shutter.
        """
        if self.shutter is None:
            raise DeviceFault("this bench has no shutter: light cannot be let on the sample safely")
        self.allow()
        self.closing_since_s = None
        current = self._current.value_uJ_cm2 if self._current is not None else 0.0
        self._fluence_lit = current if fluence_uJ_cm2 is None else fluence_uJ_cm2
        self._lit_s = self._uncounted_s = self.clock.now()

    def counted_until(self, moment: float) -> None:
        """Note that the shots until then are counted though there still is light."""
        self._uncounted_s = moment

    def went_dark(self) -> None:
        """Note that the shutter is meant to be closed from now on."""
        self._lit_s = None

    def close_shutter(self) -> None:
        """Close the shutter and see it closed; raises what it raises."""
        if self.shutter is not None:
            if self.closing_since_s is None:
                self.closing_since_s = self.clock.now()
            self.shutter.shut()
        self.seen_closed()

    def seen_closed(self) -> None:
        """Note that the shutter has been seen closed, by whomever."""
        self.closing_since_s = None
        self.went_dark()

    def unbooked(self) -> tuple[int, float]:
        """Return shots and dose (J/cm2) that have fallen and are not yet counted, about."""
        if self._lit_s is None:
            return 0, 0.0
        lit_s = self.clock.now() - self._uncounted_s
        shots = max(round(lit_s * self.source.repetition_rate_Hz), 0)
        return shots, shots * self._fluence_lit * 1e-6

    def open(self) -> None:
        """Let light on the sample; shots count from here."""
        self.permit()
        assert self.shutter is not None
        # The blade moves between the command and the moment it is seen open: count from half-way
        # (from the command, should it never be seen).
        if self.pulse_gate is not None:
            self.pulse_gate.pass_all()
        self._opened_s = asked_s = self.clock.now()
        self.shutter.open()
        self._opened_s = 0.5 * (asked_s + self.clock.now())

    def shut(self) -> None:
        """Close the shutter; the shots since it opened are counted, seen closed or not."""
        asked_s = self.clock.now()
        shut_s: float | None = None
        try:
            if self.shutter is not None:
                self.close_shutter()
                shut_s = 0.5 * (asked_s + self.clock.now())
        finally:
            self.went_dark()
            if self._opened_s is not None:
                shots = self.shots_in((shut_s or self.clock.now()) - self._opened_s)
                self._opened_s = None
                self.book(shots, self._current.value_uJ_cm2 if self._current is not None else 0.0)

    def fire(self, shots: int) -> Burst:
        """Let exactly `shots` shots on the sample, the shutter open around them.

        Raises NotReady if the bench has no gate, or one that cannot count laser shots.
        """
        if self.pulse_gate is None or not self.pulse_gate.exact:
            raise NotReady(
                f"exactly {shots} shots were asked for, which needs a pulse gate that counts laser "
                "shots; add [instruments.pulse_gate], or expose for a time instead"
            )
        self.permit()
        assert self.shutter is not None
        burst = None
        try:
            self.pulse_gate.block()
            self.shutter.open()
            burst = self.pulse_gate.release(shots)
        finally:
            try:
                self.close_shutter()
            finally:
                self.went_dark()
                passed = burst.shots if burst is not None else shots  # at most, if it broke off
                self.book(passed, self._current.value_uJ_cm2 if self._current is not None else 0.0)
        return burst

    @contextlib.contextmanager
    def light(self) -> Iterator[None]:
        """Have light on the sample inside the block, and never after it."""
        try:
            self.open()
            yield
        finally:
            self.shut()
