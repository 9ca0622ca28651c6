"""From the plan to the runs of the night: loops gone through, names filled in, parameters checked.

For the night, its dry run and its report. What comes out depends on the plan alone, so that a night
that is gone on with finds the same steps under the same numbers.
"""

from __future__ import annotations

import difflib
import itertools
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from instruments.errors import ConfigError
from procedures.measurement import Measurement
from procedures.nights.conditions import After, Moment, When
from procedures.nights.plan import NightTable, PlanError, PlanFile, StepTable
from procedures.session import build

_OWN = ("sample", "spot", "operator", "cryostat_K")
_MOST_STEPS = 10_000


@dataclass(frozen=True)
class Policy:
    """What is done when a step fails; see the plan's keys of the same names."""

    on_failure: str = "skip"
    on_interlock: str = "stop"
    retries: int = 0
    retry_wait_s: float = 60.0

    def changed(self, table: Any) -> Policy:
        """Return it with the keys that a table of the plan gives."""
        given = {key: getattr(table, key) for key in self.__dataclass_fields__}
        return Policy(
            **{key: getattr(self, key) if value is None else value for key, value in given.items()}
        )


@dataclass(frozen=True)
class Step:
    """One run of the night.

    number: from 1, in the order in which they are carried out. title: the step's name in the plan
    before values are filled in (or its measurement); place: where it stands in the plan.
    """

    number: int
    name: str
    title: str
    place: str
    measurement: str
    parameters: Mapping[str, Any]
    sample: str
    spot: str
    operator: str
    policy: Policy
    start: Moment | None = None
    only_if: After | None = None
    when: tuple[When, ...] = ()
    when_timeout_s: float = 0.0
    cryostat_K: float | None = None
    looped: Mapping[str, Any] = field(default_factory=dict)

    def build(self) -> Measurement:
        """Return its measurement, configured."""
        return build(self.measurement, self.parameters)


def expand(plan: PlanFile) -> list[Step]:
    """Return the steps in the order in which they are carried out.

    Raises:
        PlanError: a measurement, parameter, loop or name is not allowed; it names step and key.
    """
    found: list[Step] = []
    night = plan.night
    for count, table in enumerate(plan.step, start=1):
        where = _shown(count, table)
        for step in _expanded(plan, table, where, {}, Policy().changed(night)):
            if len(found) >= _MOST_STEPS:
                raise PlanError(
                    f"the plan has more than {_MOST_STEPS} runs", file=plan.file, key=step.place
                )
            found.append(step_numbered(step, len(found) + 1))
    _check_order(plan, found)
    return found


def step_numbered(step: Step, number: int) -> Step:
    """Return the step with its number."""
    return Step(**{**step.__dict__, "number": number})


def _shown(count: int, table: StepTable) -> str:
    name = table.name or table.measurement
    return f"step {count}" + (f" {name!r}" if name else "")


def _expanded(
    plan: PlanFile, table: StepTable, where: str, outer: Mapping[str, Any], policy: Policy
) -> Iterator[Step]:
    policy = policy.changed(table)
    for key in table.loop:
        if key in outer:
            raise _error(plan, where, f"loop.{key}", "a loop around it goes through it already")
        if key in table.parameters:
            raise _error(plan, where, f"loop.{key}", "it stands under parameters, too")
    known = _OWN if table.step else (*_OWN, *_parameters(plan, table, where))
    allowed = sorted({*known, *_inner(plan, table, where)})
    for key in table.loop:
        if key not in allowed:
            near = difflib.get_close_matches(key, allowed, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise _error(
                plan,
                where,
                f"loop.{key}",
                f"nothing here has that to go through{hint} There is: {', '.join(allowed)}",
            )
    for values in itertools.product(*table.loop.values()):
        looped = {**outer, **dict(zip(table.loop, values, strict=True))}
        if table.step:
            for count, inner in enumerate(table.step, start=1):
                inside = f"{where}, in it {_shown(count, inner)}"
                yield from _expanded(plan, _inherit(inner, table), inside, looped, policy)
        else:
            yield _one(plan, table, where, looped, policy)


def _inherit(inner: StepTable, group: StepTable) -> StepTable:
    """Return a step of a group with what the group says and it does not."""
    keys = ("sample", "spot", "operator", "cryostat_K", "start")
    given = {key: getattr(group, key) for key in keys if getattr(inner, key) is None}
    if group.when and not inner.when:
        given |= {"when": group.when, "when_timeout_s": group.when_timeout_s}
    return inner.model_copy(update=given)


def _inner(plan: PlanFile, table: StepTable, where: str) -> set[str]:
    """Return the parameters that the measurements of a group have."""
    found: set[str] = set()
    for count, inner in enumerate(table.step, start=1):
        inside = f"{where}, in it {_shown(count, inner)}"
        if inner.step:
            found |= _inner(plan, inner, inside)
        else:
            found |= set(_parameters(plan, inner, inside))
    return found


def _parameters(plan: PlanFile, table: StepTable, where: str) -> list[str]:
    try:
        return list(build(table.measurement or "", {})._parameters)
    except ConfigError as error:
        message = str(error).removeprefix("measurement: ")
        raise _error(plan, where, "measurement", message) from error


def _one(
    plan: PlanFile, table: StepTable, where: str, looped: Mapping[str, Any], policy: Policy
) -> Step:
    measurement = table.measurement or ""
    has = _parameters(plan, table, where)
    values = {**table.parameters, **{key: v for key, v in looped.items() if key in has}}
    try:
        built = build(measurement, values)
    except ConfigError as error:
        key = error.key or ""
        place = f"loop.{key}" if key in looped else f"parameters.{key}"
        raise _error(plan, where, place, str(error).removeprefix(f"{key}: ")) from error
    filled = {**{key: one.value for key, one in built.quantities().items()}, **looped}
    night: NightTable = plan.night
    texts = {}
    for key in ("sample", "spot", "operator"):
        given = getattr(table, key)
        text = given if given is not None else getattr(night, key)
        texts[key] = str(looped[key]) if key in looped else _fill(plan, where, key, text, filled)
    filled |= texts
    title = table.name or measurement
    cryostat_K = looped.get("cryostat_K", table.cryostat_K)
    if cryostat_K is not None and not (
        isinstance(cryostat_K, int | float) and not isinstance(cryostat_K, bool) and cryostat_K > 0
    ):
        raise _error(plan, where, "loop.cryostat_K", f"{cryostat_K!r} is no temperature (K)")
    return Step(
        number=0,
        name=_name(plan, where, table, measurement, looped, filled),
        title=title,
        place=where,
        measurement=measurement,
        parameters=values,
        policy=policy,
        start=table.start,
        only_if=table.only_if,
        when=tuple(table.when),
        when_timeout_s=table.when_timeout_s,
        cryostat_K=float(cryostat_K) if cryostat_K is not None else None,
        looped=dict(looped),
        **texts,
    )


def _name(
    plan: PlanFile,
    where: str,
    table: StepTable,
    measurement: str,
    looped: Mapping[str, Any],
    filled: Mapping[str, Any],
) -> str:
    """Return the step's name; where the plan does not fill in what is looped, it is added."""
    if "{" in table.name:
        return _fill(plan, where, "name", table.name, filled)
    more = ", ".join(f"{key} {_short(value)}" for key, value in looped.items())
    return f"{table.name or measurement}" + (f" ({more})" if more else "")


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _fill(plan: PlanFile, where: str, key: str, text: str, values: Mapping[str, Any]) -> str:
    """Put values where `{name}` or `{name:format}` stands; nothing else is understood."""
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        raise _error(plan, where, key, f"{text!r}: {error}") from error
    filled = ""
    for literal, name, form, conversion in parts:
        filled += literal
        if name is None:
            continue
        if conversion or name not in values:
            near = difflib.get_close_matches(name, list(values), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise _error(
                plan,
                where,
                key,
                f"{text!r}: there is no {name!r} to fill in{hint} There is: "
                f"{', '.join(sorted(values))}",
            )
        try:
            filled += format(values[name], form or "")
        except (ValueError, TypeError) as error:
            raise _error(plan, where, key, f"{text!r}: {error}") from error
    return filled


def _check_order(plan: PlanFile, steps: list[Step]) -> None:
    """Refuse a condition on a step that does not come before."""
    seen: list[str] = []
    for step in steps:
        which = step.only_if.which if step.only_if is not None else ""
        if which == "before" and not seen:
            raise _error(plan, step.place, "if", "there is no step before the first")
        if which.startswith("step "):
            name = which.removeprefix("step ")
            if name not in seen:
                near = difflib.get_close_matches(name, seen, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise _error(plan, step.place, "if", f"no step before is called {name!r}{hint}")
        seen += [step.name, step.title]


def _error(plan: PlanFile, where: str, key: str, message: str) -> PlanError:
    return PlanError(message, file=plan.file, key=f"{where}: {key}")
