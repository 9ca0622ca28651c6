"""ScopeFoundry: a Measurement in its app, offscreen, fills datasets of its HDF5 file.

As its own scans do: datasets of the length of the plan, made before, an element a point, a flush
now and then (here every 100 records). Version 2.1: 2.3 needs Python 3.13.
"""

from __future__ import annotations

import os
import time
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import h5py
import work
from qtpy import QtWidgets
from ScopeFoundry import BaseMicroscopeApp, Measurement, h5_io


def take(kind: str, count: int, folder: Path, clock: work.Clock) -> Path:
    source = work.Source(kind)
    files: list[str] = []

    class Records(Measurement):
        name = "records"

        def setup_figure(self) -> None:
            self.ui = QtWidgets.QWidget()

        def run(self) -> None:
            group = self.open_new_h5_file()
            files.append(self.h5_file.filename)
            columns = [
                h5_io.create_extendable_h5_dataset(group, n, (count,), chunks=(1024,), dtype="f8")
                for n in work.NAMES
            ]
            images = None
            if source.shape:
                tall = 64 if len(source.shape) == 1 else 1
                images = h5_io.create_extendable_h5_dataset(
                    group, "array", (count, *source.shape),
                    chunks=(tall, *source.shape), dtype="u2",
                )  # fmt: skip
            clock.start()
            for i in range(count):
                if self.interrupt_measurement_called:
                    break
                for column, value in zip(columns, source.numbers(i).values(), strict=True):
                    column[i] = value
                if images is not None:
                    images[i] = source.array(i)
                if i % 100 == 99:
                    self.h5_file.flush()
                    self.set_progress(100.0 * i / count)
            self.close_h5_file()
            clock.stop()

    class App(BaseMicroscopeApp):
        name = "bench"

        def setup(self) -> None:
            self.add_measurement(Records(self))

    os.chdir(folder)
    app = App([])
    app.settings["save_dir"] = str(folder)
    measurement = app.measurements["records"]
    measurement.start()
    while not clock.wall_s:
        app.qtapp.processEvents()
        time.sleep(0.01)
    return Path(files[0])


def read(path: Path, kind: str) -> tuple[int, float, float]:
    with h5py.File(path, "r") as file:
        group = file["measurement/records"]
        total = float(group["array"][-1].sum()) if "array" in group else 0.0
        return len(group["c0"]), float(group["c0"][-1]), total


work.main(
    take,
    read,
    {"ScopeFoundry": version("ScopeFoundry"), "h5py": h5py.__version__},
    "Measurement.run in BaseMicroscopeApp, h5_io datasets, an element a point",
)
