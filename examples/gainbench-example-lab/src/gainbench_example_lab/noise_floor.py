"""noise-floor: frames in the dark and in the light, from which the camera's own numbers follow.

Frames are kept one by one: their scatter from frame to frame is what is measured. In the light the
exposure is ranged once, on a gentle fluence; the levels are shares of that exposure. What comes of
it (electrons per count, read noise, dark signal) is told by `noise_analysis`. Stops at the record.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from instruments.errors import InstrumentError
from instruments.roles import Exposure
from procedures.columns import Axis, Column
from procedures.measurement import Measurement, Needs, Point, Record, spacing
from procedures.parameters import Count, Number, Numbers, ParameterError

_COOLING_S = 1800.0
_OVERHEAD_S = 1.5  # of a point: shutter, wave plate, readings
_MOST_LOOKS = 12
_FAINTEST_COUNTS = 30.0


class NoiseFloor(Measurement):
    """Frames in the dark and at several levels of light."""

    MEASUREMENT: ClassVar[str] = "noise-floor"
    EVALUATE: ClassVar[str] = "gainbench_example_lab.noise_analysis:evaluate_noise_floor"
    FIGURE: ClassVar[str] = "gainbench_example_lab.noise_figure:noise_floor_figure"
    TITLE: ClassVar[str] = "Noise of the camera against the light on it"
    ROLES: ClassVar[tuple[str, ...]] = ("attenuator", "shutter", "monochromator", "camera")
    SIGNAL: ClassVar[str] = "spectra"
    PLOT_AXES: ClassVar[tuple[str, ...]] = ("exposure", "wavelength")
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("time", "s", "Time since 1970-01-01 UTC"),
        Column("lit", "", "1 with the shutter open", "uint8"),
        Column("exposure", "s", "Exposure of one frame"),
        Column("fluence", "uJ/cm^2", "Pump fluence, 0 in the dark"),
        Column("saturated", "", "1 if a pixel is saturated", "uint8"),
        Column("sensor_temperature", "degC", "Temperature of the sensor"),
        Column("shots_on_sample", "", "Laser shots on the sample so far", "uint64"),
        Column("spectra", "counts", "Sum of the frames", "uint32", ("wavelength",)),
        Column("frames", "counts", "Frames one by one", "uint16", ("frame", "wavelength")),
    )

    dark_exposures_s = Numbers(
        "exposures in the dark",
        units="s",
        minimum=1e-3,
        maximum=600.0,
        default=[0.01, 1.0, 5.0],
        description="their differences tell the dark signal",
    )
    levels = Count("levels of light", minimum=2, maximum=100, default=8)
    frames = Count("frames at each point", minimum=4, maximum=1000, default=20)
    fluence_uJ_cm2 = Number(
        "fluence",
        units="uJ/cm^2",
        minimum=1e-3,
        maximum=1e5,
        default=3.0,
        description="far below threshold: there the spectrum scales with the pulses as a whole",
    )
    centre_wavelength_nm = Number(
        "centre wavelength", units="nm", minimum=200.0, maximum=2000.0, default=515.0
    )
    exposure_max_s = Number("longest exposure", units="s", minimum=1e-2, maximum=60, default=5.0)
    fill = Number(
        "fill",
        units="1",
        minimum=0.1,
        maximum=0.9,
        default=0.75,
        description="where the brightest pixel of the highest level is, as a share of saturation",
    )

    def check(self) -> None:
        """Refuse what cannot tell the dark signal."""
        if len(set(self.dark_exposures_s)) < 2:
            raise ParameterError("two different exposures at least", key="dark_exposures_s")

    def plan(self) -> list[Point]:
        """The dark first, then the light, from the faintest level to the brightest."""
        shares = spacing(0.01, 1.0, self.levels, "log")
        dark = [{"exposure_s": value, "level": 0.0} for value in sorted(set(self.dark_exposures_s))]
        return [*dark, *({"exposure_s": 0.0, "level": float(share)} for share in shares)]

    def needs(self, point: Point) -> Needs:
        """Forecast from the longest exposure for the brightest level."""
        if not point["level"]:
            seconds = self.frames * point["exposure_s"] + _OVERHEAD_S
            return Needs(seconds=seconds, setpoints={"exposure_s": point["exposure_s"]})
        lit_s = self.frames * self.exposure_max_s * point["level"]
        shots = self.bench.pump.shots_in(lit_s)
        return Needs(
            seconds=lit_s + _OVERHEAD_S,
            shots=shots,
            dose_J_cm2=shots * self.fluence_uJ_cm2 * 1e-6,
            setpoints={"fluence_uJ_cm2": self.fluence_uJ_cm2},
        )

    def axes(self) -> tuple[Axis, ...]:
        """The wavelength of each pixel, and the number of the frame."""
        wavelength = self.bench.need_spectrograph().wavelength_nm
        return (
            Axis("wavelength", wavelength, "nm", "Wavelength"),
            Axis("frame", np.arange(int(self.frames), dtype=np.float64), "", "Frame"),
        )

    # ---- the bench ------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Shutter closed, camera cold, window set, and the exposure of the brightest level found.

        A resumed run finds it in `decisions`, where the file has kept it.
        """
        pump, spectrograph = self.bench.pump, self.bench.need_spectrograph()
        pump.shut()
        attenuator: Any = self.bench.need("attenuator")
        attenuator.prepare()
        spectrograph.camera.wait_until_cold(_COOLING_S)
        spectrograph.go_to(self.centre_wavelength_nm)
        pump.set_fluence(self.fluence_uJ_cm2)
        self.decisions["saturation_counts"] = float(spectrograph.camera.saturation_counts)
        if "full_exposure_s" not in self.decisions:
            self.decisions["full_exposure_s"] = self._find_full_exposure_s()

    def resumed(self, last_record: Mapping[str, Any]) -> None:
        """Stand where the interrupted part stood: exposure set, a frame taken.

        The first frame takes longer than those that follow, as the camera's own shutter opens.
        """
        if last_record:
            spectrograph = self.bench.need_spectrograph()
            spectrograph.set_exposure_s(float(last_record["exposure"]))
            spectrograph.acquire(1)

    def _find_full_exposure_s(self) -> float:
        """Look, longer each time, until the brightest pixel tells the exposure that fills it."""
        spectrograph = self.bench.need_spectrograph()
        limits, saturation = spectrograph.exposure_limits, spectrograph.camera.saturation_counts
        high = max(min(limits.high, float(self.exposure_max_s)), limits.low)
        exposure_s = min(max(0.01, limits.low), high)
        for _ in range(_MOST_LOOKS):
            spectrograph.set_exposure_s(exposure_s)
            dark = self._look(lit=False)
            lit = self._look(lit=True)
            # The median over three frames leaves no cosmic ray.
            base = float(np.median(dark.frames))
            signal = float(np.median(lit.frames, axis=0).max()) - base
            wanted = exposure_s * (self.fill * saturation - base) / max(signal, _FAINTEST_COUNTS)
            if lit.saturated:
                wanted = 0.2 * exposure_s
            elif 0.1 < wanted / exposure_s < 3.0:
                return float(min(max(wanted, limits.low), high))
            wanted = min(max(wanted, limits.low), high, 20.0 * exposure_s)
            if wanted == exposure_s:
                if signal < _FAINTEST_COUNTS:
                    break
                return float(wanted)
            exposure_s = wanted
        raise InstrumentError(
            f"no light that suits was found about {self.centre_wavelength_nm:g} nm: check laser "
            "and alignment, or give another fluence_uJ_cm2 or centre_wavelength_nm"
        )

    def _look(self, *, lit: bool, frames: int = 3) -> Exposure:
        spectrograph = self.bench.need_spectrograph()
        if not lit:
            return spectrograph.acquire(frames)
        with self.bench.pump.light():
            return spectrograph.acquire(frames)

    # ---- one record -----------------------------------------------------------------------------

    def record(self, point: Point) -> Record:
        """Take the frames of one point."""
        pump, spectrograph = self.bench.pump, self.bench.need_spectrograph()
        lit = bool(point["level"])
        exposure_s = point["exposure_s"]
        fluence = 0.0
        if lit:
            exposure_s = float(self.decisions["full_exposure_s"]) * point["level"]
            exposure_s = max(exposure_s, spectrograph.exposure_limits.low)
            fluence = pump.measure_fluence().value_uJ_cm2
        spectrograph.set_exposure_s(exposure_s)
        taken = self._look(lit=lit, frames=int(self.frames))
        return {
            "time": taken.start_s,
            "lit": int(lit),
            "exposure": taken.exposure_s,
            "fluence": fluence,
            "saturated": int(taken.saturated),
            "sensor_temperature": spectrograph.camera.temperature_C,
            "shots_on_sample": pump.shots,
            "spectra": taken.frames.sum(axis=0, dtype=np.uint32),
            "frames": taken.frames,
        }
