"""What the keys do. Escape closes the shutter wherever the focus is, even in a dialog."""

from __future__ import annotations

from typing import Any

from PyQt5 import QtCore, QtGui, QtWidgets

HELP = (
    ("Esc", "close the shutter, at once, from anywhere"),
    ("F5", "live view on or off"),
    ("F6", "one exposure"),
    ("F7", "take a background"),
    ("F8", "pause the run, or go on"),
    ("Ctrl+F8", "abort the run"),
    ("F9", "start the measurement"),
    ("F10", "queue the measurement"),
    ("Ctrl+1, 2, 3", "LIVE, RUN, HISTORY"),
    ("Ctrl+I, Ctrl+M, Ctrl+Q", "to the instruments, the measurement, the queue"),
    ("Ctrl+F", "search the log"),
    ("Ctrl+T", "light or dark"),
    ("Ctrl++, Ctrl+-", "larger or smaller letters"),
    ("Tab, Shift+Tab", "next or previous control"),
    ("Up, Down, PgUp, PgDn", "step the number in a field; Enter sends it"),
    ("+, -, arrows, Home, L", "in a plot: zoom, move, fit the scale, show it alone"),
)


class _Escape(QtCore.QObject):
    """Sees every Escape before anybody else does."""

    def __init__(self, window: Any) -> None:
        super().__init__(window)
        self._window = window

    def eventFilter(self, _watched: QtCore.QObject | None, event: QtCore.QEvent | None) -> bool:
        """Close the shutter; the key goes on to whoever else wants it (a list that is open)."""
        if (
            event is not None
            and event.type() == QtCore.QEvent.Type.KeyPress
            and isinstance(event, QtGui.QKeyEvent)
            and event.key() == QtCore.Qt.Key.Key_Escape
            and isinstance(_watched, QtGui.QWindow)
        ):
            self._window.close_shutter()
        return False


def bind(window: Any) -> None:
    """Give the window its keys."""
    app = QtWidgets.QApplication.instance()
    assert app is not None
    window.escape = _Escape(window)
    app.installEventFilter(window.escape)
    for keys, act in (
        ("F5", lambda: _click(window.live.live_button, window, 0)),
        ("F6", lambda: _click(window.live.single_button, window, 0)),
        ("F7", lambda: _click(window.live.background_button, window, 0)),
        ("F8", window.run_pane.toggle_pause),
        ("Ctrl+F8", window.run_pane.abort_button.click),
        ("F9", window.measure.start_button.click),
        ("F10", window.measure.queue_button.click),
        ("Ctrl+1", lambda: window.tabs.setCurrentIndex(0)),
        ("Ctrl+2", lambda: window.tabs.setCurrentIndex(1)),
        ("Ctrl+3", lambda: window.tabs.setCurrentIndex(2)),
        ("Ctrl+I", lambda: _first_field(window.panel)),
        ("Ctrl+M", window.measure.choice.setFocus),
        ("Ctrl+Q", window.queue.list.setFocus),
        ("Ctrl+F", window.log.search.setFocus),
        ("Ctrl+T", window.toggle_theme),
        ("Ctrl++", lambda: window.change_size(1.1)),
        ("Ctrl+=", lambda: window.change_size(1.1)),
        ("Ctrl+-", lambda: window.change_size(1 / 1.1)),
        ("F1", window.show_keys),
    ):
        short = QtWidgets.QShortcut(QtGui.QKeySequence(keys), window)
        short.setContext(QtCore.Qt.ShortcutContext.ApplicationShortcut)
        short.activated.connect(act)


def _click(button: QtWidgets.QPushButton, window: Any, tab: int) -> None:
    window.tabs.setCurrentIndex(tab)
    button.click()


def _first_field(panel: QtWidgets.QWidget) -> None:
    for kind in (QtWidgets.QLineEdit, QtWidgets.QPushButton):
        for one in panel.findChildren(kind):
            if one.isVisible() and one.isEnabled():
                one.setFocus()
                return
