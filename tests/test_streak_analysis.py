"""Analyses of time-resolved light: on decays made here, by sums and equations of their own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.integrate import solve_ivp
from scipy.ndimage import gaussian_filter
from scipy.special import ndtr
from scipy.stats import poisson

from procedures.analysis.auger import Cascade, analyze_auger, mixture
from procedures.analysis.camera_response import Response, measure_response
from procedures.analysis.cross_section import Illumination, analyze_cross_section, late_light
from procedures.analysis.decay import analyze_lifetime
from procedures.analysis.decay_time import shown_time
from procedures.analysis.photon_transfer import event_counts
from procedures.analysis.reconvolution import exponential
from procedures.analysis.streak_image import (
    RESPONSE,
    SAMPLE,
    Curve,
    StreakData,
    bin_edges,
    gate_shares,
)
from procedures.analysis.streak_series import SpectralResponse, analyze_streak_series

Array = npt.NDArray[np.float64]
TIME = np.linspace(0.0, 10_000.0, 400)
ARRIVAL, FWHM, TAU = 1003.0, 60.0, 3600.0
WAVELENGTH = np.linspace(470.0, 560.0, 90)
PHOTON_UJ = 4.9661e-13
FINE = np.arange(-250.0, 9500.0, 1.0)


def seen(decay: Array, width_ps: float = FWHM) -> Array:
    """Return light per ps on FINE as counts in rows: blurred, and summed over the row."""
    blurred = np.fft.irfft(
        np.fft.rfft(np.append(decay, np.zeros(2000)))
        * np.exp(-2.0 * (np.pi * np.fft.rfftfreq(len(decay) + 2000) * width_ps / 2.3548) ** 2),
        len(decay) + 2000,
    )[: len(decay)]
    total = np.concatenate([[0.0], np.cumsum(blurred)])
    edges = np.append(FINE - 0.5, FINE[-1] + 0.5) + ARRIVAL
    return np.diff(np.interp(bin_edges(TIME), edges, total))


def band(centre_nm: float = 515.0, fwhm_nm: float = 23.0) -> Array:
    shape = np.exp(-4.0 * np.log(2.0) * ((WAVELENGTH - centre_nm) / fwhm_nm) ** 2)
    return np.asarray(shape / shape.sum())


def response_image() -> Array:
    rows = np.diff(ndtr((bin_edges(TIME) - ARRIVAL) * 2.3548 / FWHM))
    return np.asarray(2e5 * np.multiply.outer(rows, band(WAVELENGTH.mean(), 2.5)))


def data(images: list[Array], fluence: list[float], seed: int = 1) -> StreakData:
    """Return records with Poisson noise: the response, then the sample's."""
    rng = np.random.default_rng(seed)
    net = [rng.poisson(image + 2.0) - rng.poisson(2.0, image.shape) for image in images]
    first = rng.poisson(response_image()).astype(np.float32)
    number = len(images)
    return StreakData(
        time_ps=TIME,
        wavelength_nm=WAVELENGTH,
        net=np.array([first, *net], dtype=np.float32),
        kind=np.array([RESPONSE] + [SAMPLE] * number),
        shots=np.full(number + 1, 1000.0),
        saturated=np.zeros(number + 1, dtype=bool),
        fluence_uJ_cm2=np.array([5.0, *fluence]),
        fluence_errors_uJ_cm2=1e-4 * np.array([5.0, *fluence]),
        fluence_rel_unc=0.02,
        event_counts=1.0,
        centre_nm=float(WAVELENGTH.mean()),
    )


def decay(tau: float) -> Array:
    edges = np.append(FINE - 0.5, FINE[-1] + 0.5)
    return np.diff(-np.exp(-np.maximum(edges, 0.0) / tau))


def cascade(excitons: float, two_ps: float, one_ps: float = TAU, r: float = 4.0) -> Array:
    """Solve the rate equations of dots with a Poisson number of excitons; light per ps on FINE."""
    most = 14
    n = np.arange(most + 1.0)
    rate = n**2 * (n - 1.0) / (4.0 * two_ps)
    rate[1] = 1.0 / one_ps
    gives = r * n**2 / 4.0 / one_ps
    gives[:2] = 0.0, 1.0 / one_ps
    matrix = -np.diag(rate) + np.diag(rate[1:], 1)
    start = poisson.pmf(np.arange(most + 1), excitons)
    after = FINE[FINE >= 0.0]
    found = solve_ivp(
        lambda _t, p: matrix @ p, (0.0, after[-1]), start, "LSODA", after, rtol=1e-8, atol=1e-12
    )
    light = np.zeros(len(FINE))
    light[FINE >= 0.0] = gives @ found.y
    light[FINE == 0.0] *= 0.5
    return light


# ---- the parts ----------------------------------------------------------------------------------


def test_the_response_is_found_with_place_width_and_noise() -> None:
    image = np.random.default_rng(2).poisson(response_image()).astype(np.float32)
    found = measure_response(TIME, image, 1.0)
    assert found is not None
    assert found.arrival_ps == pytest.approx(ARRIVAL, abs=0.3)
    assert found.fwhm_ps == pytest.approx(FWHM, rel=0.03)
    assert measure_response(TIME, 1e-3 * image, 1.0) is None


@pytest.mark.parametrize("tau", [20.0, 105.0, 3600.0])
def test_an_exponential_through_the_response(tau: float) -> None:
    offsets = np.arange(-120.0, 121.0, 2.0)
    weights = np.exp(-4.0 * np.log(2.0) * (offsets / FWHM) ** 2)
    response = Response(ARRIVAL, offsets, weights / weights.sum(), FWHM, 1e5)
    shares, by_tau, by_shift = exponential(bin_edges(TIME), response, 0.0, tau)
    assert shares == pytest.approx(seen(decay(tau)), abs=2e-3 * shares.max())
    up, down = (exponential(bin_edges(TIME), response, 0.0, tau * k)[0] for k in (1.001, 0.999))
    assert by_tau == pytest.approx((up - down) / (0.002 * tau), abs=1e-3 * abs(by_tau).max())
    up, down = (exponential(bin_edges(TIME), response, s, tau)[0] for s in (0.02, -0.02))
    assert by_shift == pytest.approx((up - down) / 0.04, abs=2e-2 * abs(by_shift).max())


def test_a_gate_on_a_flank_counts_what_came_before_it() -> None:
    edges = np.arange(0.0, 400.0, 20.0)
    pulse = np.diff(ndtr((edges - 150.0) / 25.0))
    for end in (163.0, 190.0, 205.0):
        wanted = ndtr((end - 150.0) / 25.0) - ndtr((150.0 - 150.0) / 25.0)
        assert gate_shares(edges, (150.0, end)) @ pulse == pytest.approx(wanted, abs=2e-3)
    assert gate_shares(edges, (-5.0, 900.0)) == pytest.approx(np.ones(len(edges) - 1))


def test_counts_per_event_are_found_through_the_blur() -> None:
    rng = np.random.default_rng(3)
    light = 6.0 * np.exp(-(((np.arange(400) - 200.0) / 60.0) ** 2)) * np.ones((300, 1))
    images = []
    for _ in range(2):
        electrons = rng.poisson(light)
        heights = rng.standard_gamma(np.maximum(1.5 * electrons, 1e-9)) / 1.5
        blurred = gaussian_filter(50.0 * heights, 1.0) + rng.normal(100.0, 3.0, light.shape)
        images.append(blurred.astype(np.float32))
    dark = rng.normal(100.0, 3.0, light.shape).astype(np.float32)
    found = event_counts(images[0], images[1], dark)
    assert found is not None
    value, error = found
    assert abs(value - 50.0 * (1.0 + 1.0 / 1.5)) < 3.0 * error
    assert error < 0.1 * value
    assert event_counts(dark, dark + 1.0, dark) is None


# ---- lifetime -----------------------------------------------------------------------------------


def test_the_lifetime_is_told_though_some_dots_had_two_excitons() -> None:
    pulls = []
    for seed in range(6):
        image = 4e5 * np.multiply.outer(seen(cascade(0.05, 105.0)), band()) / 0.05
        result = analyze_lifetime(data([image], [0.5], seed)).results["lifetime_ns"]
        assert isinstance(result.value, float) and isinstance(result.stderr, float)
        assert result.stderr < 0.05
        pulls.append((result.value - 1e-3 * TAU) / result.stderr)
    assert abs(np.mean(pulls)) < 1.3
    assert np.max(np.abs(pulls)) < 4.0


def test_no_lifetime_without_response_light_or_window() -> None:
    image = 4e5 * np.multiply.outer(seen(decay(TAU)), band())
    good = data([image], [0.5])
    for bad, words in (
        (replace(good, kind=np.array([SAMPLE, SAMPLE])), "response"),
        (replace(good, saturated=np.array([False, True])), "saturated"),
        (data([1e-4 * image], [0.5]), "faint"),
        (data([4e6 * np.multiply.outer(seen(decay(4e5)), band())], [0.5]), "window"),
    ):
        found = analyze_lifetime(bad)
        assert found.results["lifetime_ns"].value is None
        assert any(words in warning for warning in found.warnings), found.warnings


# ---- Auger --------------------------------------------------------------------------------------


def series(two_ps: float, slope: float = 0.05, events: float = 3e6) -> tuple[StreakData, Array]:
    fluence = np.geomspace(1.0, 40.0, 8)
    images = [events * np.multiply.outer(seen(cascade(slope * f, two_ps)), band()) for f in fluence]
    return data(images, fluence.tolist()), fluence


@pytest.fixture(scope="module")
def known() -> tuple[StreakData, Array]:
    return series(105.0)


def test_two_excitons_decay_as_the_rate_equations_have_it(
    known: tuple[StreakData, Array],
) -> None:
    results = analyze_auger(known[0]).results
    two, one = results["auger_lifetime_ps"], results["exciton_lifetime_ns"]
    assert isinstance(two.value, float) and isinstance(two.stderr, float)
    assert abs(two.value - 105.0) < 3.0 * two.stderr
    assert two.stderr < 9.0
    assert one.value == pytest.approx(3.6, abs=0.02)


def test_light_is_mixed_as_the_rate_equations_have_it() -> None:
    lifetimes = np.array([TAU, 105.0, 105.0 / 4.5, 105.0 / 12.0])
    row = mixture(0.3, lifetimes, 4.0)[1]
    exact = cascade(0.3, 105.0)
    after = (FINE > 20.0) & (FINE < 300.0)
    shapes = [np.exp(-FINE[after] / tau) / tau for tau in lifetimes]
    several = sum(weight * shape for weight, shape in zip(row[1:], shapes[1:], strict=True))
    fit, *_ = np.linalg.lstsq(np.array([shapes[0], several]).T, exact[after], rcond=None)
    assert fit @ [shapes[0], several] == pytest.approx(exact[after], rel=1e-3)


def test_a_decay_within_the_response_is_an_upper_bound() -> None:
    found = analyze_auger(series(8.0, events=3e7)[0])
    result = found.results["auger_lifetime_ps"]
    assert result.bound == "upper", found.warnings
    assert isinstance(result.value, float) and 8.0 < result.value <= 1.05 * FWHM


def test_no_auger_lifetime_where_all_dots_have_many_excitons() -> None:
    found = analyze_auger(series(105.0, slope=2.0)[0])
    assert found.results["auger_lifetime_ps"].value is None
    assert found.warnings


def test_a_decay_time_is_read_as_that_of_a_neighbour_that_had_more_to_choose_from() -> None:
    offsets = np.arange(-120.0, 121.0, 2.0)
    weights = np.exp(-4.0 * np.log(2.0) * (offsets / FWHM) ** 2)
    response = Response(ARRIVAL, offsets, weights / weights.sum(), FWHM, 1e5)

    def curve(*parts: tuple[float, float]) -> Curve:
        light = sum(share * seen(decay(tau)) for share, tau in parts)
        events = np.random.default_rng(3).poisson(2e6 * np.maximum(light, 0.0)).astype(float)
        return Curve(bin_edges(TIME), events, 1.0)

    slow = shown_time(curve((0.7, TAU), (0.3, 105.0)), response, 1.0)
    assert slow is not None
    fast = curve((1.0, 105.0))
    alone, alike = shown_time(fast, response, 1.0), shown_time(fast, response, 1.0, like=slow)
    assert alone is not None and alike is not None
    assert abs(alike.time_ps - alone.time_ps) < 5.0 * alone.sigma_ps


# ---- cross-section ------------------------------------------------------------------------------


def test_late_light_as_the_rate_equations_have_it() -> None:
    late = (FINE >= 500.0) & (FINE < 6000.0)
    one = decay(TAU)[late].sum()
    for excitons in (0.1, 1.0, 3.0):
        exact = cascade(excitons, 150.0)[late].sum() / one
        told = late_light(
            np.array([excitons]), Cascade(TAU, 150.0, 4.0), (499.5, 5999.5), Illumination()
        )
        assert told[0] == pytest.approx(exact, rel=2e-3)


def test_the_cross_section_is_told_with_the_error_of_the_fluence(
    known: tuple[StreakData, Array],
) -> None:
    result = analyze_cross_section(known[0], Illumination(), 400.0).results["cross_section_cm2"]
    assert isinstance(result.value, float) and isinstance(result.stderr, float)
    assert result.value == pytest.approx(0.05 * PHOTON_UJ, rel=0.01)
    assert result.stderr == pytest.approx(0.02 * result.value, rel=0.2)


@pytest.mark.parametrize(
    ("light", "low", "high"),
    [(Illumination(0.3), -0.32, -0.22), (Illumination(0.0, "gaussian"), -0.62, -0.2)],
)
def test_what_is_not_said_of_the_pump_is_missed(
    light: Illumination, low: float, high: float
) -> None:
    relative, share = light.shares()
    assert share @ relative == pytest.approx(1.0 if not light.optical_density else 0.722, rel=2e-3)
    fluence = np.geomspace(1.0, 60.0, 8)
    images = []
    for f in fluence:
        n = 0.05 * f * relative
        lit = share @ -np.expm1(-n)
        images.append(3e6 * lit * np.multiply.outer(seen(decay(TAU)), band()))
    records = data(images, fluence.tolist())
    told = analyze_cross_section(records, light, 400.0).results["cross_section_cm2"].value
    unsaid = analyze_cross_section(records, Illumination(), 400.0)
    assert told == pytest.approx(0.05 * PHOTON_UJ, rel=0.02)
    missed = unsaid.results["cross_section_cm2"].value
    if missed is not None:
        assert isinstance(missed, float)
        assert low < missed / (0.05 * PHOTON_UJ) - 1.0 < high


def test_no_cross_section_where_the_light_does_not_bend() -> None:
    found = analyze_cross_section(series(105.0, slope=1e-4)[0], Illumination(), 400.0)
    assert found.results["cross_section_cm2"].value is None
    assert any("higher fluence" in warning for warning in found.warnings)


# ---- streak series ------------------------------------------------------------------------------


def test_gated_spectra_and_bounds_of_a_series() -> None:
    slow = 3e6 * np.multiply.outer(seen(decay(TAU)), band(515.0))
    redder = 3e5 * np.multiply.outer(seen(decay(100.0)), band(525.0))
    burst = 6e6 * np.multiply.outer(seen(decay(4.0)), band(524.0, 6.0))
    records = data([slow, slow + redder, slow + burst], [0.8, 11.5, 25.0])
    found = analyze_streak_series(records, (50.0, 6000.0), SpectralResponse())
    values: dict[str, Any] = {name: result.value for name, result in found.results.items()}
    errors: dict[str, Any] = {name: result.stderr for name, result in found.results.items()}
    assert values["fluence_uJ_cm2"] == pytest.approx([0.8, 11.5, 25.0])
    assert values["late_peak_nm"][:2] == pytest.approx([515.0, 515.4], abs=0.3)
    assert values["early_peak_nm"][2] == pytest.approx(524.0, abs=0.2)
    shift, off = values["redshift_meV"], errors["redshift_meV"]
    assert abs(shift[0]) < 3.0 * off[0]
    assert shift[1] > 15.0
    times, bounds = values["decay_time_ps"], errors["decay_time_ps"]
    assert abs(times[0] - TAU) < 0.03 * TAU
    assert found.results["decay_time_ps"].bound == "upper"
    assert bounds[0] is not None and bounds[2] is None
    assert 0.4 * FWHM < times[2] < FWHM


def _late_peak(found: Any) -> tuple[float, float]:
    result = found.results["late_peak_nm"]
    return result.value[0], result.stderr[0]


def test_a_tilt_of_the_response_is_taken_off_or_in_the_error() -> None:
    tilt = -0.004
    shape = band(515.0) * np.exp(tilt * (WAVELENGTH - 515.0))
    records = data([3e6 * np.multiply.outer(seen(decay(TAU)), shape)], [0.8])
    bare, mended = (
        _late_peak(analyze_streak_series(records, (50.0, 6000.0), camera))
        for camera in (SpectralResponse(0.0, 0.004), SpectralResponse(tilt, 0.0))
    )
    assert mended[0] == pytest.approx(515.0, abs=0.1)
    assert bare[0] < 514.75
    assert abs(bare[0] - 515.0) < 1.5 * bare[1]
