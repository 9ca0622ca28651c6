"""A simulated bench for other processes: its devices on pseudo-terminals and TCP ports.

For `gainbench simulate`. A camera has no wire: its stand-in library runs in the client and asks the
World here, over loopback, what reaches the chip (`WorldServer`, `RemoteWorld`). Real time only, and
nothing listens beyond loopback unless a host is given.
"""

from __future__ import annotations

import base64
import contextlib
import json
import math
import socket
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from instruments.bench_tables import PumpTable
from instruments.clock import WallClock
from instruments.config import BenchConfig
from instruments.errors import NoReply
from sim_drivers.arrangements import EVERYTHING
from sim_drivers.bench import SimulatedBench
from sim_drivers.link import Served
from sim_drivers.noise import FloatArray
from sim_drivers.world import World

SCHEME = "sim://"
_MOST_SHOTS = 1000
# Instruments that stand on a network or on USB in the lab are put on TCP, the others on a pty.
_ON_TCP = ("energy_meter", "pulse_gate", "streak")


class WorldServer:
    """Answers what a camera asks of the World: one JSON object a line, each way."""

    def __init__(self, world: World, lock: threading.RLock, host: str) -> None:  # type: ignore[valid-type]
        self.world, self.lock = world, lock
        self._closing = threading.Event()
        self._listener = socket.create_server((host, 0))
        self._listener.settimeout(0.2)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, name="world", daemon=True).start()

    def close(self) -> None:
        """Stop answering."""
        self._closing.set()
        self._listener.close()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        client.settimeout(None)
        with client, client.makefile("rwb") as stream, contextlib.suppress(OSError):
            for line in stream:
                try:
                    answer = self._answer(json.loads(line))
                except (ValueError, KeyError, TypeError) as error:
                    answer = {"error": str(error)}
                stream.write(json.dumps(answer).encode() + b"\n")
                stream.flush()

    def _answer(self, question: Any) -> dict[str, Any]:
        if question.get("ask") == "seed":
            return {"seed": self.world.seed}
        if question.get("ask") == "laser":
            source = self.world.source
            return {"start_s": source.start_s, "rate_Hz": source.pump.repetition_rate_Hz}
        if question.get("ask") not in ("electrons", "shots"):
            raise ValueError("only seed, laser, electrons and shots can be asked")
        pixels = int(question["pixels"])
        if not 0 < pixels <= 65536:
            raise ValueError("pixels: 1 to 65536")
        if question["ask"] == "shots":
            count = int(question["count"])
            if not 0 < count <= _MOST_SHOTS:
                raise ValueError(f"count: 1 to {_MOST_SHOTS}")
            with self.lock:
                light, energies = self.world.shot_electrons(
                    int(question["first"]), count, pixels, float(question["pitch_um"])
                )
            return {"electrons": _text(light, "<f4"), "energies_J": _text(energies, "<f8")}
        with self.lock:
            electrons = self.world.ccd_electrons(
                float(question["start_s"]),
                min(float(question["exposure_s"]), 3600.0),
                pixels,
                float(question["pitch_um"]),
            )
        return {"electrons": _text(electrons, "<f8")}


def _text(values: npt.NDArray[Any], dtype: str) -> str:
    return base64.b64encode(values.astype(dtype).tobytes()).decode()


class RemoteLaser:
    """The clock of the laser of a served bench: which shot is when, by the computer's clock."""

    def __init__(self, start_s: float, rate_Hz: float) -> None:
        self.start_s, self._rate_Hz = start_s, rate_Hz

    def shot_number(self, time_s: float) -> int:
        """See Source.shot_number."""
        return math.ceil((time_s - self.start_s) * self._rate_Hz - 1e-4)

    def shot_time_s(self, number: int) -> float:
        """See Source.shot_time_s."""
        return self.start_s + number / self._rate_Hz


class RemoteWorld:
    """The World of a served bench, as far as a camera needs it."""

    def __init__(self, resource: str) -> None:
        host, _, port = resource.removeprefix(SCHEME).rpartition(":")
        try:
            self._socket = socket.create_connection((host, int(port)), timeout=5.0)
        except (OSError, ValueError) as error:
            raise NoReply(f"{resource}: no simulated bench answers there ({error})") from None
        self._stream = self._socket.makefile("rwb")
        self._lock = threading.Lock()
        self.seed = int(self._ask({"ask": "seed"})["seed"])
        laser = self._ask({"ask": "laser"})
        self.pump = PumpTable(repetition_rate_Hz=laser["rate_Hz"])
        self.source = RemoteLaser(float(laser["start_s"]), float(laser["rate_Hz"]))

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        try:
            with self._lock:
                self._stream.write(json.dumps(question).encode() + b"\n")
                self._stream.flush()
                answer = json.loads(self._stream.readline() or b"{}")
        except (OSError, ValueError) as error:
            raise NoReply(f"the simulated bench has gone ({error})") from None
        if not isinstance(answer, dict) or "error" in answer or not answer:
            raise NoReply(f"the simulated bench refused: {answer}")
        return answer

    def ccd_electrons(
        self, start_s: float, exposure_s: float, pixels: int, pixel_pitch_um: float
    ) -> FloatArray:
        """See World.ccd_electrons."""
        answer = self._ask(
            {
                "ask": "electrons",
                "start_s": start_s,
                "exposure_s": exposure_s,
                "pixels": pixels,
                "pitch_um": pixel_pitch_um,
            }
        )
        found = np.frombuffer(base64.b64decode(answer["electrons"]), "<f8")
        if found.shape != (pixels,):
            raise NoReply("the simulated bench answered with another number of pixels")
        return np.array(found)

    def shot_electrons(
        self, first: int, count: int, pixels: int, pixel_pitch_um: float
    ) -> tuple[npt.NDArray[np.float32], FloatArray]:
        """See World.shot_electrons; at most 1,000 shots at a time."""
        answer = self._ask(
            {
                "ask": "shots",
                "first": first,
                "count": count,
                "pixels": pixels,
                "pitch_um": pixel_pitch_um,
            }
        )
        light = np.frombuffer(base64.b64decode(answer["electrons"]), "<f4")
        energies = np.frombuffer(base64.b64decode(answer["energies_J"]), "<f8")
        if light.shape != (count * pixels,) or energies.shape != (count,):
            raise NoReply("the simulated bench answered with another number of shots")
        return np.array(light).reshape(count, pixels), np.array(energies)


class ServedBench:
    """The devices of a simulated bench, served until `close`."""

    def __init__(self, config: BenchConfig, measurement: str, host: str = "127.0.0.1") -> None:
        self.bench = SimulatedBench(config, WallClock(), measurement)
        self.instruments: dict[str, dict[str, Any]] = {}
        self._served: list[Served | WorldServer] = []
        mounted: dict[int, Served] = {}
        lock = threading.RLock()  # one for all: they share a world
        roles = dict.fromkeys([*self.bench.roles, *config.instruments, *EVERYTHING])
        for role in roles:
            table = config.instruments.get(role)  # type: ignore[call-overload]
            driver = table.driver if table else self.bench.driver(role)
            options = table.options if table else {}
            device = self.bench.device(role, driver, options)
            entry: dict[str, Any] = {"driver": driver, "model": type(device).__name__}
            if hasattr(device, "serve"):
                if id(device) not in mounted:
                    device.device_lock = lock
                    on_tcp = role in _ON_TCP or sys.platform == "win32"
                    mounted[id(device)] = device.serve(host, on_tcp)
                    self._served.append(mounted[id(device)])
                served = mounted[id(device)]
                entry |= {"resource": served.resource, **served.address}
            else:
                world = WorldServer(self.bench.world, lock, host)
                resource = f"{SCHEME}{host}:{world.port}"
                entry |= {"resource": resource, "host": host, "port": world.port}
                self._served.append(world)
            entry["options"] = options
            self.instruments[role] = entry
        self.bench_file = self._write_bench_file()

    def _write_bench_file(self) -> str:
        """Write a bench file that names what is served, ready to use."""
        lines = ["[bench]", 'name = "served simulation"', f"data_dir = {json.dumps(_here('runs'))}"]
        lines += ["", "[pump]"]
        for key, value in self.bench.pump.model_dump(exclude_none=True).items():
            lines.append(f"{key} = {value!r}")
        for role, entry in self.instruments.items():
            lines += ["", f"[instruments.{role}]"]
            options = entry.pop("options")
            for key, value in {**options, **entry}.items():
                if key in ("driver", "resource") or key in options:
                    lines.append(f"{key} = {json.dumps(value)}")
        folder = Path(tempfile.mkdtemp(prefix="gainbench-"))
        file = folder / "bench.toml"
        file.write_text("\n".join([*lines, ""]), encoding="utf-8")
        return str(file)

    def close(self) -> None:
        """Stop serving."""
        for served in self._served:
            served.close()


def _here(name: str) -> str:
    return str(Path.cwd() / name)
