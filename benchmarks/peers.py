"""This project beside what people use today: `python benchmarks/peers.py`.

The same work for each (`peers/work.py`): 20,000 records of 8 numbers; 5,000 spectra of 1340 pixels
with 8 numbers; 200 spectrograms of 640 x 508 with 8 numbers; through a real procedure of each peer,
with instruments that take no time. Each peer has an environment of its own, made when it is missing
under the user's cache folder, and a script that says how it was used. Slow ones are given fewer
records: every figure is for one record. A peer that cannot be installed or loses records is named,
with the reason. Linux; Python 3.11 or newer.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
OURS = "gainbench"
FULL = {"scalars": 20_000, "spectra": 5_000, "spectrograms": 200}


@dataclass(frozen=True)
class Peer:
    """A peer: its script, what pip installs, how many records of a kind it is given at most."""

    name: str
    script: str
    packages: tuple[str, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)
    repeats: int = 1


PEERS = (
    Peer(OURS, "gainbench_run", repeats=3),
    Peer("plain-h5py", "plain_h5py", ("h5py",), repeats=3),
    Peer("pymeasure", "pymeasure_csv", ("pymeasure",), {"spectrograms": 5}, repeats=3),
    Peer("bluesky", "bluesky_json", ("bluesky",), {"spectrograms": 20}),
    Peer("qcodes", "qcodes_db", ("qcodes",)),
    Peer("scopefoundry", "scopefoundry_h5", ("scopefoundry<2.2", "PyQt6", "matplotlib")),
    Peer(
        "pymodaq",
        "pymodaq_h5",
        ("pymodaq", "PyQt5"),
        {"scalars": 300, "spectra": 300, "spectrograms": 100},
    ),
)


def interpreter(peer: Peer, cache: Path) -> Path:
    """Return the peer's Python, installing it where it is missing; OSError says why it cannot."""
    if not peer.packages:
        return Path(sys.executable)
    folder = cache / peer.name
    python = folder / "bin" / "python"
    done = folder / "complete"
    if done.exists():
        return python
    print(f"installing {', '.join(peer.packages)} in {folder}", file=sys.stderr)
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(python), "-m", "pip", "install", "-q", *peer.packages],
    ):
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise OSError(f"cannot be installed: {result.stderr.strip().splitlines()[-1]}")
    done.touch()
    return python


def run(peer: Peer, python: Path, kind: str, count: int) -> dict[str, Any]:
    """Run one script; return what it measured, or {"error": why}."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [str(python), str(HERE / "peers" / f"{peer.script}.py"), kind, str(count), folder],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""},
        )
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"versions"')]
    if not lines:
        return {"error": (done.stderr.strip().splitlines() or ["no output"])[-1][:120]}
    found: dict[str, Any] = json.loads(lines[-1])
    if not found["right"]:
        return {"error": f"what is in the file is not what was recorded: {found['found']}"}
    return found


def table(kind: str, results: dict[str, dict[str, Any]]) -> None:
    """Print the results of one kind of work, as a table in Markdown."""
    ours = results.get(OURS, {})
    print(f"\n### {FULL[kind]:,} {kind}\n")
    print(
        "| | records | CPU us a record | times ours | records/s to the closed file | times slower "
        "| until read back, us a record | peak MB more | bytes a record |"
    )
    print("| --- |" + " ---: |" * 8)
    for name, one in results.items():
        if "error" in one:
            print(f"| {name} | {one['error']} |" + " |" * 7)
            continue
        cpu, wall = one["cpu_us"], one["wall_us"]
        ratio = f"{cpu / ours['cpu_us']:.2f}" if "cpu_us" in ours else ""
        slower = f"{wall / ours['wall_us']:.2f}" if "wall_us" in ours else ""
        print(
            f"| {name} | {one['count']:,} | {cpu:,.1f} | {ratio} | {1e6 / wall:,.0f} | {slower} | "
            f"{1e6 * one['readable_s'] / one['count']:,.1f} | {one['peak_MB']:.1f} | "
            f"{one['bytes']:,.0f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "gainbench-peers"
    parser.add_argument("--cache", type=Path, default=cache, help="where the environments are")
    parser.add_argument("--only", nargs="*", default=[], help="these peers")
    parser.add_argument("--json", type=Path, help="write all figures there, too")
    chosen = parser.parse_args()
    wanted = [peer for peer in PEERS if not chosen.only or peer.name in (*chosen.only, OURS)]
    everything: dict[str, dict[str, dict[str, Any]]] = {}
    pythons: dict[str, Path | str] = {}
    for peer in wanted:
        try:
            pythons[peer.name] = interpreter(peer, chosen.cache)
        except OSError as error:
            pythons[peer.name] = str(error)
    used: dict[str, str] = {}
    for kind, full in FULL.items():
        results: dict[str, dict[str, Any]] = {}
        for peer in wanted:
            python = pythons[peer.name]
            if isinstance(python, str):
                results[peer.name] = {"error": python}
                continue
            count = min(full, peer.counts.get(kind, full))
            tries = [run(peer, python, kind, count) for _ in range(peer.repeats)]
            results[peer.name] = min(tries, key=lambda one: one.get("cpu_us", float("inf")))
            if "how" in results[peer.name]:
                told = results[peer.name]["versions"]
                used[peer.name] = f"{results[peer.name]['how']} ({_versions(told)})"
        everything[kind] = results
        table(kind, results)
    print(
        f"\nPython {platform.python_version()}, {os.cpu_count()} processors. How each was used:\n"
    )
    for name, how in used.items():
        print(f"- {name}: {how}")
    if chosen.json:
        chosen.json.write_text(json.dumps(everything, indent=1))


def _versions(found: dict[str, str]) -> str:
    return ", ".join(f"{name} {one}" for name, one in found.items() if name != "python")


if __name__ == "__main__":
    main()
