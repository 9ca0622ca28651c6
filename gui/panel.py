"""The bench panel: a card for every instrument, and who holds the bench."""

from __future__ import annotations

from PyQt5 import QtCore, QtWidgets

from gui import manual, theme
from gui.cards import ORDER, Ask, Card
from gui.fields import button, label
from gui.snapshot import BAD, BenchView
from gui.words import ROLE_NAMES, prefixed


class BenchPanel(QtWidgets.QWidget):
    """Every instrument of the bench. `ask` has deeds done; `again` asks to open the bench again."""

    again = QtCore.pyqtSignal()

    def __init__(self, ask: Ask) -> None:
        super().__init__()
        self._ask = ask
        self.cards: dict[str, Card] = {}
        size = theme.current().px
        box = QtWidgets.QVBoxLayout(self)
        box.setContentsMargins(size(8), size(8), size(4), size(8))
        box.setSpacing(size(6))
        top = QtWidgets.QHBoxLayout()
        top.addWidget(label("INSTRUMENTS", "title"))
        top.addStretch(1)
        self.summary = label("", "muted")
        top.addWidget(self.summary)
        box.addLayout(top)
        self.notice = label("", "warn", wrap=True)
        self.notice.hide()
        box.addWidget(self.notice)
        self.retry = button("Open the bench again", "after the cause is mended", "primary")
        self.retry.clicked.connect(lambda: self.again.emit())
        self.retry.hide()
        box.addWidget(self.retry)
        self.reset = button("Reset the interlock", "light is allowed again, if all is well")
        self.reset.clicked.connect(
            lambda: self._ask("interlock reset", manual.reset_interlock, "shutter")
        )
        self.reset.hide()
        box.addWidget(self.reset)
        self._area = QtWidgets.QScrollArea()
        self._area.setWidgetResizable(True)
        self._area.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        inner = QtWidgets.QWidget()
        self._list = QtWidgets.QVBoxLayout(inner)
        self._list.setContentsMargins(0, 0, size(4), 0)
        self._list.setSpacing(size(6))
        self._list.addStretch(1)
        self._area.setWidget(inner)
        box.addWidget(self._area, 1)

    def show_view(self, view: BenchView, now_s: float) -> None:
        """Show the bench."""
        self._keep_cards(view)
        for role, card in self.cards.items():
            one = view.instruments[role]
            card.show_view(one, now_s, view.holder or (view.phase != "open" and view.text) or "")
            if role == "energy_meter" and view.beam is not None and one.state != BAD:
                energy = view.beam.energy_J
                card.reading.setText(prefixed(energy, "J") if energy is not None else "")
        troubled = [role for role, one in view.instruments.items() if one.state == BAD]
        if troubled:
            self.summary.setText(f"{len(troubled)} in trouble")
            theme.restyle(self.summary, role="error")
        else:
            count = len(view.instruments)
            self.summary.setText(f"{count} open" if view.phase == "open" else "")
            theme.restyle(self.summary, role="muted")
        text, kind = "", "warn"
        if view.phase == "failed":
            text, kind = f"The bench could not be opened. {view.text}", "error"
        elif view.phase != "open":
            text, kind = f"{view.text[:1].upper()}{view.text[1:]} …", "muted"
        elif view.tripped:
            text, kind = f"Interlock: {view.tripped}. No light until it is reset.", "error"
        elif view.holder:
            text = f"Held by {view.holder}. Manual control comes back when it has ended."
        self.notice.setText(text)
        self.notice.setVisible(bool(text))
        theme.restyle(self.notice, role=kind)
        self.reset.setVisible(bool(view.tripped) and not view.holder)
        self.retry.setVisible(view.phase == "failed")

    def _keep_cards(self, view: BenchView) -> None:
        for role in [role for role in self.cards if role not in view.instruments]:
            card = self.cards.pop(role)
            self._list.removeWidget(card)
            card.deleteLater()
        known = [*ORDER, *(role for role in view.instruments if role not in ORDER)]
        wanted = [role for role in known if role in view.instruments]
        for place, role in enumerate(wanted):
            if role not in self.cards:
                self.cards[role] = Card(role, self._ask)
                self._list.insertWidget(place, self.cards[role])


def troubles(view: BenchView) -> list[str]:
    """Return a line for each instrument in trouble."""
    return [
        f"{ROLE_NAMES.get(role, role)}: {one.words}"
        for role, one in view.instruments.items()
        if one.state == BAD
    ]
