"""A rule of the operator's own about readings: `temperature_K < 15 and pulse_energy_J < 2e-7`.

For [interlock] of the bench file: what must hold while there is light on the sample. A small
language of numbers and truths (comparisons, + - * /, and, or, not), read by Python's parser and
worked out here, node by node: nothing of it is ever run. Stops at true, false and unknown.
"""

from __future__ import annotations

import ast
import difflib
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

READINGS: Mapping[str, tuple[str, str, str]] = {
    "temperature_K": ("cryostat", "number", "temperature of the control sensor"),
    "setpoint_K": ("cryostat", "number", "temperature asked for"),
    "heater_percent": ("cryostat", "number", "output of the heater"),
    "pulse_energy_J": ("energy_meter", "number", "mean pulse energy at the sample"),
    "fluence_uJ_cm2": ("energy_meter", "number", "the same as a fluence"),
    "shutter_open": ("shutter", "truth", "the blade, as the shutter tells"),
    "light_s": ("", "number", "how long the light has been on the sample without a break"),
    "shots_on_sample": ("", "number", "laser shots in this run so far"),
    "dose_J_cm2": ("", "number", "dose in this run so far"),
}
"""What a rule can be about: name -> (role that it needs, kind, meaning)."""

_LONGEST = 1000
_DEEPEST = 40
_COMPARE: Mapping[type, Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_COMPUTE: Mapping[type, Callable[[Any, Any], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
Values = Mapping[str, float | bool | None]


class Rule:
    """A rule, checked when it is made.

    Raises ValueError, saying what is wrong and what is allowed.
    """

    def __init__(self, text: str) -> None:
        if len(text) > _LONGEST:
            raise ValueError(f"a rule of more than {_LONGEST} letters is none")
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            why = error.msg if isinstance(error, SyntaxError) else str(error)
            raise ValueError(f"{text!r} cannot be read: {why}") from None
        self.text = text
        self.names: set[str] = set()
        if self._kind(tree, 0) != "truth":
            raise ValueError(f"{text!r} is a number; a rule is true or false: compare it")
        self._tree = tree

    @property
    def roles(self) -> set[str]:
        """The roles whose readings it is about."""
        return {READINGS[name][0] for name in self.names} - {""}

    def holds(self, values: Values) -> bool | None:
        """Work it out; None if a reading is missing or not a number."""
        if any(_missing(values.get(name)) for name in self.names):
            return None
        try:
            found = self._value(self._tree, values)
        except (ZeroDivisionError, OverflowError):
            return None
        return bool(found)

    def _kind(self, node: ast.AST, depth: int) -> str:
        """Return "number" or "truth"; ValueError where a node is not of this language."""
        if depth > _DEEPEST:
            raise ValueError("a rule nested as deep as this is none")

        def want(part: ast.AST, kind: str) -> None:
            if self._kind(part, depth + 1) != kind:
                words = {"number": "a number", "truth": "true or false"}
                raise ValueError(f"{ast.unparse(part)!r} stands where {words[kind]} is wanted")

        if isinstance(node, ast.Constant) and isinstance(node.value, bool):
            return "truth"
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            return "number"
        if isinstance(node, ast.Name):
            return self._reading(node.id)
        if isinstance(node, ast.BoolOp):
            for part in node.values:
                want(part, "truth")
            return "truth"
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            want(node.operand, "truth")
            return "truth"
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            want(node.operand, "number")
            return "number"
        if isinstance(node, ast.BinOp) and type(node.op) in _COMPUTE:
            want(node.left, "number")
            want(node.right, "number")
            return "number"
        if isinstance(node, ast.Compare) and all(type(op) in _COMPARE for op in node.ops):
            for part in (node.left, *node.comparators):
                want(part, "number")
            return "truth"
        raise ValueError(
            f"{ast.unparse(node)!r} is not allowed; a rule has readings, numbers, comparisons, "
            "+ - * /, and, or, not"
        )

    def _reading(self, name: str) -> str:
        if name not in READINGS:
            near = difflib.get_close_matches(name, READINGS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"unknown reading {name!r}{hint} Allowed: {', '.join(READINGS)}")
        self.names.add(name)
        return READINGS[name][1]

    def _value(self, node: ast.AST, values: Values) -> Any:
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            return values[node.id]
        if isinstance(node, ast.BoolOp):
            join = all if isinstance(node.op, ast.And) else any
            return join(self._value(part, values) for part in node.values)
        if isinstance(node, ast.UnaryOp):
            inner = self._value(node.operand, values)
            if isinstance(node.op, ast.Not):
                return not inner
            return -inner if isinstance(node.op, ast.USub) else inner
        if isinstance(node, ast.BinOp):
            left, right = self._value(node.left, values), self._value(node.right, values)
            return _COMPUTE[type(node.op)](left, right)
        assert isinstance(node, ast.Compare)
        left = self._value(node.left, values)
        for op, part in zip(node.ops, node.comparators, strict=True):
            right = self._value(part, values)
            if not _COMPARE[type(op)](left, right):
                return False
            left = right
        return True


def _missing(value: float | bool | None) -> bool:
    return value is None or not math.isfinite(value)
