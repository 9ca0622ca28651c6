"""Parameters of a measurement: pymeasure's, but strict.

They take TOML values. `1.6e7` is a whole number; `nan`, a truth value for a number, or a bad unit
is refused; lists of numbers have a class of their own. Every refusal is a ParameterError that says
what was given and what is allowed.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from typing import Any

from instruments.errors import ConfigError
from procedures.experiment import (
    BooleanParameter,
    FloatParameter,
    IntegerParameter,
    ListParameter,
    Parameter,
)


class ParameterError(ConfigError):
    """A parameter of a measurement has a value that is not allowed; `key` names it."""

    code = "parameter"


def _number(value: Any, name: str, low: float, high: float, units: str | None) -> float:
    if isinstance(value, str):
        text, _, unit = value.strip().partition(" ")
        if unit and unit != units:
            raise ParameterError(f"the unit is {units!r}, not {unit!r}", key=name)
        try:
            value = float(text)
        except ValueError:
            raise ParameterError(f"{value!r} is not a number", key=name) from None
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        raise ParameterError(f"{value!r} is not a number", key=name)
    number = float(value)
    if math.isnan(number) or not low <= number <= high:
        unit = f" {units}" if units else ""
        raise ParameterError(
            f"{number:g}{unit} was given, allowed is {low:g} to {high:g}{unit}", key=name
        )
    return number


class Number(FloatParameter):  # type: ignore[misc]
    """A real number with a unit and a range."""

    def convert(self, value: Any) -> float:
        """Return the value as float, or raise ParameterError."""
        if isinstance(value, bool):
            raise ParameterError(f"{value!r} is not a number", key=self.name)
        return _number(value, self.name, self.minimum, self.maximum, self.units)


class Count(IntegerParameter):  # type: ignore[misc]
    """A whole number; `1.6e7` is one."""

    def convert(self, value: Any) -> int:
        """Return the value as int, or raise ParameterError."""
        if isinstance(value, bool):
            raise ParameterError(f"{value!r} is not a whole number", key=self.name)
        number = _number(value, self.name, self.minimum, self.maximum, self.units)
        if number != int(number):
            raise ParameterError(f"{value} is not a whole number", key=self.name)
        return int(number)


class Flag(BooleanParameter):  # type: ignore[misc]
    """true or false."""

    def convert(self, value: Any) -> bool:
        """Return the value as bool, or raise ParameterError."""
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        if isinstance(value, bool):
            return value
        raise ParameterError(f"{value!r} was given, allowed are true and false", key=self.name)


class Choice(ListParameter):  # type: ignore[misc]
    """One of some words."""

    def convert(self, value: Any) -> Any:
        """Return the word, or raise ParameterError."""
        if value not in self.choices:
            allowed = ", ".join(repr(choice) for choice in self.choices)
            raise ParameterError(f"{value!r} was given, allowed are {allowed}", key=self.name)
        return value


class Numbers(Parameter):  # type: ignore[misc]
    """A list of numbers with a unit and a range for each; may be empty."""

    def __init__(
        self,
        name: str,
        units: str | None = None,
        minimum: float = -math.inf,
        maximum: float = math.inf,
        **kwargs: Any,
    ) -> None:
        self.units = units
        self.minimum = minimum
        self.maximum = maximum
        super().__init__(name, **kwargs)

    def convert(self, value: Any) -> list[float]:
        """Return a list of floats, or raise ParameterError."""
        if isinstance(value, str):
            try:
                value = tomllib.loads(f"value = {value}")["value"]
            except tomllib.TOMLDecodeError:
                raise ParameterError(
                    f"{value!r} is not a list such as [1.5, 3.0]", key=self.name
                ) from None
        if not isinstance(value, list | tuple):
            value = [value]
        return [_number(one, self.name, self.minimum, self.maximum, self.units) for one in value]


def toml_value(text: str) -> Any:
    """Read the value of `--set key=value` as TOML; what is not TOML is taken as text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def describe(parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return name, unit, default and help of each parameter, for lists and forms."""
    return [
        {
            "name": name,
            "unit": getattr(parameter, "units", None) or "",
            "default": parameter.default,
            "help": parameter.description or "",
        }
        for name, parameter in parameters.items()
    ]
