"""The images of a simulated HPD-TA: the twenty windows, their scaling tables, their files.

For `sim_drivers.devices.hamamatsu_remoteex`. Files (ITEX images, ASCII) are written and read in
one folder only, the one the simulation was given. Stops at the bytes: who asks for them, and over
which socket they go, is the device's.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import numpy.typing as npt

from sim_drivers.devices.remoteex_parameters import Answer, Group, Parameter, RemoteExError
from sim_drivers.noise import FloatArray

WINDOWS = 20
_ITEX_TYPES = {1: 0, 2: 2, 4: 3}


@dataclass(frozen=True)
class StoredImage:
    """An image: (rows, columns) of 1, 2 or 4 bytes, and what its axes say."""

    data: npt.NDArray[np.unsignedinteger]
    time_table: FloatArray
    wavelength_table: FloatArray
    time_unit: str
    mode: str

    @property
    def bytes_per_pixel(self) -> int:
        """1, 2 or 4."""
        return int(self.data.dtype.itemsize)

    def size(self) -> list[str]:
        """Return columns, rows, bytes a pixel and type, as ImgDataGet tells them."""
        rows, columns = self.data.shape
        return [str(columns), str(rows), str(self.bytes_per_pixel), "0"]

    def payload(self) -> bytes:
        """Return the pixels as they go over the data socket: row by row, little-endian."""
        return self.data.astype(self.data.dtype.newbyteorder("<")).tobytes()

    def display(self) -> bytes:
        """Return the pixels as the screen shows them, one byte each."""
        low, high = int(self.data.min()), int(self.data.max())
        span = max(high - low, 1)
        return ((self.data.astype(np.float64) - low) * 255.0 / span).astype(np.uint8).tobytes()

    def profile(self, kind: int, area: tuple[int, int, int, int]) -> bytes:
        """Return a profile of an area (x, y, dx, dy): 1 line, 2 and 3 summed, as 4-byte floats."""
        x, y, dx, dy = area
        rows, columns = self.data.shape
        if min(x, y) < 0 or min(dx, dy) < 1 or x + dx > columns or y + dy > rows:
            raise RemoteExError(10)
        part = self.data[y : y + dy, x : x + dx].astype(np.float64)
        if kind == 1:
            values = part[0] if dx >= dy else part[:, 0]
        elif kind in (2, 3):
            values = part.sum(axis=0 if kind == 2 else 1)
        else:
            raise RemoteExError(10)
        return np.asarray(values, dtype="<f4").tobytes()

    def table(self, direction: str) -> bytes:
        """Return the scaling table of an axis as 4-byte floats."""
        if direction in ("h", "hor", "horizontal", "x"):
            return self.wavelength_table.astype("<f4").tobytes()
        if direction in ("v", "ver", "vertical", "y"):
            return self.time_table.astype("<f4").tobytes()
        raise RemoteExError(10)


@dataclass
class ImageStore:
    """The windows of the application, and the one folder in which it may write."""

    folder: Path | None = None
    inclusive_size: bool = False
    size_in_bits: bool = False
    same_window: bool = True
    windows: dict[int, StoredImage] = field(default_factory=dict)
    current: int = -1

    def add(self, image: StoredImage) -> None:
        """Put a new image on the screen; code 7 if every window is taken."""
        if not (self.same_window and self.current in self.windows):
            free = [n for n in range(WINDOWS) if n not in self.windows]
            if not free:
                raise RemoteExError(7, "too many images")
            self.current = free[0]
        self.windows[self.current] = image

    def find(self, which: str) -> StoredImage:
        """Return an image by `current` or number; code 7 if there is none."""
        index = self.current if which.lower() == "current" else _number(which)
        if index not in self.windows:
            raise RemoteExError(7, "no image")
        return self.windows[index]

    def delete(self, which: str) -> None:
        """Delete `current`, a number, or `all`."""
        if which.lower() == "all":
            self.windows.clear()
        else:
            self.find(which)
            self.windows.pop(self.current if which.lower() == "current" else _number(which))
        self.current = max(self.windows, default=-1)

    # ---- commands ------------------------------------------------------------------------------

    def parameters(self) -> Group:
        """Return the options that ImgParamSet and its like know."""
        same = Parameter("Acquire always to the same window", "1", 0)
        same.changed = lambda text: setattr(self, "same_window", text == "1")
        warn = Parameter("Warn when unsaved images are closed", "1", 0)
        return Group({"AcquireToSameWindow": same, "WarnWhenUnsaved": warn})

    def handlers(self) -> dict[str, Callable[[list[str]], Answer]]:
        """Return what answers which command."""
        return {
            "imgdatainfo": self._info,
            "imgstatusget": self._status,
            "imgindexget": lambda args: ([str(self.current)], 0.0),
            "imgindexset": self._select,
            "imgdelete": self._delete,
            "imgsave": self._save,
            "imgload": self._load,
            "imgdatadump": self._dump,
        }

    def content(self, args: list[str]) -> tuple[list[str], bytes]:
        """Return what ImgDataGet answers, and what then goes over the data socket."""
        image, what = self.find(args[0]), args[1].lower()
        if what == "data":
            return image.size(), image.payload()
        if what == "display":
            rows, columns = image.data.shape
            return [str(columns), str(rows), "1", "1"], image.display()
        if what == "scalingtable":
            payload = image.table(args[2].lower() if len(args) > 2 else "v")
            return [str(len(payload) // 4), "3"], payload
        if what == "profile":
            kind, *area = (_number(text) for text in _first(args[2:], 5))
            payload = image.profile(kind, (area[0], area[1], area[2], area[3]))
            return [str(len(payload) // 4), "2"], payload
        raise RemoteExError(10)

    def _info(self, args: list[str]) -> Answer:
        which, what = _first(args, 2)
        if what.lower() != "size":
            raise RemoteExError(10)
        image = self.find(which)
        rows, columns = image.data.shape
        less = 1 if self.inclusive_size else 0
        depth = image.bytes_per_pixel * (8 if self.size_in_bits else 1)
        return ["0", "0", str(columns - less), str(rows - less), str(depth)], 0.0

    def _status(self, args: list[str]) -> Answer:
        image = self.find(_first(args, 2)[0])
        told = f'[Acquisition];AcqMode="{image.mode}";[Scaling];ScalingYUnit="{image.time_unit}"'
        return [told], 0.0

    def _select(self, args: list[str]) -> Answer:
        (which,) = _first(args, 1)
        self.find(which)
        if which.isdigit():
            self.current = int(which)
        return [], 0.0

    def _save(self, args: list[str]) -> Answer:
        which, kind, name = _first(args, 3)
        overwrite = len(args) > 3 and args[3].lower() in ("1", "true", "on", "yes")
        self.save(which, kind, name, overwrite)
        return [], 0.2

    def _load(self, args: list[str]) -> Answer:
        self.load(*_first(args, 2))
        return [], 0.2

    def _delete(self, args: list[str]) -> Answer:
        self.delete(args[0] if args else "current")
        return [], 0.0

    def _dump(self, args: list[str]) -> Answer:
        which, _, name = _first(args, 3)
        self.dump(which, name)
        return [], 0.1

    # ---- files -------------------------------------------------------------------------------

    def _path(self, name: str) -> Path:
        """Return a file of the folder; code 8 for anything else."""
        plain = PureWindowsPath(name).name == name and PurePosixPath(name).name == name
        if self.folder is None or not plain or name in ("", ".", ".."):
            raise RemoteExError(8, "the folder is not accessible")
        return self.folder / name

    def save(self, which: str, kind: str, name: str, overwrite: bool) -> None:
        """Save an image as IMG (ITEX) or ASCII."""
        image, path = self.find(which), self._path(name)
        if path.exists() and not overwrite:
            raise RemoteExError(8, "the file exists")
        if kind.lower() == "img":
            path.write_bytes(_itex(image))
        elif kind.lower() == "ascii":
            path.write_text(
                "\n".join("\t".join(str(v) for v in row) for row in image.data) + "\n",
                encoding="ascii",
            )
        else:
            raise RemoteExError(7, "not supported")

    def load(self, kind: str, name: str) -> None:
        """Load an ITEX image that `save` has written."""
        path = self._path(name)
        if kind.lower() != "img" or not path.is_file():
            raise RemoteExError(8, "the file cannot be read")
        self.add(_from_itex(path.read_bytes()))

    def dump(self, which: str, name: str) -> None:
        """Write the pixels of an image without a header."""
        self._path(name).write_bytes(self.find(which).payload())


def _first(args: list[str], count: int) -> list[str]:
    """Return the first arguments; code 6 if there are fewer."""
    if len(args) < count:
        raise RemoteExError(6)
    return args[:count]


def _number(text: str) -> int:
    if not text.isdigit():
        raise RemoteExError(10)
    return int(text)


def _itex(image: StoredImage) -> bytes:
    """Return an ITEX file: header, comment, pixels, and the two tables that the comment places."""
    rows, columns = image.data.shape
    pixels = image.payload()

    def comment(first: int) -> bytes:
        second = first + 4 * columns
        text = (
            f'[Application],Software="HPD-TA"\r\n[Acquisition],AcqMode="{image.mode}"\r\n'
            f'[Scaling],ScalingXType=2,ScalingXUnit="nm",ScalingXScalingFile="#{first:08d},'
            f'{columns:04d}",ScalingYType=2,ScalingYUnit="{image.time_unit}",'
            f'ScalingYScalingFile="#{second:08d},{rows:04d}"'
        )
        return text.encode("latin-1")

    size = len(comment(0))
    kind = _ITEX_TYPES[image.bytes_per_pixel]
    head = struct.pack("<2s6H", b"IM", size, columns, rows, 0, 0, kind).ljust(64, b"\0")
    first = 64 + size + len(pixels)
    return head + comment(first) + pixels + image.table("x") + image.table("y")


def _from_itex(data: bytes) -> StoredImage:
    try:
        mark, size, columns, rows, _, _, kind = struct.unpack("<2s6H", data[:14])
        width = {number: width for width, number in _ITEX_TYPES.items()}[kind]
        start = 64 + size
        pixels = np.frombuffer(data, f"<u{width}", rows * columns, start).reshape(rows, columns)
        tables = np.frombuffer(data, "<f4", rows + columns, start + pixels.nbytes)
    except (KeyError, ValueError, struct.error):
        raise RemoteExError(8, "the file cannot be read") from None
    if mark != b"IM":
        raise RemoteExError(8, "the file cannot be read")
    text = data[64:start].decode("latin-1")
    unit = text.partition('ScalingYUnit="')[2].partition('"')[0]
    return StoredImage(
        np.array(pixels), tables[columns:].astype(float), tables[:columns].astype(float), unit, ""
    )
