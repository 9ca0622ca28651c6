"""A night spoken to from another terminal while it waits: seen, paused, ended."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from procedures.cli import app
from procedures.nights.control import NightControl
from procedures.nights.night import Night, NightOutcome
from procedures.running.remote import find, find_nights
from tests.nights import SHORT, statuses, write_plan


class InThread:
    """A night in a thread of its own."""

    def __init__(self, folder: Path, text: str, bench: str, control: NightControl) -> None:
        night = Night.planned(write_plan(folder, text, bench), None, None)
        forecast = night.check(lambda _line: None)
        self.outcome: NightOutcome | None = None

        def work() -> None:
            self.outcome = night.carry_out(forecast, quiet=True, control=control)

        self.thread = threading.Thread(target=work)
        self.thread.start()

    def end(self) -> NightOutcome:
        self.thread.join(30.0)
        assert self.outcome is not None
        return self.outcome


def asked(folder: Path, *words: str) -> Any:
    done = CliRunner().invoke(app, [*words, "--json", "--bench", str(folder / "bench.toml")])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def until(what: Callable[[], Any]) -> Any:
    end = time.monotonic() + 20.0
    while not (found := what()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def test_a_night_that_waits_for_its_time_is_seen_and_ended(tmp_path: Path) -> None:
    text = f'[night]\nname = "film"\nstart = "2099-01-01 00:00"\n[[step]]\n{SHORT}'
    night = InThread(tmp_path, text, "[simulation]\nclock = 'wall'\n", NightControl())
    runs = tmp_path / "runs"
    until(lambda: find_nights(runs) and "doing" in find_nights(runs)[0].status())
    until(lambda: "waiting for" in asked(tmp_path, "status")["nights"][0]["doing"])
    assert find(runs) == []
    folder = asked(tmp_path, "abort")["file"]
    done = night.end()
    assert (done.exit_code, statuses(done)) == (130, ["waiting"])
    assert str(done.folder) == folder
    assert find_nights(runs) == []


def test_a_paused_night_begins_no_run_and_hands_on_what_is_asked(tmp_path: Path) -> None:
    control = NightControl()
    control.pause()
    out = tmp_path / "elsewhere"
    text = f"[night]\n[[step]]\n{SHORT}"
    plan = write_plan(tmp_path, text, "[simulation]\n")
    planned = Night.planned(plan, None, out)
    forecast = planned.check(lambda _line: None)
    ended: list[NightOutcome] = []
    thread = threading.Thread(
        target=lambda: ended.append(planned.carry_out(forecast, quiet=True, control=control))
    )
    thread.start()
    until(lambda: [one for one in asked(tmp_path, "status")["nights"] if one.get("doing")])
    until(lambda: asked(tmp_path, "status")["nights"][0]["doing"] == "paused")
    assert asked(tmp_path, "status")["nights"][0]["state"] == "paused"
    with control.of_run() as run:
        assert run.paused
        asked(tmp_path, "pause", "--end")
        assert not run.paused
    thread.join(30.0)
    assert statuses(ended[0]) == ["finished"]
