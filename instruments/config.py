"""The bench file: reading bench.toml, with errors that name file, key, value and remedy.

For the Bench and the commands. `load` reads a file, `default` is the bench without a file. Whether
a driver or a preset of a given name exists is checked by whoever loads it.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from instruments.bench_tables import (
    SERVED,
    SIMULATED,
    BenchTable,
    FaultTable,
    InstrumentTable,
    InterlockTable,
    LimitsTable,
    NotifyTable,
    PumpTable,
    SampleTable,
    SimulatedBenchTable,
    SimulationTable,
    SpectrographTable,
    StrictTable,
)
from instruments.errors import ConfigError

ROLES = (
    "attenuator",
    "stripe",
    "monochromator",
    "camera",
    "streak",
    "cryostat",
    "energy_meter",
    "shutter",
    "pulse_gate",
)


class BenchConfig(StrictTable):
    """A whole bench file."""

    bench: BenchTable = BenchTable()
    pump: PumpTable | None = None
    spectrograph: SpectrographTable = SpectrographTable()
    instruments: dict[
        Literal[
            "attenuator",
            "stripe",
            "monochromator",
            "camera",
            "streak",
            "cryostat",
            "energy_meter",
            "shutter",
            "pulse_gate",
        ],
        InstrumentTable,
    ] = Field(default={})
    limits: LimitsTable = LimitsTable()
    interlock: InterlockTable = InterlockTable()
    notify: NotifyTable = NotifyTable()
    simulation: SimulationTable | None = None

    _file: str | None = None
    _text: str = ""

    @property
    def file(self) -> str | None:
        """The file it was read from, None for the bench without a file."""
        return self._file

    @property
    def text(self) -> str:
        """The text of the file, for the run file."""
        return self._text

    @property
    def folder(self) -> Path:
        """What relative paths in the file are relative to."""
        return Path(self._file).resolve().parent if self._file else Path.cwd()

    @property
    def data_dir(self) -> Path:
        """Where run files, queue and ledger go."""
        return self.folder / self.bench.data_dir


def default() -> BenchConfig:
    """Return the bench without a file: simulated, on the virtual clock."""
    return BenchConfig(simulation=SimulationTable())


def load(path: str | Path) -> BenchConfig:
    """Read a bench file.

    Raises:
        ConfigError: it cannot be read, is not TOML, or holds what is not allowed.
    """
    name = str(path)
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read ({error})", file=name) from None
    return parse(text, name)


def parse(text: str, file: str | None = None) -> BenchConfig:
    """Check the text of a bench file; see `load`."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"is not TOML: {error}", file=file) from None
    try:
        config = BenchConfig.model_validate(data)
    except ValidationError as error:
        raise _explain(error, file) from None
    config._file = file
    config._text = text
    return config


def _explain(error: ValidationError, file: str | None) -> ConfigError:
    """Say the first thing that is wrong, in the operator's words."""
    location = first_wrong(error)
    on_roles = location[:1] == ("instruments",) and len(location) == 2
    return explain(error, BenchConfig, ROLES if on_roles else None, file=file)


def first_wrong(error: ValidationError) -> tuple[Any, ...]:
    """Return where the first thing is that is wrong: keys, and numbers in lists."""
    return tuple(part for part in error.errors()[0]["loc"] if part != "[key]")


def explain(
    error: ValidationError,
    model: type[BaseModel],
    table: Iterable[str] | None = None,
    *,
    file: str | None,
    key: str | None = None,
) -> ConfigError:
    """Say the first thing that is wrong in a file of tables, in the operator's words.

    Args:
        error: what pydantic found. model: the whole file's model.
        table: the keys that are allowed there, where the model does not tell.
        file: the file. key: the place, instead of its keys joined by dots.
    """
    first = error.errors()[0]
    parts = [str(part) for part in first_wrong(error)]
    key = ".".join(parts) if key is None else key
    kind = first["type"]
    if kind == "extra_forbidden" or (kind == "literal_error" and first["loc"][-1] == "[key]"):
        allowed = sorted(table if table is not None else _allowed(model, first["loc"][:-1]))
        near = difflib.get_close_matches(parts[-1], allowed, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return ConfigError(
            f"unknown key{hint} Allowed here: {', '.join(allowed)}", file=file, key=key
        )
    given = first.get("input")
    message = first["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if kind == "missing":
        return ConfigError("this key is missing", file=file, key=key)
    if isinstance(given, dict) or kind == "value_error":
        return ConfigError(message, file=file, key=key)
    return ConfigError(f"{given!r} was given, but {message}", file=file, key=key)


def _allowed(model: Any, location: tuple[Any, ...]) -> list[str]:
    """Return the keys of the table at `location`."""
    for part in location:
        if isinstance(part, int):
            continue
        found = (
            _model_of(model.model_fields[part].annotation) if part in model.model_fields else None
        )
        if found is None:
            return []
        model = found
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_of(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _model_of(argument)
        if found is not None:
            return found
    return None


__all__ = [
    "ROLES",
    "SERVED",
    "SIMULATED",
    "BenchConfig",
    "BenchTable",
    "FaultTable",
    "InstrumentTable",
    "InterlockTable",
    "LimitsTable",
    "NotifyTable",
    "PumpTable",
    "SampleTable",
    "SimulatedBenchTable",
    "SimulationTable",
    "SpectrographTable",
    "default",
    "explain",
    "first_wrong",
    "load",
    "parse",
]
