"""gainbench check: is every instrument there, is it the right one, does it keep its limits?

Opens each instrument of the bench file on its own, so that one that is missing does not hide the
others. Moves nothing unless told to.
"""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

from instruments.bench import open_bench
from instruments.config import BenchConfig
from instruments.errors import (
    BadReply,
    BenchError,
    ConfigError,
    DeviceFault,
    NoReply,
    NotReady,
    WrongIdentity,
)
from instruments.roles import Role

_REMEDIES: tuple[tuple[type[BenchError], str], ...] = (
    (NoReply, "check power and cable, the resource name, and that no other program holds it"),
    (WrongIdentity, "another instrument is at this resource: correct `resource` or `driver`"),
    (BadReply, "check baud rate and terminators; power the instrument off and on"),
    (DeviceFault, "see the instrument's own display; clear the fault, then check again"),
    (NotReady, "home or cool the instrument, or check again with --move"),
    (ConfigError, "correct the bench file"),
)


def check_bench(config: BenchConfig, *, move: bool = False) -> dict[str, Any]:
    """Check every instrument of a bench.

    Returns {"ok", "instruments": [{"role", "driver", "resource", "ok", "identity", "text",
    "remedy"}], "resources": [VISA resources found]}.
    """
    roles = list(config.instruments)
    if config.simulation is not None:
        with open_bench(config, (), report=_silent, extras=False) as bench:
            roles += [role for role in bench.simulation.roles if role not in roles]
    rows = [_check(config, role, move) for role in roles]
    return {
        "ok": all(row["ok"] for row in rows) and bool(rows),
        "instruments": rows,
        "resources": resources(),
    }


def _silent(_line: str) -> None:
    """Say nothing."""


def _check(config: BenchConfig, role: str, move: bool) -> dict[str, Any]:
    table = config.instruments.get(role)  # type: ignore[call-overload]
    row: dict[str, Any] = {
        "role": role,
        "driver": table.driver if table else "",
        "resource": table.resource if table else "sim",
        "ok": False,
        "identity": "",
        "text": "",
        "remedy": "",
    }
    try:
        with open_bench(config, (role,), report=_silent, extras=False) as bench:
            instrument = bench.need(role)
            row["driver"] = row["driver"] or bench.simulation.driver(role)
            row["identity"] = str(instrument.identity)
            if move:
                _exercise(instrument)
            status = instrument.status()
            # A mount that waits to be homed is ready for a run, which homes it.
            row["ok"] = status.ok or (not move and not getattr(instrument, "homed", True))
            row["ok"] = row["ok"] or (not move and "homed" in status.text)
            row["text"] = f"{row['identity']}: {status.text}"
            if not row["ok"]:
                row["remedy"] = "see the instrument's own display"
    except Exception as error:  # whatever one instrument does, the others are checked
        row["text"] = str(error) or type(error).__name__
        row["remedy"] = next(
            (remedy for kind, remedy in _REMEDIES if isinstance(error, kind)), "see the manual"
        )
    return row


def _exercise(instrument: Role) -> None:
    """Move within the limits: to both ends where there is a way, and back to safe."""
    prepare = getattr(instrument, "prepare", None)
    if prepare is not None:
        prepare()
    for name, verb in (("transmission", "set_transmission"), ("wavelength_nm", "go_to")):
        if name in instrument.limits and hasattr(instrument, verb):
            limits = instrument.limits[name]
            before = getattr(instrument, name)
            for target in (limits.low + 0.01 * (limits.high - limits.low), before):
                getattr(instrument, verb)(min(max(target, limits.low), limits.high))
    shut = getattr(instrument, "shut", None)
    if shut is not None:
        shut()  # never opened here: light on the sample is no part of a check


def resources() -> list[str]:
    """Return the VISA resources that this computer sees."""
    with contextlib.suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about discovery of what is not installed
        import pyvisa

        manager = pyvisa.ResourceManager()
        try:
            return [str(name) for name in manager.list_resources("?*")]
        finally:
            manager.close()
    return []
