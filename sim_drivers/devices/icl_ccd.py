"""A simulated HORIBA CCD (Syncerity, 1024 x 256) as the ICL shows it.

For the simulated ICL (`horiba_icl`). Acquisitions take exposure, cleaning and readout on the
bench's clock; each frame is worked out when it is complete, from what the World says fell on the
chip (`icl_sensor`). A trigger input that is switched on waits for ever. Not played: several
regions, crop, fast kinetics, EM gain.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from instruments.clock import Clock
from sim_drivers.devices.icl_dialect import Answer, Dialect, Refusal, number_of, whole_of
from sim_drivers.devices.icl_sensor import GAINS, PARALLEL_SPEEDS, SPEEDS, Chip
from sim_drivers.heard import Heard

_MISSING, _TOKEN, _VALUE = -324, -317, -318
_NOT_SIMPLE = ("setTriggerIn", "setCleanCount", "setXAxisConversionType")
_CLEAN_S = 0.005
_RESTART_S = 10.0


@dataclass
class _Acquisition:
    """A series under way; frame i (from 0) is exposed from starts[i] and read by ends[i]."""

    starts: list[float]
    ends: list[float]
    exposure_s: float
    light: bool
    region: dict[str, int]
    first: int  # number of its first exposure
    frames: list[npt.NDArray[np.int64]]
    began_s: float


class SimulatedSyncerity:
    """The camera behind the ICL.

    Args:
        clock: the bench's clock. world: tells what fell on the chip. seed: of the noise.
        dialect: which reading of the protocol is played. serial: its number.
        pixels, rows, pitch_um: the chip. start_temperature_C: of the sensor; -59.9 as if it had
            been on for long, 20 for a camera just switched on. target_C: where its cooler goes.
    """

    def __init__(
        self,
        clock: Clock,
        world: Any,
        *,
        seed: int = 0,
        dialect: Dialect | None = None,
        serial: str = "5128",
        pixels: int = 1024,
        rows: int = 256,
        pitch_um: float = 26.0,
        start_temperature_C: float = -59.9,
        target_C: float = -60.0,
    ) -> None:
        self.clock = clock
        self.dialect = dialect or Dialect()
        self.serial = serial
        self.pixels, self.rows, self.pitch_um = pixels, rows, pitch_um
        self.chip = Chip(
            clock, world, seed, (pixels, rows), pitch_um, start_temperature_C, target_C
        )
        self.exposures = 0
        self.open = False
        self.stuck = False
        self.commands = Heard()
        self._restarting_until = 0.0
        self._data: _Acquisition | None = None
        self._acquisition: _Acquisition | None = None
        self._stamp = ""
        self._settling = False
        self._verbs = self._dictionary()
        self._defaults()

    def _defaults(self) -> None:
        """Be set up as after opening."""
        self._tokens = {"Gain": 0, "Speed": 0, "ParallelSpeed": 0}
        self._time, self._resolution = 0, 0
        self._count, self._cleans = 1, (1, 238)
        self._format: int | None = None
        self._regions: dict[int, dict[str, int]] = {}
        self._wanted_regions = 0
        self._conversion = 0
        self._centre_nm: float | None = None
        self._grooves = 600.0
        self._fit = [0.0, 1.0, 0.0, 0.0, 0.0]
        off = {"address": -1, "event": -1, "signalType": -1}
        self._trigger = dict(off)
        self._signal = {"address": 0, "event": 0, "signalType": 0}

    # ---- acquiring --------------------------------------------------------------------------

    def settle(self, now: float) -> None:
        """Work out the frames that are complete by now."""
        acquisition = self._acquisition
        if acquisition is None or self._settling:
            return
        self._settling = True  # asking the World makes it settle its devices
        try:
            while (index := len(acquisition.frames)) < len(acquisition.ends) and (
                acquisition.ends[index] <= now
            ):
                acquisition.frames.append(
                    self.chip.expose(
                        acquisition.first + index,
                        acquisition.starts[index] if acquisition.light else None,
                        acquisition.exposure_s,
                        acquisition.region,
                        self._tokens["Gain"],
                        self._tokens["Speed"],
                    )
                )
            if len(acquisition.frames) == len(acquisition.ends):
                self._finish(acquisition, acquisition.ends[-1])
        finally:
            self._settling = False

    def _finish(self, acquisition: _Acquisition, at_s: float) -> None:
        self._acquisition, self._data = None, acquisition
        moment = datetime.fromtimestamp(at_s, UTC)
        self._stamp = moment.strftime("%Y.%m.%d %H:%M:%S.") + f"{moment.microsecond // 1000:03d}"

    # ---- requests ----------------------------------------------------------------------------

    def handle(self, verb: str, parameters: Mapping[str, Any]) -> Answer:
        """Carry out a command (its name without `ccd_`); raises Refusal."""
        self.commands.append(verb)
        if verb not in self._verbs or (
            verb == "getAcquisitionReady" and not self.dialect.knows_ready
        ):
            raise Refusal(-2)
        now = self.clock.now()
        self.settle(now)
        if now < self._restarting_until and verb != "isOpen":
            raise Refusal(-305 if not self.open else -311)
        if verb not in ("open", "close", "isOpen") and not self.open:
            raise Refusal(-305)
        if self.dialect.simple_camera and verb in _NOT_SIMPLE:
            raise Refusal(-315)
        if self._acquisition is not None and self._refused_now(verb):
            raise Refusal(-309)
        return self._verbs[verb](parameters)

    def _refused_now(self, verb: str) -> bool:
        if verb in ("getAcquisitionBusy", "acquisitionAbort", "isOpen", "close", "open", "restart"):
            return False
        if verb in ("getAcquisitionData", "acquisitionStart"):
            return False  # with answers of their own
        return verb.startswith("set") or not self.dialect.telling_while_acquiring

    def _dictionary(self) -> dict[str, Callable[[Mapping[str, Any]], Answer]]:
        verbs: dict[str, Callable[[Mapping[str, Any]], Answer]] = {
            "open": self._do_open,
            "close": self._do_close,
            "isOpen": lambda p: Answer({"open": self.open}),
            "restart": self._do_restart,
            "getConfig": lambda p: Answer({"configuration": self._configuration()}, 0.05),
            "getChipSize": lambda p: Answer({"x": self.pixels, "y": self.rows}),
            "getChipTemperature": lambda p: Answer({"temperature": self.chip.reading_C()}, 0.02),
            "getFitParams": lambda p: Answer({"fitParameters": self._fit}),
            "setFitParams": self._set_fit,
            "getExposureTime": lambda p: Answer({"time": self._time}),
            "setExposureTime": self._set_exposure,
            "getTimerResolution": lambda p: Answer({"resolutionToken": self._resolution}),
            "setTimerResolution": self._set_resolution,
            "setAcqFormat": self._set_format,
            "setRoi": self._set_region,
            "getXAxisConversionType": lambda p: Answer({"type": self._conversion}),
            "setXAxisConversionType": self._set_conversion,
            "setCenterWavelength": self._set_centre,
            "getAcqCount": lambda p: Answer({"count": self._count}),
            "setAcqCount": self._set_count,
            "getCleanCount": lambda p: Answer({"count": self._cleans[0], "mode": self._cleans[1]}),
            "setCleanCount": self._set_cleans,
            "calculateRangeModePositions": self._cover,
            "getDataSize": lambda p: Answer({"size": self._data_size()}),
            "getTriggerIn": lambda p: Answer(dict(self._trigger)),
            "setTriggerIn": lambda p: self._set_port(self._trigger, p),
            "getSignalOut": lambda p: Answer(dict(self._signal)),
            "setSignalOut": lambda p: self._set_port(self._signal, p),
            "getAcquisitionReady": lambda p: Answer({"ready": self._is_ready()}),
            "acquisitionStart": self._start,
            "getAcquisitionBusy": lambda p: Answer({"isBusy": self._is_busy()}),
            "getAcquisitionData": self._get_data,
            "acquisitionAbort": self._abort,
        }
        for name, offered in self._lists().items():
            verbs[f"get{name}"] = lambda p, name=name: self._get_token(name)  # type: ignore[misc]
            verbs[f"set{name}"] = (
                lambda p, name=name, offered=offered: self._set_token(name, offered, p)  # type: ignore[misc]
            )
        return verbs

    @staticmethod
    def _lists() -> dict[str, Mapping[int, tuple[Any, ...]]]:
        return {"Gain": GAINS, "Speed": SPEEDS, "ParallelSpeed": PARALLEL_SPEEDS}

    def _do_open(self, parameters: Mapping[str, Any]) -> Answer:
        if self.open:
            raise Refusal(-301)
        self.open = True
        self._acquisition = None
        self._defaults()
        return Answer({}, 1.5)

    def _do_close(self, parameters: Mapping[str, Any]) -> Answer:
        if not self.open:
            raise Refusal(-302)
        self.open = False
        self._acquisition = None
        return Answer({}, 0.1)

    def _do_restart(self, parameters: Mapping[str, Any]) -> Answer:
        self.open = self.dialect.restart_keeps_open
        self._acquisition = None
        self._defaults()
        self._restarting_until = self.clock.now() + _RESTART_S
        return Answer({}, 0.05)

    # ---- settings ----------------------------------------------------------------------------

    def _get_token(self, name: str) -> Answer:
        token = self._tokens[name]
        return Answer({"info": self._lists()[name][token][0], "token": token})

    def _set_token(
        self, name: str, offered: Mapping[int, tuple[Any, ...]], parameters: Mapping[str, Any]
    ) -> Answer:
        token = whole_of(parameters, "token", _MISSING, _TOKEN)
        if token not in offered:
            raise Refusal(_TOKEN)
        self._tokens[name] = token
        return Answer({})

    def _set_fit(self, parameters: Mapping[str, Any]) -> Answer:
        if "params" not in parameters:
            raise Refusal(_MISSING)
        try:
            values = [float(part) for part in str(parameters["params"]).split(",")]
        except ValueError:
            raise Refusal(_VALUE) from None
        if len(values) != 5:
            raise Refusal(_VALUE)
        self._fit = values
        return Answer({})

    def _set_exposure(self, parameters: Mapping[str, Any]) -> Answer:
        time = whole_of(parameters, "time", _MISSING, _VALUE)
        if not 0 <= time < 2**32:
            raise Refusal(_VALUE)
        self._time = time
        return Answer({})

    def _set_resolution(self, parameters: Mapping[str, Any]) -> Answer:
        token = whole_of(parameters, "resolutionToken", _MISSING, _TOKEN)
        if token not in (0, 1) or (token == 1 and not self.dialect.microseconds):
            raise Refusal(_TOKEN)
        self._resolution = token
        return Answer({})

    def _set_format(self, parameters: Mapping[str, Any]) -> Answer:
        form = whole_of(parameters, "format", _MISSING, _VALUE)
        regions = whole_of(parameters, "numberOfRois", _MISSING, _VALUE)
        if form not in (1, 2, 3) or regions < 1:
            raise Refusal(_VALUE)
        if form != 1:
            raise Refusal(-322)
        self._format, self._wanted_regions = form, regions
        self._regions.clear()
        return Answer({})

    def _set_region(self, parameters: Mapping[str, Any]) -> Answer:
        keys = ("xOrigin", "yOrigin", "xSize", "ySize", "xBin", "yBin")
        region = {key: whole_of(parameters, key, _MISSING, _VALUE) for key in keys}
        index = whole_of(parameters, "roiIndex", _MISSING, _VALUE)
        fits = (
            1 <= index <= self._wanted_regions
            and min(region["xOrigin"], region["yOrigin"]) >= 0
            and min(region["xSize"], region["ySize"], region["xBin"], region["yBin"]) >= 1
            and region["xOrigin"] + region["xSize"] <= self.pixels
            and region["yOrigin"] + region["ySize"] <= self.rows
            and region["xBin"] <= region["xSize"]
            and region["yBin"] <= region["ySize"]
        )
        if fits:
            self._regions[index] = region  # one that does not fit leaves the camera not ready
        return Answer({})

    def _set_conversion(self, parameters: Mapping[str, Any]) -> Answer:
        kind = whole_of(parameters, "type", _MISSING, _VALUE)
        if kind not in (0, 1, 2) or (kind == 2 and self._centre_nm is None):
            raise Refusal(_VALUE)
        self._conversion = kind
        return Answer({})

    def _set_centre(self, parameters: Mapping[str, Any]) -> Answer:
        whole_of(parameters, "monoIndex", _MISSING, _VALUE)
        self._centre_nm = number_of(parameters, "wavelength", _MISSING, _VALUE)
        return Answer({})

    def _cover(self, parameters: Mapping[str, Any]) -> Answer:
        """Answer with the centre wavelengths whose windows cover a range."""
        start, end, overlap = (
            number_of(parameters, key, _MISSING, _VALUE) for key in ("start", "end", "overlap")
        )
        step = (self.pixels - overlap) * self._nm_per_pixel()
        if not self._is_ready() or step <= 0.0 or end <= start:
            raise Refusal(_VALUE)
        first = start + 0.5 * self.pixels * self._nm_per_pixel()
        covers = max(1, math.ceil((end - start - overlap * self._nm_per_pixel()) / step))
        return Answer(
            {"centerWavelengths": [first + i * step for i in range(covers)], "covers": covers}
        )

    def _nm_per_pixel(self) -> float:
        return 1e6 / self._grooves * self.pitch_um * 1e-3 / 320.0

    def _set_count(self, parameters: Mapping[str, Any]) -> Answer:
        count = whole_of(parameters, "count", _MISSING, _VALUE)
        if count < 1 or (count > 1 and not self.dialect.takes_series):
            raise Refusal(_VALUE)
        self._count = count
        return Answer({})

    def _set_cleans(self, parameters: Mapping[str, Any]) -> Answer:
        count = whole_of(parameters, "count", _MISSING, _VALUE)
        mode = whole_of(parameters, "mode", _MISSING, _VALUE)
        if count < 0 or mode not in (0, 1, 2, 3, 238):
            raise Refusal(_VALUE)
        self._cleans = (count, mode)
        return Answer({})

    def _set_port(self, port: dict[str, int], parameters: Mapping[str, Any]) -> Answer:
        if "enable" not in parameters:
            raise Refusal(_MISSING)
        wanted = {key: whole_of(parameters, key, _MISSING, _VALUE) for key in port}
        port.update(wanted if parameters["enable"] else dict.fromkeys(port, -1))
        return Answer({})

    def _data_size(self) -> int:
        per_frame = sum(
            (r["xSize"] // r["xBin"]) * (r["ySize"] // r["yBin"]) for r in self._regions.values()
        )
        return per_frame * self._count

    # ---- acquisition -------------------------------------------------------------------------

    def _is_ready(self) -> bool:
        return self._format is not None and len(self._regions) == self._wanted_regions == 1

    def _is_busy(self) -> bool:
        acquisition = self._acquisition
        if acquisition is None:
            return False
        return self.clock.now() >= acquisition.began_s + self.dialect.busy_after_s

    def _start(self, parameters: Mapping[str, Any]) -> Answer:
        if "openShutter" not in parameters:
            raise Refusal(_MISSING)
        if self._acquisition is not None:
            raise Refusal(-320)
        if not self._is_ready():
            raise Refusal(-311)
        region = dict(self._regions[1])
        exposure_s = self._time * (1e-6 if self._resolution else 1e-3)
        lines = region["ySize"] // region["yBin"]
        read_s = self.chip.readout_s(lines, self._tokens["Speed"], self._tokens["ParallelSpeed"])
        cleans, mode = self._cleans
        now = self.clock.now()
        starts, ends, moment = [], [], now
        for index in range(self._count):
            if mode == 3 or (mode == 1 and index == 0) or (mode == 2 and index > 0):
                moment += cleans * _CLEAN_S
            starts.append(moment)
            moment += exposure_s + read_s
            ends.append(moment)
        if self.stuck or self._trigger["address"] >= 0:
            ends = [math.inf] * self._count
        self._acquisition = _Acquisition(
            starts,
            ends,
            exposure_s,
            bool(parameters["openShutter"]),
            region,
            self.exposures,
            [],
            now,
        )
        self.exposures += self._count
        return Answer({})

    def _abort(self, parameters: Mapping[str, Any]) -> Answer:
        self._acquisition = None
        return Answer({}, 0.1)

    def _get_data(self, parameters: Mapping[str, Any]) -> Answer:
        if self._data is None or (
            self._acquisition is not None and self.dialect.early_data == "error"
        ):
            raise Refusal(-312)
        data = self._data
        first = self.dialect.first_frame
        frames = [
            {"acqIndex": first + i, "roi": [self._region_of(frame, data.region)]}
            for i, frame in enumerate(data.frames)
        ]
        return Answer({"acquisition": frames, "timestamp": self._stamp}, 0.02 + 0.002 * len(frames))

    def _region_of(self, frame: npt.NDArray[np.int64], region: Mapping[str, int]) -> dict[str, Any]:
        x = self._axis(region).tolist()
        y = frame.tolist()
        told: dict[str, Any] = {
            "roiIndex": 1,
            "xOrigin": region["xOrigin"],
            "xSize": region["xSize"],
            "xBinning": region["xBin"],
            "yOrigin": region["yOrigin"],
            "ySize": region["ySize"],
            "yBinning": region["yBin"],
        }
        if self.dialect.data_shape == "pairs":
            told["xyData"] = [[a, b] for line in y for a, b in zip(x, line, strict=True)]
        elif self.dialect.data_shape == "flat":
            told["xData"], told["yData"] = x, y[0] if len(y) == 1 else y
        else:
            told["xData"], told["yData"] = [x], y
        return told

    def _axis(self, region: Mapping[str, int]) -> npt.NDArray[Any]:
        """Return the x values that go with the counts: pixels, or a conversion of them."""
        wide = region["xSize"] // region["xBin"]
        pixel = region["xOrigin"] + region["xBin"] * np.arange(wide)
        if self._conversion == 1:
            return np.polynomial.Polynomial(self._fit)(pixel)
        if self._conversion == 2 and self._centre_nm is not None:
            return self._centre_nm + self._nm_per_pixel() * (pixel - 0.5 * (self.pixels - 1))
        return pixel

    def state(self) -> dict[str, float]:
        """Return what a resumed run must find again."""
        return {"exposures": float(self.exposures), "temperature_C": self.chip.temperature_C()}

    def restore(self, state: Mapping[str, float]) -> None:
        """Take back what `state` returned."""
        self.exposures = int(state["exposures"])
        self.chip.warm_up(state["temperature_C"])

    def grating(self, grooves_per_mm: float) -> None:
        """Be told the grating in use, for the ICL's own wavelength axis."""
        self._grooves = grooves_per_mm

    def _configuration(self) -> dict[str, Any]:
        def size(value: float) -> str | int:
            return str(round(value)) if self.dialect.numbers_as_text else round(value)

        def switch(value: bool) -> str | bool:
            return str(value).lower() if self.dialect.switches_as_text else value

        edges = [{"name": "TTL Rising  Edge", "token": 1}, {"name": "TTL Falling Edge", "token": 0}]
        levels = [{"name": "TTL Active Low", "token": 1}, {"name": "TTL Active High", "token": 0}]
        signals = ((1, "Ready For Trigger"), (3, "Shutter Open"), (0, "Start Experiment"))
        starts = ((1, "Each - For Each Acq"), (0, "Once - Start All"))
        return {
            "chipHSpacing": size(10.0 * self.pitch_um),
            "chipHeight": size(self.rows),
            "chipName": "CCD30-11-1-275",
            "chipSerialNumber": "20091-22-21",
            "chipVSpacing": size(10.0 * self.pitch_um),
            "chipWidth": size(self.pixels),
            "deviceType": "HORIBA Scientific Syncerity",
            "fitParameters": self._fit,
            "gains": [{"info": item[0], "token": token} for token, item in GAINS.items()],
            "hardwareAvgAvailable": switch(False),
            "lineScan": switch(False),
            "parallelSpeeds": [
                {"info": item[0], "token": token} for token, item in PARALLEL_SPEEDS.items()
            ],
            "productId": "13",
            "serialNumber": f"Camera SN:  {self.serial}",
            "signals": [
                {
                    "events": [{"name": n, "token": t, "types": levels} for t, n in signals],
                    "name": "Signal Output",
                    "token": 0,
                }
            ],
            "speeds": [{"info": item[0], "token": token} for token, item in SPEEDS.items()],
            "supportedFeatures": {"cf_Image": switch(True), "cf_Spectra": switch(True)},
            "triggers": [
                {
                    "events": [{"name": n, "token": t, "types": edges} for t, n in starts],
                    "name": "Trigger Input",
                    "token": 0,
                }
            ],
            "version": "Syncerity Ver 1.002.9",
        }

    def listed(self) -> dict[str, Any]:
        """Return the entry in the ICL's list, but for the index."""
        return {
            "deviceType": "HORIBA Scientific Syncerity",
            "productId": 13,
            "serialNumber": f"Camera SN:  {self.serial}",
        }
