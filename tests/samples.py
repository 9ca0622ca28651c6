"""Samples for the tests: blind draws, and the stripe equation solved independently."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from sim_drivers.sample import SampleParameters, resolve
from sim_drivers.sample.occupancy import mean_excitons, multi_exciton_share
from sim_drivers.sample.stripe import Stripe

Array = NDArray[np.float64]

FULL_CM = 0.3
GREEN = "CsPbBr3-9nm"
PIXELS = np.linspace(462.0, 575.0, 1340)
ONE = np.ones(1)


def blind_draw(number: int) -> SampleParameters:
    """A correlated draw of a possible sample, reproducible by number."""
    rng = np.random.default_rng([20151018, number])
    while True:
        threshold = rng.uniform(8.0, 60.0)
        reference = threshold * rng.uniform(1.8, 3.5)
        gain, width = rng.uniform(60.0, 200.0), rng.uniform(17.0, 36.0)
        peak = rng.uniform(450.0, 650.0)
        draw: dict[str, Any] = {
            "threshold_uJ_cm2": threshold,
            "cross_section_cm2": rng.uniform(0.8, 1.6) * 4.966e-13 / threshold,
            "gain_fluence_uJ_cm2": reference,
            "gain_per_cm": gain,
            "saturation_length_cm": rng.uniform(4.5, 8.5) / gain,
            "spontaneous_peak_nm": peak,
            "spontaneous_fwhm_nm": width,
            "ase_peak_nm": peak + (0.0 if number % 4 == 0 else rng.uniform(0.0, 0.6)) * width,
            "ase_fwhm_nm": rng.uniform(0.16, 0.27) * width,
            "direct_light_ratio": rng.uniform(0.5, 5.0),
            "waveguide_loss_per_cm": 15.0 if number % 5 == 3 else 0.0,
            "gain_law": {6: "linear", 9: "logarithmic"}.get(number, "poisson"),
            "exciton_lifetime_ns": rng.uniform(2.0, 8.0),
            "auger_lifetime_ps": rng.uniform(50.0, 200.0),
            "biexciton_radiative_factor": rng.uniform(2.0, 4.0),
            "retained_fraction": rng.uniform(0.7, 0.97),
        }
        excitons = mean_excitons([threshold, reference], draw["cross_section_cm2"])
        rise = np.diff(multi_exciton_share(excitons))[0]
        steepness = gain / rise * excitons[1] ** 2 * np.exp(-excitons[1]) * FULL_CM
        if reference <= 190.0 and rise >= 0.05 and steepness >= 12.0:
            return resolve(GREEN, draw)


def solved(
    stripe: Stripe,
    fluence: float,
    lengths_cm: list[float],
    *,
    intact: float = 1.0,
    rise: float = 0.0,
    on: Array | None = None,
) -> tuple[Array, Array]:
    """Solve the stripe equation as PHYSICS states it, by scipy: wavelengths and guided (Z, P)."""
    p = stripe.parameters
    half = 2.5 * p.spontaneous_fwhm_nm
    wavelength = np.linspace(p.spontaneous_peak_nm - half, p.spontaneous_peak_nm + half, 241)
    wavelength = wavelength if on is None else on
    step = wavelength[1] - wavelength[0]

    def inversion(at: float) -> float:
        number = p.cross_section_cm2 * at * 1e-6 / 4.96611e-19
        if p.gain_law == "linear":
            return number
        if p.gain_law == "logarithmic":
            return float(np.log(1.0 + number))
        return float(1.0 - np.exp(-number) * (1.0 + number))

    def strength(at: float) -> float:
        number = p.cross_section_cm2 * at * 1e-6 / 4.96611e-19
        factor = p.biexciton_radiative_factor * p.auger_lifetime_ps / p.exciton_lifetime_ns / 1e3
        share = 1.0 - np.exp(-number) * (1.0 + number)
        return float(1.0 - np.exp(-number) + factor * share)

    reference, threshold = p.gain_fluence_uJ_cm2, p.threshold_uJ_cm2
    scale = p.gain_per_cm / (inversion(reference) - inversion(threshold))
    offset = (wavelength - stripe.gain_peak_nm) / stripe.gain_fwhm_nm
    band = np.exp(-4.0 * np.log(2.0) * offset**2)
    gain = scale * (inversion(fluence) * band - inversion(threshold * (1.0 + rise)))
    offset = (wavelength - p.spontaneous_peak_nm) / p.spontaneous_fwhm_nm
    shape = np.exp(-4.0 * np.log(2.0) * offset**2)
    shape /= shape.sum() * step
    seed = stripe.seed_per_cm * shape * strength(fluence) / strength(reference)
    loss = p.waveguide_loss_per_cm

    def slope(_z: float, light: Array) -> Array:
        saturation = 1.0 + step * light.sum()
        net = (intact * gain + loss) / saturation - loss
        return np.asarray(net * light + intact * seed)

    answer = solve_ivp(
        slope,
        (0.0, max(lengths_cm)),
        np.zeros(len(wavelength)),
        method="DOP853",
        t_eval=lengths_cm,
        rtol=1e-8,
        atol=1e-14,
    )
    return wavelength, np.asarray(answer.y.T)
