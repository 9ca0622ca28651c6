"""The window under load, measured: `python benchmarks/window.py [seconds] [part]...`.

Each part has a process and a window of its own, over the simulated bench, on a screen:

start    from the command to a window that can be used.
long     a photostability run of 16,000 records, and a per-shot run of 1.6e7 shots: opened under
         HISTORY as an operator does, zoomed by the wheel, moved by the arrow keys. A frame counts
         when what was asked for is painted.
replay   spectra of 1340 pixels at 1 kHz, replayed from rendered ones, go through the record path
         (the run file's writer and the window's copy) while the window draws them. A frame counts
         when it is painted; the window's thread is asked every millisecond whether it is free.

Every number is printed beside what it should be. On Xvfb if there is no screen and Xvfb is
installed; off-screen otherwise.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

PIXELS, RATE_HZ = 1340, 1000.0
PHOTOSTABILITY_RECORDS, SINGLES = 16_000, 16_000_000


def goal(what: str, value: float, unit: str, wanted: str, met: bool) -> None:
    """Print a number beside what it should be."""
    print(f"  {what}: {value:.3g} {unit} (wanted: {wanted}): {'met' if met else 'MISSED'}")


def peak_MB() -> float:
    """Return the most memory that this process has had."""
    try:
        import resource
    except ImportError:
        import psutil

        return float(psutil.Process().memory_info().peak_wset) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


@contextlib.contextmanager
def screen() -> Iterator[str]:
    """Have a screen: the one there is, a virtual one, or none."""
    server = shutil.which("Xvfb")
    if os.environ.get("DISPLAY") or server is None:
        if not os.environ.get("DISPLAY"):
            os.environ["QT_QPA_PLATFORM"] = "offscreen"
        yield os.environ.get("DISPLAY", "off-screen")
        return
    read, write = os.pipe()
    command = [server, "-displayfd", str(write), "-screen", "0", "1920x1080x24"]
    process = subprocess.Popen(
        command, pass_fds=(write,), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(write)
    with open(read, encoding="ascii") as told:
        number = told.readline().strip()
    os.environ["DISPLAY"] = f":{number}"
    try:
        yield f"Xvfb :{number}"
    finally:
        process.terminate()
        process.wait(10)


def work(condition: Callable[[], bool], seconds: float = 120.0) -> float:
    """Let the window work, as its own loop does, until the condition holds; return how long."""
    from PyQt5 import QtCore

    begun = time.perf_counter()
    loop, look = QtCore.QEventLoop(), QtCore.QTimer()
    look.setTimerType(QtCore.Qt.TimerType.PreciseTimer)

    def check() -> None:
        if condition() or time.perf_counter() - begun > seconds:
            loop.quit()

    look.timeout.connect(check)
    look.start(2)
    loop.exec_()
    look.stop()
    if not condition():
        raise TimeoutError("the window did not come to it")
    return time.perf_counter() - begun


def settle(seconds: float) -> None:
    """Let the window alone for a while."""
    end = time.perf_counter() + seconds
    work(lambda: time.perf_counter() > end)


class Replayed:
    """A run as the window follows one, fed by a thread at a fixed rate."""

    def __init__(self, folder: Path, seconds: float) -> None:
        import numpy as np

        from gui.rundata import RunData
        from procedures.columns import Axis, Column
        from procedures.running.header import RunHeader, RunStart
        from procedures.running.runfile import RunWriter, create_queued

        columns = (
            Column("time", "s", "Time"),
            Column("number", "", "Number", "uint64"),
            Column("spectra", "counts", "Emission", "uint16", ("wavelength",)),
        )
        axis = Axis("wavelength", np.linspace(450.0, 590.0, PIXELS), "nm", "Wavelength")
        rng = np.random.default_rng(1)
        line = np.exp(-0.5 * ((axis.values - 524.5) / 2.1) ** 2)
        growth = np.geomspace(500.0, 50_000.0, 256)[:, None]
        self.rendered = rng.poisson(300.0 + growth * line).clip(0, 65535).astype(np.uint16)
        self.total = round(seconds * RATE_HZ)
        plan = [{"number": float(number)} for number in range(self.total)]
        header = RunHeader("replay", "replayed spectra", "benchmarks", {}, plan, sample="replayed")
        self.path = create_queued(folder, header)
        start = RunStart(time.time(), columns, (axis,), "spectra", ("number", "wavelength"))
        self.writer = RunWriter.start(self.path, start)
        about = {"path": self.path, "points": self.total}
        self.data: Any = RunData("replay", columns, (axis,), about)
        self.name, self.percent, self.late_s = "replayed spectra", 0.0, 0.0
        self._thread = threading.Thread(target=self._work, daemon=True)

    active = True
    state = "running"

    def left_s(self) -> float | None:
        return None

    def start(self) -> None:
        self._thread.start()

    def _work(self) -> None:
        begun = time.perf_counter()
        for number in range(self.total):
            due = begun + number / RATE_HZ
            now = time.perf_counter()
            if due > now:
                time.sleep(due - now)
            self.late_s = max(self.late_s, time.perf_counter() - due)
            record = {
                "time": time.time(),
                "number": number,
                "spectra": self.rendered[number % len(self.rendered)],
            }
            self.writer.append(record)
            self.data.append(record)
            self.percent = 100.0 * (number + 1) / self.total
        self.writer.close("finished")
        self.active = False


def replay(seconds: float) -> None:
    """Spectra at 1 kHz into the file and on the screen."""
    import numpy as np
    import psutil
    from PyQt5 import QtCore

    from procedures.running.runfile import RunFile

    folder = Path(tempfile.mkdtemp())
    window = made_window(folder)
    work(lambda: window.view.phase == "open")
    window.tabs.setCurrentWidget(window.run_pane)
    settle(4.0)
    source = Replayed(folder, seconds)
    window.run_pane.follow(source)
    gaps: list[float] = []
    own: list[float] = []
    last, worked = [time.perf_counter()], [time.thread_time()]

    def beat() -> None:
        now = time.perf_counter()
        busy = time.thread_time()
        gaps.append(now - last[0])
        own.append(busy - worked[0])
        last[0], worked[0] = now, busy

    timer = QtCore.QTimer()
    timer.setTimerType(QtCore.Qt.TimerType.PreciseTimer)
    timer.timeout.connect(beat)
    timer.start(1)
    process = psutil.Process()
    before, begun = process.cpu_times(), time.perf_counter()
    last[0], worked[0] = begun, time.thread_time()
    source.start()
    work(lambda: not source.active, seconds + 60.0)
    took = time.perf_counter() - begun
    timer.stop()
    after = process.cpu_times()
    plots = window.run_pane.view.plots
    frames = min(window.run_pane.draws, *(plot.canvas.painted for plot in plots)) / took
    with RunFile(source.path) as run:
        rows = run.rows_complete
        right = bool(
            np.array_equal(run.records("number"), np.arange(source.total))
            and np.array_equal(
                run.records("spectra"),
                source.rendered[np.arange(source.total) % len(source.rendered)],
            )
        )
    busy = (after.user + after.system - before.user - before.system) / took
    blocked, own_ms = np.sort(1000.0 * np.array(gaps)), 1000.0 * np.array(own)
    high = float(np.quantile(blocked, 0.999))
    print(f"spectra at 1 kHz: {source.total} in {took:.1f} s, the source at most "
          f"{1000.0 * source.late_s:.0f} ms late")  # fmt: skip
    goal("painted", frames, "frames/s", "30 or more", frames >= 30.0)
    lost = source.total - rows
    goal("spectra lost from the file", lost, "", "0, and all as sent", right and not lost)
    goal("window's thread blocked, 99.9 % of the time between two events", high, "ms", "below 50",
         high < 50.0)  # fmt: skip
    waits = np.maximum(blocked - 50.0, 0.0).sum() / blocked.sum()
    print(
        f"    median {np.median(blocked):.1f} ms, longest {blocked[-1]:.0f} ms, "
        f"{int((blocked > 50.0).sum())} of {len(blocked)} above 50 ms; at {100.0 * waits:.2f} % of "
        "all moments a key would wait longer than that"
    )
    print(
        f"    its own work in that (what a free core would leave): 99.9 % below "
        f"{np.quantile(own_ms, 0.999):.1f} ms, longest {own_ms.max():.0f} ms"
    )
    goal("processor, window, source and writer together", busy, "cores", "below 1", busy < 1.0)
    leave(window)


def made_window(folder: Path) -> Any:
    """Return a window over the simulated bench."""
    from PyQt5 import QtCore, QtWidgets

    from gui import theme
    from instruments.config import parse

    app = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["benchmark"])
    assert isinstance(app, QtWidgets.QApplication)
    sys.setswitchinterval(0.002)
    theme.apply(app, theme.Theme())
    from gui.window import Window

    text = '[bench]\ndata_dir = "runs"\n[simulation]\nclock = "wall"\n'
    settings = QtCore.QSettings(str(folder / "w.ini"), QtCore.QSettings.Format.IniFormat)
    window = Window(parse(text, str(folder / "bench.toml")), settings)
    window.resize(1366, 768)
    window.show()
    window.begin()
    made_window.app = app  # type: ignore[attr-defined]  # must outlive the window
    return window


def leave(window: Any) -> None:
    """Close a window."""
    from gui.app import take_apart

    window.ask_to_leave = lambda: True
    window.close()
    work(lambda: window._left and not window.isVisible())
    take_apart(window)


def long_series(_seconds: float) -> None:
    """Long runs opened, zoomed and moved."""
    folder = Path(tempfile.mkdtemp())
    runs = folder / "runs"
    command = [sys.executable, __file__, "0", "write", str(runs)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    window = made_window(folder)
    work(lambda: window.view.phase == "open")
    window.tabs.setCurrentWidget(window.browser)
    settle(4.0)
    print(f"the window alone: {peak_MB():.0f} MB")
    for path, what, plot in (
        (told[0], f"photostability run, {PHOTOSTABILITY_RECORDS} records", "decay"),
        (told[1], f"{SINGLES:.2g} single shots", "light"),
    ):
        took = opened(window, Path(path))
        print(what)
        goal("opened and drawn", took, "s", "below 1", took < 1.0)
        zoomed, moved = frame_rates(getattr(window.browser.view, plot))
        goal("zoomed", zoomed, "frames/s", "30 or more", zoomed >= 30.0)
        goal("moved", moved, "frames/s", "30 or more", moved >= 30.0)
        settle(2.0)
        goal("memory, the most so far", peak_MB(), "MB", "below 500", peak_MB() < 500.0)
    leave(window)


def opened(window: Any, path: Path) -> float:
    """Open a run under HISTORY; return the seconds until all its plots are painted."""
    begun = time.perf_counter()
    window.browser.open(path)
    work(lambda: window.browser.data is not None and window.browser.data.path == path)
    plots = window.browser.view.plots
    marks = [plot.canvas.painted for plot in plots]
    work(lambda: all(p.canvas.painted > mark for p, mark in zip(plots, marks, strict=True)))
    return time.perf_counter() - begun


def frame_rates(plot: Any) -> tuple[float, float]:
    """Zoom with the wheel and move with the arrows; return the frames a second of each."""
    from PyQt5 import QtCore, QtGui, QtTest, QtWidgets

    def wheel(number: int) -> None:
        viewport = plot.canvas.viewport()
        where = QtCore.QPointF(viewport.width() * (0.4 + 0.02 * (number % 10)), 40.0)
        nothing, flat = QtCore.QPoint(), QtCore.QPoint(0, 120 if number % 50 < 25 else -120)
        modifiers, phase = QtCore.Qt.KeyboardModifiers(), QtCore.Qt.ScrollPhase.NoScrollPhase
        event = QtGui.QWheelEvent(
            where, QtCore.QPointF(viewport.mapToGlobal(where.toPoint())), nothing, flat,
            QtCore.Qt.MouseButtons(), modifiers, phase, False,
        )  # fmt: skip
        QtWidgets.QApplication.sendEvent(viewport, event)

    def arrow(number: int) -> None:
        right = number % 20 < 10
        key = QtCore.Qt.Key.Key_Right if right else QtCore.Qt.Key.Key_Left
        QtTest.QTest.keyClick(plot.canvas, key)  # type: ignore[call-overload]

    rates = []
    for act in (wheel, arrow):
        begun, frames = time.perf_counter(), 100
        for number in range(frames):
            mark = plot.canvas.painted
            act(number)
            work(lambda mark=mark: bool(plot.canvas.painted > mark and not plot.refreshing))  # type: ignore[misc]
        rates.append(frames / (time.perf_counter() - begun))
    return rates[0], rates[1]


def photostability_file(folder: Path) -> Path:
    """Write a run of 1.6e7 shots in 16,000 records, as the measurement's columns want them."""
    import numpy as np

    from procedures.columns import Axis
    from procedures.photostability import Photostability
    from procedures.running.header import RunHeader, RunStart
    from procedures.running.runfile import RunWriter, create_queued

    axis = Axis("wavelength", np.linspace(450.0, 590.0, PIXELS), "nm", "Wavelength")
    header = RunHeader("photostability", "a long one", "benchmarks", {}, [{"leg": 2.0}])
    path = create_queued(folder, header)
    start = RunStart(
        time.time(), Photostability.COLUMNS, (axis,), "band_counts", ("exposed_shots",)
    )
    writer = RunWriter.start(path, start)
    rng = np.random.default_rng(2)
    spectrum = rng.poisson(3000.0, PIXELS).astype(np.uint32)
    for number in range(PHOTOSTABILITY_RECORDS):
        record: dict[str, Any] = {
            c.name: 0.0 if np.dtype(c.dtype).kind == "f" else 0
            for c in Photostability.COLUMNS
            if not c.axes
        }
        kept = number % 100 == 0
        record |= {
            "leg": 2,
            "exposed_shots": 1000.0 * (number + 1),
            "shots": 100,
            "fluence": rng.normal(57.0, 0.8),
            "band_counts": rng.normal(4.0e6 * (1.0 - 6e-6 * number), 4e4),
            "kept": int(kept),
            "spectra": spectrum if kept else None,
            "background": None,
        }
        writer.append(record)
    writer.close("finished")
    return path


def singles_file(folder: Path) -> Path:
    """Write a per-shot run of 1.6e7 shots, spectra kept by its schedule: every hundredth block."""
    import numpy as np

    from procedures.columns import Axis
    from procedures.per_shot import PerShot
    from procedures.running.header import RunHeader, RunStart
    from procedures.running.runfile import RunWriter, create_queued

    block = 1000
    axes = (
        Axis("shot", np.arange(block, dtype=np.float64), "", "Shot"),
        Axis("wavelength", np.linspace(450.0, 590.0, PIXELS), "nm", "Wavelength"),
    )
    header = RunHeader("per-shot", "every shot", "benchmarks", {}, [{"leg": 1.0}])
    path = create_queued(folder, header)
    writer = RunWriter.start(
        path, RunStart(time.time(), PerShot.COLUMNS, axes, "band_counts", ("first_shot", "shot"))
    )
    rng = np.random.default_rng(3)
    energies = rng.normal(171e-9, 3e-9, (64, block)).astype(np.float32)
    counts = rng.normal(4e5, 8e3, (64, block)).astype(np.uint32)
    spectra = rng.poisson(300.0, (block, PIXELS)).astype(np.uint16)
    for number in range(SINGLES // block + 1):
        kept = number % 100 == 1
        writer.append(
            {
                "time": float(number), "leg": int(number > 0),
                "first_shot": block * max(number - 1, 0), "fluence": 57.0, "fluence_errors": 0.1,
                "fluence_setpoint": 57.0, "shots_on_sample": block * number,
                "dose": 57e-6 * block * number, "saturated": 0,
                "pulse_energies": energies[number % 64], "band_counts": counts[number % 64],
                "kept": int(kept), "spectra": spectra if kept else None,
            }
        )  # fmt: skip
    writer.close("finished")
    return path


def write_files(folder: Path) -> None:
    """Write the long runs, in a process whose memory nobody measures."""
    folder.mkdir(parents=True, exist_ok=True)
    print(photostability_file(folder), singles_file(folder))


_START = """
import time, sys
begun = float(sys.argv[1])
import gui.app, gui.window as module
from PyQt5 import QtCore, QtWidgets
def begin(self, real=module.Window.begin):
    real(self)
    self.idle = QtCore.QTimer(); self.idle.timeout.connect(look); self.idle.start(10)
    self.shown = None
    global window; window = self
def look():
    if window.shown is None and window.isVisible():
        window.shown = time.time() - begun
    if window.measure.form is not None:
        print(f"{window.shown:.2f} {time.time() - begun:.2f}", flush=True)
        import os; os._exit(0)
module.Window.begin = begin
gui.app.main(None)
"""


def start_up(_seconds: float) -> None:
    """The second start, as on every day but the first."""
    environment = {**os.environ, "XDG_CONFIG_HOME": tempfile.mkdtemp(), "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(Path(__file__).resolve().parent.parent)
    found = ""
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", _START, str(time.time())],
            capture_output=True,
            text=True,
            env=environment,
            cwd=tempfile.mkdtemp(),
            timeout=120,
            check=True,
        )
        found = min(filter(None, (found, done.stdout.strip())))
    shown, usable = found.split()
    print(f"start: shown after {shown} s")
    goal("usable (the measurement's form is there)", float(usable), "s", "below 3",
         float(usable) < 3.0)  # fmt: skip


PARTS = {"start": start_up, "long": long_series, "replay": replay}


def main(words: list[str]) -> None:
    """Run the parts that are named (all, if none is), each in a process of its own."""
    seconds = float(words[0]) if words else 20.0
    if words[1:2] == ["write"]:
        write_files(Path(words[2]))
        return
    if words[1:2] == ["alone"]:
        PARTS[words[2]](seconds)
        return
    with screen() as name:
        print(f"screen: {name}; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        for part in words[1:] or PARTS:
            command = [sys.executable, __file__, str(seconds), "alone", part]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
