"""How long does a question to an instrument take, in our own code?

For every driver: one question of its role, through driver and adapter to the simulated device in
process and back, on the virtual clock, so that nothing is waited for. Prints the median time of the
question, how many exchanges over the wire it takes, the time of one exchange, and how much of that
is spent in the simulated device. A camera has no wire: its question ends at its library.

    python benchmarks/roundtrip.py [--calls 400] [--driver thorlabs-sc10] [--target-us 100]

Ends with 1 if an exchange takes longer than the target.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from instruments import config
from instruments.bench import open_bench
from instruments.registry import drivers

QUESTIONS: dict[str, str] = {
    "attenuator": "angle_deg",
    "stripe": "position_mm",
    "monochromator": "wavelength_nm",
    "camera": "temperature_C",
    "streak": "exposure_s",
    "cryostat": "temperature_K",
    "energy_meter": "wavelength_nm",
    "shutter": "is_open",
    "pulse_gate": "status",
}
BENCHES = {"streak": "streak-series", "cryostat": "biexciton"}
"""A measurement whose simulated bench has the role."""


@dataclass
class Spent:
    """What happened on the wire, and in the simulated device."""

    commands: int = 0
    replies: int = 0
    seconds: float = 0.0
    depth: int = 0

    @property
    def exchanges(self) -> int:
        """Commands, or replies where one line asks for several."""
        return max(self.commands, self.replies)

    def watch(self, device: Any, driver: Any) -> bool:
        """Count and time what reaches the device; return whether it has a wire at all."""
        if not hasattr(device, "receive"):
            return False
        for name in ("receive", "take", "due"):
            if hasattr(device, name):
                setattr(device, name, self._timed(getattr(device, name), name == "receive"))
        adapter = getattr(driver, "adapter", None)
        if adapter is not None:
            plain = adapter.read

            def read(*args: Any, **kwargs: Any) -> Any:
                self.replies += 1
                return plain(*args, **kwargs)

            adapter.read = read
        return True

    def _timed(self, function: Callable[..., Any], counts: bool) -> Callable[..., Any]:
        def timed(*args: Any) -> Any:
            self.commands += counts
            self.depth += 1
            began = time.perf_counter()
            try:
                return function(*args)
            finally:
                self.depth -= 1
                if not self.depth:
                    self.seconds += time.perf_counter() - began

        return timed


@dataclass(frozen=True)
class Result:
    """Times in microseconds; exchanges and device are None where there is no wire."""

    driver: str
    role: str
    question: str
    call_us: float
    exchanges: float | None
    device_us: float | None

    @property
    def exchange_us(self) -> float:
        return self.call_us / max(self.exchanges or 1.0, 1.0)


def measured(name: str, role: str, calls: int) -> Result:
    """Ask a driver's question so many times."""
    text = f"[instruments.{role}]\ndriver = {json.dumps(name)}\n[simulation]\nseed = 3\n"
    where = {"measurement": BENCHES.get(role, "power-sweep"), "extras": False}
    with open_bench(config.parse(text), (role,), **where) as bench:  # type: ignore[arg-type]
        instrument = bench.drivers[role]
        home = getattr(instrument, "home", None)
        if home is not None:
            home()
        question = QUESTIONS[role]

        def ask() -> None:
            found = getattr(instrument, question)
            if callable(found):
                found()

        for _ in range(10):
            ask()
        plain = [_seconds(ask) for _ in range(calls)]
        spent = Spent()
        wired = spent.watch(bench.simulation.devices[role], instrument)
        inside = []
        for _ in range(calls):
            spent.seconds = 0.0
            ask()
            inside.append(spent.seconds)
        found = (
            (spent.exchanges / calls, 1e6 * statistics.median(inside)) if wired else (None, None)
        )
    return Result(name, role, question, 1e6 * statistics.median(plain), *found)


def _seconds(function: Callable[[], None]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=400)
    parser.add_argument("--driver")
    parser.add_argument("--target-us", type=float, default=100.0)
    options = parser.parse_args()
    print(
        f"{'driver':20} {'role':14} {'question':14} {'call/us':>9} {'exchanges':>9} "
        f"{'exchange/us':>11} {'in device/us':>12}"
    )
    slow = []
    for name, entry in sorted(drivers().items()):
        if (options.driver and name != options.driver) or name == "saved-streak-images":
            continue  # which has no device
        for role in entry.roles:
            r = measured(name, role, options.calls)
            wire = ["-", "-"]
            if r.exchanges is not None and r.device_us is not None:
                wire = [f"{r.exchanges:.1f}", f"{r.device_us / max(r.exchanges, 1.0):.0f}"]
            print(
                f"{name:20} {role:14} {r.question:14} {r.call_us:9.0f} {wire[0]:>9} "
                f"{r.exchange_us:11.0f} {wire[1]:>12}",
                flush=True,
            )
            if r.exchange_us > options.target_us:
                slow.append(f"{name} as {role}")
    if slow:
        print(f"longer than {options.target_us:g} us an exchange: {', '.join(slow)}")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
