"""One instrument of the bench panel: its state in colour and words, its reading, its controls."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from PyQt5 import QtWidgets

from gui import manual, theme
from gui.fields import Dot, QuantityEdit, button, label
from gui.snapshot import BAD, BUSY, InstrumentView
from gui.words import ROLE_NAMES, age, plain

if TYPE_CHECKING:
    from instruments.bench import Bench

Ask = Callable[[str, Callable[[Any], object], str], None]
"""(what, deed, role): has a deed done in the bench's thread."""

_STALE_S = 6.0


class Card(QtWidgets.QFrame):
    """An instrument. Controls are made for its role when it is first seen."""

    def __init__(self, role: str, ask: Ask) -> None:
        super().__init__()
        self.role = role
        self._ask = ask
        self._view: InstrumentView | None = None
        self._fields: dict[str, QuantityEdit] = {}
        self.setProperty("card", True)
        size = theme.current().px
        box = QtWidgets.QVBoxLayout(self)
        box.setContentsMargins(size(9), size(6), size(9), size(7))
        box.setSpacing(size(4))
        top = QtWidgets.QHBoxLayout()
        top.setSpacing(size(7))
        self.dot = Dot()
        self.name = label(ROLE_NAMES.get(role, role), "name")
        self.reading = label("", "value")
        top.addWidget(self.dot)
        top.addWidget(self.name)
        top.addStretch(1)
        top.addWidget(self.reading)
        box.addLayout(top)
        self.words = label("", "muted", wrap=True)
        self.words.setSizePolicy(
            QtWidgets.QSizePolicy.Policy.Ignored, QtWidgets.QSizePolicy.Policy.Preferred
        )
        box.addWidget(self.words)
        self.controls = QtWidgets.QWidget()
        self.controls.setStyleSheet("background: transparent;")
        self._grid = QtWidgets.QGridLayout(self.controls)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(size(8))
        self._grid.setVerticalSpacing(size(4))
        self._grid.setColumnStretch(0, 1)
        self._grid.setColumnStretch(1, 1)
        box.addWidget(self.controls)
        self.home_button: QtWidgets.QPushButton | None = None
        self._grating: QtWidgets.QComboBox | None = None
        self._range: QtWidgets.QComboBox | None = None
        self._toggle: QtWidgets.QPushButton | None = None
        _CONTROLS.get(role, _none)(self)
        self.controls.setVisible(self._grid.count() > 0)

    # ---- controls -------------------------------------------------------------------------------

    def field(
        self, key: str, name: str, unit: str, deed: Callable[[Bench, float], object], help_text: str
    ) -> QuantityEdit:
        """Add a set point."""
        made = QuantityEdit(name, unit, help_text)
        made.sent.connect(
            lambda value: self._ask(
                f"set {name.lower()} {plain(value)}", lambda bench: deed(bench, value), self.role
            )
        )
        made.setFixedWidth(theme.current().px(112))
        row = self._grid.rowCount()
        self._grid.addWidget(label(name, "muted"), row, 0)
        self._grid.addWidget(made, row, 1)
        self._fields[key] = made
        return made

    def choice(self, name: str, act: Callable[[int], None]) -> QtWidgets.QComboBox:
        """Add a list to choose from."""
        made = QtWidgets.QComboBox()
        made.setAccessibleName(name)
        made.setToolTip(name)
        made.activated.connect(act)
        made.setMinimumContentsLength(6)
        made.setSizeAdjustPolicy(
            QtWidgets.QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        row = self._grid.rowCount()
        self._grid.addWidget(label(name, "muted"), row, 0)
        self._grid.addWidget(made, row, 1)
        return made

    def deed(self, text: str, help_text: str, act: Callable[[], None]) -> QtWidgets.QPushButton:
        """Add a button."""
        made = button(text, help_text)
        made.clicked.connect(lambda: act())
        self._grid.addWidget(made, self._grid.rowCount(), 0, 1, 2)
        return made

    def ask(self, what: str, act: Callable[[Bench], object]) -> None:
        """Have something done with this instrument."""
        self._ask(what, act, self.role)

    # ---- what is shown --------------------------------------------------------------------------

    def show_view(self, view: InstrumentView, now_s: float, held_by: str) -> None:
        """Show how the instrument is; disabled, with the reason, while a run holds it."""
        self._view = view
        self.dot.say(view.state)
        self.reading.setText(view.reading)
        stale = now_s - view.time_s > _STALE_S and view.time_s > 0.0
        theme.restyle(self.reading, stale=str(stale).lower())
        words = view.words
        if view.state == BAD:
            since = now_s - view.since_s
            words = f"{words}" + (f" (for {age(since).removesuffix(' ago')})" if since > 3 else "")
            if view.advice:
                words += f". {view.advice[:1].upper()}{view.advice[1:]}"
        elif stale:
            words = f"{words}, read {age(now_s - view.time_s)}"
        if self.words.text() != words:
            self.words.setText(words)
        self.words.setVisible(bool(words))
        theme.restyle(self.words, role={"bad": "error", "warn": "warn"}.get(view.state, "muted"))
        tip = view.identity
        if held_by:
            tip += f"\nheld by {held_by}: pause or abort it to use this by hand"
        self.setToolTip(tip.strip())
        self.controls.setEnabled(not held_by and view.state != BUSY)
        for key, field in self._fields.items():
            field.set_limits(view.limits.get(key))
            field.show_value(view.values.get(key))
            if held_by and key not in view.values:
                field.clear()
        if self.home_button is not None:
            self.home_button.setVisible(not view.homed)
        self._show_choices(view)

    def _show_choices(self, view: InstrumentView) -> None:
        if self._grating is not None and view.gratings:
            names = [f"{g.slot}: {g.grooves_per_mm:g}/{g.blaze_nm:g}" for g in view.gratings]
            _fill(self._grating, names, [g.slot for g in view.gratings])
            place = self._grating.findData(int(view.values.get("grating", 0)))
            if place >= 0 and not _popped(self._grating):
                self._grating.setCurrentIndex(place)
        if self._range is not None and view.choices:
            _fill(self._range, [f"{ps / 1000.0:g} ns" for ps in view.choices], list(view.choices))
            place = self._range.findData(view.values.get("time_range_ps"))
            if place >= 0 and not _popped(self._range):
                self._range.setCurrentIndex(place)
        if self._toggle is not None:
            is_open = bool(view.values.get("open"))
            self._toggle.setText("Close" if is_open else "Open shutter")


def _fill(box: QtWidgets.QComboBox, names: list[str], data: list[float] | list[int]) -> None:
    if [box.itemText(i) for i in range(box.count())] != names:
        box.clear()
        for name, one in zip(names, data, strict=True):
            box.addItem(name, one)


def _popped(box: QtWidgets.QComboBox) -> bool:
    view = box.view()
    return view is not None and view.isVisible()


# ---- controls by role ---------------------------------------------------------------------------


def _none(_card: Card) -> None:
    """An instrument without controls."""


def _shutter(card: Card) -> None:
    def toggle() -> None:
        is_open = card._view is not None and bool(card._view.values.get("open"))
        if is_open:
            card.ask("close the shutter", manual.shut_shutter)
        else:
            card.ask("open the shutter", manual.open_shutter)

    card._toggle = card.deed("Open shutter", "lets light on the sample; Esc closes", toggle)


def _attenuator(card: Card) -> None:
    card.field(
        "fluence_uJ_cm2", "Fluence", "uJ/cm^2", manual.set_fluence,
        "Turns the wave plate until this fluence is at the sample",
    )  # fmt: skip
    card.home_button = card.deed(
        "Home", "searches the reference, shutter closed",
        lambda: card.ask("homing", partial(manual.home, role="attenuator")),
    )  # fmt: skip


def _stripe(card: Card) -> None:
    card.field("length_mm", "Length", "mm", manual.set_stripe_length, "Length of the pumped stripe")
    card.home_button = card.deed(
        "Home", "searches the reference, shutter closed",
        lambda: card.ask("homing", partial(manual.home, role="stripe")),
    )  # fmt: skip


def _monochromator(card: Card) -> None:
    card.field("wavelength_nm", "Centre", "nm", manual.set_centre, "Centre of the window")

    def chosen(index: int) -> None:
        assert card._grating is not None
        slot = int(card._grating.itemData(index))
        card.ask(f"turning to grating {slot}", partial(manual.select_grating, slot=slot))

    card._grating = card.choice("Grating", chosen)


def _camera(card: Card) -> None:
    card.field("exposure_s", "Exposure", "s", manual.set_exposure, "Exposure of one frame")


def _streak(card: Card) -> None:
    def chosen(index: int) -> None:
        assert card._range is not None
        ps = float(card._range.itemData(index))
        card.ask(f"sweep {ps:g} ps", partial(manual.set_streak_range, time_range_ps=ps))

    card._range = card.choice("Sweep", chosen)
    card.field("mcp_gain", "Gain", "", manual.set_streak_gain, "Gain of the micro-channel plate")


def _cryostat(card: Card) -> None:
    card.field("setpoint_K", "Set point", "K", manual.set_temperature, "Temperature of the sample")
    card.deed(
        "Heater off", "switches the heater off at once",
        lambda: card.ask("switching the heater off", manual.heater_off),
    )  # fmt: skip


_CONTROLS: dict[str, Callable[[Card], None]] = {
    "shutter": _shutter,
    "attenuator": _attenuator,
    "stripe": _stripe,
    "monochromator": _monochromator,
    "camera": _camera,
    "streak": _streak,
    "cryostat": _cryostat,
}
ORDER = (
    "shutter",
    "attenuator",
    "energy_meter",
    "stripe",
    "monochromator",
    "camera",
    "streak",
    "cryostat",
    "pulse_gate",
)
