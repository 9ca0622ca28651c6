"""Is the analysis honest? Blind studies of every measurement, over samples drawn at random.

Draws samples (all parameters of the contract, within ranges and correlations that dots can have),
takes each measurement on the simulated bench, analyses the run file, and prints for each result:
median bias in units of its standard error, coverage of one and two standard errors, how many gave
up, nulls and bounds scored apart, and the time. `--store` puts the table into docs/blind.md.

    python benchmarks/blind.py [MEASUREMENT ...] [--samples 400] [--seed 1] [--processes 2]

Without a measurement: all of them. `blind_MEASUREMENT.py` draws and judges one of them.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from blind_page import PAGE, store
from blind_report import short, table
from blind_run import One, Sample, keep, kept, take_all

MEASUREMENTS = (
    "power-sweep",
    "stripe-length",
    "photostability",
    "ageing",
    "biexciton",
    "lifetime",
    "auger",
    "cross-section",
    "streak-series",
    "capillary-lasing",
)


def command_line(about: str, samples: int) -> argparse.Namespace:
    """Return the options that a study of one measurement and of all share."""
    parser = _parser(about, samples)
    return parser.parse_args()


def _parser(about: str, samples: int) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--samples", type=int, default=samples, help="of each measurement")
    parser.add_argument("--seed", type=int, default=1, help="another one: other samples")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--each", action="store_true", help="print every sample")
    parser.add_argument("--store", action="store_true", help=f"put the table into {PAGE.name}")
    parser.add_argument(
        "--out",
        type=Path,
        help="keep every sample in this file, one JSON object a line; those that it holds already "
        "are not taken again",
    )
    return parser


def run(studies: Mapping[str, One], given: argparse.Namespace) -> int:
    """Run studies one after the other and print their tables; return how many samples crashed."""
    old = kept(given.out) if given.out else []
    numbers = range(1000 * given.seed, 1000 * given.seed + given.samples)
    crashed = 0
    for name, one in studies.items():
        measurement = name.removeprefix("blind_").replace("_", "-")
        samples = [s for s in old if s.measurement == measurement and s.number in numbers]
        done = {sample.number for sample in samples}
        if done:
            print(f"{measurement}: {len(done)} samples are in {given.out} already")
        start = time.perf_counter()
        stopped = False
        left = [number for number in numbers if number not in done]
        try:
            for sample in take_all(measurement, one, left, given.processes):
                samples.append(sample)
                _tell(sample, given)
        except KeyboardInterrupt:
            stopped = True
        samples.sort(key=lambda sample: sample.number)
        _print(measurement, samples, time.perf_counter() - start)
        crashed += sum(sample.found is None for sample in samples)
        if stopped:
            print("stopped; nothing is stored", file=sys.stderr)
            sys.exit(130)
        if given.store:
            store(measurement, samples, given.seed, MEASUREMENTS)
            print(f"stored in {PAGE}")
    return crashed


def _tell(sample: Sample, given: argparse.Namespace) -> None:
    if given.out:
        keep(given.out, sample)
    if sample.found is None:
        print(f"{sample.number}: CRASHED: {sample.error}", flush=True)
    elif given.each:
        entries = {name: short(entry) for name, entry in sample.found.items()}
        print(f"{sample.number}: {entries}", flush=True)


def _print(measurement: str, samples: list[Sample], wall_s: float) -> None:
    good = [sample.found for sample in samples if sample.found is not None]
    failed = [sample.number for sample in samples if sample.found is None]
    cpu = sum(sample.cpu_s for sample in samples)
    print(
        f"\n{measurement}: {len(samples)} samples in {wall_s:.0f} s, "
        f"{cpu / max(len(samples), 1):.1f} s of CPU time each"
    )
    print(table(good))
    if failed:
        print(f"crashed: {len(failed)}, numbers {', '.join(map(str, failed))}")
    print(flush=True)


def main() -> None:
    """Run the studies that the command line names."""
    parser = _parser(str(__doc__).split("\n")[0], 400)
    parser.add_argument(
        "measurements", nargs="*", metavar="MEASUREMENT", help=f"of: {', '.join(MEASUREMENTS)}"
    )
    given = parser.parse_args()
    unknown = [name for name in given.measurements if name not in MEASUREMENTS]
    if unknown:
        parser.error(f"{unknown[0]!r} was given, allowed are {', '.join(MEASUREMENTS)}")
    if not 1 <= given.samples <= 1000:
        parser.error(f"--samples {given.samples} was given, allowed are 1 to 1000")
    studies = {
        name: importlib.import_module("blind_" + name.replace("-", "_")).one
        for name in given.measurements or MEASUREMENTS
    }
    sys.exit(1 if run(studies, given) else 0)


if __name__ == "__main__":
    main()
