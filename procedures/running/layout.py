"""Where everything stands in a run file: a NeXus tree that other programs open and plot.

`write_queued` and `write_started` fill a new HDF5 file; nothing here is called on a file that is
being recorded. The rules (units, `_errors`, `@default` chain, `title` a field) are NeXus's; the
application definition NXoptical_spectroscopy is claimed for spectroscopy runs only.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import h5py
import numpy as np

from procedures.columns import Axis, Column
from procedures.running.header import RunHeader, RunStart

LIBVER = ("v110", "v110")
STATUS_DTYPE, TIME_DTYPE, LOG_DTYPE, LEVEL_DTYPE = "S16", "S40", "S240", "S8"
ROWS_PER_CHUNK, ARRAYS_PER_CHUNK = 1024, 64
LONG_RUN_ROWS, LONG_RUN_CHUNK = 200_000, 16_384
"""A run of so many planned records comes fast, so that its columns may have larger chunks."""
CHUNK_BYTES = 2**18
"""A chunk that is not full is written again with every record: so not larger than this, or one."""
HC_EV_NM = 1239.841984
"""Photon energy times wavelength (eV nm), CODATA 2018."""

ACQUISITION, RECORDS, DATA = "entry/acquisition", "entry/records", "entry/data"
_SUB_TYPES = ("time resolved", "imaging", "pump-probe")
_GROUPS = {
    "monochromator": ("monochromator", "NXmonochromator"),
    "camera": ("detector_ccd", "NXdetector"),
    "streak": ("detector_streak", "NXdetector"),
}


def isoformat(moment: float) -> str:
    """Return seconds since 1970 as ISO 8601 with the local offset."""
    return datetime.fromtimestamp(moment, UTC).astimezone().isoformat()


def program_version() -> str:
    """Return gainbench's version."""
    try:
        return version("gainbench")
    except PackageNotFoundError:
        return "unknown"


def group(parent: h5py.Group, name: str, nx_class: str) -> h5py.Group:
    """Make a group of a NeXus class."""
    made = parent.create_group(name)
    made.attrs["NX_class"] = nx_class
    return made


def put(parent: h5py.Group, name: str, value: Any, unit: str = "", long_name: str = "") -> Any:
    """Write one field with its unit."""
    if value is None:  # not given
        value = h5py.Empty("f8")
    elif isinstance(value, str):
        value = value.replace("\0", "\ufffd").encode(errors="replace").decode()
    elif isinstance(value, list | tuple):
        value = np.asarray(value) if value else np.zeros(0)
        if value.dtype.kind in "US":
            value = np.asarray([str(one) for one in value], dtype=h5py.string_dtype())
    field = parent.create_dataset(name, data=value)
    if unit:
        field.attrs["units"] = unit
    if long_name:
        field.attrs["long_name"] = long_name
    return field


def write_root(file: h5py.File, moment: float) -> None:
    """Write the attributes of the root (the file's name when it is started)."""
    file.attrs.update(
        {
            "NX_class": "NXroot",
            "default": "entry",
            "file_time": isoformat(moment),
            "creator": "gainbench",
            "creator_version": program_version(),
            "HDF5_Version": h5py.version.hdf5_version,
            "h5py_version": h5py.version.version,
        }
    )


def write_queued(file: h5py.File, header: RunHeader) -> None:
    """Write a run that has not started: everything needed to run it."""
    write_root(file, header.created_s)
    entry = group(file, "entry", "NXentry")
    put(entry, "title", header.title)
    put(entry, "entry_identifier_uuid", str(uuid.uuid4()))
    put(entry, "program_name", "gainbench").attrs["version"] = program_version()
    entry.create_dataset("start_time", data=b"", dtype=TIME_DTYPE)
    entry.create_dataset("end_time", data=b"", dtype=TIME_DTYPE)
    put(group(entry, "user", "NXuser"), "name", header.operator or "unknown")
    sample = group(entry, "sample", "NXsample")
    put(sample, "name", header.sample or "unknown")
    put(sample, "spot", header.spot)
    acquisition = group(entry, "acquisition", "NXcollection")
    acquisition.create_dataset("run_status", data=b"queued", dtype=STATUS_DTYPE)
    acquisition.create_dataset("rows_complete", data=np.uint64(0))
    put(acquisition, "queued_time", isoformat(header.created_s))
    put(acquisition, "measurement", header.measurement)
    put(acquisition, "procedure_class", header.procedure_class)
    put(acquisition, "bench_toml", header.bench_toml)
    put(acquisition, "bench_file", header.bench_file)
    put(acquisition, "noise_draw", np.uint32(header.draw))
    parameters = group(acquisition, "parameters", "NXcollection")
    for name, quantity in header.parameters.items():
        put(parameters, name, quantity.value, quantity.unit)
    plan = group(acquisition, "plan", "NXcollection")
    for name in dict.fromkeys(key for point in header.plan for key in point):
        values = (point.get(name, np.nan) for point in header.plan)
        put(plan, name, np.fromiter(values, "f8", len(header.plan)))
    _write_log(acquisition)


def _write_log(acquisition: h5py.Group) -> None:
    log = group(acquisition, "log", "NXcollection")
    for name, dtype in (("time", "f8"), ("level", LEVEL_DTYPE), ("text", LOG_DTYPE)):
        log.create_dataset(name, (0,), dtype, maxshape=(None,), chunks=(64,))
    log["time"].attrs["units"] = "s"
    log["time"].attrs["start"] = "1970-01-01T00:00:00+00:00"


def write_started(file: h5py.File, name: str, start: RunStart) -> None:
    """Add to a queued file what is known when the bench is ready, and every object to come."""
    file.attrs["file_name"] = name
    entry = file["entry"]
    entry.attrs["default"] = "data"
    del entry["start_time"]
    put(entry, "start_time", isoformat(start.start_s))
    entry["acquisition/run_status"][()] = b"running"
    if start.spectroscopy is not None:
        definition = put(entry, "definition", "NXoptical_spectroscopy")
        definition.attrs["version"] = "v2024.02"
        definition.attrs["URL"] = (
            "https://manual.nexusformat.org/classes/applications/NXoptical_spectroscopy.html"
        )
        put(entry, "experiment_type", "photoluminescence")
        sub_type = put(entry, "experiment_sub_type", start.spectroscopy)
        if start.spectroscopy not in _SUB_TYPES:
            sub_type.attrs["custom"] = True
        put(entry, "experiment_description", str(entry["title"].asstr()[()]))
    put(entry["sample"], "physical_form", "quantum dots")
    _write_instrument(entry, start)
    acquisition = entry["acquisition"]
    facts = group(acquisition, "facts", "NXcollection")
    for name, value in start.facts.items():
        put(facts, name, value)
    decisions = group(acquisition, "decisions", "NXcollection")
    for name, value in start.decisions.items():
        put(decisions, name, value)
    calibrations = group(acquisition, "calibrations", "NXcollection")
    for role, about in start.calibrations.items():
        made = group(calibrations, role, "NXcollection")
        for name, value in about.items():
            put(made, name, value)
    packages = group(acquisition, "packages", "NXcollection")
    for name, value in start.packages.items():
        put(packages, name, value)
    put(acquisition, "code_revision", start.revision)
    put(acquisition, "columns", json.dumps([_column_json(column) for column in start.columns]))
    width = max(len(start.state_names), 1)  # a real bench has no state; HDF5 wants a column
    state = acquisition.create_dataset(
        "bench_state", (0, width), "f8", maxshape=(None, width), chunks=(64, width)
    )
    state.attrs["names"] = json.dumps(list(start.state_names))
    _write_records(entry, start)


def _column_json(column: Column) -> dict[str, Any]:
    return {
        "name": column.name,
        "unit": column.unit,
        "long_name": column.long_name,
        "dtype": column.dtype,
        "axes": list(column.axes),
        "where": column.where,
    }


def stored_columns(acquisition: h5py.Group) -> list[Column]:
    """Return the columns of a started file, in the order in which they are written."""
    return [
        Column(
            one["name"],
            one["unit"],
            one["long_name"],
            one["dtype"],
            tuple(one["axes"]),
            one.get("where", ""),
        )
        for one in json.loads(acquisition["columns"].asstr()[()])
    ]


def length(series: h5py.Group, column: Column, rows: int) -> int:
    """Return how many values a column has for the first so many records of its group."""
    return int(np.count_nonzero(series[column.where][:rows])) if column.where else rows


def lengths(series: h5py.Group, column: Column, rows: Sequence[int]) -> list[int]:
    """Return `length` for each of some numbers of records, in rising order."""
    if not column.where or not rows:
        return list(rows)
    seen = np.cumsum(series[column.where][: rows[-1]] != 0)
    return [int(seen[one - 1]) if one else 0 for one in rows]


def _write_instrument(entry: h5py.Group, start: RunStart) -> None:
    instrument = group(entry, "instrument", "NXinstrument")
    put(instrument, "name", str(start.facts.get("bench_name", "bench")))
    facts = start.facts
    source = group(instrument, "source_laser", "NXsource")
    put(source, "type", "Laser")
    put(source, "wavelength", float(facts.get("pump_wavelength_nm", np.nan)), "nm")
    put(source, "frequency", float(facts.get("repetition_rate_Hz", np.nan)), "Hz")
    put(source, "pulse_width", float(facts.get("pulse_width_s", np.nan)), "s")
    beam = group(instrument, "beam_laser", "NXbeam")
    put(beam, "parameter_reliability", "nominal")
    put(beam, "incident_wavelength", float(facts.get("pump_wavelength_nm", np.nan)), "nm")
    put(beam, "pulse_energy", float(facts.get("full_pulse_energy_J", np.nan)), "J")
    extent = [float(facts.get(name, 0.0)) for name in ("stripe_width_mm", "full_stripe_length_mm")]
    if not any(extent):
        extent = [float(facts.get("spot_diameter_mm", 0.0))] * 2
    put(beam, "extent", extent, "mm")
    for role, snapshot in start.instruments.items():
        name, nx_class = _GROUPS.get(role, (role, "NXcollection"))
        made = group(instrument, name, nx_class)
        identity = snapshot["identity"]
        maker = group(made, "device_information", "NXfabrication")
        for key in ("vendor", "model", "serial", "firmware"):
            stored = "serial_number" if key == "serial" else key
            put(maker, stored, str(getattr(identity, key)))
        if nx_class == "NXdetector":
            put(made, "detector_channel_type", "multichannel")
            put(made, "detector_type", "CCD" if role == "camera" else "streak camera")
        settings = group(made, "settings", "NXcollection")
        for key, setting in snapshot["settings"].items():
            put(settings, key, setting.value, setting.unit)
        if role == "monochromator":
            if "wavelength_nm" in settings:
                _link(made, "wavelength", settings["wavelength_nm"])
            grating = group(made, "grating", "NXgrating")
            if "grooves_per_mm" in settings:
                put(grating, "period", 1e3 / float(settings["grooves_per_mm"][()]), "um")
            group(made, "entrance_slit", "NXaperture")


def _write_records(entry: h5py.Group, start: RunStart) -> None:
    """Make every column (empty), and the default plot of hard links to them."""
    records = group(entry, "records", "NXdata")
    axes = {axis.name: axis for axis in start.axes}
    for column in start.columns:
        _create_column(records, column, axes)
    scalars = [column.name for column in start.columns if not column.axes]
    data = group(entry, "data", "NXdata")
    put(data, "title", str(entry["title"].asstr()[()]))
    for axis in start.axes:
        values = put(
            data, axis.name, np.asarray(axis.values, dtype="f8"), axis.unit, axis.long_name
        )
        if axis.unit == "nm" and axis.name == "wavelength":
            energy = HC_EV_NM / np.asarray(values[()])
            put(data, "energy", energy, "eV", "Photon energy")
    if not start.signal:
        return
    _mark_plot(records, scalars, start)
    _link(data, start.signal, records[start.signal])
    data.attrs["signal"] = start.signal
    data.attrs["axes"] = list(start.plot_axes)
    for position, name in enumerate(start.plot_axes):
        if name in records:
            _link(data, name, records[name])
            if f"{name}_errors" in records:
                _link(data, f"{name}_errors", records[f"{name}_errors"])
        data.attrs[f"{name}_indices"] = position
    if "energy" in data and "wavelength" in start.plot_axes:
        data.attrs["energy_indices"] = list(start.plot_axes).index("wavelength")
    for name in ("detector_ccd", "detector_streak"):
        if name in entry["instrument"]:
            _link(entry["instrument"][name], "data", records[start.signal])
            if "exposure" in records:
                _link(entry["instrument"][name], "count_time", records["exposure"])
            break


def _mark_plot(records: h5py.Group, scalars: Sequence[str], start: RunStart) -> None:
    first = start.plot_axes[0] if start.plot_axes else ""
    wanted = next((name for name in ("shots", "time") if name in scalars), "")
    wanted = wanted or next((name for name in scalars if name != first), "")
    if wanted and first in scalars:
        records.attrs["signal"] = wanted
        records.attrs["axes"] = [first]
        records.attrs[f"{first}_indices"] = 0


def _create_column(records: h5py.Group, column: Column, axes: Mapping[str, Axis]) -> None:
    shape = tuple(len(axes[name].values) for name in column.axes)
    rows = rows_per_chunk(shape, column.dtype, planned_rows(records.file))
    made = records.create_dataset(
        column.name,
        (0, *shape),
        column.dtype,
        maxshape=(None, *shape),
        chunks=(rows, *shape),
        fill_time=fill_time(shape),
    )
    made.attrs["units"] = column.unit
    made.attrs["long_name"] = column.long_name
    if column.where:
        made.attrs["where"] = column.where


def fill_time(shape: tuple[int, ...]) -> str:
    """Return when HDF5 fills new chunks of a column: not those of arrays, which are written whole.

    It would keep such a chunk in memory to fill it, whatever the size of its cache.
    """
    return "never" if shape else "ifset"


def rows_per_chunk(shape: tuple[int, ...], dtype: Any, planned: int = 0) -> int:
    """Return how many records of this shape stand in a chunk while they are recorded.

    planned: records that the plan has. Measured by `benchmarks/compression.py`.
    """
    if not shape:
        return LONG_RUN_CHUNK if planned >= LONG_RUN_ROWS else ROWS_PER_CHUNK
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    return int(max(1, min(ARRAYS_PER_CHUNK, CHUNK_BYTES // max(size, 1))))


def planned_rows(file: h5py.File) -> int:
    """Return how many points the plan of a run has."""
    plan = file[ACQUISITION]["plan"]
    return int(max((len(plan[name]) for name in plan), default=0))


def _link(parent: h5py.Group, name: str, target: h5py.Dataset) -> None:
    """Make a hard link, which says where it points."""
    parent[name] = target
    target.attrs["target"] = target.name
