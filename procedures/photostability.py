"""photostability: the stimulated emission over millions of shots, the shutter open all the while.

A plan has five parts (`leg`): spectra far below threshold; a short local sweep about the fluence,
which measures how steeply the intensity follows the energy; the exposure, a record for each block
of shots; the local sweep again; the weak spectra again. During the exposure the fluence is read and
the light of three windows (whole band, its upper half, its short-wave wing) summed for every block;
whole spectra are kept by a schedule. No dark frame is possible meanwhile: those of the sweeps
serve. Stops at the record.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from instruments.errors import InstrumentError
from procedures.analysis.lineshape import half_width, smooth
from procedures.columns import Column
from procedures.continuous_light import ContinuousLight
from procedures.exposure_plan import ExposurePlan, Schedule
from procedures.measurement import Needs, Point, Record
from procedures.parameters import Count, Number, ParameterError
from procedures.spectrum_series import BEAM_COLUMNS, SPECTRUM_COLUMNS, SpectrumSeries

LOW, BEFORE, EXPOSURE, AFTER, LOW_AFTER = range(5)
"""The parts of a run, as the column `leg` names them."""

WINDOWS = ("band", "peak", "wing")
# In widths of the spontaneous band from its peak. The wing ends well before a stimulated line that
# lies at the peak or to its red.
_BAND, _WING = (-1.6, 1.9), (-1.2, -0.55)
_LOOK_FRAMES = 5
_BLOCK_SHARE = 0.8  # of a block's time for its exposure; reading the energy takes the rest


class Photostability(SpectrumSeries):
    """Intensity against laser shots at constant fluence."""

    MEASUREMENT: ClassVar[str] = "photostability"
    TITLE: ClassVar[str] = "Stimulated emission against laser shots"
    SIGNAL: ClassVar[str] = "band_counts"
    PLOT_AXES: ClassVar[tuple[str, ...]] = ("exposed_shots",)
    SPECTROSCOPY: ClassVar[str | None] = None
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        *BEAM_COLUMNS,
        Column("leg", "", "0 weak, 1 sweep before, 2 exposure, 3 sweep after, 4 weak", "int8"),
        Column("exposed_shots", "", "Laser shots of the exposure so far"),
        Column("band_counts", "counts", "Sum over the whole band, background included"),
        Column("peak_counts", "counts", "Sum over the stimulated line, background included"),
        Column("wing_counts", "counts", "Sum over the short-wave wing, background included"),
        Column("kept", "", "1 if the spectrum was kept", "uint8"),
        Column("dark_taken", "", "1 if it has a background (not in the exposure)", "uint8"),
        *SPECTRUM_COLUMNS[:1],
        replace(SPECTRUM_COLUMNS[1], where="kept"),
        replace(SPECTRUM_COLUMNS[2], where="dark_taken"),
    )

    fluence_uJ_cm2 = Number("fluence", units="uJ/cm^2", minimum=1e-3, maximum=1e5, default=57.0)
    shots = Count("shots", minimum=1, maximum=10**10, default=16_000_000)
    shots_per_record = Count("shots per record", minimum=1, maximum=10**8, default=1000)
    frames = Count(
        "frames per record",
        minimum=1,
        maximum=1000,
        default=1,
        description="camera frames summed in each record of the exposure",
    )
    pulses_per_record = Count(
        "pulses per record",
        minimum=1,
        maximum=10_000,
        default=2,
        description="pulses that the energy meter averages for each record of the exposure",
    )
    keep_every = Count(
        "keep every",
        minimum=0,
        maximum=10**9,
        default=100,
        description="every n-th spectrum of the exposure is kept; 0: none by this rule",
    )
    keep_per_decade = Count(
        "keep per decade",
        minimum=0,
        maximum=1000,
        default=10,
        description="spectra kept besides, evenly over each decade of shots; first and last too",
    )
    sweep_points = Count(
        "points of the local sweep",
        minimum=3,
        maximum=1000,
        default=9,
        description="before and after the exposure, to take the laser's drift out",
    )
    sweep_span = Number(
        "half width of the local sweep",
        units="1",
        minimum=0.01,
        maximum=0.5,
        default=0.1,
        description="relative: 0.1 sweeps from 10 % below the fluence to 10 % above",
    )
    low_share = Number(
        "weak fluence",
        units="1",
        minimum=0.01,
        maximum=0.9,
        default=0.15,
        description="of the fluence, far below threshold: shows the light that is not stimulated",
    )
    shots_min = Count(
        "shots at least",
        minimum=1,
        maximum=1_000_000,
        default=400,
        description="in each spectrum of the sweeps; short exposures are accumulated",
    )

    def check(self) -> None:
        """Refuse records longer than the run."""
        if self.shots_per_record > self.shots:
            raise ParameterError(
                f"{self.shots_per_record} was given, allowed are 1 to shots = {self.shots}",
                key="shots_per_record",
            )
        super().check()

    # ---- the plan -------------------------------------------------------------------------------

    def plan(self) -> ExposurePlan:
        """Weak light, sweep, exposure, sweep, weak light."""
        full = float(self.fluence_uJ_cm2)
        low = full * float(self.low_share)
        span = float(self.sweep_span)
        around = full * np.linspace(1.0 - span, 1.0 + span, self.sweep_points)
        # The last point before the exposure is its fluence: from there the exposure time is taken.
        sweep = [*(float(one) for one in around), full]
        total, per_record = int(self.shots), int(self.shots_per_record)
        blocks = math.ceil(total / per_record)

        def leg(number: int, fluence: float) -> Point:
            return {
                "leg": number,
                "fluence_uJ_cm2": fluence,
                "length_mm": 0.0,
                "shots": 0,
                "keep": 1,
            }

        return ExposurePlan(
            (leg(LOW, low), *(leg(BEFORE, one) for one in sweep)),
            leg(EXPOSURE, full),
            total,
            per_record,
            Schedule(blocks, int(self.keep_every), int(self.keep_per_decade)),
            (*(leg(AFTER, one) for one in sweep), leg(LOW_AFTER, low)),
        )

    def needs(self, point: Point) -> Needs:
        """A block takes its shots; the other points what a series of spectra takes."""
        if point["leg"] != EXPOSURE:
            return super().needs(point)
        per_record = min(self.shots_per_record, self.shots)
        return Needs(
            seconds=per_record / self.bench.pump.source.repetition_rate_Hz,
            shots=per_record,
            dose_J_cm2=per_record * point["fluence_uJ_cm2"] * 1e-6,
            setpoints={"fluence_uJ_cm2": point["fluence_uJ_cm2"]},
        )

    def readying(self) -> Needs:
        """The survey, and two looks, weak and at the fluence of the exposure."""
        found = super().readying()
        if f"{WINDOWS[0]}_min_nm" in self.decisions:
            return found
        full, seconds = float(self.fluence_uJ_cm2), (_LOOK_FRAMES + 1.0) * self.exposure_max_s
        return found + self.light(seconds, full * self.low_share) + self.light(seconds, full)

    def lit_share(self, point: Point) -> float:
        """Only the weak light may need the longest exposure."""
        return 1.0 if point["leg"] in (LOW, LOW_AFTER) else 0.02

    def survey_fluence_uJ_cm2(self) -> float:
        """Twice the weak fluence."""
        return min(2.0 * float(self.low_share), 1.0) * float(self.fluence_uJ_cm2)

    def own_columns(self, point: Point) -> Record:
        """What kind of record it is."""
        return {
            "leg": int(point["leg"]),
            "exposed_shots": self._exposed,
            "kept": int(point["keep"]),
            "dark_taken": int(point["leg"] != EXPOSURE),
        }

    # ---- the bench ------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Ready the spectrograph, and decide which pixels are summed."""
        self._light = ContinuousLight(self.bench)
        # After a fault the shots of the attempt that failed still count.
        self._exposed: int = getattr(self, "_exposed", 0)
        super().prepare()
        if f"{WINDOWS[0]}_min_nm" not in self.decisions:
            self._choose_windows()
        axis = self.bench.need_spectrograph().wavelength_nm
        self._pixels = {
            name: (axis >= float(self.decisions[f"{name}_min_nm"]))
            & (axis <= float(self.decisions[f"{name}_max_nm"]))
            for name in WINDOWS
        }

    def resumed(self, last_record: Mapping[str, Any]) -> None:
        """Go on with the shots that the exposure has had."""
        super().resumed(last_record)
        if last_record:
            self._exposed = max(self._exposed, int(last_record["exposed_shots"]))

    def _choose_windows(self) -> None:
        """Find band, line and wing in two looks, weak and at the fluence of the exposure."""
        full = float(self.fluence_uJ_cm2)
        axis = self.bench.need_spectrograph().wavelength_nm
        pixels = max(len(axis) // 100, 3) | 1
        weak = smooth(self._look(full * float(self.low_share))[None], pixels)[0]
        bright = smooth(self._look(full)[None], 3)[0]
        centre, width = half_width(axis, weak)
        line, line_width = half_width(axis, bright)
        edges = {
            "band": (
                min(centre + _BAND[0] * width, line - line_width),
                max(centre + _BAND[1] * width, line + 3.0 * line_width),
            ),
            "peak": (line - 0.5 * line_width, line + 0.5 * line_width),
            "wing": (
                min(centre, line) + _WING[0] * width,
                min(centre, line) + _WING[1] * width,
            ),
        }
        for name, (low, high) in edges.items():
            inside = (axis >= low) & (axis <= high)
            if inside.sum() < 3:
                raise InstrumentError(
                    f"{name} window: {low:.1f} to {high:.1f} nm is not on the detector, which sees "
                    f"{axis[0]:.1f} to {axis[-1]:.1f} nm; use a coarser grating, or give "
                    "centre_wavelength_nm"
                )
            self.decisions[f"{name}_min_nm"] = float(max(low, axis[0]))
            self.decisions[f"{name}_max_nm"] = float(min(high, axis[-1]))

    def _look(self, fluence_uJ_cm2: float) -> npt.NDArray[np.float64]:
        """Return a quick spectrum, counts without background, (pixels,)."""
        spectrograph = self.bench.need_spectrograph()
        self.bench.pump.set_fluence(fluence_uJ_cm2)
        self._exposure_s = self._whole_shots(min(0.1, float(self.exposure_max_s)))
        for _ in range(2):  # from afar the first guess is a rough one
            self._range_exposure()
        spectrograph.set_exposure_s(self._exposure_s)
        with self.bench.pump.light():
            lit = spectrograph.acquire(_LOOK_FRAMES)
        dark = spectrograph.acquire(_LOOK_FRAMES)
        # A median over frames leaves no cosmic ray.
        return np.asarray(
            np.median(lit.frames.astype(np.float64), axis=0) - np.median(dark.frames, axis=0)
        )

    def shutdown(self) -> None:
        """Count the last shots, then leave the bench safe."""
        if hasattr(self, "_light"):
            with contextlib.suppress(InstrumentError):  # making safe closes it by all means
                self._darken()
        super().shutdown()

    def _may_go_on(self) -> bool:
        if self.control.paused:
            with contextlib.suppress(InstrumentError):  # so does the pause
                self._darken()
        return super()._may_go_on()

    def _darken(self) -> None:
        """End the exposure, or interrupt it; its last shots count."""
        counted = self.bench.pump.shots
        try:
            self._light.end()
        finally:
            self._exposed += self.bench.pump.shots - counted

    # ---- one record -----------------------------------------------------------------------------

    def record(self, point: Point) -> Record:
        """Take a spectrum of a sweep, or the next block of the exposure."""
        if point["leg"] == EXPOSURE:
            found = self._block(point)
        else:
            self._darken()
            found = super().record(point)
        for name, inside in self._pixels.items():
            found[f"{name}_counts"] = float(found["spectra"][inside].sum(dtype=np.int64))
        if not point["keep"]:
            found["spectra"] = None
        return found

    def _block(self, point: Point) -> Record:
        """Expose until the block has its shots; the spectrum is taken at its end."""
        bench, light = self.bench, self._light
        spectrograph, pump = bench.need_spectrograph(), bench.pump
        if not light.on:
            self._background = None  # hours old when the next one is wanted
            # Weak light asks for more time than a block has: then it would outlast the plan.
            block_s = float(self.shots_per_record) / bench.pump.source.repetition_rate_Hz
            most_s = self._whole_shots(_BLOCK_SHARE * block_s / self.frames)
            self._exposure_s = min(self._exposure_s, most_s)
            spectrograph.set_exposure_s(self._exposure_s)
            light.fluence_uJ_cm2 = point["fluence_uJ_cm2"]  # until it is measured
        counted = pump.shots
        try:
            light.ensure()
            fluence = pump.measure_fluence(self.pulses_per_record)
            light.fluence_uJ_cm2 = fluence.value_uJ_cm2
            due_s = light.due_s(point["shots"] - self._exposed)
            bench.clock.sleep_until(due_s - self.frames * self._exposure_s)
            exposure = spectrograph.acquire(self.frames)
            light.count()
        except BaseException:
            with contextlib.suppress(InstrumentError):
                light.end()
            raise
        finally:
            self._exposed += pump.shots - counted
        length_mm = float(pump.source.stripe_length_mm or 0.0)
        nothing = np.zeros(0, dtype=np.uint32)
        found = {**self._row(point, fluence, exposure, nothing, length_mm), "background": None}
        if exposure.saturated:  # kept, and flagged; the next ones are shorter
            self._exposure_s = self._whole_shots(0.6 * exposure.exposure_s)
            spectrograph.set_exposure_s(self._exposure_s)
        return found
