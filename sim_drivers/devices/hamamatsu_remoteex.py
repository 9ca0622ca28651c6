"""A simulated Hamamatsu streak camera behind HPD-TA and its RemoteEx server, byte for byte.

For the simulated bench and for clients on two TCP ports (commands, and data one above). Here is
the grammar, `Name(arguments)` CR answered by `code,Name,values` CR with asynchronous lines between,
and the application around the devices; what is attached, how it acquires, its images and its
sockets have files of their own (`remoteex_*`), and what the light does is in
`sim_drivers.streak_tube`. Everything takes its time on the bench's clock. Sequences only answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from instruments.clock import Clock
from sim_drivers.devices.remoteex_acquisition import Acquirer
from sim_drivers.devices.remoteex_images import ImageStore
from sim_drivers.devices.remoteex_parameters import Answer, RemoteExError
from sim_drivers.devices.remoteex_serving import serve_two
from sim_drivers.devices.remoteex_units import VERBS, Units
from sim_drivers.heard import Heard
from sim_drivers.link import InProcessAdapter, Served, WireDevice
from sim_drivers.streak_tube import StreakTube, TubeParameters

_CALL = re.compile(r"\s*([A-Za-z]\w*)\s*\((.*)\)\s*", re.DOTALL)
_NAME = re.compile(r"\s*([A-Za-z]\w*)")
_BEFORE_START = ("appstart", "appinfo", "append", "stop", "shutdown")
_ABOUT = {
    "version": "9.5 pf4",
    "date": "12.03.2019",
    "directory": "C:\\Program Files\\HPDTA95\\",
    "title": "HPD-TA",
    "titlelong": "High Performance Digital Temporal Analyzer",
    "progdatadir": "C:\\ProgramData\\Hamamatsu\\HPDTA\\",
}


@dataclass(frozen=True)
class TwoLinks:
    """The two connections of a client in process: `command` and `data`."""

    command: InProcessAdapter
    data: InProcessAdapter

    @property
    def link_lock(self) -> Any:
        """The lock of the device behind both."""
        return self.command.link_lock

    def close(self) -> None:
        """Nothing is held open in process."""


class _Socket(WireDevice):
    """What both sockets have in common: a greeting."""

    GREETING = b""

    def opened(self) -> None:
        """See Wire; a new host is greeted."""
        super().opened()
        self.send(self.GREETING)


class DataSocket(_Socket):
    """The second socket: what is sent there has no header, and nobody listens."""

    GREETING = b"RemoteEx Data Ready\r"

    def __init__(self, owner: WireDevice) -> None:
        self.owner = owner
        super().__init__(owner.clock)

    @property
    def device_lock(self) -> Any:
        """The lock of the device behind both sockets."""
        return self.owner.device_lock

    @device_lock.setter
    def device_lock(self, lock: Any) -> None:
        del lock

    def receive(self, data: bytes) -> None:
        """Ignore it, as the real one does."""


class SimulatedRemoteEx(_Socket):
    """HPD-TA with streak unit, delay box, spectrograph and camera.

    Args:
        clock: the bench's clock. world: the light; see sim_drivers.world.
        seed: keys the noise, with the number of the exposure.
        columns, rows: pixels of an image. tube: what the tube is made of, in place of both.
        synchroscan_ps: full sweeps of a synchroscan unit; a single-sweep unit if left out.
        unit: DeviceName of the streak unit. spectrograph: whether one is attached.
        app: what Appinfo(type) says. started: whether the application has been started already.
        licence: whether the dongle is found. missing_device: one that AppStart does not reach.
        app_start_s, answer_s: how long starting and an answer take.
        folder: where images may be saved (nowhere, if left out).
        unknown_named: whether the reply to an unknown command repeats its name.
        idle_comma: whether AcqStatus says `idle,`. inclusive_size: whether ImgDataInfo gives the
            last pixel (or the number of pixels); size_in_bits: its depth in bits (or bytes).
        busy_code: what setting a parameter answers during an acquisition (0: it is done).
        free_exposures: whether exposures between those listed are taken.
        bits_32: whether 32BitInAI and 32BitInPC are on at first.
        falling_time, falling_wavelength: whether the axes run the other way.
        warns: whether opening the shutter puts up a dialogue.
    """

    GREETING = b"RemoteEx Ready\r"
    FAULTS: ClassVar[frozenset[str]] = frozenset({"identity", "saturate", "restart"})

    def __init__(
        self,
        clock: Clock,
        world: Any,
        *,
        seed: int = 0,
        columns: int = 640,
        rows: int = 508,
        tube: TubeParameters | None = None,
        synchroscan_ps: Sequence[float] | None = None,
        unit: str | None = None,
        spectrograph: bool = True,
        app: str = "HPDTA",
        started: bool = False,
        licence: bool = True,
        missing_device: str = "",
        app_start_s: float = 20.0,
        answer_s: float = 0.002,
        folder: Path | None = None,
        unknown_named: bool = True,
        idle_comma: bool = False,
        inclusive_size: bool = False,
        size_in_bits: bool = False,
        busy_code: int = 0,
        free_exposures: bool = True,
        bits_32: bool = False,
        falling_time: bool = False,
        falling_wavelength: bool = False,
        warns: bool = False,
    ) -> None:
        super().__init__(clock)
        self.world = world
        self.app, self.started, self.licence = app, started, licence
        self.missing_device = missing_device
        self.app_start_s, self.answer_s = app_start_s, answer_s
        self.unknown_named, self.busy_code = unknown_named, busy_code
        self.commands = Heard()
        self.impostor = False  # faults: something else answers
        self.data = DataSocket(self)
        made_of = TubeParameters(columns=columns, rows=rows) if tube is None else tube
        self.tube = StreakTube(world, seed, made_of)
        self.units = Units(
            world, self.tube, synchroscan_ps, unit, spectrograph, free_exposures, bits_32
        )
        if warns:
            self.units.shutter_opened = lambda: self._say("5,Shutter opened\r\nBe careful!,6")
        self.images = ImageStore(folder, inclusive_size, size_in_bits)
        self.units.groups["img"] = {"": self.images.parameters()}
        self.acquirer = Acquirer(
            clock,
            self.tube,
            self.units,
            self.images,
            self._say,
            (falling_time, falling_wavelength),
            idle_comma,
        )
        self._line = bytearray()
        self._ready_s = clock.now()
        self._handlers: dict[str, Callable[[list[str]], Answer]] = {
            **self._application(),
            **self.acquirer.handlers(),
            **self.images.handlers(),
        }

    # ---- the wire ------------------------------------------------------------------------------

    def link(self, driver: Any) -> Any:
        """Return both links in process, each beginning with its greeting."""
        for device in (self, self.data):
            device.wire.opened()
        return TwoLinks(
            InProcessAdapter(self, timeout_s=driver.TIMEOUT_S, **driver.VISA),
            InProcessAdapter(self.data, timeout_s=driver.TIMEOUT_S),
        )

    def serve(self, host: str, on_tcp: bool) -> Served:
        """Serve both sockets on TCP; the resource is `host:port`."""
        return serve_two(self, self.data, host)

    def opened(self) -> None:
        """See Wire; half a line of an earlier host is forgotten."""
        super().opened()
        self._line.clear()

    def fault(self, kind: str, active: bool) -> None:
        """See WireDevice.fault; after a restart the application has to be started again."""
        match kind:
            case "identity":
                self.impostor = active
            case "saturate":
                self.tube.saturate = active
            case "restart":
                if active:
                    self._end_application()
            case _:
                super().fault(kind, active)

    def receive(self, data: bytes) -> None:
        """Take bytes; each line ends with CR."""
        self.settle(self.clock.now())
        self._line += data
        while b"\r" in self._line:
            line, _, rest = self._line.partition(b"\r")
            self._line = bytearray(rest)
            text = line.decode("latin-1").strip("\n")
            if text.strip():
                self._command(text)
        del self._line[:-4096]

    def take(self) -> bytes:
        """See WireDevice.take; what has happened by now is told first."""
        self.settle(self.clock.now())
        return super().take()

    def due(self) -> float | None:
        """See WireDevice.due; an acquisition has something to say of its own."""
        waiting, event = super().due(), self.acquirer.next_line_s()
        if waiting is None or event is None:
            return event if waiting is None else waiting
        return min(waiting, event)

    def settle(self, now: float) -> None:
        """Let happen what has happened by `now`."""
        self.acquirer.advance(now)

    def _say(self, text: str, after_s: float = 0.0) -> None:
        self.send(text.encode("latin-1") + b"\r", after_s)

    # ---- the grammar ----------------------------------------------------------------------------

    def _command(self, text: str) -> None:
        self.commands.append(text)
        call = _CALL.fullmatch(text)
        if call is None:
            named = _NAME.match(text)
            self._say(f"1,{named.group(1) if named else ''}", self.answer_s)
            return
        name, inside = call.groups()
        args = [part.strip() for part in inside.split(",")] if inside.strip() else []
        try:
            values, takes_s = self._answer(name.lower(), args)
        except RemoteExError as error:
            lacks_name = error.code == 2 and not self.unknown_named
            told = error.values if lacks_name and not self._known(name.lower()) else (
                name,
                *error.values,
            )  # fmt: skip
            self._say(",".join([str(error.code), *told]), self.answer_s + error.after_s)
        else:
            self._say(",".join(["0", name, *values]), self.answer_s + takes_s)

    def _known(self, name: str) -> bool:
        return name in self._handlers or VERBS.fullmatch(name) is not None

    def _answer(self, name: str, args: list[str]) -> Answer:
        if self.impostor or not self._known(name):
            raise RemoteExError(2)
        ready = self.started and self.clock.now() >= self._ready_s
        if not ready and name not in _BEFORE_START:
            raise RemoteExError(3)
        if name not in self._handlers:
            busy = self.busy_code if self.acquirer.running is not None else 0
            return self.units.command(name, args, busy)
        if name in ("imgdataget", "imgringbufferget"):
            return self._transfer(name, args)
        return self._handlers[name](args)

    def _transfer(self, name: str, args: list[str]) -> Answer:
        if len(args) < 2:
            raise RemoteExError(6)
        if name == "imgdataget":
            values, payload = self.images.content(args)
        elif args[0].lower() != "data":
            raise RemoteExError(7)
        elif not args[1].isdigit():
            raise RemoteExError(10)
        else:
            image, number, at_s = self.acquirer.from_ring(int(args[1]))
            values, payload = [*image.size(), str(number), str(round(1000 * at_s))], image.payload()
        self.data.send(payload, self.answer_s)
        return values, 0.0

    # ---- the application -----------------------------------------------------------------------

    def _application(self) -> dict[str, Callable[[list[str]], Answer]]:
        def nothing(args: list[str]) -> Answer:
            return [], 0.0

        def impossible(args: list[str]) -> Answer:
            raise RemoteExError(7)

        return {
            "appinfo": self._about,
            "appstart": self._start,
            "append": self._end,
            "shutdown": self._end,
            "stop": nothing,
            "applicenceget": lambda args: (
                ["1"] * 3 + ["0"] * 3 if self.licence else ["0"] * 6,
                0.0,
            ),
            "mainsyncget": lambda args: (["0", "0", "0", "Sync"], 0.0),
            "mainsyncset": impossible,
            "cordocorrection": impossible,
            "lutsetauto": nothing,
            "acqstop": self._stop,
            "imgdataget": impossible,
            "imgringbufferget": impossible,
            "seqstatus": lambda args: (["idle"], 0.0),
            "seqstart": impossible,
            "seqstop": nothing,
        }

    def _about(self, args: list[str]) -> Answer:
        if not args:
            raise RemoteExError(6)
        known = {"type": self.app, **_ABOUT}
        if args[0].lower() not in known:
            raise RemoteExError(2)
        return [known[args[0].lower()]], 0.0

    def _start(self, args: list[str]) -> Answer:
        if self.started:
            return (["parameters ignored"] if args else []), 0.0
        self.started = True
        self._ready_s = self.clock.now() + self.app_start_s
        if self.missing_device:
            self._say(
                f"4,HExternalDevices: Communication error. Device: {self.missing_device} "
                "Parameter: Time Range",
                0.5 * self.app_start_s,
            )
        return [], self.app_start_s

    def _end(self, args: list[str]) -> Answer:
        self._end_application()
        return [], 2.0

    def _end_application(self) -> None:
        self.started, self.acquirer.running = False, None
        self.images.windows.clear()
        self.units.power_cycle()

    def _stop(self, args: list[str]) -> Answer:
        in_time, after_s = self.acquirer.stop(args)
        if not in_time:
            raise RemoteExError(7, "timeout", after_s=after_s)
        return [], after_s

    # ---- what a resumed run finds again --------------------------------------------------------

    def state(self) -> dict[str, float]:
        """Return the number of exposures so far, which keys the noise."""
        return {"exposures": float(self.acquirer.exposures)}

    def restore(self, state: dict[str, float]) -> None:
        """Take the number of exposures back."""
        self.acquirer.exposures = int(state["exposures"])
