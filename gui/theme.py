"""How the window looks: two palettes, sizes that grow with the screen, one style sheet.

Colour means state, never decoration, and never stands without a word. Sizes are given for a screen
of 1366 x 768 and multiplied by `Theme.scale`.
"""

from __future__ import annotations

from dataclasses import dataclass
from string import Template

from PyQt5 import QtGui, QtWidgets


@dataclass(frozen=True)
class Palette:
    """The colours of a theme, as #rrggbb."""

    name: str
    background: str
    surface: str
    raised: str
    border: str
    text: str
    muted: str
    accent: str
    on_accent: str
    ok: str
    busy: str
    warn: str
    bad: str
    on_state: str
    progress: str
    plot: str
    grid: str
    series: tuple[str, ...]
    """Lines of a plot; told apart by everybody (after Okabe and Ito)."""


DARK = Palette(
    name="dark",
    background="#15181c",
    surface="#1c2025",
    raised="#272c33",
    border="#3a424b",
    text="#eef1f4",
    muted="#a3adb8",
    accent="#5ab0f7",
    on_accent="#08131d",
    ok="#35c28b",
    busy="#5ab0f7",
    warn="#f2b632",
    bad="#ff6b5e",
    on_state="#0b0e11",
    progress="#2a628f",
    plot="#101316",
    grid="#4a535d",
    series=("#56b4e9", "#ff8a4c", "#2fc596", "#f0e442", "#d98cc0", "#e69f00", "#9fb3c8"),
)
LIGHT = Palette(
    name="light",
    background="#eef1f4",
    surface="#f9fafb",
    raised="#ffffff",
    border="#c3cbd3",
    text="#12171c",
    muted="#4d5966",
    accent="#0a62ad",
    on_accent="#ffffff",
    ok="#00754f",
    busy="#0a62ad",
    warn="#8f5b00",
    bad="#bd2418",
    on_state="#ffffff",
    progress="#a9cdec",
    plot="#ffffff",
    grid="#c3cbd3",
    series=("#0072b2", "#c44e00", "#00805a", "#8a7a00", "#a33f84", "#a66f00", "#52616f"),
)
THEMES = {palette.name: palette for palette in (DARK, LIGHT)}
SMALLEST, LARGEST = 0.8, 3.2
_SHEET = Template(
    """
* { font-family: "Inter", "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif; }
QWidget { background: $background; color: $text; font-size: ${f13}px; }
QToolTip { background: $raised; color: $text; border: 1px solid $border; padding: ${p4}px; }
QLabel, QCheckBox { background: transparent; }
QLabel[role="muted"] { color: $muted; }
QLabel[role="title"] { color: $muted; font-size: ${f12}px; font-weight: 700; }
QLabel[role="name"] { font-weight: 600; }
QLabel[role="value"] { font-size: ${f14}px; font-weight: 600; }
QLabel[role="big"] { font-size: ${f20}px; font-weight: 600; }
QLabel[role="warn-big"] { font-size: ${f20}px; font-weight: 600; color: $warn; }
QLabel[role="head"] { font-size: ${f16}px; font-weight: 600; }
QLabel[role="error"] { color: $bad; }
QLabel[role="warn"] { color: $warn; }
QLabel[stale="true"] { color: $muted; font-weight: 400; font-style: italic; }
QLabel[chip] { border-radius: ${p4}px; padding: ${p3}px ${p9}px; font-weight: 700;
               color: $on_state; background: $muted; }
QLabel[chip="ok"] { background: $ok; }
QLabel[chip="busy"] { background: $busy; }
QLabel[chip="warn"] { background: $warn; }
QLabel[chip="bad"] { background: $bad; }
QLabel[chip="off"] { background: $raised; color: $muted; border: 1px solid $border; }
QFrame[card="true"] { background: $surface; border: 1px solid $border; border-radius: ${p6}px; }
QFrame[card="true"] QLabel, QFrame[card="true"] QCheckBox { background: transparent; }
QFrame#header { background: $surface; border: 0; border-bottom: 1px solid $border; }
QFrame#header QLabel { background: transparent; }
QFrame#header QLabel[chip] { background: $muted; }
QFrame#header QLabel[chip="ok"] { background: $ok; }
QFrame#header QLabel[chip="busy"] { background: $busy; }
QFrame#header QLabel[chip="warn"] { background: $warn; }
QFrame#header QLabel[chip="bad"] { background: $bad; }
QFrame#header QLabel[chip="off"] { background: $raised; }
QPushButton, QToolButton { background: $raised; border: 1px solid $border;
    border-radius: ${p5}px; padding: ${p5}px ${p11}px; }
QPushButton:hover, QToolButton:hover { border-color: $accent; }
QPushButton:focus, QToolButton:focus, QTabBar:focus { border: 2px solid $accent;
    padding: ${q5}px ${q11}px; }
QPushButton:pressed, QToolButton:pressed { background: $border; }
QPushButton:checked, QToolButton:checked { background: $accent; color: $on_accent;
    border-color: $accent; }
QPushButton:disabled, QToolButton:disabled { color: $muted; background: $surface; }
QToolButton[kind="small"] { padding: ${p1}px ${p7}px; }
QToolButton[kind="small"]:focus { padding: ${q2}px ${q7}px; }
QPushButton[kind="primary"] { background: $accent; color: $on_accent; font-weight: 700;
    border-color: $accent; }
QPushButton[kind="primary"]:focus { border-color: $text; }
QPushButton[kind="primary"]:disabled { background: $surface; color: $muted; border-color: $border; }
QPushButton#close { font-size: ${f17}px; font-weight: 800; padding: ${p6}px ${p20}px;
    border: 2px solid $bad; color: $bad; background: $surface; border-radius: ${p6}px; }
QPushButton#close[open="true"] { background: $bad; color: $on_state; }
QPushButton#close:focus { border-color: $text; }
QLineEdit, QComboBox, QPlainTextEdit, QSpinBox { background: $raised; color: $text;
    border: 1px solid $border; border-radius: ${p4}px; padding: ${p4}px ${p6}px;
    selection-background-color: $accent; selection-color: $on_accent; }
QLineEdit:focus, QComboBox:focus, QPlainTextEdit:focus { border: 2px solid $accent;
    padding: ${q4}px ${q6}px; }
QLineEdit:disabled, QComboBox:disabled { color: $muted; background: $surface; }
QLineEdit[state="edited"] { border: 2px solid $warn; padding: ${q4}px ${q6}px; }
QLineEdit[state="bad"] { border: 2px solid $bad; padding: ${q4}px ${q6}px; }
QComboBox::drop-down { border: 0; width: ${p20}px; }
QComboBox::down-arrow { width: 0; height: 0; border-left: ${p4}px solid $raised;
    border-right: ${p4}px solid $raised; border-top: ${p5}px solid $muted; }
QComboBox QAbstractItemView { background: $raised; border: 1px solid $border; outline: 0;
    selection-background-color: $accent; selection-color: $on_accent; }
QCheckBox { spacing: ${p7}px; padding: ${p2}px; }
QCheckBox::indicator { width: ${p15}px; height: ${p15}px; border: 1px solid $muted;
    border-radius: ${p3}px; background: $raised; }
QCheckBox::indicator:checked { background: $accent; border-color: $accent; }
QCheckBox:focus { color: $accent; }
QTabWidget::pane { border: 0; border-top: 1px solid $border; }
QTabBar { qproperty-drawBase: 0; font-size: ${f14}px; font-weight: 700; }
QTabBar::tab { background: transparent; color: $muted; padding: ${p7}px ${p20}px;
    border: 0; border-bottom: 3px solid transparent; }
QTabBar::tab:selected { color: $text; border-bottom: 3px solid $accent; }
QTabBar::tab:hover { color: $text; }
QScrollArea { border: 0; }
QScrollBar:vertical { width: ${p10}px; background: transparent; margin: 0; }
QScrollBar:horizontal { height: ${p10}px; background: transparent; margin: 0; }
QScrollBar::handle { background: $border; border-radius: ${p4}px; min-height: ${p24}px;
    min-width: ${p24}px; }
QScrollBar::add-line, QScrollBar::sub-line { width: 0; height: 0; }
QScrollBar::add-page, QScrollBar::sub-page { background: transparent; }
QSplitter::handle { background: $border; }
QSplitter::handle:horizontal { width: 1px; margin: 0 ${p2}px; }
QSplitter::handle:vertical { height: 1px; margin: ${p2}px 0; }
QProgressBar { background: $raised; border: 1px solid $border; border-radius: ${p4}px;
    min-height: ${p20}px; text-align: center; font-weight: 600; }
QProgressBar::chunk { background: $progress; border-radius: ${p3}px; }
QTableView, QTreeView, QListView { background: $surface; alternate-background-color: $background;
    border: 1px solid $border; border-radius: ${p4}px; gridline-color: $border; outline: 0;
    selection-background-color: $accent; selection-color: $on_accent; }
QTableView:focus, QTreeView:focus, QListView:focus { border-color: $accent; }
QTableView::item, QTreeView::item, QListView::item { padding: ${p3}px ${p5}px; }
QHeaderView::section { background: $background; color: $muted; border: 0;
    border-bottom: 1px solid $border; padding: ${p4}px ${p6}px; font-weight: 600; }
QMenu { background: $raised; border: 1px solid $border; }
QMenu::item { padding: ${p5}px ${p20}px; }
QMenu::item:selected { background: $accent; color: $on_accent; }
"""
)


@dataclass(frozen=True)
class Theme:
    """A palette and a size."""

    palette: Palette = DARK
    scale: float = 1.0

    def px(self, size: float) -> int:
        """Return a length (pixels at 1366 x 768) on this screen."""
        return max(round(size * self.scale), 1)

    def sheet(self) -> str:
        """Return the style sheet."""
        names: dict[str, str] = {
            key: value for key, value in vars(self.palette).items() if isinstance(value, str)
        }
        names |= {f"f{n}": str(self.px(n)) for n in range(10, 40)}
        names |= {f"p{n}": str(self.px(n)) for n in range(1, 40)}
        names |= {f"q{n}": str(max(self.px(n) - 1, 0)) for n in range(2, 40)}
        return _SHEET.substitute(names)

    def font(self, size: float = 13.0, *, bold: bool = False) -> QtGui.QFont:
        """Return the window's font at a size."""
        font = QtGui.QFont(QtWidgets.QApplication.font())
        font.setPixelSize(self.px(size))
        font.setBold(bold)
        return font


def scale_for(height_px: int) -> float:
    """Return the size that suits a screen of that height: 1 at 768, 2.4 at 2160."""
    return min(max(height_px / 900.0, 1.0), 2.4)


_current = Theme()


def current() -> Theme:
    """Return the theme in use."""
    return _current


def apply(app: QtWidgets.QApplication, theme: Theme) -> None:
    """Use a theme from now on."""
    global _current
    _current = theme
    palette, colours = QtGui.QPalette(), theme.palette
    for role, colour in (
        (QtGui.QPalette.ColorRole.Window, colours.background),
        (QtGui.QPalette.ColorRole.WindowText, colours.text),
        (QtGui.QPalette.ColorRole.Base, colours.raised),
        (QtGui.QPalette.ColorRole.Text, colours.text),
        (QtGui.QPalette.ColorRole.Button, colours.raised),
        (QtGui.QPalette.ColorRole.ButtonText, colours.text),
        (QtGui.QPalette.ColorRole.Highlight, colours.accent),
        (QtGui.QPalette.ColorRole.HighlightedText, colours.on_accent),
        (QtGui.QPalette.ColorRole.Link, colours.accent),
    ):
        palette.setColor(role, QtGui.QColor(colour))
    palette.setColor(QtGui.QPalette.ColorRole.PlaceholderText, QtGui.QColor(colours.muted))
    app.setPalette(palette)
    font = QtGui.QFont(app.font())
    font.setPixelSize(theme.px(13))
    app.setFont(font)
    app.setStyleSheet(theme.sheet())


def restyle(widget: QtWidgets.QWidget, **properties: object) -> None:
    """Set properties that the style sheet asks for, and have it applied if one changed."""
    changed = False
    for name, value in properties.items():
        if widget.property(name) != value:
            widget.setProperty(name, value)
            changed = True
    if changed:
        style = widget.style()
        if style is not None:
            style.unpolish(widget)
            style.polish(widget)
