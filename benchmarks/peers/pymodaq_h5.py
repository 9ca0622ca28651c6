"""PyMoDAQ: DataToExportEnlargeableSaver on its HDF5 file, what its logger and scans save with.

The saver is driven directly; its modules around it need a window.
"""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
import work
from pymodaq_data.data import DataRaw, DataToExport
from pymodaq_data.h5modules.data_saving import DataLoader, DataToExportEnlargeableSaver
from pymodaq_data.h5modules.saving import H5SaverLowLevel


def take(kind: str, count: int, folder: Path, clock: work.Clock) -> Path:
    source, path = work.Source(kind), folder / "log.h5"
    file = H5SaverLowLevel(save_type="custom")
    file.init_file(path, new_file=True)
    where = file.get_set_group(file.raw_group, "Records")
    saver = DataToExportEnlargeableSaver(file, ("number",), ("",))
    clock.start()
    for i in range(count):
        numbers = [np.array([value]) for value in source.numbers(i).values()]
        found = [DataRaw("numbers", data=numbers, labels=work.NAMES)]
        if source.shape:
            found.append(DataRaw("array", data=[source.array(i)]))
        saver.add_data(where, DataToExport("record", data=found), axis_values=[float(i)])
    file.close_file()
    clock.stop()
    return path


def read(path: Path, kind: str) -> tuple[int, float, float]:
    file = H5SaverLowLevel(save_type="custom")
    file.init_file(path, mode="r")
    loader = DataLoader(file)
    found, number, total = 0, 0.0, 0.0
    for node in loader.walk_nodes("/"):
        if "data_type" in node.attrs and node.attrs["data_type"] == "data_enlargeable":
            values = node[-1] if hasattr(node, "__getitem__") else node.read()[-1]
            if node.attrs["label"] == "c0":
                found, number = node.attrs["shape"][0], float(np.ravel(values)[0])
            if kind != "scalars" and node.attrs["label"] not in work.NAMES:
                total = float(np.sum(values, dtype=np.float64))
    file.close_file()
    return int(found), number, total


work.main(
    take,
    read,
    {"pymodaq_data": version("pymodaq_data")},
    "DataToExportEnlargeableSaver.add_data for each record, default backend",
)
