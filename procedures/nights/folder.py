"""A night's folder: its plan, its bench file, its journal, its log and its run files.

The journal says what was done, a line of JSON an event, each forced to disk before the night goes
on: after a kill or a power cut it tells where the night stood. A line that was torn is no event.
One process has the folder at a time.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from instruments.config import BenchConfig, default, parse
from instruments.errors import BenchError
from procedures.nights.events import NightState, fold
from procedures.running import lock
from procedures.running.litter import sweep
from procedures.running.names import safe
from procedures.running.problems import DiskFull, WriteFailed
from procedures.running.remote import NIGHT
from procedures.running.rewrite import sync_folder
from procedures.running.room import need_space
from procedures.running.runfile import RunFile

PLAN, BENCH, JOURNAL, LOG, REPORT = (
    *("plan.toml", "bench.toml", NIGHT, "night.log", "report.html"),
)
_SMALL = 2**16


class NotANight(BenchError):
    """A folder is not that of a night."""

    exit_code = 2
    code = "night"


class NightFolder:
    """The folder of one night. Made by `create`, found again by `find`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, data_dir: Path, name: str, moment: float, plan: str, bench: str) -> NightFolder:
        """Make the folder of a new night, exclusively, with plan and bench file in it.

        Raises DiskFull or OSError; nothing is left behind then.
        """
        data_dir.mkdir(parents=True, exist_ok=True)
        need_space(data_dir / "night", len(plan) + len(bench) + _SMALL)
        stamp = datetime.fromtimestamp(moment).strftime("%Y%m%d-%H%M%S")
        for number in range(1, 10_000):
            more = f"-{number}" if number > 1 else ""
            path = data_dir / f"{stamp}_night_{safe(name)}{more}"
            try:
                path.mkdir()
            except FileExistsError:
                continue
            made = cls(path)
            made._write(PLAN, plan)
            made._write(BENCH, bench)
            made._write(JOURNAL, "")
            sync_folder(path)
            sync_folder(data_dir)
            return made
        raise FileExistsError(f"{data_dir}: ten thousand nights of the name {stamp} exist")

    @classmethod
    def find(cls, path: str | Path) -> NightFolder:
        """Return the night of a folder, or of a file in it; NotANight if there is none."""
        folder = Path(path)
        if folder.is_file():
            folder = folder.parent
        if not (folder / JOURNAL).is_file() or not (folder / PLAN).is_file():
            raise NotANight(
                f"{path} is not the folder of a night: it has no {JOURNAL} and {PLAN} in it"
            )
        return cls(folder)

    def _write(self, name: str, text: str) -> None:
        with open(self.path / name, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    @property
    def plan_text(self) -> str:
        """The plan, as it was when the night began."""
        return (self.path / PLAN).read_text(encoding="utf-8")

    @property
    def bench_text(self) -> str:
        """The bench file, as it was when the night began ("" for the simulated bench)."""
        return (self.path / BENCH).read_text(encoding="utf-8")

    def config(self, about: Mapping[str, Any]) -> BenchConfig:
        """Return the bench file that the night began with; `about` is that of its state."""
        file = about.get("bench_file") or None
        return parse(self.bench_text, file) if self.bench_text or file else default()

    @contextlib.contextmanager
    def held(self, more: Mapping[str, Any] | None = None) -> Iterator[None]:
        """Have the night alone, its lock saying `more`; FileInUse says who has it otherwise."""
        journal = self.path / JOURNAL
        held = lock.reserved(journal, more or {})
        try:
            held.__enter__()
        except lock.FileInUse:
            raise lock.FileInUse(
                f"the night {self.path} is being carried out by {lock.owner(journal)}"
            ) from None
        except OSError as error:
            raise WriteFailed(f"nothing can be written into {self.path} ({error})") from error
        try:
            yield
        finally:
            held.__exit__(None, None, None)

    @property
    def goes_on(self) -> bool:
        """Whether a living process carries it out now."""
        found = lock.owner(self.path / JOURNAL)
        return found is not None and found.alive

    # ---- the journal ----------------------------------------------------------------------------

    def events(self) -> list[dict[str, Any]]:
        """Return the events so far, oldest first."""
        found = []
        for line in (self.path / JOURNAL).read_bytes().split(b"\n"):
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict) and "event" in event:
                    found.append(event)
        return found

    def state(self) -> NightState:
        """Return what became of the night so far."""
        try:
            return fold(self.events())
        except (ValueError, KeyError, TypeError) as error:
            raise NotANight(f"{self.path / JOURNAL} is not a night's journal ({error})") from None

    def note(self, event: str, time_s: float, **about: Any) -> None:
        """Add an event; it is on the disk when this returns.

        Raises:
            DiskFull, WriteFailed: it could not be written.
        """
        text = json.dumps({"time_s": time_s, "event": event, **about}, default=str)
        journal = self.path / JOURNAL
        try:
            need_space(journal, _SMALL)
            with open(journal, "r+b") as file:  # not "a": a journal that is gone is not begun anew
                end = file.seek(0, os.SEEK_END)
                if end:
                    file.seek(end - 1)
                    if file.read(1) != b"\n":  # torn by a crash: what comes is a line of its own
                        text = "\n" + text
                file.write(text.encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except DiskFull:
            raise
        except (OSError, ValueError) as error:
            raise WriteFailed(f"{journal} cannot be written ({error})") from error

    # ---- the run files --------------------------------------------------------------------------

    def clear_orphans(self, known: Mapping[str, Any] | set[str]) -> list[Path]:
        """Delete run files that hold nothing and that the journal does not know; return them.

        Their night was killed between making the file and saying so.
        """
        found = []
        for path in sorted(self.path.glob("*.h5")):
            if path.name in known:
                continue
            with contextlib.suppress(BenchError, OSError):
                with RunFile(path) as run:
                    is_orphan = run.status == "queued" and not run.rows_complete
                if is_orphan:
                    path.unlink()
                    found.append(path)
        sweep(self.path)
        for path in self.path.glob(".queued-*.tmp"):  # nobody else makes files here
            with contextlib.suppress(OSError):
                path.unlink()
        return found
