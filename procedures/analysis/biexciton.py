"""Analysis of the biexciton series: two bands, their positions, and how they grow with fluence.

For the command and the figure. Spectra over photon energy (with the Jacobian), two Voigt bands
shared by all records, and the slope of each band's area against fluence by orthogonal distance
regression. Photon energies are 1239.84 eV nm over the wavelength as the axis has it. The scale of
the fluences is common to all records and no error of a slope.

Which band is which follows from energy and growth: the exciton's is the upper one.
"""

from __future__ import annotations

import numpy as np

from procedures.analysis.cleaning import counts_per_shot
from procedures.analysis.lineshape import half_width, smooth
from procedures.analysis.power_law import PowerLaw, fit_power_law
from procedures.analysis.results import Analysis, FloatArray, Result
from procedures.analysis.spot_records import SpotData, compare_first_and_last, nothing, usable
from procedures.analysis.voigt import (
    EV_NM,
    BandFit,
    Bands,
    Spectra,
    chi_squared,
    energies,
    fit_bands,
    shapes,
)

UNITS = {
    "exciton_slope": "1",
    "biexciton_slope": "1",
    "binding_energy_meV": "meV",
    "exciton_peak_eV": "eV",
    "biexciton_peak_eV": "eV",
}
LEAST_RECORDS = 5
LEAST_SPAN = 2.0
"""Highest over lowest fluence: less tells no slope."""

_SEEN = 5.0  # of the biexciton's area, in sigma, where it is seen best
_LEAST_GAIN = 30.0  # in chi squared, of a second band
_MISFIT = 1.25  # rms of the residuals in sigma from which the operator hears of it
_DRIFT_K = 1.0
_LIT = 5.0
_BINDING_EV = (0.008, 0.012, 0.02, 0.03, 0.04, 0.05, 0.06, 0.075, 0.09, 0.12, 0.16)
_WIDTHS = (0.7, 1.0, 1.4, 2.0)  # of the biexciton's band, in those of the exciton's
_START_SHARE = 0.4
_PER_WIDTH = 20.0


def analyze_biexciton(given: SpotData) -> Analysis:
    """Return positions, binding energy and slopes, with warnings and curves."""
    data, warnings = usable(given)
    results = nothing(UNITS)
    curves: dict[str, FloatArray] = {}
    analysis = Analysis(results, warnings, curves)
    if len(data.counts):
        data, spectra = _spectra(data, warnings)
    if len(data.counts) < LEAST_RECORDS:
        warnings.append(
            f"{len(data.counts)} usable records with light: a series needs {LEAST_RECORDS} or more"
        )
        return analysis
    _check_temperature(data, warnings)
    weakest = _weakest_records(data, spectra)
    found = None if weakest is None else _one_or_two(spectra, weakest)
    if found is None:
        warnings.append("no band stands out in the weakest records: nothing can be measured on it")
        return analysis
    fit, seen = found
    _positions(results, data, fit)
    laws = _slopes(results, warnings, data, fit)
    if not seen:
        warnings.append(
            "no second band stands out below the exciton's: no biexciton in this range; go to "
            "higher fluences, or to a lower temperature"
        )
    if fit.inflation > _MISFIT:
        warnings.append(
            f"the bands differ from the spectra by {fit.inflation:.1f} times the noise: they are "
            "no Voigt bands in full, and errors are enlarged by that"
        )
    _check_sample(warnings, data, fit, laws)
    _draw(curves, data, spectra, fit, laws)
    return analysis


def _spectra(data: SpotData, warnings: list[str]) -> tuple[SpotData, Spectra]:
    """Return the records that have light, and their spectra per shot and eV."""
    clean = counts_per_shot(
        data.counts, data.background, data.shots, data.accumulations,
        gain_e_per_count=data.gain_e_per_count, read_noise_e=data.read_noise_e,
    )  # fmt: skip
    window = max(3, clean.per_shot.shape[1] // 60) | 1
    noise = np.sqrt(smooth(clean.variance, window) / window)
    lit = np.max(smooth(clean.per_shot, window) / noise, axis=1) > _LIT
    if not lit.all():
        dark = ", ".join(f"{one:.3g}" for one in data.fluence_mJ_cm2[~lit][:6])
        warnings.append(f"left out, no light above the noise: the records at {dark} mJ/cm^2")
    energy, per_eV, sigma = energies(data.wavelength_nm, clean.per_shot[lit], clean.variance[lit])
    middle = 0.5 * (data.wavelength_nm[0] + data.wavelength_nm[-1])
    expected = data.response.over(data.wavelength_nm, float(middle))
    return data.only(lit), Spectra(
        energy,
        data.wavelength_nm - middle,
        per_eV / expected,
        sigma / expected,
        data.response.tilt_unc_per_nm,
        data.response.bend_unc_per_nm2,
    )


def _check_temperature(data: SpotData, warnings: list[str]) -> None:
    if data.temperature_K is None or not np.isfinite(data.temperature_K).all():
        return
    low, high = float(data.temperature_K.min()), float(data.temperature_K.max())
    if high - low > _DRIFT_K:
        warnings.append(
            f"the temperature went from {low:.2f} to {high:.2f} K over the records: bands move and "
            "widen with it, which one position and width for all do not tell"
        )


# ---- the bands ----------------------------------------------------------------------------------


def _weakest_records(data: SpotData, spectra: Spectra) -> BandFit | None:
    """Fit one band to the weakest records, which are nearly the exciton's alone."""
    order = np.argsort(data.fluence_mJ_cm2)
    weakest = order[: max(2, len(order) // 4)]
    mean = spectra.per_eV[weakest].mean(axis=0)
    noise = np.sqrt((spectra.sigma[weakest] ** 2).mean(axis=0) / len(weakest))
    window = max(3, len(mean) // 100) | 1
    soft = smooth(mean[np.newaxis], window)[0]
    place = int(np.argmax(soft))
    if soft[place] < _LIT * noise[place] / np.sqrt(window):
        return None
    energy = spectra.energy_eV
    up = np.argsort(energy)
    peak, width = half_width(energy[up], soft[up])
    start = Bands(np.array([peak]), np.array([width]), np.array([_START_SHARE]))
    return fit_bands(_some(spectra, weakest), start)


def _one_or_two(spectra: Spectra, weakest: BandFit) -> tuple[BandFit, bool] | None:
    """Fit as many bands as the spectra show; return the fit, and whether they are two.

    Searched and decided with pixels joined, twenty to a width; fitted to every pixel then.
    """
    coarse = _coarse(spectra, float(weakest.bands.fwhm_eV[0]))
    alone = fit_bands(coarse, weakest.bands)
    if alone is None:
        return None
    both = _both_bands(coarse, weakest)
    if both is not None and _is_biexciton(both, alone):
        fit = fit_bands(spectra, both.bands)
        if fit is not None:
            return _upper_first(fit), True
    one = fit_bands(spectra, alone.bands)
    return None if one is None else (one, False)


def _both_bands(coarse: Spectra, weakest: BandFit) -> BandFit | None:
    """Fit two bands, from the best of many places and widths of the second."""
    centre, width = float(weakest.bands.centre_eV[0]), float(weakest.bands.fwhm_eV[0])
    floor = float(coarse.energy_eV.min())
    starts, thin = [], _thinned(coarse)
    # One band through both lies between them, and is wider than either.
    for up in (0.0, 0.15, 0.35):
        for narrow in (1.0, 0.75):
            for binding in _BINDING_EV:
                for wide in _WIDTHS:
                    upper = centre + up * width
                    if upper - binding < floor:
                        continue
                    bands = Bands(
                        np.array([upper, upper - binding]),
                        np.array([narrow * width, narrow * wide * width]),
                        np.array([_START_SHARE, _START_SHARE]),
                    )
                    starts.append((chi_squared(bands, thin), bands))
    found = [fit_bands(coarse, bands) for _, bands in sorted(starts, key=lambda one: one[0])[:2]]
    fits = [fit for fit in found if fit is not None]
    return _upper_first(min(fits, key=lambda fit: fit.chi2)) if fits else None


def _some(spectra: Spectra, rows: FloatArray | np.ndarray) -> Spectra:
    return Spectra(
        spectra.energy_eV, spectra.offset_nm, spectra.per_eV[rows], spectra.sigma[rows],
        spectra.tilt_unc_per_nm, spectra.bend_unc_per_nm2,
    )  # fmt: skip


def _coarse(spectra: Spectra, width_eV: float) -> Spectra:
    """Return neighbouring pixels joined, twenty or more left to a width: for the search."""
    step = float(np.abs(np.diff(spectra.energy_eV)).mean())
    joined = max(int(width_eV / step / _PER_WIDTH), 1)
    count = len(spectra.energy_eV) // joined

    def mean(values: FloatArray) -> FloatArray:
        inside = values[..., : count * joined]
        return np.asarray(inside.reshape(*values.shape[:-1], count, joined).mean(axis=-1))

    return Spectra(
        mean(spectra.energy_eV),
        mean(spectra.offset_nm),
        mean(spectra.per_eV),
        np.sqrt(mean(spectra.sigma**2) / joined),
        spectra.tilt_unc_per_nm,
        spectra.bend_unc_per_nm2,
    )


def _thinned(spectra: Spectra) -> Spectra:
    """Return at most six records, the response taken as flat: enough to choose a start."""
    rows = np.unique(np.linspace(0, len(spectra.per_eV) - 1, 6).astype(int))
    return Spectra(
        spectra.energy_eV, spectra.offset_nm, spectra.per_eV[rows], spectra.sigma[rows], 0.0, 0.0
    )


def _upper_first(fit: BandFit) -> BandFit:
    """Return the fit with the band of higher energy first."""
    bands = fit.bands
    order = np.argsort(-bands.centre_eV)
    places = np.concatenate([order, 2 + order, 4 + order])
    return BandFit(
        Bands(
            bands.centre_eV[order], bands.fwhm_eV[order], bands.share[order],
            bands.tilt_per_nm, bands.bend_per_nm2,
        ),
        fit.covariance[np.ix_(places, places)],
        fit.area[:, order],
        fit.area_covariance[order],
        fit.chi2,
        fit.dof,
        fit.inflation,
    )  # fmt: skip


def _is_biexciton(both: BandFit, alone: BandFit) -> bool:
    """Return whether the lower band is a band of its own, and not the upper one's foot."""
    if (alone.chi2 - both.chi2) / both.inflation**2 < _LEAST_GAIN:
        return False
    sigma = np.sqrt(np.diagonal(both.area_covariance[1]))
    return bool(np.max(both.area[:, 1] / np.maximum(sigma, 1e-300)) > _SEEN)


# ---- results ------------------------------------------------------------------------------------


def _axis_sigma_eV(data: SpotData, centre_eV: float) -> float:
    """Return what the wavelength axis leaves open of a position (eV)."""
    wavelength = EV_NM / centre_eV
    away = wavelength - 0.5 * (data.wavelength_nm[0] + data.wavelength_nm[-1])
    return float(
        centre_eV / wavelength * np.hypot(data.wavelength_unc_nm, data.dispersion_rel_unc * away)
    )


def _positions(results: dict[str, Result], data: SpotData, fit: BandFit) -> None:
    centre, gradient = fit.bands.centre_eV, np.eye(3 * len(fit.bands.centre_eV))
    for band, name in enumerate(("exciton_peak_eV", "biexciton_peak_eV")[: len(centre)]):
        sigma = np.hypot(fit.sigma(gradient[band]), _axis_sigma_eV(data, float(centre[band])))
        results[name] = Result(float(centre[band]), float(sigma), "eV")
    if len(centre) == 2:
        binding = float(centre[0] - centre[1])
        sigma = np.hypot(fit.sigma(gradient[0] - gradient[1]), binding * data.dispersion_rel_unc)
        results["binding_energy_meV"] = Result(1e3 * binding, 1e3 * float(sigma), "meV")


def _slopes(
    results: dict[str, Result], warnings: list[str], data: SpotData, fit: BandFit
) -> list[PowerLaw | None]:
    fluence = data.fluence_mJ_cm2
    span = float(fluence.max() / fluence.min())
    if span < LEAST_SPAN:
        warnings.append(
            f"fluences reach from {fluence.min():.3g} to {fluence.max():.3g} mJ/cm^2 only: a slope "
            f"needs a factor of {LEAST_SPAN:g}"
        )
        return [None] * fit.area.shape[1]
    laws: list[PowerLaw | None] = []
    for band, name in enumerate(("exciton", "biexciton")[: fit.area.shape[1]]):
        law = fit_power_law(
            fluence, data.fluence_sigma, fit.area[:, band], fit.area_covariance[band]
        )
        laws.append(law)
        if law is None:
            warnings.append(f"{name}: too few records show the band, no slope is stated")
            continue
        results[f"{name}_slope"] = Result(law.slope, law.slope_sigma, "1")
        if law.scatters:
            warnings.append(
                f"{name}: the points scatter by {np.sqrt(law.chi2 / law.dof):.1f} times their "
                "errors about the straight line; the slope's error is enlarged by that"
            )
    if len(laws) == 2 and laws[0] is not None and laws[1] is not None:
        rise = laws[1].slope - laws[0].slope
        if rise < 3.0 * np.hypot(laws[0].slope_sigma, laws[1].slope_sigma):
            warnings.append(
                f"the lower band grows no faster than the upper (slopes {laws[1].slope:.2f} and "
                f"{laws[0].slope:.2f}): it is not shown to be a biexciton"
            )
    return laws


def _check_sample(
    warnings: list[str], data: SpotData, fit: BandFit, laws: list[PowerLaw | None]
) -> None:
    law = laws[0] if laws else None
    slope = law.slope if law is not None else 1.0
    light, sigma = fit.area[:, 0], np.sqrt(np.diagonal(fit.area_covariance[0]))
    compare_first_and_last(data, light, sigma, warnings, lambda _fluence: slope)


def _draw(
    curves: dict[str, FloatArray],
    data: SpotData,
    spectra: Spectra,
    fit: BandFit,
    laws: list[PowerLaw | None],
) -> None:
    """Add what a figure draws: spectra with their bands, areas and straight lines."""
    curves["energy_eV"] = spectra.energy_eV
    curves["spectra_per_shot_eV"] = spectra.per_eV
    curves["fluence_mJ_cm2"] = data.fluence_mJ_cm2
    shape = shapes(fit.bands, spectra)
    fine = np.geomspace(data.fluence_mJ_cm2.min(), data.fluence_mJ_cm2.max(), 60)
    curves["law_fluence_mJ_cm2"] = fine
    for band, name in enumerate(("exciton", "biexciton")[: fit.area.shape[1]]):
        curves[f"{name}_shape_per_eV"] = shape[band]
        curves[f"{name}_area"] = fit.area[:, band]
        curves[f"{name}_area_errors"] = np.sqrt(np.diagonal(fit.area_covariance[band]))
        law = laws[band]
        if law is not None:
            curves[f"{name}_law_area"] = law.at(fine)
