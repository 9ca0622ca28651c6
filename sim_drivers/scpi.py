"""What instruments with text commands have in common: lines, headers, parameters, errors.

For simulated devices. `Lines` cuts what the host sends into messages, `Headers` finds the handler
of a SCPI header in its long or short form, `parameter` and `bound` read what follows it, and
`ErrorQueue` keeps what went wrong. What the commands do is the device's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Handler = Callable[[bool, str], Any]
"""Takes whether it is a query, and the text after the header."""

_LONGEST_LINE = 4096


class CommandError(Exception):
    """A command that the device cannot do: number and text for its queue of errors."""

    def __init__(self, code: int, text: str = "") -> None:
        super().__init__(code, text)
        self.code, self.text = code, text


class ErrorQueue(list[tuple[int, str]]):
    """Errors, oldest first; what does not fit any more is lost."""

    def __init__(self, most: int = 20) -> None:
        super().__init__()
        self.most = most

    def add(self, code: int, text: str = "") -> None:
        """Keep an error."""
        if len(self) < self.most:
            self.append((code, text))

    def next(self, nothing: str = "") -> tuple[int, str]:
        """Take the oldest error; 0 and `nothing` if there is none."""
        return self.pop(0) if self else (0, nothing)


class Lines:
    """Cuts bytes into lines at each LF; a CR before it, blanks and empty lines mean nothing."""

    def __init__(self) -> None:
        self._line = bytearray()

    def feed(self, data: bytes) -> list[str]:
        """Take bytes in pieces of any size, return the lines that they complete."""
        found = []
        for byte in data:
            if byte != 0x0A:
                if len(self._line) < _LONGEST_LINE:
                    self._line.append(byte)
                continue
            text = self._line.decode("latin-1").strip()
            self._line.clear()
            if text:
                found.append(text)
        return found

    def clear(self) -> None:
        """Forget an incomplete line."""
        self._line.clear()


class Headers:
    """The commands of a SCPI device.

    Their headers are written as in manuals, `[SENSe:]CORRection:WAVelength`: lower-case letters
    and what stands in brackets may be left out by the host.
    """

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._patterns = [(_pattern(spec), handler) for spec, handler in handlers.items()]
        self.known: dict[str, Handler | None] = {}

    def find(self, name: str) -> Handler | None:
        """Return the handler of a header in capitals, without question mark; None if unknown."""
        if name not in self.known:
            found = (handler for pattern, handler in self._patterns if pattern.fullmatch(name))
            self.known[name] = next(found, None)
        return self.known[name]

    def call(self, unit: str, path: str) -> tuple[Any, str]:
        """Do one command of a message; return its answer, and the path for the next command.

        A header is first looked for below `path`, where the command before it was found.
        Raises CommandError -113 if it is unknown, and what the handler raises.
        """
        header, _, argument = unit.partition(" ")
        query = header.endswith("?")
        name = header.rstrip("?").upper()
        handler = None
        if name.startswith(":"):
            name = name[1:]
        elif path and not name.startswith("*"):
            handler = self.find(path + name)
            if handler is not None:
                name = path + name
        if handler is None:
            handler = self.find(name)
        if handler is None:
            raise CommandError(-113, "Undefined header")
        if not name.startswith("*"):
            path = name[: name.rfind(":") + 1]
        return handler(query, argument.strip()), path


def only_query(answer: Callable[[], Any]) -> Handler:
    """Return a handler that refuses the form without question mark."""

    def handle(query: bool, text: str) -> Any:
        if not query:
            raise CommandError(-113, "Undefined header")
        return answer()

    return handle


def only_command(act: Callable[[], object]) -> Handler:
    """Return a handler that refuses the form with question mark."""

    def handle(query: bool, text: str) -> None:
        if query:
            raise CommandError(-113, "Undefined header")
        act()

    return handle


def parameter(text: str, low: float, high: float) -> float:
    """Return a number of a command, or its lowest or highest if so asked; CommandError if bad."""
    word = text.upper()
    if word in ("MIN", "MINIMUM", "MAX", "MAXIMUM"):
        return low if word.startswith("MIN") else high
    if not word:
        raise CommandError(-109, "Missing parameter")
    try:
        value = float(word)
    except ValueError:
        raise CommandError(-104, "Data type error") from None
    if not low <= value <= high:
        raise CommandError(-222, "Data out of range")
    return value


def bound(text: str, value: float, low: float, high: float) -> float:
    """Return what a query asks for: the value, or its lowest or highest."""
    word = text.upper()
    if word in ("", "DEF", "DEFAULT"):
        return value
    if word in ("MIN", "MINIMUM"):
        return low
    if word in ("MAX", "MAXIMUM"):
        return high
    raise CommandError(-224, "Illegal parameter value")


def _pattern(spec: str) -> re.Pattern[str]:
    """Return what matches a header, in capitals."""

    def mnemonic(match: re.Match[str]) -> str:
        word = match.group(0)
        short = "".join(letter for letter in word if not letter.islower())
        rest = word[len(short) :].upper()
        return short + (f"(?:{rest})?" if rest else "")

    words = re.sub(r"[A-Za-z]+", mnemonic, spec.replace("*", r"\*").replace("]", ">"))
    return re.compile(words.replace("[", "(?:").replace(">", ")?"))
