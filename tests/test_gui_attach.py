"""The window watches a run that another process carries out, and can pause and abort it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from procedures.running.runfile import RunFile
from tests.windows import leave, make_window, said, until

NIGHT = """
import sys, time
from pathlib import Path
from instruments.config import parse
from instruments.spectrograph import Spectrograph
from procedures.session import Description, measure

original = Spectrograph.acquire
def acquire(self, frames=1):
    time.sleep(0.02)
    return original(self, frames)
Spectrograph.acquire = acquire
folder = Path(sys.argv[1])
text = (folder / "night.toml").read_text()
values = {"points": 300, "centre_wavelength_nm": 520.0, "shots_min": 20}
outcome = measure("power-sweep", values, parse(text, str(folder / "night.toml")),
                  Description("night film", "B2", "nobody"), None, print, quiet=True)
print(outcome.status)
"""


def test_a_run_of_another_process_is_watched(qapp: Any, tmp_path: Path) -> None:
    bench = '[bench]\nname = "night"\ndata_dir = "runs"\n[simulation]\nclock = "virtual"\n'
    (tmp_path / "night.toml").write_text(bench, encoding="utf-8")
    night = subprocess.Popen(
        [sys.executable, "-c", NIGHT, str(tmp_path)],
        cwd=Path(__file__).resolve().parent.parent,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        window = make_window(tmp_path, "[bench]\nname = 'day'\ndata_dir = 'runs'\n")
        until(lambda: window.watched is not None, "the run to be found", 60.0)
        watched = window.watched
        until(lambda: watched.data is not None and watched.data.rows_complete > 3, "records", 60.0)
        until(lambda: window.run_pane.view is not None, "the plots")
        before = watched.data.rows_complete
        until(lambda: watched.data.rows_complete > before + 3, "more records")
        now = watched.data.frozen()  # more come while this is looked at
        assert now.records("spectra").shape[0] == now.rows_complete
        assert window.watching.isVisible()
        assert "goes on when this window is closed" in window.run_pane.note.text()
        until(window.run_pane.pause_button.isEnabled, "Pause")
        window.run_pane.pause_button.click()
        until(lambda: watched.state == "paused", "the pause of the other process")
        window.run_pane.show_state()
        window.run_pane.pause_button.click()
        until(lambda: watched.state == "running", "the end of the pause")
        window.run_pane.abort_button.click()
        until(lambda: not watched.active, "the end of the run")
        until(lambda: said(window, "has ended: aborted"), "the log")
        answer, _ = night.communicate(timeout=60)
        assert answer.strip().endswith("aborted")
        with RunFile(watched.path) as run:
            assert (run.status, run.sample) == ("aborted", "night film")
            assert run.rows_complete == watched.data.rows_complete
        leave(window)
    finally:
        night.kill()
        night.wait(10)


def test_a_window_that_is_closed_leaves_the_run_alone(qapp: Any, tmp_path: Path) -> None:
    from gui.attach import WatchedRun

    class Remote:
        path = tmp_path / "some.h5"
        owner = "process 1 on here"
        asked: list[str] = []  # noqa: RUF012

        def follow(self, *, arrays: bool) -> Any:
            yield {"event": "status", "state": "running", "percent": 10.0, "left_s": 5.0}
            yield {"event": "progress", "percent": 20.0, "left_s": 4.0}
            while True:
                yield {"event": "progress", "percent": 30.0, "left_s": 3.0}

        def abort(self) -> None:
            self.asked.append("abort")

    watched = WatchedRun(Remote())
    watched.start()
    until(lambda: watched.percent == 30.0, "its progress")
    assert watched.left_s() == 3.0
    watched.leave()
    until(lambda: not watched._thread.is_alive(), "the watch to end")
    assert Remote.asked == []
