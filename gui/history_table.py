"""The table of run files: sorted, filtered, ticked for overlays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PyQt5 import QtCore, QtGui

from gui import theme

COLUMNS = ("", "date", "measurement", "sample", "spot", "status", "records", "operator")
_STATES = {
    "finished": "ok",
    "running": "busy",
    "paused": "warn",
    "aborted": "warn",
    "interrupted": "bad",
    "failed": "bad",
    "unreadable": "bad",
    "queued": "muted",
}
RESUMABLE = ("aborted", "failed", "interrupted", "paused")


class RunTable(QtCore.QAbstractTableModel):
    """Rows are the headers of `procedures.running.index`."""

    ticked = QtCore.pyqtSignal()

    def __init__(self) -> None:
        super().__init__()
        self.headers: list[Any] = []
        self.checked: list[str] = []

    def show_headers(self, headers: Sequence[Any]) -> None:
        """Show other runs."""
        if list(headers) == self.headers:
            return
        self.beginResetModel()
        self.headers = list(headers)
        known = {one.file for one in self.headers}
        self.checked = [file for file in self.checked if file in known]
        self.endResetModel()

    def rowCount(self, parent: QtCore.QModelIndex = QtCore.QModelIndex()) -> int:  # noqa: B008
        """See Qt."""
        return 0 if parent.isValid() else len(self.headers)

    def columnCount(self, parent: QtCore.QModelIndex = QtCore.QModelIndex()) -> int:  # noqa: B008
        """See Qt."""
        return 0 if parent.isValid() else len(COLUMNS)

    def headerData(self, section: int, orientation: QtCore.Qt.Orientation, role: int = 0) -> Any:
        """See Qt."""
        if (
            orientation == QtCore.Qt.Orientation.Horizontal
            and role == QtCore.Qt.ItemDataRole.DisplayRole
        ):
            return COLUMNS[section]
        return None

    def data(
        self, index: QtCore.QModelIndex, role: int = QtCore.Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """See Qt."""
        header, name = self.headers[index.row()], COLUMNS[index.column()]
        if role == QtCore.Qt.ItemDataRole.CheckStateRole and not name:
            return (
                QtCore.Qt.CheckState.Checked
                if header.file in self.checked
                else QtCore.Qt.CheckState.Unchecked
            )
        if role in (QtCore.Qt.ItemDataRole.DisplayRole, QtCore.Qt.ItemDataRole.UserRole):
            return self._text(header, name)
        if role == QtCore.Qt.ItemDataRole.ForegroundRole and name == "status":
            state = _STATES.get(header.run_status, "muted")
            return QtGui.QColor(getattr(theme.current().palette, state))
        if role == QtCore.Qt.ItemDataRole.ToolTipRole:
            return header.error or f"{header.file}\n{header.title}"
        if role == QtCore.Qt.ItemDataRole.TextAlignmentRole and name == "records":
            return int(QtCore.Qt.AlignmentFlag.AlignRight | QtCore.Qt.AlignmentFlag.AlignVCenter)
        return None

    def _text(self, header: Any, name: str) -> str:
        if name == "date":
            moment = header.start_time or header.queued_time
            return str(moment)[:16].replace("T", "  ")
        if name == "status":
            return str(header.run_status)
        if name == "records":
            return f"{header.records} / {header.points}"
        return str(getattr(header, name, "")).replace("unknown", "") if name else ""

    def setData(self, index: QtCore.QModelIndex, value: Any, role: int = 2) -> bool:
        """Tick a run."""
        if role != QtCore.Qt.ItemDataRole.CheckStateRole:
            return False
        file = self.headers[index.row()].file
        if value == QtCore.Qt.CheckState.Checked:
            if file not in self.checked:
                self.checked.append(file)
        else:
            self.checked = [one for one in self.checked if one != file]
        self.dataChanged.emit(index, index)
        self.ticked.emit()
        return True

    def flags(self, index: QtCore.QModelIndex) -> QtCore.Qt.ItemFlags:
        """See Qt."""
        found = super().flags(index)
        if index.column() == 0:
            found |= QtCore.Qt.ItemFlag.ItemIsUserCheckable
        return found


class RunFilter(QtCore.QSortFilterProxyModel):
    """Shows the runs that fit: words anywhere, measurement, status, and since when."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.measurement = ""
        self.status = ""
        self.since = ""
        self.setSortRole(QtCore.Qt.ItemDataRole.UserRole)

    def ask(self, words: str, measurement: str, status: str, since: str) -> None:
        """Change what is shown."""
        self.words = words.lower().split()
        self.measurement, self.status, self.since = measurement, status, since
        self.invalidateFilter()

    def filterAcceptsRow(self, row: int, _parent: QtCore.QModelIndex) -> bool:
        """See Qt."""
        model = self.sourceModel()
        assert isinstance(model, RunTable)
        header = model.headers[row]
        if self.measurement and header.measurement != self.measurement:
            return False
        if self.status and header.run_status != self.status:
            return False
        if self.since and (header.start_time or header.queued_time)[:10] < self.since:
            return False
        text = " ".join(
            (header.file, header.measurement, header.sample, header.spot, header.operator,
             header.run_status, header.start_time)
        ).lower()  # fmt: skip
        return all(word in text for word in self.words)
