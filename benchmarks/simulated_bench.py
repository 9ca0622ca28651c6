"""How long the simulated bench takes: `python benchmarks/simulated_bench.py [--profile NAME]`.

CPU time for a spectrum, a spectrogram, a block of single shots and a command of each instrument, on
the virtual clock; `--profile spectrum` says where it goes. A warm-up comes first, so that what is
computed once is not counted.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from instruments.bench import Bench, open_bench
from instruments.config import default

REPEATS = 7


def fastest(act: Callable[[], object], count: int) -> float:
    """Return CPU milliseconds of one call, the least of some tries."""
    act()
    best = float("inf")
    for _ in range(REPEATS):
        begun = time.process_time()
        for _ in range(count):
            act()
        best = min(best, time.process_time() - begun)
    return 1e3 * best / count


def on_the_stripe(bench: Bench) -> dict[str, tuple[Callable[[], object], int]]:
    """Return what is timed on the bench of the power sweep: name -> (act, calls)."""
    spectrograph = bench.need_spectrograph()
    drivers: Any = bench.drivers
    drivers["attenuator"].home()
    drivers["stripe"].home()
    bench.instruments["attenuator"].prepare()  # type: ignore[attr-defined]
    spectrograph.go_to(522.0)
    spectrograph.set_exposure_s(0.1)
    spectrograph.acquire(1)
    bench.pump.set_fluence(40.0)

    def lit() -> None:
        with bench.pump.light():
            spectrograph.acquire(1)

    return {
        "spectrum, shutter closed": (lambda: spectrograph.acquire(1), 10),
        "spectrum of 100 shots, shutter opened and closed": (lit, 10),
        "energy of 200 pulses": (lambda: drivers["energy_meter"].read_pulses(200), 2),
        "command: shutter, is it open": (lambda: drivers["shutter"].is_open, 50),
        "command: attenuator, its angle": (lambda: drivers["attenuator"].angle_deg, 50),
        "command: stage, its position": (lambda: drivers["stripe"].position_mm, 50),
        "command: monochromator, its wavelength": (
            lambda: drivers["monochromator"].wavelength_nm, 50,
        ),
        "state of the bench": (bench.state, 50),
    }  # fmt: skip


def on_the_cuvette(bench: Bench) -> dict[str, tuple[Callable[[], object], int]]:
    """Return what is timed on the bench of the lifetime."""
    streak: Any = bench.need("streak")
    bench.instruments["attenuator"].prepare()  # type: ignore[attr-defined]
    bench.pump.set_fluence(1.0)

    def lit() -> None:
        with bench.pump.light():
            streak.acquire()

    return {
        "spectrogram, shutter opened and closed": (lit, 2),
        "command: streak camera, its time range": (lambda: streak.time_range_ps, 20),
    }


def by_shot(bench: Bench) -> dict[str, tuple[Callable[[], object], int]]:
    """Return what is timed of the line camera."""
    camera: Any = bench.instruments["camera"]
    bench.instruments["attenuator"].prepare()  # type: ignore[attr-defined]
    bench.pump.set_fluence(40.0)
    camera.start_shots()
    return {"block of 1,000 single shots": (lambda: camera.read_shots(1000), 1)}


BENCHES = {
    "power-sweep": on_the_stripe,
    "lifetime": on_the_cuvette,
    "per-shot": by_shot,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", help="the beginning of a name in the table")
    chosen = parser.parse_args()
    print("| simulated | CPU ms |\n| --- | ---: |")
    for measurement, made in BENCHES.items():
        with open_bench(default(), None, measurement=measurement) as bench:
            for name, (act, count) in made(bench).items():
                if chosen.profile is None:
                    print(f"| {name} | {fastest(act, count):.3f} |", flush=True)
                elif name.startswith(chosen.profile):
                    act()
                    profile = cProfile.Profile()
                    profile.enable()
                    for _ in range(5 * count):
                        act()
                    profile.disable()
                    print(name)
                    pstats.Stats(profile).sort_stats("tottime").print_stats(20)


if __name__ == "__main__":
    main()
