"""A simulated ICL (HORIBA's Instrument Control Layer) with an iHR320 and a Syncerity behind it.

For the simulated bench and for independent clients. JSON text in, JSON text out, on the bench's
clock; one state machine for all connections, as the real server is. In process a `Session` is the
client's end of a connection and lets the clock run to the reply; `serve` puts the same machine on a
websocket. The devices are in `icl_monochromator` and `icl_ccd`; what is told differently in
different places is a `Dialect`. Not played: binary messages, SpectrAcq3 (none is found).
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections import deque
from collections.abc import Mapping
from typing import Any, ClassVar

from instruments.clock import Clock
from sim_drivers.devices.icl_ccd import SimulatedSyncerity
from sim_drivers.devices.icl_dialect import Answer, Dialect, Refusal
from sim_drivers.devices.icl_monochromator import (
    FOCAL_LENGTH_MM,
    HALF_ANGLE_DEG,
    SimulatedIHR320,
)
from sim_drivers.link import Served

_AWAY_S = 10.0
_DISCOVER_S = 1.5
_LATE_S = 600.0
_POLL_S = 0.02


class Session:
    """A connection to the simulated ICL: the client's end of it, in process.

    Messages are queued for the moment at which they reach the client; `receive` lets the clock run
    to it. Raises ConnectionError once the ICL has dropped the connection.
    """

    def __init__(self, icl: SimulatedICL) -> None:
        self._icl = icl
        self._outgoing: deque[tuple[float, str]] = deque()
        self.dropped = False

    def post(self, text: str, after_s: float) -> None:
        """Have a message reach the client, in the order of posting."""
        moment = self._icl.clock.now() + after_s
        if self._outgoing:
            moment = max(moment, self._outgoing[-1][0])
        self._outgoing.append((moment, text))

    def due(self) -> float | None:
        """Return when the next message reaches the client, None if none is on its way."""
        return self._outgoing[0][0] if self._outgoing else None

    def take(self) -> list[str]:
        """Return the messages that have reached the client by now."""
        now, ready = self._icl.clock.now(), []
        while self._outgoing and self._outgoing[0][0] <= now:
            ready.append(self._outgoing.popleft()[1])
        return ready

    def send(self, text: str) -> None:
        """Send a message to the ICL."""
        with self._icl.device_lock:
            self._check()
            self._icl.receive(self, text)

    def receive(self, timeout_s: float) -> str:
        """Return the next message; TimeoutError if none comes in time."""
        clock = self._icl.clock
        deadline = clock.now() + timeout_s
        while True:
            with self._icl.device_lock:
                self._check()
                due = self.due()
                if due is not None and due <= clock.now():
                    return self._outgoing.popleft()[1]
            if due is None or due > deadline:
                clock.sleep_until(deadline)
                with self._icl.device_lock:
                    self._check()
                raise TimeoutError
            clock.sleep_until(due)

    def close(self) -> None:
        """End the connection; callable more than once."""
        self.dropped = True
        self._icl.forget(self)

    def _check(self) -> None:
        if self.dropped:
            raise ConnectionResetError("the ICL has closed the connection")


class SimulatedICL:
    """The ICL and its devices.

    Args:
        clock: the bench's clock. world: what the devices act on. seed: of all noise.
        dialect: which reading of the protocol is played.
        mono, ccd: options of the simulated devices.
        alias: what the ICL calls itself.

    Attributes:
        mono, ccd: the devices. focal_length_mm, half_angle_deg: the monochromator's optics.
    """

    SHARED: ClassVar[bool] = True
    FAULTS: ClassVar[tuple[str, ...]] = (
        *("silence", "timeout", "garbage", "disconnect", "identity"),
        *("stuck", "saturate", "restart"),
    )
    focal_length_mm = FOCAL_LENGTH_MM
    half_angle_deg = HALF_ANGLE_DEG

    def __init__(
        self,
        clock: Clock,
        world: Any,
        *,
        seed: int = 0,
        dialect: Dialect | None = None,
        mono: Mapping[str, Any] | None = None,
        ccd: Mapping[str, Any] | None = None,
        alias: str = "ICL",
    ) -> None:
        self.clock = clock
        self.dialect = dialect or Dialect()
        self.device_lock = threading.RLock()
        common: dict[str, Any] = {"seed": seed, "dialect": self.dialect}
        self.mono = SimulatedIHR320(clock, world, **common, **(mono or {}))
        self.ccd = SimulatedSyncerity(clock, world, **common, **(ccd or {}))
        self.alias = alias
        self._faults: set[str] = set()
        self._found: dict[str, bool] = {"mono": False, "ccd": False}
        self._away_until = 0.0
        self._sessions: list[Session] = []
        self._link: Any = None

    # ---- connections -------------------------------------------------------------------------

    def connect(self) -> Session:
        """Return a new connection; ConnectionRefusedError while the ICL is not there."""
        with self.device_lock:
            if not self.reachable:
                raise ConnectionRefusedError("no ICL is listening there")
            session = Session(self)
            self._sessions.append(session)
            return session

    @property
    def reachable(self) -> bool:
        """Whether the ICL takes connections now."""
        return "disconnect" not in self._faults and self.clock.now() >= self._away_until

    def forget(self, session: Session) -> None:
        """Let a connection go."""
        with self.device_lock, contextlib.suppress(ValueError):
            self._sessions.remove(session)

    def drop(self) -> None:
        """Break all connections."""
        with self.device_lock:
            for session in self._sessions:
                session.dropped = True
            self._sessions.clear()

    def restart(self) -> None:
        """Restart the ICL: connections break, opened devices are forgotten, 10 s until it is back.

        The monochromator keeps its initialisation, the camera stops acquiring.
        """
        with self.device_lock:
            self.drop()
            self._away_until = self.clock.now() + _AWAY_S
            self._found = dict.fromkeys(self._found, False)
            self.mono.open = self.ccd.open = False

    def power_cycle(self) -> None:
        """Switch the devices off and on as well: the drive is no longer initialised."""
        with self.device_lock:
            self.restart()
            self.mono.power_up(initialized=False)

    def fault(self, kind: str, active: bool = True) -> None:
        """Let something be wrong from now on, or no longer; kinds are in FAULTS.

        silence: nothing is answered; timeout: everything far too late; garbage: replies are cut;
        disconnect: no connection; identity: something else answers; stuck: nothing moves, no frame
        is ever complete; saturate: every pixel is full; restart: see `restart`.
        """
        if kind not in self.FAULTS:
            raise ValueError(f"{kind!r} is not played by an ICL; allowed: {', '.join(self.FAULTS)}")
        with self.device_lock:
            if kind == "restart":
                if active:
                    self.restart()
                return
            if active:
                self._faults.add(kind)
            else:
                self._faults.discard(kind)
            self.mono.stuck = self.ccd.stuck = "stuck" in self._faults
            self.ccd.chip.saturate = "saturate" in self._faults
            if kind == "disconnect" and active:
                self.drop()

    # ---- the bench's side --------------------------------------------------------------------

    def settle(self, now: float) -> None:
        """Bring what light sees up to date."""
        self.mono.settle(now)
        self.ccd.settle(now)

    def state(self) -> dict[str, float]:
        """Return what a resumed run must find again."""
        return self.ccd.state()

    def restore(self, state: dict[str, float]) -> None:
        """Take back what `state` returned."""
        self.ccd.restore(state)

    def link(self, driver: Any) -> Any:
        """Return the in-process link for drivers like the class `driver`: one for all of them."""
        if self._link is None:
            self._link = driver.link_on(self.connect, self.clock)
        return self._link

    def serve(self, host: str = "127.0.0.1", on_tcp: bool = True, port: int = 0) -> Served:
        """Serve on a websocket (port 0: a free one), until `close` of what is returned."""
        del on_tcp  # there is no other way
        return _serve(self, host, port)

    # ---- requests ----------------------------------------------------------------------------

    def receive(self, session: Session, text: str) -> None:
        """Take a message of a client, post the answer."""
        try:
            request = json.loads(text)
            if not isinstance(request, dict):
                raise ValueError("a request is an object")
        except ValueError:
            self._post(session, {"id": 0, "command": "", "errors": [Refusal(-1).entry]}, 0.001)
            return
        command = str(request.get("command", ""))
        reply: dict[str, Any] = {"id": request.get("id", 0), "command": self._echo(command)}
        parameters = request.get("parameters")
        try:
            answer = self._do(command, parameters if isinstance(parameters, dict) else {})
            results, errors, after_s = answer.results, [], answer.after_s
        except Refusal as refusal:
            results, errors, after_s = {}, [refusal.entry], 0.001
        if results or not self.dialect.bare_replies:
            reply["results"] = results
        if errors or not self.dialect.bare_replies:
            reply["errors"] = errors
        self._post(session, reply, after_s)
        if command == "icl_shutdown":
            self.restart()

    def _post(self, session: Session, reply: dict[str, Any], after_s: float) -> None:
        if "silence" in self._faults:
            return
        text = json.dumps(reply)
        if "garbage" in self._faults:
            text = text[: max(len(text) // 2, 1)]
        session.post(text, after_s + (_LATE_S if "timeout" in self._faults else 0.0))

    def _echo(self, command: str) -> str:
        return self.dialect.echo_of_roi if command == "ccd_setRoi" else command

    def _do(self, command: str, parameters: Mapping[str, Any]) -> Answer:
        group, _, verb = command.partition("_")
        if group == "icl":
            return self._icl(verb, parameters)
        if group == "saq3":
            known: dict[str, dict[str, Any]] = {
                "discover": {"count": 0},
                "list": {"devices": []},
                "listCount": {"count": 0},
            }
            if verb not in known:
                raise Refusal(-910)
            return Answer(known[verb], 0.2)
        if group not in self._found:
            raise Refusal(-1)
        device: SimulatedIHR320 | SimulatedSyncerity = self.mono if group == "mono" else self.ccd
        if verb == "discover":
            self._found[group] = True
            return Answer({"count": 1}, _DISCOVER_S)
        if verb == "listCount":
            return Answer({"count": int(self._found[group])})
        if verb == "list":
            return Answer({"devices": [self._entry(device)] if self._found[group] else []})
        index = parameters.get("index")
        if index is None:
            raise Refusal(-521 if group == "mono" else -324)
        if not self._found[group] or isinstance(index, bool) or index != 0:
            raise Refusal(-508 if group == "mono" else -307)
        if group == "ccd" and verb in ("setCenterWavelength", "calculateRangeModePositions"):
            now = self.clock.now()
            self.ccd.grating(self.mono.gratings[self.mono.slot(now)][0] or 1200.0)
        answer = device.handle(verb, parameters)
        if verb == "getConfig" and "identity" in self._faults:
            answer.results["configuration"].update(serialNumber="Camera SN:  999999")
        return answer

    def _entry(self, device: SimulatedIHR320 | SimulatedSyncerity) -> dict[str, Any]:
        entry = {**device.listed(), "index": 0}
        if "identity" in self._faults:
            entry["serialNumber"] = "999999"
        return entry

    def _icl(self, verb: str, parameters: Mapping[str, Any]) -> Answer:
        if verb == "info":
            other = "identity" in self._faults
            return Answer(
                {
                    "nodeAlias": "PLC" if other else self.alias,
                    "nodeApiVersion": 300,
                    "nodeBuilt": "Dec  5 2023-13:17:00",
                    "nodeDescription": "Line controller" if other else "Instrument Control Library",
                    "nodeId": 1,
                    "nodeVersion": "2.0.0.108.d762232a",
                }
            )
        if verb == "binMode":
            if parameters.get("mode") not in ("all", "none"):
                raise Refusal(-3)
            return Answer({})
        if verb == "shutdown":
            return Answer({"state": "Shutting down"})
        raise Refusal(-2)


def _serve(icl: SimulatedICL, host: str, port: int) -> Served:
    """Serve the state machine on a websocket; each client is a thread of the websocket server."""
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.server import ServerConnection, serve

    quiet = logging.getLogger("sim_drivers.icl")
    quiet.setLevel(logging.CRITICAL)  # clients come and go, and are refused, on purpose
    closing = threading.Event()

    def pump(connection: ServerConnection, session: Session) -> None:
        while not closing.is_set() and threading.main_thread().is_alive():
            try:
                message = connection.recv(timeout=_patience_s(icl, session))
            except TimeoutError:
                message = None
            with icl.device_lock:
                if isinstance(message, str) and not session.dropped:
                    icl.receive(session, message)
                ready, dropped = session.take(), session.dropped
            for text in ready:
                connection.send(text)
            if dropped:
                return

    def handle(connection: ServerConnection) -> None:
        try:
            session = icl.connect()
        except ConnectionRefusedError:
            return
        try:
            with contextlib.suppress(ConnectionClosed):
                pump(connection, session)
        finally:
            session.close()

    def gate(connection: ServerConnection, _request: Any) -> Any:
        return None if icl.reachable else connection.respond(503, "the ICL is not there\n")

    server = serve(
        handle,
        host,
        port,
        process_request=gate,
        compression=None,
        ping_interval=None,
        close_timeout=0.5,
        max_size=None,
        logger=quiet,
    )
    number = int(server.socket.getsockname()[1])
    served = Served(f"ws://{host}:{number}", {"host": host, "port": number})
    served._cleanup.callback(server.shutdown)
    served._cleanup.callback(closing.set)
    threading.Thread(target=server.serve_forever, name=f"icl:{number}", daemon=True).start()
    return served


def _patience_s(icl: SimulatedICL, session: Session) -> float:
    """Return how long to wait for the client: until there is something to say."""
    with icl.device_lock:
        due = session.due()
    if due is None:
        return _POLL_S
    return min(max(due - icl.clock.now(), 2e-4), _POLL_S)
