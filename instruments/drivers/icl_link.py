"""The link to HORIBA's ICL: JSON requests over a websocket, each reply matched to its request.

For the ICL drivers (`icl_monochromator`, `icl_camera`), which share one link when their resource is
the same. A request carries a number and only the reply with that number is believed: late, doubled
and foreign replies are dropped. Knows no device: what is open, and what an ICL that was restarted
has forgotten, is the drivers' to put right (`generation` tells them that it was).

A text message of a websocket arrives whole or not at all, so that nothing inside a message is asked
twice; what can go wrong is the message as a whole.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import threading
from collections.abc import Callable
from typing import Any, Protocol

from instruments.clock import Clock, WallClock
from instruments.errors import BadReply, ConfigError, DeviceFault, NoReply, NotReady, WrongIdentity

log = logging.getLogger(__name__)

SCHEME = "ws://"
REPLY_S = 5.0
"""How long an ordinary reply may take (the time-out of the vendor's own package)."""
_OPEN_S = 2.0
_HELLO_S = 2.0
_AFTER_GARBAGE_S = 0.5  # how long a reply may still follow something that is no reply
_RETRY_S = 0.5
_LONGEST_SHOWN = 80


class Channel(Protocol):
    """Text messages to and fro; what a websocket, or a simulated ICL in process, offers.

    Raises ConnectionError when the other side is gone, TimeoutError when no message came.
    """

    def send(self, text: str) -> None:
        """Send a message."""

    def receive(self, timeout_s: float) -> str:
        """Return the next message."""

    def close(self) -> None:
        """Let go; callable more than once."""


class LinkLost(NoReply):
    """The connection to the ICL broke: whether the request was carried out is not known."""


class Refused(DeviceFault):
    """The ICL answered a request with an error; `number` is its code, 0 if it names none."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number


class IclLink:
    """A connection to the ICL that several drivers may share.

    Args:
        open_channel: opens a connection, raises OSError if there is none to be had.
        clock: the clock of time-outs; the wall clock unless the ICL is simulated in process.
        name: of the ICL, in messages to the operator.

    Attributes:
        lock: held for each request; a driver may hold it for a sequence.
        generation: how many connections there have been; 0 before the first.
        opened: devices ("mono", 0) that drivers have opened in this generation.
        info: what the ICL says of itself.
    """

    def __init__(
        self, open_channel: Callable[[], Channel], clock: Clock, name: str = "the ICL"
    ) -> None:
        self.lock = threading.RLock()
        self.clock = clock
        self.name = name
        self.generation = 0
        self.opened: set[tuple[str, int]] = set()
        self.info: dict[str, Any] = {}
        self._open_channel = open_channel
        self._channel: Channel | None = None
        self._numbers = itertools.count(1)
        self._users: set[int] = set()

    # ---- the connection ----------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as known."""
        return self._channel is not None

    def connect(self, patience_s: float = 0.0) -> int:
        """Connect unless connected, return the generation.

        Args:
            patience_s: for how long to try again, while the ICL is starting.

        Raises:
            NoReply: nothing answers there. WrongIdentity: something else than an ICL does.
        """
        with self.lock:
            deadline = self.clock.now() + patience_s
            while self._channel is None:
                try:
                    self._channel = self._open_channel()
                    self._greet()
                except (OSError, NoReply, BadReply) as error:
                    self._drop()
                    if self.clock.now() >= deadline:
                        raise NoReply(
                            f"{self.name}: no connection ({error}); is icl.exe running there, and "
                            "its licence valid?"
                        ) from error
                    self.clock.sleep(_RETRY_S)
                except BaseException:
                    self._drop()
                    raise
                else:
                    self.generation += 1
                    self.opened.clear()
            return self.generation

    def _greet(self) -> None:
        """Make sure that an ICL answers, and that it keeps to text."""
        try:
            self.info = self._exchange("icl_info", None, _HELLO_S)
        except Refused as error:
            raise WrongIdentity(
                f"{self.name}: what answers there is no ICL ({error}); check host and port"
            ) from error
        said = f"{self.info.get('nodeAlias', '')} {self.info.get('nodeDescription', '')}"
        if "ICL" not in said and "Instrument Control" not in said:
            raise WrongIdentity(
                f"{self.name}: {said.strip() or 'something without a name'!r} answers there, "
                "expected is HORIBA's ICL; check host and port"
            )
        try:
            self._exchange("icl_binMode", {"mode": "none"}, _HELLO_S)
        except Refused as error:
            log.info("%s: binary messages cannot be switched off: %s", self.name, error)

    def reopen(self) -> None:
        """Drop the connection; the next request opens another."""
        with self.lock:
            self._drop()

    def close(self) -> None:
        """Release the connection; callable more than once."""
        with self.lock:
            self._users.clear()
            self._drop()

    def attach(self, user: object) -> None:
        """Count a driver that uses the link."""
        with self.lock:
            self._users.add(id(user))

    def release(self, user: object) -> None:
        """Forget a driver; the last one closes the connection."""
        with self.lock:
            self._users.discard(id(user))
            if not self._users:
                self._drop()

    def _drop(self) -> None:
        channel, self._channel = self._channel, None
        self.opened.clear()
        if channel is not None:
            with contextlib.suppress(Exception):
                channel.close()

    # ---- requests ----------------------------------------------------------------------------

    def request(
        self,
        command: str,
        parameters: dict[str, Any] | None = None,
        timeout_s: float = REPLY_S,
    ) -> dict[str, Any]:
        """Send a command, return the results of its reply ({} if it has none). Sent once only.

        Raises:
            LinkLost: the connection is gone; whether the command arrived is not known.
            NoReply: no reply in time. BadReply: what came is no reply.
            Refused: the ICL answered with an error.
        """
        with self.lock:
            if self._channel is None:
                raise LinkLost(f"{self.name}: there is no connection")
            try:
                return self._exchange(command, parameters, timeout_s)
            except LinkLost:
                self._drop()
                raise

    def _exchange(
        self, command: str, parameters: dict[str, Any] | None, timeout_s: float
    ) -> dict[str, Any]:
        channel = self._channel
        assert channel is not None
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "command": command}
        if parameters is not None:
            message["parameters"] = parameters
        try:
            channel.send(json.dumps(message, allow_nan=False))
            reply = self._await(channel, number, command, timeout_s)
        except ConnectionError as error:
            raise LinkLost(
                f"{self.name}: the connection broke during {command} ({error})"
            ) from error
        except TimeoutError:
            raise NoReply(f"{self.name}: no reply to {command} within {timeout_s:g} s") from None
        return self._results(reply, command)

    def _await(
        self, channel: Channel, number: int, command: str, timeout_s: float
    ) -> dict[str, Any]:
        """Return the reply with our number, dropping all others."""
        deadline = self.clock.now() + timeout_s
        garbage: BadReply | None = None
        while True:
            remaining = deadline - self.clock.now()
            if remaining <= 0.0:
                raise garbage or TimeoutError
            try:
                text = channel.receive(remaining)
            except TimeoutError:
                if garbage is not None:
                    raise garbage from None
                raise
            try:
                reply = _decode(text)
            except BadReply as error:
                # Perhaps ours, perhaps not; ours may still follow, but not for long.
                garbage = BadReply(f"{self.name}: after {command}: {error}")
                deadline = min(deadline, self.clock.now() + _AFTER_GARBAGE_S)
                continue
            if type(reply.get("id")) is int and reply["id"] == number:
                return reply
            log.info("%s: dropped a reply to request %s", self.name, reply.get("id"))

    def _results(self, reply: dict[str, Any], command: str) -> dict[str, Any]:
        errors = reply.get("errors")
        if errors is None:
            errors = []
        results = reply.get("results")
        if results is None:
            results = {}
        if not isinstance(errors, list) or not isinstance(results, dict):
            raise BadReply(f"{self.name}: the reply to {command} is not built as the ICL's are")
        if errors:
            raise _refused(self.name, command, errors)
        return results


def _refused(name: str, command: str, errors: list[Any]) -> Refused:
    """Return the error of a reply; `errors` are texts `[E];code;words`."""
    number, words = 0, []
    for entry in errors:
        kind, _, rest = str(entry).partition(";")
        code, _, text = rest.partition(";")
        try:
            value = int(code)
        except ValueError:
            words.append(str(entry)[:_LONGEST_SHOWN])
            continue
        number = number or value
        mark = "" if kind == "[E]" else f" {kind}"
        words.append(f"{text.strip()[:_LONGEST_SHOWN] or 'no words'} ({value}{mark})")
    return Refused(f"{name}: {command}: {'; '.join(words)}", number)


def _decode(text: object) -> dict[str, Any]:
    """Return a JSON object; BadReply for what is none, holds NaN, or says a thing twice."""
    shown = repr(text)[:_LONGEST_SHOWN]
    if not isinstance(text, str):
        raise BadReply(f"{shown} is not a text message")
    try:
        reply = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_doubles)
    except (ValueError, RecursionError) as error:
        raise BadReply(f"{shown} is not a message of the ICL ({error})") from None
    if not isinstance(reply, dict):
        raise BadReply(f"{shown} is not a message of the ICL")
    return reply


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number")


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


# ---- a real websocket -------------------------------------------------------------------------


def open_icl(resource: str) -> IclLink:
    """Return a link to the ICL at `ws://host:port`; it connects with the first driver.

    Raises:
        ConfigError: the resource is not written so.
    """
    host, _, port = resource.removeprefix(SCHEME).rstrip("/").rpartition(":")
    if not resource.startswith(SCHEME) or not host or not port.isdecimal():
        raise ConfigError(
            f"{resource!r} was given, an ICL is named ws://host:port (ws://127.0.0.1:25010)",
            key="resource",
        )
    return IclLink(lambda: WebsocketChannel(resource), WallClock(), f"ICL at {resource}")


class WebsocketChannel:
    """A websocket as a Channel."""

    def __init__(self, resource: str) -> None:
        try:
            from websockets.exceptions import WebSocketException
            from websockets.sync.client import connect
        except ImportError:
            raise NotReady(
                "the package websockets (15 or later) is missing; install it with: "
                "pip install websockets"
            ) from None
        self._broken: type[Exception] = WebSocketException
        self._stack = contextlib.ExitStack()
        try:
            # A proxy of the computer is not for an ICL; pings would break the connection while
            # the ICL is busy with a slow device; an image is larger than the usual limit.
            self._socket = self._stack.enter_context(
                connect(
                    resource,
                    proxy=None,
                    compression=None,
                    ping_interval=None,
                    open_timeout=_OPEN_S,
                    close_timeout=0.5,
                    max_size=None,
                )
            )
        except WebSocketException as error:
            raise ConnectionError(str(error)) from error

    def send(self, text: str) -> None:
        """See Channel."""
        try:
            self._socket.send(text)
        except self._broken as error:
            raise ConnectionError(str(error)) from error

    def receive(self, timeout_s: float) -> str:
        """See Channel; binary messages (logs, announcements) are passed over."""
        clock = WallClock()
        deadline = clock.now() + timeout_s
        while True:
            try:
                message = self._socket.recv(timeout=max(deadline - clock.now(), 0.0))
            except self._broken as error:
                raise ConnectionError(str(error)) from error
            if isinstance(message, str):
                return message

    def close(self) -> None:
        """See Channel."""
        self._stack.close()
