"""The analysis of the biexciton series: bands, binding energy and slopes from spectra made here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from procedures.analysis.biexciton import analyze_biexciton
from procedures.analysis.power_law import fit_power_law
from procedures.analysis.spot_records import SpotData
from procedures.analysis.unmeasured_response import UnmeasuredResponse
from procedures.analysis.voigt import energies, voigt

HC = 1239.841984
GAIN_E = 4.0


def lineshape(energy: Any, centre: float, gaussian: float, lorentzian: float) -> Any:
    """A Voigt profile by numerical convolution, unit area: independent of the analysis."""
    fine = np.linspace(-1.0, 1.0, 40001)
    step = fine[1] - fine[0]
    sigma = gaussian / 2.354820045
    bell = np.exp(-0.5 * (fine / sigma) ** 2)
    bell /= bell.sum()
    peak = 0.5 * lorentzian / np.pi / (fine**2 + 0.25 * lorentzian**2)
    both = np.fft.irfft(np.fft.rfft(bell) * np.fft.rfft(np.fft.ifftshift(peak)), len(fine))
    assert step < 0.02 * gaussian
    return np.interp(np.asarray(energy) - centre, fine, both)


def series(
    slopes: tuple[float, float] = (0.9, 1.7),
    binding: float = 0.041,
    share: float = 0.05,
    seed: int = 1,
    records: int = 14,
    brightness: float = 2e6,
    **more: Any,
) -> SpotData:
    """Make a series with camera noise: share is the biexciton's over the exciton's at the start."""
    rng = np.random.default_rng(seed)
    wavelength = np.linspace(505.0, 558.0, 1024)
    energy = HC / wavelength
    width = np.abs(np.gradient(wavelength)) * HC / wavelength**2
    true = np.geomspace(1.0, 15.0, records)
    upper = lineshape(energy, 2.36, 0.022, 0.009)
    lower = lineshape(energy, 2.36 - binding, 0.030, 0.006)
    light = brightness * (
        np.outer(true ** slopes[0], upper) + share * np.outer(true ** slopes[1], lower)
    )
    reads = np.full(records, 3)
    electrons = rng.poisson(np.maximum(light * width, 0.0) * GAIN_E) + 11.0 * np.sqrt(
        3.0
    ) * rng.standard_normal(light.shape)
    dark = 3 * 300.0 + 11.0 * np.sqrt(3.0) / GAIN_E * rng.standard_normal(light.shape)
    fluence = true * (1.0 + 0.003 * rng.standard_normal(records))
    values: dict[str, Any] = {
        "wavelength_nm": wavelength,
        "counts": np.rint(3 * 300.0 + electrons / GAIN_E),
        "background": np.rint(dark),
        "gain_e_per_count": GAIN_E,
        "read_noise_e": 11.0,
        "accumulations": reads,
        "shots": np.full(records, 100),
        "fluence_mJ_cm2": fluence,
        "fluence_errors_mJ_cm2": 0.003 * fluence,
        "fluence_rel_unc": 0.03,
        "saturated": np.zeros(records, dtype=bool),
        "direction": np.ones(records),
        "dispersion_rel_unc": 1e-3,
        "wavelength_unc_nm": 0.05,
        "response": UnmeasuredResponse(tilt_unc_per_nm=0.002, bend_unc_per_nm2=4e-5),
    }
    return SpotData(**{**values, **more})


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_a_voigt_band_has_the_width_and_the_area_it_is_said_to_have(share: float) -> None:
    energy = np.linspace(0.0, 4.0, 400_001)
    band = voigt(energy, np.array([2.0]), np.array([0.03]), np.array([share]))[0]
    above = energy[band > 0.5 * band.max()]
    assert above[-1] - above[0] == pytest.approx(0.03, rel=1e-3)
    missing = 2.0 * share * 0.03 / (2.0 * np.pi * 2.0)  # the tails beyond the axis
    assert band.sum() * 1e-5 == pytest.approx(1.0 - missing, abs=1e-3)


def test_no_light_is_lost_between_pixels_and_energies() -> None:
    wavelength = np.linspace(400.0, 700.0, 3001)
    light = np.exp(-0.5 * ((wavelength - 550.0) / 20.0) ** 2)[np.newaxis]
    energy, per_eV, sigma = energies(wavelength, light, np.full_like(light, 4.0))
    assert -np.trapezoid(per_eV[0], energy) == pytest.approx(light.sum(), rel=1e-6)
    assert per_eV[0].argmax() > light[0].argmax()  # the Jacobian pulls the peak to lower energy
    assert np.allclose(sigma / per_eV, 2.0 / light)


def test_bands_binding_energy_and_slopes_are_found() -> None:
    analysis = analyze_biexciton(series())
    wanted = {
        "exciton_slope": 0.9,
        "biexciton_slope": 1.7,
        "binding_energy_meV": 41.0,
        "exciton_peak_eV": 2.36,
        "biexciton_peak_eV": 2.319,
    }
    for name, value in wanted.items():
        result = analysis.results[name]
        assert abs(result.value - value) < 3.5 * result.stderr, name  # type: ignore[operator]
    assert analysis.results["biexciton_slope"].stderr < 0.02  # type: ignore[operator]
    assert analysis.results["binding_energy_meV"].stderr < 0.3  # type: ignore[operator]
    assert analysis.warnings == []


def test_bands_that_overlap_are_told_apart() -> None:
    analysis = analyze_biexciton(series(binding=0.020, share=0.08))
    binding = analysis.results["binding_energy_meV"]
    assert abs(binding.value - 20.0) < 3.5 * binding.stderr  # type: ignore[operator]


def test_without_a_second_band_there_is_no_biexciton() -> None:
    analysis = analyze_biexciton(series(share=0.0))
    assert analysis.results["binding_energy_meV"].value is None
    assert analysis.results["biexciton_slope"].value is None
    assert analysis.results["exciton_slope"].value == pytest.approx(0.9, abs=0.01)
    assert any("no second band" in line for line in analysis.warnings)


def test_a_second_band_that_grows_alike_is_not_called_a_biexciton_in_silence() -> None:
    analysis = analyze_biexciton(series(slopes=(1.0, 1.0), share=0.4))
    assert any("not shown to be a biexciton" in line for line in analysis.warnings)


def test_the_scale_of_the_fluence_is_no_error_of_a_slope() -> None:
    data = series()
    scaled = replace(
        data,
        fluence_mJ_cm2=1.07 * data.fluence_mJ_cm2,
        fluence_errors_mJ_cm2=1.07 * data.fluence_errors_mJ_cm2,
        fluence_rel_unc=0.1,
    )
    one, other = analyze_biexciton(data).results, analyze_biexciton(scaled).results
    for name in ("exciton_slope", "biexciton_slope"):
        assert other[name].value == pytest.approx(one[name].value, abs=1e-6)
        assert other[name].stderr == pytest.approx(one[name].stderr, rel=1e-3)


def test_saturated_records_are_left_out_and_too_few_say_so() -> None:
    saturated = np.zeros(14, dtype=bool)
    saturated[4:] = True
    analysis = analyze_biexciton(series(saturated=saturated))
    assert all(result.value is None for result in analysis.results.values())
    assert any("saturated" in line for line in analysis.warnings)
    assert any("needs 5 or more" in line for line in analysis.warnings)


def test_the_first_fluence_again_shows_damage() -> None:
    data = series()
    counts = np.asarray(data.counts, dtype=float)
    faded = data.background[0] + 0.9 * (counts[0] - data.background[0])
    again = {"direction": np.append(data.direction, 0.0)}
    more = replace(
        data,
        counts=np.vstack([counts, faded]),
        background=np.vstack([data.background, data.background[:1]]),
        **{
            name: np.append(getattr(data, name), getattr(data, name)[0])
            for name in (
                "accumulations", "shots", "fluence_mJ_cm2", "fluence_errors_mJ_cm2", "saturated",
            )
        },
        **again,
    )  # fmt: skip
    assert any("-10." in line or "-9." in line for line in analyze_biexciton(more).warnings)
    assert not any("beginning" in line for line in analyze_biexciton(data).warnings)


def test_the_slope_of_a_power_law_is_honest() -> None:
    rng = np.random.default_rng(5)
    x, pulls = np.geomspace(1.0, 17.0, 16), []
    common = 0.02  # of all y alike, as a shape that all spectra share
    for _ in range(200):
        shift = common * rng.standard_normal()
        seen = x * (1.0 + 0.01 * rng.standard_normal(16))
        y = 3.0 * x**1.6 * (1.0 + shift)
        noise = 0.02 * y + 0.05
        y_seen = y + noise * rng.standard_normal(16)
        covariance = np.diag(noise**2) + common**2 * np.outer(y, y)
        law = fit_power_law(seen, np.full(16, 0.01), y_seen, covariance)
        assert law is not None
        pulls.append((law.slope - 1.6) / law.slope_sigma)
    assert np.std(pulls) == pytest.approx(1.0, abs=0.17)
    assert abs(np.mean(pulls)) < 0.25


def test_points_that_scatter_beyond_their_errors_enlarge_the_error() -> None:
    rng = np.random.default_rng(6)
    x = np.geomspace(1.0, 17.0, 16)
    y = x**2 * (1.0 + 0.1 * rng.standard_normal(16))
    law = fit_power_law(x, np.zeros(16), y, np.diag((0.01 * y) ** 2))
    assert law is not None and law.scatters
    assert law.slope_sigma > 4.0 * 0.01 / (np.std(np.log(x)) * 4.0)
    assert fit_power_law(x[:3], np.zeros(3), y[:3], np.eye(3)) is None


def test_records_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="shots"):
        series(shots=np.full(3, 100))
    with pytest.raises(ValueError, match="wavelength_nm"):
        series(wavelength_nm=np.ones(1024))
