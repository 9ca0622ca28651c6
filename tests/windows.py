"""A window over a simulated bench, and patience, for the window's tests."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PyQt5 import QtCore, QtWidgets

from gui import theme
from instruments.config import parse

VIRTUAL = """
[bench]
name = "test bench"
data_dir = "runs"
[simulation]
clock = "virtual"
[simulation.sample]
threshold_uJ_cm2 = 22.0
"""
FEW = {"points": 12, "centre_wavelength_nm": 520.0, "shots_min": 20}
"""A power sweep that is over soon."""


def until(condition: Callable[[], Any], what: str, seconds: float = 30.0) -> None:
    """Let the window work until `condition()`; fail, saying what was waited for."""
    end = time.monotonic() + seconds
    while not condition():
        QtWidgets.QApplication.processEvents()
        time.sleep(0.004)
        if time.monotonic() > end:
            raise AssertionError("\n".join([f"waited {seconds:g} s for: {what}", *_told()]))


_open: list[Any] = []


def _told() -> list[str]:
    """Return what the open windows have said last."""
    return [f"  {line.level}: {line.text}" for made in _open for line in made.log.lines[-30:]]


def make_window(folder: Path, text: str = VIRTUAL) -> Any:
    """Return a shown window that opens its bench."""
    app = QtWidgets.QApplication.instance()
    assert isinstance(app, QtWidgets.QApplication)
    theme.apply(app, theme.Theme(theme.DARK, 1.0))
    from gui.app import in_real_time
    from gui.window import Window

    config = in_real_time(parse(text, str(folder / "bench.toml")))
    settings = QtCore.QSettings(str(folder / "window.ini"), QtCore.QSettings.Format.IniFormat)
    window = Window(config, settings)
    window.resize(1366, 768)
    window.show()
    window.begin()
    _open.append(window)
    return window


def opened(folder: Path, text: str = VIRTUAL) -> Any:
    """Return a window whose bench is open and whose form is there."""
    window = make_window(folder, text)
    until(lambda: window.view.phase in ("open", "failed"), "the bench to open", 60.0)
    until(lambda: window.measure.form is not None, "the form of the measurement")
    return window


def leave(window: Any) -> None:
    """Close a window, and wait until its bench is closed."""
    window.ask_to_leave = lambda: True
    window.close()
    until(lambda: window._left and not window.isVisible(), "the bench to be closed")
    from gui.app import take_apart

    _open.remove(window)
    take_apart(window)


def said(window: Any, words: str, level: str = "") -> bool:
    """Return whether the log says something."""
    return any(
        words in line.text and (not level or line.level == level) for line in window.log.lines
    )


def begin(window: Any, values: dict[str, Any], sample: str = "film 1") -> None:
    """Press Start with some values, and wait for the run to have begun."""
    window.measure.choose("power-sweep", values)
    window.measure.sample.setText(sample)
    until(window.measure.start_button.isEnabled, "Start to be possible")
    window.measure.start_button.click()
    until(lambda: window.conductor.run.active, "the run to begin")


def ended(window: Any, seconds: float = 60.0) -> Path:
    """Wait for the end of the run; return its file."""
    until(lambda: not window.conductor.busy, "the end of the run", seconds)
    path: Path | None = window.conductor.run.path
    assert path is not None
    return path
