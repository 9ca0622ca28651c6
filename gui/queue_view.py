"""The queue: runs that wait, in their order; moved, removed and run from here.

The queue is the folder's, as the commands see it (`gainbench queue`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PyQt5 import QtCore, QtGui, QtWidgets

from gui import theme
from gui.fields import button, label


class QueueView(QtWidgets.QWidget):
    """`move_wanted(name, position)`, `remove_wanted(name)`; `run_all` for the whole queue."""

    move_wanted = QtCore.pyqtSignal(str, int)
    remove_wanted = QtCore.pyqtSignal(str)
    run_all = QtCore.pyqtSignal(bool)

    def __init__(self) -> None:
        super().__init__()
        size = theme.current().px
        box = QtWidgets.QVBoxLayout(self)
        box.setContentsMargins(size(6), size(4), size(8), size(8))
        box.setSpacing(size(4))
        top = QtWidgets.QHBoxLayout()
        top.addWidget(label("QUEUE", "title"))
        top.addStretch(1)
        self.summary = label("", "muted")
        top.addWidget(self.summary)
        box.addLayout(top)
        self.list = QtWidgets.QListWidget()
        self.list.setAccessibleName("queue")
        self.list.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setMinimumHeight(size(56))
        self.list.currentRowChanged.connect(lambda _row: self._enable())
        box.addWidget(self.list, 1)
        row = QtWidgets.QHBoxLayout()
        row.setSpacing(size(4))
        self.up = button("↑", "earlier (Alt+Up)")
        self.down = button("↓", "later (Alt+Down)")
        self.remove_button = button("Remove", "take it out of the queue (Delete)")
        self.run_button = button("Run queue", "one after the other, until nothing waits")
        self.run_button.setCheckable(True)
        for one in (self.up, self.down):
            one.setMaximumWidth(size(36))
        self.up.clicked.connect(lambda: self._move(-1))
        self.down.clicked.connect(lambda: self._move(1))
        self.remove_button.clicked.connect(lambda: self._remove())
        self.run_button.toggled.connect(lambda on: self.run_all.emit(on))
        for one in (self.up, self.down, self.remove_button):
            row.addWidget(one)
        row.addWidget(self.run_button, 1)
        box.addLayout(row)
        for keys, act in (
            ("Alt+Up", lambda: self._move(-1)),
            ("Alt+Down", lambda: self._move(1)),
            ("Delete", lambda: self._remove()),
        ):
            short = QtWidgets.QShortcut(QtGui.QKeySequence(keys), self.list)
            short.setContext(QtCore.Qt.ShortcutContext.WidgetShortcut)
            short.activated.connect(act)
        self.runs: list[Any] = []
        self._enable()

    def show_runs(self, runs: Sequence[Any]) -> None:
        """Show the queue as it is now (QueuedRun, in order)."""
        told = [(run.name, run.taken_by is not None, run.problem) for run in runs]
        if told == [(run.name, run.taken_by is not None, run.problem) for run in self.runs]:
            return
        chosen = self._chosen()
        self.runs = list(runs)
        self.list.clear()
        for number, run in enumerate(self.runs, start=1):
            what = run.measurement.replace("-", " ") or run.name
            about = "  ".join(part for part in (run.sample, run.spot) if part)
            state = "running" if run.taken_by is not None else (run.problem or run.status)
            item = QtWidgets.QListWidgetItem(f"{number}  {what}   {about}")
            item.setToolTip(f"{run.name}\n{run.points} points, {state}")
            if run.taken_by is not None:
                item.setText(f"{number}  {what}  (running)   {about}")
                item.setForeground(QtGui.QColor(theme.current().palette.busy))
            elif run.problem:
                item.setText(f"{number}  {what}   {run.problem}")
                item.setForeground(QtGui.QColor(theme.current().palette.bad))
            self.list.addItem(item)
            if run.name == chosen:
                self.list.setCurrentRow(number - 1)
        waiting = sum(run.waits for run in self.runs)
        self.summary.setText(f"{waiting} waiting" if waiting else "empty")
        self._enable()

    def show_running(self, on: bool) -> None:
        """Show whether the queue is being run, without asking for it."""
        if self.run_button.isChecked() != on:
            self.run_button.blockSignals(True)
            self.run_button.setChecked(on)
            self.run_button.blockSignals(False)
        self.run_button.setText("Stop after this run" if on else "Run queue")

    def _chosen(self) -> str:
        row = self.list.currentRow()
        return str(self.runs[row].name) if 0 <= row < len(self.runs) else ""

    def _enable(self) -> None:
        row = self.list.currentRow()
        movable = 0 <= row < len(self.runs) and self.runs[row].taken_by is None
        self.up.setEnabled(movable and row > 0)
        self.down.setEnabled(movable and row < len(self.runs) - 1)
        self.remove_button.setEnabled(movable)
        self.run_button.setEnabled(
            self.run_button.isChecked() or any(run.waits for run in self.runs)
        )
        for one, tip, none in (
            (self.up, "earlier (Alt+Up)", "choose a run that can go earlier"),
            (self.down, "later (Alt+Down)", "choose a run that can go later"),
            (self.remove_button, "take it out of the queue (Delete)", "choose a run that waits"),
            (self.run_button, "one after the other, until nothing waits", "nothing waits"),
        ):
            one.setToolTip(tip if one.isEnabled() else none)

    def _move(self, by: int) -> None:
        row = self.list.currentRow()
        if 0 <= row < len(self.runs) and 0 <= row + by < len(self.runs):
            self.move_wanted.emit(str(self.runs[row].name), row + by + 1)

    def _remove(self) -> None:
        name = self._chosen()
        if name and self.remove_button.isEnabled():
            self.remove_wanted.emit(name)
