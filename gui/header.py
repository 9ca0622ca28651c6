"""The line at the top: which bench, what hits the sample, and the button that ends it."""

from __future__ import annotations

from PyQt5 import QtCore, QtWidgets

from gui import theme
from gui.doses import SpotSeen
from gui.fields import Chip, button, label
from gui.snapshot import BeamView, BenchView
from gui.words import count, prefixed, significant


class Header(QtWidgets.QFrame):
    """Always in the same place; `close_asked` is the safe action."""

    close_asked = QtCore.pyqtSignal()

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("header")
        size = theme.current().px
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(size(12), size(6), size(10), size(6))
        row.setSpacing(size(15))
        names = QtWidgets.QVBoxLayout()
        names.setSpacing(size(2))
        self.name = label("gainbench", "head")
        self.name.setMinimumWidth(size(150))  # rather cut off than a window wider than the screen
        self.badge = Chip("opening", "busy")
        names.addWidget(self.name)
        names.addWidget(self.badge, 0, QtCore.Qt.AlignmentFlag.AlignLeft)
        row.addLayout(names)
        row.addStretch(1)
        self.values: dict[str, QtWidgets.QLabel] = {}
        self._titles: dict[str, QtWidgets.QLabel] = {}
        for key, title in (
            ("laser", "LASER"),
            ("energy", "PULSE ENERGY"),
            ("fluence", "FLUENCE"),
            ("dose", "THIS SPOT"),
            ("temperature", "SAMPLE"),
        ):
            block = QtWidgets.QVBoxLayout()
            block.setSpacing(0)
            self._titles[key] = label(title, "title")
            self.values[key] = label("–", "big")
            block.addWidget(self._titles[key])
            block.addWidget(self.values[key])
            row.addLayout(block)
        row.addStretch(1)
        self.shutter = Chip("SHUTTER ?", "off")
        self.shutter.setMinimumHeight(size(34))
        self.shutter.setMinimumWidth(size(150))
        row.addWidget(self.shutter)
        self.close_button = button(
            "CLOSE SHUTTER  (Esc)",
            "closes the shutter at once; a run waits, and takes its record again when it goes on",
        )
        self.close_button.setObjectName("close")
        self.close_button.setFocusPolicy(QtCore.Qt.FocusPolicy.StrongFocus)
        self.close_button.setMinimumHeight(size(46))
        self.close_button.clicked.connect(lambda: self.close_asked.emit())
        row.addWidget(self.close_button)
        self._set_visible("temperature", False)
        self._seen: SpotSeen | None = None

    def show_dose(self, seen: SpotSeen) -> None:
        """Take what the ledger says of the spot."""
        self._seen = seen

    def _show_shots(self, beam: BeamView, in_run: bool) -> None:
        """Show what the spot has had over all runs; without a name, what was given here."""
        seen = self._seen
        here = f"{count(beam.shots)} shots, {significant(beam.dose_J_cm2)} J/cm²"
        since = "in this run" if in_run else "since the bench was opened"
        if seen is not None and seen.sample:
            self._titles["dose"].setText("THIS SPOT")
            self.values["dose"].setText(f"{count(seen.shots)} shots")
            self.values["dose"].setToolTip(f"{seen.words()}\n{since}: {here}")
        else:
            self._titles["dose"].setText("ON SAMPLE")
            self.values["dose"].setText(f"{count(beam.shots)} shots")
            self.values["dose"].setToolTip(f"{since}: {here}")
        spent = seen is not None and bool(seen.sample) and seen.nearly_spent
        theme.restyle(self.values["dose"], role="warn-big" if spent else "big")

    def _set_visible(self, key: str, visible: bool) -> None:
        self.values[key].setVisible(visible)
        self._titles[key].setVisible(visible)

    def show_view(self, view: BenchView, now_s: float, virtual: bool) -> None:
        """Show the bench's state."""
        self.name.setText(view.name or "bench")
        self.name.setToolTip(view.name)
        if view.phase == "failed":
            self.badge.say("NOT OPEN", "bad")
        elif view.phase == "opening":
            self.badge.say("OPENING …", "busy")
        elif view.phase == "closed":
            self.badge.say("CLOSED", "off")
        elif view.simulated:
            self.badge.say("SIMULATED, virtual time" if virtual else "SIMULATED, real time", "warn")
            self.badge.setToolTip(
                f"no hardware: the simulated bench, as {view.arrangement} needs it"
            )
        else:
            self.badge.say("REAL BENCH", "ok")
        beam = view.beam
        if beam is not None:
            self.values["laser"].setText(prefixed(beam.repetition_rate_Hz, "Hz", 2))
            energy, fluence = beam.energy_J, beam.fluence_uJ_cm2
            self.values["energy"].setText(prefixed(energy, "J") if energy is not None else "–")
            self.values["fluence"].setText(_fluence(fluence) if fluence is not None else "–")
            self._show_shots(beam, bool(view.holder))
            stale = now_s - beam.time_s > 6.0 and beam.time_s > 0.0
            for key in ("energy", "fluence"):
                theme.restyle(self.values[key], stale=str(stale).lower())
        kelvin = view.temperature_K
        self._set_visible("temperature", kelvin is not None)
        if kelvin is not None:
            self.values["temperature"].setText(f"{kelvin:.2f} K")
        if view.shutter_open is None:
            self.shutter.say("SHUTTER UNKNOWN", "off")
        elif view.shutter_open:
            self.shutter.say("SHUTTER OPEN", "warn")
        else:
            self.shutter.say("SHUTTER CLOSED", "ok")
        theme.restyle(self.close_button, open=str(view.shutter_open is not False).lower())


def _fluence(value_uJ_cm2: float) -> str:
    if value_uJ_cm2 >= 1000.0:
        return f"{significant(value_uJ_cm2 / 1000.0)} mJ/cm²"
    return f"{significant(value_uJ_cm2)} µJ/cm²"
