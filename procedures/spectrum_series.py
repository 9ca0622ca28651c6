"""Emission spectra at one fluence and one stripe length after another: what such series share.

The base of power-sweep and stripe-length (and of whoever measures spectra of a pumped stripe). A
subclass says which points there are; here the attenuator is turned, the slit set, the fluence
measured, the exposure ranged so that the brightest pixel stays below saturation, the spectrum
taken, and the background of the same exposure with the shutter closed. Stops at the record.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from instruments.errors import InstrumentError
from instruments.pump import Fluence
from instruments.roles import Exposure
from procedures.columns import Axis, Column
from procedures.measurement import Measurement, Needs, Point, Record
from procedures.parameters import Count, Number, ParameterError

# What a point costs beside its exposures, for the forecast (s): wave plate, shutter, readings.
_OVERHEAD_S = 1.3
_OPENING_S = 0.3  # light beyond the exposures of a record: shutter, read-outs
_MARGIN = 1.1
_STARVED = 20.0
_NARROWEST_NM = 20.0  # step of a survey
_LOOK_S = 0.5  # light of a step of it
_MOST_ATTEMPTS = 8
_COOLING_S = 1800.0

BEAM_COLUMNS = (
    Column("time", "s", "Time since 1970-01-01 UTC"),
    Column("fluence", "uJ/cm^2", "Pump fluence"),
    Column("fluence_errors", "uJ/cm^2", "Independent error of the pump fluence"),
    Column("fluence_setpoint", "uJ/cm^2", "Pump fluence asked for"),
    Column("pulse_energy", "J", "Pulse energy at the sample"),
    Column("pulse_energy_spread", "J", "Standard deviation of single pulses"),
    Column("fluence_measured", "", "1 measured by the energy meter, 0 calibration", "uint8"),
    Column("exposure", "s", "Exposure of one accumulation"),
    Column("accumulations", "", "Accumulations summed", "uint32"),
    Column("shots", "", "Laser shots in the spectrum", "uint64"),
    Column("shots_on_sample", "", "Laser shots on the sample so far", "uint64"),
    Column("dose", "J/cm^2", "Dose on the sample so far"),
    Column("attenuator_angle", "deg", "Angle of the wave plate"),
    Column("attenuator_transmission", "1", "Transmission by calibration"),
    Column("stripe_length", "mm", "Length of the pumped stripe"),
)
SPECTRUM_COLUMNS = (
    Column("saturated", "", "1 if a pixel is saturated", "uint8"),
    Column("spectra", "counts", "Emission, background included", "uint32", ("wavelength",)),
    Column("background", "counts", "Same exposure, shutter closed", "uint32", ("wavelength",)),
)


class SpectrumSeries(Measurement):
    """Spectra of a pumped stripe, with fluence, dose and background to each.

    Points have `fluence_uJ_cm2` and `length_mm` (0: the full stripe, which is left where it is).
    """

    ROLES: ClassVar[tuple[str, ...]] = ("attenuator", "shutter", "monochromator", "camera")
    SIGNAL: ClassVar[str] = "spectra"
    SPECTROSCOPY: ClassVar[str | None] = "photoluminescence"

    centre_wavelength_nm = Number(
        "centre wavelength",
        units="nm",
        minimum=0.0,
        maximum=2000.0,
        default=0.0,
        description="0: look for the emission first",
    )
    survey_min_nm = Number("survey from", units="nm", minimum=200, maximum=2000, default=420.0)
    survey_max_nm = Number("survey to", units="nm", minimum=200, maximum=2000, default=720.0)
    exposure_max_s = Number("longest exposure", units="s", minimum=1e-3, maximum=60, default=2.0)
    shots_min = Count(
        "shots at least",
        minimum=1,
        maximum=1_000_000,
        default=100,
        description="short exposures are accumulated until the spectrum holds this many shots",
    )
    fill = Number(
        "fill",
        units="1",
        minimum=0.05,
        maximum=0.95,
        default=0.6,
        description="where the brightest pixel is to be, as a share of saturation",
    )

    # ---- what a subclass says -------------------------------------------------------------------

    def survey_fluence_uJ_cm2(self) -> float:
        """Return the gentle fluence at which the emission is looked for."""
        raise NotImplementedError

    def lit_share(self, point: Point) -> float:
        """Return how much shorter the exposure of a point is than that of the faintest, about."""
        raise NotImplementedError

    def own_columns(self, point: Point) -> Record:
        """Return what a record holds beside the columns that all series share."""
        raise NotImplementedError

    # ---- what follows ---------------------------------------------------------------------------

    def check(self) -> None:
        """Refuse an empty survey."""
        if not self.survey_min_nm < self.survey_max_nm:
            raise ParameterError("must be below survey_max_nm", key="survey_min_nm")

    def needs(self, point: Point) -> Needs:
        """Forecast from the longest exposure: how bright the sample is shows only later.

        Shots: every record of the longest exposure, and the look before it. Time: the faintest
        would like `_STARVED` times as long.
        """
        rate = self.bench.pump.source.repetition_rate_Hz
        longest_s, least_s = float(self.exposure_max_s), self.shots_min / rate
        most_s = max(longest_s, min(2.0 * least_s, least_s + longest_s)) + longest_s / 8.0
        shots = math.ceil(_MARGIN * rate * (most_s + _OPENING_S))
        share = _STARVED * self.lit_share(point)
        lit_s = max(longest_s * min(share, 1.0), least_s)
        dark_s = lit_s if share < 1.0 or least_s > longest_s else 0.0  # taken once for an exposure
        return Needs(
            seconds=1.1 * lit_s + dark_s + _OVERHEAD_S,
            shots=shots,
            dose_J_cm2=shots * point["fluence_uJ_cm2"] * 1e-6,
            setpoints={
                "fluence_uJ_cm2": point["fluence_uJ_cm2"],
                "stripe_length_mm": point["length_mm"],
            },
        )

    def readying(self) -> Needs:
        """The survey, where the emission is to be looked for."""
        if self.centre_wavelength_nm or "centre_wavelength_nm" in self.decisions:
            return Needs(0.0)
        windows = math.ceil((self.survey_max_nm - self.survey_min_nm) / _NARROWEST_NM)
        return self.light(_LOOK_S * windows, self.survey_fluence_uJ_cm2())

    def axes(self) -> tuple[Axis, ...]:
        """The wavelength of each pixel."""
        spectrograph = self.bench.need_spectrograph()
        return (Axis("wavelength", spectrograph.wavelength_nm, "nm", "Wavelength"),)

    # ---- the bench ------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Shutter closed, wave plate homed, window on the emission."""
        bench = self.bench
        bench.need("shutter")
        bench.pump.shut()
        attenuator = bench.need("attenuator")
        attenuator.prepare()  # type: ignore[attr-defined]
        if "stripe" in bench.instruments:
            bench.instruments["stripe"].prepare()  # type: ignore[attr-defined]
            self._set_length(0.0)
        bench.need_spectrograph().camera.wait_until_cold(_COOLING_S)
        self._exposure_s = self._whole_shots(min(0.1, float(self.exposure_max_s)))
        self._background: tuple[float, int, npt.NDArray[np.uint32]] | None = None
        centre = float(self.decisions.get("centre_wavelength_nm", self.centre_wavelength_nm))
        if centre == 0.0:
            centre = self._look_for_emission()
        self.decisions["centre_wavelength_nm"] = centre
        spectrograph = bench.need_spectrograph()
        spectrograph.go_to(centre)
        # One dark frame: the camera's own shutter opens, and what is on the chip is cleared.
        spectrograph.set_exposure_s(self._exposure_s)
        spectrograph.acquire(1)

    def resumed(self, last_record: Mapping[str, Any]) -> None:
        """Range on from where the interrupted part had come to."""
        if last_record:
            exposure_s, frames = float(last_record["exposure"]), int(last_record["accumulations"])
            self._exposure_s = exposure_s
            self._background = None
            if last_record["background"] is not None:
                self._background = (exposure_s, frames, np.asarray(last_record["background"]))
            # Stand where the interrupted part stood: the next move then takes as long.
            self.bench.pump.set_fluence(float(last_record["fluence_setpoint"]))

    def _look_for_emission(self) -> float:
        """Step the window over the survey range at a gentle fluence; return the brightest nm."""
        bench, spectrograph = self.bench, self.bench.need_spectrograph()
        bench.pump.set_fluence(self.survey_fluence_uJ_cm2())
        low, high = self.survey_min_nm, self.survey_max_nm
        step = 0.8 * spectrograph.span_nm(0.5 * (low + high))
        windows = max(math.ceil((high - low) / step), 1)
        best_nm, best_rate, seen = 0.0, 0.0, False
        for number in range(windows):
            centre = low + (number + 0.5) * (high - low) / windows
            spectrograph.go_to(centre)
            exposure_s = self._whole_shots(min(0.05, float(self.exposure_max_s)))
            while True:
                spectrograph.set_exposure_s(exposure_s)
                dark = spectrograph.acquire(3)
                with bench.pump.light():
                    lit = spectrograph.acquire(3)
                if not lit.saturated or exposure_s <= spectrograph.exposure_limits.low:
                    break
                exposure_s = self._whole_shots(exposure_s / 4.0)
            # The median over frames leaves no cosmic ray, the running mean no single hot pixel.
            net = np.median(lit.frames.astype(float), axis=0) - np.median(dark.frames, axis=0)
            noise = 1.5 * float(np.median(np.abs(net - np.median(net)))) + 1.0
            smooth = np.convolve(net, np.ones(9) / 9.0, mode="same")
            brightest = int(np.argmax(smooth))
            if smooth[brightest] / exposure_s > best_rate:
                best_rate = float(smooth[brightest]) / exposure_s
                best_nm = float(spectrograph.wavelength_nm[brightest])
                seen = bool(smooth[brightest] > 4.0 * noise / 3.0)
        if not seen:
            raise InstrumentError(
                f"no emission was found between {low:g} and {high:g} nm: check the alignment and "
                "the laser, or give centre_wavelength_nm"
            )
        return round(best_nm)

    def _whole_shots(self, exposure_s: float) -> float:
        """Return an exposure of whole laser shots within the limits (s)."""
        rate = self.bench.pump.source.repetition_rate_Hz
        limits = self.bench.need_spectrograph().exposure_limits
        high = min(limits.high, max(float(self.exposure_max_s), limits.low))
        shots = max(round(exposure_s * rate), math.ceil(limits.low * rate - 1e-9), 1)
        return min(shots / rate, high)

    # ---- one record -----------------------------------------------------------------------------

    def record(self, point: Point) -> Record:
        """Take spectrum and background at one fluence."""
        bench = self.bench
        pump, spectrograph = bench.pump, bench.need_spectrograph()
        length_mm = self._set_length(point["length_mm"])
        asked = pump.set_fluence(point["fluence_uJ_cm2"])
        self._range_exposure()
        for _ in range(_MOST_ATTEMPTS):
            exposure_s = spectrograph.set_exposure_s(self._exposure_s)
            frames = self._accumulations(exposure_s)
            with pump.light():
                exposure = spectrograph.acquire(frames)
            if not exposure.saturated:
                break
            shorter = self._whole_shots(exposure_s * 0.3)
            if shorter >= exposure_s:
                break  # as short as it goes: kept, and flagged
            self._exposure_s = shorter
        # The next point ranges on from what this record tells, so that a resumed run does alike.
        self._exposure_s = exposure.exposure_s
        fluence = _mean(asked, pump.measure_fluence()) if asked.measured else asked
        background = self._take_background(exposure.exposure_s, frames)
        return self._row(point, fluence, exposure, background, length_mm)

    def _set_length(self, length_mm: float) -> float:
        stripe = self.bench.instruments.get("stripe")
        full_mm = self.bench.pump.source.stripe_length_mm or 0.0
        if stripe is None:
            return full_mm
        wanted = length_mm or full_mm
        return float(stripe.set_length_mm(wanted))  # type: ignore[attr-defined]

    def _range_exposure(self) -> None:
        """Look once with a shorter exposure, so that the record itself does not saturate."""
        spectrograph = self.bench.need_spectrograph()
        look_s = self._whole_shots(self._exposure_s / 8.0)
        spectrograph.set_exposure_s(look_s)
        with self.bench.pump.light():
            look = spectrograph.acquire(1)
        self._next_exposure(look, float(look.frames.max()), spectrograph.camera.saturation_counts)

    def _next_exposure(self, seen: Exposure, brightest: float, saturation: int) -> None:
        """Choose the exposure that puts the brightest pixel where `fill` says."""
        if seen.saturated:
            self._exposure_s = self._whole_shots(seen.exposure_s * 0.2)
            return
        base = float(np.median(seen.frames))
        signal = max(brightest - base, 30.0)
        self._exposure_s = self._whole_shots(
            seen.exposure_s * (self.fill * saturation - base) / signal
        )

    def _accumulations(self, exposure_s: float) -> int:
        shots = self.bench.pump.shots_in(exposure_s)
        return max(math.ceil(self.shots_min / shots), 1)

    def _take_background(self, exposure_s: float, frames: int) -> npt.NDArray[np.uint32]:
        """Return the background (shutter closed) of this exposure, taken once for each."""
        kept = self._background
        if kept is not None and kept[:2] == (exposure_s, frames):
            return kept[2]
        dark = self.bench.need_spectrograph().acquire(frames)
        summed = np.asarray(dark.frames.sum(axis=0), dtype=np.uint32)
        self._background = (exposure_s, frames, summed)
        return summed

    def _row(
        self,
        point: Point,
        fluence: Fluence,
        exposure: Exposure,
        background: npt.NDArray[np.uint32],
        length_mm: float,
    ) -> Record:
        pump = self.bench.pump
        frames = len(exposure.frames)
        shots = pump.shots_in(exposure.exposure_s) * frames
        attenuator = self.bench.need("attenuator")
        # The pulses of the reading and those of the exposure are other pulses.
        own = fluence.pulse_spread_J / max(fluence.pulse_energy_J, 1e-30) / math.sqrt(shots)
        return {
            "time": exposure.start_s,
            "fluence": fluence.value_uJ_cm2,
            "fluence_errors": math.hypot(fluence.error_uJ_cm2, own * fluence.value_uJ_cm2),
            "fluence_setpoint": point["fluence_uJ_cm2"],
            "pulse_energy": fluence.pulse_energy_J,
            "pulse_energy_spread": fluence.pulse_spread_J,
            "fluence_measured": int(fluence.measured),
            "exposure": exposure.exposure_s,
            "accumulations": frames,
            "shots": shots,
            "shots_on_sample": pump.shots,
            "dose": pump.dose_J_cm2,
            "attenuator_angle": attenuator.angle_deg,  # type: ignore[attr-defined]
            "attenuator_transmission": attenuator.transmission,  # type: ignore[attr-defined]
            "stripe_length": length_mm,
            **self.own_columns(point),
            "saturated": int(exposure.saturated),
            "spectra": exposure.frames.sum(axis=0, dtype=np.uint32),
            "background": background,
        }


def _mean(before: Fluence, after: Fluence) -> Fluence:
    """Join the readings before and after a record: half the noise power, and no linear drift."""
    return Fluence(
        0.5 * (before.value_uJ_cm2 + after.value_uJ_cm2),
        0.5 * math.hypot(before.error_uJ_cm2, after.error_uJ_cm2),
        0.5 * (before.pulse_energy_J + after.pulse_energy_J),
        math.sqrt(0.5 * (before.pulse_spread_J**2 + after.pulse_spread_J**2)),
        True,
    )
