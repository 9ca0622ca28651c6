"""Parts of the window that need no bench: numbers, forms, long series, records in memory."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PyQt5 import QtCore, QtTest, QtWidgets

from gui import words
from gui.app import take_apart
from gui.collecting import Collector
from gui.fields import QuantityEdit, UnitEdit
from gui.form import ParameterForm
from gui.jobs import Jobs
from gui.plots.axes import EnergyAxis, PlainAxis
from gui.plots.light import NetSpectra, peak_and_width
from gui.plots.plot import Plot
from gui.plots.series import MOST_POINTS, Decimated, SeriesPlot
from gui.plots.view import view_for
from gui.rundata import RunData, from_file
from instruments.roles import Limits
from procedures.columns import Axis, Column
from procedures.registry import measurement, measurements
from tests.runs import record, started
from tests.windows import until

Key = QtCore.Qt.Key


@pytest.fixture
def apart(qapp: Any) -> Iterator[Callable[[QtWidgets.QWidget], None]]:
    """Takes widgets that are deleted after the test, whole: the collector would do it in pieces."""
    made: list[QtWidgets.QWidget] = []
    yield made.append
    for one in made:
        take_apart(one)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (40, "40 s"),
        (130, "2 min 10 s"),
        (360, "6 min"),
        (16_020, "4 h 27 min"),
        (266_400, "3 d 2 h"),
        (float("nan"), "unknown"),
    ],
)
def test_time_spans_in_words(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


def test_numbers_in_words() -> None:
    assert words.count(1.6e7) == "1.60 \u00d7 10\u2077"
    assert words.prefixed(171e-9, "J") == "171 nJ"
    assert words.prefixed(1000.0, "Hz", 2) == "1.0 kHz"
    assert words.unit("uJ/cm^2") == "µJ/cm²"
    assert words.unit("1") == ""
    assert words.plain(1.6e7) == "1.6e7"
    assert words.result_name("threshold_uJ_cm2") == "Threshold"


def test_arrow_keys_step_the_digit_that_matters(apart: Any) -> None:
    edit = UnitEdit("uJ/cm^2")
    apart(edit)
    edit.setText("57")
    QtTest.QTest.keyClick(edit, Key.Key_Up)
    assert edit.value() == pytest.approx(58.0)
    QtTest.QTest.keyClick(edit, Key.Key_PageDown)
    assert edit.value() == pytest.approx(48.0)
    edit.setText("0.285")
    QtTest.QTest.keyClick(edit, Key.Key_Down)
    assert edit.value() == pytest.approx(0.27)
    edit.setText("12,5 µJ/cm²")
    assert edit.value() == pytest.approx(12.5)


def test_only_enter_sends_and_only_what_is_allowed(apart: Any) -> None:
    edit = QuantityEdit("Fluence", "uJ/cm^2")
    apart(edit)
    edit.set_limits(Limits(1.0, 100.0, "uJ/cm^2"))
    sent: list[float] = []
    edit.sent.connect(sent.append)
    for text in ("200", "nan", "much", ""):
        edit.setText(text)
        edit.textEdited.emit(text)
        QtTest.QTest.keyClick(edit, Key.Key_Return)
        assert edit.property("state") == "bad"
    edit.setText("57")
    edit.textEdited.emit("57")
    edit.show_value(3.0)
    assert edit.text() == "57", "what is read back does not disturb who is typing"
    assert sent == []
    QtTest.QTest.keyClick(edit, Key.Key_Return)
    assert sent == [57.0]


@pytest.mark.parametrize("name", sorted(measurements()))
def test_every_measurement_has_a_form_whose_defaults_are_valid(apart: Any, name: str) -> None:
    form = ParameterForm(measurement(name).load())
    apart(form)
    form._check()
    assert form.problems == {}
    assert form.values() == {}
    assert all(field.toolTip() for field in form._fields.values())


def test_a_form_checks_as_the_command_line_does(apart: Any) -> None:
    form = ParameterForm(measurement("power-sweep").load())
    apart(form)
    form.field("fluence_max_uJ_cm2").setText("1")
    assert "fluence_min_uJ_cm2" in form.problems
    assert form.message.text()
    form.field("fluence_max_uJ_cm2").setText("60 µJ/cm²")
    form.field("points").setText("1.2e2")
    form.field("lengths_mm").setText("1.5, 0.75")
    assert form.problems == {}
    assert form.values() == {
        "fluence_max_uJ_cm2": 60.0,
        "points": 120,
        "lengths_mm": [1.5, 0.75],
    }
    form.set_values({})
    assert form.values() == {}


def test_an_envelope_keeps_every_extreme() -> None:
    rng = np.random.default_rng(3)
    y = rng.normal(size=1_000_003)
    y[123_456], y[700_001] = 40.0, -50.0
    series = Decimated(None, y)
    for first, last in ((0, len(y)), (120_000, 130_000), (650_000, len(y)), (5, 400)):
        x, shown = series.envelope(first, last)
        assert len(x) == len(shown) <= MOST_POINTS + 2
        assert shown.max() >= y[first:last].max()
        assert shown.min() <= y[first:last].min()
        assert (np.diff(x) >= 0).all()
    x, shown = series.envelope(100, 600)
    assert np.array_equal(shown, y[100:600])


def test_a_series_of_millions_is_drawn_at_once_and_again_when_zoomed(apart: Any) -> None:
    plot = SeriesPlot("series", "shots", "energy")
    apart(plot)
    plot.resize(800, 400)
    y = np.sin(np.linspace(0.0, 60.0, 4_000_000))
    curve = plot.curve(0)
    begun = time.perf_counter()
    plot.show_series(curve, Decimated(None, y))
    assert time.perf_counter() - begun < 2.0
    assert len(curve.getData()[0]) <= MOST_POINTS + 2
    plot.item.setXRange(1_000_000, 1_000_900, padding=0)
    until(lambda: len(curve.getData()[0]) < MOST_POINTS, "the points themselves")
    x, shown = curve.getData()
    inside = (x > 1_000_000) & (x < 1_000_900)
    rows = x[inside].astype(int) - 1
    assert np.allclose(shown[inside], y[rows])


def test_records_in_memory_answer_as_the_file_does(tmp_path: Path) -> None:
    path, writer = started(tmp_path)
    for number in range(30):
        writer.append(record(number))
    writer.close("finished")
    data = from_file(path)
    from procedures.running.runfile import RunFile

    with RunFile(path) as run:
        for name in run.columns:
            assert np.array_equal(data.records(name), run.records(name))
            assert np.array_equal(data.rows_of(name), run.rows_of(name))
        assert np.array_equal(data.axis("wavelength"), run.axis("wavelength"))
        assert data.status == run.status == "finished"
    part = data.frozen(np.asarray(data.records("fluence")) > 20.0)
    assert part.rows_complete == int((data.records("fluence") > 20.0).sum())
    assert len(part.records("spectra")) == part.rows_complete


def test_records_that_not_every_record_has_and_thinning(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = (
        Column("kept", "", "", "uint8"),
        Column("spectra", "counts", "", "uint32", ("wavelength",), "kept"),
    )
    axes = (Axis("wavelength", np.arange(8.0), "nm", ""),)
    data = RunData("photostability", columns, axes)
    for number in range(200):
        has = number % 10 == 0
        data.append({"kept": int(has), "spectra": np.full(8, number) if has else None})
    assert data.rows_complete == 200
    assert list(data.rows_of("spectra")[:3]) == [0, 10, 20]
    assert data.records("spectra")[2][0] == 20
    keep = np.arange(200) >= 100
    part = data.frozen(keep)
    assert list(part.rows_of("spectra")[:2]) == [0, 10]
    assert part.records("spectra")[0][0] == 100
    monkeypatch.setattr("gui.rundata.MOST_COLUMN_BYTES", 1000)
    small = RunData("power-sweep", (Column("spectra", "", "", "uint32", ("wavelength",)),), axes)
    for number in range(300):
        small.append({"spectra": np.full(8, number)})
    assert not small.complete
    assert len(small.records("spectra")) < 80
    assert all(small.records("spectra")[:, 0] == small.rows_of("spectra"))


def test_light_is_put_together_by_record_where_not_every_record_has_a_background() -> None:
    columns = (
        Column("shots", "", "", "uint32"),
        Column("spectra", "counts", "", "uint32", ("wavelength",)),
        Column("background", "counts", "", "uint32", ("wavelength",)),
    )
    data = RunData("power-sweep", columns, (Axis("wavelength", np.arange(8.0), "nm", ""),))
    net = NetSpectra()
    for number in range(12):
        dark = np.full(8, number) if number % 3 == 0 else None
        data.append({"shots": 2, "spectra": np.full(8, 5 * number), "background": dark})
        found = net.of(data)
        assert list(net.rows) == list(range(0, number + 1, 3))
        assert np.array_equal(found, np.repeat(2.0 * net.rows[:, None], 8, axis=1))


def test_every_shot_of_a_per_shot_run_is_drawn(apart: Any) -> None:
    blocks, shots = 40, 100
    axes = (
        Axis("shot", np.arange(float(shots)), "", ""),
        Axis("wavelength", np.arange(500.0, 516.0), "nm", ""),
    )
    data = RunData("per-shot", measurement("per-shot").load().COLUMNS, axes)
    view = view_for("per-shot")
    apart(view)
    for number in range(blocks):
        light = np.full(shots, 7, "uint32")
        light[3] = 1000 + number
        data.append(
            {
                "leg": int(number > 0),
                "first_shot": shots * max(number - 1, 0),
                "band_counts": light if number else np.zeros(shots),
                "pulse_energies": np.full(shots, 171e-9),
                "kept": int(number == 1),
                "spectra": np.ones((shots, 16)) if number == 1 else None,
            }
        )
        if number % 9 == 0:
            view.draw(data)
    view.draw(data)
    x, y = view._curves["band_counts"][1].getData()
    assert y.max() == 1000 + blocks - 1, "the one bright shot of the last block is seen"
    assert y.min() == 7, "the dark block is not among them"
    assert x[-1] == pytest.approx(shots * (blocks - 1), rel=0.01)
    assert view._curves["pulse_energies"][1].getData()[1] == pytest.approx(171.0)


def test_the_collector_works_in_one_thread_only(qapp: Any) -> None:
    found: list[str] = []

    class Ring:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            found.append(threading.current_thread().name)

    def litter() -> None:
        for _ in range(3000):
            Ring()

    collector = Collector()
    collector.start()
    assert not gc.isenabled()
    thread = threading.Thread(target=litter, name="another")
    thread.start()
    thread.join()
    assert not found
    until(lambda: len(found) == 3000, "the collection", 5.0)
    assert set(found) == {threading.current_thread().name}
    collector.thoroughly()
    collector.stop()
    assert gc.isenabled() and not gc.get_freeze_count()


def test_peak_and_width_of_a_line() -> None:
    axis = np.linspace(480.0, 560.0, 1024)
    line = 900.0 * np.exp(-0.5 * ((axis - 524.5) / (5.0 / 2.3548)) ** 2) + 300.0
    noise = np.random.default_rng(1).normal(0.0, 3.0, len(axis))
    found = peak_and_width(axis, line + noise)
    assert found is not None
    assert found[0] == pytest.approx(524.5, abs=0.1)
    assert found[1] == pytest.approx(5.0, abs=0.3)
    assert peak_and_width(axis, 300.0 + noise) is None


def test_keys_zoom_and_reset_a_plot(apart: Any) -> None:
    plot = Plot("plot", "x", "y")
    apart(plot)
    plot.resize(500, 300)
    plot.show()
    plot.curve(0).setData(np.arange(100.0), np.arange(100.0))
    until(lambda: plot.item.getViewBox().viewRange()[0][1] > 90.0, "the scale to fit")
    before = np.diff(plot.item.getViewBox().viewRange()[0])[0]
    QtTest.QTest.keyClick(plot.canvas, Key.Key_Plus)
    assert np.diff(plot.item.getViewBox().viewRange()[0])[0] < before
    QtTest.QTest.keyClick(plot.canvas, Key.Key_Home)
    until(lambda: plot.item.getViewBox().autoRangeEnabled() == [True, True], "the reset")


@pytest.mark.parametrize("name", sorted(measurements()))
def test_every_measurement_has_plots(apart: Any, name: str) -> None:
    view = view_for(name)
    apart(view)
    assert view.plots
    view.restyle()
    view.show_fit(None)


def test_axes_are_read_without_counting_noughts() -> None:
    axis, energy = PlainAxis("bottom"), EnergyAxis("top")
    assert axis.tickStrings([0.0, 8e5, 1.6e6], 1.0, 8e5) == ["0", "0.8·10⁶", "1.6·10⁶"]
    assert axis.tickStrings([0.0, 2e4, 4e4], 1.0, 2e4) == ["0", "20000", "40000"]
    ((_, where),) = energy.tickValues(450.0, 590.0, 270.0)
    assert len(where) >= 2
    assert energy.tickStrings(where, 1.0, 1.0)[:2] == ["2.25 eV", "2.50"]


def test_jobs_keep_only_the_newest_of_a_name(qapp: Any) -> None:
    import threading

    jobs, gate, done = Jobs("test"), threading.Event(), []
    jobs.do(lambda: gate.wait(5.0), lambda _found: done.append("first"), name="fit")
    for number in range(5):
        jobs.do(lambda number=number: number, done.append, name="other")  # type: ignore[misc]
    errors: list[BaseException] = []
    jobs.do(lambda: 1 / 0, done.append, errors.append)
    gate.set()
    until(lambda: len(errors) == 1, "the last job")
    assert done == ["first", 4]
    assert isinstance(errors[0], ZeroDivisionError)
    jobs.end()
