"""Fields for values with units: typed, stepped with the arrow keys, sent with Enter.

`QuantityEdit` holds a number for an instrument: what is typed is marked until Enter sends it.
"""

from __future__ import annotations

import math

from PyQt5 import QtCore, QtGui, QtWidgets

from gui import theme
from gui.words import plain, unit
from instruments.roles import Limits

_ALIGNED = QtCore.Qt.AlignmentFlag
RIGHT = QtCore.Qt.Alignment() | _ALIGNED.AlignRight | _ALIGNED.AlignVCenter
_BY_KEY = (
    QtCore.Qt.FocusReason.TabFocusReason,
    QtCore.Qt.FocusReason.BacktabFocusReason,
    QtCore.Qt.FocusReason.ShortcutFocusReason,
)
LEFT = QtCore.Qt.Alignment() | _ALIGNED.AlignLeft | _ALIGNED.AlignVCenter


class UnitEdit(QtWidgets.QLineEdit):
    """A line of text with a unit at its right end, and arrow keys that step the number."""

    stepped = QtCore.pyqtSignal()

    def __init__(self, unit_text: str = "", *, whole: bool = False) -> None:
        super().__init__()
        self.unit_text = unit(unit_text)
        self._plain_unit = unit_text if self.unit_text else ""
        self.whole = whole
        self.setAlignment(QtCore.Qt.AlignmentFlag.AlignRight)

    def value(self) -> float:
        """Return the number that is typed; ValueError if there is none."""
        text = self.text().strip()
        for ending in (self.unit_text, self._plain_unit):
            if ending and text.endswith(ending):
                text = text[: -len(ending)].strip()
        number = float(text.replace("\u2009", "").replace("−", "-").replace(",", "."))
        if not math.isfinite(number):
            raise ValueError(f"{text} is not a number")
        return number

    def step(self, steps: float) -> None:
        """Step the last digit that matters; PgUp and PgDown step ten times as far."""
        try:
            value = self.value()
        except ValueError:
            return
        size = 10.0 ** (math.floor(math.log10(abs(value)) + 1e-9) - 1) if value else 0.1
        if self.whole:
            size = max(size, 1.0)
        value = round(value / size + steps) * size
        self.setText(plain(float(f"{value:.10g}")))
        self.stepped.emit()
        self.textEdited.emit(self.text())

    def keyPressEvent(self, event: QtGui.QKeyEvent | None) -> None:
        """Arrow keys step."""
        steps: dict[int, float] = {
            QtCore.Qt.Key.Key_Up: 1.0,
            QtCore.Qt.Key.Key_Down: -1.0,
            QtCore.Qt.Key.Key_PageUp: 10.0,
            QtCore.Qt.Key.Key_PageDown: -10.0,
        }
        if event is not None and event.key() in steps and not self.isReadOnly():
            self.step(steps[event.key()])
            return
        super().keyPressEvent(event)

    def paintEvent(self, event: QtGui.QPaintEvent | None) -> None:
        """Paint the unit at the right, beside the text."""
        width = self.fontMetrics().horizontalAdvance(self.unit_text)
        gap = theme.current().px(5)
        right = width + gap if self.unit_text else 0
        if self.textMargins().right() != right:
            self.setTextMargins(0, 0, right, 0)
        super().paintEvent(event)
        if self.unit_text:
            painter = QtGui.QPainter(self)
            painter.setPen(QtGui.QColor(theme.current().palette.muted))
            where = self.rect().adjusted(0, 0, -theme.current().px(7), 0)
            painter.drawText(
                where,
                QtCore.Qt.AlignmentFlag.AlignRight | QtCore.Qt.AlignmentFlag.AlignVCenter,
                self.unit_text,
            )
            painter.end()


class QuantityEdit(UnitEdit):
    """A set point: shows what was read back until somebody types; Enter sends.

    `sent` carries the number, inside the limits; what is outside is marked and explained.
    """

    sent = QtCore.pyqtSignal(float)

    def __init__(self, name: str, unit_text: str, help_text: str = "") -> None:
        super().__init__(unit_text)
        self.name = name
        self._help = help_text
        self._limits: Limits | None = None
        self._edited = False
        self.setAccessibleName(f"{name} ({self.unit_text})" if self.unit_text else name)
        self.textEdited.connect(self._mark)
        self.returnPressed.connect(self.send)
        self._explain()

    def set_limits(self, limits: Limits | None) -> None:
        """Say what is allowed."""
        if limits != self._limits:
            self._limits = limits
            self._explain()

    def show_value(self, value: float | None) -> None:
        """Show what was read back, unless somebody is typing."""
        if self._edited or value is None:
            return
        text = plain(float(f"{value:.4g}"))
        if text != self.text():
            self.setText(text)
            self.setCursorPosition(0)

    def send(self) -> None:
        """Send what is typed."""
        problem = self._problem()
        if problem:
            self._show_problem(problem)
            return
        value = self.value()
        self._edited = False
        theme.restyle(self, state="")
        self._explain()
        self.sent.emit(value)

    def _problem(self) -> str:
        try:
            value = self.value()
        except ValueError:
            return f"{self.name}: {self.text()!r} is not a number"
        limits = self._limits
        if limits is not None and not limits.low <= value <= limits.high:
            return (
                f"{self.name}: {value:g} is outside {limits.low:g} to {limits.high:g} "
                f"{self.unit_text}"
            )
        return ""

    def _mark(self) -> None:
        self._edited = True
        problem = self._problem()
        if problem:
            self._show_problem(problem)
        else:
            theme.restyle(self, state="edited")
            self.setToolTip(f"{self.name}: press Enter to send it")

    def _show_problem(self, problem: str) -> None:
        theme.restyle(self, state="bad")
        self.setToolTip(problem)
        if self.hasFocus() and self.isVisible():
            where = self.mapToGlobal(QtCore.QPoint(0, self.height()))
            QtWidgets.QToolTip.showText(where, problem, self)

    def _explain(self) -> None:
        limits = self._limits
        allowed = (
            f"allowed {limits.low:.4g} to {limits.high:.4g} {self.unit_text}" if limits else ""
        )
        lines = [self._help or self.name, allowed, "Enter sends, the arrow keys step"]
        self.setToolTip("\n".join(line for line in lines if line))

    def focusInEvent(self, event: QtGui.QFocusEvent | None) -> None:
        """Whoever comes by the keyboard is told what is allowed, as the pointer's tip does."""
        super().focusInEvent(event)
        if event is not None and event.reason() in _BY_KEY:
            where = self.mapToGlobal(QtCore.QPoint(0, self.height()))
            QtWidgets.QToolTip.showText(where, self.toolTip(), self)

    def focusOutEvent(self, event: QtGui.QFocusEvent | None) -> None:
        """What was typed and not sent is given up when the focus goes."""
        super().focusOutEvent(event)
        if self._edited:
            self._edited = False
            theme.restyle(self, state="")
            self._explain()


def label(text: str = "", role: str = "", *, wrap: bool = False) -> QtWidgets.QLabel:
    """Return a label of a style ("title", "muted", "value", ...)."""
    made = QtWidgets.QLabel(text)
    if role:
        made.setProperty("role", role)
    made.setWordWrap(wrap)
    return made


def button(text: str, help_text: str = "", kind: str = "") -> QtWidgets.QPushButton:
    """Return a push button."""
    made = QtWidgets.QPushButton(text)
    made.setAutoDefault(False)
    if kind:
        made.setProperty("kind", kind)
    if help_text:
        made.setToolTip(help_text)
    return made


class TickBox(QtWidgets.QCheckBox):
    """A check box with a tick in it: colour alone would not tell whether it is checked."""

    def paintEvent(self, event: QtGui.QPaintEvent | None) -> None:
        """Paint the tick over the box that the style sheet draws."""
        super().paintEvent(event)
        style = self.style()
        if not self.isChecked() or style is None:
            return
        option = QtWidgets.QStyleOptionButton()
        self.initStyleOption(option)
        where = QtCore.QRectF(
            style.subElementRect(QtWidgets.QStyle.SubElement.SE_CheckBoxIndicator, option, self)
        )
        painter = QtGui.QPainter(self)
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        pen = QtGui.QPen(QtGui.QColor(theme.current().palette.on_accent), where.width() / 7.0)
        painter.setPen(pen)
        at = [(0.24, 0.52), (0.43, 0.72), (0.78, 0.28)]
        line = [
            QtCore.QPointF(where.x() + x * where.width(), where.y() + y * where.height())
            for x, y in at
        ]
        painter.drawPolyline(QtGui.QPolygonF(line))
        painter.end()


class Chip(QtWidgets.QLabel):
    """A state: a word on a colour."""

    def __init__(self, text: str = "", state: str = "off") -> None:
        super().__init__(text)
        self.setAlignment(QtCore.Qt.AlignmentFlag.AlignCenter)
        self.setProperty("chip", state)

    def say(self, text: str, state: str) -> None:
        """Show a word and its state."""
        if self.text() != text:
            self.setText(text)
        theme.restyle(self, chip=state)


class Dot(QtWidgets.QWidget):
    """A state as colour and shape: a disc is well, a triangle is a warning, a square is bad."""

    def __init__(self, state: str = "off") -> None:
        super().__init__()
        self._state = state
        size = theme.current().px(13)
        self.setFixedSize(size, size)

    def say(self, state: str) -> None:
        """Show a state."""
        if state != self._state:
            self._state = state
            self.update()

    def paintEvent(self, _event: QtGui.QPaintEvent | None) -> None:
        """Draw the shape."""
        size = theme.current().px(13)
        if self.width() != size:
            self.setFixedSize(size, size)
        colours = theme.current().palette
        colour = QtGui.QColor(getattr(colours, self._state, colours.muted))
        painter = QtGui.QPainter(self)
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        painter.setPen(QtCore.Qt.PenStyle.NoPen)
        painter.setBrush(colour)
        box = QtCore.QRectF(1.0, 1.0, self.width() - 2.0, self.height() - 2.0)
        if self._state == "warn":
            painter.drawPolygon(
                QtGui.QPolygonF(
                    [
                        QtCore.QPointF(box.center().x(), box.top()),
                        QtCore.QPointF(box.right(), box.bottom()),
                        QtCore.QPointF(box.left(), box.bottom()),
                    ]
                )
            )
        elif self._state == "bad":
            painter.drawRect(box)
        elif self._state == "off":
            painter.setBrush(QtCore.Qt.BrushStyle.NoBrush)
            painter.setPen(QtGui.QPen(colour, 1.5))
            painter.drawEllipse(box)
        else:
            painter.drawEllipse(box)
        painter.end()
