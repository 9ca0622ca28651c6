"""The status page: a night on a phone, through a tunnel. Read-only, on loopback.

For `gainbench night --serve`. There is nothing to send to it: every request but GET is refused, and
so is one whose Host is not this computer's own (a web page elsewhere could ask in its name). It
runs in threads of its own and reads what the night's view tells; a picture is drawn at most every
few seconds, whoever asks.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from instruments.errors import ConfigError
from procedures.nights.telling import duration
from procedures.nights.view import NightView

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
_OWN_NAMES = ("127.0.0.1", "localhost", "[::1]")
_DRAW_EVERY_S = 3.0
_LINES = 40
_PATIENCE_S = 10.0
_MOST_AT_ONCE = 16
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_MARKS = {"finished": "✓", "failed": "✗", "aborted": "✗", "running": "▶", "waiting": "·"}


@contextlib.contextmanager
def served(view: NightView, port: int, report: Callable[[str], None]) -> Iterator[int]:
    """Serve the page inside the block; give the port (`port` 0: any that is free).

    Raises:
        ConfigError: the port is in use.
    """
    try:
        server = _Server((HOST, port), _Handler)
    except OSError as error:
        raise ConfigError(
            f"port {port} of {HOST} cannot be used ({error}); choose another",
            key="--port",
        ) from error
    server.page = _Page(view)
    thread = threading.Thread(target=server.serve_forever, name="status page", daemon=True)
    thread.start()
    report(f"status page: http://{HOST}:{server.server_port}/")
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


class _Page:
    """What is shown: the page, its figure, and the same as JSON."""

    def __init__(self, view: NightView) -> None:
        import jinja2

        folder = jinja2.FileSystemLoader(Path(__file__).parent)
        self._template = jinja2.Environment(loader=folder, autoescape=True).get_template(
            "page.html"
        )
        self._view = view
        self._drawing = threading.Lock()
        self._figure = b""
        self._drawn_s = float("-inf")
        self._drawn_of: Any = None

    def html(self) -> bytes:
        live = self._view.live
        return self._template.render(
            night=self._view.snapshot(),
            lines=self._view.lines(_LINES),
            figure=live.count if live is not None else 0,
            duration=duration,
            marks=_MARKS,
        ).encode()

    def json(self) -> bytes:
        told = {**self._view.snapshot(), "log": self._view.lines(_LINES)}
        return json.dumps(told, default=str).encode()

    def figure(self) -> bytes:
        """Return the picture of the run that goes on; b"" if there is none."""
        with self._drawing:
            live = self._view.live
            if live is None:
                return b""
            state = (live, live.count)
            is_old = time.monotonic() - self._drawn_s >= _DRAW_EVERY_S
            if state != self._drawn_of and (is_old or self._drawn_of is None):
                self._figure = live.png()
                self._drawn_of, self._drawn_s = state, time.monotonic()
            return self._figure


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = os.name != "nt"  # there it would let another program take the port
    page: _Page

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._room = threading.BoundedSemaphore(_MOST_AT_ONCE)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a request of the status page failed", exc_info=True)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server
    timeout = _PATIENCE_S
    server_version = "gainbench"
    sys_version = ""

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _refuse(self) -> None:
        self._send(405, "text/plain", b"this page can only be read\n", more={"Allow": "GET, HEAD"})

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = _refuse

    def _answer(self, with_body: bool) -> None:
        if _name_of(self.headers.get("Host", "")) not in _OWN_NAMES:
            self._send(403, "text/plain", b"ask for localhost or 127.0.0.1\n", with_body)
            return
        page = self.server.page
        path = self.path.partition("?")[0]
        if path == "/":
            self._send(200, "text/html; charset=utf-8", page.html(), with_body)
        elif path == "/status.json":
            self._send(200, "application/json", page.json(), with_body)
        elif path == "/figure.png" and (figure := page.figure()):
            self._send(200, "image/png", figure, with_body)
        else:
            self._send(404, "text/plain", b"there is nothing here\n", with_body)

    def _send(
        self,
        code: int,
        kind: str,
        body: bytes,
        with_body: bool = True,
        more: dict[str, str] | None = None,
    ) -> None:
        self.send_response(code)
        for name, value in {**_HEADERS, **(more or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the terminal is the night's."""


def _name_of(host: str) -> str:
    """Return the name in a Host header, without its port: a tunnel may have another."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[: host.find("]") + 1]
    return host.partition(":")[0]
