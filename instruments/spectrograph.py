"""A monochromator and a camera make a spectrograph: counts on a wavelength axis.

Any monochromator and any camera can take the places. The axis comes from focal length, grating,
pixel pitch and angles (grating equation of a Czerny-Turner with fixed inclusion angle), and an
optional calibration (offset and scale from lamp lines) on top.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from instruments.calibration import Calibration, read_calibration
from instruments.errors import LimitError
from instruments.roles import Camera, Exposure, Grating, Limits, Monochromator


@dataclass(frozen=True)
class Geometry:
    """The optics: focal length (mm), half the inclusion angle and detector tilt (degrees).

    offset_nm and scale correct the computed axis: nm = centre + scale (computed - centre) + offset;
    offset_error_nm is one standard deviation of the axis. Offset and its error hold for the grating
    with calibrated_grooves_per_mm (0: any): another grating sits otherwise on its turret.
    """

    focal_length_mm: float = 300.0
    half_angle_deg: float = 15.15
    tilt_deg: float = 1.38
    offset_nm: float = 0.0
    scale: float = 1.0
    offset_error_nm: float = 0.05
    calibrated_grooves_per_mm: float = 0.0
    name: str = "nominal"

    def holds_for(self, grooves_per_mm: float) -> bool:
        """Return whether offset and its error were measured with this grating."""
        return self.calibrated_grooves_per_mm in (0.0, grooves_per_mm)

    def wavelengths_nm(
        self, centre_nm: float, grooves_per_mm: float, pixels: int, pitch_um: float
    ) -> npt.NDArray[np.float64]:
        """Return the wavelength at the centre of each pixel (nm), rising, (pixels,).

        Source: grating equation m lambda = d (sin alpha + sin beta), alpha = phi - delta,
        beta = phi + delta, first order; delta half the inclusion angle, phi the grating's turn.
        """
        spacing_nm = 1e6 / grooves_per_mm
        delta = np.radians(self.half_angle_deg)
        sine = centre_nm / (2.0 * spacing_nm * np.cos(delta))
        if not 0.0 <= sine < 1.0:
            raise LimitError(
                f"centre wavelength: {centre_nm:g} nm cannot be reached with "
                f"{grooves_per_mm:g} grooves/mm; choose a coarser grating",
                key="centre_wavelength_nm",
            )
        phi = np.arcsin(sine)
        x_mm = (np.arange(pixels) + 0.5 - pixels / 2.0) * pitch_um / 1000.0
        tilt = np.radians(self.tilt_deg)
        beta = (
            phi
            + delta
            + np.arctan2(x_mm * np.cos(tilt), self.focal_length_mm + x_mm * np.sin(tilt))
        )
        computed = spacing_nm * (np.sin(phi - delta) + np.sin(beta))
        offset_nm = self.offset_nm if self.holds_for(grooves_per_mm) else 0.0
        return np.asarray(centre_nm + self.scale * (computed - centre_nm) + offset_nm)


_ERRORS = {"offset_nm": "offset_error_nm"}
_OF_GEOMETRY = (
    "focal_length_mm",
    "half_angle_deg",
    "tilt_deg",
    "offset_nm",
    "scale",
    "offset_error_nm",
    "calibrated_grooves_per_mm",
)
CALIBRATED = (*_OF_GEOMETRY, "residual_rms_nm", "repeatability_nm")
"""The values that a spectrograph's calibration may hold."""


def calibrated_geometry(calibration: Calibration, base: Geometry) -> Geometry:
    """Return `base` with what a calibration file says; its offset_error_nm is the whole axis's."""
    fields = {k: v for k, v in calibration.values.items() if k in _OF_GEOMETRY}
    errors = {_ERRORS[k]: v for k, v in calibration.stderr.items() if k in _ERRORS}
    return replace(base, **{**errors, **fields}, name=calibration.name)


def load_geometry(path: Path, base: Geometry) -> Geometry:
    """Read a calibration file of the spectrograph on top of `base`; ConfigError if it is none."""
    return calibrated_geometry(read_calibration(path, "spectrograph", CALIBRATED), base)


class Spectrograph:
    """Spectra in counts, on a wavelength axis in nm.

    uncalibrated_nm: one standard deviation of the axis with a grating that was not calibrated.
    """

    def __init__(
        self,
        monochromator: Monochromator,
        camera: Camera,
        geometry: Geometry | None = None,
        exposure_limits: Limits | None = None,
        *,
        uncalibrated_nm: float = Geometry.offset_error_nm,
    ) -> None:
        self.monochromator = monochromator
        self.camera = camera
        self.geometry = geometry or Geometry()
        self._exposure_limits = exposure_limits
        self._uncalibrated_nm = uncalibrated_nm
        self._axis: npt.NDArray[np.float64] | None = None

    @property
    def wavelength_nm(self) -> npt.NDArray[np.float64]:
        """The wavelength of each pixel for the present centre and grating (nm), (pixels,)."""
        if self._axis is None:
            mono, camera = self.monochromator, self.camera
            self._axis = self.geometry.wavelengths_nm(
                mono.wavelength_nm,
                mono.grating.grooves_per_mm,
                camera.pixels,
                camera.pixel_pitch_um,
            )
        return self._axis

    @property
    def wavelength_unc_nm(self) -> float:
        """One standard deviation of the axis (nm), with the present grating."""
        if self.geometry.holds_for(self.monochromator.grating.grooves_per_mm):
            return self.geometry.offset_error_nm
        return self._uncalibrated_nm

    @property
    def exposure_limits(self) -> Limits:
        """The exposures (s) that bench file and camera allow together."""
        own = self.camera.limits["exposure_s"]
        if self._exposure_limits is None:
            return own
        return Limits(
            max(own.low, self._exposure_limits.low), min(own.high, self._exposure_limits.high), "s"
        )

    def go_to(self, centre_nm: float) -> float:
        """Centre the window on a wavelength (nm), return the one reached."""
        self._axis = None
        return self.monochromator.go_to(centre_nm)

    def select_grating(self, slot: int) -> Grating:
        """Turn to another grating."""
        self._axis = None
        return self.monochromator.select_grating(slot)

    def span_nm(self, centre_nm: float) -> float:
        """Return the width of the window at a centre wavelength with the present grating."""
        axis = self.geometry.wavelengths_nm(
            centre_nm,
            self.monochromator.grating.grooves_per_mm,
            self.camera.pixels,
            self.camera.pixel_pitch_um,
        )
        return float(axis[-1] - axis[0])

    def set_exposure_s(self, exposure_s: float) -> float:
        """Set the exposure (s); LimitError outside `exposure_limits`."""
        self.exposure_limits.check("exposure_s", exposure_s)
        return self.camera.set_exposure_s(exposure_s)

    def acquire(self, frames: int = 1) -> Exposure:
        """Take spectra; see Camera.acquire."""
        return self.camera.acquire(frames)
