"""The spectrograph between sample and detector, as it is and not as it is said to be.

For the World: which wavelength falls on which pixel, how many electrons a photon makes there, and
what narrow lines look like through the slit. A Czerny-Turner with a fixed angle between its arms;
the errors of offset, focal length and detector tilt are what a wavelength calibration is to find.
Stops at expected photo-electrons: noise is the camera's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sim_drivers.noise import FloatArray, generator
from sim_drivers.sample.conditions import Lines
from sim_drivers.sample.slow import gaussian_bins

_LINE_REACH = 8.0  # a line is drawn this many widths to either side


@dataclass(frozen=True)
class Optics:
    """A spectrograph as built: lengths, half the angle between its arms, detector tilt, slit.

    slit_um is the width of the slit's image on the detector (FWHM).
    """

    focal_length_mm: float = 300.0
    half_angle_deg: float = 15.15
    tilt_deg: float = 1.38
    slit_um: float = 60.0


# By the figure in a model's name: measured figures of the Acton family, and HORIBA's iHR320.
KNOWN = {
    "150": Optics(150.0, 24.66),
    "300": Optics(300.0, 15.15),
    "320": Optics(320.0, 10.65),
    "500": Optics(500.0, 8.59),
    "750": Optics(750.0, 6.55),
}


@dataclass(frozen=True)
class Errors:
    """How a spectrograph differs from what it was built as."""

    offset_nm: float = 0.0
    focal_length_rel: float = 0.0
    tilt_deg: float = 0.0


@dataclass(frozen=True)
class Hump:
    """An efficiency against the wavelength: its highest, where, and how far to 1/e of it."""

    highest: float
    top_nm: float
    width_nm: float

    def at(self, wavelength_nm: FloatArray) -> FloatArray:
        """Return the efficiency at wavelengths."""
        reach = (wavelength_nm - self.top_nm) / self.width_nm
        return np.asarray(self.highest * np.exp(-np.square(reach)))

    def drawn(self, rng: np.random.Generator, top_unc_nm: float, width_rel_unc: float) -> Hump:
        """Return one of this kind: no two gratings, chips or cathodes are alike."""
        top_nm = self.top_nm + top_unc_nm * float(rng.standard_normal())
        return Hump(
            self.highest, top_nm, self.width_nm * math.exp(width_rel_unc * rng.standard_normal())
        )


@dataclass(frozen=True)
class Response:
    """What sees the light: electrons per photon.

    silicon, grating: a back-illuminated chip and what is before it. cathode: of a streak camera,
    with its spectrograph.
    """

    silicon: Hump = Hump(0.93, 580.0, 420.0)
    grating: Hump = Hump(0.72, 520.0, 380.0)
    cathode: Hump = Hump(0.03, 430.0, 260.0)

    @staticmethod
    def drawn(seed: int) -> Response:
        """Return the response of a bench by seed: it was not measured, and its analysis knows."""
        rng, usual = generator(int(seed), "response", 0), Response()
        return Response(
            usual.silicon.drawn(rng, 70.0, 0.2),
            usual.grating.drawn(rng, 70.0, 0.2),
            usual.cathode.drawn(rng, 40.0, 0.15),
        )

    def detection(self, wavelength_nm: FloatArray) -> FloatArray:
        """Return electrons per photon of grating and silicon."""
        return self.silicon.at(wavelength_nm) * self.grating.at(wavelength_nm)

    def photocathode(self, wavelength_nm: FloatArray) -> FloatArray:
        """Return photo-electrons per photon of a streak camera and its spectrograph."""
        return self.cathode.at(wavelength_nm)


class Dispersion:
    """A spectrograph with its errors, at any grating and centre wavelength."""

    def __init__(
        self,
        optics: Optics | None = None,
        errors: Errors | None = None,
        response: Response | None = None,
    ) -> None:
        self.optics = optics or Optics()
        self.errors = errors or Errors()
        self.response = response or Response()
        self._kept: tuple[tuple[float, ...], FloatArray] | None = None

    def edges_nm(
        self, centre_nm: float, grooves_per_mm: float, pixels: int, pitch_um: float
    ) -> FloatArray:
        """Return the true wavelengths at the edges of the pixels, (pixels + 1,).

        In first order; all zero for a mirror, or for a grating turned beyond its end.
        """
        key = (centre_nm, grooves_per_mm, float(pixels), pitch_um)
        if self._kept is None or self._kept[0] != key:
            self._kept = (key, self._edges_nm(centre_nm, grooves_per_mm, pixels, pitch_um))
        return self._kept[1]

    def _edges_nm(
        self, centre_nm: float, grooves_per_mm: float, pixels: int, pitch_um: float
    ) -> FloatArray:
        if grooves_per_mm <= 0.0:
            return np.zeros(pixels + 1)
        groove_nm = 1e6 / grooves_per_mm
        half = math.radians(self.optics.half_angle_deg)
        sine = centre_nm / (2.0 * groove_nm * math.cos(half))
        if not abs(sine) < 1.0:
            return np.zeros(pixels + 1)
        turn = math.asin(sine)
        tilt = math.radians(self.optics.tilt_deg + self.errors.tilt_deg)
        focal_mm = self.optics.focal_length_mm * (1.0 + self.errors.focal_length_rel)
        offset_mm = (np.arange(pixels + 1) - 0.5 * pixels) * pitch_um * 1e-3
        bend = np.arctan(offset_mm * math.cos(tilt) / (focal_mm + offset_mm * math.sin(tilt)))
        wavelength = groove_nm * (math.sin(turn - half) + np.sin(turn + half + bend))
        return np.asarray(wavelength + self.errors.offset_nm)

    def lines(self, edges_nm: FloatArray, pitch_um: float, lines: Lines) -> FloatArray:
        """Return the photo-electrons that narrow lines make in each pixel, (pixels,).

        The slit's image and the line's own width add in quadrature; both are taken as Gaussian.
        """
        pixels = len(edges_nm) - 1
        found = np.zeros(pixels)
        width = np.diff(edges_nm)
        if not width.any():
            return found
        photons = lines.photons * self.response.detection(lines.wavelength_nm)
        for centre, electrons, own in zip(lines.wavelength_nm, photons, lines.fwhm_nm, strict=True):
            nearest = int(np.clip(np.searchsorted(edges_nm, centre) - 1, 0, pixels - 1))
            slit = self.optics.slit_um / pitch_um * abs(float(width[nearest]))
            fwhm = math.hypot(slit, float(own))
            low, high = np.searchsorted(edges_nm, centre + _LINE_REACH * fwhm * np.array([-1, 1]))
            part = slice(max(int(low) - 1, 0), min(int(high) + 1, pixels))
            if part.stop > part.start:
                around = edges_nm[part.start : part.stop + 1]
                found[part] += electrons * gaussian_bins(around, float(centre), fwhm)
        return found

    def bands(self, edges_nm: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return where broad light is to be told, and what makes electrons of it.

        Both (pixels,): the pixel's middle (nm), and electrons per (photon per nm).
        """
        middle = 0.5 * (edges_nm[1:] + edges_nm[:-1])
        return middle, np.abs(np.diff(edges_nm)) * self.response.detection(middle)
