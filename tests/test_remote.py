"""Runs spoken to from outside: status, pause, abort, follow; no peer harms or slows a run."""

from __future__ import annotations

import json
import os
import socket
import stat
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from instruments import config
from instruments.bench import open_bench
from procedures.running import control_server, lock
from procedures.running.remote import NotRunning, RemoteRun, find, remote
from procedures.running.runfile import RunFile, create_queued
from procedures.running.runner import Outcome
from procedures.session import Control, Description, build, describe_queued, measure, run_queued

QUICK = {
    "points": 6,
    "fluence_min_uJ_cm2": 10.0,
    "fluence_max_uJ_cm2": 20.0,
    "centre_wavelength_nm": 520.0,
    "exposure_max_s": 0.1,
}
WALL = "[simulation]\nclock = 'wall'\nspeed = 20.0\n"


class Run:
    """A run in a thread of its own."""

    def __init__(
        self, folder: Path, text: str = WALL, out: Path | None = None, **values: Any
    ) -> None:
        self.control = Control()
        self.outcome: Outcome | None = None
        self.records: list[float] = []
        self.begun = threading.Event()
        parsed = config.parse(text, str(folder / "bench.toml"))

        def work() -> None:
            self.outcome = measure(
                "power-sweep",
                {**QUICK, **values},
                parsed,
                Description("film", "A1"),
                out or folder,
                lambda _line: None,
                control=self.control,
                listener=self,
            )

        self.thread = threading.Thread(target=work)
        self.thread.start()

    def started(self, *_: Any) -> None:
        self.begun.set()

    def progress(self, percent: float) -> None:
        pass

    def recorded(self, record: Any) -> None:
        self.records.append(time.monotonic())

    def end(self) -> Outcome:
        self.thread.join(60.0)
        assert self.outcome is not None
        return self.outcome


@pytest.fixture
def going(tmp_path: Path) -> Iterator[tuple[Run, RemoteRun]]:
    run = Run(tmp_path, points=200)
    run.control.pause()
    assert run.begun.wait(30.0)
    (found,) = find(tmp_path)
    yield run, found
    run.control.abort_now()
    run.end()


def talk(far: RemoteRun, data: bytes) -> list[dict[str, Any]]:
    """Send raw bytes; return what comes back until the run hangs up."""
    with socket.create_connection(("127.0.0.1", far.port), 5.0) as peer:
        peer.sendall(data)
        with peer.makefile("rb") as stream:
            return [json.loads(line) for line in stream]


def test_a_run_is_found_asked_paused_followed_and_aborted(going: tuple[Run, RemoteRun]) -> None:
    run, far = going
    told = far.status()
    assert (told["measurement"], told["points"], told["pid"]) == ("power-sweep", 200, os.getpid())
    assert told["shutter"] in ("open", "closed")
    assert any("200 points" in line["text"] for line in told["log"])
    with RunFile(far.path) as file:
        assert file.being_written
    events: list[dict[str, Any]] = []

    def follow() -> None:
        events.extend(far.follow(arrays=True))

    follower = threading.Thread(target=follow)
    follower.start()
    far.go_on()
    while not any(one["event"] == "record" for one in events):
        assert follower.is_alive()
        time.sleep(0.05)
    far.abort()
    outcome = run.end()
    follower.join(10.0)
    assert (outcome.status, outcome.exit_code) == ("aborted", 130)
    assert events[0]["event"] == "status"
    assert next(column["name"] for column in events[0]["columns"]) == "time"
    assert (events[-1]["event"], events[-1]["state"]) == ("ended", "aborted")
    record = next(one for one in events if one["event"] == "record")
    with RunFile(outcome.path) as file:
        number = record["number"] - 1
        assert record["values"]["fluence"] == pytest.approx(file.records("fluence")[number])
        assert np.array_equal(record["arrays"]["spectra"], file.records("spectra")[number])
        assert file.status == "aborted"
    with pytest.raises(NotRunning):
        far.status()
    with pytest.raises(NotRunning, match="no run is going on"):
        remote(outcome.path)


@pytest.mark.skipif(sys.platform == "win32", reason="file modes are POSIX")
def test_only_its_user_can_read_how_a_run_is_spoken_to(going: tuple[Run, RemoteRun]) -> None:
    _, far = going
    assert stat.S_IMODE(lock.lock_path(far.path).stat().st_mode) == 0o600
    assert far.token not in repr(far)


RUBBISH = [
    (b"rubbish\n", "one JSON object"),
    (b"[1, 2]\n", "one JSON object"),
    (b"[" * 12_000 + b"\n", "one JSON object"),
    (b"\xff\x00\n", "one JSON object"),
    (b'{"command": "abort"}\n', "token"),
    (b'{"command": "abort", "token": "' + b"A" * 32 + b'"}\n', "token"),
    (b'{"command": "abort", "token": "\\ud800"}\n', "token"),
    (b'{"command": "abort", "token": 7}\n', "token"),
    (b"x" * 20_000, "longer than"),
]


def test_rubbish_is_refused_and_changes_nothing(going: tuple[Run, RemoteRun]) -> None:
    run, far = going
    for data, why in RUBBISH:
        (answer,) = talk(far, data)
        assert not answer["ok"]
        assert why in answer["error"], data
    assert far.status()["records"] >= 0
    assert not run.control.aborted


def test_half_lines_and_too_many_peers_are_let_go(
    going: tuple[Run, RemoteRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, far = going
    monkeypatch.setattr(control_server, "_SILENT_S", 0.3)
    peers = [socket.create_connection(("127.0.0.1", far.port), 5.0) for _ in range(20)]
    peers[0].sendall(b'{"command": ')
    for peer in peers:
        with peer:
            peer.settimeout(10.0)
            assert peer.recv(100) in (b"",)
    assert far.status()["measurement"] == "power-sweep"
    bad = json.dumps({"token": far.token, "command": "explode"}).encode() + b"\n"
    with socket.create_connection(("127.0.0.1", far.port), 5.0) as peer:
        peer.sendall(bad)
        assert b"unknown command" in peer.recv(1000)


def test_a_peer_that_does_not_read_does_not_slow_the_run(tmp_path: Path) -> None:
    run = Run(tmp_path, "[simulation]\n", points=30)
    run.control.pause()
    assert run.begun.wait(30.0)
    (far,) = find(tmp_path)
    deaf = socket.create_connection(("127.0.0.1", far.port), 5.0)
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    ask = {"token": far.token, "command": "subscribe", "arrays": True}
    deaf.sendall(json.dumps(ask).encode() + b"\n")
    time.sleep(0.2)
    run.control.go_on()
    outcome = run.end()
    deaf.close()
    assert (outcome.status, outcome.records) == ("finished", 30)


def test_a_waiting_file_is_carried_out_on_an_open_bench_which_stays_open(tmp_path: Path) -> None:
    parsed = config.parse("[simulation]\nseed = 3\n", str(tmp_path / "bench.toml"))
    header = describe_queued(build("power-sweep", QUICK), parsed, Description("film"), time.time())
    first, second = (create_queued(tmp_path, header) for _ in range(2))
    with open_bench(parsed, report=lambda _line: None) as bench:
        control = Control()
        control.abort()
        stopped = run_queued(first, print, bench=bench, control=control)
        assert (stopped.status, stopped.exit_code, stopped.records) == ("aborted", 130, 0)
        done = [run_queued(path, lambda _line: None, bench=bench) for path in (first, second)]
        assert [one.status for one in done] == ["finished"] * 2
        assert bench.instruments["shutter"].status().text == "closed"
        with RunFile(first) as one, RunFile(second) as two:
            assert one.records("shots_on_sample")[-1] < 1.5 * two.records("shots_on_sample")[-1]
    with pytest.raises(Exception, match="finished"):
        run_queued(first, print)


def test_a_run_whose_file_is_elsewhere_is_found_by_its_data_folder(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    run = Run(tmp_path, out=tmp_path / "out", points=100)
    assert run.begun.wait(30.0)
    (far,) = find(tmp_path / "runs")
    assert far.path.parent == (tmp_path / "out").resolve()
    far.abort()
    assert run.end().exit_code == 130
    assert find(tmp_path / "runs") == []


def test_two_never_carry_out_one_file(tmp_path: Path) -> None:
    run = Run(tmp_path, points=100)
    assert run.begun.wait(30.0)
    (far,) = find(tmp_path)
    with pytest.raises(Exception, match=str(os.getpid())):
        run_queued(far.path, print)
    with pytest.raises(lock.FileInUse, match=str(os.getpid())):
        lock.acquire(far.path.with_name("./" + far.path.name))
    run.control.abort()
    assert run.end().status == "aborted"
    assert not lock.lock_path(far.path).exists()


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root reads everything")
def test_a_lock_that_cannot_be_read_is_believed(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    lock.acquire(path)
    lock.lock_path(path).chmod(0)
    with pytest.raises(lock.FileInUse, match="another user"):
        lock.acquire(path)
