"""Calibration files: what was found out about an instrument, when, with which one, from which run.

For attenuator, stripe slit and spectrograph, which read one each, and for the calibration runs,
which write them. A file is dated TOML, never written over; a run records name, date and SHA-256 of
each that it used. Stops at numbers by name: what a name means is the reader's affair.

    kind = "attenuator"
    date = 2026-11-23T14:05:00+01:00
    source = "20261123-140212_calibrate-pump_none.h5"
    [instruments.attenuator]                  # with what it was measured
    driver = "thorlabs-elliptec"
    model = "ELL14"
    serial = "11400517"
    [values]
    theta0_deg = 0.0131
    [stderr]                                  # one standard deviation
    theta0_deg = 0.0021

A file written by hand may hold the values at its top level, and nothing else.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from instruments.errors import ConfigError
from instruments.roles import Identity

_HEADER = ("kind", "date", "source", "note", "instruments", "values", "stderr")
_MOST_BYTES = 1_000_000


@dataclass(frozen=True)
class MadeWith:
    """An instrument that a calibration holds for; empty texts hold for any."""

    driver: str = ""
    model: str = ""
    serial: str = ""


@dataclass(frozen=True)
class Calibration:
    """The content of a calibration file.

    Attributes:
        kind: "attenuator", "slit" or "spectrograph"; "" if the file does not say.
        values: numbers by name, units in the names. stderr: one standard deviation of some.
        made_with: role -> the instrument it was measured with.
        date: ISO 8601 with offset, "" if the file does not say. source: the run file's name.
        name: of the file, "nominal" without one. sha256: of its bytes. path: as read.
    """

    kind: str
    values: Mapping[str, float]
    stderr: Mapping[str, float] = field(default_factory=dict)
    made_with: Mapping[str, MadeWith] = field(default_factory=dict)
    date: str = ""
    source: str = ""
    note: str = ""
    name: str = "nominal"
    sha256: str = ""
    path: str = ""

    def check_made_with(self, role: str, driver: str, identity: Identity, key: str) -> None:
        """Refuse an instrument that is not the one the calibration was measured with.

        Raises ConfigError; where file or instrument do not tell a serial number, nothing is known
        and nothing refused.
        """
        made = self.made_with.get(role)
        if made is None:
            return
        for what, then, now in (
            ("driver", made.driver, driver),
            ("serial number", made.serial, identity.serial),
        ):
            if then and now and then != now:
                raise ConfigError(
                    f"{self.name} was measured with {what} {then!r}, but the {role} has {now!r}: "
                    "calibrate again, or, if the optics are the same, take the line "
                    f"out of [instruments.{role}] in {self.name}",
                    key=key,
                )

    def facts(self) -> dict[str, float | str]:
        """Return what a run records of it: name, date, sha256, source, values and their errors."""
        found: dict[str, float | str] = {
            "kind": self.kind,
            "name": self.name,
            "date": self.date,
            "sha256": self.sha256,
            "source": self.source,
        }
        for name, value in self.values.items():
            found[name] = value
            if name in self.stderr:
                found[f"{name}_errors"] = self.stderr[name]
        return found


def read_calibration(path: Path, kind: str, names: Collection[str]) -> Calibration:
    """Read a calibration file of a kind that may hold the values `names`.

    Raises:
        ConfigError: it cannot be read, is of another kind, or holds an unknown name or no number.
    """
    file = str(path)
    try:
        with path.open("rb") as stream:
            content = stream.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ConfigError("is too large for a calibration file", file=file)
        table = tomllib.loads(content.decode("utf-8"))
    except (OSError, ValueError) as error:  # TOML and encoding errors are ValueErrors
        raise ConfigError(f"cannot be read as a calibration ({error})", file=file) from None
    flat = {key: value for key, value in table.items() if key not in _HEADER}
    found_kind = _text(table, "kind", file)
    if found_kind not in ("", kind):
        raise ConfigError(
            f"is a calibration of the {found_kind}, needed is one of the {kind}",
            file=file,
            key="kind",
        )
    values = _numbers({**flat, **_table(table, "values", file)}, names, file, "values")
    stderr = _numbers(_table(table, "stderr", file), names, file, "stderr")
    for name, spread in stderr.items():
        if spread < 0.0:
            raise ConfigError(f"{spread:g} is no standard deviation", file=file, key=name)
    made_with = {}
    for role, about in _table(table, "instruments", file).items():
        if not isinstance(about, dict):
            raise ConfigError("a table is needed", file=file, key=f"instruments.{role}")
        made_with[role] = MadeWith(
            *(_text(about, key, file) for key in ("driver", "model", "serial"))
        )
    return Calibration(
        kind,
        values,
        stderr,
        made_with,
        _text(table, "date", file),
        _text(table, "source", file),
        _text(table, "note", file),
        path.name,
        hashlib.sha256(content).hexdigest(),
        file,
    )


def _text(table: Mapping[str, Any], key: str, file: str) -> str:
    value = table.get(key, "")
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    if not isinstance(value, str):
        raise ConfigError(f"{value!r} was given, a text is needed", file=file, key=key)
    return value


def _table(table: Mapping[str, Any], key: str, file: str) -> dict[str, Any]:
    value = table.get(key, {})
    if not isinstance(value, dict):
        raise ConfigError(f"[{key}] must be a table", file=file, key=key)
    return value


def _numbers(
    table: Mapping[str, Any], names: Collection[str], file: str, where: str
) -> dict[str, float]:
    found = {}
    for name, value in table.items():
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(
                f"unknown name{hint} Allowed in [{where}]: {', '.join(sorted(names))}",
                file=file,
                key=name,
            )
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value):
            raise ConfigError(f"{value!r} was given, a number is needed", file=file, key=name)
        found[name] = float(value)
    return found


def write_calibration(calibration: Calibration, where: Path, moment_s: float) -> Path:
    """Write a new calibration file, return its path; never writes over one.

    Args:
        calibration: what to write. moment_s: its date, seconds since 1970.
        where: a folder (made if need be; the file is then called by kind and date, with a number
            if there is one already), or the name of a file that ends in .toml.

    Raises:
        ConfigError: the file exists, or cannot be written.
    """
    date = datetime.fromtimestamp(moment_s, UTC).astimezone()
    content = _as_toml(calibration, date).encode("utf-8")
    folder, names = where, [f"{calibration.kind}-{date:%Y-%m-%d}{n}.toml" for n in _numbering()]
    if where.suffix == ".toml":
        folder, names = where.parent, [where.name]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            try:
                with (folder / name).open("xb") as stream:
                    stream.write(content)
            except FileExistsError:
                continue
            return folder / name
    except OSError as error:
        raise ConfigError(f"cannot be written ({error})", file=str(where)) from None
    raise ConfigError(
        "exists already, and a calibration is never written over; give another name",
        file=str(where),
    )


def _numbering() -> list[str]:
    return ["", *(f"-{number}" for number in range(2, 1000))]


def _as_toml(calibration: Calibration, date: datetime) -> str:
    lines = [
        "# Written by gainbench; the bench file points here with `calibration = ...`.",
        f"kind = {json.dumps(calibration.kind)}",
        f"date = {date.isoformat(timespec='seconds')}",
        f"source = {json.dumps(calibration.source)}",
    ]
    if calibration.note:
        lines.append(f"note = {json.dumps(calibration.note)}")
    for role, made in calibration.made_with.items():
        lines += ["", f"[instruments.{role}]"]
        lines += [
            f"{key} = {json.dumps(value)}"
            for key, value in vars(made).items()
            if value  # what is not known is left out
        ]
    for title, numbers in (("values", calibration.values), ("stderr", calibration.stderr)):
        lines += ["", f"[{title}]", *(f"{name} = {float(v)!r}" for name, v in numbers.items())]
    return "\n".join([*lines, ""])
