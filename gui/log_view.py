"""The log: what happened, with levels and a search; errors stay in sight."""

from __future__ import annotations

import time
from dataclasses import dataclass

from PyQt5 import QtCore, QtGui, QtWidgets

from gui import theme
from gui.fields import label

_LEVELS = {"info": 0, "warning": 1, "error": 2}
_MOST_LINES = 5000


@dataclass(frozen=True)
class Line:
    """One line: seconds since 1970, level, text."""

    moment: float
    level: str
    text: str


class LogView(QtWidgets.QWidget):
    """The newest line is at the end; the list follows it unless the operator has scrolled up."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[Line] = []
        size = theme.current().px
        box = QtWidgets.QVBoxLayout(self)
        box.setContentsMargins(size(10), size(4), size(10), size(6))
        box.setSpacing(size(4))
        top = QtWidgets.QHBoxLayout()
        top.setSpacing(size(8))
        top.addWidget(label("LOG", "title"))
        self.counts = label("", "muted")
        top.addWidget(self.counts)
        top.addStretch(1)
        self.level = QtWidgets.QComboBox()
        self.level.addItems(["everything", "warnings and errors", "errors"])
        self.level.setAccessibleName("level of the log")
        self.level.currentIndexChanged.connect(lambda _index: self._refill())
        top.addWidget(self.level)
        self.search = QtWidgets.QLineEdit()
        self.search.setPlaceholderText("search the log (Ctrl+F)")
        self.search.setClearButtonEnabled(True)
        self.search.setMinimumWidth(size(200))
        self.search.setMaximumWidth(size(260))
        self.search.textChanged.connect(lambda _text: self._refill())
        top.addWidget(self.search)
        box.addLayout(top)
        self.list = QtWidgets.QListWidget()
        self.list.setUniformItemSizes(True)
        self.list.setSelectionMode(QtWidgets.QAbstractItemView.SelectionMode.ExtendedSelection)
        self.list.setTextElideMode(QtCore.Qt.TextElideMode.ElideNone)
        box.addWidget(self.list, 1)
        copy = QtWidgets.QShortcut(QtGui.QKeySequence.StandardKey.Copy, self.list)
        copy.setContext(QtCore.Qt.ShortcutContext.WidgetShortcut)
        copy.activated.connect(self._copy)

    def add(self, level: str, text: str, moment: float | None = None) -> None:
        """Add a line (of several lines, only the first is shown; the rest is its tip)."""
        line = Line(time.time() if moment is None else moment, level, text)
        self.lines.append(line)
        del self.lines[:-_MOST_LINES]
        if self._wanted(line):
            self._show(line)
        while self.list.count() > _MOST_LINES:
            self.list.takeItem(0)
        self._count()

    def _wanted(self, line: Line) -> bool:
        asked = self.search.text().strip().lower()
        return _LEVELS.get(line.level, 0) >= self.level.currentIndex() and (
            not asked or asked in line.text.lower()
        )

    def _show(self, line: Line) -> None:
        colours = theme.current().palette
        stamp = time.strftime("%H:%M:%S", time.localtime(line.moment))
        word = {"warning": "warning  ", "error": "ERROR  "}.get(line.level, "")
        item = QtWidgets.QListWidgetItem(f"{stamp}  {word}{line.text.splitlines()[0][:400]}")
        item.setToolTip(line.text if len(line.text) > 90 else "")
        colour = {"warning": colours.warn, "error": colours.bad}.get(line.level, colours.text)
        item.setForeground(QtGui.QColor(colour))
        bar = self.list.verticalScrollBar()
        follow = bar is None or bar.value() >= bar.maximum() - 2
        self.list.addItem(item)
        if follow:
            self.list.scrollToBottom()

    def _refill(self) -> None:
        self.list.clear()
        for line in self.lines[-1500:]:
            if self._wanted(line):
                self._show(line)

    def restyled(self) -> None:
        """Take the colours of another theme."""
        self._refill()

    def _count(self) -> None:
        errors = sum(line.level == "error" for line in self.lines)
        warnings = sum(line.level == "warning" for line in self.lines)
        parts = [_many(errors, "error"), _many(warnings, "warning")]
        self.counts.setText(", ".join(part for part in parts if part))

    def _copy(self) -> None:
        board = QtWidgets.QApplication.clipboard()
        if board is not None:
            board.setText("\n".join(item.text() for item in self.list.selectedItems()))


def _many(number: int, word: str) -> str:
    if not number:
        return ""
    return f"{number} {word}" + ("s" if number > 1 else "")
