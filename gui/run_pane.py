"""The run that goes on: its plots, its progress, and what stops it.

Shows whatever `Followed` gives: a run of this window, or one of another process. Redraws when there
are new records, as often as drawing is cheap.
"""

from __future__ import annotations

from typing import Any, Protocol

from PyQt5 import QtCore, QtWidgets

from gui import theme
from gui.fields import RIGHT, Chip, button, label
from gui.plots.pace import Pace
from gui.plots.view import MeasurementView, view_for
from gui.rundata import RunData
from gui.words import duration


class Followed(Protocol):
    """A run as this pane sees it."""

    name: str
    percent: float
    data: RunData | None

    @property
    def active(self) -> bool:
        """Whether it goes on."""

    @property
    def state(self) -> str:
        """A word."""

    def left_s(self) -> float | None:
        """How long the rest will take (s)."""


_CHIPS = {
    "starting": ("STARTING", "busy"),
    "running": ("RUNNING", "busy"),
    "pausing": ("PAUSING", "warn"),
    "paused": ("PAUSED", "warn"),
    "aborting": ("ABORTING", "warn"),
    "finished": ("FINISHED", "ok"),
    "aborted": ("ABORTED", "warn"),
    "failed": ("FAILED", "bad"),
    "interrupted": ("INTERRUPTED", "bad"),
    "idle": ("NO RUN", "off"),
}


_PAUSE = "waits before the next point, shutter closed; or goes on (F8)"
_ABORT = "ends the run; what is recorded stays (Ctrl+F8)"


class RunPane(QtWidgets.QWidget):
    """`pause`, `go_on` and `abort` are asked for by signals; `fit_wanted` when a fit would pay."""

    pause = QtCore.pyqtSignal()
    go_on = QtCore.pyqtSignal()
    abort = QtCore.pyqtSignal()
    fit_wanted = QtCore.pyqtSignal(object)

    def __init__(self) -> None:
        super().__init__()
        size = theme.current().px
        box = QtWidgets.QVBoxLayout(self)
        box.setContentsMargins(size(6), size(6), size(6), size(4))
        box.setSpacing(size(4))
        top = QtWidgets.QHBoxLayout()
        top.setSpacing(size(10))
        self.chip = Chip("NO RUN", "off")
        self.title = label("Nothing has been measured yet", "head")
        self.where = label("", "muted")
        self.where.setSizePolicy(
            QtWidgets.QSizePolicy.Policy.Ignored, QtWidgets.QSizePolicy.Policy.Preferred
        )
        self.where.setAlignment(RIGHT)
        top.addWidget(self.chip)
        top.addWidget(self.title)
        top.addWidget(self.where, 1)
        box.addLayout(top)
        self.note = label("", "warn", wrap=True)
        self.note.hide()
        box.addWidget(self.note)
        self.place = QtWidgets.QVBoxLayout()
        self.empty = label(
            "Choose a measurement at the right and press Start (F9).\n"
            "Spectrum, waterfall and fit appear here as the records arrive.", "muted"
        )  # fmt: skip
        self.empty.setAlignment(QtCore.Qt.AlignmentFlag.AlignCenter)
        self.place.addWidget(self.empty)
        box.addLayout(self.place, 1)
        bottom = QtWidgets.QHBoxLayout()
        bottom.setSpacing(size(8))
        self.bar = QtWidgets.QProgressBar()
        self.bar.setMaximum(1000)
        self.bar.setTextVisible(True)
        self.bar.setFormat("")
        self.pause_button = button("Pause", _PAUSE)
        self.abort_button = button("Abort", _ABORT)
        self.pause_button.clicked.connect(lambda: self._toggle_pause())
        self.abort_button.clicked.connect(lambda: self.abort.emit())
        bottom.addWidget(self.bar, 1)
        bottom.addWidget(self.pause_button)
        bottom.addWidget(self.abort_button)
        box.addLayout(bottom)
        self.view: MeasurementView | None = None
        self.run: Any = None
        self._drawn: tuple[int, int] = (0, -1)
        self._fitted: tuple[int, int] = (0, -1)
        self._pace = Pace()
        self._ready: tuple[str, MeasurementView | None] = ("", None)
        self._shown_for: RunData | None = None
        self._state = "idle"
        self.draws = 0

    def follow(self, run: Followed) -> None:
        """Show a run from now on."""
        self.run = run
        self.note.hide()
        self._drawn, self._fitted = (0, -1), (0, -1)
        self.show_state()

    def ended(self, status: str, text: str) -> None:
        """Show how it ended."""
        self._state = status
        self.show_state(status)
        self.note.setText(text)
        self.note.setVisible(bool(text))
        theme.restyle(self.note, role="error" if status == "failed" else "warn")
        self._pace.at_once()
        self.refresh()

    def say(self, text: str) -> None:
        """Show a remark above the plots."""
        self.note.setText(text)
        self.note.setVisible(bool(text))
        theme.restyle(self.note, role="warn")

    # ---- now and then ---------------------------------------------------------------------------

    def show_state(self, ended: str = "") -> None:
        """Show state, progress and time left."""
        run = self.run
        active = run is not None and run.active
        state = run.state if active else (ended or self._state)
        self._state = state if not active else "idle"
        self.chip.say(*_CHIPS.get(state, (state.upper(), "off")))
        self.pause_button.setEnabled(active and state in ("running", "pausing", "paused"))
        self.pause_button.setText("Resume" if state in ("pausing", "paused") else "Pause")
        self.pause_button.setProperty("kind", "primary" if state == "paused" else "")
        theme.restyle(self.pause_button, paused=str(state == "paused").lower())
        self.abort_button.setEnabled(active and state != "aborting")
        for one, tip in ((self.pause_button, _PAUSE), (self.abort_button, _ABORT)):
            none = "it is ending" if active else "no run is going on"
            one.setToolTip(tip if one.isEnabled() else none)
        if run is None:
            return
        data = run.data
        self.title.setText(run.name)
        if data is None:
            self.bar.setValue(0)
            self.bar.setFormat("getting the bench ready …" if active else "")
            return
        done, points = data.rows_complete, max(data.points, 1)
        self.bar.setValue(round(10.0 * run.percent))
        left = run.left_s() if active else None
        text = f"{done} of {points}"
        if left is not None and active:
            text += f",  {duration(left)} left"
        self.bar.setFormat(text)
        about = [part for part in (data.sample, data.spot) if part]
        file = data.path.name if data.path is not None else ""
        self.where.setText("  ·  ".join([*about, file]))
        self.where.setToolTip(str(data.path or ""))

    def refresh(self) -> None:
        """Draw new records, if there are any and drawing is affordable."""
        data: RunData | None = self.run.data if self.run is not None else None
        if data is None:
            return
        mark = (id(data), data.rows_complete)
        if mark == self._drawn or not data.rows_complete or not self._pace.due():
            return
        if not self.isVisible():
            self._maybe_fit(data)
            return
        if data is not self._shown_for:
            self._take_view(data)
        assert self.view is not None
        self._drawn = mark
        self.view.draw(data)
        self.draws += 1
        self._pace.drew(self.view.paint_s)
        self._maybe_fit(data)

    def _maybe_fit(self, data: RunData) -> None:
        mark = (id(data), data.rows_complete)
        if mark != self._fitted:
            self._fitted = mark
            self.fit_wanted.emit(data)

    def _take_view(self, data: RunData) -> None:
        self._shown_for = data
        self.empty.hide()
        if self.view is not None:
            self.place.removeWidget(self.view)
            self.view.deleteLater()
        name, ready = self._ready
        self._ready = ("", None)
        self.view = ready if ready is not None and name == data.measurement else None
        if self.view is None:
            self.view = view_for(data.measurement)
        self.place.addWidget(self.view, 1)
        self.view.show()

    def prepare(self, measurement: str) -> None:
        """Have the plots of a measurement made before its run begins: they take a while."""
        name, ready = self._ready
        if name != measurement:
            if ready is not None:
                ready.deleteLater()
            made = view_for(measurement)
            made.setParent(self)
            made.hide()
            self._ready = (measurement, made)

    def show_fit(self, data: RunData, evaluation: Any) -> None:
        """Show a fit, if it is of the run that is shown."""
        if self.view is not None and data is self._shown_for:
            self.view.show_fit(evaluation)

    def restyle(self) -> None:
        """Take another theme's colours."""
        for view in (self.view, self._ready[1]):
            if view is not None:
                view.restyle()

    def _toggle_pause(self) -> None:
        if self.run is not None and self.run.state in ("pausing", "paused"):
            self.go_on.emit()
        else:
            self.pause.emit()

    def toggle_pause(self) -> None:
        """As the button does."""
        if self.pause_button.isEnabled():
            self._toggle_pause()
