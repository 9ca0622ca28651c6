"""How a simulated ICL words things: its error codes, and every reading that is not verified.

For the simulated ICL and its two devices. The defaults are the manual's (revision 2.1.0); what the
vendor's package, its stand-in server and the examples do otherwise can be played by an option each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

WORDS: Mapping[int, str] = {
    -1: "ICL error: no parser found",
    -2: "ICL error: unknown command",
    -3: "ICL error: invalid bin mode",
    -301: "CCD error: already open",
    -302: "CCD error: already closed",
    -305: "CCD error: not open",
    -306: "CCD error: not found",
    -307: "CCD error: invalid device index",
    -309: "CCD error: acquiring",
    -311: "CCD error: not ready for acquisition",
    -312: "CCD error: get spectra failed",
    -315: "CCD error: command not supported",
    -317: "CCD error: invalid token",
    -318: "CCD error: invalid value",
    -320: "CCD error: acquisition already running",
    -322: "CCD error: unsupported acquisition format",
    -324: "CCD error: missing parameter",
    -501: "MONO error: already open",
    -503: "MONO error: already closed",
    -505: "MONO error: not initialized",
    -506: "MONO error: not open",
    -507: "MONO error: not found",
    -508: "MONO error: invalid device index",
    -510: "MONO error: command not supported",
    -513: "MONO error: invalid parameter",
    -519: "MONO error: command error",
    -521: "MONO error: missing parameter",
    -524: "MONO error: accessory not found",
    -910: "SAQ3 error: command not supported",
}


class Refusal(Exception):
    """The ICL answers with an error."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code

    @property
    def entry(self) -> str:
        """The text in a reply's `errors`."""
        return f"[E];{self.code};{WORDS[self.code]}"


@dataclass(frozen=True)
class Dialect:
    """What is told differently in different places.

    Attributes:
        numbers_as_text: chip sizes in the configuration are texts (manual) or numbers (stand-in).
        switches_as_text: yes and no in the configuration are texts.
        data_shape: "nested" (xData and yData as lists of one list), "flat", or "pairs" (xyData).
        first_frame: number of the first frame in the data.
        echo_of_roi: the command that a reply to ccd_setRoi names.
        bare_replies: `results` and `errors` are left out where there are none.
        early_data: asking for frames that are not there yet gives "error" or, the frames before,
            "stale".
        busy_after_s: how long after its start an acquisition or a move is first told as busy.
        knows_ready: ccd_getAcquisitionReady is known.
        simple_camera: it has no trigger input, no cleaning and no conversion of the x axis.
        takes_series: ccd_setAcqCount above 1 is taken.
        microseconds: the timer resolution of 1 us can be had.
        telling_while_acquiring: temperature and settings are told during an acquisition.
        restart_keeps_open: a restarted camera stays open (the package says so; the manual not).
        mirrors_from: 0 or 1, the number of the entrance mirror in commands.
        stand_in_names: keys of the monochromator's configuration as the stand-in server has them.
        moves_block: a move is answered when it is done.
        initialized_while_busy: told truly while busy (False: always no).
        turret_keeps_wavelength: a turret change comes back to the wavelength.
    """

    numbers_as_text: bool = True
    switches_as_text: bool = False
    data_shape: str = "nested"
    first_frame: int = 1
    echo_of_roi: str = "ccd_Roi"
    bare_replies: bool = False
    early_data: str = "error"
    busy_after_s: float = 0.3
    knows_ready: bool = True
    simple_camera: bool = False
    takes_series: bool = True
    microseconds: bool = True
    telling_while_acquiring: bool = True
    restart_keeps_open: bool = False
    mirrors_from: int = 0
    stand_in_names: bool = False
    moves_block: bool = False
    initialized_while_busy: bool = False
    turret_keeps_wavelength: bool = False


@dataclass
class Answer:
    """What a device answers: results, and after how long (s)."""

    results: dict[str, Any]
    after_s: float = 0.005


def whole_of(parameters: Mapping[str, Any], key: str, missing: int, wrong: int) -> int:
    """Return a whole number among the parameters; Refusal if it is missing or none."""
    if key not in parameters:
        raise Refusal(missing)
    value = parameters[key]
    if isinstance(value, bool) or not isinstance(value, int):
        raise Refusal(wrong)
    return value


def number_of(parameters: Mapping[str, Any], key: str, missing: int, wrong: int) -> float:
    """Return a number among the parameters; Refusal if it is missing or none."""
    if key not in parameters:
        raise Refusal(missing)
    value = parameters[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e9 < value < 1e9:
        raise Refusal(wrong)
    return float(value)
