"""The window is killed with the shutter open: the guard closes it, on a bench served elsewhere."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_guard import Served

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")

OPERATOR = """
import sys
from PyQt5 import QtCore
import gui.app, gui.manual as manual
from gui import window as module
from instruments.config import load

def begin(self, real=module.Window.begin):
    real(self)
    self.operator = QtCore.QTimer(self)
    self.operator.timeout.connect(lambda: step(self))
    self.operator.start(50)

def step(window):
    if window.view.phase == "failed":
        print(window.view.text, flush=True)
    if window.view.phase == "open" and "shutter" in window.panel.cards:
        window.operator.stop()
        for act in (
            lambda bench: manual.set_fluence(bench, 30.0),
            lambda bench: manual.set_centre(bench, 520.0),
            manual.open_shutter,
        ):
            window.worker.ask("by hand", act)

module.Window.begin = begin
sys.exit(gui.app.main(load(sys.argv[1])))
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    found = Served(tmp_path_factory.mktemp("served"))
    yield found
    found.process.send_signal(signal.SIGINT)
    found.process.wait(10)


def test_kill_9_of_the_window_leaves_no_light(served: Served, tmp_path: Path) -> None:
    window = subprocess.Popen(
        [sys.executable, "-c", OPERATOR, str(served.bench_file)],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).resolve().parent.parent),
            "QT_QPA_PLATFORM": "offscreen",
            "XDG_CONFIG_HOME": str(tmp_path),
            "OMP_NUM_THREADS": "1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        served.wait_until(True, 60.0)
    except AssertionError:
        window.kill()
        raise AssertionError(window.communicate()) from None
    window.send_signal(signal.SIGKILL)
    window.wait()
    assert served.wait_until(False, 15.0) < 10.0
