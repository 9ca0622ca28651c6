"""PM100: the driver by bytes, against its simulator, over PyVISA, and on broken lines."""

from __future__ import annotations

import math
import sys
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymeasure.instruments.thorlabs import ThorlabsPM100USB
from pymeasure.test import expected_protocol

from instruments.clock import VirtualClock, WallClock
from instruments.drivers.thorlabs_pm100 import PM100
from instruments.errors import (
    BadReply,
    DeviceFault,
    InstrumentError,
    LimitError,
    NoPulse,
    NoReply,
    NotReady,
    WrongIdentity,
)
from instruments.wire import open_visa
from sim_drivers.devices.thorlabs_pm100 import SimulatedPM100
from sim_drivers.link import InProcessAdapter, serve_pty, serve_tcp
from sim_drivers.noise import normals
from tests.mangling import CREDIBLE, KINDS, Mangler, Step, plans

START = 1.7e9


class FakeWorld:
    """Pulses of a given energy with 2 % noise; the light can go off and come back."""

    seed = 5
    energy_meter_scale = 1.03

    def __init__(self, energy_J: float = 1e-7, rate_Hz: float = 1000.0) -> None:
        self.start_s = START
        self.energy_J = energy_J
        self.repetition_rate_Hz = rate_Hz
        self.noise = 0.02
        self.laser_on = True
        self.clock: VirtualClock | None = None
        self.dark_from_s = math.inf
        self.looks = 0

    def shot(self, time_s: float) -> int:
        return math.ceil((time_s - self.start_s) * self.repetition_rate_Hz - 1e-6)

    def pulse_energies_J(self, first_time_s: float, count: int) -> Any:
        self.looks += 1
        first = self.shot(first_time_s)
        energies = self.energy_J * (1.0 + self.noise * normals(5, "pump", first, count))
        times = self.start_s + np.arange(first, first + count) / self.repetition_rate_Hz
        return np.where(times < self.dark_from_s, energies, 0.0)


def simulated(
    connect: bool = True,
    world: FakeWorld | None = None,
    driver: dict[str, Any] | None = None,
    **options: Any,
) -> tuple[PM100, SimulatedPM100, FakeWorld, VirtualClock]:
    clock = VirtualClock(start=START)
    world = world or FakeWorld()
    device = SimulatedPM100(clock, world, seed=11, **options)
    given = {"wavelength_nm": 400.0, "range_J": 1.5e-7} | (driver or {})
    adapter = InProcessAdapter(device, timeout_s=PM100.TIMEOUT_S, **PM100.VISA)
    meter = PM100(adapter, clock, **given)
    if connect:
        meter.connect()
    return meter, device, world, clock


# ---- by bytes -----------------------------------------------------------------------------

NO_ERROR = (b"SYST:ERR?", b'0,"No error"')


def twice(query: bytes, reply: bytes) -> list[tuple[bytes, bytes]]:
    return [(query, reply)] * 2


RANGES = [
    *twice(b"SENS:ENER:RANG? MIN", b"1.000000E-08"),
    *twice(b"SENS:ENER:RANG? MAX", b"1.000000E-02"),
    *twice(b"SENS:ENER:RANG?", b"1.000000E-02"),
]
AUTO_OFF = twice(b"SENS:ENER:RANG:AUTO?", b"0")
GREETING = [
    *twice(b"*IDN?", b"THORLABS,PM103,M00123,1.4.0"),
    *twice(b"SYST:SENS:IDN?", b'"ES111C","16060232","2-JUN-2021",3,2,50'),
    (b"*RST", None),
    (b"*CLS", None),
    *twice(b"SENS:CORR:WAV? MIN", b"1.850000E+02"),
    *twice(b"SENS:CORR:WAV? MAX", b"2.500000E+03"),
    (b"SENS:CORR 0", None),
    NO_ERROR,
    *twice(b"SENS:CORR?", b"0.000000E+00"),
    (b"CONF:ENER", None),
    NO_ERROR,
    *twice(b"CONF?", b'"ENER"'),
    (b"SENS:CORR:WAV 390", None),
    NO_ERROR,
    *twice(b"SENS:CORR:WAV?", b"3.900000E+02"),
    *RANGES,
    (b"SENS:ENER:RANG:AUTO 0", None),
    NO_ERROR,
    *AUTO_OFF,
    (b"SENS:ENER:RANG 1.000000E-06", None),
    NO_ERROR,
    *twice(b"SENS:ENER:RANG?", b"1.000000E-06"),
    *AUTO_OFF,
    (b"SENS:PEAK 10", None),
    NO_ERROR,
    *twice(b"SENS:PEAK?", b"1.000000E+01"),
    (b"FETC:STAT?", b"0"),
]
OPTIONS: dict[str, Any] = {
    "wavelength_nm": 390.0,
    "range_J": 1e-6,
    "trigger_threshold_percent": 10.0,
}


def test_every_command_by_bytes() -> None:
    pairs = [
        *GREETING,
        (b"ABOR", None),
        (b"INIT", None),
        (b"FETC:STAT?", b"0"),
        (b"FETC:STAT?", b"1"),
        (b"FETC?", b"5.100000E-07"),
        (b"READ?", b"5.000000E-07"),
        (b"READ?", b"4.900000E-07"),
        (b"SENS:ENER:RANG?", b"1.000000E-06"),
        *twice(b"SYST:SENS:IDN?", b'"ES111C","16060232","2-JUN-2021",3,2,50'),
        (b"SYST:ERR?", b'-113,"Undefined header"'),
        NO_ERROR,
    ]
    with expected_protocol(PM100, pairs, clock=VirtualClock(), **OPTIONS) as meter:
        meter.connect()
        energy = meter.read_pulses(3)
        assert energy.mean_J == pytest.approx(5e-7)
        assert energy.spread_J == pytest.approx(1e-8)
        assert energy.error_J == pytest.approx(1e-8 / math.sqrt(3.0))
        status = meter.status()
        assert not status.ok and "Undefined header" in status.text


@pytest.mark.parametrize(
    "beyond", [b"9.9E37", b"9.900000E+37", b"9.91E37", b"INF", b"+inf", b"NAN"]
)
def test_infinity_is_no_number(beyond: bytes) -> None:
    pairs = [
        *GREETING,
        (b"ABOR", None),
        (b"INIT", None),
        (b"FETC:STAT?", b"1"),
        (b"FETC?", beyond),
    ]
    with expected_protocol(PM100, pairs, clock=VirtualClock(), **OPTIONS) as meter:
        meter.connect()
        with pytest.raises(DeviceFault, match="larger range"):
            meter.read_pulses(1)


def test_the_simulator_speaks_as_the_sheet() -> None:
    clock = VirtualClock(start=START)
    device = SimulatedPM100(clock, FakeWorld(), model="PM100D")

    def say(message: bytes, wait_s: float = 0.05) -> bytes:
        device.receive(message)
        clock.sleep(wait_s)
        return device.take()

    assert say(b"*IDN?\n") == b"THORLABS,PM100D,P0012345,2.8.0\n"
    assert say(b"sens:corr:wav 390\r\n") == b""
    assert say(b"SENSE:CORR:WAV?\n") == b"3.900000E+02\n"
    assert say(b"Sense:Correction:Wavelength? MAX\n") == b"2.500000E+03\n"
    assert say(b"corr:wav? minimum\n") == b"1.850000E+02\n"
    assert say(b"SYST:SENSOR:IDN?\n") == b'"ES111C","16060232","2-JUN-2021",3,2,50\n'
    assert say(b"SENS:ENER:RANG 1.1e-7\n") == b""
    assert say(b"SENSE:ENERGY:RANGE:UPPER?;AUTO?\n") == b"2.000000E-07;0\n"
    energy = say(b"MEAS:ENER?\n")
    assert 0.9e-7 < float(energy) < 1.2e-7 and len(energy) == len(b"1.234567E-06\n")
    assert say(b"CONF?\n") == b'"ENER"\n'
    assert say(b"MEAS:FREQ?\n") == b"1.000000E+03\n"
    assert say(b"CONF:ENER;:READ?;FETC?\n").count(b";") == 1
    assert say(b"SYST:ERR?\n") == b'0,"No error"\n'
    for wrong, code in (
        (b"FOO:BAR?\n", b"-113"),
        (b"FETC:STAT?\n", b"-113"),  # only newer models know it
        (b"SENSO:CORR:WAV?\n", b"-113"),  # neither the long form nor the short one
        (b"SENS:CORR:WAV 99999\n", b"-222"),
        (b"SENS:CORR:WAV abc\n", b"-104"),
        (b"SENS:CORR:WAV nan\n", b"-222"),
        (b"SENS:CORR:WAV\n", b"-109"),
        (b"MEAS:POW?\n", b"-221"),  # this head measures energies
    ):
        assert say(wrong) == b""
        assert say(b"SYST:ERR?\n").startswith(code)
    assert say(b"SENS:CORR:WAV?\n") == b"3.900000E+02\n"
    assert say(b"*RST\n") == b""
    assert say(b"SENS:CORR:WAV?\n") != b"3.900000E+02\n"


# ---- against the simulator ------------------------------------------------------------------

READINGS: list[dict[str, Any]] = [
    {},
    {"model": "PM100D"},
    {"model": "PM100USB", "quoted": False, "decimals": 5},
    {"decimals": 8, "processing_s": 3e-3},
    {"model": "PM103", "fetch_state": False, "timeout_answer": "9.91E37"},
]


@pytest.mark.parametrize("per_message", [1, 25])
@pytest.mark.parametrize("options", READINGS)
def test_every_reading_of_the_sheet(options: dict[str, Any], per_message: int) -> None:
    meter, device, world, clock = simulated(driver={"pulses_per_message": per_message}, **options)
    assert device.wavelength_nm == 400.0 and not device.auto_range
    assert device.range_J == pytest.approx(2e-7)
    began = clock.now()
    energy = meter.read_pulses(400)
    assert clock.now() - began < 2.5
    true = world.energy_J * world.energy_meter_scale
    # 2 % of the pulses and 0.3 % of the range, within four standard deviations
    sigma = math.hypot(0.02 * true, 0.003 * 2e-7)
    assert energy.mean_J == pytest.approx(true, abs=4.0 * sigma / 20.0)
    assert energy.spread_J == pytest.approx(sigma, rel=0.15)
    assert energy.singles_J.shape == (400,)
    assert len(np.unique(energy.singles_J)) > 370
    snapshot = meter.snapshot()
    assert snapshot["wavelength_nm"].value == 400.0
    assert snapshot["auto_range"].value is False
    assert meter.status().ok
    assert not device.hung


def test_readings_are_the_pulses_of_the_world() -> None:
    """Without electronic noise each reading is one of the laser's pulses, none twice."""
    meter, _, world, clock = simulated(noise_of_range=0.0)
    first = world.shot(clock.now())
    singles = meter.read_pulses(40).singles_J
    all_of_them = world.energy_J * 1.03 * (1.0 + 0.02 * normals(5, "pump", first, 200))
    place = [int(np.argmin(np.abs(all_of_them - value))) for value in singles]
    assert np.allclose(all_of_them[place], singles, rtol=1e-6)
    assert place == sorted(set(place))


def test_few_exchanges() -> None:
    meter, device, world, _ = simulated()
    device.messages.clear()
    meter.read_pulses(50)
    assert len(device.messages) <= 56
    quick, device, world, _ = simulated(driver={"pulses_per_message": 50})
    device.messages.clear()
    world.looks = 0
    quick.read_pulses(50)
    assert len(device.messages) <= 7
    assert world.looks <= 5


def test_a_meter_that_takes_one_query_a_message_is_found_out() -> None:
    meter, device, _, _ = simulated(connect=False, driver={"pulses_per_message": 50})
    plain = device._start

    def one_only(text: str) -> None:
        if ";" in text:
            device._errors.add(-113, "Undefined header")
        else:
            plain(text)

    device._start = one_only  # type: ignore[method-assign]
    meter.connect()
    assert meter.read_pulses(50).pulses == 50
    assert meter.status().ok


@pytest.mark.parametrize("options", READINGS)
def test_no_light_is_reported_and_the_link_survives(options: dict[str, Any]) -> None:
    meter, device, world, clock = simulated(**options)
    world.laser_on = False
    began = clock.now()
    with pytest.raises(NoReply):
        meter.read_pulses(10)
    assert clock.now() - began < (1.5 if device.fetch_state else 11.0)
    assert meter.status() is not None
    world.laser_on = True
    assert meter.read_pulses(10).pulses == 10
    assert not device.hung


def test_no_light_is_no_reply_and_says_what_to_do() -> None:
    meter, _, world, _ = simulated()
    world.laser_on = False
    with pytest.raises(NoReply, match="light"):
        meter.read_pulses(1)


@pytest.mark.parametrize("per_message", [1, 4])
@pytest.mark.parametrize("answer", [None, "0.000000E+00", "9.9E37"])
def test_light_that_fails_in_the_middle(per_message: int, answer: str | None) -> None:
    """The meter blocks; the driver must not say a word before it is through."""
    meter, device, world, clock = simulated(
        driver={"pulses_per_message": per_message}, timeout_answer=answer
    )
    world.dark_from_s = clock.now() + 0.0105
    with pytest.raises(NoReply):
        meter.read_pulses(100)
    assert meter.status() is not None
    assert not device.hung
    world.dark_from_s = math.inf
    assert meter.read_pulses(100).pulses == 100


def test_the_simulator_hangs_when_talked_to_while_it_blocks() -> None:
    """What the test above would be worth nothing without."""
    meter, device, world, clock = simulated()
    world.laser_on = False
    device.receive(b"READ?\n")
    clock.sleep(1.0)
    device.receive(b"ABOR\n")
    clock.sleep(20.0)
    assert device.hung
    with pytest.raises(NoReply):
        meter.status()


def test_an_interrupted_wait_keeps_silence() -> None:
    """Ctrl-C in the middle of READ?: the next word must wait until the meter listens again."""
    meter, device, world, clock = simulated(model="PM100D")
    world.laser_on = False

    def interrupt() -> Any:
        raise KeyboardInterrupt

    plain = meter.adapter._read
    meter.adapter._read = lambda **kwargs: interrupt()
    with pytest.raises(KeyboardInterrupt):
        meter.read_pulses(5)
    meter.adapter._read = plain
    meter.make_safe()
    began = clock.now()
    assert meter.status() is not None
    assert clock.now() - began > 10.0
    assert not device.hung


def test_an_old_meter_with_a_known_bit_is_polled() -> None:
    meter, device, world, clock = simulated(model="PM100D", driver={"ready_bit": 9})
    device.messages.clear()
    meter.read_pulses(3)
    assert "STAT:OPER:COND?" in device.messages
    world.laser_on = False
    began = clock.now()
    with pytest.raises(NoReply):
        meter.read_pulses(3)
    assert clock.now() - began < 1.5
    assert device.messages[-1] == "ABOR"


def test_slow_laser() -> None:
    world = FakeWorld(rate_Hz=5.0)
    meter, _, _, clock = simulated(world=world, driver={"pulses_per_message": 4})
    began = clock.now()
    assert meter.read_pulses(9).pulses == 9
    assert 1.6 <= clock.now() - began < 2.6


def test_light_that_comes_while_the_meter_waits() -> None:
    meter, _device, world, clock = simulated(model="PM100D")
    world.laser_on = False
    clock.every(3.0, lambda: setattr(world, "laser_on", True))
    began = clock.now()
    assert meter.read_pulses(4).mean_J == pytest.approx(1.03e-7, rel=0.05)
    assert 2.0 < clock.now() - began < 4.0


# ---- ranges ---------------------------------------------------------------------------------


def test_ranges() -> None:
    meter, device, _world, _ = simulated()
    assert meter.limits["range_J"].high == pytest.approx(2e-2)
    for energy, upper in ((1e-9, 2e-9), (2.1e-9, 2e-8), (2e-6, 2e-6), (1.9e-2, 2e-2), (0.0, 2e-9)):
        assert meter.set_range_J(energy) == pytest.approx(upper)
        assert device.range_J == pytest.approx(upper)
    device.messages.clear()
    for wrong in (0.021, -1e-9, math.nan, math.inf):
        with pytest.raises(LimitError):
            meter.set_range_J(wrong)
    assert device.messages == []
    meter.set_range_J(1.5e-9)
    device.messages.clear()
    assert meter.set_range_J(1.6e-9) == pytest.approx(2e-9)  # known to be the same range
    assert device.messages == []


def test_beyond_the_range_is_refused() -> None:
    meter, _, _world, _ = simulated()
    for overrange in ("9.9E37", "INF"):
        meter.adapter.device.overrange = overrange
        meter.set_range_J(1e-8)
        with pytest.raises(DeviceFault, match="larger range"):
            meter.read_pulses(5)
        meter.set_range_J(1.5e-7)
        assert meter.read_pulses(5).pulses == 5


def test_pulses_below_the_threshold_are_refused() -> None:
    meter, _device, world, _ = simulated()
    meter.set_range_J(1e-3)
    with pytest.raises(NoReply, match="threshold"):
        meter.read_pulses(5)
    # near the threshold the weak half of the pulses is lost, and the mean would be wrong
    meter.set_range_J(1.5e-7)
    world.energy_J, world.noise = 1.03e-8, 0.05
    with pytest.raises(DeviceFault, match="weaker ones are lost"):
        meter.read_pulses(50)


def test_auto_range_left_on_is_switched_off() -> None:
    meter, device, _, _ = simulated(connect=False)
    device.auto_range = True
    meter.connect()
    assert device.auto_range is False


def test_a_range_changed_at_the_meter_is_noticed() -> None:
    meter, device, _, _ = simulated()
    device.range_J = 2e-6
    with pytest.raises(BadReply, match="changed the range"):
        meter.read_pulses(10)
    assert meter.set_range_J(1.5e-7) == pytest.approx(2e-7)
    assert meter.read_pulses(10).pulses == 10


def test_a_meter_that_triggers_on_less_is_believed() -> None:
    """What the percentage refers to is not known for every meter; readings are readings."""
    meter, device, _, _ = simulated()
    device._threshold_J = lambda: 1e-12  # type: ignore[method-assign]
    meter.set_range_J(1.9e-5)
    device.noise_of_range = 0.0
    assert meter.read_pulses(50).mean_J == pytest.approx(1.03e-7, rel=0.02)


def _always(answer: str, *_ignored: float) -> str:
    return answer


def test_readings_that_the_range_cannot_give_are_refused(monkeypatch: Any) -> None:
    meter, device, _, _ = simulated()
    for wrong in ("2.500000E-07", "-1.000000E-07"):
        monkeypatch.setattr(device, "_reading", partial(_always, wrong))
        with pytest.raises(BadReply):
            meter.read_pulses(2)
        device.clock.sleep(11.0)


@pytest.mark.parametrize("energy_J", [1.3e-9, 8e-9, 1e-7, 3.1e-6, 1.7e-2])
def test_the_range_is_found(energy_J: float) -> None:
    meter, device, world, _ = simulated(world=FakeWorld(energy_J / 1.03))
    upper = meter.find_range_J()
    assert upper == device.range_J == meter.range_J
    assert 1.25 * energy_J < upper < 14.0 * energy_J or upper == 2e-2
    assert meter.read_pulses(20).mean_J == pytest.approx(energy_J, rel=0.03)
    world.laser_on = False
    with pytest.raises(NoReply):
        meter.find_range_J()


# ---- zero -----------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["PM103", "PM100D"])
def test_zero(model: str) -> None:
    meter, device, world, _ = simulated(model=model, offset_J=3e-9, zero_s=4.0)
    assert meter.read_pulses(100).mean_J == pytest.approx(1.06e-7, rel=0.01)
    world.laser_on = False
    assert meter.zero() == pytest.approx(3e-9)
    world.laser_on = True
    assert meter.range_J == device.range_J == pytest.approx(2e-7)
    assert meter.read_pulses(100).mean_J == pytest.approx(1.03e-7, rel=0.01)
    assert meter.status().ok and not device.hung


def test_zero_with_light_is_refused() -> None:
    meter, device, world, clock = simulated(offset_J=1e-9)
    for energy_J in (1e-7, 1e-9):  # beyond the smallest range, and within it
        world.energy_J = energy_J
        with pytest.raises(NotReady, match="block the beam"):
            meter.zero()
        assert not any("ZERO" in message for message in device.messages)
    # Light that comes on meanwhile spoils the zero, and is told.
    world.energy_J, world.laser_on = 1e-7, False
    clock.every(1.5, lambda: setattr(world, "laser_on", True))
    with pytest.raises(NotReady, match="spoiled"):
        meter.zero()
    assert meter.range_J == pytest.approx(2e-7)


def test_a_meter_that_does_not_set_its_zero() -> None:
    for options, words in (({"zeroes": False}, "refuses.*conflict"), ({"zero_s": 100.0}, "60 s")):
        meter, _, world, clock = simulated(**options)
        world.laser_on = False
        began = clock.now()
        with pytest.raises(DeviceFault, match=words):
            meter.zero()
        assert clock.now() - began < 66.0
        assert meter.status().ok and meter.range_J == pytest.approx(2e-7)


# ---- settings -------------------------------------------------------------------------------


def test_wavelength() -> None:
    meter, device, _, _ = simulated()
    assert meter.set_wavelength_nm(390.4) == 390.0
    assert device.wavelength_nm == 390.0
    for wrong in (100.0, 3000.0, math.nan):
        with pytest.raises(LimitError):
            meter.set_wavelength_nm(wrong)
    assert device.wavelength_nm == 390.0


def test_an_error_in_the_queue_after_a_setting_is_raised() -> None:
    meter, device, _, _ = simulated()
    plain = device._wavelength

    def refuse(query: bool, text: str) -> str | None:
        if not query:
            device._errors.add(-222, "Data out of range")
            return None
        return plain(query, text)

    name = next(n for n in device.headers.known if n.endswith("CORR:WAV"))
    device.headers.known[name] = refuse
    with pytest.raises(DeviceFault, match="Data out of range"):
        meter.set_wavelength_nm(500.0)


def test_connecting_again_brings_the_settings_back() -> None:
    """A meter that was switched off and on comes back as it was set, not as it woke up."""
    meter, device, _, _ = simulated()
    meter.set_wavelength_nm(532.0)
    meter.set_range_J(1.5e-6)
    device._reset()
    device.auto_range = True
    meter.connect()
    assert device.wavelength_nm == 532.0
    assert device.range_J == pytest.approx(2e-6)
    assert not device.auto_range


def test_settings_that_are_not_given_are_kept() -> None:
    meter, device, _, _ = simulated(connect=False, driver={"wavelength_nm": None, "range_J": None})
    device.wavelength_nm, device.range_J = 633.0, device.ranges_J[3]
    device._settings["[SENSe:]CORRection[:LOSS[:INPut[:MAGNitude]]]"][0] = 10.0
    meter.connect()
    assert meter.wavelength_nm == 633.0
    assert meter.range_J == pytest.approx(2e-6)
    assert meter.correction_dB == 0.0


@pytest.mark.parametrize(
    ("sensor", "word"), [("S120C", "photodiode"), ("S470C", "thermopile"), ("none", "no sensor")]
)
def test_other_heads_are_refused(sensor: str, word: str) -> None:
    meter, _, _, _ = simulated(connect=False, sensor=sensor)
    with pytest.raises(NotReady, match=word):
        meter.connect()


def test_a_head_that_was_changed_is_noticed() -> None:
    meter, device, _, _ = simulated()
    from sim_drivers.devices.thorlabs_pm100 import SENSORS

    device.sensor = SENSORS["S120C"]
    status = meter.status()
    assert not status.ok and "S120C" in status.text


def test_other_instruments_are_refused() -> None:
    for identity in ("THORLABS,SC10,1,2", "Newport,1936-R,1,2", "hello"):
        meter, device, _, _ = simulated(connect=False)
        device.identity = identity
        with pytest.raises(WrongIdentity):
            meter.connect()
    meter, device, _, clock = simulated(connect=False)
    device.hung = True
    began = clock.now()
    with pytest.raises(NoReply):
        meter.connect()
    assert clock.now() - began < 3.0


def test_not_connected_and_misspelt() -> None:
    meter, device, _, _ = simulated(connect=False)
    for use in (lambda: meter.identity, lambda: meter.limits, lambda: meter.read_pulses(1)):
        with pytest.raises(NotReady):
            use()
    with pytest.raises(AttributeError):
        meter.wavelenght_nm = 500.0
    meter.make_safe()
    meter.close()
    meter.close()
    assert device.messages == []


@pytest.mark.parametrize("pulses", [0, -3, 10**9])
def test_number_of_pulses(pulses: int) -> None:
    meter, _, _, _ = simulated()
    with pytest.raises(LimitError):
        meter.read_pulses(pulses)


def test_the_spread_of_one_pulse_is_unknown() -> None:
    meter, _, _, _ = simulated()
    energy = meter.read_pulses(1)
    assert energy.mean_J > 0.0
    assert math.isnan(energy.error_J)


def test_noise_goes_on_where_a_resumed_run_left_it() -> None:
    meter, device, world, _ = simulated()
    meter.read_pulses(30)
    state = device.state()
    expected = meter.read_pulses(5).singles_J
    world.noise = 0.0
    reference, other, still, _ = simulated()
    still.noise = 0.0
    reference.read_pulses(3)
    other.restore(state)
    noise = reference.read_pulses(5).singles_J - 1.03e-7
    drawn = 0.003 * 2e-7 * normals(11, "energy_meter", 30, 5)
    assert np.allclose(noise, drawn, atol=1e-12)
    assert expected.shape == (5,)


# ---- broken lines ---------------------------------------------------------------------------


STRAYS = (b"hello\n", b"\n", b'0,"No error"\n', b"%d\n")
BadLine = partial(
    Mangler,
    strays=STRAYS,
    late_s=0.2,
    later_s=1.0,
    garbage=b"?x \xff,#",
    credible=CREDIBLE | {"stray", "double"},
)
HARMS = [kind for kind in KINDS if kind not in ("flip", "digit")]  # a pulse cannot be asked twice
damages = plans(HARMS, most=15)


@settings(max_examples=150, deadline=None)
@given(damage=damages, model=st.sampled_from(["PM103", "PM100D"]), many=st.booleans())
def test_broken_replies_never_make_a_wrong_energy(
    damage: list[Step], model: str, many: bool
) -> None:
    meter, device, _, clock = simulated(
        model=model, driver={"pulses_per_message": 4 if many else 1}
    )
    shown: list[float] = []
    plain = device._reading

    def reading(energy_J: float, divisor: float) -> str:
        shown.append(float(plain(energy_J, divisor)))
        return device._show(shown[-1])

    device._reading = reading  # type: ignore[method-assign]
    meter.adapter.device = BadLine(device, damage)
    try:
        energy = meter.read_pulses(6)
    except InstrumentError:
        pass
    else:
        assert set(energy.singles_J.tolist()) <= set(shown)
    clock.sleep(12.0)
    meter.adapter.device = device
    assert meter.read_pulses(6).pulses == 6
    assert not device.hung


@settings(max_examples=150, deadline=None)
@given(damage=plans([*HARMS, "digit"], most=15))
def test_broken_replies_never_make_a_wrong_setting(damage: list[Step]) -> None:
    meter, device, _, _clock = simulated()
    meter.adapter.device = BadLine(device, damage)
    for _ in range(2):
        try:
            snapshot = meter.snapshot()
        except InstrumentError:
            continue
        assert snapshot["wavelength_nm"].value == 400.0
        assert snapshot["range_J"].value == pytest.approx(2e-7)
        assert snapshot["trigger_threshold_percent"].value == 5.0
    try:
        taken, upper = meter.set_wavelength_nm(532.0), meter.set_range_J(1.5e-6)
    except InstrumentError:
        return
    assert (taken, device.wavelength_nm) == (532.0, 532.0)
    assert (upper, device.range_J) == pytest.approx((2e-6, 2e-6))


def test_late_numbers_are_not_taken_for_others() -> None:
    """Three replies to one query come seconds late, when another question is being asked."""
    meter, device, _, clock = simulated()
    meter.adapter.device = BadLine(device, [("late", 2), ("late", 2), ("late", 2)])
    with pytest.raises(NoReply):
        _ = meter.wavelength_nm
    clock.sleep(1.2)
    assert meter.trigger_threshold_percent == 5.0
    assert meter.range_J == pytest.approx(2e-7)


@pytest.mark.parametrize("damage", [[("double", 0)] * 4, [("stray", 0), ("double", 0)]])
def test_over_usb_nothing_is_read_without_a_query(damage: list[Step]) -> None:
    """A USBTMC meter takes that for an error; what is out of step is found by *IDN? instead."""
    meter, device, _, _ = simulated()
    meter.adapter.connection.resource_name = "USB0::0x1313::0x8078::P0009368::INSTR"
    flushed: list[int] = []
    meter.adapter.flush_read_buffer = lambda: flushed.append(1)
    meter.adapter.device = BadLine(device, damage)
    assert meter.trigger_threshold_percent == 5.0
    assert meter.read_pulses(5).pulses == 5
    assert meter.wavelength_nm == 400.0
    assert not flushed


# ---- over the wire --------------------------------------------------------------------------


class QuickWorld(FakeWorld):
    """The same on the wall clock."""

    def __init__(self, start_s: float) -> None:
        super().__init__()
        self.start_s = start_s


@pytest.mark.parametrize("place", ["tcp", "pty"])
def test_over_real_pyvisa(place: str) -> None:
    if place == "pty" and sys.platform == "win32":
        pytest.skip("pseudo-terminals exist on POSIX systems only")
    clock = WallClock()
    device = SimulatedPM100(clock, QuickWorld(clock.now()), seed=1)
    served = serve_pty(device) if place == "pty" else serve_tcp(device)
    try:
        meter = PM100(open_visa(served.resource, PM100), wavelength_nm=400.0, range_J=1.5e-7)
        meter.connect()
        assert meter.read_pulses(10).mean_J == pytest.approx(1.03e-7, rel=0.05)
        meter.close()
    finally:
        served.close()


# pymeasure's own remark about this very driver
STOCK = pytest.mark.filterwarnings("ignore:It is not known whether:FutureWarning")


@STOCK
@pytest.mark.parametrize("quoted", [True, False])
def test_independent_client_of_pymeasure(quoted: bool) -> None:
    clock = WallClock()
    device = SimulatedPM100(clock, QuickWorld(clock.now()), quoted=quoted)
    served = serve_tcp(device)
    try:
        meter = ThorlabsPM100USB(
            served.resource, write_termination="\n", read_termination="\n", timeout=2000
        )
        assert meter.is_energy_sensor and not meter.is_power_sensor
        assert meter.sensor_name.strip('"') == "ES111C"
        meter.wavelength = 390
        assert meter.wavelength == 390.0
        assert (meter.wavelength_min, meter.wavelength_max) == (185.0, 2500.0)
        meter.write("SENS:ENER:RANG 1.5E-7")
        assert meter.energy == pytest.approx(1.03e-7, rel=0.12)
        meter.adapter.close()
    finally:
        served.close()


@STOCK
def test_independent_client_of_pymeasure_with_a_photodiode() -> None:
    clock = WallClock()
    device = SimulatedPM100(clock, QuickWorld(clock.now()), sensor="S120C")
    served = serve_tcp(device)
    try:
        meter = ThorlabsPM100USB(
            served.resource, write_termination="\n", read_termination="\n", timeout=2000
        )
        assert meter.is_power_sensor and not meter.is_energy_sensor
        assert meter.power == pytest.approx(1.03e-4, rel=0.1)
        meter.adapter.close()
    finally:
        served.close()


def test_watching_never_makes_the_meter_wait() -> None:
    meter, _, world, clock = simulated()
    assert meter.watch_pulses(5, 0.05).pulses == 5
    assert meter.unseen_s == 0.0
    world.dark_from_s = clock.now() + 0.0105
    begun = clock.now()
    with pytest.raises(NoPulse):
        meter.watch_pulses(100, 0.05)
    assert clock.now() - begun < 0.2
    assert meter.unseen_s >= 0.05
    world.dark_from_s = math.inf
    assert meter.read_pulses(2).pulses == 2
    assert meter.unseen_s == 0.0
    world.dark_from_s = clock.now() + 0.0105
    meter._asked = (clock.now(), 1)  # as in the middle of a READ? that waits
    clock.sleep(1.0)
    assert meter.unseen_s > 0.8
