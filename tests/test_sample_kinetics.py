"""The cascade of excitons against an independent solution and closed forms; bands."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import expm
from scipy.stats import poisson

from sim_drivers.sample import PRESETS, resolve
from sim_drivers.sample.bands import (
    EV_NM,
    RoomBands,
    biexciton_band,
    bin_points,
    exciton_band,
    in_bins,
)
from sim_drivers.sample.kinetics import MOST_EXCITONS, Cascade, occupancy, pulse_course
from tests.samples import GREEN

TAU_PS, AUGER_PS = 3100.0, 105.0


@pytest.fixture(params=[2.0, 4.0])
def cascade(request: pytest.FixtureRequest) -> Cascade:
    return Cascade(TAU_PS, AUGER_PS, request.param)


def dots_with(number: int) -> np.ndarray:
    return np.asarray(np.eye(MOST_EXCITONS)[number - 1])


def test_a_pulse_leaves_poisson_numbers() -> None:
    found = occupancy([0.3, 2.9], [2.0, 1.0])
    number = np.arange(1, MOST_EXCITONS)
    expected = 2.0 * poisson.pmf(number, 0.3) + poisson.pmf(number, 2.9)
    assert found[:-1] == pytest.approx(expected, rel=1e-9)
    assert found.sum() == pytest.approx(2.0 * poisson.sf(0, 0.3) + poisson.sf(0, 2.9))
    assert not occupancy([0.0], [5.0]).any()
    assert occupancy([200.0], [1.0])[-1] == pytest.approx(1.0)


def test_the_chain_against_a_matrix_exponential(cascade: Cascade) -> None:
    number = np.arange(1.0, MOST_EXCITONS + 1)
    rates = number**2 * (number - 1.0) / (4.0 * AUGER_PS)
    rates[0] = 1.0 / TAU_PS
    light = cascade.radiative_factor * number**2 / 4.0 / TAU_PS
    light[0] = 1.0 / TAU_PS
    flow = np.diag(-rates) + np.diag(rates[1:], 1)
    start = occupancy([2.9], [1.0])
    for time in (0.0, 0.4, 7.0, 60.0, 400.0, 3000.0):
        now = expm(flow * (time + 5e-4)) @ start
        found = cascade.courses(start, np.array([time, time + 1e-3]))[:, 0] / 1e-3
        expected = [now[0] * light[0], now[1:] @ light[1:]]
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-15)


def test_bins_add_up_to_the_closed_form_and_nothing_comes_before_the_pulse(
    cascade: Cascade,
) -> None:
    for mean in (0.05, 0.6, 2.9, 9.0):
        start = occupancy([mean], [1.0])
        edges = np.concatenate([[-500.0, -3.0, 0.0], np.geomspace(1e-3, 1e6, 300)])
        courses = cascade.courses(start, edges)
        assert not courses[:, :2].any()
        assert courses.sum(axis=1) == pytest.approx(cascade.totals(start), rel=1e-9)
        # Every dot that was hit ends as one exciton and emits that one's light.
        assert cascade.totals(start)[0] == pytest.approx(1.0 - np.exp(-mean), rel=1e-9)
        ratio = cascade.radiative_factor * AUGER_PS / TAU_PS
        series = sum(poisson.sf(n - 1, mean) / (n - 1) for n in range(2, 60))
        assert cascade.totals(start)[1] == pytest.approx(ratio * series, rel=1e-4)


def test_one_exciton_decays_with_its_lifetime_and_two_with_theirs(cascade: Cascade) -> None:
    edges = np.arange(0.0, 2000.0, 20.0)
    one, none = cascade.courses(dots_with(1), edges)
    assert not none.any()
    assert np.diff(np.log(one)) == pytest.approx(-20.0 / TAU_PS, rel=1e-9)
    after, two = cascade.courses(dots_with(2), edges[:60])
    assert np.diff(np.log(two)) == pytest.approx(-20.0 / AUGER_PS, rel=1e-9)
    assert two[0] / one[0] == pytest.approx(cascade.radiative_factor, rel=0.1)
    # Long after, a dot that had two is brighter than one that had one: it became one later.
    late = cascade.courses(dots_with(2), np.array([4000.0, 4001.0]))[0]
    lone = cascade.courses(dots_with(1), np.array([4000.0, 4001.0]))[0]
    assert late / lone == pytest.approx(1.0 / (1.0 - AUGER_PS / TAU_PS), rel=1e-9)
    assert after[0] < one[0]


def test_faint_pulses_show_the_exciton_lifetime_alone() -> None:
    cascade = Cascade.of(PRESETS[GREEN])
    edges = np.arange(0.0, 6000.0, 100.0)
    course = cascade.courses(occupancy([1e-4], [1.0]), edges).sum(axis=0)
    assert np.diff(np.log(course)) == pytest.approx(-100.0 / TAU_PS, rel=0.01)


def test_a_pulse_of_a_decay() -> None:
    edges = np.array([-10.0, 0.0, 4.9, 1e4])
    assert pulse_course(edges, 4.9) == pytest.approx([0.0, 1.0 - np.exp(-1.0), np.exp(-1.0)])


# --- bands ------------------------------------------------------------------------------------


def width(x: np.ndarray, y: np.ndarray) -> float:
    above = np.flatnonzero(y >= 0.5 * y.max())
    first, last = above[0], above[-1]
    low = np.interp(0.5 * y.max(), y[first - 1 : first + 1], x[first - 1 : first + 1])
    high = np.interp(-0.5 * y.max(), -y[last : last + 2], x[last : last + 2])
    return float(high - low)


def test_bands_at_10_K_are_the_parameters() -> None:
    p = resolve(GREEN, {"binding_energy_meV": 42.0, "biexciton_fwhm_10K_meV": 37.0})
    energy = np.linspace(2.0, 2.8, 80_001)
    for band, centre, fwhm in (
        (exciton_band(p, 10.0), 2.375, 0.025),
        (biexciton_band(p, 10.0), 2.333, 0.037),
    ):
        shape = band.per_eV(energy)
        assert energy[shape.argmax()] == pytest.approx(centre, abs=1e-5)
        assert width(energy, shape) == pytest.approx(fwhm, rel=5e-4)
        assert np.trapezoid(shape, energy) == pytest.approx(1.0, abs=0.03)  # Lorentzian wings
        wavelength = np.sort(EV_NM / energy)
        assert np.trapezoid(band.per_nm(wavelength), wavelength) == pytest.approx(
            np.trapezoid(shape, energy), rel=1e-6
        )


def test_bands_warm_up_to_those_of_the_film() -> None:
    p = PRESETS[GREEN]
    bands = [exciton_band(p, kelvin) for kelvin in (4.0, 10.0, 40.0, 77.0, 150.0, 295.0, 320.0)]
    assert bands[5].centre_nm == pytest.approx(514.5, abs=1e-9)
    room = EV_NM / (514.5 - 11.5) - EV_NM / (514.5 + 11.5)
    assert bands[5].fwhm_eV == pytest.approx(room, rel=1e-3)
    widths = [band.fwhm_eV for band in bands]
    assert np.all(np.diff(widths) >= 0.0) and widths[2] < 1.05 * widths[1]
    assert np.all(np.diff([band.centre_eV for band in bands]) > 0.0)
    gap = biexciton_band(p, 77.0).centre_eV - bands[3].centre_eV
    assert gap == pytest.approx(-0.050, abs=1e-12)


def test_several_excitons_emit_the_binding_energy_lower_in_as_wide_a_band() -> None:
    bands = RoomBands.of(PRESETS[GREEN])
    assert (bands.one_nm, bands.one_fwhm_nm) == (514.5, 23.0)
    assert EV_NM / bands.one_nm - EV_NM / bands.several_nm == pytest.approx(0.050, abs=1e-12)
    wavelength = np.linspace(430.0, 640.0, 4001)
    assert np.trapezoid(bands.per_nm(wavelength), wavelength) == pytest.approx([1.0, 1.0])
    one = bands.one_fwhm_nm / bands.one_nm**2
    assert bands.several_fwhm_nm / bands.several_nm**2 == pytest.approx(one)


def test_bins_hold_what_the_density_says() -> None:
    edges = np.array([500.0, 503.0, 510.0, 512.0])
    points = bin_points(edges)
    found = in_bins(edges, np.stack([points**2, np.ones_like(points)]))
    assert found[0] == pytest.approx(np.diff(edges**3) / 3.0)
    assert found[1] == pytest.approx(np.diff(edges))
