"""The window over the simulated bench: every path an operator takes, without a screen."""

from __future__ import annotations

import csv
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PyQt5 import QtCore, QtTest, QtWidgets

from gui import theme
from gui.snapshot import Frame
from gui.words import count
from procedures.running.ledger import Ledger
from procedures.running.runfile import RunFile
from tests.windows import FEW, begin, ended, leave, make_window, opened, said, until

Key = QtCore.Qt.Key


@pytest.fixture(scope="module")
def window(qapp: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One window for all tests of this file: a bench takes a second to open."""
    made = opened(tmp_path_factory.mktemp("window"))
    yield made
    leave(made)


@pytest.fixture(autouse=True)
def idle(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test began has ended when the next one begins."""
    yield
    if "window" in request.fixturenames:
        window = request.getfixturevalue("window")
        window.conductor.queue_on = False
        if window.conductor.run.active:
            window.conductor.run.abort()
            until(lambda: not window.conductor.busy, "the run to end")
        window.set_live(False)


def card(window: Any, role: str) -> Any:
    return window.panel.cards[role]


# ---- the bench --------------------------------------------------------------------------------


def test_every_instrument_tells_its_state_in_words(window: Any) -> None:
    until(lambda: len(window.panel.cards) == 6, "all cards")
    until(lambda: card(window, "camera").reading.text() != "", "the camera's reading")
    for role, view in window.view.instruments.items():
        shown = card(window, role)
        assert shown.words.text(), role
        assert shown.name.text(), role
        assert view.state in ("ok", "warn"), (role, view)
    assert "SIMULATED" in window.header.badge.text()
    assert window.header.shutter.text() == "SHUTTER CLOSED"


def test_fluence_is_set_within_limits_and_refused_outside(window: Any) -> None:
    field = card(window, "attenuator")._fields["fluence_uJ_cm2"]
    until(lambda: field._limits is not None, "limits of the fluence")
    field.setText("5000")
    field.textEdited.emit("5000")
    assert field.property("state") == "bad"
    assert "outside" in field.toolTip()
    field.setText("57 µJ/cm²")
    field.textEdited.emit("57")
    assert field.property("state") == "edited"
    QtTest.QTest.keyClick(field, Key.Key_Return)
    until(lambda: said(window, "µJ/cm² (57 asked)"), "the fluence to be set")
    until(lambda: window.view.beam and window.view.beam.fluence_uJ_cm2, "a fluence")
    assert window.view.beam.fluence_uJ_cm2 == pytest.approx(57.0, rel=0.1)
    until(lambda: "µJ/cm²" in window.header.values["fluence"].text(), "the fluence at the top")


def test_stripe_centre_exposure_and_grating_by_hand(window: Any) -> None:
    for role, key, value, words in (
        ("stripe", "length_mm", "1.5", "stripe 1.5"),
        ("monochromator", "wavelength_nm", "520", "centre wavelength 520"),
        ("camera", "exposure_s", "0.05", "exposure 0.05"),
    ):
        field = card(window, role)._fields[key]
        field.setText(value)
        field.textEdited.emit(value)
        QtTest.QTest.keyClick(field, Key.Key_Return)
        until(lambda words=words: said(window, words), words)
    until(lambda: card(window, "monochromator")._grating.count() > 1, "gratings")
    grating = card(window, "monochromator")._grating
    grating.setCurrentIndex(1)
    grating.activated.emit(1)
    until(lambda: said(window, "grating 2"), "the grating to turn")
    grating.setCurrentIndex(0)
    grating.activated.emit(0)
    until(lambda: said(window, "grating 1"), "the grating to turn back")


def test_escape_closes_the_shutter_wherever_the_focus_is(window: Any) -> None:
    card(window, "shutter")._toggle.click()
    until(lambda: window.view.shutter_open, "the shutter to open")
    assert window.header.shutter.text() == "SHUTTER OPEN"
    window.log.search.setFocus()
    QtTest.QTest.keyClick(window.windowHandle(), Key.Key_Escape)
    until(lambda: window.view.shutter_open is False, "the shutter to close")
    until(lambda: said(window, "shutter closed by the operator"), "the log")
    assert not window.worker.bench.instruments["shutter"].is_open


def test_the_button_closes_it_while_the_bench_is_busy(window: Any) -> None:
    import threading

    window.worker.ask("open", lambda bench: bench.pump.open())
    until(lambda: window.view.shutter_open, "the shutter to open")
    wait = threading.Event()
    window.worker.ask("something long", lambda _bench: wait.wait(20.0) and None)
    shutter = window.worker.bench.instruments["shutter"]
    before = len([line for line in window.log.lines if "closed by the operator" in line.text])
    window.header.close_button.click()
    until(
        lambda: len([x for x in window.log.lines if "closed by the operator" in x.text]) > before,
        "the shutter to be closed while the bench's thread is busy",
    )
    assert not shutter.is_open
    wait.set()


def test_an_instrument_that_falls_silent_is_red_and_is_reopened(window: Any) -> None:
    meter = window.worker.bench.instruments["energy_meter"]
    original = type(meter).status
    from instruments.errors import NoReply

    def silent(_self: Any) -> Any:
        raise NoReply("PM103: no answer")

    type(meter).status = silent
    try:
        until(lambda: card(window, "energy_meter").dot._state == "bad", "the meter to be red")
        until(lambda: said(window, "Energy meter: PM103: no answer", "error"), "the log")
        assert "Check its power and cable" in card(window, "energy_meter").words.text()
        assert "1 in trouble" in window.panel.summary.text()
    finally:
        type(meter).status = original
    until(lambda: card(window, "energy_meter").dot._state == "ok", "the meter to be back")
    until(lambda: said(window, "it answers again"), "the log")


def test_a_tripped_interlock_is_told_and_can_be_reset(window: Any) -> None:
    watch = window.worker.bench.interlock
    assert watch is not None, "the bench is watched outside runs, too"
    watch._trip("the test asked for it")
    until(lambda: "the test asked for it" in window.panel.notice.text(), "the interlock's reason")
    card(window, "shutter")._toggle.click()
    until(lambda: said(window, "interlock: the test asked for it", "error"), "the refusal")
    assert not window.worker.bench.instruments["shutter"].is_open
    window.panel.reset.click()
    until(lambda: window.view.tripped == "", "the reset")


# ---- live -------------------------------------------------------------------------------------


def test_live_view_background_and_read_outs(window: Any) -> None:
    window.worker.ask("fluence", lambda bench: bench.pump.set_fluence(57.0))
    window.worker.ask("centre", lambda bench: bench.spectrograph.go_to(520.0))
    window.tabs.setCurrentWidget(window.live)
    live = window.live
    live.background_button.click()
    until(lambda: live._background is not None, "a background")
    card(window, "shutter")._toggle.click()
    until(lambda: window.view.shutter_open, "the shutter to open")
    live.live_button.click()
    drawn = live.drawn
    until(lambda: live.drawn > drawn + 5 and "nm" in live.values["peak"].text(), "live spectra")
    assert float(live.values["peak"].text().split()[0]) == pytest.approx(524.0, abs=3.0)
    assert float(live.values["width"].text().split()[0]) == pytest.approx(5.0, abs=2.0)
    until(lambda: "frames/s" in live.rate.text(), "how many a second")
    live.region_on.setChecked(True)
    assert float(live.values["sum"].text()) > 0.0
    live.region_on.setChecked(False)
    live.plot.hold.setChecked(True)
    assert live.plot.item.getViewBox().autoRangeEnabled() == [False, False]
    live.plot.hold.setChecked(False)
    live.live_button.click()
    window.close_shutter()
    until(lambda: window.view.shutter_open is False, "the shutter to close")
    assert not window.worker.live


def test_saturated_pixels_are_red_and_said(window: Any) -> None:
    axis = np.linspace(500.0, 540.0, 400)
    counts = np.full(400, 300.0)
    counts[100:110] = 65535.0
    window.live.show_frame(Frame(1, axis, counts, 65535.0, 0.1, 0.0))
    assert window.live.saturation.text() == "10 SATURATED"
    assert window.live.saturation.property("chip") == "bad"
    assert len(window.live._red.getData()[0]) == 10


def test_a_background_of_another_exposure_is_not_subtracted(window: Any) -> None:
    live, axis = window.live, np.linspace(500.0, 540.0, 400)
    live.show_background(Frame(1, axis, np.full(400, 100.0), 65535.0, 0.1, 0.0))
    live.show_frame(Frame(2, axis, np.full(400, 300.0), 65535.0, 0.1, 0.0))
    assert live._net is not None and live._net.max() == pytest.approx(200.0)
    live.show_frame(Frame(3, axis, np.full(400, 300.0), 65535.0, 0.2, 0.0))
    assert live._net.max() == pytest.approx(300.0)
    assert "another exposure" in live.notice.text()


# ---- a run ------------------------------------------------------------------------------------


def test_forecast_before_starting_and_refusals(window: Any) -> None:
    window.measure.choose("power-sweep", {"points": 10})
    until(lambda: "10 points" in window.measure.forecast.text(), "the forecast")
    assert "shots" in window.measure.forecast.text()
    window.measure.choose("power-sweep", {"fluence_max_uJ_cm2": 9e4})
    until(lambda: window.measure.forecast.property("role") == "error", "the refusal")
    assert "fluence" in window.measure.forecast.text()
    assert not window.measure.start_button.isEnabled()
    form = window.measure.form
    form.field("points").setText("many")
    assert "points" in form.problems
    assert not window.measure.queue_button.isEnabled()
    form.set_values({})


def test_what_a_spot_has_had_is_shown_before_and_counted_by_hand_and_in_runs(window: Any) -> None:
    measure, ledger = window.measure, Ledger(window.config.data_dir)
    measure.sample.setText("dosed film")
    measure.spot.setText("B2")
    until(lambda: measure.dose.text() == "dosed film B2: no light so far", "the dose of the spot")
    window.worker.ask("fluence", lambda bench: bench.pump.set_fluence(20.0))
    card(window, "shutter")._toggle.click()
    until(lambda: window.view.shutter_open, "the shutter to open")
    window.close_shutter()
    until(lambda: ledger.spot("dosed film", "B2")[0] > 0, "what was given by hand")
    by_hand, dose = ledger.spot("dosed film", "B2")
    assert dose == pytest.approx(by_hand * 20e-6, rel=0.1)
    until(lambda: "dosed film B2 so far" in measure.dose.text(), "the dose of the spot")
    begin(window, FEW, "dosed film")
    path = ended(window)
    with RunFile(path) as run:
        in_run = int(run.records("shots_on_sample")[-1])
    until(lambda: ledger.spot("dosed film", "B2")[0] >= by_hand + in_run, "the run's own shots")
    had = count(ledger.spot("dosed film", "B2")[0])
    until(lambda: window.header.values["dose"].text() == f"{had} shots", "the sum at the top")
    assert "J/cm²" in window.header.values["dose"].toolTip()
    measure.spot.setText("B3")
    until(lambda: measure.dose.text() == "dosed film B3: no light so far", "the next spot")
    measure.spot.clear()


def test_a_run_of_another_bench_is_refused_and_stays_in_the_queue(window: Any) -> None:
    from instruments.config import parse
    from procedures.running.describe import Description, describe_queued
    from procedures.running.queue import Queue
    from procedures.session import build

    other = parse(window.config.text.replace("22.0", "30.0"), "/elsewhere/bench.toml")
    header = describe_queued(build("power-sweep", FEW), other, Description("not here"), time.time())
    queue = Queue(window.config.data_dir)
    path = queue.add(header)
    until(lambda: any(run.sample == "not here" for run in window.queue.runs), "the queue")
    window.queue.run_button.click()
    until(lambda: said(window, "belongs to the bench of /elsewhere/bench.toml"), "the refusal")
    until(lambda: not window.conductor.busy, "the queue to stop")
    with RunFile(path) as run:
        assert (run.status, run.rows_complete) == ("queued", 0)
    until(lambda: [run.waits for run in queue.runs()] == [True], "the run to be given back")
    queue.remove(path)
    until(lambda: not window.queue.runs, "the queue to empty")


def test_a_sweep_from_start_to_finish_with_live_fit(window: Any) -> None:
    values = {"points": 16, "centre_wavelength_nm": 520.0, "shots_min": 50}
    begin(window, values, "seventh")
    assert window.tabs.currentWidget() is window.run_pane
    until(lambda: window.view.holder == "power sweep", "the run to hold the bench")
    path = ended(window)
    until(lambda: window.run_pane.view is not None, "the plots")
    until(
        lambda: "µJ/cm²" in window.run_pane.view.strip.main.text(), "the threshold of all records"
    )
    assert window.run_pane.chip.text() == "FINISHED"
    assert window.run_pane.bar.format() == "16 of 16"
    assert "Threshold 2" in window.run_pane.view.strip.main.text()
    with RunFile(path) as run:
        assert (run.status, run.rows_complete, run.sample) == ("finished", 16, "seventh")
    until(lambda: window.view.holder == "", "the bench to be given back")
    assert window.worker.bench is not None, "the bench stays open after a run"
    assert not window.worker.bench.instruments["shutter"].is_open


def test_the_live_fit_is_the_files_own(window: Any) -> None:
    from gui.fits import fit
    from procedures.evaluation import evaluate

    data = window.conductor.run.data
    assert data is not None and data.rows_complete == 16
    assert window.conductor.run.path is not None
    with RunFile(window.conductor.run.path) as run:
        assert data.plan.keys() == run.plan.keys()
        for name, points in run.plan.items():
            assert np.array_equal(data.plan[name], points, equal_nan=True)
        for asked in ("facts", "parameters", "decisions", "instruments", "sample", "spot"):
            assert bool(getattr(data, asked)) == bool(getattr(run, asked)), asked
    ours, theirs = fit(data), evaluate(window.conductor.run.path)
    assert ours.analysis.to_json() == theirs.analysis.to_json()


def test_a_finished_run_is_made_small_when_nothing_goes_on(window: Any) -> None:
    path = window.conductor.run.path
    until(lambda: said(window, f"{path.name}: ") and said(window, " made "), "the file to be small")
    with RunFile(path) as run:
        assert (run.status, run.rows_complete) == ("finished", 16)


def slow(window: Any) -> Any:
    """Have records take a little real time, as they do on a real bench."""
    spectrograph = window.worker.bench.spectrograph
    original = spectrograph.acquire

    def acquire(frames: int = 1) -> Any:
        time.sleep(0.01)
        return original(frames)

    spectrograph.acquire = acquire
    return lambda: spectrograph.__dict__.pop("acquire")


def test_pause_resume_and_abort(window: Any) -> None:
    undo = slow(window)
    begin(window, {**FEW, "points": 400})
    run = window.conductor.run
    until(lambda: run.data is not None and run.data.rows_complete > 2, "records")
    until(window.run_pane.pause_button.isEnabled, "Pause")
    window.run_pane.pause_button.click()
    until(lambda: run.state == "paused", "the pause")
    window.run_pane.show_state()
    assert window.run_pane.chip.text() == "PAUSED"
    assert window.run_pane.pause_button.text() == "Resume"
    assert not window.worker.bench.instruments["shutter"].is_open
    assert not card(window, "attenuator").controls.isEnabled()
    assert "pause or abort" in card(window, "attenuator").toolTip()
    before = run.data.rows_complete
    window.run_pane.pause_button.click()
    until(lambda: run.data.rows_complete > before, "records after the pause")
    window.run_pane.abort_button.click()
    path = ended(window)
    undo()
    with RunFile(path) as opened_run:
        assert opened_run.status == "aborted"
        assert opened_run.rows_complete == run.data.rows_complete > before
    until(lambda: window.run_pane.chip.text() == "ABORTED", "the state")


def test_closing_the_shutter_in_a_run_pauses_it_and_spoils_no_record(window: Any) -> None:
    undo = slow(window)
    begin(window, {**FEW, "points": 20})
    run = window.conductor.run
    until(lambda: run.data is not None and run.data.rows_complete > 3, "records")
    window.close_shutter()
    until(lambda: run.state == "paused", "the pause")
    shutter = window.worker.bench.instruments["shutter"]
    count = run.data.rows_complete
    QtTest.QTest.qWait(150)
    assert not shutter.is_open
    assert run.data.rows_complete <= count + 1
    window.run_pane.go_on.emit()
    path = ended(window)
    undo()
    with RunFile(path) as opened_run:
        assert (opened_run.status, opened_run.rows_complete) == ("finished", 20)
        light = opened_run.records("spectra").astype(float) - opened_run.records("background")
        assert (light.max(axis=1) > 50.0).all(), "no record was taken in the dark"
        assert any("paused" in text for _, _, text in opened_run.log)


def test_queue_reorder_remove_and_run(window: Any) -> None:
    for sample in ("first", "second", "third"):
        window.measure.choose("power-sweep", {**FEW, "points": 8})
        window.measure.sample.setText(sample)
        window.measure.queue_button.click()
        until(lambda s=sample: any(r.sample == s for r in window.queue.runs), f"{sample} queued")
    window.queue.list.setCurrentRow(2)
    window.queue.up.click()
    until(lambda: [r.sample for r in window.queue.runs] == ["first", "third", "second"], "order")
    window.queue.list.setCurrentRow(0)
    window.queue.remove_button.click()
    until(lambda: [r.sample for r in window.queue.runs] == ["third", "second"], "removal")
    window.queue.run_button.click()
    until(lambda: window.conductor.run.active, "the queue to run")
    until(lambda: not window.conductor.busy and not window.queue.runs, "the queue to empty", 60.0)
    folder = window.config.data_dir
    done = []
    for path in sorted(folder.glob("*.h5")):
        with RunFile(path) as run:
            if run.sample in ("first", "second", "third"):
                done.append((run.sample, run.status))
    told = "\n".join(line.text for line in window.log.lines[-40:])
    assert sorted(done) == [("second", "finished"), ("third", "finished")], told
    assert not window.queue.run_button.isChecked()


# ---- afterwards -------------------------------------------------------------------------------


def test_history_find_open_refit_export_resume(window: Any, tmp_path: Path) -> None:
    window.tabs.setCurrentWidget(window.browser)
    window.conductor.look_at_folder()
    browser = window.browser
    until(lambda: browser.model.rowCount() >= 4, "the list of runs")
    night = window.config.data_dir / "2026-01-01_night_first"
    night.mkdir()
    (night / "of a night.h5").write_bytes(Path(browser.model.headers[0].file).read_bytes())
    window.conductor.look_at_folder()
    until(lambda: any("of a night" in one.file for one in browser.model.headers), "the night's run")
    shutil.rmtree(night)
    window.conductor.look_at_folder()
    until(lambda: not any("night" in one.file for one in browser.model.headers), "the others")
    everything = browser.proxy.rowCount()
    browser.search.setText("seventh")
    assert browser.proxy.rowCount() == 1 < everything
    browser.table.selectRow(0)
    QtTest.QTest.keyClick(browser.table, Key.Key_Return)
    until(lambda: browser.evaluation is not None, "the run and its fit")
    whole = browser.evaluation.analysis.results["threshold_uJ_cm2"]
    browser.high.setText("40")
    browser.fit_button.click()
    until(
        lambda: (
            browser.evaluation.analysis.results["threshold_uJ_cm2"].to_json() != whole.to_json()
        ),
        "the fit of another range",
    )
    assert len(browser.evaluation.data.fluence_uJ_cm2) < 16
    browser.export_figure(tmp_path / "figure.png")
    browser.export_table(tmp_path / "table.csv")
    until(lambda: said(window, "table.csv"), "the exports")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    with open(tmp_path / "table.csv", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file) if not row[0].startswith("#")]
    assert len(rows) == 17 and "fluence (uJ/cm^2)" in rows[0]
    browser.search.clear()
    browser.status.setCurrentIndex(browser.status.findData("aborted"))
    assert browser.proxy.rowCount() == 1
    browser.table.selectRow(0)
    browser.open_chosen()
    until(lambda: browser.data is not None and browser.data.status == "aborted", "the other run")
    assert browser.resume_button.isVisible()
    browser.status.setCurrentIndex(0)


def test_overlay_of_ticked_runs(window: Any) -> None:
    browser = window.browser
    window.tabs.setCurrentWidget(browser)
    browser.search.clear()
    files = [one.file for one in browser.model.headers if one.run_status == "finished"][:2]
    assert len(files) == 2
    browser.open(Path(files[0]))
    until(lambda: browser.data is not None and str(browser.data.path) == files[0], "the run")
    place = [one.file for one in browser.model.headers].index(files[1])
    browser.model.setData(
        browser.model.index(place, 0),
        QtCore.Qt.CheckState.Checked,
        QtCore.Qt.ItemDataRole.CheckStateRole,
    )
    until(lambda: len(browser.view._overlaid) == 1, "the other run over it")
    browser.model.setData(
        browser.model.index(place, 0),
        QtCore.Qt.CheckState.Unchecked,
        QtCore.Qt.ItemDataRole.CheckStateRole,
    )
    until(lambda: not browser.view._overlaid, "the overlay to go")


def test_an_aborted_run_is_resumed_from_history(window: Any) -> None:
    undo = slow(window)
    begin(window, {**FEW, "points": 14}, "resumed film")
    run = window.conductor.run
    until(lambda: run.data is not None and run.data.rows_complete > 2, "records")
    window.run_pane.abort_button.click()
    path = ended(window)
    undo()
    window.browser.open(path)
    until(lambda: window.browser.data and window.browser.data.path == path, "the aborted run")
    window.browser.resume_button.click()
    until(lambda: run.active, "the run to go on")
    ended(window)
    with RunFile(path) as opened_run:
        assert (opened_run.status, opened_run.rows_complete) == ("finished", 14)


# ---- the frame --------------------------------------------------------------------------------


def test_log_levels_and_search(window: Any) -> None:
    window.log.add("warning", "a warning about nothing")
    window.log.add("error", "an error about something")
    window.log.level.setCurrentIndex(2)
    texts = [window.log.list.item(i).text() for i in range(window.log.list.count())]
    assert any("about something" in text for text in texts)
    assert not any("about nothing" in text for text in texts)
    window.log.level.setCurrentIndex(0)
    window.log.search.setText("about nothing")
    assert window.log.list.count() == 1
    window.log.search.clear()


def test_themes_and_sizes(window: Any) -> None:
    before = theme.current()
    margins = window.header.layout().contentsMargins().left()
    height = window.header.close_button.minimumHeight()
    window.toggle_theme()
    assert theme.current().palette.name == "light"
    window.change_size(1.3)
    assert theme.current().scale == pytest.approx(1.3 * before.scale)
    assert window.settings.value("theme") == "light"
    assert window.header.layout().contentsMargins().left() == round(12 * 1.3), "margins grow, too"
    assert window.header.close_button.minimumHeight() == round(46 * 1.3)
    window._apply(before)
    assert window.header.layout().contentsMargins().left() == margins
    assert window.header.close_button.minimumHeight() == height


def test_everything_is_reached_by_tab(window: Any) -> None:
    window.tabs.setCurrentWidget(window.live)
    window.activateWindow()
    seen: set[Any] = set()
    window.header.close_button.setFocus()
    widget = window.header.close_button
    for _ in range(400):
        widget = widget.nextInFocusChain()
        if widget is window.header.close_button:
            break
        if widget.isVisible() and widget.focusPolicy() & QtCore.Qt.FocusPolicy.TabFocus:
            seen.add(widget)
    for needed in (
        window.live.live_button,
        window.measure.choice,
        window.measure.start_button,
        window.queue.list,
        window.log.search,
        card(window, "attenuator")._fields["fluence_uJ_cm2"],
        card(window, "shutter")._toggle,
    ):
        assert needed in seen


def test_a_plot_is_shown_alone_and_a_field_says_what_it_allows(window: Any) -> None:
    window.browser.open(window.conductor.run.path)
    until(lambda: window.browser.view is not None, "a run")
    window.tabs.setCurrentWidget(window.browser)
    first, *others = window.browser.view.plots
    QtTest.QTest.keyClick(first.canvas, Key.Key_L)
    assert first.isVisible() and not any(one.isVisible() for one in others)
    QtTest.QTest.keyClick(first.canvas, Key.Key_L)
    assert all(one.isVisible() for one in others)
    window.activateWindow()
    window.measure.form.field("points").setFocus()
    until(lambda: "allowed: " in window.measure.summary.text(), "what the field allows")
    window.measure.choice.setFocus()
    until(lambda: "allowed" not in window.measure.summary.text(), "the measurement's summary")


def test_keys_are_told(window: Any) -> None:
    window.show_keys()
    assert "close the shutter" in window.keys_box.text()
    window.keys_box.close()


def test_closing_asks_while_a_run_goes_on(window: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    undo = slow(window)
    begin(window, {**FEW, "points": 200})
    asked = []
    monkeypatch.setattr(window, "ask_to_leave", lambda: asked.append(1) and False)
    window.close()
    assert asked and window.isVisible()
    assert window.conductor.run.active, "the run goes on when the operator keeps measuring"
    undo()


def test_what_is_chosen_is_kept(qapp: Any, tmp_path: Path) -> None:
    first = make_window(tmp_path, "[bench]\nname = 'empty'\n")
    until(lambda: first.measure.form is not None, "the form")
    first.measure.choose("power-sweep", {"points": 23})
    first.measure.sample.setText("film 99")
    sizes = [300, 700, 366]
    first.across.setSizes(sizes)
    kept = first.across.sizes()
    leave(first)
    second = make_window(tmp_path, "[bench]\nname = 'empty'\n")
    until(lambda: second.measure.form is not None, "the form")
    assert second.measure.form.values() == {"points": 23}
    assert second.measure.sample.text() == "film 99"
    assert second.across.sizes() == kept
    leave(second)


def test_a_bench_that_cannot_be_opened_says_why_and_can_be_tried_again(
    qapp: Any, tmp_path: Path
) -> None:
    text = (
        "[bench]\nname = 'broken'\n[instruments.shutter]\ndriver = 'thorlabs-sc10'\n"
        "resource = 'ASRL/dev/nothing-there::INSTR'\n"
    )
    window = make_window(tmp_path, text)
    until(lambda: window.view.phase == "failed", "the refusal")
    assert window.panel.retry.isVisible()
    assert "could not be opened" in window.panel.notice.text()
    assert window.header.badge.text() == "NOT OPEN"
    window.close_shutter()
    until(lambda: said(window, "block the beam by hand"), "what to do")
    window.panel.retry.click()
    until(lambda: window.view.phase == "opening", "another try")
    until(lambda: window.view.phase == "failed", "the refusal again")
    leave(window)


def test_without_a_bench_file_it_is_the_simulated_bench_in_real_time() -> None:
    from gui.app import in_real_time

    config = in_real_time(None)
    assert config.simulation is not None
    assert config.simulation.clock == "wall"
    assert config.file is None


def test_the_command_needs_a_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    from procedures.commands.gui import NoWindow, gui

    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(NoWindow, match="no screen"):
        gui(None)


def test_widgets_have_words(window: Any) -> None:
    for button in window.findChildren(QtWidgets.QPushButton):
        assert button.text() or button.toolTip() or button.accessibleName()
