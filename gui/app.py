"""Starts the window: the application, its look, and what happens to errors nobody caught."""

from __future__ import annotations

import logging
import signal
import sys
import traceback
from types import FrameType, TracebackType
from typing import Any

from PyQt5 import QtCore, QtWidgets

from gui import theme
from instruments.config import BenchConfig
from instruments.config import default as default_bench

log = logging.getLogger(__name__)

_SWITCH_S = 0.002
"""How soon another thread gives way to the window's."""


def main(config: BenchConfig | None) -> int:
    """Open the window over a bench and return when it is closed; 0 is well."""
    sys.setswitchinterval(_SWITCH_S)
    QtWidgets.QApplication.setAttribute(QtCore.Qt.ApplicationAttribute.AA_UseHighDpiPixmaps)
    app = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["gainbench"])
    assert isinstance(app, QtWidgets.QApplication)
    app.setApplicationName("gainbench")
    app.setOrganizationName("gainbench")
    settings = QtCore.QSettings(
        QtCore.QSettings.Format.IniFormat, QtCore.QSettings.Scope.UserScope, "gainbench", "window"
    )
    use_theme(app, settings)
    from gui.window import Window  # after the style, and with the plots

    window = Window(in_real_time(config), settings)
    _catch(window)
    window.show()
    window.begin()
    code = int(app.exec_())
    take_apart(window)
    return code


def take_apart(window: QtWidgets.QWidget) -> None:
    """Delete a closed window here and now: at the interpreter's end the order would be anyone's."""
    window.deleteLater()
    QtCore.QCoreApplication.sendPostedEvents(window, QtCore.QEvent.Type.DeferredDelete)
    QtWidgets.QApplication.processEvents()


def in_real_time(config: BenchConfig | None) -> BenchConfig:
    """Return the bench of the window: simulated time is real time here, unless the file says so."""
    found = config if config is not None else default_bench()
    table = found.simulation
    if table is None or "clock" in table.model_fields_set:
        return found
    made = found.model_copy(update={"simulation": table.model_copy(update={"clock": "wall"})})
    made._file, made._text = found.file, found.text
    return made


def use_theme(app: QtWidgets.QApplication, settings: QtCore.QSettings) -> None:
    """Use the theme of last time; the first time dark, at the size of the screen."""
    screen = app.primaryScreen()
    fitting = theme.scale_for(screen.size().height()) if screen is not None else 1.0
    try:
        scale = float(settings.value("scale", fitting))
    except (TypeError, ValueError):
        scale = fitting
    palette = theme.THEMES.get(str(settings.value("theme", "dark")), theme.DARK)
    theme.apply(app, theme.Theme(palette, min(max(scale, theme.SMALLEST), theme.LARGEST)))


def _catch(window: Any) -> None:
    """Errors nobody caught go into the log, and end nothing; signals close the window, safely."""

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        text = "".join(traceback.format_exception(kind, error, trace))
        sys.stderr.write(text)
        window.log.add("error", f"an error in the window: {error}\n{text}")

    def asked(_number: int, _frame: FrameType | None) -> None:
        QtCore.QTimer.singleShot(0, window.leave)

    sys.excepthook = hook
    for name in ("SIGINT", "SIGTERM", "SIGBREAK", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None:
            signal.signal(number, asked)
