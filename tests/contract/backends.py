"""Every driver that fills a role, on every mounting, ready for the role's contract.

In process a driver sits on its simulated device through the bench, on the virtual clock; then what
goes over the wire is counted and the device can be silenced. On a socket, a pseudo-terminal or a
websocket the device is served as `gainbench simulate` does, and the driver opens it by the resource
name, as in the lab. A driver that is registered is found here without being named.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from instruments import config
from instruments.bench import open_bench
from instruments.clock import WallClock
from instruments.contract import Mounted
from instruments.registry import drivers
from sim_drivers.bench import SimulatedBench
from sim_drivers.link import WireDevice
from sim_drivers.serving import WorldServer

IN_PROCESS, TCP, PTY, SERVED = "in process", "tcp", "pty", "served"
DEVICE_SPEED = {"stripe": 40.0, "attenuator": 20.0, "monochromator": 20.0}
"""How much faster a served device lives, where it moves; the driver's time-outs stay."""

SERVED_WITH: dict[str, dict[str, Any]] = {"hamamatsu-remoteex": {"app_start_s": 0.5}}
"""What a served device is made with: nobody waits 20 s for a program to start."""

MEASUREMENTS = {"streak": "streak-series", "cryostat": "biexciton"}
"""A measurement whose bench has the role; the others stand on that of the power sweep."""

VARIANTS: dict[str, dict[str, dict[str, Any]]] = {}
"""Driver -> name of a variant -> options: where one driver speaks several dialects."""


@dataclass(frozen=True)
class Backend:
    """A driver for a role on a mounting."""

    role: str
    driver: str
    mounting: str
    variant: str = ""
    options: dict[str, Any] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        name = f"{self.driver} {self.variant}".strip()
        return f"{name}, {self.mounting}"


def backends(role: str) -> list[Backend]:
    """Return every backend of a role."""
    found = []
    for name, entry in sorted(drivers().items()):
        if role not in entry.roles or name == "saved-streak-images":  # has no device: own tests
            continue
        mountings = [IN_PROCESS, *_real_mountings(name)]
        for variant, options in VARIANTS.get(name, {"": {}}).items():
            found += [Backend(role, name, mounting, variant, options) for mounting in mountings]
    return found


_ONE_WAY = ("andor-sdk2", "princeton-picam", "line-camera", "horiba-icl", "hamamatsu-remoteex")


def _real_mountings(driver: str) -> list[str]:
    if driver in _ONE_WAY:
        return [SERVED]  # one way only: the vendor's library, a websocket, two sockets
    return [TCP, *([PTY] if sys.platform != "win32" else [])]


def bench_toml(backend: Backend, resource: str, simulation: bool) -> str:
    """Return a bench file with this instrument and nothing else."""
    lines = [f"[instruments.{backend.role}]", f"driver = {json.dumps(backend.driver)}"]
    lines += [f"resource = {json.dumps(resource)}"]
    lines += [f"{key} = {json.dumps(value)}" for key, value in backend.options.items()]
    return "\n".join([*lines, *(["[simulation]", "seed = 3"] if simulation else []), ""])


@contextlib.contextmanager
def mounted(backend: Backend, *, composed: bool) -> Iterator[Mounted]:
    """Open a backend; `composed`: as the bench uses it (attenuator, slit), or the bare driver."""
    if backend.mounting == IN_PROCESS:
        with _in_process(backend, composed) as found:
            yield found
    else:
        with _served(backend, composed) as found:
            yield found


@contextlib.contextmanager
def _in_process(backend: Backend, composed: bool) -> Iterator[Mounted]:
    measurement = MEASUREMENTS.get(backend.role, "power-sweep")
    bench_file = config.parse(bench_toml(backend, "sim", simulation=True))
    with open_bench(bench_file, (backend.role,), measurement=measurement, extras=False) as bench:
        device = bench.simulation.devices[backend.role]
        bench.simulation.world.set_attenuator_angle(0.0)  # light for the energy meter
        wires = _wires(device)
        counts = [0]
        for wire in wires:
            _count(wire, counts)
        chosen = bench.instruments if composed else bench.drivers
        yield Mounted(
            chosen[backend.role],
            bench.clock,
            (lambda: counts[0]) if wires else None,
            lambda: _silence(device, wires),
            bench.simulation.world,
        )


def _wires(device: Any) -> list[WireDevice]:
    if isinstance(device, WireDevice):
        return [device]
    parts = [value for value in vars(device).values() if isinstance(value, WireDevice)]
    return parts


def _count(wire: WireDevice, counts: list[int]) -> None:
    receive = wire.receive

    def counting(data: bytes) -> None:
        counts[0] += len(data)
        receive(data)

    wire.receive = counting  # type: ignore[method-assign]


def _silence(device: Any, wires: list[WireDevice]) -> None:
    for wire in wires:
        wire.take = lambda: b""  # type: ignore[method-assign]
        wire.due = lambda: None  # type: ignore[method-assign]
    if not wires:
        device.fault("silence", True)


@contextlib.contextmanager
def _served(backend: Backend, composed: bool) -> Iterator[Mounted]:
    measurement = MEASUREMENTS.get(backend.role, "power-sweep")
    clock = WallClock(DEVICE_SPEED.get(backend.role, 1.0))
    simulated = SimulatedBench(
        config.parse(bench_toml(backend, "sim", simulation=True)), clock, measurement
    )
    with contextlib.ExitStack() as stack:
        options = SERVED_WITH.get(backend.driver, {}) | backend.options
        device = simulated.device(backend.role, backend.driver, options)
        simulated.world.set_attenuator_angle(0.0)
        if hasattr(device, "serve"):
            served = device.serve("127.0.0.1", backend.mounting != PTY)
            resource = served.resource
        else:
            served = WorldServer(simulated.world, threading.RLock(), "127.0.0.1")
            resource = f"sim://127.0.0.1:{served.port}"
        stack.callback(served.close)
        bench_file = config.parse(bench_toml(backend, resource, simulation=False))
        bench = stack.enter_context(
            open_bench(bench_file, (backend.role,), measurement=measurement, extras=False)
        )
        chosen = bench.instruments if composed else bench.drivers
        yield Mounted(chosen[backend.role], bench.clock)
