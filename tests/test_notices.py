"""Notices of a night: what arrives, and that what does not arrive costs nothing."""

from __future__ import annotations

import base64
import http.server
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apprise
import pytest

from instruments.bench_tables import NotifyTable
from instruments.errors import ConfigError
from procedures.nights.night import Night
from procedures.nights.notices import Notices
from tests.nights import SHORT, begin, write_plan

ALL = ["start", "finish", "failure", "interlock", "sign_of_life"]


@pytest.fixture
def channel() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A loopback server that takes apprise's JSON; its URL, and what has arrived."""
    arrived: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            arrived.append(json.loads(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"json://127.0.0.1:{server.server_port}/", arrived
    server.shutdown()
    server.server_close()


def draw(path: Path) -> bool:
    path.write_bytes(b"a picture")
    return True


def test_what_is_asked_for_arrives_with_its_figure(
    channel: tuple[str, list[dict[str, Any]]],
) -> None:
    url, arrived = channel
    said: list[tuple[str, str]] = []
    notices = Notices(NotifyTable(urls=[url], on=["finish"]), lambda *line: said.append(line))
    notices.tell("start", "not asked for", "")
    notices.tell("finish", "done <b>", "5 of 5", draw)
    notices.tell("finish", "no figure", "", lambda path: 1 // 0 > 0)
    notices.close()
    assert [one["title"] for one in arrived] == ["done <b>", "no figure"]
    assert (arrived[0]["message"], arrived[0]["type"]) == ("5 of 5", "success")
    (figure,) = arrived[0]["attachments"]
    assert (figure["filename"], base64.b64decode(figure["base64"])) == ("figure.png", b"a picture")
    assert arrived[1]["attachments"] == []
    assert [text for _, text in said] == [
        "notice 'no figure': no figure (integer division or modulo by zero)"
    ]


def test_a_channel_that_is_away_or_raises_is_a_line_in_the_log(
    channel: tuple[str, list[dict[str, Any]]],
) -> None:
    @apprise.decorators.notify(on="breaks")  # type: ignore[untyped-decorator]
    def breaks(*_: Any, **__: Any) -> bool:
        raise RuntimeError("broken")

    url, arrived = channel
    said: list[str] = []
    urls = [url, "json://127.0.0.1:9/", "breaks://"]
    notices = Notices(NotifyTable(urls=urls, on=["failure"]), lambda _, text: said.append(text))
    notices.tell("failure", "camera", "gone")
    notices.close()
    assert [one["type"] for one in arrived] == ["failure"]
    assert len(said) == 1
    assert said[0].startswith("notice 'camera' did not reach everybody: ")


def test_a_channel_that_hangs_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"json://127.0.0.1:{silent.getsockname()[1]}/?rto=1&cto=1"
        notices = Notices(NotifyTable(urls=[url]), lambda _, text: said.append(text))
        begun = time.monotonic()
        for number in range(40):
            notices.tell("finish", f"number {number}", "")
        assert time.monotonic() - begun < 0.2
        notices.close(patience_s=0.3)
        assert time.monotonic() - begun < 1.0
    assert any("too many wait" in text for text in said)
    assert "given up" in said[-1]


def test_a_url_that_apprise_does_not_know_is_refused_before_anything_moves(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="carrier-pigeon") as caught:
        Notices(NotifyTable(urls=["carrier-pigeon://loft/secret"]), lambda *_: None)
    assert caught.value.key == "notify.urls.0"
    assert "secret" not in str(caught.value)
    bench = '[simulation]\n[notify]\nurls = ["carrier-pigeon://loft"]\n'
    night = Night.planned(write_plan(tmp_path, f"[night]\n[[step]]\n{SHORT}", bench), None, None)
    with pytest.raises(ConfigError, match="apprise does not know"):
        night.check(lambda _line: None)


def test_a_night_tells_of_its_beginning_its_failures_and_its_end(
    tmp_path: Path, channel: tuple[str, list[dict[str, Any]]]
) -> None:
    url, arrived = channel
    bench = f"""
    [simulation]
    [notify]
    urls = ["{url}"]
    on = {ALL}
    sign_of_life_h = 1.0
    """
    done = begin(
        tmp_path,
        f"""
        [night]
        name = "short"
        [[step]]
        name = "first"
        {SHORT}
        [[step]]
        name = "cold"
        measurement = "biexciton"
        when = "cryostat below 2 K"
        when_timeout_s = 9000
        """,
        bench,
    )
    assert done.exit_code == 1
    titles = [one["title"].removeprefix("gainbench: ") for one in arrived]
    assert titles[0] == "short begins"
    assert [title.split(":")[0] for title in titles[1:]] == [
        "short",
        "short",
        "failed",
        "short is over",
    ]
    assert "done" in titles[1]  # two signs of life in two and a half hours
    assert [one["type"] for one in arrived] == ["info", "info", "info", "failure", "failure"]
    assert 'waited 2.5 h in vain for "cryostat below 2 K"' in arrived[3]["message"]
    assert arrived[4]["attachments"][0]["mimetype"] == "image/png"
    assert "gainbench report" in arrived[4]["message"]
