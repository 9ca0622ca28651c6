"""Calibration files: dated, never written over, checked when read, and told by every run."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instruments.attenuator import CALIBRATED, load_calibration, waveplate_calibration
from instruments.bench import open_bench
from instruments.calibration import (
    Calibration,
    MadeWith,
    read_calibration,
    write_calibration,
)
from instruments.config import BenchConfig, PumpTable, parse
from instruments.errors import ConfigError
from instruments.pump import calibrated_pump
from instruments.roles import Identity
from instruments.spectrograph import Geometry, load_geometry
from instruments.stripe import load_slit
from procedures.running.runfile import RunFile
from procedures.session import Description, measure

MOMENT_S = 1_795_442_000.0  # 2026-11-23
MADE = Calibration(
    "attenuator",
    {"theta0_deg": 0.25, "t_min": 6e-4, "t_max": 0.99, "full_pulse_energy_J": 0.5e-6},
    {"theta0_deg": 0.005, "t_min": 1e-5, "t_max": 0.003, "full_pulse_energy_J": 0.01e-6},
    {"attenuator": MadeWith("thorlabs-elliptec", "ELL14", "11400514")},
    source="20261123-120000_calibrate-pump_x.h5",
    note='a "quoted" note\nof two lines',
)


def bench_with(folder: Path, calibration: Path | str, more: str = "") -> BenchConfig:
    file = folder / "bench.toml"
    file.write_text(
        "[simulation]\n[instruments.attenuator]\ndriver = 'thorlabs-elliptec'\n"
        f"calibration = '{Path(calibration).name}'\n{more}"
    )
    return parse(file.read_text(), str(file))


# ---- the file -----------------------------------------------------------------------------------


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = write_calibration(MADE, tmp_path / "cal", MOMENT_S)
    assert path.name == "attenuator-2026-11-23.toml"
    back = read_calibration(path, "attenuator", CALIBRATED)
    assert (back.values, back.stderr) == (MADE.values, MADE.stderr)
    assert (back.made_with, back.source, back.note) == (MADE.made_with, MADE.source, MADE.note)
    assert back.date.startswith("2026-11-23T")
    assert back.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    plate = load_calibration(path)
    assert (plate.theta0_deg, plate.theta0_error_deg) == (0.25, 0.005)
    assert (plate.t_min, plate.t_min_error, plate.name) == (6e-4, 1e-5, path.name)


def test_a_calibration_is_never_written_over(tmp_path: Path) -> None:
    first = write_calibration(MADE, tmp_path, MOMENT_S)
    content = first.read_bytes()
    second = write_calibration(MADE, tmp_path, MOMENT_S)
    assert second.name == "attenuator-2026-11-23-2.toml"
    with pytest.raises(ConfigError, match="never written over"):
        write_calibration(MADE, first, MOMENT_S)
    assert first.read_bytes() == content


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('kind = "slit"', "needed is one of the attenuator"),
        ("theta0 = 1.0", "did you mean 'theta0_deg'"),
        ("[values]\ntheta0_deg = true", "a number is needed"),
        ("[values]\ntheta0_deg = nan", "a number is needed"),
        ("[values]\ntheta0_deg = inf", "a number is needed"),
        ("[values]\ntheta0_deg = '1'", "a number is needed"),
        ("[stderr]\ntheta0_deg = -0.1", "no standard deviation"),
        ("values = 3", r"\[values\] must be a table"),
        ("[instruments]\nattenuator = 3", "a table is needed"),
        ("source = 3", "a text is needed"),
        ("theta0_deg = ", "cannot be read"),
        ("t_min = 0.9\nt_max = 0.1", "t_min < t_max"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=says) as caught:
        load_calibration(path)
    assert "bad.toml" in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_rubbish_is_refused_and_nothing_else_happens(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("rubbish") / "x.toml"
    path.write_bytes(content)
    try:
        found = read_calibration(path, "attenuator", CALIBRATED)
    except ConfigError:
        return
    assert all(math.isfinite(value) for value in found.values.values())


def test_files_written_by_hand_may_be_flat(tmp_path: Path) -> None:
    slit = tmp_path / "slit.toml"
    slit.write_text("zero_mm = 1.5\ndirection = -1\n")
    assert (load_slit(slit).zero_mm, load_slit(slit).direction) == (1.5, -1.0)
    axis = tmp_path / "axis.toml"
    axis.write_text("[values]\nfocal_length_mm = 300.4\n[stderr]\noffset_nm = 0.01\n")
    geometry = load_geometry(axis, Geometry(half_angle_deg=10.0))
    assert (geometry.focal_length_mm, geometry.half_angle_deg) == (300.4, 10.0)
    assert geometry.offset_error_nm == 0.01


def test_an_offset_holds_for_the_grating_that_it_was_measured_with() -> None:
    geometry = Geometry(offset_nm=0.5, calibrated_grooves_per_mm=600.0)
    plain = Geometry()
    for grooves, expected in ((600.0, 0.5), (1200.0, 0.0)):
        moved = geometry.wavelengths_nm(520.0, grooves, 11, 26.0)
        assert moved - plain.wavelengths_nm(520.0, grooves, 11, 26.0) == pytest.approx(expected)


def test_another_instrument_than_the_calibrated_one_is_refused() -> None:
    here = Identity("Thorlabs", "ELL14", "11400514")
    MADE.check_made_with("attenuator", "thorlabs-elliptec", here, "key")
    MADE.check_made_with("attenuator", "thorlabs-elliptec", Identity("Thorlabs", "ELL14"), "key")
    MADE.check_made_with("camera", "any", here, "key")
    with pytest.raises(ConfigError, match=r"serial number '11400514'.*'999'"):
        MADE.check_made_with("attenuator", "thorlabs-elliptec", Identity("T", "E", "999"), "key")
    with pytest.raises(ConfigError, match="driver"):
        MADE.check_made_with("attenuator", "other", here, "key")


# ---- the bench ----------------------------------------------------------------------------------


def test_full_energy_and_area_take_the_place_of_the_bench_files() -> None:
    source = PumpTable.model_validate({})
    made = Calibration(
        "attenuator",
        {"full_pulse_energy_J": 0.5e-6, "spot_diameter_mm": 0.8, "area_cm2": 5e-3},
        {"full_pulse_energy_J": 0.015e-6, "area_cm2": 2e-4},
    )
    pump = calibrated_pump(source, made)
    assert pump.full_pulse_energy_J == 0.5e-6
    assert pump.pulse_energy_rel_unc == pytest.approx(0.03)
    assert pump.area_rel_unc == pytest.approx(0.04)
    assert pump.area_cm2 == pytest.approx(math.pi * 0.04**2)
    assert pump.stripe_width_mm is None
    assert pump.repetition_rate_Hz == source.repetition_rate_Hz
    assert calibrated_pump(source, None) is source
    wrong = Calibration("attenuator", {"full_pulse_energy_J": -1.0}, path="c.toml")
    with pytest.raises(ConfigError, match=r"c\.toml"):
        calibrated_pump(source, wrong)


def test_a_bench_uses_the_calibration_that_its_file_names(tmp_path: Path) -> None:
    path = write_calibration(MADE, tmp_path, MOMENT_S)
    with open_bench(bench_with(tmp_path, path), ("attenuator",)) as bench:
        plate = bench.instruments["attenuator"]
        assert plate.calibration == waveplate_calibration(  # type: ignore[attr-defined]
            read_calibration(path, "attenuator", CALIBRATED)
        )
        assert bench.pump.source.full_pulse_energy_J == 0.5e-6
        assert bench.pump.limits.high == pytest.approx(0.99 * 0.5e-6 * 1e6 / 0.003)
        # The simulated laser is what it was: the calibration is the bench's belief alone.
        assert bench.simulation.world.pump.full_pulse_energy_J == 0.6e-6
    (tmp_path / "other.toml").write_text(
        path.read_text().replace('serial = "11400514"', 'serial = "1"')
    )
    with (
        pytest.raises(ConfigError, match="calibrate again"),
        open_bench(bench_with(tmp_path, "other.toml"), ("attenuator",)),
    ):
        pass


def test_a_role_without_calibration_refuses_one(tmp_path: Path) -> None:
    write_calibration(MADE, tmp_path / "c.toml", MOMENT_S)
    file = tmp_path / "bench.toml"
    text = "[simulation]\n[instruments.shutter]\ndriver = 'thorlabs-sc10'\ncalibration = 'c.toml'\n"
    with (
        pytest.raises(ConfigError, match=r"instruments\.shutter\.calibration"),
        open_bench(parse(text, str(file)), ("shutter",)),
    ):
        pass


def test_every_run_records_the_calibration_that_it_used(tmp_path: Path) -> None:
    path = write_calibration(MADE, tmp_path, MOMENT_S)
    config = bench_with(tmp_path, path)
    values = {
        "points": 1,
        "fluence_min_uJ_cm2": 10.0,
        "fluence_max_uJ_cm2": 10.0,
        "centre_wavelength_nm": 520.0,
    }
    outcome = measure(
        "power-sweep", values, config, Description(), tmp_path, lambda _line: None, quiet=True
    )
    assert outcome.status == "finished", outcome.error
    with RunFile(outcome.path) as run:
        told = run.calibrations["attenuator"]
        assert told["name"] == "attenuator-2026-11-23.toml"
        assert told["date"].startswith("2026-11-23T")
        assert told["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert (told["theta0_deg"], told["theta0_deg_errors"]) == (0.25, 0.005)
        assert run.facts["full_pulse_energy_J"] == 0.5e-6
