"""Runs that meet faults: over those that pass they get, of the others they tell; nothing is lost.

Every kind on every device of the power sweep's bench, as `gainbench run` would meet it.
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import sim_drivers.bench
from instruments import config
from instruments.clock import VirtualClock
from procedures.evaluation import evaluate
from procedures.power_sweep import PowerSweep
from procedures.running import recovering
from procedures.running.runfile import RunFile
from procedures.running.runner import Outcome
from procedures.session import Description, go_on, measure

SLOW = {
    "points": 9,
    "fluence_min_uJ_cm2": 2.5,
    "fluence_max_uJ_cm2": 4.0,
    "centre_wavelength_nm": 520.0,
    "shots_min": 20,
}
"""About 5 s a record, from 10 s on."""
QUICK = {**SLOW, "points": 2, "exposure_max_s": 0.5}
"""One record from 9 s to 12 s, one to 15 s."""


@dataclasses.dataclass
class Done:
    """A run, and the simulated bench that it was made on."""

    outcome: Outcome
    bench: Any
    log: list[tuple[float, str, str]]
    records: dict[str, Any]

    def told(self, words: str) -> list[str]:
        return [text for _, _, text in self.log if words in text]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    logging.disable(logging.CRITICAL)
    benches: list[Any] = []

    class Kept(sim_drivers.bench.SimulatedBench):
        def __init__(self, *words: Any, **more: Any) -> None:
            super().__init__(*words, **more)
            benches.append(self)

    monkeypatch.setattr(sim_drivers.bench, "SimulatedBench", Kept)

    def carry(values: dict[str, Any], *faults: str, seed: int = 3) -> Done:
        text = f"[pump]\npulses_per_reading = 10\n[simulation]\nseed = {seed}\n"
        for fault in faults:
            device, kind, *rest = fault.split()
            text += f"[[simulation.faults]]\ndevice = '{device}'\nkind = '{kind}'\n"
            text += "".join(f"{word.replace('=', ' = ')}\n" for word in rest)
        outcome = measure(
            "power-sweep",
            values,
            config.parse(text, "bench.toml"),
            Description("film", "1", "tester"),
            tmp_path,
            lambda _line: None,
            quiet=True,
        )
        with RunFile(outcome.path) as file:
            assert file.status == outcome.status
            assert file.rows_complete == outcome.records
            names = file.columns
            records = {name: np.asarray(file.records(name)) for name in names}
            return Done(outcome, benches[-1], list(file.log), records)

    yield carry
    logging.disable(logging.NOTSET)


# ---- faults that pass ----


@pytest.mark.parametrize(
    ("device", "kinds"),
    [
        ("shutter", "silence timeout garbage disconnect stuck restart"),
        ("attenuator", "silence timeout garbage disconnect stuck restart"),
        ("energy_meter", "silence timeout garbage disconnect sensor restart"),
        ("monochromator", "silence timeout garbage disconnect stuck restart"),
        ("camera", "silence timeout disconnect stuck sensor restart"),
    ],
)
def test_a_run_gets_over_what_passes(run: Any, device: str, kinds: str) -> None:
    faults = [
        f"{device} {kind} after_s={12 + 7 * number} for_s=3.0"
        for number, kind in enumerate(kinds.split())
    ]
    done = run(SLOW, *faults)
    assert (done.outcome.status, done.outcome.exit_code) == ("finished", 0), done.outcome.error
    assert done.outcome.records == 9
    assert all(fault.begun for fault in done.bench.faults._faults)
    assert not done.bench.world.shutter_open
    records = done.records
    assert np.allclose(records["fluence"], records["fluence_setpoint"], rtol=0.15)
    assert np.all(np.diff(records["time"]) > 0)
    # What light there was on the sample has been counted, what the retries cost included.
    assert records["shots_on_sample"][-1] > 0.97 * done.bench.world.shots_on_sample
    assert done.told("retry 1 of 3")
    # Every spectrum is one of this film in this window: bright where it emits, dark beside.
    net = records["spectra"] - records["background"].astype(float)
    middle = net[:, 300:700].mean(axis=1) / records["shots"] / records["fluence"]
    assert np.allclose(middle, np.median(middle), rtol=0.5)
    assert np.all(np.abs(net[:, -60:].mean(axis=1)) < 0.2 * net[:, 300:700].mean(axis=1))


@pytest.mark.parametrize("kind", ["disconnect", "limit", "stuck", "restart"])
def test_a_slit_gets_over_what_passes_and_is_homed_again(run: Any, kind: str) -> None:
    values = {**SLOW, "points": 1, "fluence_max_uJ_cm2": 2.5, "lengths_mm": [2.0, 1.5]}
    done = run(values, f"stripe {kind} after_s=33.0 for_s=4.0")
    assert done.outcome.status == "finished", done.outcome.error
    assert np.allclose(done.records["stripe_length"], [3.0, 2.0, 1.5], atol=0.01)
    stage = done.bench.devices["stripe"]
    assert stage.true_position_mm == pytest.approx(1.5, abs=0.01)
    lost = kind in ("limit", "stuck", "restart")
    assert stage.homings == 1 + lost
    assert bool(done.told("stripe: opening it again")) >= lost


def test_saturation_that_passes_is_flagged_and_no_more(run: Any) -> None:
    done = run({**SLOW, "points": 5}, "camera saturate after_s=16.0 for_s=6.0")
    assert done.outcome.status == "finished"
    assert 0 < done.records["saturated"].sum() < 5


def test_a_drifting_laser_is_measured(run: Any) -> None:
    done = run(SLOW, "laser laser_drift after_s=5.0")
    assert done.outcome.status == "finished"
    share = done.records["fluence"] / done.records["fluence_setpoint"]
    assert share[-1] < 0.96 * share[0]


def test_the_threshold_is_found_through_a_storm(run: Any) -> None:
    storm = (
        "shutter silence probability=0.004",
        "shutter disconnect probability=0.001",
        "attenuator garbage probability=0.005",
        "attenuator restart after_s=25.0",
        "energy_meter garbage probability=0.0005",
        "camera disconnect probability=0.006",
        "monochromator restart after_s=45.0",
        "laser laser_off after_s=80.0 for_s=100.0",
    )
    done = run({"points": 20, "fluence_min_uJ_cm2": 4.0, "centre_wavelength_nm": 520.0}, *storm)
    assert (done.outcome.status, done.outcome.records) == ("finished", 20)
    assert len(done.told("retry")) >= 4
    threshold = evaluate(done.outcome.path).analysis.results["threshold_uJ_cm2"]
    assert abs(threshold.value - 22.0) < max(2.0 * threshold.stderr, 1.5)
    assert threshold.stderr < 2.0


# ---- faults that stay ----


@pytest.mark.parametrize(
    "fault",
    [
        "shutter silence after_s=10.5",
        "shutter stuck after_s=10.5",
        "shutter identity after_s=10.5",
        "attenuator stuck after_s=10.5",
        "attenuator identity after_s=10.5",
        "energy_meter timeout after_s=10.5",
        "energy_meter sensor after_s=10.5",
        "monochromator restart after_s=10.5 for_s=1e6",
        "monochromator garbage after_s=10.5",
        "camera disconnect after_s=10.5 for_s=1e6",
        "camera identity after_s=10.5",
        "laser laser_off after_s=10.5",
    ],
)
def test_a_run_tells_of_what_stays(run: Any, fault: str) -> None:
    done = run(QUICK, fault)
    device, kind, *_ = fault.split()
    assert (done.outcome.status, done.outcome.exit_code) == ("failed", 1)
    assert str(done.outcome.error).startswith(device)
    assert done.outcome.records < 2
    assert done.told(f"failed: {device}")
    retried = len(done.told("retry"))
    if kind == "identity":
        assert retried == 1  # for the link; for another instrument, never
    elif kind != "laser_off":
        assert "given up after 3 retries" in str(done.outcome.error)
        assert retried >= 3
    world = done.bench.world
    if device == "shutter":
        assert world.transmission() < 1e-3  # it cannot be closed: the light is stopped otherwise
    else:
        assert not world.shutter_open


def test_another_instrument_from_the_start(run: Any) -> None:
    done = run(QUICK, "attenuator identity after_s=0.0")
    assert done.outcome.exit_code == 1
    assert str(done.outcome.error).startswith("attenuator at sim")
    assert done.outcome.records == 0


def test_a_failed_run_is_resumed_when_the_instrument_is_back(run: Any, tmp_path: Path) -> None:
    done = run({**QUICK, "points": 4}, "camera disconnect after_s=14.0 for_s=100.0")
    assert (done.outcome.status, 0 < done.outcome.records < 4) == ("failed", True)
    well = tmp_path / "well.toml"
    well.write_text("[pump]\npulses_per_reading = 10\n[simulation]\nseed = 3\n")
    again = go_on(done.outcome.path, well, lambda _line: None, quiet=True)
    assert (again.status, again.records) == ("finished", 4)


# ---- how it is done ----


def test_the_laser_is_waited_for_and_the_gap_is_told(run: Any) -> None:
    done = run({**SLOW, "points": 3}, "laser laser_off after_s=14.0 for_s=300.0")
    assert (done.outcome.status, done.outcome.records) == ("finished", 3)
    (gone,) = done.told("laser: no pulses")
    (back,) = done.told("laser: the pulses are back")
    assert "none were seen from" in back
    assert float(back.rpartition("(")[2].removesuffix(" s)")) == pytest.approx(297.0, abs=8.0)
    assert "600 s" in gone
    assert np.diff(done.records["time"]).max() > 295.0


def test_a_moved_window_is_never_recorded(run: Any) -> None:
    done = run({**SLOW, "points": 3}, "monochromator restart after_s=14.0")
    assert done.outcome.records == 3
    assert done.told("instead of about 520 nm")
    with RunFile(done.outcome.path) as file:
        assert 515.0 < float(file.axis("wavelength").mean()) < 525.0


def test_light_that_could_not_be_stopped_is_counted(run: Any) -> None:
    done = run({**SLOW, "points": 3}, "shutter stuck after_s=12.0 for_s=8.0")
    assert done.outcome.status == "finished", done.outcome.error
    counted = done.records["shots_on_sample"][-1]
    assert counted >= 0.98 * done.bench.world.shots_on_sample
    assert done.records["dose"][-1] >= 0.9 * done.bench.world.dose_J_cm2


def test_an_abort_ends_the_waiting_at_once(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wait = recovering.Recovery._wait
    waited: list[float] = []

    def aborting(self: recovering.Recovery, seconds: float) -> None:
        waited.append(self._bench.clock.now())
        if seconds > 20.0:
            self._measurement.control.abort()
        wait(self, seconds)

    monkeypatch.setattr(recovering.Recovery, "_wait", aborting)
    done = run(QUICK, "camera silence after_s=10.5")
    assert (done.outcome.status, done.outcome.exit_code) == ("aborted", 130)
    ended = done.log[-1][0]
    assert ended - waited[-1] < 2.0
    assert not done.bench.world.shutter_open


def test_a_resumed_run_meets_the_same_faults(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = (
        "shutter garbage probability=0.002",
        "shutter silence probability=0.002",
        "attenuator garbage probability=0.005",
        "attenuator stuck after_s=30.0 for_s=3.0",
        "energy_meter silence probability=0.0006",
        "monochromator disconnect probability=0.002",
        "camera silence probability=0.02",
        "laser laser_off after_s=40.0 for_s=20.0",
        "laser laser_drift after_s=15.0",
    )
    whole = run(SLOW, *faults, seed=4)
    assert whole.outcome.status == "finished", whole.outcome.error
    assert len(whole.told("retry")) >= 2
    record = PowerSweep.record
    for stop in (3,):

        def part(self: PowerSweep, point: Any, stop: int = stop) -> Any:
            found = record(self, point)
            if point == self.plan()[stop]:
                self.control.abort()
            return found

        with monkeypatch.context() as patch:
            patch.setattr(PowerSweep, "record", part)
            broken = run(SLOW, *faults, seed=4)
        assert broken.outcome.records == stop + 1
        resumed = go_on(broken.outcome.path, None, lambda _line: None, quiet=True)
        assert resumed.status == "finished", resumed.error
        with RunFile(resumed.path) as file:
            assert np.array_equal(file.records("spectra"), whole.records["spectra"])
            assert np.allclose(file.records("fluence"), whole.records["fluence"], rtol=1e-12)
            assert np.array_equal(file.records("shots_on_sample"), whole.records["shots_on_sample"])


def test_what_a_look_takes_is_not_counted_with_the_next_record() -> None:
    """Else a resumed run, whose next record begins after the look, would look less often."""
    clock = VirtualClock(1.7e9)
    looks: list[float] = []

    def record(_point: Any) -> dict[str, Any]:
        clock.sleep(0.1)
        return {}

    def look() -> Any:
        looks.append(clock.now() - 1.7e9)
        clock.sleep(1.0)
        return None

    instruments = SimpleNamespace(get=lambda _role: look())
    bench = SimpleNamespace(clock=clock, spectrograph=None, instruments=instruments)
    recovery = recovering.Recovery(
        SimpleNamespace(record=record),  # type: ignore[arg-type]
        bench,  # type: ignore[arg-type]
        lambda _level, _text: None,
    )
    recovery.begin()
    for _ in range(100):
        recovery.take({})
    assert looks == pytest.approx([5.0, 10.0], abs=0.11)
