"""The errors of the bench: what was asked, what is allowed, what to do.

For everybody above the drivers. One small hierarchy; `exit_code` is what a command that ends
with the error returns to the shell (1 the measurement failed, 2 bad input, 3 interlock).
"""

from __future__ import annotations


class BenchError(Exception):
    """Anything the bench reports to its operator; the message says what to do next."""

    exit_code = 1
    code = "bench"


class ConfigError(BenchError):
    """A bench file (or a parameter) holds what is not allowed.

    `file` and `key` name the place; the message names the value given and what is allowed.
    """

    exit_code = 2
    code = "config"

    def __init__(self, message: str, *, file: str | None = None, key: str | None = None) -> None:
        where = ": ".join(part for part in (file, key) if part)
        super().__init__(f"{where}: {message}" if where else message)
        self.file = file
        self.key = key


class LimitError(BenchError):
    """A request outside the limits; nothing has moved."""

    exit_code = 2
    code = "limit"

    def __init__(self, message: str, *, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key


class InstrumentError(BenchError):
    """An instrument did not do what it was asked."""

    code = "instrument"


class NoReply(InstrumentError):
    """An instrument did not answer in time."""

    code = "no-reply"


class NoPulse(NoReply):
    """An energy meter that answers has seen no pulse for as long as it was given."""


class BadReply(InstrumentError):
    """An instrument answered with something its protocol does not allow."""

    code = "bad-reply"


class DeviceFault(InstrumentError):
    """An instrument reported an error of its own."""

    code = "device-fault"


class BeyondRange(DeviceFault):
    """A pulse was stronger than the range of the energy meter."""


class WrongIdentity(InstrumentError):
    """Another instrument than the one expected answered."""

    code = "wrong-identity"


class NotReady(InstrumentError):
    """An instrument is not in a state to be used: not homed, not cooled, not referenced."""

    code = "not-ready"


class InterlockTripped(BenchError):
    """The watch closed the shutter."""

    exit_code = 3
    code = "interlock"
