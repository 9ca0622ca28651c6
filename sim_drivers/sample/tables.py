"""Guided light on a grid of fluence and length, propagated where it is asked for and kept.

For `film.py`, whose every exposure is a weighted sum over this grid. Tables are made in blocks of
neighbouring fluences; one propagation keeps all stripe lengths. Interpolation is by six-point
polynomials, so that a sum over shots is a sum over rows. Stops at guided power in saturation
powers per nm, on the stripe's own wavelengths.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim_drivers.sample.occupancy import SATURATED_EXCITONS, FloatArray
from sim_drivers.sample.propagation import STEP_GAIN, march, step_count
from sim_drivers.sample.stripe import Stripe

NODES = np.arange(-2, 4)
"""The six neighbours that an interpolation uses, relative to the node at or below."""
LARGEST_MEMORY_BYTES = 160_000_000

_MOST_ROWS, _FEWEST_ROWS = 32, 4
_BLOCK_BYTES = 12_000_000
_KEPT_STEPS = 2
_MARGIN = 2  # nodes kept before the beginning and past the end
_GROWTH_PER_ROW = 0.5  # six points follow exp(0.5 x) within 1e-4 of itself
_COARSEST, _FINEST = 0.04, 0.003  # of ln fluence
_EXTRA_LENGTH = 1.15
_LENGTH_RATIO = 1.5
_DARKEST = 1e-4  # of the threshold: below, light is linear in fluence to 1e-4
_PAIRS = NODES[:, None] - NODES[None, :]
_DENOMINATORS = np.where(_PAIRS == 0, 1, _PAIRS).prod(axis=1).astype(np.float64)


def six_point_weights(fraction: FloatArray) -> FloatArray:
    """Return the weights, (6, n), of `NODES` for positions 0 <= fraction < 1 past a node, (n,).

    Outside that range the polynomial is followed, as at the edge of a grid.
    """
    distance = fraction[None, :] - NODES[:, None]
    weights = np.empty_like(distance)
    for node in range(len(NODES)):
        others = np.delete(distance, node, axis=0)
        weights[node] = others.prod(axis=0) / _DENOMINATORS[node]
    return weights


@dataclass(frozen=True)
class Guide:
    """Which guide a block belongs to.

    Attributes:
        seed: spontaneous seed over that of the fresh film with the same inversion.
        loss: unsaturable loss over that of the fresh film.
        stretch: how far the block reaches: full stripe x 1.15 x 1.5^stretch.
    """

    seed: float = 1.0
    loss: float = 1.0
    stretch: int = 0


@dataclass(frozen=True)
class _Block:
    light: NDArray[np.float32]  # (Z, rows, P), node _MARGIN at length 0; single precision: 1e-7
    spacing_cm: float


class GuidedTables:
    """Guided light of one stripe by ln fluence, length and guide, computed lazily.

    Rows are numbered on a grid uniform in ln F with row 0 at the threshold.
    """

    def __init__(self, stripe: Stripe) -> None:
        """Lay the grid; compute nothing yet."""
        self._stripe = stripe
        self._wavelength_nm = stripe.wavelengths_nm()
        p = stripe.parameters
        # The steepest that light can grow with ln F: small-signal gain over the full stripe.
        span = p.threshold_uJ_cm2 * np.geomspace(0.5, 4.0, 64)
        slope = float(stripe.law.slope(stripe.excitons(span)).max())
        steepest = stripe.gain_scale_per_cm * slope * stripe.stripe_length_cm
        self.spacing = float(np.clip(_GROWTH_PER_ROW / steepest, _FINEST, _COARSEST))
        self.first_row = int(np.floor(np.log(_DARKEST) / self.spacing))
        self.darkest_uJ_cm2 = float(p.threshold_uJ_cm2 * np.exp(self.first_row * self.spacing))
        self.brightest_uJ_cm2 = np.inf
        if p.gain_law == "poisson":  # beyond, neither gain nor seed changes any more
            per_fluence = float(stripe.excitons(1.0))
            self.brightest_uJ_cm2 = SATURATED_EXCITONS / per_fluence
        wavelengths, full = len(self._wavelength_nm), stripe.stripe_length_cm * _EXTRA_LENGTH
        strongest = stripe.gain_scale_per_cm * float(stripe.law.value(stripe.excitons(span)).max())
        kept = strongest * full / STEP_GAIN / _KEPT_STEPS
        self._rows = int(np.clip(_BLOCK_BYTES / (4 * wavelengths * kept), _FEWEST_ROWS, _MOST_ROWS))
        self._blocks: OrderedDict[tuple[int, Guide], _Block] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def positions(self, fluence_uJ_cm2: FloatArray) -> FloatArray:
        """Return the row numbers, fractional, of fluences > 0 in uJ/cm^2, same shape."""
        relative = fluence_uJ_cm2 / self._stripe.parameters.threshold_uJ_cm2
        return np.asarray(np.log(relative) / self.spacing)

    def light(
        self, first_row: int, row_weights: FloatArray, length_cm: float, guide: Guide
    ) -> FloatArray:
        """Return sum over rows of weight x guided power per nm at `length_cm`, (P,).

        `row_weights` belong to the rows from `first_row` on.
        """
        total = np.zeros(len(self._wavelength_nm))
        last_row = first_row + len(row_weights)
        for number in range(first_row // self._rows, (last_row - 1) // self._rows + 1):
            begin, end = (
                max(first_row, number * self._rows),
                min(last_row, (number + 1) * self._rows),
            )
            weights = row_weights[begin - first_row : end - first_row]
            if not weights.any():
                continue
            block = self._block(number, guide)
            place = length_cm / block.spacing_cm + _MARGIN
            node = min(int(place), len(block.light) - 4)
            along = six_point_weights(np.array([place - node]))[:, 0]
            rows = slice(begin - number * self._rows, end - number * self._rows)
            part = block.light[node - 2 : node + 4, rows]
            total += along @ np.matmul(weights.astype(np.float32), part)
        return total

    def _block(self, number: int, guide: Guide) -> _Block:
        key = (number, guide)
        with self._lock:
            block = self._blocks.get(key)
            if block is None:
                block = self._compute(number, guide)
                self._blocks[key] = block
                self._bytes += block.light.nbytes
                while self._bytes > LARGEST_MEMORY_BYTES and len(self._blocks) > 1:
                    _, dropped = self._blocks.popitem(last=False)
                    self._bytes -= dropped.light.nbytes
            else:
                self._blocks.move_to_end(key)
        return block

    def _compute(self, number: int, guide: Guide) -> _Block:
        stripe = self._stripe
        rows = np.arange(number * self._rows, (number + 1) * self._rows)
        fluence = stripe.parameters.threshold_uJ_cm2 * np.exp(rows * self.spacing)
        gain = stripe.gain(self._wavelength_nm, stripe.law.value(stripe.excitons(fluence)), 0.0)
        strength = guide.seed * stripe.seed_per_cm * stripe.spontaneous(fluence)
        seed = np.multiply.outer(strength, stripe.spontaneous_shape(self._wavelength_nm))
        step_nm = float(self._wavelength_nm[1] - self._wavelength_nm[0])
        length_cm = stripe.stripe_length_cm * _EXTRA_LENGTH * _LENGTH_RATIO**guide.stretch
        loss = guide.loss * stripe.parameters.waveguide_loss_per_cm
        steps = step_count(gain, seed, length_cm, loss, step_nm)
        step_cm = length_cm / steps
        kept = steps // _KEPT_STEPS
        light = np.zeros((kept + 2 * _MARGIN + 1, *gain.shape), dtype=np.float32)
        # The solution is smooth through the dark beginning: going on behind it, and past the
        # far end, spares the lopsided and ten times worse interpolation at an edge.
        for direction, nodes in ((-1, _MARGIN), (1, kept + _MARGIN)):
            marching = march(gain, seed, direction * step_cm, loss, step_nm)
            for node in range(1, nodes + 1):
                for _ in range(_KEPT_STEPS - 1):
                    next(marching)
                light[_MARGIN + direction * node] = next(marching)
        return _Block(light, _KEPT_STEPS * step_cm)

    def stretch_for(self, length_cm: float) -> int:
        """Return the least `Guide.stretch` that reaches a length > 0."""
        reach = length_cm / (self._stripe.stripe_length_cm * _EXTRA_LENGTH)
        return int(np.ceil(np.log(reach) / np.log(_LENGTH_RATIO)))
