"""A night: what is done, what is left out, what stops it, and how it is gone on with."""

from __future__ import annotations

import contextlib
import gc
import logging
import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from procedures.nights import stepping
from procedures.nights.drifts import Drift
from procedures.nights.expanding import expand
from procedures.nights.folder import JOURNAL, LOG, NightFolder, NotANight
from procedures.nights.forecast import check_night
from procedures.nights.night import Night, NightOutcome
from procedures.nights.page import served
from procedures.nights.plan import PlanError, parse_plan
from procedures.nights.report import write_report
from procedures.nights.view import NightView
from procedures.running import lock
from procedures.running.ledger import Ledger
from procedures.running.problems import DiskFull, WriteFailed
from procedures.running.runfile import RunFile
from procedures.running.signals import Stopped
from tests.nights import SHORT, begin, events, go_on, statuses, write_plan
from tests.runs import queued

DEAD_CAMERA = """
[simulation]
[[simulation.faults]]
device = "camera"
kind = "disconnect"
after_s = 5.0
for_s = 1e7
"""


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> NightOutcome:
    """A night without trouble: a loop, a time to wait for, a condition that does not hold."""
    return begin(
        tmp_path_factory.mktemp("calm"),
        f"""
        [night]
        name = "calm <b>"
        sample = "film"
        [[step]]
        name = "at {{spot}}"
        {SHORT}
        loop = {{ spot = ["A1", "A2"] }}
        [[step]]
        if = "the step before failed"
        {SHORT}
        [[step]]
        start = "03:00"
        if = "all steps before succeeded"
        {SHORT}
        """,
    )


def test_every_step_is_carried_out_in_its_order(calm: NightOutcome) -> None:
    assert calm.exit_code == 0
    assert statuses(calm) == ["finished", "finished", "left out", "left out"]
    rows = calm.to_json()["steps"]
    for row, spot in zip(rows[:2], ("A1", "A2"), strict=True):
        with RunFile(row["file"]) as run:
            assert (run.status, run.rows_complete) == ("finished", 1)
            assert (run.sample, run.spot) == ("film", spot)
            assert row["shots"] == run.records("shots_on_sample")[-1] > 0
    assert rows[2]["reason"] == '"the step before failed" does not hold: at A2 is finished'
    names = {path.name for path in calm.folder.iterdir()}
    assert {"plan.toml", "bench.toml", JOURNAL, LOG} <= names
    assert not any(name.endswith((".lock", ".tmp")) for name in names)
    assert "_night_calm-b" in calm.folder.name


def test_a_night_that_is_over_has_nothing_left_to_do(calm: NightOutcome) -> None:
    assert Night.found(calm.folder, None).waiting() == []
    assert len(Night.found(calm.folder / LOG, None, again=True).waiting()) == 2
    with pytest.raises(NotANight):
        Night.found(calm.folder.parent, None)


def test_waiting_for_a_time_of_day_and_for_the_cryostat_passes_on_the_benchs_clock(
    tmp_path: Path,
) -> None:
    done = begin(
        tmp_path,
        """
        [night]
        [[step]]
        measurement = "biexciton"
        parameters = { points = 1 }
        when = "cryostat below 200 K"
        [[step]]
        measurement = "biexciton"
        parameters = { points = 1 }
        when = "cryostat below 2 K"
        when_timeout_s = 7200
        """,
    )
    assert (done.exit_code, statuses(done)) == (1, ["finished", "failed"])
    first, second = done.to_json()["steps"]
    assert second["file"] is None
    assert 'waited 2.0 h in vain for "cryostat below 2 K": cryostat at' in second["reason"]
    log = (done.folder / LOG).read_text(encoding="utf-8")
    assert 'waiting for "cryostat below 200 K": cryostat at 295 K' in log
    with RunFile(first["file"]) as run:
        assert run.status == "finished"


def test_a_failed_step_is_tried_again_in_its_file_then_skipped(tmp_path: Path) -> None:
    done = begin(
        tmp_path,
        f"""
        [night]
        [[step]]
        name = "dies"
        {SHORT}
        retries = 1
        retry_wait_s = 300
        [[step]]
        if = "the step before succeeded"
        {SHORT}
        [[step]]
        if = "step dies failed"
        on_failure = "stop"
        {SHORT}
        [[step]]
        {SHORT}
        """,
        DEAD_CAMERA,
    )
    assert done.exit_code == 1
    assert statuses(done) == ["failed", "left out", "failed", "waiting"]
    assert events(done).count("try") == 3
    first = done.to_json()["steps"][0]
    assert (first["tries"], first["records"]) == (2, 0)
    assert first["reason"].startswith("camera: ")
    assert len(list(done.folder.glob("*.h5"))) == 2
    assert "stopped after the failure of" in done.reason
    # Mended in the morning: what was not come to is done, and with `again` what failed.
    (tmp_path / "bench.toml").write_text("[simulation]\n")
    went_on = go_on(done.folder, tmp_path / "bench.toml")
    assert statuses(went_on) == ["failed", "left out", "failed", "finished"]
    again = go_on(done.folder, tmp_path / "bench.toml", again=True)
    assert statuses(again) == ["finished", "finished", "left out", "finished"]
    assert again.exit_code == 0
    assert len(list(done.folder.glob("*.h5"))) == 4


def test_a_budget_ends_a_run_and_leaves_out_what_would_exceed_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"""
        [night]
        [budget]
        shots = SHOTS
        [[step]]
        {SHORT}
        [[step]]
        {SHORT.replace("points = 1", "points = 3")}
        [[step]]
        {SHORT}
        """
    night = Night.planned(
        write_plan(tmp_path, text.replace("SHOTS", "1e6")), None, tmp_path / "out"
    )
    asked = night.check(lambda _line: None)
    with pytest.raises(PlanError, match=r"budget.shots: the plan needs up to"):
        tight = Night.planned(
            write_plan(tmp_path, text.replace("SHOTS", str(asked.shots - 1))), None, tmp_path
        )
        tight.check(lambda _line: None)
    first = asked.steps[0].shots
    monkeypatch.setattr("procedures.nights.night.check_night", lambda *_: asked)
    plan = write_plan(tmp_path, text.replace("SHOTS", str(2 * first)))
    short = Night.planned(plan, None, tmp_path / "out")
    done = short.carry_out(asked, quiet=True)
    assert done.exit_code == 1
    assert statuses(done)[0] == "finished"
    assert "left out" in statuses(done)
    assert "would exceed the night's budget" in str(done.to_json()["steps"])


def test_the_budget_of_time_counts_from_the_start_that_was_waited_for(tmp_path: Path) -> None:
    text = f'[night]\nstart = "START"\n[budget]\ntime_h = 0.1\n[[step]]\n{SHORT}'
    night = Night.planned(write_plan(tmp_path, text.replace("START", "03:00")), None, tmp_path)
    asked = night.check(lambda _line: None)
    hour = (datetime.fromtimestamp(asked.clock.now()) + timedelta(hours=5)).strftime("%H:%M")
    done = begin(tmp_path, text.replace("START", hour))
    assert statuses(done) == ["finished"]
    with pytest.raises(PlanError, match=r"budget.time_h: the plan needs up to"):
        begin(tmp_path, text.replace("START", hour).replace("0.1", "0.0001"))


@pytest.mark.parametrize(
    ("extra", "key", "words"),
    [
        (
            "parameters={fluence_max_uJ_cm2=9000.0}",
            "step 2 'power-sweep': fluence",
            "point 23 of 40",
        ),
        ("cryostat_K=400", "step 2 'power-sweep': cryostat_K", "400 K was asked"),
    ],
)
def test_the_dry_run_names_the_step_that_the_bench_does_not_allow(
    tmp_path: Path, extra: str, key: str, words: str
) -> None:
    plan = f"[[step]]\n{SHORT}\n[[step]]\nmeasurement='power-sweep'\n{extra}\n"
    bench = '[simulation]\n[instruments.cryostat]\ndriver = "lakeshore-335"\n'
    file = write_plan(tmp_path, "[night]\n" + plan, bench)
    night = Night.planned(file, None, None)
    with pytest.raises(PlanError, match=words) as caught:
        night.check(lambda _line: None)
    assert caught.value.key == key
    assert not (tmp_path / "runs").exists()


def test_the_dry_run_sees_a_disk_that_is_too_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = parse_plan(f"[[step]]\n{SHORT}", "plan.toml")
    night = Night.planned(write_plan(tmp_path, "[night]\n" + f"[[step]]\n{SHORT}"), None, tmp_path)
    monkeypatch.setattr("procedures.nights.forecast._free", lambda _folder: 2.2e6)
    with pytest.raises(PlanError, match="MB are free in"):
        check_night(plan, expand(plan), night.config, tmp_path, lambda _line: None)


def test_a_night_that_was_stopped_is_gone_on_with_and_nothing_is_done_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    three = f"[night]\n[[step]]\n{SHORT}[[step]]\n{SHORT}[[step]]\n{SHORT}"
    real = stepping.run_queued
    count = 0

    def stopped_in_the_second(*arguments: Any, **more: Any) -> Any:
        nonlocal count
        count += 1
        if count == 2:
            more["control"].abort()
        return real(*arguments, **more)

    monkeypatch.setattr(stepping, "run_queued", stopped_in_the_second)
    done = begin(tmp_path, three)
    assert (done.exit_code, statuses(done)) == (130, ["finished", "aborted", "waiting"])
    files = {row["file"] for row in done.to_json()["steps"][:2]}
    orphan = queued(done.folder, "orphan")
    with open(done.folder / JOURNAL, "ab") as journal:
        journal.write(b'{"event": "result", "step": 3, "status": "fini')  # torn by a power cut
    went_on = go_on(done.folder)
    assert (went_on.exit_code, statuses(went_on)) == (0, ["finished"] * 3)
    assert count == 4
    assert not orphan.exists()
    assert files < {row["file"] for row in went_on.to_json()["steps"]}
    assert [row["records"] for row in went_on.to_json()["steps"]] == [1, 1, 1]


def test_a_run_that_finished_before_its_night_could_say_so_is_not_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = NightFolder.note

    def killed(self: NightFolder, event: str, time_s: float, **about: Any) -> None:
        if event == "result":
            raise SystemExit("kill -9")
        real(self, event, time_s, **about)

    monkeypatch.setattr(NightFolder, "note", killed)
    with pytest.raises(SystemExit):
        begin(tmp_path, f"[night]\n[[step]]\n{SHORT}")
    monkeypatch.setattr(NightFolder, "note", real)
    (folder,) = (tmp_path / "runs").glob("*_night_*")
    before = NightFolder(folder).state().steps[1]
    assert before.status == "running"
    done = go_on(folder)
    assert (done.exit_code, statuses(done)) == (0, ["finished"])
    assert events(done).count("try") == 1


def test_two_processes_never_carry_out_one_night(calm: NightOutcome) -> None:
    night = Night.found(calm.folder, None, again=True)
    forecast = night.check(lambda _line: None)
    with (
        NightFolder(calm.folder).held(),
        pytest.raises(lock.FileInUse, match="carried out by process"),
    ):
        night.carry_out(forecast, quiet=True)


def test_a_disk_that_runs_full_ends_the_night_and_it_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise DiskFull("the disk is full")

    monkeypatch.setattr(stepping, "need_space", full)
    text = f"[night]\n[[step]]\n{SHORT}[[step]]\n{SHORT}"
    done = begin(tmp_path, text)
    assert (done.exit_code, done.reason) == (1, "the disk is full")
    assert statuses(done) == ["aborted", "waiting"]
    monkeypatch.undo()
    assert go_on(done.folder).exit_code == 0


def test_a_folder_that_vanishes_ends_the_night_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = NightFolder.note

    def gone(self: NightFolder, event: str, time_s: float, **about: Any) -> None:
        if event == "try":
            self.path.rename(tmp_path / "away")
        real(self, event, time_s, **about)

    monkeypatch.setattr(NightFolder, "note", gone)
    done = begin(tmp_path, f"[night]\n[[step]]\n{SHORT}[[step]]\n{SHORT}")
    assert (done.exit_code, statuses(done)) == (1, ["aborted", "waiting"])
    assert "cannot be written" in done.reason
    assert not done.folder.exists()  # and was not made anew
    (tmp_path / "away" / f"{JOURNAL}.lock").unlink()  # its process lives: it is this one
    (tmp_path / "away").rename(done.folder)
    monkeypatch.undo()
    assert statuses(go_on(done.folder)) == ["finished", "finished"]


def test_ctrl_c_while_waiting_ends_the_night_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any) -> None:
        raise Stopped

    monkeypatch.setattr(stepping.Stepping, "wait_until", stopped)
    done = begin(tmp_path, f'[night]\nstart = "03:00"\n[[step]]\n{SHORT}')
    assert (done.exit_code, statuses(done)) == (130, ["waiting"])


def test_the_journal_is_not_begun_anew_where_it_is_gone(tmp_path: Path) -> None:
    folder = NightFolder.create(tmp_path, "n", 1.7e9, "plan", "")
    (folder.path / JOURNAL).unlink()
    with pytest.raises(WriteFailed):
        folder.note("began", 1.7e9)


# ---- being seen ---------------------------------------------------------------------------------


@contextlib.contextmanager
def page_of(view: NightView) -> Iterator[str]:
    with served(view, 0, lambda _line: None) as port:
        yield f"127.0.0.1:{port}"


def asked(url: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(f"http://{url}", method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(errors="replace")


def test_the_page_shows_the_night_and_takes_nothing(tmp_path: Path) -> None:
    pages: list[str] = []
    asked_inside = threading.Event()

    @contextlib.contextmanager
    def watch(view: NightView) -> Iterator[None]:
        real = view.recorded

        def recorded(record: Any) -> None:
            real(record)
            pages.append(asked(f"{url}/")[1])
            pages.append(asked(f"{url}/figure.png?1")[1])
            asked_inside.set()

        view.recorded = recorded  # type: ignore[method-assign]
        with page_of(view) as url:
            yield
            pages.append(asked(f"{url}/status.json")[1])
            assert asked(f"{url}/", "POST")[0] == 405
            assert asked(f"{url}/", "DELETE")[0] == 405
            assert asked(f"{url}/", Host="evil.example:80")[0] == 403
            assert asked(f"{url}/", Host="localhost:4000")[0] == 200
            assert asked(f"{url}/../plan.toml")[0] == 404

    done = begin(
        tmp_path,
        f"[night]\nname = 'x <script>alert(1)</script>'\n[[step]]\nname='a & b'\n{SHORT}",
        watch=watch,
    )
    assert done.exit_code == 0
    assert asked_inside.is_set()
    html, figure, status = pages
    assert "x &lt;script&gt;" in html
    assert "<script" not in html
    assert "a &amp; b" in html
    assert "running" in html
    assert figure.startswith("�PNG")
    assert '"ended": true' in status


# ---- the morning --------------------------------------------------------------------------------


def test_the_report_is_one_page_that_says_what_ran_and_what_did_not(calm: NightOutcome) -> None:
    page = write_report(calm.folder).read_text(encoding="utf-8")
    assert "calm &lt;b&gt;" in page
    assert "2 of 4 steps finished" in page
    assert page.count('src="data:image/') == 3  # two runs and the drifts
    assert 'src="http' not in page and "<script" not in page
    assert "&#34;the step before failed&#34; does not hold" in page
    assert "laser energy over its nominal value" in page
    assert "threshold_uJ_cm2" in page
    done = calm.to_json()["steps"][0]
    assert f"{done['shots']:,}" in page


def test_the_report_of_a_night_with_rubbish_in_it_is_written_all_the_same(
    calm: NightOutcome, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(calm.folder, folder)
    first, second = (Path(row["file"]).name for row in calm.to_json()["steps"][:2])
    (folder / first).write_bytes(b"rubbish")
    (folder / second).unlink()
    with open(folder / JOURNAL, "ab") as journal:
        journal.write(b'\n[1]\nnull\n{"event": "unheard of"}\n\xff\xfe\n')
    page = write_report(folder, tmp_path / "out" / "page.html").read_text(encoding="utf-8")
    assert page.count("is not a readable run file") == 2
    assert 'src="data:image' not in page


def test_a_drift_is_a_line_through_the_means_of_the_steps() -> None:
    hours = np.repeat([0.0, 1.0, 2.0, 3.0], 5)
    noise = np.tile([-1.0, 0.0, 0.0, 0.0, 1.0], 4) * 0.01
    drift = Drift("x", "1", 3600 * hours, 1.0 - 0.02 * hours + noise, hours.astype(int))
    slope, error = drift.rate() or (0.0, 0.0)
    assert slope == pytest.approx(-0.02)
    assert error == pytest.approx(0.0, abs=1e-9)
    assert Drift("x", "1", hours[:4], hours[:4], hours[:4].astype(int)).rate() is None


def test_a_run_gone_on_with_days_later_is_the_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    three = SHORT.replace("points = 1", "points = 3")
    whole = begin(tmp_path / "whole", f"[night]\n[[step]]\n{three}")
    recorded = stepping._Follower.recorded

    def stops(self: Any, record: Any) -> None:
        recorded(self, record)
        self._control.abort()

    monkeypatch.setattr(stepping._Follower, "recorded", stops)
    done = begin(tmp_path / "parted", f"[night]\n[[step]]\n{three}")
    assert statuses(done) == ["aborted"]
    monkeypatch.undo()
    night = Night.found(done.folder, None)
    forecast = night.check(lambda _line: None)
    forecast.clock.sleep(3 * 86400.0)
    begun_s = forecast.clock.now()
    went_on = night.carry_out(forecast, quiet=True)
    assert (went_on.exit_code, statuses(went_on)) == (0, ["finished"])
    state = NightFolder(done.folder).state()
    assert begun_s < state.last_s < begun_s + 3600.0
    with (
        RunFile(whole.to_json()["steps"][0]["file"]) as expected,
        RunFile(went_on.to_json()["steps"][0]["file"]) as found,
    ):
        for name in set(expected.columns) - {"time"}:
            assert np.array_equal(expected.records(name), found.records(name)), name
        assert np.allclose(np.diff(expected.records("time")), np.diff(found.records("time")))
        assert all(abs(moment - found.log[0][0]) < 60.0 for moment, _, _ in found.log)


def test_night_after_night_leaves_nothing_behind(tmp_path: Path) -> None:
    counts, handlers = [], []
    for number in range(3):
        begin(tmp_path / str(number), f"[night]\n[[step]]\n{SHORT}")
        gc.collect()
        counts.append(len(gc.get_objects()))
        known = list(logging.Logger.manager.loggerDict.values())
        handlers.append(sum(len(one.handlers) for one in known if isinstance(one, logging.Logger)))
    assert counts[2] - counts[1] < 500  # a bench that is kept alive has thousands
    assert handlers[2] <= handlers[1]  # other tests of the process may have left some


def test_the_ledger_is_asked_before_and_after(tmp_path: Path) -> None:
    bench = "[simulation]\n[limits]\ndose_max_J_cm2 = {}\n"
    step = f'[[step]]\nsample = "film"\nspot = "A1"\n{SHORT}'
    begun = begin(tmp_path / "1", f"[night]\n{step}", "[simulation]\n")
    had = begun.to_json()["steps"][0]["dose_J_cm2"]
    ledger = Ledger(tmp_path / "1" / "runs")
    assert ledger.spot("film", "A1")[1] == pytest.approx(had)
    plan = write_plan(tmp_path / "1", f"[night]\n{step}{step}", bench.format(1e3))
    forecast = Night.planned(plan, None, None).check(lambda _line: None)
    (spot,) = forecast.spots
    assert (spot.had_J_cm2, spot.allowed_J_cm2) == (pytest.approx(had), 1e3)
    one = forecast.steps[0].dose_J_cm2
    assert spot.needs_J_cm2 == pytest.approx(2.0 * one)
    plan = write_plan(tmp_path / "1", f"[night]\n{step}{step}", bench.format(had + 1.5 * one))
    with pytest.raises(PlanError, match="earlier steps give it") as caught:
        Night.planned(plan, None, None).check(lambda _line: None)
    assert caught.value.key is not None and caught.value.key.startswith("step 2")
    # Somebody else gives the spot light after the dry run: the step is not begun.
    plan = write_plan(tmp_path / "1", f"[night]\n{step}", bench.format(had + 1.5 * one))
    night = Night.planned(plan, None, None)
    forecast = night.check(lambda _line: None)
    ledger.write("part", ("run", "file", "film", "A1", "by hand"), 10, one)
    done = night.carry_out(forecast, quiet=True)
    assert (done.exit_code, statuses(done)) == (1, ["left out"])
    assert "film A1 has had" in done.to_json()["steps"][0]["reason"]
    page = write_report(begun.folder).read_text(encoding="utf-8")
    assert f"{had + one:.4g}" in page and "as the dose ledger knows it" in page


def test_runs_differ_in_their_noise_and_the_same_night_is_the_same(tmp_path: Path) -> None:
    text = f'[night]\n[[step]]\n{SHORT}loop = {{ spot = ["A1", "A2"] }}\n'

    def spectra(folder: Path) -> list[Any]:
        found = []
        for row in begin(folder, text).to_json()["steps"]:
            with RunFile(row["file"]) as run:
                found.append((run.draw, run.records("spectra")[0], run.facts["wavelength_unc_nm"]))
        return found

    (one, two), (again, _) = spectra(tmp_path / "1"), spectra(tmp_path / "2")
    assert one[0] != two[0]
    assert not np.array_equal(one[1], two[1])
    assert abs(one[1].sum(dtype=float) / two[1].sum(dtype=float) - 1.0) < 0.1
    assert one[0] == again[0]
    assert np.array_equal(one[1], again[1])
