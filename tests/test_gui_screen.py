"""The window on a real (virtual) screen: clicked as an operator would, and the file looked at.

Needs Xvfb; skipped, with the reason, where there is none. The window runs in a process of its own,
as `gainbench gui` starts it; a script inside it sends the mouse and key events and waits for what
is seen on the screen, nothing else.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import pytest

from procedures.running.runfile import RunFile

XVFB = shutil.which("Xvfb")
pytestmark = pytest.mark.skipif(
    XVFB is None or not sys.platform.startswith("linux"),
    reason="Xvfb is not installed (apt-get install xvfb libxcb-icccm4 libxcb-keysyms1 "
    "libxcb-xinerama0 libxkbcommon-x11-0): the window is not tried on a real screen",
)

BENCH = """
[bench]
name = "bench under Xvfb"
data_dir = "runs"
[simulation]
clock = "wall"
speed = 10.0
"""
OPERATOR = '''
"""Clicks as an operator would; every step is a mouse or key event on the real window."""
import sys, time
from pathlib import Path
from PyQt5 import QtCore, QtTest, QtWidgets
import gui.app

script = sys.argv[1]
left = QtCore.Qt.MouseButton.LeftButton
steps = []

def press(widget):
    assert widget.isVisible() and widget.isEnabled(), widget
    QtTest.QTest.mouseClick(widget, left)

def type_into(field, text):
    field.setFocus(); field.selectAll()
    QtTest.QTest.keyClicks(field, text)

class Operator(QtCore.QObject):
    def __init__(self, window):
        super().__init__()
        self.window, self.number, self.since = window, 0, time.monotonic()
        self.timer = QtCore.QTimer(); self.timer.timeout.connect(self.step); self.timer.start(30)
    def step(self):
        if time.monotonic() - self.since > 100:
            print("STUCK at step", self.number, flush=True)
            for line in self.window.log.lines[-12:]: print("  ", line.level, line.text, flush=True)
            import os; os._exit(9)
        if self.number < len(STEPS):
            try:
                done = STEPS[self.number](self.window)
            except Exception as error:
                print("STEP", self.number, "failed:", repr(error), flush=True)
                import os; os._exit(8)
            if done is not False:
                print("did step", self.number, flush=True)
                self.number += 1; self.since = time.monotonic()

def ready(w):
    start = w.measure.start_button
    return w.view.phase == "open" and w.measure.form is not None and start.isEnabled()
def run(w): return w.conductor.run
def rows(w): return run(w).data.rows_complete if run(w).data is not None else 0

def fill(w):
    if not ready(w): return False
    type_into(w.measure.form.field("points"), "40")
    type_into(w.measure.sample, "film X")
def settled(w): return ready(w) and "40 points" in w.measure.forecast.text()

Key, ctrl = QtCore.Qt.Key, QtCore.Qt.KeyboardModifier.ControlModifier
none = QtCore.Qt.KeyboardModifier.NoModifier
def keys(key, modifier=none):
    return lambda w: QtTest.QTest.keyClick(w.windowHandle(), key, modifier)
def tab_to(widget):
    def act(w):
        if w.focusWidget() is widget(w): return None
        QtTest.QTest.keyClick(w.windowHandle(), Key.Key_Tab)
        return False
    return act
def type_here(w, text):
    QtTest.QTest.keyClick(w.windowHandle(), Key.Key_A, ctrl)
    for one in text: QtTest.QTest.keyClick(w.windowHandle(), one)

def answer_close(button_text):
    def answer():
        for box in QtWidgets.QApplication.topLevelWidgets():
            if isinstance(box, QtWidgets.QMessageBox) and box.isVisible():
                for one in box.buttons():
                    if one.text() == button_text:
                        press(one); return
        QtCore.QTimer.singleShot(50, answer)
    QtCore.QTimer.singleShot(100, answer)

def close_and(button):
    def act(w):
        answer_close(button)
        w.close()
    return act

COMMON = [fill, settled, lambda w: press(w.measure.start_button), lambda w: rows(w) >= 3]
def plug(w, out):
    w.worker.bench.simulation.devices["camera"].fault("disconnect", out)

SCRIPTS = {
    "a day": COMMON + [
        lambda w: press(w.run_pane.pause_button),
        lambda w: run(w).state == "paused",
        lambda w: w.grab().save(sys.argv[3]) and None,
        lambda w: press(w.run_pane.pause_button),
        lambda w: rows(w) >= 7,
        lambda w: QtTest.QTest.keyClick(w.windowHandle(), QtCore.Qt.Key.Key_Escape),
        lambda w: run(w).state == "paused" and w.view.shutter_open is False,
        lambda w: press(w.run_pane.pause_button),
        lambda w: rows(w) >= 10,
        lambda w: press(w.run_pane.abort_button),
        lambda w: not w.conductor.busy,
        lambda w: w.run_pane.chip.text() == "ABORTED",
        lambda w: type_into(w.measure.sample, "film Y"),
        settled,
        lambda w: press(w.measure.start_button),
        lambda w: run(w).active and rows(w) >= 3,
        lambda w: plug(w, True),
        lambda w: w.run_pane.chip.text() == "FAILED",
        lambda w: None if "camera" in w.run_pane.note.text() else False,
        lambda w: w.panel.cards["camera"].dot._state == "bad",
        lambda w: plug(w, False),
        lambda w: w.panel.cards["camera"].dot._state == "ok",
        lambda w: type_into(w.measure.sample, "film Z"),
        settled,
        lambda w: press(w.measure.start_button),
        lambda w: run(w).active and rows(w) >= 3,
        close_and("Keep measuring"),
        lambda w: rows(w) >= 5,
        close_and("End it and close"),
    ],
    "by keyboard": [
        lambda w: None if ready(w) and not w.activateWindow() and w.isActiveWindow() else False,
        keys(Key.Key_M, ctrl),
        tab_to(lambda w: w.measure.form.field("points")),
        lambda w: type_here(w, "12"),
        lambda w: ready(w) and "12 points" in w.measure.forecast.text(),
        keys(Key.Key_F9),
        lambda w: run(w).active and rows(w) >= 3,
        keys(Key.Key_F8),
        lambda w: run(w).state == "paused",
        keys(Key.Key_F8),
        lambda w: rows(w) >= 5,
        keys(Key.Key_F8, ctrl),
        lambda w: w.run_pane.chip.text() == "ABORTED" and not w.conductor.busy,
        keys(Key.Key_3, ctrl),
        lambda w: w.browser.model.rowCount() == 1,
        tab_to(lambda w: w.browser.table),
        keys(Key.Key_Home),
        keys(Key.Key_Return),
        lambda w: w.browser.data is not None and w.browser.data.status == "aborted",
        tab_to(lambda w: w.browser.resume_button),
        keys(Key.Key_Space),
        lambda w: run(w).active and rows(w) >= 7,
        keys(Key.Key_Escape),
        lambda w: run(w).state == "paused" and w.view.shutter_open is False,
        keys(Key.Key_F8),
        lambda w: w.run_pane.chip.text() == "FINISHED",
        lambda w: w.close() or True,
    ],
    "terminated": COMMON + [lambda w: print("ready to be ended", flush=True)],
}
STEPS = SCRIPTS[script]
real_begin = None
from gui import window as module
def begin(self, real=module.Window.begin):
    real(self); self.operator = Operator(self)
module.Window.begin = begin
from instruments.config import load
sys.exit(gui.app.main(load(sys.argv[2])))
'''


@pytest.fixture(scope="module")
def screen() -> Iterator[str]:
    """A screen of 1366 x 768."""
    assert XVFB is not None
    read, write = os.pipe()
    server = subprocess.Popen(
        [XVFB, "-displayfd", str(write), "-screen", "0", "1366x768x24", "-nolisten", "tcp"],
        pass_fds=(write,),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    with open(read, encoding="ascii") as told:  # to the end of the line: it is told in two pieces
        number = told.readline().strip()
    if not number:
        pytest.skip("Xvfb could not be started: the window is not tried on a real screen")
    yield f":{number}"
    server.terminate()
    server.wait(10)


def operate(script: str, folder: Path, screen: str) -> subprocess.Popen[str]:
    """Start a window that the operator of that script works with."""
    (folder / "bench.toml").write_text(BENCH, encoding="utf-8")
    (folder / "operator.py").write_text(OPERATOR, encoding="utf-8")
    environment = {
        **os.environ,
        "DISPLAY": screen,
        "QT_QPA_PLATFORM": "xcb",
        "XDG_CONFIG_HOME": str(folder),
        "XDG_RUNTIME_DIR": str(folder),
        "PYTHONPATH": str(Path(__file__).resolve().parent.parent),
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.Popen(
        [sys.executable, "operator.py", script, "bench.toml", "paused.png"],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finished(process: subprocess.Popen[str]) -> str:
    """Wait for its end; return what it said."""
    said, _ = process.communicate(timeout=180)
    assert process.returncode == 0, said
    return said


def files(folder: Path) -> dict[str, Path]:
    """Return the run files by sample; each is one that plain HDF5 opens, with nothing beside it."""
    found = {}
    for path in (folder / "runs").glob("*.h5"):
        with h5py.File(path, "r") as file:
            assert file.attrs["default"] == "entry"
        left = [one.name for one in path.parent.iterdir() if one.name.startswith(path.name + ".")]
        assert not left
        with RunFile(path) as run:
            found[run.sample] = path
    return found


def test_a_day_at_the_bench(tmp_path: Path, screen: str) -> None:
    """Start, pause, resume, Escape, abort; the camera unplugged; closed while a run goes on."""
    finished(operate("a day", tmp_path, screen))
    assert (tmp_path / "paused.png").stat().st_size > 20_000
    runs = files(tmp_path)
    assert sorted(runs) == ["film X", "film Y", "film Z"]
    with RunFile(runs["film X"]) as run:
        assert run.status == "aborted"
        assert 10 <= run.rows_complete < 40
        texts = [text for _, _, text in run.log]
        assert texts.count("paused") == 2
        light = run.records("spectra").astype(float) - run.records("background")
        assert (light.max(axis=1) > 50.0).all(), "no record was taken in the dark"
    with RunFile(runs["film Y"]) as run:
        assert run.status == "failed"
        assert 3 <= run.rows_complete < 40
        assert any("camera" in text and level == "error" for _, level, text in run.log)
    with RunFile(runs["film Z"]) as run:
        assert run.status == "aborted"
        assert run.rows_complete >= 5
        assert any("making the bench safe" in text for _, _, text in run.log)


def test_a_run_is_begun_paused_aborted_found_and_resumed_by_keys_alone(
    tmp_path: Path, screen: str
) -> None:
    finished(operate("by keyboard", tmp_path, screen))
    (path,) = files(tmp_path).values()
    with RunFile(path) as run:
        assert (run.status, run.rows_complete) == ("finished", 12)
        texts = [text for _, _, text in run.log]
        assert texts.count("paused") == 2
        light = run.records("spectra").astype(float) - run.records("background")
        assert (light.max(axis=1) > 50.0).all(), "no record was taken in the dark"


def test_a_signal_ends_run_and_window_in_order(tmp_path: Path, screen: str) -> None:
    process = operate("terminated", tmp_path, screen)
    assert process.stdout is not None
    end = time.monotonic() + 120
    for line in process.stdout:
        if "ready to be ended" in line:
            break
        assert time.monotonic() < end and "STUCK" not in line, line
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 0
    with RunFile(files(tmp_path)["film X"]) as run:
        assert run.status == "aborted"
        assert run.rows_complete >= 3
