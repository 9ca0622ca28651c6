"""What the drivers of ICL devices have in common: opening, asking, and coming back.

For `icl_monochromator` and `icl_camera`. A device is named by its index in the ICL's list. When the
ICL was restarted, or another program closed the device, it is opened again, identified again and
given back the settings it lost, before the request is repeated; a request that starts something
which must not happen twice is never repeated. Also here: reading numbers out of replies.
"""

from __future__ import annotations

import contextlib
import math
import re
import threading
from collections.abc import Mapping
from typing import Any, ClassVar

from instruments.clock import Clock
from instruments.drivers.icl_link import REPLY_S, Channel, IclLink, LinkLost, Refused, open_icl
from instruments.errors import (
    BadReply,
    BenchError,
    DeviceFault,
    LimitError,
    NoReply,
    NotReady,
    WrongIdentity,
)
from instruments.roles import Identity, Role

RETURN_S = 30.0
"""How long an ICL, or a device, may take to come back after a restart."""
_DISCOVER_S = 20.0
_OPEN_S = 30.0
_TRIES = 3

# Error codes of the ICL (manual rev 2.1.0, "Error Codes"); -300 to -326 cameras, -500 to -524
# monochromators.
_ALREADY_OPEN = frozenset({-300, -301, -500, -501})
_NOT_OPEN = frozenset({-302, -303, -304, -305, -503, -504, -506})
_NOT_THERE = frozenset({-306, -307, -507, -508})
_NOT_NOW = frozenset({-309, -310, -311, -320, -502, -505})
_NOT_ALLOWED = frozenset({-317, -318, -513})
_LOST = frozenset({-512, -514, -520})
NOT_INITIALISED = -505
UNKNOWN_COMMAND = frozenset({-1, -2, -315, -510})
NOT_READY = frozenset({-309, -311, -312, -316, -320, -321})
"""What the ICL may answer to a request for frames that are not there yet."""

_WHOLE = re.compile(r"[+-]?\d{1,15}")
_NUMBER = re.compile(r"[+-]?\d{1,15}(\.\d{1,20})?([eE][+-]?\d{1,3})?")


class IclDevice(Role):
    """A device behind the ICL.

    Args:
        link: to the ICL. clock: the bench's clock. index: in the ICL's list of such devices.
        serial: refuse a device with another serial number.
    """

    DRIVER_ID: ClassVar[str] = "horiba-icl"
    TIMEOUT_S: ClassVar[float] = REPLY_S
    PREFIX: ClassVar[str]
    KIND: ClassVar[str]

    def __init__(
        self, link: IclLink, clock: Clock | None, *, index: int, serial: str | None
    ) -> None:
        if isinstance(index, bool) or index < 0:
            raise LimitError(f"index: {index} was given, allowed is 0 and up", key="index")
        self.link = link
        self.clock: Clock = clock if clock is not None else link.clock
        self.lock = threading.RLock()
        self.index = index
        self.name = f"{self.KIND} {index} of {link.name}"
        self._serial_wanted = serial
        self._identity: Identity | None = None
        self._generation = 0  # of the link in which the device was opened; 0: not open
        self._connected = False
        self._recovering = False

    @classmethod
    def open_link(cls, resource: str) -> IclLink:
        """Return a link to the ICL at `ws://host:port`."""
        return open_icl(resource)

    @classmethod
    def link_on(cls, open_channel: Any, clock: Clock) -> IclLink:
        """Return a link over channels that `open_channel()` gives (see `icl_link.Channel`)."""

        def opened() -> Channel:
            channel: Channel = open_channel()
            return channel

        return IclLink(opened, clock)

    # ---- what the devices do differently -----------------------------------------------------

    def _identify(self, entry: Mapping[str, Any]) -> Identity:
        """Return who the open device is, from the ICL's list and its configuration."""
        raise NotImplementedError

    def _restore(self) -> None:
        """Bring the device, just opened again, back to the settings that are wanted."""
        raise NotImplementedError

    # ---- opening and closing -----------------------------------------------------------------

    @property
    def identity(self) -> Identity:
        """See Role; NotReady before `connect`."""
        if self._identity is None:
            raise NotReady(f"{self.name}: not connected; call connect() first")
        return self._identity

    def _attach(self) -> None:
        """Connect the link and open the device for the first time."""
        self.link.attach(self)
        self._identity = None
        self._recovering = True
        try:
            self._establish(0.0)
            self._connected = True
        finally:
            self._recovering = False

    def _establish(self, patience_s: float) -> None:
        """Connect the link and open the device; a link may be found dead when it is used."""
        try:
            self.link.connect(patience_s)
            self._open(patience_s)
        except LinkLost:
            self.link.connect(patience_s)
            self._open(patience_s)

    def _open(self, patience_s: float) -> None:
        """Open the device, waiting up to `patience_s` for it to be listed; identify it."""
        deadline = self.clock.now() + patience_s
        while (entry := self._listed()) is None:
            if self.clock.now() >= deadline:
                raise NoReply(
                    f"{self.name}: the ICL lists no such {self.KIND}; is it switched on and its "
                    "USB cable connected? Close other programs that use it, then restart the ICL"
                )
            self.clock.sleep(1.0)
        while True:
            try:
                self._request("open", timeout_s=_OPEN_S)
                break
            except Refused as error:
                if error.number in _ALREADY_OPEN:
                    break
                if self.clock.now() >= deadline:
                    raise self._plain(error) from error
            self.clock.sleep(1.0)
        self.link.opened.add((self.PREFIX, self.index))
        found = self._identify(entry)
        known = self._identity.serial if self._identity is not None else self._serial_wanted
        if known is not None and found.serial != known:
            with contextlib.suppress(BenchError):
                self._request("close")
            raise WrongIdentity(
                f"{self.name}: serial number {found.serial!r} answers, expected is {known!r}"
            )
        self._identity = found
        self._generation = self.link.generation

    def _listed(self) -> Mapping[str, Any] | None:
        """Return the device's entry in the ICL's list; lets the ICL search if it has none."""
        with self.link.lock:
            entry = self._entry()
            others = any(prefix == self.PREFIX for prefix, _ in self.link.opened)
            if entry is None and not others:  # a search drops the devices that are in use
                with contextlib.suppress(Refused):
                    self.link.request(f"{self.PREFIX}_discover", None, _DISCOVER_S)
                entry = self._entry()
            return entry

    def _entry(self) -> Mapping[str, Any] | None:
        try:
            listed = self.link.request(f"{self.PREFIX}_list").get("devices")
        except Refused:  # nothing searched for yet
            return None
        if listed is None:
            return None
        if not isinstance(listed, list):
            raise BadReply(f"{self.name}: the ICL's list of devices is none: {str(listed)[:60]}")
        for entry in listed:
            if not isinstance(entry, dict):
                raise BadReply(f"{self.name}: {str(entry)[:60]} stands in the list of devices")
            if whole(entry, "index", 0, 1000) == self.index:
                return entry
        return None

    def reopen(self) -> None:
        """Drop the link's connection; the next request comes back by itself."""
        self.link.reopen()

    def recover(self) -> None:
        """Connect anew, identify again, give back lost settings."""
        with self.lock:
            self._need()
            self.link.reopen()
            self._come_back()

    def close(self) -> None:
        """Close the device and release the link; callable more than once, never raises."""
        with self.lock:
            if self._connected:
                with contextlib.suppress(Exception):
                    self.make_safe()
                if self.link.connected and self._generation == self.link.generation:
                    with contextlib.suppress(Exception):
                        self._request("close", timeout_s=2.0)
                    self.link.opened.discard((self.PREFIX, self.index))
            self._connected = False
            self._generation = 0
            self.link.release(self)

    def _need(self) -> None:
        if not self._connected:
            raise NotReady(f"{self.name}: not connected; call connect() first")

    # ---- asking ------------------------------------------------------------------------------

    def _request(self, verb: str, timeout_s: float = REPLY_S, **parameters: Any) -> dict[str, Any]:
        """Send once, whatever state the device is in; raises what the link raises."""
        return self.link.request(
            f"{self.PREFIX}_{verb}", {"index": self.index, **parameters}, timeout_s
        )

    def _ask(
        self, verb: str, *, timeout_s: float = REPLY_S, sure: bool = True, **parameters: Any
    ) -> dict[str, Any]:
        """Send a command to the open device, return the results.

        Repeated up to twice when the device turns out to be closed, and after a broken connection
        or a garbled reply, when it may have been carried out: that not if `sure` is off. Silence
        is not repeated, the time-out is long.
        """
        tries = _TRIES
        while True:
            tries -= 1
            try:
                if not self._recovering:
                    self._come_back()
                return self._request(verb, timeout_s, **parameters)
            except Refused as error:
                gone = error.number in _NOT_OPEN or error.number == NOT_INITIALISED
                if not gone or not tries or self._recovering:
                    raise self._plain(error) from error
                self._generation = 0
            except (LinkLost, BadReply):
                if not sure or not tries or (self._recovering and not self.link.connected):
                    raise

    def _come_back(self) -> None:
        """Open the device again if the link, or the device, was lost; else nothing."""
        self._need()
        if self.link.connected and self._generation == self.link.generation:
            return
        self._recovering = True
        try:
            self._establish(RETURN_S)
            self._restore()
        except BaseException:
            self._generation = 0
            raise
        finally:
            self._recovering = False

    def _plain(self, error: Refused) -> BenchError:
        """Return the ICL's error in the bench's words."""
        number, text = error.number, f"{self.name}: {error}"
        if number in _NOT_ALLOWED:
            return LimitError(f"{text}; the {self.KIND} does not offer this value")
        if number in _NOT_THERE:
            return NoReply(f"{text}; is it switched on and its USB cable connected?")
        if number in _LOST:
            return NoReply(f"{text}; check its USB cable and power, then restart the ICL")
        if number in _NOT_NOW or number in _NOT_OPEN:
            return NotReady(f"{text}; wait, or initialise it, then try again")
        return DeviceFault(text)


# ---- values out of replies ----------------------------------------------------------------------


def whole(values: Mapping[str, Any], key: str, low: int, high: int) -> int:
    """Return a whole number; the ICL writes some as text. BadReply if it is none, or outside."""
    value = values.get(key)
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise BadReply(
            f"the ICL answers {key} = {str(value)[:40]!r}, "
            f"expected is a whole number from {low} to {high}"
        )
    return value


def number(values: Mapping[str, Any], key: str, low: float, high: float) -> float:
    """Return a number; BadReply if it is none, or outside."""
    value = values.get(key)
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadReply(f"the ICL answers {key} = {str(value)[:40]!r}, expected is a number")
    if not math.isfinite(value) or not low <= value <= high:
        raise BadReply(f"the ICL answers {key} = {value}, expected is {low:g} to {high:g}")
    return float(value)


def truth(values: Mapping[str, Any], key: str) -> bool:
    """Return yes or no, written true, "true" or 1; BadReply otherwise."""
    value = values.get(key)
    if isinstance(value, str):
        value = {"true": True, "false": False}.get(value.strip().lower(), value)
    if value is True or value is False:
        return value
    if type(value) is int and value in (0, 1):
        return bool(value)
    raise BadReply(f"the ICL answers {key} = {str(value)[:40]!r}, expected is true or false")


def text(values: Mapping[str, Any], *keys: str) -> str:
    """Return the first of some texts that is there, without outer blanks; "" if none is."""
    for key in keys:
        value = values.get(key)
        if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
            return str(value).strip()
    return ""


def records(values: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """Return a list of objects, empty if there is none; BadReply for anything else."""
    found = values.get(key)
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise BadReply(f"the ICL answers {key} = {str(found)[:40]!r}, expected is a list")
    return found


def configuration(results: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the configuration in a reply; BadReply if there is none."""
    found = results.get("configuration")
    if not isinstance(found, dict):
        raise BadReply(f"the ICL answers configuration = {str(found)[:40]!r}, which is none")
    return found
