"""A measurement's parameters as a form, made from its Parameter classes: units, limits, help.

What is typed is checked by the parameter itself, as `--set` on the command line is; what is wrong
is marked and said below the form.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from PyQt5 import QtCore, QtWidgets

from gui import theme
from gui.fields import TickBox, UnitEdit, label
from gui.words import plain, unit
from instruments.errors import ConfigError
from procedures.parameters import Choice, Count, Flag, Numbers


class ParameterForm(QtWidgets.QWidget):
    """The fields of one measurement; `changed` when a value has become another valid one."""

    changed = QtCore.pyqtSignal()

    def __init__(self, kind: Any, values: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.kind = kind
        made = kind()
        self.parameters: dict[str, Any] = made.parameter_objects()
        self.defaults = {name: one.value for name, one in self.parameters.items()}
        self.problems: dict[str, str] = {}
        self._fields: dict[str, QtWidgets.QWidget] = {}
        self.helps: dict[QtWidgets.QWidget, str] = {}
        size = theme.current().px
        box = QtWidgets.QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(size(4))
        own, shared = _parted(kind, self.parameters)
        self._grid(box, own)
        self.more = QtWidgets.QToolButton()
        self.more.setText(f"{len(shared)} more settings")
        self.more.setCheckable(True)
        self.more.setSizePolicy(
            QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed
        )
        self.more.setVisible(bool(shared))
        box.addWidget(self.more)
        self.rest = QtWidgets.QWidget()
        inner = QtWidgets.QVBoxLayout(self.rest)
        inner.setContentsMargins(0, 0, 0, 0)
        self._grid(inner, shared)
        self.rest.hide()
        self.more.toggled.connect(self.rest.setVisible)
        box.addWidget(self.rest)
        self.message = label("", "error", wrap=True)
        self.message.hide()
        box.addWidget(self.message)
        if values:
            self.set_values(values)

    # ---- values ---------------------------------------------------------------------------------

    def values(self) -> dict[str, Any]:
        """Return the values that differ from the defaults; ConfigError if one is not allowed."""
        found: dict[str, Any] = {}
        for name, field in self._fields.items():
            parameter = self.parameters[name]
            value = parameter.convert(_typed(field))
            if value != self.defaults[name]:
                found[name] = value
        self.kind(**found)  # checks them against each other
        return found

    def set_values(self, values: Mapping[str, Any]) -> None:
        """Show other values; the defaults where none is given."""
        for name, field in self._fields.items():
            _show(field, values.get(name, self.defaults[name]))
        self._check()

    def field(self, name: str) -> Any:
        """Return the field of a parameter."""
        return self._fields[name]

    # ---- fields ---------------------------------------------------------------------------------

    def _grid(self, box: QtWidgets.QVBoxLayout, names: list[str]) -> None:
        grid = QtWidgets.QGridLayout()
        size = theme.current().px
        grid.setHorizontalSpacing(size(8))
        grid.setVerticalSpacing(size(4))
        grid.setColumnStretch(0, 1)
        for row, name in enumerate(names):
            parameter = self.parameters[name]
            made = _field(parameter)
            text = str(parameter.name)
            caption = label(text[:1].upper() + text[1:])
            caption.setWordWrap(True)
            made.setSizePolicy(
                QtWidgets.QSizePolicy.Policy.Fixed, QtWidgets.QSizePolicy.Policy.Fixed
            )
            made.setFixedWidth(size(126))
            help_text = self.helps[made] = _help(name, parameter)
            made.setToolTip(help_text)
            caption.setToolTip(help_text)
            made.setAccessibleName(text)
            caption.setBuddy(made)
            grid.addWidget(caption, row, 0)
            grid.addWidget(made, row, 1)
            self._fields[name] = made
            _on_change(made, self._check)
        box.addLayout(grid)

    def _check(self) -> None:
        self.problems = {}
        for name, field in self._fields.items():
            try:
                self.parameters[name].convert(_typed(field))
            except ValueError as error:
                self.problems[name] = _plain_words(str(error))
            except ConfigError as error:
                self.problems[name] = _plain_words(str(error))
        if not self.problems:
            try:
                self.values()
            except ConfigError as error:
                self.problems[error.key or ""] = _plain_words(str(error).partition(": ")[2])
        for name, field in self._fields.items():
            theme.restyle(field, state="bad" if name in self.problems else "")
        lines = [
            f"{self.parameters[name].name}: {text}" if name in self.parameters else text
            for name, text in self.problems.items()
        ]
        self.message.setText("\n".join(lines))
        self.message.setVisible(bool(lines))
        if any(name in self.problems for name in _parted(self.kind, self.parameters)[1]):
            self.more.setChecked(True)
        self.changed.emit()


def _plain_words(text: str) -> str:
    for plain_unit in ("uJ/cm^2", "mJ/cm^2", "J/cm^2"):
        text = text.replace(plain_unit, unit(plain_unit))
    return text.rpartition(": ")[2] if text.count(": ") == 1 else text


def _parted(kind: Any, parameters: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return the parameters that the measurement's own class names, and those it shares.

    Each in the order in which they are written.
    """
    order = [name for one in kind.__mro__ for name in vars(one) if name in parameters]
    own = [name for name in vars(kind) if name in parameters]
    rest = [name for name in dict.fromkeys(order) if name not in own]
    return (own, rest) if own else (rest[:6], rest[6:])


def _field(parameter: Any) -> QtWidgets.QWidget:
    if isinstance(parameter, Flag):
        box = TickBox()
        box.setChecked(bool(parameter.value))
        return box
    if isinstance(parameter, Choice):
        made = QtWidgets.QComboBox()
        for one in parameter.choices:
            made.addItem(str(one), one)
        made.setCurrentIndex(made.findData(parameter.value))
        return made
    edit = UnitEdit(getattr(parameter, "units", None) or "", whole=isinstance(parameter, Count))
    if isinstance(parameter, Numbers):
        edit.setPlaceholderText("none")
    _show(edit, parameter.value)
    return edit


def _typed(field: QtWidgets.QWidget) -> Any:
    if isinstance(field, QtWidgets.QCheckBox):
        return field.isChecked()
    if isinstance(field, QtWidgets.QComboBox):
        return field.currentData()
    assert isinstance(field, UnitEdit)
    text = field.text().strip()
    for ending in (field.unit_text, field._plain_unit):
        if ending and text.endswith(ending):
            text = text[: -len(ending)].strip()
    if field.property("list"):
        return f"[{text.strip('[]')}]"
    return text.replace("\u2009", "").replace("−", "-")


def _show(field: QtWidgets.QWidget, value: Any) -> None:
    if isinstance(field, QtWidgets.QCheckBox):
        field.setChecked(bool(value))
    elif isinstance(field, QtWidgets.QComboBox):
        field.setCurrentIndex(field.findData(value))
    elif isinstance(field, UnitEdit):
        if isinstance(value, list | tuple):
            field.setProperty("list", True)
            field.setText(", ".join(plain(float(one)) for one in value))
        elif isinstance(value, str):
            field.setText(value)
        else:
            field.setText(plain(float(value)))
        field.setCursorPosition(0)


def _on_change(field: QtWidgets.QWidget, act: Any) -> None:
    if isinstance(field, QtWidgets.QCheckBox):
        field.toggled.connect(lambda _on: act())
    elif isinstance(field, QtWidgets.QComboBox):
        field.currentIndexChanged.connect(lambda _index: act())
    elif isinstance(field, UnitEdit):
        field.textChanged.connect(lambda _text: act())


def _help(name: str, parameter: Any) -> str:
    lines = [str(parameter.description or "")]
    low, high = getattr(parameter, "minimum", None), getattr(parameter, "maximum", None)
    printed = unit(getattr(parameter, "units", None))
    if isinstance(low, int | float) and isinstance(high, int | float):
        ends = [plain(float(one)) if math.isfinite(one) else "any" for one in (low, high)]
        lines.append(f"allowed: {ends[0]} to {ends[1]} {printed}".rstrip())
    default = parameter.default
    if default not in (None, []):
        lines.append(f"default: {default} {printed}".rstrip())
    lines.append(f"on the command line: --set {name}=...")
    return "\n".join(line for line in lines if line)
