"""QCoDeS: a Measurement writes to its SQLite database, as its tutorials do; arrays as "array"."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import qcodes
import work
from qcodes.dataset import (
    Measurement,
    initialise_or_create_database_at,
    load_by_id,
    load_or_create_experiment,
)


def take(kind: str, count: int, folder: Path, clock: work.Clock) -> Path:
    source, path = work.Source(kind), folder / "runs.db"
    initialise_or_create_database_at(path)
    experiment = load_or_create_experiment("benchmark", sample_name="none")
    measurement = Measurement(exp=experiment, name=kind)
    measurement.register_custom_parameter("c0")
    for name in work.NAMES[1:]:
        measurement.register_custom_parameter(name, setpoints=("c0",))
    if source.shape:
        measurement.register_custom_parameter("array", setpoints=("c0",), paramtype="array")
    with measurement.run() as saver:
        clock.start()
        for i in range(count):
            results = list(source.numbers(i).items())
            if source.shape:
                results.append(("array", source.array(i)))
            saver.add_result(*results)
    clock.stop()
    return path


def read(path: Path, kind: str) -> tuple[int, float, float]:
    data = load_by_id(1)
    total = 0.0
    if kind != "scalars":
        total = float(np.sum(data.get_parameter_data("array")["array"]["array"][-1]))
    numbers = data.get_parameter_data("c1")["c1"]["c0"]
    return len(numbers), float(numbers[-1]), total


work.main(
    take,
    read,
    {"qcodes": qcodes.__version__},
    'Measurement, datasaver.add_result, SQLite; paramtype "array", default write period',
)
