"""Axes as a spectroscopist reads them: photon energy above, decades as 1, 2, 5, 10."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pyqtgraph as pg

from gui import theme
from gui.words import ev

_EV_NM = 1239.841984


class EnergyAxis(pg.AxisItem):  # type: ignore[misc]
    """Photon energy (eV) along a wavelength axis (nm)."""

    def tickValues(self, minVal: float, maxVal: float, size: float) -> list[Any]:
        """Return wavelengths at round energies."""
        if minVal <= 0.0 or maxVal <= minVal:
            return []
        low, high = ev(maxVal), ev(minVal)
        step = _round_step((high - low) / max(size / 90.0, 3.0), (1.0, 2.0, 2.5, 5.0, 10.0))
        first = math.ceil(low / step)
        count = min(int(high / step) - first + 1, 60)
        energies = [(first + number) * step for number in range(count)]
        return [(step, [_EV_NM / energy for energy in energies if energy > 0.0])]

    def tickStrings(self, values: list[float], _scale: float, _spacing: float) -> list[str]:
        """Return the energies as text."""
        digits = 2
        if len(values) > 1:
            apart = abs(ev(values[0]) - ev(values[1]))
            digits = max(math.ceil(-math.log10(apart) - 1e-6), 1) if apart > 0.0 else 2
            digits += abs(round(apart, digits) - apart) > 0.01 * apart
        words = [f"{ev(value):.{digits}f}" for value in values]
        return [*(f"{one} eV" for one in words[:1]), *words[1:]]


class PlainAxis(pg.AxisItem):  # type: ignore[misc]
    """Numbers without powers where that can be: 1, 2, 5, 10 on a logarithmic axis."""

    def __init__(self, orientation: str) -> None:
        super().__init__(orientation=orientation)
        self.setStyle(maxTextLevel=0)

    def setLogMode(self, *args: Any, **kwargs: Any) -> None:
        """See pyqtgraph; a logarithmic axis has words at 2 and 5, too."""
        super().setLogMode(*args, **kwargs)
        self.setStyle(maxTextLevel=2 if self.logMode else 0)

    def tickSpacing(self, minVal: float, maxVal: float, size: float) -> list[Any]:
        """Return steps of 1, 2 or 5 that leave room for the words."""
        apart = 34.0 if self.orientation in ("left", "right") else 76.0
        apart *= theme.current().scale
        step = _round_step(max(maxVal - minVal, 1e-300) * apart / max(size, 1.0))
        return [(step, 0.0), (step / 5.0, 0.0)]

    def logTickValues(self, minVal: float, maxVal: float, size: float, stdTicks: Any) -> list[Any]:
        """Return decades, and 2 and 5 between them where there is room."""
        low, high = math.floor(minVal), math.ceil(maxVal)
        decades = [float(value) for value in range(low, high + 1)]
        span = maxVal - minVal
        room = size / max(span, 1e-6)
        if room < 36.0:
            skip = max(math.ceil(36.0 / max(room, 1e-6)), 1)
            decades = [value for value in decades if round(value) % skip == 0]
        between = [d + math.log10(k) for d in range(low, high + 1) for k in (2, 5)]
        fine = [d + math.log10(k) for d in range(low, high + 1) for k in range(2, 10)]
        shown = [(1.0, [v for v in decades if minVal <= v <= maxVal])]
        if room > 85.0:
            shown.append((0.3, [v for v in between if minVal <= v <= maxVal]))
        if room > 60.0:
            shown.append((0.1, [v for v in fine if minVal <= v <= maxVal]))
        if span < 0.25:
            return list(stdTicks)
        return shown

    def logTickStrings(self, values: list[float], _scale: float, spacing: float) -> list[str]:
        """Return plain numbers; nothing for the fine ticks."""
        if 0.05 < spacing < 0.2:
            return ["" for _ in values]
        return [_number(10.0**value) for value in values]

    def tickStrings(self, values: list[float], scale: float, spacing: float) -> list[str]:
        """Return numbers with as many digits as their spacing asks for."""
        if self.logMode:
            return self.logTickStrings(values, scale, spacing)
        high = max((abs(value * scale) for value in values), default=0.0)
        if high >= 1e5:
            return [_in_thousands(value * scale, high) for value in values]
        return [_spaced(value * scale, spacing * scale) for value in values]


def _in_thousands(value: float, high: float) -> str:
    """Return a value in the power of a thousand that the largest of its axis asks for."""
    power = 3 * math.floor(math.log10(high) / 3.0 + 1e-9)
    return "0" if value == 0.0 else f"{value / 10.0**power:.6g}·10{_raised(power)}"


def _spaced(value: float, spacing: float) -> str:
    if 0.0 < spacing < 1e-4:
        power = 3 * math.floor(math.log10(spacing * 100.0) / 3.0)
        digits = max(power - math.floor(math.log10(spacing) + 1e-9), 0)
        mantissa = f"{value / 10.0**power:.{digits}f}"
        return "0" if value == 0.0 else f"{mantissa}·10{_raised(power)}"
    digits = max(-math.floor(math.log10(spacing) + 1e-9), 0) if spacing > 0 else 0
    return f"{value:.{min(digits, 6)}f}"


def _number(value: float) -> str:
    if value == 0.0:
        return "0"
    if 1e-3 <= abs(value) < 1e5:
        return f"{value:g}"
    power = math.floor(math.log10(abs(value)) + 1e-9)
    mantissa = value / 10.0**power
    raised = _raised(power)
    return f"10{raised}" if abs(mantissa - 1.0) < 1e-6 else f"{mantissa:.3g}·10{raised}"


def _raised(power: int) -> str:
    return str(power).translate(str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻"))


def _round_step(rough: float, steps: Sequence[float] = (1.0, 2.0, 5.0, 10.0)) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in steps if step * power >= rough)
