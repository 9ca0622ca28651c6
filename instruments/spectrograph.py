"""A monochromator and a camera make a spectrograph: counts on a wavelength axis.

Any monochromator and any camera can take the places. The axis comes from focal length, grating,
pixel pitch and angles (grating equation of a Czerny-Turner with fixed inclusion angle), and an
optional calibration (offset and scale from lamp lines) on top.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from instruments.errors import ConfigError, LimitError
from instruments.roles import Camera, Exposure, Grating, Limits, Monochromator


@dataclass(frozen=True)
class Geometry:
    """The optics: focal length (mm), half the inclusion angle and detector tilt (degrees).

    offset_nm and scale correct the computed axis: nm = centre + scale (computed - centre) + offset;
    offset_error_nm is one standard deviation of the axis.
    """

    focal_length_mm: float = 300.0
    half_angle_deg: float = 15.15
    tilt_deg: float = 1.38
    offset_nm: float = 0.0
    scale: float = 1.0
    offset_error_nm: float = 0.05
    name: str = "nominal"

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
        return np.asarray(centre_nm + self.scale * (computed - centre_nm) + self.offset_nm)


def load_geometry(path: Path, base: Geometry) -> Geometry:
    """Read a wavelength calibration (TOML; any field of Geometry) on top of `base`."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        fields = {
            k: float(v) for k, v in table.items() if k in Geometry.__annotations__ and k != "name"
        }
        return Geometry(**{**base.__dict__, **fields, "name": path.name})
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"is not a wavelength calibration ({error})", file=str(path)) from None


class Spectrograph:
    """Spectra in counts, on a wavelength axis in nm."""

    def __init__(
        self,
        monochromator: Monochromator,
        camera: Camera,
        geometry: Geometry | None = None,
        exposure_limits: Limits | None = None,
    ) -> None:
        self.monochromator = monochromator
        self.camera = camera
        self.geometry = geometry or Geometry()
        self._exposure_limits = exposure_limits
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
