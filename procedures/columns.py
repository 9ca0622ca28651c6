"""What a record holds, and along which axes: the vocabulary of measurements and run files.

Names are bare; units are text ("uJ/cm^2", "nm", "1", "" for what has none) and live here, not in
the names. Cheap to import: no file library, no numpy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class Column:
    """One value a record, or an array along named axes (each an Axis of the run).

    dtype: a numpy name; text only of fixed length ("S16"). The column of the uncertainties of X is
    called X_errors.
    where: for arrays that few records have: an earlier column of 0 and 1. A record with 0 there
    gives None, and nothing is stored for it; the k-th array belongs to the k-th record with 1.
    """

    name: str
    unit: str
    long_name: str
    dtype: str = "float64"
    axes: tuple[str, ...] = ()
    where: str = ""


@dataclass(frozen=True, eq=False)
class Axis:
    """Values along one dimension of array columns, (n,)."""

    name: str
    values: npt.NDArray[np.float64] = field(repr=False)
    unit: str
    long_name: str


@dataclass(frozen=True)
class Quantity:
    """A value with its unit as text."""

    value: Any
    unit: str = ""
