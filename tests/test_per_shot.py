"""Every shot by itself: none is lost in silence, each has its own energy, and a run goes on."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from instruments.bench import open_bench
from instruments.clock import WallClock
from instruments.config import BenchConfig, parse
from instruments.errors import ConfigError, DeviceFault, NoReply
from instruments.shot_buffer import ShotBuffer
from procedures.parameters import ParameterError
from procedures.per_shot import PerShot
from procedures.running.runfile import RunFile
from procedures.session import Description, go_on, measure
from sim_drivers.bench import SimulatedBench
from sim_drivers.serving import RemoteWorld, WorldServer

SHOTS = 200
QUICK: dict[str, Any] = {"shots": 5 * SHOTS, "shots_per_record": SHOTS, "keep_every": 2}


def quiet(_line: str) -> None:
    return


def take(folder: Path, values: dict[str, Any], config: BenchConfig | None = None) -> Any:
    chosen = config if config is not None else parse("[simulation]\nseed = 4\n")
    return measure("per-shot", values, chosen, Description("film"), folder, quiet, quiet=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    outcome = take(tmp_path_factory.mktemp("runs"), QUICK)
    assert outcome.status == "finished", outcome.error
    with RunFile(outcome.path) as file:
        return {name: file.records(name) for name in file.columns} | {
            "kept rows": file.rows_of("spectra"), "axis": file.axis("wavelength"),
        }  # fmt: skip


def test_each_shot_has_its_energy_and_its_light(run: dict[str, Any]) -> None:
    energies, band = run["pulse_energies"][1:].ravel(), run["band_counts"][1:].ravel()
    assert len(energies) == 5 * SHOTS and run["first_shot"][1:].tolist() == [0, 200, 400, 600, 800]
    assert 0.01 < energies.std() / energies.mean() < 0.03
    # Light follows energy shot by shot, not only on the mean; of another shot it knows nothing.
    assert np.corrcoef(energies, band)[0, 1] > 0.9
    assert abs(np.corrcoef(energies[:-1], band[1:])[0, 1]) < 0.2
    assert run["band_counts"][0].max() < 0.5 * band.min()  # the dark
    fluence = 1e6 * energies.mean() / (0.1 * 0.01 * 3.0)
    assert run["fluence"][1:].mean() == pytest.approx(fluence, rel=1e-3)


def test_spectra_are_those_of_the_kept_blocks(run: dict[str, Any]) -> None:
    assert run["kept rows"].tolist() == [0, 1, 3, 5]
    assert run["spectra"].shape == (4, SHOTS, len(run["axis"]))
    inside = (run["axis"] >= 500.0) & (run["axis"] <= 545.0)
    summed = run["spectra"][:, :, inside].sum(axis=2, dtype=np.uint64)
    assert np.array_equal(summed, run["band_counts"][run["kept rows"]])


def test_shots_on_the_sample_are_those_recorded(run: dict[str, Any]) -> None:
    assert run["leg"].tolist() == [0, 1, 1, 1, 1, 1]
    steps = np.diff(run["shots_on_sample"].astype(int))
    assert run["shots_on_sample"][0] == 0 and (np.abs(steps[1:] - SHOTS) <= 1).all()
    assert SHOTS <= steps[0] < SHOTS + 100  # and those while the blade moved


def test_an_aborted_run_goes_on_without_a_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, calls = PerShot.record, [0]

    def record(self: PerShot, point: Any) -> Any:
        calls[0] += 1
        if calls[0] == 3:
            self.control.abort()
        return own(self, point)

    monkeypatch.setattr(PerShot, "record", record)
    outcome = take(tmp_path, QUICK | {"spectra": "none"})
    assert (outcome.status, outcome.records) == ("aborted", 3)
    monkeypatch.undo()
    again = go_on(outcome.path, None, quiet, quiet=True)
    assert again.status == "finished", again.error
    with RunFile(outcome.path) as file:
        assert file.records("first_shot").tolist() == [0, 0, 200, 400, 600, 800]
        assert len(file.records("spectra")) == 0


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="multiples"):
        PerShot(shots=250, shots_per_record=100)
    plain = parse(
        '[simulation]\nseed = 4\n[instruments.camera]\ndriver = "andor-sdk2"\nresource = "sim"\n'
    )
    outcome = take(tmp_path, QUICK, plain)
    assert outcome.status == "failed" and "line-camera" in str(outcome.error)


# ---- the buffer and the shots from a file ----------------------------------------------------


def test_the_buffer_gives_every_shot_once_and_in_order() -> None:
    buffer, taken = ShotBuffer(64, 3), []

    def produce() -> None:
        number = 0
        while number < 1000:
            count = min(1 + number % 17, 1000 - number, 64 - buffer.waiting)
            block = np.arange(number, number + count)
            buffer.put(np.repeat(block[:, None], 3, axis=1).astype(np.uint16), block * 1e-9)
            number += count

    thread = threading.Thread(target=produce)
    thread.start()
    for _ in range(100):
        first, frames, energies = buffer.take(10, 5.0)
        assert frames.tolist() == [[first + i] * 3 for i in range(10)]
        assert np.allclose(energies, 1e-9 * np.arange(first, first + 10))
        taken.append(first)
    thread.join()
    assert taken == list(range(0, 1000, 10))


def test_what_overflows_is_an_error_until_it_is_begun_anew() -> None:
    buffer = ShotBuffer(10, 2)
    frames = np.zeros((6, 2), np.uint16)
    buffer.put(frames, np.zeros(6))
    buffer.put(frames, np.zeros(6))
    for _ in range(2):
        with pytest.raises(DeviceFault, match="6 shots or more were lost"):
            buffer.take(1, 0.0)
    buffer.begin()
    buffer.put(frames, np.ones(6))
    assert buffer.take(6, 0.0)[2].sum() == 6.0
    with pytest.raises(NoReply, match="0 of 1"):
        buffer.take(1, 0.0)


def test_a_reader_that_is_late_is_told(tmp_path: Path) -> None:
    with open_bench(parse("[simulation]\n"), ("camera",), measurement="per-shot") as bench:
        camera: Any = bench.instruments["camera"]
        camera.start_shots()
        assert camera.read_shots(5).first == 0
        bench.clock.sleep(3.0)
        assert camera.read_shots(5).first == 5  # what waits in the buffer is not lost
        bench.clock.sleep(60.0)
        with pytest.raises(DeviceFault, match="were lost"):
            camera.read_shots(5)


def test_recorded_shots_are_replayed_at_their_rate(tmp_path: Path) -> None:
    frames = np.arange(300 * 4, dtype=np.uint16).reshape(300, 4)
    np.savez(tmp_path / "shots.npz", frames=frames, energies_J=np.arange(300) * 1e-9)
    with open_bench(parse(replay(tmp_path / "shots.npz")), ("camera",)) as bench:
        camera: Any = bench.instruments["camera"]
        begun = time.monotonic()
        camera.start_shots()
        block = camera.read_shots(700)  # more than the file holds
        took = time.monotonic() - begun
        camera.stop_shots()
    assert np.array_equal(block.frames, np.concatenate([frames, frames, frames[:100]]))
    assert took > 0.9 * 700 / 5000.0


@pytest.mark.parametrize(
    "content", [b"", b"rubbish", {"frames": np.zeros((3, 2))}, {"energies_J": np.zeros(3)}]
)
def test_another_file_is_refused(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "shots.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.savez(path, **content)
    with pytest.raises(ConfigError, match=r"shots\.npz"), open_bench(parse(replay(path))):
        pass


def replay(path: Path) -> str:
    return (
        '[bench]\nname = "replay"\n[pump]\nrepetition_rate_Hz = 5000.0\n[instruments.camera]\n'
        f'driver = "line-camera"\nresource = {str(path)!r}\nrate_Hz = 5000.0\n'
    )


# ---- a served bench ------------------------------------------------------------------------------


def test_shots_of_a_served_bench_are_taken_from_another_program() -> None:
    """As `gainbench simulate` serves them: the camera's library here, the World behind a socket."""
    bench = SimulatedBench(parse("[simulation]\nseed = 4\n"), WallClock(), "per-shot")
    served = WorldServer(bench.world, threading.RLock(), "127.0.0.1")
    resource = f"sim://127.0.0.1:{served.port}"
    table = f'[instruments.camera]\ndriver = "line-camera"\nresource = "{resource}"\n'
    try:
        with open_bench(parse(table), ("camera",), measurement="per-shot", extras=False) as opened:
            camera: Any = opened.instruments["camera"]
            assert camera.rate_Hz == 1000.0
            camera.start_shots()
            first, second = camera.read_shots(40), camera.read_shots(60)
            camera.stop_shots()
        assert (first.first, second.first) == (0, 40)
        assert first.frames.shape == (40, 1340) and len(second.energies_J) == 60
        assert 0.005 < second.energies_J.std() / second.energies_J.mean() < 0.05
        world = RemoteWorld(resource)
        light, energies = world.shot_electrons(7, 5, 30, 14.0)
        own, same = bench.world.shot_electrons(7, 5, 30, 14.0)
        assert np.array_equal(light, own) and np.array_equal(energies, same)
        with pytest.raises(NoReply, match="count: 1 to 1000"):
            world.shot_electrons(0, 1001, 30, 14.0)
    finally:
        served.close()
