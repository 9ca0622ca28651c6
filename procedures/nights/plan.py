"""The plan of a night: the schema of PLAN.toml, and errors that name step and key.

For the night, and for the reference in the documentation, which is built from here. What the steps
become (loops, names) is `expanding.py`'s business; whether the bench allows them, `forecast.py`'s.
"""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from instruments.bench_tables import Positive, StrictTable
from instruments.config import explain, first_wrong
from instruments.errors import ConfigError
from procedures.nights.conditions import (
    After,
    Moment,
    When,
    parse_after,
    parse_moment,
    parse_when,
)


def _one_or_more(value: Any) -> Any:
    return [parse_when(one) for one in (value if isinstance(value, list) else [value])]


def _loop_values(value: Any) -> Any:
    if not isinstance(value, list) or not value:
        raise ValueError(f"{value!r} was given, a list of one value or more is wanted")
    for one in value:
        if isinstance(one, float) and not math.isfinite(one):
            raise ValueError(f"{one!r} cannot be set")
    return value


WhenField = Annotated[list[When], BeforeValidator(_one_or_more)]
AfterField = Annotated[After, BeforeValidator(parse_after)]
MomentField = Annotated[Moment, BeforeValidator(parse_moment)]
LoopField = Annotated[list[Any], BeforeValidator(_loop_values)]


class _PlanTable(StrictTable):
    """A table of the plan; holds what the sentences in it mean."""

    model_config = ConfigDict(arbitrary_types_allowed=True, populate_by_name=False)


class PolicyTable(_PlanTable):
    """What is done when a step fails; a key left out is that of the group, or of [night]."""

    on_failure: Literal["skip", "stop"] | None = None
    """After the last try: go on with the next step (skip), or end the night (stop)."""
    on_interlock: Literal["skip", "stop"] | None = None
    """The same where the interlock has stopped the run; it is never tried again."""
    retries: Annotated[int, Field(ge=0, le=1000)] | None = None
    """How often a failed step is tried again; its run file is gone on with."""
    retry_wait_s: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] | None = None
    """Wait before each further try (s)."""


class NightTable(PolicyTable):
    """[night]: what holds for the whole night."""

    on_failure: Literal["skip", "stop"] | None = "skip"
    """Where a step does not say: after its last try go on with the next (skip), or end (stop)."""
    on_interlock: Literal["skip", "stop"] | None = "stop"
    """The same where the interlock has stopped the run."""
    retries: Annotated[int, Field(ge=0, le=1000)] | None = 0
    """How often a failed step is tried again, where it does not say."""
    retry_wait_s: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] | None = 60.0
    """Wait before each further try (s), where it does not say."""

    name: str = "night"
    """What the night is called, in its folder's name and in notices."""
    bench: str | None = None
    """The bench file, relative to the plan; `--bench` comes before it."""
    start: MomentField | None = None
    """When it begins: "22:30" (the next one), or a date and time."""
    sample: str = ""
    """What is measured, where a step does not say."""
    spot: str = ""
    """Where on the sample, where a step does not say."""
    operator: str = ""
    """Who measures."""


class BudgetTable(_PlanTable):
    """[budget]: what the whole night may use; a step that would exceed it is not begun."""

    time_h: Positive | None = None
    """Time from the start of the night (hours); a run that goes on then is ended."""
    shots: Positive | None = None
    """Laser shots on all samples together."""
    dose_J_cm2: Positive | None = None
    """Dose on all spots together (J/cm2)."""


class StepTable(PolicyTable):
    """[[step]]: a measurement; or, with [[step.step]] inside, a group that is looped as one."""

    name: str = ""
    """What the step is called; may hold values of the loop, as "at {temperature_K:g} K"."""
    measurement: str | None = None
    """Which measurement, by the names of `gainbench list`."""
    parameters: dict[str, Any] = Field(default={})
    """Its parameters, as [step.parameters]."""
    loop: dict[str, LoopField] = Field(default={})
    """Lists to go through, the first key slowest, as [step.loop]: a parameter, spot, sample,
    operator or cryostat_K."""
    step: list[StepTable] = Field(default=[])
    """The steps of a group."""
    sample: str | None = None
    """What is measured; may hold values of the loop, as may spot and operator."""
    spot: str | None = None
    """Where on it."""
    operator: str | None = None
    """Who measures."""
    start: MomentField | None = None
    """Not before this time: "03:00" (the next one from the beginning of the night), or a date."""
    only_if: AfterField | None = Field(default=None, alias="if")
    """Only if earlier steps ended so: "the step before succeeded", "step NAME failed", "all steps
    before succeeded"; otherwise it is left out."""
    cryostat_K: Positive | None = None
    """Temperature that the cryostat is set to before the run (K); it is waited for until it is
    stable, unless `when` says what is waited for. For measurements that have none of their own."""
    when: WhenField = Field(default=[])
    """Waits until it is so: "cryostat below 12 K", "energy_meter above 0.2 uJ", "camera ready"."""
    when_timeout_s: Positive = 4 * 3600.0
    """How long it waits for that; then the step has failed (s)."""

    @model_validator(mode="after")
    def _one_kind(self) -> StepTable:
        if bool(self.step) == (self.measurement is not None):
            raise ValueError("give a measurement; or steps ([[step.step]]), to loop over a group")
        for key, given in (("parameters", self.parameters), ("if", self.only_if)):
            if self.step and given:
                raise ValueError(f"{key} belongs to a measurement, not to a group of steps")
        return self


class PlanFile(_PlanTable):
    """A whole plan."""

    night: NightTable = NightTable()
    budget: BudgetTable = BudgetTable()
    step: Annotated[list[StepTable], Field(min_length=1)]

    _file: str = ""
    _text: str = ""

    @property
    def file(self) -> str:
        """Where it was read from."""
        return self._file

    @property
    def text(self) -> str:
        """The text of the file, kept with the night."""
        return self._text


class PlanError(ConfigError):
    """A plan holds what is not allowed; the message names step and key."""

    code = "plan"


def load_plan(path: str | Path) -> PlanFile:
    """Read a plan.

    Raises:
        PlanError: it cannot be read, is not TOML, or holds what is not allowed. What only the
            measurements know (their parameters) is checked by `expanding.expand`.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"cannot be read ({error})", file=str(path)) from None
    return parse_plan(text, str(path))


def parse_plan(text: str, file: str) -> PlanFile:
    """Check the text of a plan; see `load_plan`."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PlanError(f"is not TOML: {error}", file=file) from None
    try:
        plan = PlanFile.model_validate(data)
    except ValidationError as error:
        found = explain(error, PlanFile, file=None, key="")
        key = place(first_wrong(error), data)
        if first_wrong(error) == ("step",):
            raise PlanError("a plan needs one [[step]] or more", file=file, key=key) from None
        raise PlanError(str(found), file=file, key=key) from None
    plan._file, plan._text = file, text
    return plan


def place(location: tuple[Any, ...], data: Any) -> str:
    """Say where something is, with steps counted from 1 and called by name: "step 2 'x': when"."""
    found, at = "", data
    parts = list(location)
    while len(parts) >= 2 and parts[0] == "step" and isinstance(parts[1], int):
        number = parts[1]
        try:
            at = at["step"][number]
            name = at.get("name") or at.get("measurement") or ""
        except (LookupError, TypeError, AttributeError):
            name = ""
        shown = f" {name!r}" if isinstance(name, str) and name else ""
        found += (", in it " if found else "") + f"step {number + 1}{shown}"
        parts = parts[2:]
    key = ".".join(str(part) for part in parts)
    return f"{found}: {key}" if found and key else found or key
