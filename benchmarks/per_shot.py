"""Every shot at 5 kHz for as long as is asked: `python benchmarks/per_shot.py --minutes 10`.

Shots of 1340 pixels come from a file at their rate, on a thread that does not wait (the driver
`line-camera`); `per-shot` takes them in blocks of 1,000 through the runner into the run file, with
all spectra or those of every hundredth block. What could not be taken in time would be an error;
afterwards the file is read and compared with the source, shot by shot. `--window` has the
operator's window open meanwhile, in a process of its own, without a screen.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.peers.work import arrays
from instruments.config import load
from instruments.shot_buffer import ShotBuffer
from procedures.running.runfile import RunFile
from procedures.session import Description, measure

PIXELS, RECORDED, BLOCK = 1340, 997, 1000


def source(path: Path) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Write a file of shots; a prime number of them, so that no two blocks are alike."""
    some = arrays((PIXELS,))
    frames = np.array([some[number % len(some)] for number in range(RECORDED)])
    frames[:, 0] = np.arange(RECORDED)
    energies = 1e-7 * (1.0 + 0.02 * np.random.default_rng(3).normal(size=RECORDED))
    np.savez(path, frames=frames, energies_J=energies)
    return frames, energies


def bench_file(folder: Path, rate_Hz: float, buffer_s: float) -> Path:
    """Write a bench file: the camera replays, the rest is simulated, in real time."""
    path = folder / "bench.toml"
    path.write_text(
        '[bench]\nname = "replay"\ndata_dir = "runs"\n'
        f"[pump]\nrepetition_rate_Hz = {rate_Hz}\n"
        '[instruments.camera]\ndriver = "line-camera"\n'
        f"resource = {json.dumps(str(folder / 'shots.npz'))}\nrate_Hz = {rate_Hz}\n"
        f"buffer_shots = {int(buffer_s * rate_Hz)}\n"
        '[simulation]\nclock = "wall"\n',
        encoding="utf-8",
    )
    return path


@contextlib.contextmanager
def window(bench: Path, wanted: bool) -> Iterator[None]:
    """Have the window open in another process: on the same runs, its own simulated bench."""
    if not wanted:
        yield
        return
    other = bench.with_name("window.toml")
    text = '[bench]\nname = "window"\ndata_dir = "runs"\n[simulation]\nclock = "wall"\n'
    other.write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "procedures.cli", "gui", "--bench", str(other)]
    root = str(Path(__file__).resolve().parents[1])
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "PYTHONPATH": root}
    with open(bench.parent / "window.log", "w") as told:
        child = subprocess.Popen(command, env=environment, stdout=told, stderr=told)
        try:
            time.sleep(15.0)
            if child.poll() is not None:
                raise OSError(f"no window: {(bench.parent / 'window.log').read_text()[-500:]}")
            yield
            print("window open until the end:", child.poll() is None)
        finally:
            child.terminate()
            child.wait()


def compare(path: Path, frames: np.ndarray, energies: np.ndarray, every: int) -> int:  # type: ignore[type-arg]
    """Return how many shots the file holds, all of them right and in order."""
    with RunFile(path) as run:
        blocks = run.rows_complete - 1
        got = run.records("pulse_energies")[1:].ravel()
        number = np.arange(blocks * BLOCK) % RECORDED
        assert np.array_equal(got, energies.astype(np.float32)[number]), "wrong energies"
        for k, row in enumerate(run.rows_of("spectra")):
            first = 0 if row == 0 else (row - 1) * BLOCK
            if row and k % every == 0:
                seen = run.rows("spectra", k, k + 1)[0]
                assert np.array_equal(seen, frames[(first + np.arange(BLOCK)) % RECORDED])
        return blocks * BLOCK


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=0.2)
    parser.add_argument("--rate", type=float, default=5000.0, help="shots a second")
    parser.add_argument("--spectra", choices=["none", "scheduled", "all"], default="all")
    parser.add_argument("--buffer", type=float, default=8.0, help="seconds of shots in memory")
    parser.add_argument("--window", action="store_true", help="with the window open")
    parser.add_argument("--folder", type=Path, help="where the file goes; removed afterwards")
    chosen = parser.parse_args()
    shots = max(round(chosen.minutes * 60 * chosen.rate / BLOCK), 1) * BLOCK
    most = [0]
    own = ShotBuffer.take

    def take(self: ShotBuffer, count: int, timeout_s: float):  # type: ignore[no-untyped-def]
        most[0] = max(most[0], self.waiting)
        return own(self, count, timeout_s)

    ShotBuffer.take = take  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        folder = Path(name)
        frames, energies = source(folder / "shots.npz")
        bench = bench_file(folder, chosen.rate, chosen.buffer)
        settings = {
            "shots": shots,
            "shots_per_record": BLOCK,
            "spectra": chosen.spectra,
            "fluence_uJ_cm2": 30.0,
        }
        with window(bench, chosen.window):
            begun, cpu = time.monotonic(), time.process_time()
            outcome = measure(
                "per-shot", settings, load(bench), Description("replay"), None, print, quiet=True
            )
            took, cpu = time.monotonic() - begun, time.process_time() - cpu
        if outcome.error is not None:
            raise outcome.error
        size = outcome.path.stat().st_size
        held = compare(outcome.path, frames, energies, every=37)
        with RunFile(outcome.path) as run:
            told = [text for _, level, text in run.log if level in ("warning", "error")]
    print(f"{held:,} of {shots:,} shots, in order and right, at {chosen.rate:g} a second")
    print(
        f"{took:.0f} s, {size / 1e9:.2f} GB; CPU {1e6 * cpu / shots:.1f} us a shot "
        f"({100 * cpu / took:.0f} % of a core), at most {most[0] / chosen.rate:.2f} s of shots "
        f"waited; warnings: {told or 'none'}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()}"
    )


if __name__ == "__main__":
    main()
