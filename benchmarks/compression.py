"""What compression costs and saves, on what a camera gives: `python benchmarks/compression.py`.

Spectra (1340 pixels) and spectrograms (508 x 640) with shot noise, as `benchmarks/bare.py` makes
them, and a column of numbers; with every filter that plain HDF5 has, and with those that need
hdf5plugin (`pip install hdf5plugin`) where it is there. Then chunk shapes: appending in blocks,
reading all, one spectrum, and one pixel of every spectrum.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.bare import PIXELS, ROWS, WAVELENGTHS
from benchmarks.peers.work import arrays

LIBVER = ("v110", "v110")


def filters() -> dict[str, dict[str, Any]]:
    """Return the options of h5py for each filter; those of plain HDF5 first."""
    found: dict[str, dict[str, Any]] = {
        "none": {},
        "gzip 1": {"compression": "gzip", "compression_opts": 1},
        "shuffle, gzip 1": {"compression": "gzip", "compression_opts": 1, "shuffle": True},
        "shuffle, gzip 4": {"compression": "gzip", "compression_opts": 4, "shuffle": True},
        "shuffle, gzip 6": {"compression": "gzip", "compression_opts": 6, "shuffle": True},
        "shuffle, gzip 9": {"compression": "gzip", "compression_opts": 9, "shuffle": True},
        "scale-offset": {"scaleoffset": 0},
        "scale-offset, gzip 1": {
            "scaleoffset": 0, "compression": "gzip", "compression_opts": 1,
        },
        "lzf with shuffle (h5py's own)": {"compression": "lzf", "shuffle": True},
    }  # fmt: skip
    try:
        import hdf5plugin
    except ImportError:
        return found
    return found | {
        "bitshuffle, lz4 (plug-in)": dict(hdf5plugin.Bitshuffle(cname="lz4")),
        "bitshuffle, zstd (plug-in)": dict(hdf5plugin.Bitshuffle(cname="zstd")),
        "blosc2 zstd 1, shuffle (plug-in)": dict(hdf5plugin.Blosc2(cname="zstd", clevel=1)),
        "blosc2 zstd 1, bitshuffle (plug-in)": dict(
            hdf5plugin.Blosc2(cname="zstd", clevel=1, filters=hdf5plugin.Blosc2.BITSHUFFLE)
        ),
    }


def data() -> dict[str, np.ndarray[Any, Any]]:
    """Return what is compressed, records first."""
    rng = np.random.default_rng(2)
    spectra = np.array([arrays((PIXELS,))[i % 100] for i in range(20)] * 100)
    spectra = rng.poisson(spectra).astype(np.uint16)  # no two alike
    images = np.array(arrays((ROWS, WAVELENGTHS)) * 2)
    images = rng.poisson(images).astype(np.uint16)
    energy = 1e-7 * (1.0 + 0.02 * rng.normal(size=500_000))
    return {
        "spectra uint16": spectra,
        "spectra uint32": spectra.astype(np.uint32),
        "spectrograms uint16": images,
        "pulse energies float64": energy,
        "pulse energies float32": energy.astype(np.float32),
        "shot numbers uint64": np.arange(500_000, dtype=np.uint64),
    }


def compress(path: Path, values: Any, options: dict[str, Any]) -> tuple[float, float, float]:
    """Return bytes of the original over bytes stored, and us a record to write and to read."""
    if "scaleoffset" in options and values.dtype.kind == "f":
        return float("nan"), float("nan"), float("nan")
    size = values[:1].nbytes
    tall = max(1, min(len(values), 2**20 // size))
    begun = time.process_time()
    with h5py.File(path, "w", libver=LIBVER) as file:
        file.create_dataset("x", data=values, chunks=(tall, *values.shape[1:]), **options)
    written = time.process_time() - begun
    with h5py.File(path, "r") as file:
        stored = file["x"].id.get_storage_size()
        begun = time.process_time()
        _ = file["x"][()]
        read = time.process_time() - begun
    return values.nbytes / stored, 1e6 * written / len(values), 1e6 * read / len(values)


def chunk_shapes(path: Path, values: Any) -> None:
    """Print what chunks of so many spectra cost: appending, reading all, one, a pixel of all."""
    print("\nchunks of spectra (rows x pixels): us a spectrum to append in blocks of 500,")
    print(
        "to read all; ms to read one spectrum (file just opened), and one pixel of every spectrum"
    )
    for shape in ((1, PIXELS), (16, PIXELS), (64, PIXELS), (97, PIXELS), (512, PIXELS), (1024, 64)):
        for name, options in (("none", {}), ("gzip", filters()["shuffle, gzip 4"])):
            begun = time.process_time()
            with h5py.File(path, "w", libver=LIBVER) as file:
                ds = file.create_dataset(
                    "x", (0, PIXELS), "u2", maxshape=(None, PIXELS), chunks=shape, **options
                )
                for first in range(0, len(values), 500):
                    ds.resize(min(first + 500, len(values)), axis=0)
                    ds[first:] = values[first : first + 500]
            append = 1e6 * (time.process_time() - begun) / len(values)
            times = []
            for what in (np.s_[:], np.s_[777], np.s_[:, 600]):
                with h5py.File(path, "r") as file:
                    begun = time.process_time()
                    _ = file["x"][what]
                    times.append(time.process_time() - begun)
            whole, one, pixel = times
            print(
                f"  {shape!s:14}{name:6}append {append:7.1f}  all {1e6 * whole / len(values):6.1f}"
                f"  one {1e3 * one:6.2f} ms  a pixel {1e3 * pixel:7.1f} ms"
            )


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "x.h5"
        everything = data()
        for what, values in everything.items():
            print(f"\n{what}, {values[:1].nbytes} bytes a record: times smaller, us write, us read")
            for kind, options in filters().items():
                smaller, write, read = compress(path, values, options)
                print(f"  {kind:38}{smaller:7.2f}{write:10.2f}{read:10.2f}")
        chunk_shapes(path, everything["spectra uint16"])


if __name__ == "__main__":
    main()
