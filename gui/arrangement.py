"""What is where in the window, and how large; what of that is kept from one day to the next."""

from __future__ import annotations

import json
from typing import Any

from PyQt5 import QtCore, QtWidgets

from gui import theme
from gui.browser import Browser
from gui.fields import Chip
from gui.header import Header
from gui.live import LiveView
from gui.log_view import LogView
from gui.measure_pane import MeasurePane
from gui.panel import BenchPanel
from gui.queue_view import QueueView
from gui.run_pane import RunPane

_SPLIT = ("across", "right", "down")
_NAMED = ("sample", "spot", "operator")


def arrange(window: Any) -> None:
    """Make the parts of a Window and put them in their places."""
    size = theme.current().px
    window.header = Header()
    window.panel = BenchPanel(window._ask)
    window.live = LiveView()
    window.run_pane = RunPane()
    window.browser = Browser(window.conductor.files, window.conductor.fits)
    window.browser.folder = window.config.data_dir
    window.tabs = QtWidgets.QTabWidget()
    window.tabs.setDocumentMode(True)
    window.tabs.addTab(window.live, "LIVE")
    window.tabs.addTab(window.run_pane, "RUN")
    window.tabs.addTab(window.browser, "HISTORY")
    window.tabs.setCornerWidget(_corner(window))
    window.measure = MeasurePane()
    window.queue = QueueView()
    window.log = LogView()
    window.right = QtWidgets.QSplitter(QtCore.Qt.Orientation.Vertical)
    window.right.addWidget(window.measure)
    window.right.addWidget(window.queue)
    window.right.setChildrenCollapsible(False)
    window.right.setSizes([size(430), size(150)])
    window.right.setStretchFactor(0, 1)
    window.across = QtWidgets.QSplitter(QtCore.Qt.Orientation.Horizontal)
    for widget in (window.panel, window.tabs, window.right):
        window.across.addWidget(widget)
    window.across.setChildrenCollapsible(False)
    window.across.setStretchFactor(1, 1)
    window.across.setSizes([size(276), size(788), size(294)])
    window.panel.setMinimumWidth(size(274))
    window.right.setMinimumWidth(size(268))
    window.down = QtWidgets.QSplitter(QtCore.Qt.Orientation.Vertical)
    window.down.addWidget(window.across)
    window.down.addWidget(window.log)
    window.down.setCollapsible(0, False)
    window.down.setStretchFactor(0, 1)
    window.down.setSizes([size(600), size(92)])
    window.log.setMinimumHeight(size(60))
    whole = QtWidgets.QWidget()
    box = QtWidgets.QVBoxLayout(whole)
    box.setContentsMargins(0, 0, 0, 0)
    box.setSpacing(0)
    box.addWidget(window.header)
    box.addWidget(window.down, 1)
    window.setCentralWidget(whole)
    window.resize(size(1366), size(768))


def _corner(window: Any) -> QtWidgets.QWidget:
    size = theme.current().px
    made = QtWidgets.QWidget()
    row = QtWidgets.QHBoxLayout(made)
    row.setContentsMargins(0, size(2), size(6), size(2))
    row.setSpacing(size(4))
    window.watching = Chip("", "off")
    window.watching.hide()
    row.addWidget(window.watching)
    for text, tip, act in (
        ("A-", "smaller letters (Ctrl+-)", lambda: window.change_size(1 / 1.1)),
        ("A+", "larger letters (Ctrl++)", lambda: window.change_size(1.1)),
        ("Light", "light or dark (Ctrl+T)", window.toggle_theme),
        ("Keys", "what the keys do (F1)", window.show_keys),
    ):
        button = QtWidgets.QToolButton()
        button.setText(text)
        button.setToolTip(tip)
        button.clicked.connect(lambda _on, act=act: act())
        row.addWidget(button)
        if text == "Light":
            window.theme_button = button
    return made


def rescale(root: QtWidgets.QWidget, before: float, now: float) -> None:
    """Give margins, gaps and fixed sizes another scale: a style sheet changes letters alone.

    What each was at scale 1 is noted when it is met first; it was made at the scale `before`.
    """
    for layout in root.findChildren(QtWidgets.QLayout):
        margins = layout.contentsMargins()
        around = [margins.left(), margins.top(), margins.right(), margins.bottom()]
        gaps = [layout.spacing()]
        if isinstance(layout, QtWidgets.QGridLayout):
            gaps = [layout.horizontalSpacing(), layout.verticalSpacing()]
        new = _scaled(layout, [*around, *gaps], before, now)
        layout.setContentsMargins(*new[:4])
        if isinstance(layout, QtWidgets.QGridLayout):
            layout.setHorizontalSpacing(new[4])
            layout.setVerticalSpacing(new[5])
        else:
            layout.setSpacing(new[4])
    for widget in root.findChildren(QtWidgets.QWidget):
        if widget.objectName().startswith("qt_") or widget.isWindow():
            continue
        least, most = widget.minimumSize(), widget.maximumSize()
        sizes = [least.width(), least.height(), most.width(), most.height()]
        if sizes[:2] != [0, 0] or min(sizes[2:]) < _UNBOUNDED:
            new = _scaled(widget, sizes, before, now)
            widget.setMaximumSize(new[2], new[3])
            widget.setMinimumSize(new[0], new[1])
        if isinstance(widget, QtWidgets.QTableView):
            header, rows = widget.horizontalHeader(), widget.verticalHeader()
            if header is not None and rows is not None:
                rows.setDefaultSectionSize(round(rows.defaultSectionSize() * now / before))
                for column in range(header.count() - 1):
                    widget.setColumnWidth(column, round(widget.columnWidth(column) * now / before))


_UNBOUNDED = 16_777_215
_NOTED = "at scale 1"


def _scaled(one: QtCore.QObject, values: list[int], before: float, now: float) -> list[int]:
    """Return values at another scale; nothing, nothing set (-1) and no bound stay so."""
    noted = one.property(_NOTED)
    if noted is None:
        noted = [v / before if 0 < v < _UNBOUNDED else v for v in values]
        one.setProperty(_NOTED, noted)
    return [max(round(v * now), 1) if 0 < v < _UNBOUNDED else int(v) for v in noted]


# ---- what is kept ------------------------------------------------------------------------------


def restore(window: Any) -> None:
    """Show what was chosen last time, in the sizes of last time."""
    stored = window.settings
    for name in _SPLIT:
        state = stored.value(f"layout/{name}")
        if state is not None:
            getattr(window, name).restoreState(state)
    geometry = stored.value("layout/window")
    if geometry is not None:
        window.restoreGeometry(geometry)
    for name in _NAMED:
        getattr(window.measure, name).setText(str(stored.value(name, "")))
    window.measure.show_start_of_texts()
    try:
        window.measure.restore(json.loads(str(stored.value("parameters", "{}"))))
    except (ValueError, TypeError):
        window.log.add("warning", "the parameters of last time cannot be read; defaults are used")
    window.theme_button.setText("Light" if theme.current().palette.name == "dark" else "Dark")


def keep(window: Any) -> None:
    """Keep what is chosen, and the sizes."""
    stored = window.settings
    for name in _SPLIT:
        stored.setValue(f"layout/{name}", getattr(window, name).saveState())
    stored.setValue("layout/window", window.saveGeometry())
    for name in _NAMED:
        stored.setValue(name, getattr(window.measure, name).text())
    if window.measure.name:
        stored.setValue("measurement", window.measure.name)
    stored.setValue("parameters", json.dumps(window.measure.stored()))
    stored.sync()
