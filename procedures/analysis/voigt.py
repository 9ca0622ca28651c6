"""One or two Voigt bands fitted to many spectra at once: positions and widths shared by all.

For the biexciton series (after Moreels et al., as the paper does, but all spectra together). The
heights of the bands are linear and are solved for in each step of the fit (variable projection,
Golub & Pereyra 1973), so that only positions, widths and the slope of the instrument's response are
searched for. Over energy: spectra come per eV. Stops at areas; what they mean is `biexciton.py`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import lmfit
import numpy as np
from scipy.special import voigt_profile

from procedures.analysis.results import FloatArray

EV_NM = 1239.841984
"""Photon energy in eV times wavelength in nm (CODATA 2018); the wavelength as the axis has it."""

_FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))
_MOST_RESPONSE = 5.0  # tilt and bend beyond this many of their sigmas are no response any more
_MOST_STEPS = 600
_STEPS = {"centre": 1e-6, "fwhm": 1e-6, "share": 1e-4, "tilt": 1e-6, "bend": 1e-8}


@dataclass(frozen=True)
class Bands:
    """What all spectra share.

    centre_eV, fwhm_eV, share: of each band, (B,); share is the Lorentzian over the whole width.
    tilt_per_nm, bend_per_nm2: derivatives of the logarithm of the instrument's response.
    """

    centre_eV: FloatArray
    fwhm_eV: FloatArray
    share: FloatArray
    tilt_per_nm: float = 0.0
    bend_per_nm2: float = 0.0


@dataclass(frozen=True)
class Spectra:
    """N spectra over P energies.

    energy_eV: (P,). offset_nm: wavelength from the middle of the window, (P,). per_eV, sigma:
    light and its noise, (N, P). tilt_unc_per_nm, bend_unc_per_nm2: what is known of the response.
    """

    energy_eV: FloatArray
    offset_nm: FloatArray
    per_eV: FloatArray
    sigma: FloatArray
    tilt_unc_per_nm: float
    bend_unc_per_nm2: float

    @cached_property
    def weight(self) -> FloatArray:
        """One over the variance, (N, P)."""
        return np.asarray(1.0 / self.sigma**2)

    @cached_property
    def weighted(self) -> FloatArray:
        """Light times its weight, (N, P)."""
        return np.asarray(self.weight * self.per_eV)


@dataclass(frozen=True)
class BandFit:
    """The fit of B bands to N spectra.

    Attributes:
        bands: as fitted. covariance: of centres, widths and shares in that order, (3B, 3B).
        area: of each band in each spectrum, (N, B).
        area_covariance: (B, N, N) for each band by itself: noise, and what the shared shape leaves
            open, which is common to all spectra.
        chi2, dof: of the fit. inflation: by which covariances were enlarged because the spectra
            differ from the bands by more than their noise; 1 if they do not.
    """

    bands: Bands
    covariance: FloatArray
    area: FloatArray
    area_covariance: FloatArray
    chi2: float
    dof: int
    inflation: float

    def sigma(self, gradient: FloatArray) -> float:
        """Return the sigma of a linear combination of centres, widths and shares, (3B,)."""
        variance = float(gradient @ self.covariance @ gradient)
        return float(np.sqrt(max(variance, 0.0)))


def energies(
    wavelength_nm: FloatArray, per_shot: FloatArray, variance: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return photon energies (P,), and light and noise per eV, (N, P): with the Jacobian.

    `per_shot` is light in each pixel, `variance` its noise.
    """
    energy = EV_NM / wavelength_nm
    width = np.abs(np.gradient(wavelength_nm)) * EV_NM / wavelength_nm**2
    return energy, per_shot / width, np.sqrt(variance) / width


def voigt(
    energy_eV: FloatArray, centre_eV: FloatArray, fwhm_eV: FloatArray, share: FloatArray
) -> FloatArray:
    """Return Voigt profiles of unit area by whole width and Lorentzian share (0 to 1), (B, P).

    Widths by Olivero & Longbothum (1977), good to 0.02 %.
    """
    lorentzian = share * fwhm_eV
    squared = (fwhm_eV - 0.5346 * lorentzian) ** 2 - 0.2166 * lorentzian**2
    sigma = np.sqrt(np.maximum(squared, 0.0)) / _FWHM_PER_SIGMA
    offset = energy_eV - centre_eV[:, np.newaxis]
    return np.asarray(voigt_profile(offset, sigma[:, np.newaxis], 0.5 * lorentzian[:, np.newaxis]))


def shapes(bands: Bands, spectra: Spectra) -> FloatArray:
    """Return each band as the instrument shows it, unit area before its response, (B, P)."""
    offset = spectra.offset_nm
    response = np.exp(bands.tilt_per_nm * offset + 0.5 * bands.bend_per_nm2 * offset**2)
    return voigt(spectra.energy_eV, bands.centre_eV, bands.fwhm_eV, bands.share) * response


def areas(bands: Bands, spectra: Spectra) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return areas (N, B), their covariances at fixed shapes (N, B, B), and residuals (N, P)."""
    shape = shapes(bands, spectra)
    count = len(shape)
    products = (shape[:, np.newaxis] * shape[np.newaxis]).reshape(count * count, -1)
    normal = (spectra.weight @ products.T).reshape(-1, count, count)
    right = spectra.weighted @ shape.T
    covariance = np.asarray(np.linalg.pinv(normal), dtype=np.float64)
    area = (covariance @ right[..., np.newaxis])[..., 0]
    return area, covariance, (spectra.per_eV - area @ shape) / spectra.sigma


def chi_squared(bands: Bands, spectra: Spectra) -> float:
    """Return chi squared of the spectra at given shapes, areas at their best."""
    return float(np.sum(areas(bands, spectra)[2] ** 2))


def fit_bands(spectra: Spectra, start: Bands) -> BandFit | None:
    """Fit the shared shape from `start`; None if no fit is found.

    The response is left alone at first, unless the start has one already.
    """
    count = len(start.centre_eV)
    parameters = lmfit.Parameters()
    low, high = float(spectra.energy_eV.min()), float(spectra.energy_eV.max())
    finest = float(np.abs(np.diff(spectra.energy_eV)).min())
    for band in range(count):
        parameters.add(f"centre_{band}", start.centre_eV[band], min=low, max=high)
        parameters.add(f"fwhm_{band}", start.fwhm_eV[band], min=2.0 * finest, max=high - low)
        parameters.add(f"share_{band}", start.share[band], min=0.0, max=1.0)
    known = (spectra.tilt_unc_per_nm > 0.0, spectra.bend_unc_per_nm2 > 0.0)
    # In units of what is known of them, so that the step of the search suits.
    for name, value, unc in (
        ("tilt", start.tilt_per_nm, spectra.tilt_unc_per_nm),
        ("bend", start.bend_per_nm2, spectra.bend_unc_per_nm2),
    ):
        begin = float(
            np.clip(
                value / unc if unc > 0.0 else 0.0, -0.99 * _MOST_RESPONSE, 0.99 * _MOST_RESPONSE
            )
        )
        parameters.add(name, begin, vary=False, min=-_MOST_RESPONSE, max=_MOST_RESPONSE)
    at_once = not any(known) or start.tilt_per_nm != 0.0 or start.bend_per_nm2 != 0.0

    def bands_of(values: lmfit.Parameters) -> Bands:
        number = {name: values[name].value for name in values}
        return Bands(
            np.array([number[f"centre_{band}"] for band in range(count)]),
            np.array([number[f"fwhm_{band}"] for band in range(count)]),
            np.array([number[f"share_{band}"] for band in range(count)]),
            number["tilt"] * spectra.tilt_unc_per_nm,
            number["bend"] * spectra.bend_unc_per_nm2,
        )

    def residuals(values: lmfit.Parameters) -> FloatArray:
        prior = [values["tilt"].value, values["bend"].value]
        return np.append(areas(bands_of(values), spectra)[2].ravel(), prior)

    try:
        for free in (known,) if at_once else ((False, False), known):
            parameters["tilt"].vary, parameters["bend"].vary = free
            minimizer = lmfit.Minimizer(
                residuals, parameters, scale_covar=False, calc_covar=False, max_nfev=_MOST_STEPS
            )
            parameters = minimizer.minimize(method="leastsq").params
    except (ValueError, np.linalg.LinAlgError):
        return None
    bands = bands_of(parameters)
    return _with_errors(spectra, bands, known)


def _with_errors(spectra: Spectra, bands: Bands, known: tuple[bool, bool]) -> BandFit:
    """Return fit and covariances at the best shape, from the derivatives of the projected fit."""
    count = len(bands.centre_eV)
    theta = np.concatenate(
        [bands.centre_eV, bands.fwhm_eV, bands.share, [bands.tilt_per_nm, bands.bend_per_nm2]]
    )
    names = ["centre"] * count + ["fwhm"] * count + ["share"] * count + ["tilt", "bend"]
    unc = np.array([spectra.tilt_unc_per_nm, spectra.bend_unc_per_nm2])
    free = [*range(3 * count), *(3 * count + k for k in range(2) if known[k])]

    def at(values: FloatArray) -> tuple[FloatArray, FloatArray]:
        made = Bands(
            values[:count],
            values[count : 2 * count],
            values[2 * count : 3 * count],
            float(values[-2]),
            float(values[-1]),
        )
        area, _, rest = areas(made, spectra)
        return area, rest.ravel()

    area, noise, rest = areas(bands, spectra)
    slopes, turns = [], []
    for index in free:
        up, down = theta.copy(), theta.copy()
        up[index] += _STEPS[names[index]]
        down[index] -= _STEPS[names[index]]
        if names[index] == "share":  # one-sided at the ends of what is possible
            up[index], down[index] = min(up[index], 1.0), max(down[index], 0.0)
        (area_up, rest_up), (area_down, rest_down) = at(up), at(down)
        width = float(up[index] - down[index])
        slopes.append((rest_up - rest_down) / width)
        turns.append((area_up - area_down) / width)
    jacobian = np.array(slopes)
    information = jacobian @ jacobian.T
    for place, index in enumerate(free):
        if index >= 3 * count:
            information[place, place] += 1.0 / unc[index - 3 * count] ** 2
    scale = 1.0 / np.sqrt(np.maximum(np.diag(information), 1e-300))
    covariance = np.linalg.pinv(information * np.outer(scale, scale), rcond=1e-12)
    covariance = covariance * np.outer(scale, scale)
    chi2 = float(np.sum(rest**2))
    dof = rest.size - area.size - 3 * count
    excess = chi2 / max(dof, 1)
    inflation = float(np.sqrt(excess)) if excess > 1.0 + 5.0 * np.sqrt(2.0 / max(dof, 1)) else 1.0
    turn = np.array(turns)  # (free, N, B)
    shared = np.einsum("inb,ij,jmb->bnm", turn, covariance, turn, optimize=True)
    own = np.stack([np.diag(noise[:, band, band]) for band in range(count)])
    shape = covariance[: 3 * count, : 3 * count]
    return BandFit(
        bands,
        shape * inflation**2,
        area,
        (shared + own) * inflation**2,
        chi2,
        dof,
        inflation,
    )
