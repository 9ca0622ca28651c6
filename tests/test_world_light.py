"""What detectors see of the World: lamp lines on their pixels, and streak images."""

from __future__ import annotations

import math

import numpy as np
import pytest

from instruments.clock import VirtualClock
from sim_drivers.beam import Pump
from sim_drivers.imperfections import Imperfections
from sim_drivers.lamp import LAMPS, lamp_lines
from sim_drivers.optics import KNOWN, Dispersion, Errors, Optics
from sim_drivers.sample import PRESETS, Cuvette, Lines
from sim_drivers.stray import SCATTERED_SHARE, STRAY_PER_S_NM_NS
from sim_drivers.world import World

START_S = 1.7e9
PIXELS, PITCH_UM = 1024, 26.0
EXACT = Imperfections(calibration_errors=False, pulse_noise=0.0, drift_per_hour=0.0)


def world(imperfections: Imperfections = EXACT, seed: int = 3, **more: object) -> World:
    pump = Pump(400.0, 1000.0, 1.5e-6, math.pi * 0.05**2, 0.1, 0.02, 0.02)
    sample = Cuvette(PRESETS["CsPbBr3-solution"])
    made = World(VirtualClock(START_S), sample, pump, imperfections, seed=seed, **more)  # type: ignore[arg-type]
    made.set_attenuator_angle(45.0 - math.degrees(0.5 * math.asin(math.sqrt(0.06))))
    return made


def nm_at(x_mm: float, centre_nm: float, grooves: float, optics: Optics) -> float:
    """The grating equation, by hand: wavelength at a distance from the chip's middle."""
    d = 1e6 / grooves
    delta, gamma = math.radians(optics.half_angle_deg), math.radians(optics.tilt_deg)
    phi = math.asin(centre_nm / (2.0 * d * math.cos(delta)))
    aside = math.atan2(x_mm * math.cos(gamma), optics.focal_length_mm + x_mm * math.sin(gamma))
    return d * (math.sin(phi - delta) + math.sin(phi + delta + aside))


def centroid(electrons: np.ndarray, about: int, reach: int = 9) -> float:
    part = slice(about - reach, about + reach + 1)
    pixel = np.arange(len(electrons))[part]
    return float(pixel @ electrons[part] / electrons[part].sum())


@pytest.mark.parametrize(
    ("optics", "grooves", "centre"),
    [(KNOWN["300"], 600.0, 546.0), (KNOWN["750"], 1200.0, 546.0), (KNOWN["320"], 1200.0, 578.0)],
)
def test_lamp_lines_fall_where_the_grating_sends_them(
    optics: Optics, grooves: float, centre: float
) -> None:
    made = world(optics=optics, lamp="Hg")
    made.set_monochromator(centre, grooves)
    electrons = made.ccd_electrons(START_S, 0.5, PIXELS, PITCH_UM)
    found = 0
    for line_nm in (546.0750, 576.9610, 579.0670):
        axis = np.array(
            [nm_at((k - 511.5) * PITCH_UM * 1e-3, centre, grooves, optics) for k in range(PIXELS)]
        )
        if not axis[20] < line_nm < axis[-20]:
            continue
        expected = float(np.interp(line_nm, axis, np.arange(PIXELS)))
        assert centroid(electrons, round(expected)) == pytest.approx(expected, abs=0.01)
        found += 1
    assert found >= 1


def test_a_line_is_as_wide_as_the_slit_and_keeps_its_photons() -> None:
    dispersion = Dispersion(Optics(slit_um=104.0))
    edges = dispersion.edges_nm(520.0, 600.0, PIXELS, PITCH_UM)
    one = Lines(np.array([520.03]), np.array([1e4]), np.array([0.0]))
    electrons = dispersion.lines(edges, PITCH_UM, one)
    whole = dispersion.bands(edges)[1][512] / (edges[513] - edges[512]) * 1e4
    assert electrons.sum() == pytest.approx(whole, rel=1e-3)
    pixel = np.arange(PIXELS)
    mean = pixel @ electrons / electrons.sum()
    variance = (pixel - mean) ** 2 @ electrons / electrons.sum()
    assert 2.3548 * math.sqrt(variance - 1.0 / 12.0) == pytest.approx(4.0, rel=0.01)
    outside = Lines(np.array([300.0, 900.0]), np.full(2, 1e6), np.full(2, 0.01))
    assert not dispersion.lines(edges, PITCH_UM, outside).any()
    at_the_edge = Lines(np.array([edges[-1]]), np.array([1e4]), np.array([0.0]))
    half = dispersion.lines(edges, PITCH_UM, at_the_edge).sum()
    assert half == pytest.approx(0.5 * whole, rel=0.1)


def test_errors_of_the_spectrograph_move_the_lines() -> None:
    def place(errors: Errors, line_nm: float) -> float:
        dispersion = Dispersion(KNOWN["300"], errors)
        edges = dispersion.edges_nm(546.0, 600.0, PIXELS, PITCH_UM)
        line = Lines(np.array([line_nm]), np.array([1e4]), np.array([0.005]))
        electrons = dispersion.lines(edges, PITCH_UM, line)
        return centroid(electrons, int(electrons.argmax()))

    pixel_nm = 0.131
    for line_nm in (500.0, 546.075, 595.0):
        before = place(Errors(), line_nm)
        shifted = place(Errors(offset_nm=0.05), line_nm)
        assert before - shifted == pytest.approx(0.05 / pixel_nm, rel=0.05)
        longer = place(Errors(focal_length_rel=1e-3), line_nm) - 511.5
        assert longer == pytest.approx(1.001 * (before - 511.5), abs=0.01)
        tilted = place(Errors(tilt_deg=0.1), line_nm)
        away_mm = (before - 511.5) * PITCH_UM * 1e-3
        lever_mm = away_mm * (away_mm / 300.0 + math.sin(math.radians(1.38)))
        expected = lever_mm * math.radians(0.1) / (PITCH_UM * 1e-3)
        assert tilted - before == pytest.approx(expected, abs=0.003)


def test_a_lamp_shines_whatever_the_pump_does_and_hides_the_sample() -> None:
    made = world()
    made.set_monochromator(520.0, 600.0)
    made.set_shutter(True)
    made.clock.sleep(1.0)
    emission = made.ccd_electrons(START_S, 1.0, PIXELS, PITCH_UM)
    made.set_lamp("Hg")
    lamp = made.ccd_electrons(START_S, 1.0, PIXELS, PITCH_UM)
    made.set_shutter(False)
    twice = made.ccd_electrons(START_S, 2.0, PIXELS, PITCH_UM)
    assert twice == pytest.approx(2.0 * lamp)
    assert np.median(lamp) == 0.0 and np.median(emission) > 0.0
    made.set_lamp(None)
    assert np.array_equal(made.ccd_electrons(START_S, 1.0, PIXELS, PITCH_UM), emission)
    with pytest.raises(ValueError, match="HgAr"):
        made.set_lamp("Xe")


def test_lamps_hold_their_elements_in_order() -> None:
    for name in ("HgAr", "HgNe"):
        parts = np.concatenate([np.array(LAMPS[name[:2]]), np.array(LAMPS[name[2:]])])
        assert np.array_equal(np.array(LAMPS[name]), parts)
    for name in ("Hg", "Ne", "Ar"):
        lines = lamp_lines(name, 2.0)
        assert np.all(np.diff(lines.wavelength_nm) > 0.0) and np.all(lines.photons > 0.0)
        assert lines.photons == pytest.approx(2.0 * lamp_lines(name, 1.0).photons)
    assert np.array_equal(lamp_lines("Ne", 1.0).wavelength_nm, np.array(LAMPS["Ne"])[:, 0])


@pytest.mark.parametrize(("centre", "grooves"), [(520.0, 0.0), (3000.0, 1200.0)])
def test_a_mirror_or_a_grating_beyond_its_end_shows_nothing(centre: float, grooves: float) -> None:
    made = world(lamp="HgAr")
    made.set_monochromator(centre, grooves)
    assert not made.ccd_electrons(START_S, 1.0, PIXELS, PITCH_UM).any()
    made.set_lamp(None)
    made.set_shutter(True)
    made.clock.sleep(1.0)
    assert not made.ccd_electrons(START_S, 1.0, PIXELS, PITCH_UM).any()


# --- streak images ----------------------------------------------------------------------------

TIMES = np.linspace(-500.0, 5500.0, 601)
EDGES = np.linspace(380.0, 600.0, 441)
BINS_NS_NM = 6.0 * 220.0


def test_in_the_dark_there_is_stray_light() -> None:
    made = world()
    image = made.streak_electrons(START_S, 3.0, TIMES, EDGES)
    assert image.shape == (600, 440)
    assert image.sum() == pytest.approx(STRAY_PER_S_NM_NS * 3.0 * BINS_NS_NM)
    assert np.ptp(image) < 1e-9


def test_scattered_pump_light_is_short_and_narrow_and_counts_pulses() -> None:
    made = world()
    made.set_shutter(True)
    made.clock.sleep(2.0)
    dark = STRAY_PER_S_NM_NS * 2.0 * BINS_NS_NM / (600 * 440)
    image = made.streak_electrons(START_S, 2.0, TIMES, EDGES) - dark
    pump = image[:, (EDGES[:-1] > 390.0) & (EDGES[:-1] < 410.0)]
    course, spectrum = pump.sum(axis=1), pump.sum(axis=0)
    assert np.flatnonzero(course > 0.01 * course.sum()).tolist() in ([49, 50], [49], [50])
    middle = np.arange(390.5, 410.0, 0.5) + 0.25
    assert middle[spectrum[: len(middle)].argmax()] == pytest.approx(400.0, abs=0.5)
    pulse_J = made.pulse_energies_J(START_S, 1)[0]
    photons = 2000 * pulse_J / 4.96611e-19 * SCATTERED_SHARE
    expected = photons * made.dispersion.response.photocathode(np.array([400.0]))[0]
    assert pump.sum() == pytest.approx(expected, rel=0.01)


def test_a_streak_image_is_the_shots_of_its_exposure() -> None:
    made = world()
    made.clock.sleep(1.0)
    made.set_shutter(True)
    made.clock.sleep(1.0)
    made.set_shutter(False)
    made.clock.sleep(1.0)
    band = EDGES[:-1] > 450.0

    def light(start_s: float, exposure_s: float) -> float:
        image = made.streak_electrons(start_s, exposure_s, TIMES, EDGES)
        stray = STRAY_PER_S_NM_NS * exposure_s * BINS_NS_NM / (600 * 440)
        return float((image - stray)[:, band].sum())

    assert light(START_S, 3.0) == pytest.approx(2.0 * light(START_S + 1.5, 1.0), rel=1e-6)
    assert light(START_S + 2.5, 0.5) == pytest.approx(0.0, abs=1e-6)
    before = made.streak_electrons(START_S, 3.0, np.array([-500.0, -1.0]), EDGES)
    assert before.sum() == pytest.approx(STRAY_PER_S_NM_NS * 3.0 * 0.499 * 220.0)


def test_a_gate_gates_the_streak_camera_too() -> None:
    made = world()
    made.gate_configured()
    made.set_shutter(True)
    first = made.next_trigger_s(made.clock.now() + 0.1)
    made.open_gate(first - 3e-4, first + 9.7e-3)
    made.clock.sleep(1.0)
    gated = made.streak_electrons(START_S, 1.0, TIMES, EDGES)
    free = world()
    free.set_shutter(True)
    free.clock.sleep(0.01)
    ten = free.streak_electrons(START_S, 0.01, TIMES, EDGES)
    stray = STRAY_PER_S_NM_NS * 0.99 * BINS_NS_NM / (600 * 440)
    assert np.allclose(gated - stray, ten, rtol=1e-6, atol=1e-9)
