"""What a killed process leaves: the guard closes its shutter, and gives its instruments back."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from instruments import config, holding
from instruments.bench import open_bench
from instruments.clock import WallClock
from instruments.holding import ResourceInUse
from procedures.checking import check_bench
from procedures.running.guard import Guard, guarded_roles
from procedures.running.remote import find
from procedures.running.runfile import RunFile
from sim_drivers.serving import RemoteWorld

ROOT = Path(__file__).resolve().parent.parent
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}
LONG = [
    *("--set", "points=3", "--set", "centre_wavelength_nm=520", "--set", "exposure_max_s=5"),
    *("--set", "fluence_min_uJ_cm2=4", "--set", "fluence_max_uJ_cm2=5", "--set", "fill=0.95"),
    *("--set", "shots_min=30000"),
]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and terminals are POSIX")


def gainbench(folder: Path, *words: str, **more: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "procedures.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if "stderr" not in more else more.pop("stderr"),
        text=True,
        cwd=folder,
        env=ENV,
        **more,
    )


class Served:
    """A simulated bench that another process serves."""

    def __init__(self, folder: Path) -> None:
        self.process = gainbench(folder, "simulate", "--json", stderr=subprocess.DEVNULL)
        assert self.process.stdout is not None
        told = json.loads(self.process.stdout.readline())
        self.instruments = told["instruments"]
        text = Path(told["bench_file"]).read_text(encoding="utf-8")
        text = re.sub(r"\[instruments\.(stripe|pulse_gate)\][^\[]*", "", text)
        self.bench_file = folder / "bench.toml"
        self.bench_file.write_text(text, encoding="utf-8")
        self.world = RemoteWorld(self.instruments["camera"]["resource"])

    def lit(self) -> bool:
        """Whether light reaches the camera: asked of the world, past every instrument."""
        now = time.time()
        return float(self.world.ccd_electrons(now - 0.3, 0.2, 64, 26.0).sum()) > 2000.0

    def wait_until(self, lit: bool, seconds: float) -> float:
        """Wait for light or darkness; return how long it took."""
        begun = time.monotonic()
        while self.lit() != lit:
            assert time.monotonic() - begun < seconds, f"light: {not lit}"
            time.sleep(0.05)
        return time.monotonic() - begun


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    found = Served(tmp_path_factory.mktemp("served"))
    yield found
    found.process.send_signal(signal.SIGINT)
    found.process.wait(10)


def start(served: Served, folder: Path, **more: Any) -> subprocess.Popen[str]:
    words = ["run", "power-sweep", "--bench", str(served.bench_file), "--out", str(folder), *LONG]
    run = gainbench(folder, *words, **more)
    try:
        served.wait_until(True, 90.0)
    except AssertionError:
        run.kill()
        raise AssertionError(run.communicate()) from None
    return run


def test_kill_9_in_the_middle_of_an_exposure_leaves_no_light(
    served: Served, tmp_path: Path
) -> None:
    run = start(served, tmp_path)
    shutter = served.instruments["shutter"]["resource"]
    held = holding.holder(shutter)
    assert held is not None
    assert held.pid == run.pid
    found = config.load(served.bench_file)
    with pytest.raises(ResourceInUse, match=f"held by process {run.pid}"), open_bench(found):
        pass
    only = f"[instruments.shutter]\ndriver = 'thorlabs-sc10'\nresource = '{shutter}'\n"
    (row,) = check_bench(config.parse(only, str(tmp_path / "b.toml")))["instruments"]
    assert "is held by process" in row["text"]
    assert "wait until that has ended" in row["remedy"]
    assert served.lit(), "the second harmed the first"
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert served.wait_until(False, 15.0) < 10.0
    (path,) = tmp_path.glob("*.h5")
    with RunFile(path) as file:
        assert file.status == "interrupted"
    with open_bench(found, ("shutter",), extras=False, report=lambda _line: None) as bench:
        assert bench.instruments["shutter"].status().text == "closed"


def begun(folder: Path, **more: Any) -> subprocess.Popen[str]:
    """Return a run on the wall clock that takes records."""
    (folder / "b.toml").write_text("[simulation]\nclock = 'wall'\nspeed = 50.0\n")
    words = ["run", "power-sweep", "--bench", "b.toml", *LONG, "--set", "points=900"]
    run = gainbench(folder, *words, **more)
    while not (found := find(folder / "runs")) or found[0].status()["state"] != "running":
        assert run.poll() is None, run.communicate()
        time.sleep(0.1)
    return run


def ended(folder: Path) -> None:
    (path,) = (folder / "runs").glob("*.h5")
    with RunFile(path) as file:
        assert (file.status, file.log[-1][2]) == ("aborted", "aborted by the operator")
    assert not list((folder / "runs").glob("*.lock"))


def test_a_signal_ends_a_run_safely_with_130(tmp_path: Path) -> None:
    run = begun(tmp_path)
    run.send_signal(signal.SIGTERM)
    _, said = run.communicate(timeout=30.0)
    assert run.returncode == 130, said
    ended(tmp_path)


def test_a_closed_terminal_ends_a_run_safely(tmp_path: Path) -> None:
    import pty

    master, slave = pty.openpty()
    run = begun(tmp_path, stdin=slave, stderr=slave, start_new_session=True, preexec_fn=_own_tty)
    os.close(slave)
    os.close(master)  # the window is closed: hang-up, and nothing can be written any more
    assert run.wait(30.0) == 130
    ended(tmp_path)


def _own_tty() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_a_guard_that_is_sent_away_touches_nothing(served: Served) -> None:
    found = config.load(served.bench_file)
    assert guarded_roles(found) == ("shutter",)
    guard = Guard(found, ("shutter",))
    with open_bench(found, ("shutter",), extras=False, report=lambda _line: None) as bench:
        shutter: Any = bench.instruments["shutter"]
        shutter.open()
        guard.goodbye()
        time.sleep(0.3)
        assert not guard.alive
        assert shutter.is_open


def test_simulated_instruments_in_process_are_free_and_need_no_guard() -> None:
    assert guarded_roles(config.default()) == ()
    with (
        open_bench(config.default(), report=lambda _line: None),
        open_bench(config.default(), report=lambda _line: None),
    ):
        assert isinstance(WallClock().now(), float)
