"""Under nanosecond pulses: the cold film's two bands, and the modes of the capillary."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq

from sim_drivers.sample import Capillary, ColdFilm, Conditions, Sample, resolve
from sim_drivers.sample.capillary import MODE_FWHM_NM, PHOTONS_AT_THRESHOLD
from sim_drivers.sample.cold import PHOTONS_PER_MJ_CM2

ONE = np.ones(1)
COLD = Conditions(temperature_K=10.0, pulse_width_ps=5000.0)
AXIS = np.linspace(500.0, 560.0, 6001)


def cold(**overrides: float) -> ColdFilm:
    return ColdFilm(resolve("CsPbBr3-9nm", overrides, "cold"))


def capillary(**overrides: float) -> Capillary:
    return Capillary(resolve("CsPbBr3-capillary", overrides, "capillary"))


def mJ(*fluences: float) -> np.ndarray:
    return 1e3 * np.array(fluences)


# --- the cold film ----------------------------------------------------------------------------


def test_the_bands_grow_as_the_first_and_second_power() -> None:
    film = cold(binding_energy_meV=60.0)
    low, high = (film.emission(AXIS, mJ(f), ONE, COLD) for f in (2.0, 4.0))
    exciton, biexciton = film.bands(10.0)
    shapes = np.stack([exciton.per_nm(AXIS), biexciton.per_nm(AXIS)])
    parts = [np.linalg.lstsq(shapes.T, one, rcond=None)[0] for one in (low, high)]
    assert parts[1] / parts[0] == pytest.approx([2.0, 4.0], rel=1e-9)
    assert exciton.centre_eV - biexciton.centre_eV == pytest.approx(0.060)


def test_both_bands_are_equal_at_the_crossover() -> None:
    first, second = cold(biexciton_crossover_mJ_cm2=37.0).band_photons(mJ(37.0), ONE)
    assert first == pytest.approx(second, rel=1e-12)
    assert first == pytest.approx(37.0 * PHOTONS_PER_MJ_CM2)


def test_single_shots_scatter_into_the_square() -> None:
    rng = np.random.default_rng(1)
    fluence = mJ(*(10.0 * (1.0 + 0.1 * rng.standard_normal(4000))))
    first, second = cold().band_photons(fluence, np.ones(4000))
    mean, spread = fluence.mean(), fluence.std()
    assert second / first == pytest.approx(1e-3 * mean * (1 + (spread / mean) ** 2) / 50.0)


def test_the_cold_film_warms() -> None:
    film = cold()
    peaks = []
    for kelvin in (10.0, 80.0, 295.0):
        light = film.emission(AXIS, mJ(1.0), ONE, Conditions(temperature_K=kelvin))
        peaks.append(AXIS[light.argmax()])
    assert peaks[0] == pytest.approx(1239.842 / 2.375, abs=0.1)
    assert peaks[0] > peaks[1] > peaks[2]


@pytest.mark.parametrize("sample", [cold(), capillary()], ids=["cold", "capillary"])
def test_light_follows_the_pulse_and_is_all_there(sample: Sample) -> None:
    times = np.linspace(-20_000.0, 20_000.0, 401)
    edges = np.linspace(430.0, 640.0, 2101)
    resolved = sample.transient(times, edges, mJ(6.0), ONE, COLD)
    course = resolved.sum(axis=1)
    middle = 0.5 * (times[1:] + times[:-1])
    lasting = middle[course > 0.5 * course.max()]
    assert lasting[-1] - lasting[0] == pytest.approx(5000.0, abs=150.0)
    wavelength = 0.5 * (edges[1:] + edges[:-1])
    band = sample.emission(wavelength, mJ(6.0), ONE, COLD) @ np.diff(edges)
    lines = sample.lines(mJ(6.0), ONE, COLD).photons.sum()
    assert course.sum() == pytest.approx(band + lines, rel=1e-3)


# --- the capillary ----------------------------------------------------------------------------


@pytest.mark.parametrize("overrides", [{}, {"cavity_diameter_um": 31.0, "cavity_group_index": 2.1}])
def test_modes_fulfil_the_resonance_and_are_even_in_energy(overrides: dict[str, float]) -> None:
    tube = capillary(**overrides)
    p = tube.parameters
    around_nm = np.pi * 1e3 * p.cavity_diameter_um
    assert tube.mode_number * tube.mode_nm == pytest.approx(
        around_nm * tube.index(tube.mode_nm), rel=1e-12
    )
    assert np.all(np.diff(tube.mode_number) == 1.0)
    energy = 1239.842 / tube.mode_nm
    assert np.diff(energy) == pytest.approx(np.diff(energy)[0], rel=1e-6)
    # The group index of the dispersion is the parameter, by the index's own slope.
    before, at, after = tube.index([523.5, 524.5, 525.5])
    assert at - 524.5 * 0.5 * (after - before) == pytest.approx(p.cavity_group_index, rel=1e-9)
    spacing = 0.5 * (tube.mode_nm[:-2] - tube.mode_nm[2:])
    expected = tube.mode_nm[1:-1] ** 2 / (around_nm * p.cavity_group_index)
    assert spacing == pytest.approx(expected, rel=1e-4)
    assert tube.spacing_nm(float(tube.mode_nm[5])) == pytest.approx(expected[4], rel=1e-12)


def test_photons_of_a_mode_solve_the_rate_equations() -> None:
    for beta in (1e-3, 1e-5):
        tube = capillary(cavity_beta=beta)
        pump = np.array([0.0, 1e-6, 0.3, 0.999, 1.0, 1.001, 4.0, 50.0])
        photons = tube.photons(pump)
        excitons = photons / (photons + beta)
        # Steady state: what is pumped decays spontaneously or stimulated.
        assert excitons * (1.0 + photons) == pytest.approx(pump, rel=1e-9, abs=1e-15)
        assert photons[1] == pytest.approx(beta * 1e-6, rel=1e-5)


def test_threshold_is_where_the_best_mode_sets_in() -> None:
    tube = capillary(cavity_threshold_mJ_cm2=3.2, cavity_beta=1e-5)

    def brightest(fluence: float) -> float:
        return float(tube.lines(mJ(fluence), ONE, COLD).photons.max())

    # Far above, the best mode is linear in pump: its straight line starts at the threshold.
    zero = brentq(
        lambda f: brightest(9.6) + (brightest(12.8) - brightest(9.6)) / 3.2 * (f - 9.6), 0.1, 9.0
    )
    assert zero == pytest.approx(3.2, rel=1e-3)
    assert brightest(3.84) > 50.0 * brightest(2.56)
    aged = Conditions(age_days=100.0)
    later = float(tube.lines(mJ(9.6 * 1.3), ONE, aged).photons.max())
    assert later == pytest.approx(brightest(9.6), rel=1e-6)


def test_spontaneous_light_stops_growing_and_the_whole_is_superlinear() -> None:
    tube = capillary()

    def parts(fluence: float) -> tuple[float, float]:
        band = tube.emission(AXIS, mJ(fluence), ONE, COLD).sum() * (AXIS[1] - AXIS[0])
        return float(band), float(tube.lines(mJ(fluence), ONE, COLD).photons.sum())

    below, above = parts(1.0), parts(6.0)
    assert below[0] == pytest.approx(0.5 * PHOTONS_AT_THRESHOLD, rel=0.02)
    assert above[0] == pytest.approx(PHOTONS_AT_THRESHOLD, rel=0.02)
    assert below[1] < 0.02 * below[0]
    slope = np.log(sum(parts(2.4)) / sum(parts(1.9))) / np.log(2.4 / 1.9)
    assert slope > 1.3 and sum(above) / 6.0 > 1.15 * sum(below) / 1.0


def test_bleaching_takes_its_share_of_the_pump() -> None:
    tube = capillary(retained_fraction=0.8)
    dose = tube.parameters.retained_shots * tube.parameters.gain_fluence_uJ_cm2 * 1e-6
    worn = tube.lines(mJ(6.0), ONE, Conditions(dose_J_cm2=dose))
    fresh = tube.lines(mJ(4.8), ONE, Conditions())
    assert worn.photons == pytest.approx(fresh.photons, rel=1e-9)
    assert np.all(worn.fwhm_nm == MODE_FWHM_NM)
    lasting = capillary(retained_fraction=1.0)
    assert lasting.intact(Conditions(dose_J_cm2=1e9)) == 1.0
