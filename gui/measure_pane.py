"""Choosing a measurement: its parameters, what it will take, and the buttons that begin it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PyQt5 import QtCore, QtWidgets

from gui import theme
from gui.fields import button, label
from gui.words import count, duration, significant
from instruments.errors import ConfigError

if TYPE_CHECKING:
    from gui.doses import SpotSeen
    from gui.form import ParameterForm


class MeasurePane(QtWidgets.QWidget):
    """`chosen(name)` asks for the class, given back by `show_class`; `forecast_wanted` for a
    forecast of `request()`; `start` and `queue` begin it or put it at the end of the queue."""

    chosen = QtCore.pyqtSignal(str)
    forecast_wanted = QtCore.pyqtSignal()
    start = QtCore.pyqtSignal()
    queue = QtCore.pyqtSignal()

    def __init__(self) -> None:
        super().__init__()
        self._timer = QtCore.QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(300)
        self._timer.timeout.connect(lambda: self.forecast_wanted.emit())
        size = theme.current().px
        box = QtWidgets.QVBoxLayout(self)
        box.setContentsMargins(size(6), size(8), size(8), size(6))
        box.setSpacing(size(6))
        box.addWidget(label("MEASUREMENT", "title"))
        self.choice = QtWidgets.QComboBox()
        self.choice.setAccessibleName("measurement")
        self.choice.activated.connect(lambda _index: self._choose())
        box.addWidget(self.choice)
        self.summary = label("", "muted", wrap=True)
        box.addWidget(self.summary)
        self._area = QtWidgets.QScrollArea()
        self._area.setWidgetResizable(True)
        self._area.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._inner = QtWidgets.QWidget()
        self._list = QtWidgets.QVBoxLayout(self._inner)
        self._list.setContentsMargins(0, 0, size(4), 0)
        self._list.setSpacing(size(6))
        self._list.addStretch(1)
        self._area.setWidget(self._inner)
        box.addWidget(self._area, 1)
        self.about = QtWidgets.QGridLayout()
        self.about.setSpacing(size(4))
        self.sample, self.spot, self.operator = (
            QtWidgets.QLineEdit(), QtWidgets.QLineEdit(), QtWidgets.QLineEdit()
        )  # fmt: skip
        for column, (name, field) in enumerate(
            (("Sample", self.sample), ("Spot", self.spot), ("Operator", self.operator))
        ):
            caption = label(name, "muted")
            caption.setBuddy(field)
            field.setAccessibleName(name)
            self.about.addWidget(caption, 0, column)
            self.about.addWidget(field, 1, column)
        self.about.setColumnStretch(0, 3)
        self.about.setColumnStretch(1, 2)
        self.about.setColumnStretch(2, 3)
        for field in (self.sample, self.spot):
            field.textChanged.connect(lambda _text: self._timer.start())
        self._timer.timeout.connect(self.show_start_of_texts)
        app = QtWidgets.QApplication.instance()
        assert isinstance(app, QtWidgets.QApplication)
        app.focusChanged.connect(self._focus_moved)
        box.addLayout(self.about)
        self.dose = label("", "muted", wrap=True)
        box.addWidget(self.dose)
        self.forecast = label("", "value", wrap=True)
        box.addWidget(self.forecast)
        row = QtWidgets.QHBoxLayout()
        self.reset_button = button("Defaults", "the paper's values again")
        self.queue_button = button("Queue", "put it at the end of the queue (F10)")
        self.start_button = button("Start", "begin now (F9)", "primary")
        self.reset_button.clicked.connect(self._defaults)
        self.queue_button.clicked.connect(lambda: self.queue.emit())
        self.start_button.clicked.connect(lambda: self.start.emit())
        row.addWidget(self.reset_button)
        row.addWidget(self.queue_button, 1)
        row.addWidget(self.start_button, 1)
        box.addLayout(row)
        self.why = label("", "muted", wrap=True)
        self.why.hide()
        box.addWidget(self.why)
        self.form: ParameterForm | None = None
        self.name = ""
        self._stored: dict[str, dict[str, Any]] = {}
        self.set_startable(False, "the bench is not open yet")

    # ---- what there is --------------------------------------------------------------------------

    def show_measurements(self, entries: dict[str, str]) -> None:
        """Offer measurements: name and summary."""
        self.choice.clear()
        for name, summary in entries.items():
            self.choice.addItem(name.replace("-", " "), name)
            self.choice.setItemData(
                self.choice.count() - 1, summary, QtCore.Qt.ItemDataRole.ToolTipRole
            )

    def choose(self, name: str, values: dict[str, Any] | None = None) -> None:
        """Choose a measurement, with values."""
        place = self.choice.findData(name)
        if place < 0:
            return
        if values is not None:
            self._stored[name] = values
            if name == self.name and self.form is not None:
                self.form.set_values(values)
                return
        self.choice.setCurrentIndex(place)
        self._choose()

    def _defaults(self) -> None:
        if self.form is not None:
            self.form.set_values({})

    def _choose(self) -> None:
        name = str(self.choice.currentData())
        if self.form is not None and self.name and not self.form.problems:
            self._stored[self.name] = self.form.values()
        self.name = name
        text = str(self.choice.currentData(QtCore.Qt.ItemDataRole.ToolTipRole) or "")
        self._summary = text[:1].upper() + text[1:]
        self.summary.setText(self._summary)
        self.chosen.emit(name)

    def _focus_moved(self, _old: QtWidgets.QWidget | None, now: QtWidgets.QWidget | None) -> None:
        """Say what the field with the focus is for, and what it allows; else the measurement."""
        helps = self.form.helps if self.form is not None else {}
        if now in helps:
            lines = [line for line in helps[now].splitlines() if not line.startswith("on the")]
            self.summary.setText(".  ".join(lines))
        elif self.summary.text() != self._summary:
            self.summary.setText(self._summary)

    def show_class(self, name: str, kind: Any) -> None:
        """Show the form of a measurement that was chosen."""
        from gui.form import ParameterForm  # late: the window is shown before

        if name != self.name:
            return
        if self.form is not None:
            self._list.removeWidget(self.form)
            self.form.deleteLater()
        self.form = ParameterForm(kind, self._stored.get(name))
        self.form.changed.connect(self._changed)
        self._list.insertWidget(0, self.form)
        self._changed()

    def stored(self) -> dict[str, dict[str, Any]]:
        """Return the values of every measurement that were changed, to be kept."""
        if self.form is not None and not self.form.problems:
            self._stored[self.name] = self.form.values()
        return dict(self._stored)

    def show_start_of_texts(self) -> None:
        """Show the beginning of what is longer than its field."""
        for field in (self.sample, self.spot, self.operator):
            if not field.hasFocus():
                field.setCursorPosition(0)
            field.setToolTip(field.text())

    def restore(self, stored: dict[str, dict[str, Any]]) -> None:
        """Take kept values."""
        self._stored = dict(stored)

    def request(self) -> tuple[str, dict[str, Any]] | None:
        """Return name and values of what is chosen, None if a value is not allowed."""
        if self.form is None or self.form.problems:
            return None
        try:
            return self.name, self.form.values()
        except ConfigError:
            return None

    # ---- forecast -------------------------------------------------------------------------------

    def _changed(self) -> None:
        if self.form is not None and self.form.problems:
            self.say_forecast("", "")
            self._timer.stop()
        else:
            self._timer.start()
        self._enable()

    def show_forecast(self, found: Any) -> None:
        """Show what the run takes."""
        text = (
            f"{duration(found.seconds)}, {found.points} points\n"
            f"{count(found.shots)} shots, {significant(found.dose_J_cm2)} J/cm² at most"
        )
        self.say_forecast(text, "value")
        self._enable()

    def show_dose(self, seen: SpotSeen) -> None:
        """Show what the spot has had."""
        self.dose.setText(seen.words())
        theme.restyle(self.dose, role="warn" if seen.nearly_spent else "muted")

    def say_forecast(self, text: str, role: str) -> None:
        """Show a line in the forecast's place ("error": it cannot be started so)."""
        self.forecast.setText(text)
        theme.restyle(self.forecast, role=role or "muted")
        self._refused = role == "error"
        self._enable()

    _summary = ""
    _refused = False
    _why_not = ""

    def set_startable(self, possible: bool, why_not: str = "") -> None:
        """Say whether a run can begin now."""
        self._why_not = "" if possible else why_not
        self._enable()

    def _enable(self) -> None:
        sound = self.form is not None and not self.form.problems and not self._refused
        self.queue_button.setEnabled(sound)
        self.start_button.setEnabled(sound and not self._why_not)
        self.start_button.setToolTip(self._why_not or "begin now (F9)")
        why = f"Not now: {self._why_not}." if self._why_not else ""
        if self.why.text() != why:
            self.why.setText(why)
            self.why.setVisible(bool(why))
