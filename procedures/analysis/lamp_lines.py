"""The lines of spectral lamps: mercury, neon and argon, 350 to 950 nm in air.

For the calibration of the wavelength axis. Wavelengths are those in standard air of the NIST Atomic
Spectra Database; for mercury, measured on pencil lamps by Sansonetti, Salit and Reader (Applied
Optics 35, 74, 1996), for neon by Saloman and Sansonetti (J. Phys. Chem. Ref. Data 33, 1113, 2004),
for argon by Norlen (Physica Scripta 8, 249, 1973), good to 0.001 nm or better. Brightness is what a
silicon detector sees of a low-pressure lamp, roughly, the brightest line of each element 100: it
tells which lines to expect and which blend, and enters no wavelength but that of a blend.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from procedures.analysis.results import FloatArray

LINE_UNC_NM = 0.001
"""One sigma of a line's wavelength in these tables."""

_MERCURY = (
    (365.0158, 55), (365.4842, 15), (366.2887, 4), (366.3284, 13), (404.6565, 45), (407.7837, 4),
    (410.8054, 0.3), (433.9223, 2), (434.7506, 4), (435.8335, 100), (491.6068, 1), (546.0750, 100),
    (567.581, 0.3), (576.9610, 20), (579.0670, 20), (580.3782, 0.3), (671.634, 0.3), (690.746, 0.6),
    (708.190, 0.5), (709.186, 0.3),
)  # fmt: skip
_NEON = (
    (503.7751, 0.5), (533.07775, 1), (534.10938, 1.5), (540.05618, 3), (556.2766, 0.5),
    (565.6659, 0.6), (571.9225, 0.5), (574.8298, 0.6), (576.44188, 2), (580.4450, 0.7),
    (582.01558, 1.5), (585.24879, 50), (587.28275, 1), (588.18952, 18), (590.24623, 0.7),
    (590.64294, 0.7), (594.48342, 28), (596.5471, 3), (597.46273, 3), (597.5534, 6),
    (598.79074, 1.5), (602.99969, 9), (607.43377, 25), (609.61631, 35), (612.84499, 1.5),
    (614.30626, 60), (616.35939, 20), (618.2146, 2), (621.72812, 20), (626.6495, 36),
    (630.47889, 12), (632.81646, 4), (633.44278, 45), (638.29917, 60), (640.1076, 2),
    (640.2248, 100), (650.65281, 65), (653.28822, 22), (659.89529, 30), (665.20927, 2),
    (667.82762, 45), (671.7043, 33), (692.94673, 36), (702.40504, 4), (703.24131, 65),
    (705.91074, 1.5), (717.39381, 9), (724.51666, 40), (743.88981, 18), (747.24386, 0.7),
    (748.88712, 4), (753.57741, 4), (754.40443, 1.5), (794.31814, 0.7), (808.2458, 0.7),
    (813.64054, 1), (830.03258, 2), (836.57466, 0.5), (837.7608, 15), (841.84274, 1.5),
    (846.33575, 0.4), (849.53598, 8), (857.13524, 0.4), (859.12584, 3), (863.4647, 3),
    (864.70411, 0.5), (865.43831, 6), (867.94925, 1), (868.19211, 1), (878.06226, 6),
    (878.37533, 4), (885.38668, 2), (914.86716, 0.7), (920.17591, 0.7), (930.08527, 0.5),
    (932.65068, 0.7),
)  # fmt: skip
_ARGON = (
    (394.8979, 0.4), (404.4418, 0.5), (415.8590, 2), (416.4180, 0.3), (418.1884, 0.7),
    (419.0713, 0.7), (419.1029, 0.7), (419.8317, 1.5), (420.0674, 2), (425.1185, 0.3),
    (425.9362, 1.2), (426.6286, 0.6), (427.2169, 0.8), (430.0101, 0.8), (433.3561, 0.7),
    (434.5168, 0.4), (451.0733, 0.7), (452.2323, 0.2), (549.5874, 0.3), (555.8702, 0.4),
    (560.6733, 0.4), (565.0704, 0.3), (588.8584, 0.3), (591.2085, 0.5), (603.2127, 0.7),
    (604.3223, 0.3), (641.6307, 0.5), (667.7282, 0.5), (675.2834, 0.8), (687.1289, 0.6),
    (696.5431, 14), (703.0251, 0.6), (706.7218, 9), (714.7042, 1.2), (727.2936, 4),
    (735.3293, 0.3), (737.2118, 0.5), (738.3980, 13), (750.3869, 30), (751.4652, 18),
    (763.5106, 50), (772.3761, 18), (772.4207, 12), (794.8176, 18), (800.6157, 18),
    (801.4786, 22), (810.3693, 24), (811.5311, 65), (826.4522, 22), (840.8210, 22),
    (842.4648, 50), (852.1442, 14), (866.7944, 3), (912.2967, 100), (922.4499, 20),
    (935.4220, 2),
)  # fmt: skip
_ELEMENTS = {"Hg": _MERCURY, "Ne": _NEON, "Ar": _ARGON}
LAMPS = {
    "Hg": {"Hg": 1.0},
    "Ne": {"Ne": 1.0},
    "Ar": {"Ar": 1.0},
    "HgAr": {"Hg": 1.0, "Ar": 0.3},
    "HgNe": {"Hg": 1.0, "Ne": 0.3},
}
"""Lamp -> how bright each of its elements is."""


@dataclass(frozen=True)
class Lines:
    """What a lamp shows at some resolution; L features, rising.

    Attributes:
        wavelength_nm: of each, for a blend its centre of brightness, (L,).
        unc_nm: one sigma, for a blend what its unknown mixture leaves open, (L,).
        brightness: relative, (L,).
        clean: False where a neighbour that is neither merged nor apart pulls the centre, (L,).
    """

    wavelength_nm: FloatArray
    unc_nm: FloatArray
    brightness: FloatArray
    clean: NDArray[np.bool_]


def lamp_lines(lamp: str, low_nm: float, high_nm: float, fwhm_nm: float) -> Lines:
    """Return the features of a lamp between two wavelengths, as wide as `fwhm_nm`.

    Raises KeyError for a lamp that is not in LAMPS.
    """
    table = [
        (wavelength, share * brightness)
        for element, share in LAMPS[lamp].items()
        for wavelength, brightness in _ELEMENTS[element]
        if low_nm <= wavelength <= high_nm
    ]
    table.sort()
    groups: list[list[tuple[float, float]]] = []
    for line in table:
        if groups and line[0] - groups[-1][-1][0] < 0.6 * fwhm_nm:
            groups[-1].append(line)
        else:
            groups.append([line])
    merged = [_merge(group) for group in groups]
    found = np.array(merged).reshape(-1, 3)
    wavelength, unc, brightness = found.T
    clean = np.ones(len(found), dtype=np.bool_)
    for index in range(len(found)):
        gap = np.abs(wavelength - wavelength[index])
        near = (gap > 0.0) & (gap < 2.0 * fwhm_nm)
        # A fit of one line feels a neighbour by its brightness, less the farther it is.
        pull = brightness[near] / brightness[index] * np.exp(-1.4 * (gap[near] / fwhm_nm) ** 2)
        clean[index] = not near.any() or float(pull.max()) < 0.02
    return Lines(wavelength, unc, brightness, clean)


def _merge(group: list[tuple[float, float]]) -> tuple[float, float, float]:
    wavelength, brightness = np.array(group).T
    total = float(brightness.sum())
    centre = float(wavelength @ brightness) / total
    # The mixture is known within a factor of two or so.
    spread = 0.5 * abs(centre - float(wavelength[np.argmax(brightness)]))
    return centre, float(np.hypot(LINE_UNC_NM, spread)), total
