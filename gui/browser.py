"""History: find run files, open one, lay others over it, fit again, export, resume."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PyQt5 import QtCore, QtWidgets

from gui import theme
from gui.exporting import write_figure, write_table
from gui.fields import LEFT, Chip, UnitEdit, button, label
from gui.fits import fit, inside
from gui.history_table import RESUMABLE, RunFilter, RunTable
from gui.jobs import Jobs
from gui.plots.view import MeasurementView, view_for
from gui.rundata import RunData, from_file
from gui.words import plain, result, result_name

_SINCE = (("any date", None), ("today", 0), ("last 7 days", 7), ("last 30 days", 30))
_STATUSES = ("finished", "aborted", "failed", "interrupted", "running", "queued")


class Browser(QtWidgets.QWidget):
    """Run files of the data folder. `resume(path)` asks to go on with one."""

    resume = QtCore.pyqtSignal(str)
    told = QtCore.pyqtSignal(str, str)
    refresh_wanted = QtCore.pyqtSignal()

    def __init__(self, files: Jobs, fits: Jobs) -> None:
        super().__init__()
        self._files, self._fits = files, fits
        self.folder = Path()
        self.data: RunData | None = None
        self.evaluation: Any = None
        self.view: MeasurementView | None = None
        self._overlaid: dict[str, RunData] = {}
        size = theme.current().px
        box = QtWidgets.QVBoxLayout(self)
        box.setContentsMargins(size(6), size(6), size(6), size(4))
        box.setSpacing(size(4))
        split = QtWidgets.QSplitter(QtCore.Qt.Orientation.Vertical)
        split.setChildrenCollapsible(False)
        split.addWidget(self._make_list())
        split.addWidget(self._make_detail())
        split.setStretchFactor(0, 2)
        split.setStretchFactor(1, 5)
        split.setSizes([size(150), size(420)])
        self.split = split
        box.addWidget(split)

    # ---- the list -------------------------------------------------------------------------------

    def _make_list(self) -> QtWidgets.QWidget:
        size = theme.current().px
        made = QtWidgets.QWidget()
        box = QtWidgets.QVBoxLayout(made)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(size(4))
        row = QtWidgets.QHBoxLayout()
        row.setSpacing(size(6))
        self.search = QtWidgets.QLineEdit()
        self.search.setPlaceholderText("sample, spot, operator, file …")
        self.search.setClearButtonEnabled(True)
        self.measurement = QtWidgets.QComboBox()
        self.measurement.addItem("every measurement", "")
        self.status = QtWidgets.QComboBox()
        self.status.addItem("every status", "")
        for one in _STATUSES:
            self.status.addItem(one, one)
        self.since = QtWidgets.QComboBox()
        for text, days in _SINCE:
            self.since.addItem(text, days)
        row.addWidget(self.search, 1)
        for box_, name in ((self.measurement, "measurement"), (self.status, "status"),
                           (self.since, "date")):  # fmt: skip
            box_.setAccessibleName(name)
            box_.currentIndexChanged.connect(lambda _index: self._filter())
            row.addWidget(box_)
        self.search.textChanged.connect(lambda _text: self._filter())
        box.addLayout(row)
        self.model = RunTable()
        self.model.ticked.connect(self._overlay)
        self.proxy = RunFilter()
        self.proxy.setSourceModel(self.model)
        self.table = QtWidgets.QTableView()
        self.table.setModel(self.proxy)
        self.table.setSortingEnabled(True)
        self.table.sortByColumn(1, QtCore.Qt.SortOrder.DescendingOrder)
        self.table.setSelectionBehavior(QtWidgets.QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QtWidgets.QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setShowGrid(False)
        self.table.setTabKeyNavigation(False)  # Tab leaves it: the arrows move inside
        self.table.setAlternatingRowColors(True)
        self.table.setAccessibleName("run files")
        self.table.setMinimumHeight(size(90))
        vertical = self.table.verticalHeader()
        horizontal = self.table.horizontalHeader()
        assert vertical is not None and horizontal is not None
        vertical.hide()
        vertical.setDefaultSectionSize(size(25))
        horizontal.setStretchLastSection(True)
        horizontal.setHighlightSections(False)
        horizontal.setDefaultAlignment(LEFT)
        for column, width in enumerate((30, 138, 122, 110, 60, 92, 90, 90)):
            self.table.setColumnWidth(column, size(width))
        self.table.activated.connect(lambda _index: self.open_chosen())
        self.table.clicked.connect(self._clicked)
        box.addWidget(self.table, 1)
        return made

    def show_headers(self, headers: Sequence[Any]) -> None:
        """Show the runs of the folder."""
        chosen = self._chosen()
        self.model.show_headers(headers)
        names = sorted({one.measurement for one in headers if one.measurement})
        known = [self.measurement.itemData(i) for i in range(1, self.measurement.count())]
        if names != known:
            kept = self.measurement.currentData()
            self.measurement.blockSignals(True)
            while self.measurement.count() > 1:
                self.measurement.removeItem(1)
            for name in names:
                self.measurement.addItem(name.replace("-", " "), name)
            self.measurement.setCurrentIndex(max(self.measurement.findData(kept), 0))
            self.measurement.blockSignals(False)
        if chosen:
            self.choose(chosen)

    def _filter(self) -> None:
        days = self.since.currentData()
        since = ""
        if days is not None:
            since = (datetime.date.today() - datetime.timedelta(days=days)).isoformat()
        self.proxy.ask(
            self.search.text(), self.measurement.currentData(), self.status.currentData(), since
        )

    def _chosen(self) -> str:
        index = self.table.currentIndex()
        if not index.isValid():
            return ""
        return str(self.model.headers[self.proxy.mapToSource(index).row()].file)

    def choose(self, file: str) -> None:
        """Select a file in the table."""
        for row, header in enumerate(self.model.headers):
            if header.file == file:
                index = self.proxy.mapFromSource(self.model.index(row, 1))
                if index.isValid() and index != self.table.currentIndex():
                    self.table.setCurrentIndex(index)

    # ---- one run --------------------------------------------------------------------------------

    def _make_detail(self) -> QtWidgets.QWidget:
        size = theme.current().px
        made = QtWidgets.QWidget()
        box = QtWidgets.QVBoxLayout(made)
        box.setContentsMargins(0, size(2), 0, 0)
        box.setSpacing(size(4))
        row = QtWidgets.QHBoxLayout()
        row.setSpacing(size(8))
        self.chip = Chip("", "off")
        self.chip.hide()
        self.title = label("Choose a run above: Enter or a click opens it, ticks lay runs over it.",
                           "muted")  # fmt: skip
        self.title.setSizePolicy(
            QtWidgets.QSizePolicy.Policy.Ignored, QtWidgets.QSizePolicy.Policy.Preferred
        )
        row.addWidget(self.chip)
        row.addWidget(self.title, 1)
        self.resume_button = button("Resume", "goes on from the first missing point", "primary")
        self.resume_button.clicked.connect(self._resume)
        self.resume_button.hide()
        row.addWidget(self.resume_button)
        box.addLayout(row)
        self.place = QtWidgets.QVBoxLayout()
        box.addLayout(self.place, 1)
        tools = QtWidgets.QHBoxLayout()
        tools.setSpacing(size(6))
        self.range_label = label("Fit from", "muted")
        self.low, self.high = UnitEdit(), UnitEdit()
        for field, name in ((self.low, "fit from"), (self.high, "fit to")):
            field.setMaximumWidth(size(96))
            field.setAccessibleName(name)
            field.returnPressed.connect(self.refit)
        self.fit_button = button("Fit again", "with the records of this range only")
        self.fit_button.clicked.connect(self.refit)
        self.all_button = button("All", "fit all records")
        self.all_button.clicked.connect(self._fit_all)
        self.figure_button = button("Figure …", "PNG, SVG or PDF")
        self.figure_button.clicked.connect(self._ask_figure)
        self.table_button = button("Table …", "CSV: results and every single value")
        self.table_button.clicked.connect(self._ask_table)
        tools.addWidget(self.range_label)
        tools.addWidget(self.low)
        tools.addWidget(label("to", "muted"))
        tools.addWidget(self.high)
        tools.addWidget(self.fit_button)
        tools.addWidget(self.all_button)
        tools.addStretch(1)
        tools.addWidget(self.figure_button)
        tools.addWidget(self.table_button)
        self._tools = QtWidgets.QWidget()
        self._tools.setLayout(tools)
        tools.setContentsMargins(0, 0, 0, 0)
        self._tools.setEnabled(False)
        for one in (self.low, self.high, self.fit_button, self.all_button, self.figure_button,
                    self.table_button):  # fmt: skip
            one.setToolTip("open a run first")
        box.addWidget(self._tools)
        return made

    def _clicked(self, index: QtCore.QModelIndex) -> None:
        if index.column():  # the first one is for the ticks
            self.open_chosen()

    def open_chosen(self) -> None:
        """Open the run that is chosen in the table."""
        file = self._chosen()
        if file:
            self.open(Path(file))

    def open(self, path: Path) -> None:
        """Open a run file, off the window's thread."""
        self.title.setText(f"opening {path.name} …")
        self._files.do(
            lambda: from_file(path),
            self._show,
            lambda error: self._refuse(path, error),
            name="open",
        )

    _title = ""

    def _refuse(self, path: Path, error: BaseException) -> None:
        self.title.setText(f"{path.name}: {error}")
        self.told.emit("error", f"{path.name} cannot be opened: {error}")

    def _show(self, data: RunData) -> None:
        if self.view is None or self.data is None or data.measurement != self.data.measurement:
            if self.view is not None:
                self.place.removeWidget(self.view)
                self.view.deleteLater()
            self.view = view_for(data.measurement)
            self.place.addWidget(self.view, 1)
        self.data, self.evaluation = data, None
        status = data.status
        state = {"finished": "ok", "running": "busy"}.get(status, "warn")
        self.chip.say(status.upper(), "bad" if status in ("failed", "interrupted") else state)
        self.chip.show()
        about = [data.measurement.replace("-", " "), data.sample, data.spot, data.start_time[:16]]
        self._title = "   ·   ".join(escape(p.replace("T", " ")) for p in about if p)
        self.title.setText(self._title)
        self.title.setToolTip(str(data.path))
        self.resume_button.setVisible(status in RESUMABLE)
        self.view.show_fit(None)
        self._tools.setEnabled(True)
        self.table_button.setToolTip("CSV: results and every single value")
        ranged = bool(self.view.RANGE) and data.complete and data.rows_complete > 0
        for widget, tip in (
            (self.low, "first value that is fitted"),
            (self.high, "last value that is fitted"),
            (self.fit_button, "with the records of this range only"),
            (self.all_button, "fit all records"),
        ):
            widget.setEnabled(ranged)
            widget.setToolTip(tip if ranged else "the records of this run are fitted together")
        self._say_figure()
        if data.rows_complete:
            self.view.draw(data)
            for plot in self.view.plots:
                plot.reset()
            self._overlay()
            self._fit_all()
        else:
            self.title.setText(f"{self.title.text()}   ·   no records")

    # ---- fits -----------------------------------------------------------------------------------

    def _fit_all(self) -> None:
        data, view = self.data, self.view
        if data is None or view is None:
            return
        if view.RANGE and data.rows_complete:
            values = np.asarray(data.records(view.RANGE), dtype=np.float64)
            values = values[np.isfinite(values)]
            if len(values):
                self.low.setText(plain(float(f"{values.min() * 0.9999:.4g}")))
                self.high.setText(plain(float(f"{values.max() * 1.0001:.4g}")))
            self.range_label.setText(f"Fit {view.RANGE_NAME} from")
        self._ask_fit(data, None)

    def refit(self) -> None:
        """Fit the records of the range that is typed."""
        data, view = self.data, self.view
        if data is None or view is None or not view.RANGE:
            return
        try:
            low, high = self.low.value(), self.high.value()
        except ValueError as error:
            self.told.emit("error", f"the range of the fit: {error}")
            return
        keep = inside(data, view.RANGE, low, high)
        self.told.emit("info", f"fitting {int(keep.sum())} of {len(keep)} records")
        self._ask_fit(data, keep)

    def _say_figure(self) -> None:
        has = self.evaluation is not None
        self.figure_button.setEnabled(has)
        self.figure_button.setToolTip("PNG, SVG or PDF" if has else "there is no fit of this run")

    def _ask_fit(self, data: RunData, keep: Any) -> None:
        def then(evaluation: Any) -> None:
            if data is self.data and self.view is not None:
                self.evaluation = evaluation
                self._say_figure()
                if evaluation is not None:
                    self.view.show_fit(evaluation)
                    for line in evaluation.analysis.warnings[:3]:
                        self.told.emit("warning", line)

        def otherwise(error: BaseException) -> None:
            if data is self.data and self.view is not None:
                self.view.show_fit(None)
                self.told.emit("warning", f"no fit: {error}")

        self._fits.do(lambda: fit(data, keep), then, otherwise, name="history")

    # ---- overlay --------------------------------------------------------------------------------

    def _overlay(self) -> None:
        """Lay the ticked runs over the one that is open."""
        data, view = self.data, self.view
        if not self.model.checked:
            self._overlaid.clear()
        if data is None or view is None:
            if self.model.checked:
                self.open(Path(self.model.checked[0]))
            return
        wanted = [f for f in self.model.checked if Path(f) != data.path]
        for file in wanted:
            if file not in self._overlaid:
                self._files.do(partial(_read_one, file), self._take_overlay, name=file)
        shown = [self._overlaid[f] for f in wanted if f in self._overlaid]
        fitting = [one for one in shown if one.measurement == data.measurement]
        view.overlay([("", one) for one in fitting])
        series = theme.current().palette.series
        over = "".join(
            f"   <span style='color:{series[(2 + number) % len(series)]}'>▼ {_short(one)}</span>"
            for number, one in enumerate(fitting)
        )
        self.title.setText(self._title + over)
        if len(fitting) < len(shown):
            self.told.emit("warning", "only runs of the same measurement are laid over each other")

    def _take_overlay(self, found: tuple[str, RunData]) -> None:
        self._overlaid[found[0]] = found[1]
        self._overlay()

    # ---- out ------------------------------------------------------------------------------------

    def _ask_figure(self) -> None:
        path = self._ask_path("Figure", ".png", "Figures (*.png *.svg *.pdf)")
        if path is not None:
            self.export_figure(path)

    def _ask_table(self) -> None:
        path = self._ask_path("Table", ".csv", "Tables (*.csv)")
        if path is not None:
            self.export_table(path)

    def _ask_path(self, what: str, ending: str, kinds: str) -> Path | None:
        if self.data is None or self.data.path is None:
            return None
        start = str(self.data.path.with_suffix(ending))
        chosen, _ = QtWidgets.QFileDialog.getSaveFileName(self, what, start, kinds)
        return Path(chosen) if chosen else None

    def export_figure(self, path: Path) -> None:
        """Write the figure of the fit that is shown."""
        evaluation = self.evaluation
        if evaluation is None:
            self.told.emit("warning", "no figure: there is no fit of this run")
            return
        self._files.do(
            lambda: write_figure(evaluation, path),
            lambda made: self.told.emit("info", f"figure: {made}"),
            lambda error: self.told.emit("error", f"the figure could not be written: {error}"),
        )

    def export_table(self, path: Path) -> None:
        """Write results and records."""
        data, evaluation = self.data, self.evaluation
        if data is None:
            return
        self._files.do(
            lambda: write_table(data, evaluation, path),
            lambda made: self.told.emit("info", f"table: {made}"),
            lambda error: self.told.emit("error", f"the table could not be written: {error}"),
        )

    def results_text(self) -> str:
        """Return the results that are shown, as lines."""
        if self.evaluation is None:
            return ""
        results = self.evaluation.analysis.results
        return "\n".join(f"{result_name(name)}: {result(one)}" for name, one in results.items())

    def _resume(self) -> None:
        if self.data is not None and self.data.path is not None:
            self.resume.emit(str(self.data.path))

    def restyle(self) -> None:
        """Take another theme's colours."""
        if self.view is not None:
            self.view.restyle()


def _read_one(file: str) -> tuple[str, RunData]:
    return file, from_file(file)


def _short(data: RunData) -> str:
    return "  ".join(
        part for part in (data.sample, data.start_time[5:16].replace("T", " ")) if part
    )
