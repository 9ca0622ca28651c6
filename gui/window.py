"""The window's frame: what is where, the keys, what is kept, and how it is left."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PyQt5 import QtCore, QtGui, QtWidgets

from gui import theme
from gui.arrangement import arrange, keep, rescale, restore
from gui.attach import WatchedRun
from gui.collecting import Collector
from gui.conductor import Conductor
from gui.doses import SpotSeen
from gui.keys import HELP, bind
from gui.live import average_background
from gui.plots.pace import TICK_MS, Pace
from gui.readings import during_run
from gui.snapshot import BenchView, Frame
from instruments.config import BenchConfig

if TYPE_CHECKING:
    from gui.browser import Browser
    from gui.fields import Chip
    from gui.header import Header
    from gui.live import LiveView
    from gui.log_view import LogView
    from gui.measure_pane import MeasurePane
    from gui.panel import BenchPanel
    from gui.queue_view import QueueView
    from gui.run_pane import RunPane

_SHOW_EVERY_S = 0.2
_QUIET_MS = 1500


class Window(QtWidgets.QMainWindow):
    """The operator's window over one bench.

    Args:
        config: the bench file. settings: where what is chosen is kept.
    """

    def __init__(self, config: BenchConfig, settings: QtCore.QSettings) -> None:
        super().__init__()
        self.config = config
        self.settings = settings
        self.conductor = Conductor(config)
        self.worker = self.conductor.worker
        self.view = BenchView("opening", "opening the bench", config.bench.name)
        self.watched: WatchedRun | None = None
        self._seen_remote: set[str] = set()
        self._frame: Frame | None = None
        self._pace = Pace()
        self._shown_s = 0.0
        self._leaving = False
        self._left = False
        self._virtual = _is_virtual(config)
        self.header: Header
        self.panel: BenchPanel
        self.live: LiveView
        self.run_pane: RunPane
        self.browser: Browser
        self.tabs: QtWidgets.QTabWidget
        self.measure: MeasurePane
        self.queue: QueueView
        self.log: LogView
        self.watching: Chip
        self.theme_button: QtWidgets.QToolButton
        self.setWindowTitle(f"gainbench: {config.bench.name}")
        arrange(self)
        self._wire()
        restore(self)
        self._timer = QtCore.QTimer(self)
        self._timer.setTimerType(QtCore.Qt.TimerType.PreciseTimer)
        self._timer.setInterval(TICK_MS)
        self._timer.timeout.connect(self._tick)
        self._collector = Collector(self)
        self._quiet = QtCore.QTimer(self)
        self._quiet.setSingleShot(True)
        self._quiet.setInterval(_QUIET_MS)
        self._quiet.timeout.connect(self._quietly)

    def _wire(self) -> None:
        conductor = self.conductor
        self.worker.viewed.connect(self._take_view)
        conductor.dose.seen.connect(self._take_dose)
        conductor.told.connect(self.log.add)
        conductor.queue_seen.connect(self.queue.show_runs)
        conductor.folder_seen.connect(self.browser.show_headers)
        conductor.remote_seen.connect(self._see_remote)
        conductor.run_begins.connect(self._run_begins)
        conductor.run_ended.connect(self._run_ended)
        conductor.fitted.connect(self.run_pane.show_fit)
        conductor.queue_stopped.connect(lambda: self.queue.show_running(False))
        self.header.close_asked.connect(self.close_shutter)
        self.panel.again.connect(lambda: self.worker.ask("open again", lambda _bench: None))
        self.live.live.connect(self.set_live)
        self.live.single.connect(self._single)
        self.live.background.connect(self._background)
        self.run_pane.pause.connect(lambda: self._followed().pause())
        self.run_pane.go_on.connect(lambda: self._followed().go_on())
        self.run_pane.abort.connect(lambda: self._followed().abort())
        self.run_pane.fit_wanted.connect(conductor.want_fit)
        self.measure.chosen.connect(self._choose)
        self.measure.forecast_wanted.connect(self._forecast)
        self.measure.start.connect(lambda: self._begin(start=True))
        self.measure.queue.connect(lambda: self._begin(start=False))
        self.queue.move_wanted.connect(conductor.move)
        self.queue.remove_wanted.connect(conductor.remove)
        self.queue.run_all.connect(self._run_queue)
        self.browser.resume.connect(lambda path: self._resume(Path(path)))
        self.browser.told.connect(self.log.add)
        bind(self)

    def begin(self) -> None:
        """Open the bench; the window is usable at once."""
        self._timer.start()
        self._collector.start()
        self.conductor.begin()
        self.conductor.files.do(_measurements, self._take_measurements, self._cannot)

    def _cannot(self, error: BaseException) -> None:
        self.log.add("error", str(error))

    # ---- the bench ------------------------------------------------------------------------------

    def _ask(self, what: str, act: Any, role: str) -> None:
        self.worker.ask(what, act, role=role)

    def _take_view(self, view: BenchView) -> None:
        before, self.view = self.view, view
        self._show_bench()
        if view.phase == "open" and before.phase != "open":
            self._forecast()
            self._when_quiet()
        if view.phase == "closed" and self._leaving:
            self._left = True
            QtCore.QTimer.singleShot(0, self._close_now)
        self._say_startable()

    def _show_bench(self) -> None:
        now_s = time.monotonic()
        view = self.view
        if view.holder:
            view = during_run(view, self.conductor.run.data)
        self.header.show_view(view, now_s, self._virtual)
        self.panel.show_view(view, now_s)
        self._shown_s = time.monotonic()
        self.live.set_held(self._no_live())

    def _no_live(self) -> str:
        if self.view.holder:
            return f"The camera belongs to {self.view.holder}: its spectra are under RUN."
        if self.view.phase != "open":
            return (
                "The bench is not open yet."
                if self.view.phase == "opening"
                else ("The bench is not open.")
            )
        if not {"camera", "monochromator"} <= self.view.instruments.keys():
            return "This bench has no spectrograph with a CCD: there is no live spectrum."
        return ""

    def close_shutter(self) -> None:
        """Close the shutter at once, whatever else is going on."""
        self.conductor.close_shutter()

    # ---- live -----------------------------------------------------------------------------------

    def set_live(self, on: bool) -> None:
        """Start or stop the live view."""
        self.live.set_live(on)
        self.worker.set_live(on)

    def _single(self) -> None:
        self.set_live(False)
        self.worker.ask("one exposure", self.worker.take_frame, self.live.show_frame, role="camera")

    def _background(self) -> None:
        take = self.worker.take_frame
        self.worker.ask(
            "background", lambda bench: average_background(bench, take), self.live.show_background,
            role="camera",
        )  # fmt: skip

    # ---- measurements ---------------------------------------------------------------------------

    def _take_measurements(self, entries: dict[str, str]) -> None:
        self.measure.show_measurements(entries)
        last = str(self.settings.value("measurement", "power-sweep"))
        self.measure.choose(last if last in entries else "power-sweep")

    def _choose(self, name: str) -> None:
        def load() -> Any:
            from procedures.registry import measurement

            return measurement(name).load()

        self.conductor.files.do(
            load, lambda kind: self._show_class(name, kind), self._cannot, name="class"
        )

    def _show_class(self, name: str, kind: Any) -> None:
        self.measure.show_class(name, kind)
        self._when_quiet()

    def _forecast(self) -> None:
        request = self.measure.request()
        if request is None:
            return
        name, values = request
        about = self._about()
        if not self.conductor.busy:
            self.conductor.dose.look_at(about.sample, about.spot)

        def current() -> bool:
            return self.measure.request() == request

        self.measure.say_forecast("forecast …", "muted")
        self.conductor.forecast(
            name,
            values,
            about,
            lambda found: self.measure.show_forecast(found) if current() else None,
            lambda error: self.measure.say_forecast(str(error), "error") if current() else None,
        )

    def _begin(self, *, start: bool) -> None:
        request = self.measure.request()
        if request is not None:
            self.conductor.add(*request, self._about(), start=start)

    def _about(self) -> Any:
        """Return sample, spot and operator as they are typed."""
        from procedures.running.describe import Description

        measure = self.measure
        typed = (measure.sample, measure.spot, measure.operator)
        return Description(*(field.text().strip() for field in typed))

    def _take_dose(self, seen: SpotSeen) -> None:
        self.measure.show_dose(seen)
        self.header.show_dose(seen)

    def _run_queue(self, on: bool) -> None:
        self.conductor.run_queue(on)
        self.queue.show_running(on)

    def _resume(self, path: Path) -> None:
        self.tabs.setCurrentWidget(self.run_pane)
        self.conductor.resume(path)

    def _say_startable(self) -> None:
        why = ""
        if self.view.phase != "open":
            why = "the bench is not open"
        elif self.conductor.busy:
            why = "a run is going on: queue this one"
        self.measure.set_startable(not why, why)

    # ---- runs -----------------------------------------------------------------------------------

    def _followed(self) -> Any:
        if self.watched is not None and self.watched.active and not self.conductor.run.active:
            return self.watched
        return self.conductor.run

    def _run_begins(self, name: str) -> None:
        self.set_live(False)
        self.tabs.setCurrentWidget(self.run_pane)
        self.run_pane.follow(self.conductor.run)
        self.log.add("info", f"{name.replace('-', ' ')} begins")

    def _run_ended(self, path: str, status: str, text: str) -> None:
        self.run_pane.ended(status, text)
        self._say_startable()
        self._forecast()  # the spot has had more light
        self._when_quiet()
        if self._leaving:
            self.worker.leave()

    def _when_quiet(self) -> None:
        """Do what would keep the window waiting later, once nothing goes on."""
        self._quiet.start()

    def _quietly(self) -> None:
        if not (self.conductor.busy or self._leaving or self.worker.live):
            self._collector.thoroughly()
            QtCore.QTimer.singleShot(0, lambda: self.run_pane.prepare(self.measure.name))

    def _see_remote(self, runs: list[Any]) -> None:
        """Watch the run of another process, if this window has none."""
        for one in runs:
            key = str(one.path)
            if key in self._seen_remote or self.conductor.busy:
                continue
            if self.watched is not None and self.watched.active:
                continue
            self._seen_remote.add(key)
            self._watch(WatchedRun(one))

    def _watch(self, watched: WatchedRun) -> None:
        self.watched = watched
        watched.told.connect(self.log.add)
        watched.ended.connect(self._watched_ended)
        watched.start()
        self.run_pane.follow(watched)
        self.run_pane.say(
            f"Watching a run of {watched.remote.owner}. It goes on when this window is closed."
        )
        self.watching.say("WATCHING", "busy")
        self.watching.show()
        self.tabs.setCurrentWidget(self.run_pane)
        self.log.add("info", f"watching {watched.path.name}, of {watched.remote.owner}")

    def _watched_ended(self, status: str, text: str) -> None:
        self.watching.hide()
        if self.run_pane.run is self.watched:
            self.run_pane.ended(status, text)
        self.log.add("info", f"the run that was watched has ended: {status} {text}".rstrip())
        self.conductor.look_at_folder()

    # ---- many times a second ---------------------------------------------------------------------

    def _tick(self) -> None:
        frame = self.worker.latest
        if frame is not None and frame is not self._frame and self.worker.live:
            if self._pace.due():
                self._frame = frame
                if self.live.isVisible():
                    self.live.show_frame(frame)
                    self._pace.drew(self.live.plot.canvas.paint_s)
        elif self.live.live_button.isChecked() and not self.worker.live:
            self.live.set_live(False)
        self.run_pane.refresh()
        if time.monotonic() - self._shown_s > _SHOW_EVERY_S:
            self._show_bench()
            self.run_pane.show_state()

    # ---- look -----------------------------------------------------------------------------------

    def toggle_theme(self) -> None:
        """Light or dark."""
        name = "light" if theme.current().palette.name == "dark" else "dark"
        self._apply(theme.Theme(theme.THEMES[name], theme.current().scale))

    def change_size(self, factor: float) -> None:
        """Larger or smaller letters."""
        scale = min(max(theme.current().scale * factor, theme.SMALLEST), theme.LARGEST)
        self._apply(theme.Theme(theme.current().palette, scale))

    def _apply(self, wanted: theme.Theme) -> None:
        app = QtWidgets.QApplication.instance()
        assert isinstance(app, QtWidgets.QApplication)
        before = theme.current().scale
        theme.apply(app, wanted)
        if wanted.scale != before:
            rescale(self, before, wanted.scale)
        self.theme_button.setText("Light" if wanted.palette.name == "dark" else "Dark")
        for widget in (self.live, self.run_pane, self.browser):
            widget.restyle()
        self.log.restyled()
        self.settings.setValue("theme", wanted.palette.name)
        self.settings.setValue("scale", wanted.scale)

    def show_keys(self) -> None:
        """Say what the keys do."""
        box = QtWidgets.QMessageBox(self)
        box.setWindowTitle("Keys")
        box.setTextFormat(QtCore.Qt.TextFormat.RichText)
        rows = "".join(
            f"<tr><td style='padding-right:18px'><b>{key}</b></td><td>{text}</td></tr>"
            for key, text in HELP
        )
        box.setText(f"<table cellspacing='4'>{rows}</table>")
        box.setAttribute(QtCore.Qt.WidgetAttribute.WA_DeleteOnClose)
        box.setModal(False)
        box.show()
        self.keys_box = box

    # ---- leaving --------------------------------------------------------------------------------

    def ask_to_leave(self) -> bool:
        """Ask whether to end the run that goes on; False keeps measuring."""
        box = QtWidgets.QMessageBox(self)
        box.setIcon(QtWidgets.QMessageBox.Icon.Warning)
        box.setWindowTitle("A run is going on")
        box.setText(
            f"{self.conductor.run.name} is going on.\nClosing ends it: the shutter is closed, what "
            "is recorded stays, and it can be resumed."
        )
        stay = box.addButton("Keep measuring", QtWidgets.QMessageBox.ButtonRole.RejectRole)
        leave = box.addButton("End it and close", QtWidgets.QMessageBox.ButtonRole.DestructiveRole)
        box.setDefaultButton(stay)
        box.exec_()
        return box.clickedButton() is leave

    def closeEvent(self, event: QtGui.QCloseEvent | None) -> None:
        """Leave the bench safe: the run ended, every instrument made safe and closed."""
        assert event is not None
        if self._left:
            self._timer.stop()
            self.conductor.end()
            self._collector.stop()
            event.accept()
            return
        event.ignore()
        if self._leaving:
            return
        if self.conductor.busy and not self.ask_to_leave():
            return
        self.leave()

    def leave(self) -> None:
        """End the run if there is one, make the bench safe, then close."""
        if self._leaving:
            return
        self._leaving = True
        keep(self)
        if self.watched is not None:
            self.watched.leave()
        self.log.add("info", "closing: the bench is made safe")
        self.setEnabled(False)
        self.header.setEnabled(True)
        if self.conductor.run.active:
            self.conductor.run.abort()
        else:
            self.worker.leave()
        QtCore.QTimer.singleShot(30_000, self._leave_anyway)

    def _close_now(self) -> None:
        self.close()

    def _leave_anyway(self) -> None:
        if not self._left:
            self.worker.leave()
            self._left = True
            self.close()


def _measurements() -> dict[str, str]:
    from procedures.registry import measurements

    return {name: entry.summary for name, entry in measurements().items()}


def _is_virtual(config: BenchConfig) -> bool:
    real = [one for one in config.instruments.values() if one.served or not one.simulated]
    return not real and config.simulation is not None and config.simulation.clock == "virtual"
