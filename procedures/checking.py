"""gainbench check: is every instrument there, is it the right one, does it keep its limits?

Opens each instrument of the bench file in its turn, one link for those that share one, so that one
that is missing does not hide the others. Moves nothing unless told to, and then neither light nor
heat. Where an instrument is not what the file says, looks for it: at the resources of the other
roles that fail (a swap), and at those that no role names. For each problem it says what to do next.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from instruments.bench import Bench, open_bench
from instruments.config import BenchConfig, InstrumentTable
from instruments.errors import (
    BadReply,
    ConfigError,
    DeviceFault,
    LimitError,
    NoReply,
    NotReady,
    WrongIdentity,
)
from instruments.holding import ResourceInUse, canonical, holder
from instruments.opening import open_role
from instruments.registry import driver
from procedures.discovery import Resource, identify, impatient, resources, unreachable
from procedures.exercising import exercise

_REMEDIES: tuple[tuple[type[BaseException], str], ...] = (
    (NoReply, "check power and cable, the resource name, and that no other program holds it"),
    (WrongIdentity, "another instrument is at this resource: correct `resource` or `driver`"),
    (BadReply, "check baud rate and terminators; power the instrument off and on"),
    (DeviceFault, "see the instrument's own display; clear the fault, then check again"),
    (NotReady, "home or cool the instrument, or check again with --move"),
    (LimitError, "correct the limits, in the bench file or in the instrument"),
    (ConfigError, "correct the bench file"),
    (ResourceInUse, "wait until that has ended, or end it (gainbench status, gainbench abort)"),
    (ImportError, "install what this driver needs"),
)
# What tells instruments on one link apart.
_APART = ("address", "axis", "index", "channel", "slot")
# What stops the light is checked first, so that it is closed when others move.
_FIRST = ("shutter", "pulse_gate")
_OLD_DAYS = 365.0
_MOST_TRIALS = 16


@dataclass
class Row:
    """What was found of one role; `lost` if its instrument is not where the file says."""

    role: str
    table: InstrumentTable
    ok: bool = False
    identity: str = ""
    text: str = ""
    remedy: str = ""
    moved: list[str] = field(default_factory=list)
    limits: dict[str, dict[str, Any]] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)
    lost: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return it as plain types."""
        return {
            "role": self.role,
            "driver": self.table.driver,
            "resource": self.table.resource,
            "ok": self.ok,
            "identity": self.identity,
            "text": self.text,
            "remedy": self.remedy,
            "moved": self.moved,
            "limits": self.limits,
            "calibration": self.calibration,
        }


def check_bench(config: BenchConfig, *, move: bool = False) -> dict[str, Any]:
    """Check every instrument of a bench.

    Returns {"ok", "moved", "instruments": [a Row each], "resources": [names], "discovered":
    [{"resource", "description", "role"}]}; role is the one that names it, "" if none does.
    """
    known = resources()
    with open_bench(config, (), report=_silent, extras=False) as bench:
        rows = [Row(role, table) for role, table in _tables(config, bench).items()]
        users = _users(rows)
        opened_for: dict[str, str] = {}
        for row in sorted(rows, key=lambda row: row.role not in _FIRST):
            if opened_for.setdefault(row.table.resource, row.table.driver) != row.table.driver:
                _let_go(bench, row.table.resource)  # set up for another kind of instrument
                opened_for[row.table.resource] = row.table.driver
            _check(bench, row, move)
            users[row.table.resource].remove(row.role)
            if not users[row.table.resource]:
                _let_go(bench, row.table.resource)
    _note_doubles(rows)
    _look_for_the_lost(rows, known, config)
    named = {canonical(row.table.resource): row.role for row in rows}
    return {
        "ok": all(row.ok for row in rows) and bool(rows),
        "moved": move,
        "instruments": [row.to_json() for row in rows],
        "resources": [one.name for one in known],
        "discovered": [
            {
                "resource": one.name,
                "description": one.description,
                "role": named.get(canonical(one.name), ""),
            }
            for one in known
        ],
    }


def _silent(_line: str) -> None:
    """Say nothing."""


def _tables(config: BenchConfig, bench: Bench) -> dict[str, InstrumentTable]:
    """Return every role with its table; what is only simulated gets one, too."""
    found: dict[str, InstrumentTable] = {**config.instruments}  # type: ignore[dict-item]
    if config.simulation is not None:
        for role in bench.simulation.roles:
            found.setdefault(role, InstrumentTable(driver=bench.simulation.driver(role)))
    return found


def _users(rows: list[Row]) -> dict[str, list[str]]:
    users: dict[str, list[str]] = {}
    for row in rows:
        users.setdefault(row.table.resource, []).append(row.role)
    return users


def _let_go(bench: Bench, resource: str) -> None:
    link = bench.links.pop(resource, None)
    if link is not None:
        with contextlib.suppress(Exception):
            link.close()
    bench.let_go(resource)


# ---- one instrument -----------------------------------------------------------------------------


def _check(bench: Bench, row: Row, move: bool) -> None:
    instrument: Any = None
    shared = False
    try:
        if not row.table.simulated:
            shared = row.table.resource in bench.links
            why = "" if shared else unreachable(row.table.resource)
            if why:
                raise NoReply(f"{row.role} at {row.table.resource}: {why}")
        instrument = open_role(bench, row.role, impatient)
        row.identity = str(instrument.identity)
        row.limits = {
            name: {"low": one.low, "high": one.high, "unit": one.unit}
            for name, one in dict(instrument.limits).items()
        }
        _note_calibration(bench, row)
        if move:
            row.moved = exercise(instrument)
        _judge(instrument, row, move)
    except Exception as error:  # whatever one instrument does, the others are checked
        row.ok = False
        row.text = str(error) or type(error).__name__
        row.remedy = next(
            (remedy for kind, remedy in _REMEDIES if isinstance(error, kind)), "see the manual"
        )
        if isinstance(error, PermissionError):
            row.remedy = "no other program may hold it, and this user must be allowed to use it"
        row.lost = instrument is None and isinstance(error, NoReply | BadReply | WrongIdentity)
        if instrument is None:
            _let_go(bench, row.table.resource)  # closed by then; the next role opens it again
    finally:
        _leave(bench, instrument, row, move)


def _judge(instrument: Any, row: Row, move: bool) -> None:
    status = instrument.status()
    # A mount that waits to be homed is ready for a run, which homes it.
    unhomed = not move and not getattr(instrument, "homed", True)
    unhomed = unhomed or (not move and "homed" in status.text)
    row.ok = status.ok or unhomed
    row.text = status.text
    if not row.ok:
        row.remedy = "see the instrument's own display"
    elif unhomed and not status.ok:
        row.remedy = "nothing: a run homes it (check --move does, too)"


def _note_calibration(bench: Bench, row: Row) -> None:
    made = bench.calibrations.get(row.role)
    if made is None:
        return
    row.calibration = {"name": made.name, "date": made.date, "sha256": made.sha256}
    with contextlib.suppress(ValueError, TypeError):
        days = (time.time() - datetime.fromisoformat(made.date).timestamp()) / 86400.0
        row.calibration["age_days"] = days
        if days > _OLD_DAYS:
            row.remedy = f"its calibration is {days:.0f} days old: calibrate again"


def _leave(bench: Bench, instrument: Any, row: Row, move: bool) -> None:
    """Leave an instrument as it was found; safe, if it was moved."""
    if instrument is None:
        return
    if move and row.role != "cryostat":  # whose heater may be holding a sample
        try:
            instrument.make_safe()
        except Exception as error:
            row.ok = False
            row.text = f"{row.text}; it could not be made safe: {error}".lstrip("; ")
    if row.table.resource not in bench.links:  # a link is closed when the last of its users is done
        with contextlib.suppress(Exception):
            instrument.close()


# ---- where is what is not there -----------------------------------------------------------------


def _note_doubles(rows: list[Row]) -> None:
    """Say where two roles name one instrument, or one port for two kinds of instruments."""
    seen: dict[str, list[Row]] = {}
    for row in rows:
        if not row.table.simulated:
            seen.setdefault(canonical(row.table.resource), []).append(row)
    for sharing in seen.values():
        for index, row in enumerate(sharing):
            for other in sharing[:index]:
                if row.table.driver != other.table.driver:
                    why = f"{other.role} is at the same resource, with another driver"
                elif _apart(row.table) == _apart(other.table) and row.role == other.role:
                    why = ""
                elif _apart(row.table) == _apart(other.table) and _one_role(row, other):
                    why = f"{other.role} is the same instrument"
                else:
                    why = ""
                if why:
                    row.ok = False
                    row.text = f"{row.text}; {why}".lstrip("; ")
                    row.remedy = "give each instrument its own resource (or address, axis, index)"


def _apart(table: InstrumentTable) -> Mapping[str, Any]:
    return {name: str(table.options[name]) for name in _APART if name in table.options}


def _one_role(row: Row, other: Row) -> bool:
    """Return whether one instrument would have to be both: their driver has no class for each."""
    try:
        entry = driver(row.table.driver, row.role)
        return bool(entry.load(row.role) is entry.load(other.role))
    except Exception:
        return False


def _look_for_the_lost(rows: list[Row], known: list[Resource], config: BenchConfig) -> None:
    """Try the drivers of the roles that fail where their instruments may be."""
    lost = [row for row in rows if row.lost and _trial(row, config) is not None]
    trials = _MOST_TRIALS
    found: dict[str, str] = {}  # role -> the resource where its instrument answers
    for row in lost:
        for other in lost:
            if other is row or canonical(other.table.resource) == canonical(row.table.resource):
                continue
            if trials and (who := _try(row, other.table.resource, config)):
                found[row.role] = other.table.resource
                other.text = f"this is the {who}, which the bench file names under {row.role}"
            trials = max(trials - 1, 0)
    for row in lost:
        if row.role in found:
            owner = next(o for o in lost if o.table.resource == found[row.role])
            swapped = found.get(owner.role) == row.table.resource
            row.remedy = (
                f"swap `resource` of [instruments.{row.role}] and [instruments.{owner.role}]"
                if swapped
                else f"its instrument answers at {found[row.role]}: write that as `resource`"
            )
            continue
        free = _unnamed(rows, known, row.table.resource)
        for resource in free:
            if not trials:
                break
            trials -= 1
            if who := _try(row, resource.name, config):
                row.text = f"{row.text}; {who} answers at {resource.name}"
                row.remedy = f'write resource = "{resource.name}"'
                break
        else:
            names = [one for one in known if _kind_of(one.name) == _kind_of(row.table.resource)]
            if row.table.resource.upper().startswith(("ASRL", "USB", "GPIB")):
                here = ", ".join(_with_description(one) for one in names) or "none"
                row.remedy += f"; ports of this kind here: {here}"


def _trial(row: Row, config: BenchConfig) -> type | None:
    try:
        kind = driver(row.table.driver, row.role, config.file).load(row.role)
    except Exception:
        return None
    return kind if hasattr(kind, "open_link") else None


def _try(row: Row, resource: str, config: BenchConfig) -> str:
    kind = _trial(row, config)
    if kind is None:
        return ""
    try:
        found = identify(kind, row.table.options, resource)
    except Exception:  # another's device may answer anything
        return ""
    return str(found) if found is not None else ""


def _unnamed(rows: list[Row], known: list[Resource], like: str) -> list[Resource]:
    """Return the resources that no role names, of the same kind of link."""
    named = {canonical(row.table.resource) for row in rows}
    return [
        one
        for one in known
        if canonical(one.name) not in named
        and _kind_of(one.name) == _kind_of(like)
        and holder(one.name) is None
    ]


def _kind_of(resource: str) -> str:
    name = resource.upper()
    return next((k for k in ("ASRL", "USB", "GPIB", "TCPIP") if name.startswith(k)), name)


def _with_description(resource: Resource) -> str:
    return f"{resource.name} ({resource.description})" if resource.description else resource.name
