"""From a fault to the closed shutter, on the wall clock: `python benchmarks/interlock_delay.py`.

On a bench whose simulated instruments are served on pseudo-terminals and TCP, as other processes
have it, so that PyVISA is in the way, too: light is let on the sample, one fault after the other is
made, and the time until the World's shutter is closed is taken past every instrument; where it is
the shutter that fails, until no shot gets past gate or attenuator any more. A reading that stops
coming is a fault from when it is too old (`stale_after_s`).
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import re
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from instruments import config
from instruments.bench import open_bench
from instruments.errors import BenchError, InstrumentError
from procedures.running.interlock import Interlock
from sim_drivers.serving import ServedBench

STALE_S = 1.0
FAINT = 0.002  # transmission of an attenuator that is at its darkest
ROLES = ("attenuator", "shutter", "energy_meter", "cryostat")
FLUENCE_UJ_CM2 = 20_000.0
WALL = "[simulation]\nclock = 'wall'\n"


def settings(energy_J: float) -> str:
    """Return the [interlock] table of a bench with pulses of this energy."""
    return (
        f"[interlock]\nstale_after_s = {STALE_S}\ntemperature_max_K = 310.0\n"
        f"pulse_energy_min_J = {0.7 * energy_J:.3e}\npulse_energy_max_J = {3.0 * energy_J:.3e}\n"
        'rule = "light_s < 3.0"\n'
    )


class Silent:
    """The wire of a device that has died."""

    def opened(self) -> None:
        """Nothing tells."""

    def receive(self, data: bytes) -> None:
        """Take, and forget."""

    def due(self) -> float | None:
        """Nothing will come."""
        return None

    def take(self) -> bytes:
        """Nothing has."""
        return b""


class Trials:
    """The faults, each made and mended, on one served bench."""

    def __init__(self, served: ServedBench, bench: Any) -> None:
        self.served, self.bench, self.world = served, bench, served.bench.world
        self._wires: dict[str, Any] = {}

    def laser_too_strong(self) -> float:
        self.world.source.run_away(self.bench.clock.now(), 40.0)
        return time.monotonic() + float(np.log(3.0)) / 40.0

    def laser_too_weak(self) -> float:
        self.world.source.run_away(self.bench.clock.now(), -1.0)
        return time.monotonic() - float(np.log(0.7))

    def laser_off(self) -> float:
        self.world.laser_on = False
        return time.monotonic()

    def sample_too_warm(self) -> float:
        self._heat(330.0)
        return time.monotonic()

    def shutter_opens_by_itself(self) -> float:
        self.bench.pump.shut()
        self.bench.instruments["shutter"].open()
        return time.monotonic()

    def rule_broken(self) -> float:
        return time.monotonic() + 3.0 - (self.bench.clock.now() - self.bench.pump.lit_since_s)

    def energy_meter_silent(self) -> float:
        return self._silence("energy_meter")

    def cryostat_silent(self) -> float:
        return self._silence("cryostat")

    def shutter_silent(self) -> float:
        return self._silence("shutter")

    def shutter_sticks(self) -> float:
        self.served.bench.devices["shutter"].fault("stuck", True)
        return self._told_to_close()

    def shutter_silent_when_told_to_close(self) -> float:
        self._silence("shutter")
        return self._told_to_close()

    def _told_to_close(self) -> float:
        def close() -> None:
            with contextlib.suppress(InstrumentError):
                self.bench.pump.shut()

        threading.Thread(target=close, daemon=True).start()
        return time.monotonic()

    def dark(self) -> bool:
        """Whether no light worth the name reaches the sample."""
        if not self.world.shutter_open:
            return True
        now = self.bench.clock.now()
        return not self.world.passage.open_at(now) or self.world.transmission() < FAINT

    def mend(self) -> None:
        """Have everything as it was."""
        self.served.bench.devices["shutter"].fault("stuck", False)
        self.world.source.run_away(0.0, 0.0)
        self.world.laser_on = True
        self._heat(295.0)
        for role, wire in self._wires.items():
            self.served.bench.devices[role].wire = wire
        self._wires.clear()

    def _silence(self, role: str) -> float:
        device = self.served.bench.devices[role]
        self._wires[role], device.wire = device.wire, Silent()
        return time.monotonic() + STALE_S

    def _heat(self, kelvin: float) -> None:
        thermal = self.served.bench.devices["cryostat"].cryostat
        for lump in (thermal.head, thermal.stage, thermal.sample):
            lump.temperature_K = kelvin


def kinds() -> dict[str, Callable[[Trials], float]]:
    return {
        "laser too strong": Trials.laser_too_strong,
        "laser too weak": Trials.laser_too_weak,
        "laser off": Trials.laser_off,
        "sample too warm": Trials.sample_too_warm,
        "shutter opens by itself": Trials.shutter_opens_by_itself,
        "a rule broken": Trials.rule_broken,
        "energy meter silent": Trials.energy_meter_silent,
        "cryostat silent": Trials.cryostat_silent,
        "shutter silent": Trials.shutter_silent,
        "shutter sticks": Trials.shutter_sticks,
        "shutter silent when told": Trials.shutter_silent_when_told_to_close,
    }


def one(trials: Trials, interlock: Interlock, make: Callable[[Trials], float]) -> tuple[float, str]:
    """Make one fault under light; return the delay until it is dark (s), and what was said."""
    bench = trials.bench
    bench.pump.set_fluence(FLUENCE_UJ_CM2)
    bench.pump.open()
    time.sleep(float(np.random.default_rng().uniform(0.3, 0.6)))
    assert not trials.dark() and not interlock.tripped, interlock.tripped
    fault_s = make(trials)
    while not trials.dark():
        if time.monotonic() - fault_s > 20.0:
            raise SystemExit("there is still light")
        time.sleep(0.002)
    delay = time.monotonic() - fault_s
    while not interlock.tripped and time.monotonic() - fault_s < 2.0 * STALE_S:
        time.sleep(0.01)
    said = interlock.tripped or "(stopped otherwise, not tripped)"
    trials.mend()
    for _ in range(100):
        try:
            bench.recover("shutter")
            interlock.reset()
            break
        except BenchError:
            time.sleep(0.1)
    return delay, said


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    chosen = parser.parse_args()
    logging.disable(logging.CRITICAL)
    served = ServedBench(config.parse(WALL), "biexciton")
    text = Path(served.bench_file).read_text(encoding="utf-8")
    text = re.sub("pulses_per_reading = .*", "pulses_per_reading = 3", text)
    worst = 0.0
    plain = config.parse(text, served.bench_file)
    with open_bench(plain, ROLES, report=lambda _line: None) as bench:
        bench.instruments["attenuator"].prepare()  # type: ignore[attr-defined]
        energy_J = bench.pump.set_fluence(FLUENCE_UJ_CM2).pulse_energy_J
    watched = config.parse(text + settings(energy_J), served.bench_file)
    with open_bench(watched, ROLES, report=lambda _line: None) as bench:
        bench.instruments["attenuator"].prepare()  # type: ignore[attr-defined]
        bench.pump.set_fluence(FLUENCE_UJ_CM2)
        trials = Trials(served, bench)
        trials.mend()
        print(f"{'fault':28}{'median':>9}{'95 %':>9}{'worst':>9}  (s, of {chosen.repeat})")
        with Interlock(bench) as interlock:
            for name, make in kinds().items():
                found = [one(trials, interlock, make) for _ in range(chosen.repeat)]
                delays = np.array([delay for delay, _ in found])
                worst = max(worst, float(delays.max()))
                print(
                    f"{name:28}{np.median(delays):9.3f}{np.quantile(delays, 0.95):9.3f}"
                    f"{delays.max():9.3f}  {found[0][1][:60]}",
                    flush=True,
                )
    served.close()
    print(f"worst: {worst:.3f} s from fault to closed shutter; wanted: below 0.5 s")
    return 0 if worst < 0.5 else 1


if __name__ == "__main__":
    sys.exit(main())
