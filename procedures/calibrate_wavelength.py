"""calibrate-wavelength: spectra of a spectral lamp at some places of the grating.

The lamp stands before the entrance slit; the pump's shutter stays closed. At each centre wavelength
the exposure is ranged so that the brightest line stays below saturation, and some frames are taken,
kept one by one, so that cosmic rays can be told from lines. What comes of it (offset, focal length
and detector tilt) is written as a dated calibration file by `gainbench analyze --calibration`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from instruments.roles import Exposure
from instruments.spectrograph import Spectrograph
from procedures.columns import Axis, Column
from procedures.measurement import Measurement, Needs, Point, Record
from procedures.parameters import Choice, Count, Number, Numbers, ParameterError

_MOVE_S = 10.0  # a way of the grating, for the forecast
_COOLING_S = 1800.0
_MOST_ATTEMPTS = 8
_FAINT_COUNTS = 30.0


class CalibrateWavelength(Measurement):
    """Lamp spectra, from which the wavelength axis is found."""

    MEASUREMENT: ClassVar[str] = "calibrate-wavelength"
    TITLE: ClassVar[str] = "Spectra of a lamp at some places of the grating"
    ROLES: ClassVar[tuple[str, ...]] = ("monochromator", "camera")
    SIGNAL: ClassVar[str] = "spectra"
    PLOT_AXES: ClassVar[tuple[str, ...]] = ("centre_wavelength", "pixel")
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("time", "s", "Time since 1970-01-01 UTC"),
        Column("centre_wavelength", "nm", "Centre wavelength, as read back"),
        Column("centre_setpoint", "nm", "Centre wavelength asked for"),
        Column("exposure", "s", "Exposure of one frame"),
        Column("saturated", "", "1 if a pixel is saturated", "uint8"),
        Column("sensor_temperature", "degC", "Temperature of the sensor"),
        Column("wavelength", "nm", "Wavelength axis before this calibration", axes=("pixel",)),
        Column("spectra", "counts", "Sum of the frames", "uint32", ("pixel",)),
        Column("frames", "counts", "Frames one by one", "uint16", ("frame", "pixel")),
    )

    lamp = Choice("lamp", choices=["Hg", "Ne", "Ar", "HgAr", "HgNe"], default="HgAr")
    centres_nm = Numbers(
        "centre wavelengths",
        units="nm",
        minimum=0.0,
        maximum=2000.0,
        default=[435.0, 490.0, 546.0, 590.0],
        description="with several lines each; they tell how well the grating comes back, too",
    )
    frames = Count("frames", minimum=3, maximum=1000, default=5)
    grating = Count(
        "grating", minimum=0, maximum=9, default=0, description="its slot; 0: the one in use"
    )
    exposure_max_s = Number("longest exposure", units="s", minimum=1e-3, maximum=60, default=2.0)
    fill = Number(
        "fill",
        units="1",
        minimum=0.05,
        maximum=0.95,
        default=0.6,
        description="where the brightest line is to be, as a share of saturation",
    )
    search_nm = Number(
        "search",
        units="nm",
        minimum=0.2,
        maximum=50.0,
        default=5.0,
        description="how far the axis may be off before",
    )

    def check(self) -> None:
        """Refuse a plan without places."""
        if not self.centres_nm:
            raise ParameterError("one centre wavelength at least is needed", key="centres_nm")

    def plan(self) -> list[Point]:
        """The centre wavelengths, in their order."""
        return [{"centre_wavelength_nm": float(centre)} for centre in self.centres_nm]

    def needs(self, point: Point) -> Needs:
        """The longest exposures; nothing reaches the sample."""
        return Needs(
            seconds=_MOVE_S + (self.frames + 2) * self.exposure_max_s,
            setpoints={"centre_wavelength_nm": point["centre_wavelength_nm"]},
        )

    def _check_setpoints(self, setpoints: Mapping[str, float]) -> None:
        super()._check_setpoints(setpoints)
        spectrograph = self._spectrograph()
        centre = setpoints["centre_wavelength_nm"]
        limits = spectrograph.monochromator.limits
        if not self.grating and "wavelength_nm" in limits:
            limits["wavelength_nm"].check("centre wavelength", centre)
        grooves = self._grooves_per_mm()
        camera = spectrograph.camera
        spectrograph.geometry.wavelengths_nm(
            centre, grooves, max(camera.pixels, 2), max(camera.pixel_pitch_um, 1.0)
        )

    def axes(self) -> tuple[Axis, ...]:
        """Pixels and frames; the wavelengths are another axis at each place."""
        pixels = self._spectrograph().camera.pixels
        return (
            Axis("pixel", np.arange(pixels, dtype=np.float64), "", "Pixel"),
            Axis("frame", np.arange(int(self.frames), dtype=np.float64), "", "Frame"),
        )

    # ---- the bench ------------------------------------------------------------------------------

    def _spectrograph(self) -> Spectrograph:
        return self.bench.need_spectrograph()

    def _grooves_per_mm(self) -> float:
        """Return the grooves of the grating that will be used; LimitError if it is not there."""
        mono = self._spectrograph().monochromator
        if not self.grating:
            return mono.grating.grooves_per_mm
        found = [one for one in mono.gratings if one.slot == self.grating]
        if not found:
            have = ", ".join(f"{one.slot} ({one.grooves_per_mm:g}/mm)" for one in mono.gratings)
            raise ParameterError(
                f"there is no grating in slot {self.grating}; installed are {have}", key="grating"
            )
        return found[0].grooves_per_mm

    def prepare(self) -> None:
        """Shutter closed, camera cold, grating chosen; what the fit starts from is noted."""
        self.bench.pump.shut()
        spectrograph = self._spectrograph()
        spectrograph.camera.wait_until_cold(_COOLING_S)
        if self.grating:
            spectrograph.select_grating(int(self.grating))
        geometry, camera = spectrograph.geometry, spectrograph.camera
        self.decisions |= {
            "grooves_per_mm": spectrograph.monochromator.grating.grooves_per_mm,
            "pixel_pitch_um": camera.pixel_pitch_um,
            "saturation_counts": float(camera.saturation_counts),
            "focal_length_mm": geometry.focal_length_mm,
            "half_angle_deg": geometry.half_angle_deg,
            "tilt_deg": geometry.tilt_deg,
            "previous_calibration": geometry.name,
        }
        self._exposure_s = min(0.1, float(self.exposure_max_s))

    def resumed(self, last_record: Mapping[str, Any]) -> None:
        """Range on from, and stand at, where the interrupted part had come to."""
        if last_record:
            self._exposure_s = float(last_record["exposure"])
            self._spectrograph().go_to(float(last_record["centre_setpoint"]))

    def record(self, point: Point) -> Record:
        """Take the frames at one place."""
        spectrograph = self._spectrograph()
        centre = spectrograph.go_to(point["centre_wavelength_nm"])
        exposure = self._ranged()
        return {
            "time": exposure.start_s,
            "centre_wavelength": centre,
            "centre_setpoint": point["centre_wavelength_nm"],
            "exposure": exposure.exposure_s,
            "saturated": int(exposure.saturated),
            "sensor_temperature": spectrograph.camera.temperature_C,
            "wavelength": spectrograph.wavelength_nm,
            "spectra": exposure.frames.sum(axis=0, dtype=np.uint32),
            "frames": exposure.frames,
        }

    def _ranged(self) -> Exposure:
        """Look until the exposure fits, then take the frames with it."""
        spectrograph = self._spectrograph()
        limits = spectrograph.exposure_limits
        low, high = limits.low, max(min(limits.high, float(self.exposure_max_s)), limits.low)
        exposure_s = min(max(self._exposure_s, low), high)
        saturation = spectrograph.camera.saturation_counts
        for _ in range(_MOST_ATTEMPTS):
            spectrograph.set_exposure_s(exposure_s)
            look = spectrograph.acquire(3)
            # The median leaves no cosmic ray, and so no exposure that is short by one.
            seen = np.median(look.frames, axis=0)
            brightest, base = float(seen.max()), float(np.median(seen))
            if brightest >= saturation:
                wanted = look.exposure_s * 0.2
            else:
                signal = max(brightest - base, _FAINT_COUNTS)
                wanted = look.exposure_s * (self.fill * saturation - base) / signal
            wanted = min(max(wanted, low), high)
            settled = 0.7 < wanted / look.exposure_s < 1.5
            exposure_s = wanted
            if settled or wanted == look.exposure_s:
                break
        spectrograph.set_exposure_s(exposure_s)
        exposure = spectrograph.acquire(int(self.frames))
        self._exposure_s = exposure.exposure_s
        return exposure
