"""Notices of a night: sent through apprise to mail, chat or telephone, as [notify] asks.

A notice never costs the run anything: a thread of its own sends what waits in a short list, each
with a time-out, and what cannot be sent is a line in the log. For the night and the queue.
"""

from __future__ import annotations

import logging
import queue
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instruments.bench_tables import NotifyTable
from instruments.errors import ConfigError

_MOST_WAITING = 32
_KIND = {"failure": "failure", "interlock": "failure", "finish": "success"}
SEND_TIMEOUT_S = 20.0

Draw = Callable[[Path], bool]
"""Draws a figure into a PNG file; returns whether there is one."""


@dataclass(frozen=True)
class _Notice:
    event: str
    title: str
    body: str
    kind: str
    draw: Draw | None


class Notices:
    """Sends notices in a thread of its own; `close` waits for the last ones, not for ever.

    Args:
        table: [notify] of the bench file. report: told (level, text) what could not be sent; it is
            called in the sending thread.

    Raises:
        ConfigError: a URL is not one that apprise knows.
    """

    def __init__(self, table: NotifyTable, report: Callable[[str, str], None]) -> None:
        self.table = table
        self._report = report
        self._waiting: queue.Queue[_Notice | None] = queue.Queue(_MOST_WAITING)
        self._thread: threading.Thread | None = None
        self._channels: Any = None
        if table.urls:
            self._channels = channels(table)
            self._thread = threading.Thread(target=self._send_all, name="notices", daemon=True)
            self._thread.start()

    def tell(
        self, event: str, title: str, body: str, draw: Draw | None = None, *, good: bool = True
    ) -> None:
        """Have a notice sent, if `[notify] on` names its event; returns at once.

        draw: makes the figure to attach, in the sending thread. good: whether it is good news.
        """
        if self._thread is None or event not in self.table.on:
            return
        try:
            kind = _KIND.get(event, "info") if good else "failure"
            self._waiting.put_nowait(_Notice(event, title, body, kind, draw))
        except queue.Full:
            self._report("warning", f"notice {title!r} was not sent: too many wait already")

    def close(self, patience_s: float = 3 * SEND_TIMEOUT_S) -> None:
        """Send what waits, and end; what takes longer than `patience_s` is given up."""
        if self._thread is None:
            return
        thread, self._thread = self._thread, None
        try:
            self._waiting.put(None, timeout=patience_s)
        except queue.Full:
            self._report("warning", "notices still wait and are given up")
            return
        thread.join(patience_s)
        if thread.is_alive():
            self._report("warning", "a notice is still being sent and is given up")

    def _send_all(self) -> None:
        while (notice := self._waiting.get()) is not None:
            try:
                self._send(notice)
            except Exception as error:  # whatever a channel may raise
                self._report("warning", f"notice {notice.title!r} was not sent: {error}")

    def _send(self, notice: _Notice) -> None:
        with tempfile.TemporaryDirectory(prefix="gainbench-notice-") as folder:
            sent = self._channels.notify(
                body=notice.body or notice.title,  # apprise sends nothing without a body
                title=notice.title,
                notify_type=notice.kind,
                attach=self._figure(notice, Path(folder) / "figure.png"),
                timeout=SEND_TIMEOUT_S,
            )
        if not sent:
            said = [str(entry.message) for entry in sent.logs()] if hasattr(sent, "logs") else []
            why = "; ".join(said[-3:]) or "a channel did not take it"
            self._report("warning", f"notice {notice.title!r} did not reach everybody: {why}")

    def _figure(self, notice: _Notice, path: Path) -> str | None:
        """Return the figure's file; a notice without its figure is better than none."""
        try:
            drawn = notice.draw is not None and notice.draw(path)
        except Exception as error:
            self._report("warning", f"notice {notice.title!r}: no figure ({error})")
            return None
        return str(path) if drawn else None


def channels(table: NotifyTable) -> Any:
    """Return apprise with the URLs of [notify]; ConfigError for one that it does not know."""
    import apprise

    logger = logging.getLogger("apprise")  # what it has to say is in its answers, too
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    found = apprise.Apprise()
    for number, url in enumerate(table.urls):
        if not found.add(url):
            kind = url.partition("://")[0] if "://" in url else url
            raise ConfigError(
                f"{kind}://...: apprise does not know such a URL, or it is incomplete; see "
                "https://appriseit.com/services/",
                key=f"notify.urls.{number}",
            )
    return found
