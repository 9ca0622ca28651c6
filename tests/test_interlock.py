"""The interlock: what trips it, that the shutter closes, that runs end with 3 and say why."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from instruments import config
from instruments.bench import Bench, open_bench
from instruments.errors import ConfigError, InstrumentError, InterlockTripped
from procedures.running.interlock import Interlock
from procedures.running.runfile import RunFile
from procedures.running.runner import Outcome
from procedures.running.signals import Stopped
from procedures.session import Control, Description, go_on, measure

QUICK = {
    "points": 5,
    "fluence_min_uJ_cm2": 10.0,
    "fluence_max_uJ_cm2": 20.0,
    "centre_wavelength_nm": 520.0,
}
FILM = ("attenuator", "shutter", "monochromator", "camera")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def run(folder: Path, text: str, **values: Any) -> Outcome:
    text = f"[pump]\npulses_per_reading = 20\n{text}"
    return measure(
        "power-sweep",
        {**QUICK, **values},
        config.parse(text, str(folder / "bench.toml")),
        Description("film", "A1"),
        folder,
        lambda _line: None,
        quiet=True,
    )


def told(outcome: Outcome) -> str:
    with RunFile(outcome.path) as file:
        assert file.status == outcome.status
        return "\n".join(text for _, _, text in file.log)


@contextmanager
def watched(text: str, *roles: str, measurement: str = "power-sweep") -> Iterator[Any]:
    lines: list[str] = []
    parsed = config.parse(text, "bench.toml")
    with (
        open_bench(
            parsed, roles or FILM, measurement=measurement, report=lambda _line: None
        ) as bench,
        Interlock(bench, lambda _level, line: lines.append(line)) as interlock,
    ):
        yield bench, interlock, lines


# ---- in runs ----


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("pulse_energy_max_J = 3.5e-8", "at most 3.5e-08 J are allowed"),
        ("pulse_energy_min_J = 5e-8", "at least 5e-08 J are wanted"),
        ("rule = 'shots_on_sample < 300'", "does not hold: shots_on_sample = "),
        ("rule = 'fluence_uJ_cm2 < 15'", "does not hold: fluence_uJ_cm2 = "),
    ],
)
def test_a_run_is_ended_with_3_and_its_file_says_why(
    tmp_path: Path, table: str, words: str
) -> None:
    outcome = run(tmp_path, f"[simulation]\n[interlock]\n{table}\n")
    assert (outcome.status, outcome.exit_code) == ("aborted", 3)
    assert isinstance(outcome.error, InterlockTripped)
    assert outcome.records < 5
    log = told(outcome)
    assert words in log
    assert "closing the shutter" in log
    assert "interlock: the shutter is closed" in log


def test_what_is_well_is_left_alone_and_resuming_gives_the_same(tmp_path: Path) -> None:
    text = "[simulation]\n[interlock]\nrule = 'light_s < 30'\n"
    whole = run(tmp_path, text)
    assert whole.exit_code == 0
    stop = run(tmp_path, text.replace("light_s < 30", "shots_on_sample < 5500"))
    assert (stop.exit_code, 0 < stop.records < 5) == (3, True)
    again = go_on(stop.path, None, lambda _line: None, quiet=True)
    assert again.exit_code == 3
    (tmp_path / "on.toml").write_text(f"[pump]\npulses_per_reading = 20\n{text}")
    done = go_on(stop.path, tmp_path / "on.toml", lambda _line: None, quiet=True)
    assert done.status == "finished"
    with RunFile(whole.path) as one, RunFile(done.path) as two:
        for name in ("fluence", "spectra", "exposure", "shots_on_sample"):
            assert np.array_equal(one.records(name), two.records(name)), name


class StopsAfter:
    """Ends a run after so many records."""

    def __init__(self, control: Control, records: int) -> None:
        self._control, self._left = control, records

    def started(self, *_: Any) -> None:
        pass

    def progress(self, _percent: float) -> None:
        pass

    def recorded(self, _record: Any) -> None:
        self._left -= 1
        if not self._left:
            self._control.abort()


def test_a_run_that_was_watched_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    bench = tmp_path / "bench.toml"
    bench.write_text("[simulation]\n[interlock]\npulse_energy_max_J = 1e-6\nstale_after_s = 2.0\n")
    values = {**QUICK, "points": 4}
    control = Control()

    def measured(name: str, **more: Any) -> Outcome:
        about = Description()
        out = tmp_path / name
        loaded = config.load(bench)
        return measure("power-sweep", values, loaded, about, out, print, quiet=True, **more)

    whole = measured("whole")
    stopped = measured("parted", control=control, listener=StopsAfter(control, 1))
    assert (whole.status, stopped.status, stopped.records) == ("finished", "aborted", 1)
    assert go_on(stopped.path, None, lambda _line: None, quiet=True).status == "finished"
    with RunFile(whole.path) as one, RunFile(stopped.path) as two:
        for name in set(one.columns) - {"time"}:
            assert np.array_equal(one.records(name), two.records(name)), name


def test_a_laser_that_is_too_strong_is_stopped_in_the_middle_of_an_exposure(
    tmp_path: Path,
) -> None:
    outcome = run(
        tmp_path,
        "[simulation]\nclock = 'wall'\nspeed = 5.0\n[interlock]\nrule = 'light_s < 0.5'\n",
        exposure_max_s=10.0,
        fluence_min_uJ_cm2=1.0,
        fluence_max_uJ_cm2=1.1,
    )
    assert (outcome.status, outcome.exit_code) == ("aborted", 3)
    assert "does not hold: light_s" in told(outcome)


def test_a_rule_about_what_the_bench_has_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs the cryostat") as caught:
        run(tmp_path, "[simulation]\n[interlock]\nrule = 'temperature_K < 10'\n")
    assert caught.value.key == "interlock.rule"
    assert not list(tmp_path.glob("*.h5"))


# ---- outside runs ----


def shine(bench: Bench) -> None:
    bench.instruments["attenuator"].prepare()  # type: ignore[attr-defined]
    bench.pump.set_fluence(20.0)
    bench.pump.open()


def test_a_blade_that_opens_by_itself_is_closed_and_light_refused_until_reset() -> None:
    with watched("[simulation]\n[interlock]\nperiod_s = 0.5\n") as (bench, interlock, lines):
        shine(bench)
        bench.clock.sleep(10.0)
        assert not interlock.tripped
        bench.pump.shut()
        bench.clock.sleep(10.0)
        bench.instruments["shutter"].open()  # behind everybody's back
        bench.clock.sleep(5.0)
        assert "open, though it was closed" in interlock.tripped
        assert not bench.instruments["shutter"].is_open
        assert any("the shutter is closed" in line for line in lines)
        with pytest.raises(InterlockTripped):
            bench.pump.open()
        assert not bench.instruments["shutter"].is_open
        interlock.reset()
        shine(bench)
        assert bench.instruments["shutter"].is_open


@pytest.mark.parametrize("later_s", [0.0, 0.5])
def test_a_closing_that_a_signal_broke_off_is_no_fault_while_it_is_made_good(
    monkeypatch: pytest.MonkeyPatch, later_s: float
) -> None:
    def broken_off() -> None:
        raise Stopped

    with watched("[simulation]\n[interlock]\nperiod_s = 0.5\n") as (bench, interlock, lines):
        shine(bench)
        with monkeypatch.context() as patched, pytest.raises(Stopped):
            patched.setattr(bench.pump.shutter, "shut", broken_off)
            bench.pump.shut()
        bench.clock.sleep(later_s)
        interlock._read("shutter")
        interlock._judge()
        assert bool(interlock.tripped) == bool(later_s), lines


def test_readings_that_stop_coming_close_the_shutter_only_if_there_is_light() -> None:
    faults = (
        "[simulation]\n[interlock]\npulse_energy_max_J = 1e-6\nstale_after_s = 4.0\n"
        "[[simulation.faults]]\ndevice = 'energy_meter'\nkind = 'silence'\nafter_s = 100.0\n"
        "for_s = 60.0\n"
    )
    with watched(faults) as (bench, interlock, _):
        shine(bench)
        bench.pump.shut()
        bench.clock.sleep(170.0 - (bench.clock.now() - bench.simulation.world.start_s))
        bench.clock.sleep(10.0)
        assert not interlock.tripped
    with watched(faults) as (bench, interlock, _):
        shine(bench)
        bench.clock.sleep(120.0)
        assert "no reading of the energy_meter for" in interlock.tripped
        assert not bench.instruments["shutter"].is_open


def test_a_sample_that_gets_too_warm_closes_the_shutter_and_ends_the_heating() -> None:
    text = "[simulation]\n[interlock]\ntemperature_max_K = 150.0\n[limits]\nheater_range_max = 3\n"
    with watched(text, "cryostat", "shutter", measurement="biexciton") as (bench, interlock, lines):
        cryostat = bench.instruments["cryostat"]
        if cryostat.temperature_K > 150.0:
            bench.clock.sleep(3.0)
            assert "the sample is at" in interlock.tripped
            assert any("heater is off" in line for line in lines)
            assert cryostat.heater_percent == 0.0
            return
        cryostat.set_temperature(200.0)
        for _ in range(600):
            bench.clock.sleep(10.0)
            if interlock.tripped:
                break
        assert "the sample is at" in interlock.tripped
        assert any("heater is off" in line for line in lines)
        assert cryostat.heater_percent == 0.0


def test_on_the_wall_clock_it_is_closed_within_half_a_second() -> None:
    text = "[simulation]\nclock = 'wall'\n[interlock]\nrule = 'light_s < 0.3'\n"
    with watched(text, "attenuator", "shutter") as (bench, interlock, _):
        bench.pump.open()
        begun = time.monotonic()
        while not interlock.tripped or bench.simulation.world.shutter_open:
            assert time.monotonic() - begun < 3.0
            time.sleep(0.005)
        assert time.monotonic() - begun - 0.3 < 0.5
        with pytest.raises(InterlockTripped):
            bench.pump.open()


WATCHED = (
    "[simulation]\nclock = 'wall'\nspeed = 8.0\n[interlock]\nperiod_s = 1.0\nstale_after_s = 90.0\n"
    "pulse_energy_min_J = 1e-9\n"
)


def until(what: Any, limit_s: float = 3.0) -> float:
    begun = time.monotonic()
    while not what():
        assert time.monotonic() - begun < limit_s
        time.sleep(0.005)
    return time.monotonic() - begun


def test_a_laser_that_does_not_fire_is_no_stale_reading() -> None:
    with watched(WATCHED, "attenuator", "shutter", "energy_meter") as (bench, interlock, _):
        shine(bench)
        world = bench.simulation.world
        world.laser_on = False
        assert until(lambda: not world.shutter_open) < 1.0
        assert "no pulse for" in interlock.tripped or "is 0 J" in interlock.tripped


def test_pulses_beyond_the_range_are_too_strong_where_there_is_a_limit() -> None:
    text = WATCHED.replace("min_J = 1e-9", "max_J = 1.0")
    with watched(text, "attenuator", "shutter", "energy_meter") as (bench, interlock, _):
        shine(bench)
        world = bench.simulation.world
        world.source.run_away(bench.clock.now() - 1.0, 20.0)
        assert until(lambda: not world.shutter_open) < 1.0
        assert "is inf J, at most 1 J" in interlock.tripped


def test_a_shutter_that_sticks_is_not_waited_for() -> None:
    with watched(WATCHED, "attenuator", "shutter") as (bench, interlock, lines):
        shine(bench)
        world = bench.simulation.world
        bench.simulation.devices["shutter"].fault("stuck", True)
        failed: list[Exception] = []

        def close() -> None:
            try:
                bench.pump.shut()
            except InstrumentError as error:
                failed.append(error)

        thread = threading.Thread(target=close)
        thread.start()
        assert until(lambda: world.transmission() < 0.002) < 1.0
        assert world.shutter_open
        thread.join()
        assert failed
        until(lambda: any("attenuator made safe instead" in line for line in lines))
        bench.simulation.devices["shutter"].fault("stuck", False)
        bench.recover("shutter")
        until(lambda: not interlock.tripped or bench.pump.closing_since_s is None)
        assert not bench.instruments["shutter"].is_open
