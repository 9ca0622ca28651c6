"""calibrate-wavelength: the axis comes back from a lamp's lines, or the lines are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from instruments.bench import open_bench
from instruments.config import parse
from instruments.errors import LimitError
from instruments.spectrograph import Geometry
from procedures.analysis.lamp_lines import LAMPS, lamp_lines
from procedures.analysis.lamp_spectra import WavelengthCalibrationData
from procedures.analysis.lamp_spectra import axis as dispersed
from procedures.analysis.line_peaks import find_peaks
from procedures.analysis.results import Analysis
from procedures.analysis.wavelength_calibration import analyze_wavelength_calibration
from procedures.calibrate_wavelength import CalibrateWavelength
from procedures.calibrating import NoCalibration, write_from
from procedures.evaluation import evaluate
from procedures.parameters import ParameterError
from procedures.running.runfile import RunFile
from procedures.session import Description, forecast, measure
from sim_drivers import lamp as simulated_lamp

PIXELS, PITCH_UM, GROOVES = 1024, 26.0, 600.0
NOMINAL = Geometry()


def spectra(
    seed: int,
    lamp: str = "HgAr",
    centres_nm: tuple[float, ...] = (435.0, 500.0, 560.0),
    *,
    true: Geometry | None = None,
    repeatability_nm: float = 0.004,
    brightest: float = 3e4,
    grooves_per_mm: float = GROOVES,
) -> tuple[WavelengthCalibrationData, Geometry]:
    """Lamp spectra with noise and cosmic rays, through a spectrograph that is not the nominal."""
    draw = np.random.default_rng(seed)
    if true is None:
        true = Geometry(
            focal_length_mm=300.0 * (1.0 + 0.001 * draw.standard_normal()),
            tilt_deg=1.38 + 0.1 * draw.standard_normal(),
            offset_nm=0.05 * draw.standard_normal(),
        )
    frames = []
    for centre in centres_nm:
        stood = centre + repeatability_nm * draw.standard_normal()
        # Each pixel in ten, so that a line lies where it lies.
        fine = true.wavelengths_nm(stood, grooves_per_mm, 10 * PIXELS, PITCH_UM / 10.0)
        place = np.arange(10 * PIXELS)
        light = np.zeros(10 * PIXELS)
        lines = lamp_lines(lamp, float(fine[0]), float(fine[-1]), 1e-6)
        for wavelength, brightness in zip(lines.wavelength_nm, lines.brightness, strict=True):
            at = np.interp(wavelength, fine, place)
            brightness *= np.exp(0.4 * draw.standard_normal())  # lamps differ
            light += brightness * np.exp(-0.5 * ((place - at) / 9.8) ** 2)
        mean = light.reshape(PIXELS, 10).mean(axis=1)
        mean *= brightest / max(float(mean.max()), 1e-9)
        taken = draw.poisson(np.tile(mean, (5, 1))) + 600 + 3.0 * draw.standard_normal((5, PIXELS))
        for frame in taken:
            frame[draw.integers(0, PIXELS, 4)] += draw.exponential(5000.0, 4)
        frames.append(np.clip(taken, 0, 65535).astype(np.uint16))
    data = WavelengthCalibrationData(
        lamp=lamp,
        frames=np.array(frames),
        centre_nm=np.array(centres_nm),
        saturation_counts=65535.0,
        grooves_per_mm=grooves_per_mm,
        pitch_um=PITCH_UM,
        focal_length_mm=NOMINAL.focal_length_mm,
        half_angle_deg=NOMINAL.half_angle_deg,
        tilt_deg=NOMINAL.tilt_deg,
        gain_e_per_count=1.0,
    )
    return data, true


def value(analysis: Analysis, name: str) -> tuple[float, float]:
    found = analysis.results[name]
    assert isinstance(found.value, float), (name, analysis.warnings)
    return found.value, found.stderr if isinstance(found.stderr, float) else np.nan


def refused(analysis: Analysis, says: str) -> bool:
    return (
        all(result.value is None for result in analysis.results.values())
        and any(says in text for text in analysis.warnings)
    )  # fmt: skip


# ---- lines --------------------------------------------------------------------------------------


@pytest.mark.parametrize("lamp", sorted(LAMPS))
def test_two_independent_tables_agree(lamp: str) -> None:
    lines = lamp_lines(lamp, 350.0, 950.0, 1e-6)
    assert np.all(np.diff(lines.wavelength_nm) > 0)
    theirs = np.array([one for one, _ in simulated_lamp.LAMPS[lamp] if 350.0 < one < 950.0])
    for wavelength in theirs:
        assert np.abs(lines.wavelength_nm - wavelength).min() < 0.03, wavelength
    bright = lines.wavelength_nm[lines.brightness > 0.2 * lines.brightness.max()]
    for wavelength in bright:
        assert np.abs(theirs - wavelength).min() < 0.002, wavelength


def test_lines_that_blend_are_one_or_none() -> None:
    fine = lamp_lines("Hg", 576.0, 580.0, 0.3)
    assert fine.wavelength_nm == pytest.approx([576.9610, 579.0670])
    assert fine.clean.all()
    coarse = lamp_lines("Hg", 576.0, 580.0, 4.0)
    assert coarse.wavelength_nm == pytest.approx([578.014])
    assert coarse.unc_nm[0] > 0.3
    half = lamp_lines("Hg", 576.0, 580.0, 1.6)
    assert not half.clean.any()


def peak_at(place: float, fwhm: float, height: float) -> npt.NDArray[np.float64]:
    fine = np.arange(0.0, 256.0, 0.02) - 0.49
    light = np.exp(-0.5 * ((fine - place) / (fwhm / 2.3548)) ** 2)
    return height * light.reshape(256, 50).mean(axis=1)


@pytest.mark.parametrize("fwhm", [1.8, 2.5, 6.0])
@pytest.mark.parametrize("place", [100.0, 100.25, 100.5, 157.9])
def test_a_line_is_found_to_hundredths_of_a_pixel(place: float, fwhm: float) -> None:
    draw = np.random.default_rng(3)
    mean = 500.0 + peak_at(place, fwhm, 2e4)
    frames = draw.poisson(mean, (5, 256)) + draw.normal(0.0, 3.0, (5, 256))
    frames[2, 40] += 9000.0  # a cosmic ray
    peaks = find_peaks(frames, 65535.0, 1.0)
    assert len(peaks.position) == 1
    assert abs(peaks.position[0] - place) < max(4.0 * peaks.error[0], 0.03)
    assert peaks.error[0] < 0.05
    assert peaks.fwhm[0] == pytest.approx(fwhm, rel=0.1)


def test_noise_is_no_line_and_a_saturated_one_is_left_out() -> None:
    draw = np.random.default_rng(4)
    quiet = 600.0 + draw.normal(0.0, 4.0, (5, 1024))
    assert len(find_peaks(quiet, 65535.0, 1.0).position) == 0
    silent = np.round(600.0 + draw.normal(0.0, 0.2, (5, 1024)))  # no noise beyond a count
    assert len(find_peaks(silent, 65535.0, 1.0).position) == 0
    two = 600.0 + peak_at(60.0, 3.0, 1e5) + peak_at(180.0, 3.0, 1e4)
    clipped = np.minimum(draw.poisson(two, (5, 256)), 65535)
    assert find_peaks(clipped, 65535.0, 1.0).position == pytest.approx([180.0], abs=0.05)


# ---- the fit ------------------------------------------------------------------------------------


def test_the_equation_is_the_spectrographs() -> None:
    data, _ = spectra(1, centres_nm=(520.0,))
    geometry = Geometry(focal_length_mm=310.0, tilt_deg=2.0)
    ours = dispersed(data, 520.0, 310.0, 2.0, np.arange(PIXELS))
    assert ours == pytest.approx(geometry.wavelengths_nm(520.0, GROOVES, PIXELS, PITCH_UM))


@pytest.mark.parametrize(
    ("lamp", "centres_nm"),
    [
        ("HgAr", (435.0, 500.0, 560.0)),
        ("Hg", (420.0, 560.0)),
        ("Ne", (600.0, 660.0)),
        ("Ar", (740.0, 800.0)),
        ("HgNe", (435.0, 546.0, 640.0)),
    ],
)
def test_every_lamp_gives_the_axis(lamp: str, centres_nm: tuple[float, ...]) -> None:
    data, true = spectra(5, lamp, centres_nm)
    analysis = analyze_wavelength_calibration(data)
    for name in ("focal_length_mm", "tilt_deg"):
        found, error = value(analysis, name)
        assert abs(found - getattr(true, name)) < 4.0 * error, name
    assert value(analysis, "offset_nm")[0] == pytest.approx(true.offset_nm, abs=0.02)
    assert value(analysis, "residual_rms_nm")[0] < 0.02
    assert value(analysis, "axis_error_nm")[0] < 0.03
    fitted = replace(
        NOMINAL,
        **{n: value(analysis, n)[0] for n in ("offset_nm", "focal_length_mm", "tilt_deg")},
    )
    axis, truth = (
        one.wavelengths_nm(centres_nm[0], GROOVES, PIXELS, PITCH_UM) for one in (fitted, true)
    )
    assert np.abs(axis - truth).max() < 4.0 * value(analysis, "axis_error_nm")[0]


def test_offsets_lie_within_one_error_two_times_out_of_three() -> None:
    pulls = []
    for seed in range(20):
        data, true = spectra(seed, "HgAr", (435.0, 500.0, 560.0))
        found, error = value(analyze_wavelength_calibration(data), "offset_nm")
        pulls.append((found - true.offset_nm) / error)
    assert 0.45 < np.mean(np.abs(pulls) < 1.0) < 0.9


@pytest.mark.parametrize("offset_nm", [-4.0, 3.1])
def test_an_axis_that_is_nm_off_is_found(offset_nm: float) -> None:
    data, _ = spectra(6, true=Geometry(offset_nm=offset_nm, focal_length_mm=302.5))
    analysis = analyze_wavelength_calibration(data)
    assert value(analysis, "offset_nm")[0] == pytest.approx(offset_nm, abs=0.02)
    assert value(analysis, "focal_length_mm")[0] == pytest.approx(302.5, abs=0.1)


def test_what_the_grating_scatters_by_is_found() -> None:
    data, _ = spectra(7, "Ne", (600.0, 615.0, 630.0, 645.0, 660.0), repeatability_nm=0.05)
    found, error = value(analyze_wavelength_calibration(data), "repeatability_nm")
    assert 0.02 < found < 0.1
    assert error > 0.005
    one = analyze_wavelength_calibration(spectra(7, "Ne", (640.0,))[0])
    assert one.results["repeatability_nm"].value is None
    assert value(one, "axis_error_nm")[0] >= 0.05
    assert any("one centre wavelength" in text for text in one.warnings)


def test_lines_that_are_not_the_lamps_are_refused() -> None:
    data, _ = spectra(8)
    assert refused(analyze_wavelength_calibration(replace(data, lamp="Ne")), "cannot be recognised")
    assert refused(
        analyze_wavelength_calibration(replace(data, grooves_per_mm=1200.0)), "is the grating"
    )
    far, _ = spectra(8, true=Geometry(offset_nm=9.0))
    assert refused(analyze_wavelength_calibration(far), "within 5 nm")
    draw = np.random.default_rng(1)
    rain = 600 + 4000.0 * np.convolve(draw.random(PIXELS) < 0.03, [0.3, 1.0, 0.9, 0.2], "same")
    frames = np.tile(draw.poisson(rain), (3, 5, 1)).astype(np.uint16)
    assert refused(analyze_wavelength_calibration(replace(data, frames=frames)), "recognised")


def test_a_camera_turned_round_is_told() -> None:
    data, _ = spectra(9)
    turned = analyze_wavelength_calibration(replace(data, frames=data.frames[:, :, ::-1]))
    assert refused(turned, "turned round")


def test_too_few_lines_are_refused() -> None:
    dark, _ = spectra(10, brightest=0.0)
    assert refused(analyze_wavelength_calibration(dark), "is the lamp on")
    green, _ = spectra(10, "Hg", (546.0,), brightest=2000.0)
    narrow = replace(green, frames=green.frames[:, :, :700])
    assert analyze_wavelength_calibration(narrow).results["offset_nm"].value is None


def test_saturated_lines_are_told() -> None:
    data, _ = spectra(11, brightest=2e5)
    assert any(
        "saturated lines around" in text for text in analyze_wavelength_calibration(data).warnings
    )


# ---- the measurement ----------------------------------------------------------------------------

BENCH = "[simulation]\nseed = 11\n"


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    outcome = measure(
        "calibrate-wavelength",
        {"lamp": "HgAr"},
        parse(BENCH),
        Description(),
        tmp_path_factory.mktemp("lamp"),
        lambda _line: None,
        quiet=True,
    )
    assert outcome.status == "finished", outcome.error
    return outcome.path


def test_the_lamp_is_exposed_right_and_the_sample_sees_nothing(taken: Path) -> None:
    with RunFile(taken) as run:
        assert run.records("saturated").max() == 0
        frames = run.records("frames")
        assert frames.shape == (4, 5, len(run.axis("pixel")))
        brightest = np.median(frames, axis=1).max(axis=1)
        assert np.all((brightest > 0.3 * 65535) & (brightest < 0.85 * 65535))
        assert np.array_equal(run.records("spectra"), frames.sum(axis=1, dtype=np.uint32))
        assert run.calibrations == {}


def test_the_calibrated_axis_is_the_worlds(taken: Path, tmp_path: Path) -> None:
    path = write_from(evaluate(taken), tmp_path)
    assert path.name.startswith("spectrograph-")
    file = tmp_path / "bench.toml"
    file.write_text(
        BENCH + "[instruments.monochromator]\ndriver = 'acton-spectrapro'\n"
        f"calibration = '{path.name}'\n"
    )
    needs = ("monochromator", "camera")
    with open_bench(parse(file.read_text(), str(file)), needs) as bench:
        spectrograph = bench.need_spectrograph()
        spectrograph.go_to(520.0)
        axis = spectrograph.wavelength_nm
        uncertainty = spectrograph.wavelength_unc_nm
        assert uncertainty < 0.03
        camera = spectrograph.camera
        world: Any = bench.simulation.world
        world.settle(world.clock.now())
        edges = world.dispersion.edges_nm(
            world._centre_nm, world._grooves_per_mm, camera.pixels, camera.pixel_pitch_um
        )
        true = 0.5 * (edges[1:] + edges[:-1])
        assert np.abs(axis - true).max() < 4.0 * uncertainty
        nominal = Geometry().wavelengths_nm(520.0, 600.0, camera.pixels, camera.pixel_pitch_um)
        assert np.abs(nominal - true).max() > 2.0 * np.abs(axis - true).max()
        spectrograph.select_grating(2)
        assert spectrograph.wavelength_unc_nm == Geometry.offset_error_nm


def test_a_figure_is_drawn(taken: Path, tmp_path: Path) -> None:
    from procedures.figures_calibration import wavelength_figure

    found = evaluate(taken)
    wavelength_figure(found, tmp_path / "w.svg")
    assert "wavelength in air (nm)" in (tmp_path / "w.svg").read_text()
    data, _ = spectra(8)
    refusal = analyze_wavelength_calibration(replace(data, lamp="Ne"))
    wavelength_figure(replace(found, analysis=refusal), tmp_path / "r.png")
    assert (tmp_path / "r.png").stat().st_size > 1000


def test_of_lines_not_recognised_no_calibration_is_made(tmp_path: Path) -> None:
    outcome = measure(
        "calibrate-wavelength",
        {"lamp": "Ne", "centres_nm": [435.0, 560.0]},
        parse(BENCH),
        Description(),
        tmp_path,
        lambda _line: None,
        quiet=True,
    )
    assert outcome.status == "finished", outcome.error
    found = evaluate(outcome.path)
    assert found.analysis.results["offset_nm"].value is None
    with pytest.raises(NoCalibration, match="offset_nm is not supported"):
        write_from(found, tmp_path / "cal")
    assert not (tmp_path / "cal").exists()


def test_places_out_of_reach_are_refused_before_anything_moves() -> None:
    with pytest.raises(LimitError, match=r"centre wavelength"):
        forecast("calibrate-wavelength", {"centres_nm": [1999.0, 2000.0], "grating": 3},
                 parse(BENCH), lambda _line: None)  # fmt: skip
    with pytest.raises(ParameterError, match="installed are"):
        forecast("calibrate-wavelength", {"grating": 8}, parse(BENCH), lambda _line: None)
    with pytest.raises(ParameterError, match="one centre wavelength"):
        CalibrateWavelength(centres_nm=[])
