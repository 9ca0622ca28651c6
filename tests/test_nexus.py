"""The run file as other programs see it: NeXus's default plot, axes, units and links."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from benchmarks import durability
from procedures.running.runfile import RunWriter, store_results

ROWS = 70


@pytest.fixture(scope="module", params=["recorded", "analysed"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    writer = RunWriter.start(
        durability.queue(tmp_path_factory.mktemp("run"), ROWS), durability.started()
    )
    for number in range(ROWS):
        writer.append(durability.record(number))
    writer.close("finished", durability.STARTED_S + 60.0)
    if request.param == "analysed":
        store_results(
            writer.path, {"results": {"a_nm": {"value": 1.0, "stderr": 2.0, "unit": "nm"}}}
        )
    return writer.path


def test_nexusformat_finds_the_default_plot(path: Path) -> None:
    nexus = pytest.importorskip("nexusformat.nexus")
    root = nexus.nxload(str(path))
    plot = root.plottable_data
    assert plot.nxpath == "/entry/data"
    assert plot.nxsignal.nxname == "spectrum" and plot.nxsignal.shape == (ROWS, durability.PIXELS)
    assert [axis.nxname for axis in plot.nxaxes] == ["fluence", "wavelength"]
    last = durability.record(ROWS - 1)["spectrum"]
    assert np.array_equal(plot.nxsignal[-1].nxdata, last)


def test_the_plot_is_described_completely(path: Path) -> None:
    with h5py.File(path) as file:
        data = file[file.attrs["default"]][file["entry"].attrs["default"]]
        assert data.attrs["NX_class"] == "NXdata"
        for name in ("fluence", "wavelength", "energy", data.attrs["signal"]):
            assert data[name].attrs["units"] and data[name].attrs["long_name"]
        assert data.attrs["energy_indices"] == data.attrs["wavelength_indices"] == 1
        assert np.allclose(data["energy"][()] * data["wavelength"][()], 1239.841984)
        assert isinstance(data["title"], h5py.Dataset)


def test_links_are_hard_and_say_where_they_point(path: Path) -> None:
    with h5py.File(path) as file:
        for linked in ("entry/data/spectrum", "entry/data/fluence"):
            assert file[file[linked].attrs["target"]] == file[linked]
            assert isinstance(file.get(linked, getlink=True), h5py.HardLink)


def test_the_definition_gets_words_that_it_knows(path: Path) -> None:
    with h5py.File(path) as file:
        entry = file["entry"]
        assert entry["definition"].asstr()[()] == "NXoptical_spectroscopy"
        assert entry["experiment_type"].asstr()[()] == "photoluminescence"
        assert entry["experiment_sub_type"].attrs["custom"]
        assert entry["start_time"].asstr()[()].startswith("2023-11-14T")
        assert {"signal", "axes"} <= set(entry["records"].attrs)


def test_hdf5_1_10_can_open_it(path: Path) -> None:
    assert path.read_bytes()[8] == 3  # the superblock of 1.10
    with h5py.File(path) as file:
        assert file.libver[0] in ("earliest", "v108", "v110")
        found: list[str] = []
        file.visititems(
            lambda name, item: (
                found.append(item.compression) if isinstance(item, h5py.Dataset) else None
            )
        )
    assert set(found) <= {None, "gzip"}
