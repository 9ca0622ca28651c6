"""Takes the pictures of the window in docs/screenshots: `python docs/build_screenshots.py`.

Names of pictures, as arguments, take these alone.

The window is opened off-screen over the simulated bench, on the virtual clock, and driven as an
operator would; each picture is one state, at 1366 x 768 (one at 3840 x 2160), dark or light. Look
at them after every change.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT.parent))

from PIL import Image  # noqa: E402
from PyQt5 import QtCore, QtWidgets  # noqa: E402

from gui import theme  # noqa: E402
from instruments.config import parse  # noqa: E402

BENCH = """
[bench]
name = "stripe pumping, room 2-14"
data_dir = "runs"
[simulation]
clock = "virtual"
"""
RUNS: dict[str, dict[str, Any]] = {
    "power-sweep": {"points": 32},
    "stripe-length": {"points": 20, "low_points": 8, "beside_points": 6},
    "photostability": {"shots": 1_600_000},
    "biexciton": {"points": 14},
    "streak-series": {"integration_s": 5.0},
    "capillary-lasing": {"points": 20},
    "ageing": {"days": [0.0, 5.0, 10.0], "points": 14},
    "calibrate-pump": {},
}


class Operator:
    """Opens a window and works with it."""

    def __init__(self, palette: str = "dark", width: int = 1366, height: int = 768) -> None:
        app = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["screenshots"])
        assert isinstance(app, QtWidgets.QApplication)
        self.app = app
        scale = theme.scale_for(height)
        theme.apply(app, theme.Theme(theme.THEMES[palette], scale))
        from gui.window import Window

        self.folder = Path(tempfile.mkdtemp())
        settings = QtCore.QSettings(
            str(self.folder / "window.ini"), QtCore.QSettings.Format.IniFormat
        )
        self.window = Window(parse(BENCH, str(self.folder / "bench.toml")), settings)
        self.window.measure.sample.setText("CsPbBr3 film 12")
        self.window.measure.spot.setText("A3")
        self.window.measure.operator.setText("M. Keller")
        self.window.measure.show_start_of_texts()
        self.width = width
        self.window.resize(width, height)
        self.window.show()
        self.window.begin()
        self.until(lambda: self.window.view.phase == "open" and self.window.measure.form)
        self.calm()

    def until(self, condition: Callable[[], Any], seconds: float = 240.0) -> None:
        """Wait."""
        end = time.monotonic() + seconds
        while not condition():
            self.app.processEvents()
            time.sleep(0.005)
            if time.monotonic() > end:
                lines = "\n".join(line.text for line in self.window.log.lines[-12:])
                raise TimeoutError(f"the state was not reached; the log ends:\n{lines}")

    def calm(self, seconds: float = 1.2) -> None:
        """Let everything settle."""
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() > end)

    def save(self, name: str) -> None:
        """Save a picture, in few colours: they are flat."""
        self.calm(0.4)
        if self.window.width() != self.width:
            print(f"{name}: the window is {self.window.width()} wide, {self.width} was asked for")
        buffer = QtCore.QBuffer()
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadWrite)
        self.window.grab().save(buffer, "PNG")
        picture = Image.open(io.BytesIO(bytes(buffer.data()))).convert("RGB")
        path = ROOT / "screenshots" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        picture.quantize(160, dither=Image.Dither.NONE).save(path, optimize=True)
        print(f"{path.name}: {path.stat().st_size // 1024} kB")

    def start(self, name: str, values: dict[str, Any] | None = None) -> None:
        """Choose a measurement and press Start."""
        window = self.window
        window.measure.choose(name, values if values is not None else RUNS[name])
        self.until(lambda: window.measure.name == name and window.measure.form is not None)
        self.until(lambda: name == window.measure.form.kind.MEASUREMENT)
        self.until(window.measure.start_button.isEnabled)
        self.calm(0.5)
        self.until(window.measure.start_button.isEnabled)
        window.measure.start_button.click()
        self.until(lambda: window.conductor.run.active)

    def records(self, count: int) -> None:
        """Wait for records."""
        run = self.window.conductor.run
        self.until(lambda: run.data is not None and run.data.rows_complete >= count)

    def pause(self) -> None:
        """Pause, once it is possible."""
        self.window.run_pane.pause.emit()
        self.until(lambda: self.window.conductor.run.state == "paused")

    def finished(self) -> None:
        """Wait for the end and the last fit."""
        conductor = self.window.conductor
        self.until(lambda: not conductor.busy)
        self.until(lambda: conductor._fit_data is None and not conductor._fit_busy)
        self.calm()

    def leave(self) -> None:
        """Close the window."""
        self.window.ask_to_leave = lambda: True
        self.window.close()
        self.until(lambda: self.window._left)
        self.window.deleteLater()
        self.app.processEvents()


def live(operator: Operator, name: str) -> None:
    """The live view on the stimulated line, background subtracted, shutter open."""
    window = operator.window
    worker = window.worker
    for what, act in (
        ("fluence", lambda bench: bench.instruments["attenuator"].prepare()),
        ("fluence", lambda bench: bench.pump.set_fluence(30.0)),
        ("length", lambda bench: bench.instruments["stripe"].prepare()),
        ("length", lambda bench: bench.instruments["stripe"].set_length_mm(3.0)),
        ("centre", lambda bench: bench.spectrograph.go_to(520.0)),
        ("exposure", lambda bench: bench.spectrograph.set_exposure_s(0.02)),
    ):
        worker.ask(what, act)
    window.tabs.setCurrentWidget(window.live)
    window.live.background_button.click()
    operator.until(lambda: window.live._background is not None)
    worker.ask("open", lambda bench: bench.pump.open())
    window.set_live(True)
    operator.until(lambda: window.live.drawn > 20 and window.view.shutter_open)
    window.live.region_on.setChecked(True)
    operator.calm(1.0)
    operator.save(name)
    window.live.region_on.setChecked(False)
    window.set_live(False)
    window.close_shutter()
    operator.until(lambda: not window.view.shutter_open)


def sweep(operator: Operator, name: str) -> None:
    """A power sweep that waits, with others in the queue."""
    window = operator.window
    operator.start("power-sweep")
    for other in ("stripe-length", "photostability"):
        window.measure.choose(other, RUNS[other])
        operator.until(lambda other=other: other == window.measure.form.kind.MEASUREMENT)
        operator.until(window.measure.queue_button.isEnabled)
        window.measure.queue_button.click()
        operator.until(lambda other=other: any(r.measurement == other for r in window.queue.runs))
    window.measure.choose("power-sweep", RUNS["power-sweep"])
    operator.records(26)
    operator.pause()
    operator.until(lambda: "µJ" in window.run_pane.view.strip.main.text(), 60.0)
    operator.calm()
    operator.save(name)
    window.run_pane.go_on.emit()
    operator.finished()
    for run in list(window.queue.runs):
        window.conductor.remove(run.name)


def measured(operator: Operator, measurement: str) -> None:
    """A finished run of another measurement."""
    operator.start(measurement)
    operator.finished()
    operator.save(measurement)


def history(operator: Operator, name: str) -> None:
    """A run opened again, another laid over it."""
    window = operator.window
    window.measure.sample.setText("CsPbBr3 film 13")
    operator.start("power-sweep", {"points": 24})
    operator.finished()
    window.tabs.setCurrentWidget(window.browser)
    window.conductor.look_at_folder()
    browser = window.browser
    operator.calm(1.5)
    sweeps = [one for one in browser.model.headers if one.measurement == "power-sweep"]
    browser.choose(sweeps[0].file)
    browser.open_chosen()
    operator.until(lambda: browser.evaluation is not None)
    place = browser.model.headers.index(sweeps[-1])
    browser.model.setData(
        browser.model.index(place, 0),
        QtCore.Qt.CheckState.Checked,
        QtCore.Qt.ItemDataRole.CheckStateRole,
    )
    operator.calm(2.0)
    operator.save(name)


def trouble(operator: Operator, name: str) -> None:
    """An instrument that does not answer, and the shutter open."""
    from instruments.errors import NoReply

    window = operator.window
    meter = window.worker.bench.instruments["energy_meter"]
    original = type(meter).status

    def silent(_self: Any) -> Any:
        raise NoReply("PM103: no answer to 'SYST:SENS:IDN?' within 0.5 s")

    type(meter).status = silent
    window.tabs.setCurrentWidget(window.live)
    window.worker.ask("open", lambda bench: bench.pump.open())
    operator.until(lambda: window.view.instruments["energy_meter"].state == "bad")
    operator.calm(5.0)
    operator.save(name)
    type(meter).status = original
    window.close_shutter()
    operator.until(lambda: not window.view.shutter_open)


def main(wanted: list[str]) -> None:
    """Take the pictures that are wanted (all, if none is named)."""

    def want(*names: str) -> bool:
        return not wanted or any(name in wanted for name in names)

    others = [name for name in RUNS if name != "power-sweep"]
    if want("live", "sweep", "history", "trouble", *others):
        operator = Operator("dark")
        if want("live"):
            live(operator, "live")
        if want("trouble"):
            trouble(operator, "trouble")
        if want("sweep", "history"):
            sweep(operator, "sweep")
        if want("history"):
            history(operator, "history")
        for name in others:
            if want(name):
                measured(operator, name)
        operator.leave()
    if want("sweep-light"):
        operator = Operator("light")
        sweep(operator, "sweep-light")
        operator.leave()
    if want("sweep-4k"):
        operator = Operator("dark", 3840, 2160)
        sweep(operator, "sweep-4k")
        operator.leave()


if __name__ == "__main__":
    main(sys.argv[1:])
