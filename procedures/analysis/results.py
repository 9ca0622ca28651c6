"""What every analysis hands back: numbers with uncertainty and unit, warnings, curves to draw.

For the command, the run file and the figures. Stops at plain numbers: how a number was found is
told by the analysis that found it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Numbers = float | Sequence[float | None] | None


@dataclass(frozen=True)
class Result:
    """One result: a number, or one number per fluence or day, or None where data are silent.

    Attributes:
        value: in `unit`; None if the records do not support a value.
        stderr: one sigma, same shape as value.
        unit: as text, "1" if dimensionless.
        bound: "upper" or "lower" where the value is a limit and not an estimate.
        extrapolated: the value lies beyond what was measured, and was asked for all the same.
    """

    value: Numbers
    stderr: Numbers
    unit: str
    bound: str | None = None
    extrapolated: bool = False

    @classmethod
    def nothing(cls, unit: str) -> Result:
        """Return the result that says the records do not support a value."""
        return cls(None, None, unit)

    def to_json(self) -> dict[str, Any]:
        """Return plain types; what is not finite leaves as None, and takes its stderr along."""
        value, stderr = _plain(self.value), _plain(self.stderr)
        if value is None:
            stderr = None
        elif isinstance(value, list) and isinstance(stderr, list):
            stderr = [None if v is None else s for v, s in zip(value, stderr, strict=True)]
        entry: dict[str, Any] = {"value": value, "stderr": stderr, "unit": self.unit}
        if self.bound is not None:
            entry["bound"] = self.bound
        if self.extrapolated:
            entry["extrapolated"] = True
        return entry


@dataclass(frozen=True)
class Analysis:
    """Everything found in a run.

    Attributes:
        results: by name, the name ending in its unit.
        warnings: sentences for the operator: what was left out, what is missing, what to do.
        curves: what a figure draws, arrays by name with units in the name.
    """

    results: dict[str, Result]
    warnings: list[str] = field(default_factory=list)
    curves: dict[str, NDArray[Any]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return results and warnings as plain types that are valid JSON (no NaN)."""
        results = {name: result.to_json() for name, result in self.results.items()}
        return {"results": results, "warnings": list(self.warnings)}


def _plain(numbers: Numbers) -> float | list[float | None] | None:
    if numbers is None:
        return None
    if isinstance(numbers, Sequence | np.ndarray):
        return [_finite(number) for number in numbers]
    return _finite(numbers)


def _finite(number: float | None) -> float | None:
    if number is None or not math.isfinite(number):
        return None
    return float(number)


def format_result(result: Result) -> str:
    """Return a result as a person writes it: 22.1 +- 0.4 uJ/cm^2."""
    unit = "" if result.unit == "1" else f" {result.unit}"
    if isinstance(result.value, Sequence):
        stderr = (
            result.stderr if isinstance(result.stderr, Sequence) else [None] * len(result.value)
        )
        pairs = zip(result.value, stderr, strict=True)
        return ", ".join(_one(value, error) for value, error in pairs) + unit
    error = None if isinstance(result.stderr, Sequence) else result.stderr
    bound = {"upper": "below ", "lower": "above "}.get(result.bound or "", "")
    beyond = " (extrapolated)" if result.extrapolated else ""
    return bound + _one(result.value, error) + (unit if result.value is not None else "") + beyond


def _one(value: float | None, error: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "not supported by the data"
    if error is None or not math.isfinite(error) or error <= 0:
        return f"{value:.4g}"
    digits = max(0, 1 - math.floor(math.log10(error)))
    if digits > 6 and abs(value) < 1e-3:
        power = math.floor(math.log10(max(abs(value), error)))
        return f"({_one(value / 10.0**power, error / 10.0**power)})e{power}"
    return f"{value:.{digits}f} +- {error:.{digits}f}"
