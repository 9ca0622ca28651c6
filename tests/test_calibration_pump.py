"""calibrate-pump: the attenuator's curve comes back, with honest errors, from any wave plate."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from instruments.bench import open_bench
from instruments.config import parse
from instruments.errors import ConfigError, DeviceFault, LimitError, NoReply
from instruments.roles import Limits, PulseEnergy
from procedures.analysis.pump_calibration import PumpCalibrationData, analyze_pump_calibration
from procedures.analysis.results import Analysis
from procedures.calibrate_pump import CalibratePump
from procedures.calibrating import NoCalibration, write_from
from procedures.evaluation import evaluate
from procedures.parameters import ParameterError
from procedures.running.runfile import RunFile
from procedures.session import Description, forecast, measure

ROOT = Path(__file__).resolve().parent.parent


def series(
    seed: int,
    *,
    theta0_deg: float = 0.4,
    drift: float = 0.01,
    period_s: float = 120.0,
    scatter_deg: float = 0.01,
    references: bool = True,
    start_deg: float = 0.0,
    stop_deg: float = 90.0,
) -> tuple[PumpCalibrationData, dict[str, float]]:
    """An angle series written down from the equation alone, and its truth."""
    draw = np.random.default_rng(seed)
    full_J, bright, dark, pulses = 0.6e-6, 0.995, 5e-4, 500
    angles: list[tuple[float, bool]] = []
    for number, angle in enumerate(np.linspace(start_deg, stop_deg, 37)):
        if references and number % 6 == 0:
            angles.append((0.0, True))
        angles.append((float(angle), False))
    if references:
        angles.append((0.0, True))
    asked = np.array([angle for angle, _ in angles])
    time_s = 3.0 * np.arange(len(asked)) + 100.0
    wander = drift * (np.sin(time_s / period_s + draw.uniform(0, 6)) + time_s / 300.0)
    stood = asked + 0.01 * draw.standard_normal(len(asked))
    share = dark + (bright - dark) * np.cos(np.radians(2.0 * (stood - theta0_deg))) ** 2
    energy = full_J * share * (1.0 + wander)
    spread = 0.02 * energy
    seen = energy + spread / np.sqrt(pulses) * draw.standard_normal(len(asked))
    data = PumpCalibrationData(
        time_s=time_s,
        angle_deg=stood + scatter_deg * draw.standard_normal(len(asked)),
        energy_J=seen,
        energy_errors_J=spread / np.sqrt(pulses),
        reference=np.array([is_reference for _, is_reference in angles]),
        transmission_max=bright,
        width_mm=(0.1, 0.001),
        length_mm=(3.0, 0.03),
    )
    truth = {
        "theta0_deg": theta0_deg,
        "transmission_min": dark,
        "full_pulse_energy_J": full_J * (1.0 + float(wander.mean())),
    }
    return data, truth


def value(analysis: Analysis, name: str) -> tuple[float, float]:
    found = analysis.results[name]
    assert isinstance(found.value, float), (name, analysis.warnings)
    assert isinstance(found.stderr, float)
    return found.value, found.stderr


# ---- the analysis -------------------------------------------------------------------------------


def test_true_values_lie_within_one_error_two_times_out_of_three() -> None:
    pulls: dict[str, list[float]] = {}
    for seed in range(40):
        data, truth = series(seed, theta0_deg=0.5 * np.sin(seed))
        analysis = analyze_pump_calibration(data)
        for name, true in truth.items():
            found, error = value(analysis, name)
            pulls.setdefault(name, []).append((found - true) / error)
    for name, drawn in pulls.items():
        inside = np.mean(np.abs(drawn) < 1.0)
        assert 0.45 < inside < 0.88, (name, inside)
        assert np.abs(np.mean(drawn)) < 0.45, name


def test_a_drift_of_the_laser_is_told_from_the_plate() -> None:
    data, truth = series(1, drift=0.08, period_s=60.0)
    kept = analyze_pump_calibration(data)
    found, error = value(kept, "theta0_deg")
    assert abs(found - truth["theta0_deg"]) < 4.0 * error
    # Without the visits the same drift is an unsteady laser: a wider error, and a warning.
    blind = analyze_pump_calibration(replace(data, reference=np.zeros_like(data.reference)))
    assert any("drift" in text for text in blind.warnings)
    assert value(blind, "theta0_deg")[1] > 4.0 * error
    assert value(blind, "unsteadiness")[0] > 0.02 > value(kept, "unsteadiness")[0]


@pytest.mark.parametrize(
    ("theta0_deg", "start_deg", "stop_deg", "expected_deg"),
    [(-30.0, 0.0, 90.0, -30.0), (70.0, 60.0, 150.0, 70.0), (-0.3, 0.0, 90.0, -0.3)],
)
def test_the_branch_lies_in_what_was_scanned(
    theta0_deg: float, start_deg: float, stop_deg: float, expected_deg: float
) -> None:
    data, _ = series(2, theta0_deg=theta0_deg, start_deg=start_deg, stop_deg=stop_deg)
    found, _ = value(analyze_pump_calibration(data), "theta0_deg")
    assert (found - expected_deg) % 90.0 == pytest.approx(0.0, abs=0.1) or (
        found - expected_deg
    ) % 90.0 == pytest.approx(90.0, abs=0.1)
    assert found >= start_deg - 1.0 or found == pytest.approx(expected_deg, abs=0.1)


def test_scales_enter_the_energy_and_the_area_the_fluence() -> None:
    data, _ = series(3)
    data = replace(data, energy_rel_unc=0.05, transmission_max_unc=0.01, meter_ratio=0.5)
    analysis = analyze_pump_calibration(data)
    energy, error = value(analysis, "full_pulse_energy_J")
    assert energy == pytest.approx(1.2e-6, rel=0.02)
    assert error / energy == pytest.approx(np.hypot(0.05, 0.01), rel=0.02)
    area, area_error = value(analysis, "area_cm2")
    assert area == pytest.approx(0.003)
    assert area_error / area == pytest.approx(np.hypot(0.01, 0.01))
    fluence, fluence_error = value(analysis, "fluence_full_uJ_cm2")
    assert fluence == pytest.approx(energy * 1e6 / area)
    assert fluence_error / fluence == pytest.approx(np.hypot(error / energy, 0.01414), rel=0.01)
    spot = analyze_pump_calibration(
        replace(data, width_mm=(0.0, 0.0), length_mm=(0.0, 0.0), diameter_mm=(1.0, 0.02))
    )
    area, area_error = value(spot, "area_cm2")
    assert area == pytest.approx(np.pi * 0.05**2)
    assert area_error / area == pytest.approx(0.04)


def test_a_record_far_off_is_left_out_and_named() -> None:
    data, truth = series(4)
    energy = data.energy_J.copy()
    energy[20] *= 1.3
    analysis = analyze_pump_calibration(replace(data, energy_J=energy))
    assert any("far off the curve" in text for text in analysis.warnings)
    found, error = value(analysis, "theta0_deg")
    assert abs(found - truth["theta0_deg"]) < 4.0 * error


def test_angles_without_pulses_are_left_out_and_told() -> None:
    data, truth = series(5)
    energy = data.energy_J.copy()
    energy[energy < 2e-9] = np.nan
    analysis = analyze_pump_calibration(replace(data, energy_J=energy))
    assert any("saw no pulses" in text for text in analysis.warnings)
    found, error = value(analysis, "theta0_deg")
    assert abs(found - truth["theta0_deg"]) < 4.0 * error


def test_what_the_records_do_not_support_is_null() -> None:
    data, _ = series(6)
    few = analyze_pump_calibration(
        PumpCalibrationData(
            *(np.asarray(getattr(data, name))[:9] for name in (
                "time_s", "angle_deg", "energy_J", "energy_errors_J", "reference"
            ))
        )
    )  # fmt: skip
    flat = analyze_pump_calibration(
        replace(data, energy_J=data.energy_errors_J * 0.0 + 1e-7, energy_errors_J=data.energy_J)
    )
    for analysis in (few, flat):
        assert analysis.results["theta0_deg"].value is None
        assert analysis.results["full_pulse_energy_J"].value is None
        assert analysis.warnings


def test_a_loose_mount_is_told() -> None:
    data, _ = series(7, scatter_deg=0.3)
    analysis = analyze_pump_calibration(data)
    assert value(analysis, "angle_scatter_deg")[0] > 0.15
    assert any("backlash" in text for text in analysis.warnings)


# ---- the measurement ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    outcome = measure(
        "calibrate-pump",
        {"stripe_width_mm": 0.11, "stripe_length_mm": 2.9, "stripe_width_unc_mm": 0.002},
        parse("[simulation]\nseed = 3\n"),
        Description(),
        tmp_path_factory.mktemp("pump"),
        lambda _line: None,
        quiet=True,
    )
    assert outcome.status == "finished", outcome.error
    return outcome.path


def test_the_simulated_bench_is_found_out_and_the_sample_sees_nothing(taken: Path) -> None:
    analysis = evaluate(taken).analysis
    with open_bench(parse("[simulation]\nseed = 3\n"), (), report=lambda _line: None) as bench:
        world = bench.simulation.world
    for name, true in (
        ("theta0_deg", world.theta0_deg),
        ("transmission_min", world.transmission_min),
        ("full_pulse_energy_J", world.pump.full_pulse_energy_J * world.energy_scale),
    ):
        found, error = value(analysis, name)
        assert abs(found - true) < 4.0 * error, name
        assert error < 0.05 * abs(found) or name == "theta0_deg"
    assert value(analysis, "area_cm2")[0] == pytest.approx(0.01 * 0.11 * 2.9)
    with RunFile(taken) as run:
        assert run.records("shots_on_sample").max() == 0
        assert np.ptp(run.records("meter_range")) > 0  # the darkest energies in a finer range
        assert run.records("reference").sum() >= 7


def test_the_file_that_comes_of_it_is_used_by_the_bench(taken: Path, tmp_path: Path) -> None:
    analysis = evaluate(taken).analysis
    path = write_from(evaluate(taken), tmp_path)
    file = tmp_path / "bench.toml"
    file.write_text(
        "[simulation]\nseed = 3\n[instruments.attenuator]\ndriver = 'thorlabs-elliptec'\n"
        f"calibration = '{path.name}'\n"
    )
    with open_bench(parse(file.read_text(), str(file)), ("attenuator",)) as bench:
        plate: Any = bench.instruments["attenuator"]
        assert plate.calibration.theta0_deg == analysis.results["theta0_deg"].value
        assert plate.calibration.t_max_error == 0.003
        source = bench.pump.source
        assert source.stripe_width_mm == 0.11
        assert source.area_rel_unc == pytest.approx(0.002 / 0.11)
        assert source.full_pulse_energy_J == analysis.results["full_pulse_energy_J"].value
        assert bench.calibrations["attenuator"].source == taken.name


def test_a_figure_is_drawn(taken: Path, tmp_path: Path) -> None:
    from procedures.figures_calibration import pump_figure

    found = evaluate(taken)
    pump_figure(found, tmp_path / "p.svg")
    assert "angle of the wave plate" in (tmp_path / "p.svg").read_text()
    empty = replace(found, analysis=Analysis(found.analysis.results, [], {
        name: found.analysis.curves[name] for name in ("angle_deg", "energy_J", "used")
    }))  # fmt: skip
    pump_figure(empty, tmp_path / "e.png")
    assert (tmp_path / "e.png").stat().st_size > 1000


def test_a_run_that_supports_nothing_writes_nothing(taken: Path, tmp_path: Path) -> None:
    found = evaluate(taken)
    poor = replace(
        found,
        analysis=Analysis(
            {**found.analysis.results, "theta0_deg": replace(
                found.analysis.results["theta0_deg"], value=None
            )},
            ["too dark"],
        ),
    )  # fmt: skip
    with pytest.raises(NoCalibration, match=r"theta0_deg is not supported.*too dark"):
        write_from(poor, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_it_once(taken: Path, tmp_path: Path) -> None:
    def analyze(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "procedures.cli", "analyze", str(taken), *words],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            timeout=60,
            check=False,
        )

    done = analyze("--calibration", "plate.toml", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["calibration"] == "plate.toml"
    assert "[instruments.attenuator]" in done.stderr
    again = analyze("--calibration", "plate.toml", "--json")
    assert again.returncode == 2
    assert "never written over" in json.loads(again.stdout)["error"]["message"]


class Meter:
    """A meter with decade ranges that sees from 5 % of a range on."""

    limits = {"range_J": Limits(0.0, 2e-2, "J")}  # noqa: RUF012

    def __init__(self, energy_J: float, *, dead: bool = False) -> None:
        self.energy_J, self.dead = energy_J, dead
        self.range_J = 2e-2
        self.readings = 0

    def set_range_J(self, energy_J: float) -> float:
        self.limits["range_J"].check("range_J", energy_J)
        ends = [2.0 * 10.0**power for power in range(-9, -1)]
        self.range_J = next(end for end in ends if end >= energy_J * (1 - 1e-9))
        return self.range_J

    def read_pulses(self, pulses: int) -> PulseEnergy:
        self.readings += 1
        if self.dead:
            raise DeviceFault("the head is gone")
        if self.energy_J > self.range_J:
            raise DeviceFault("too much")
        if self.energy_J < 0.05 * self.range_J:
            raise NoReply("no pulse")
        return PulseEnergy(self.energy_J, 0.02 * self.energy_J, pulses)


@pytest.mark.parametrize("factor", [1e-3, 0.02, 1.0, 30.0, 900.0])
def test_the_range_is_found_however_wrong_the_expectation(factor: float) -> None:
    procedure = CalibratePump()
    meter = Meter(3e-7)
    procedure._meter = lambda: meter  # type: ignore[method-assign, assignment, return-value]
    found, range_J = procedure._read(3e-7 * factor, must=False)
    assert found is not None
    assert found.mean_J == 3e-7
    assert range_J == pytest.approx(2e-6)


def test_darkness_is_recorded_but_not_at_the_reference() -> None:
    procedure = CalibratePump()
    procedure._meter = lambda: Meter(1e-12)  # type: ignore[method-assign, assignment, return-value]
    assert procedure._read(3e-10, must=False)[0] is None
    with pytest.raises(NoReply):
        procedure._read(3e-10, must=True)
    procedure._meter = lambda: Meter(1e-7, dead=True)  # type: ignore[method-assign, assignment, return-value]
    with pytest.raises(DeviceFault, match="the head is gone"):
        procedure._read(3e-10, must=False)


def test_the_reference_is_visited_first_last_and_between() -> None:
    procedure = CalibratePump(points=10, reference_every=4, reference_angle_deg=12.0)
    flags = [point["reference"] for point in procedure.plan()]
    assert flags == [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 1]
    assert {p["angle_deg"] for p in procedure.plan() if p["reference"]} == {12.0}
    assert len(CalibratePump(points=10, reference_every=0).plan()) == 10


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"angle_start_deg": 90.0, "angle_stop_deg": 0.0}, "angle_start_deg"),
        ({"stripe_width_mm": 0.1}, "stripe_width_mm"),
        ({"spot_diameter_mm": 1.0, "stripe_width_mm": 0.1, "stripe_length_mm": 3.0}, "spot"),
        ({"spot_diameter_unc_mm": 0.1}, "spot_diameter_unc_mm"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(values: dict[str, Any], key: str) -> None:
    with pytest.raises(ParameterError, match=key):
        CalibratePump(**values)


def test_angles_beyond_the_mount_are_refused_before_anything_moves() -> None:
    text = (
        "[simulation]\n[instruments.attenuator]\ndriver = 'thorlabs-elliptec'\n"
        "max_angle_deg = 60.0\n"
    )
    with pytest.raises(LimitError, match=r"attenuator angle: 62\.5"):
        forecast("calibrate-pump", {}, parse(text), lambda _line: None)


def test_at_the_sample_the_shots_are_counted(tmp_path: Path) -> None:
    outcome = measure(
        "calibrate-pump",
        {"meter_at": "sample", "points": 9, "shots": 20, "reference_every": 0},
        parse("[simulation]\n"),
        Description(),
        tmp_path,
        lambda _line: None,
        quiet=True,
    )
    assert outcome.status == "finished", outcome.error
    with RunFile(outcome.path) as run:
        assert run.records("shots_on_sample")[-1] >= 9 * 20
        assert run.decisions["meter_ratio"] == 1.0


def test_without_a_wave_plate_there_is_nothing_to_calibrate() -> None:
    text = "[simulation]\n"
    with open_bench(parse(text), ("attenuator", "energy_meter")) as bench:
        procedure = CalibratePump()
        procedure.bench = bench
        bench.instruments["attenuator"] = bench.instruments["energy_meter"]
        with pytest.raises(ConfigError, match="no wave plate"):
            procedure.check_limits()
