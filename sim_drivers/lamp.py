"""Spectral lamps in front of the spectrograph: the lines that a calibration looks for.

For the World. Air wavelengths in nm with rough relative intensities as silicon sees a pencil lamp
(NIST Atomic Spectra Database; mercury by Sansonetti, Salit and Reader, Appl. Opt. 35, 74, 1996).
Written down here for the simulation alone: the analysis has its own table.
"""

from __future__ import annotations

import numpy as np

from sim_drivers.sample.conditions import Lines

PHOTONS_PER_S = 2e4
"""Photons a second at the slit, in a line of relative intensity 1; assumed."""
LINE_FWHM_NM = 0.005
"""Width of a line of a low-pressure lamp."""

_MERCURY = (
    (296.728, 3.0),
    (302.150, 2.0),
    (312.567, 5.0),
    (313.155, 4.0),
    (313.184, 4.0),
    (334.148, 1.5),
    (365.0158, 20.0),
    (365.4842, 5.0),
    (366.3284, 4.0),
    (404.6565, 14.0),
    (407.7837, 1.2),
    (433.9223, 0.6),
    (434.7506, 1.0),
    (435.8335, 26.0),
    (491.607, 0.2),
    (546.0750, 30.0),
    (576.9610, 5.0),
    (579.0670, 5.5),
    (690.752, 0.2),
    (708.190, 0.15),
)
_NEON = (
    (533.0778, 0.6),
    (534.1094, 0.7),
    (540.0562, 1.0),
    (576.4419, 0.5),
    (582.0156, 0.5),
    (585.2488, 12.0),
    (588.1895, 4.5),
    (594.4834, 6.0),
    (597.5534, 1.8),
    (602.9997, 2.0),
    (607.4338, 5.5),
    (609.6163, 7.0),
    (614.3063, 12.0),
    (616.3594, 4.0),
    (621.7281, 3.5),
    (626.6495, 7.0),
    (630.4789, 2.8),
    (633.4428, 9.0),
    (638.2991, 12.0),
    (640.2248, 20.0),
    (650.6528, 14.0),
    (653.2882, 4.0),
    (659.8953, 5.0),
    (667.8276, 9.0),
    (671.7043, 3.5),
    (692.9467, 8.0),
    (702.4050, 1.5),
    (703.2413, 15.0),
    (705.9108, 0.8),
    (717.3938, 2.5),
    (724.5167, 7.0),
    (743.8898, 3.0),
    (747.2438, 0.5),
    (748.8871, 2.5),
    (753.5774, 2.2),
    (754.4044, 1.2),
    (794.3181, 0.6),
    (808.2458, 0.7),
    (813.6406, 1.0),
    (830.0325, 1.5),
    (837.7607, 4.0),
    (841.8427, 1.5),
    (849.5360, 2.5),
    (859.1259, 1.6),
    (863.4647, 1.4),
    (865.4383, 2.5),
    (878.0622, 2.0),
    (878.3753, 1.8),
)
_ARGON = (
    (415.8590, 0.30),
    (419.8317, 0.20),
    (420.0675, 0.30),
    (425.9362, 0.20),
    (427.2169, 0.15),
    (430.0101, 0.12),
    (433.3561, 0.12),
    (451.0733, 0.12),
    (675.2834, 0.15),
    (687.1289, 0.12),
    (696.5431, 8.0),
    (703.0251, 0.2),
    (706.7218, 6.0),
    (714.7042, 0.6),
    (727.2936, 3.0),
    (738.3980, 9.0),
    (750.3869, 14.0),
    (751.4652, 9.0),
    (763.5106, 20.0),
    (772.3761, 7.0),
    (772.4207, 5.0),
    (794.8176, 8.0),
    (800.6157, 7.0),
    (801.4786, 10.0),
    (810.3693, 10.0),
    (811.5311, 20.0),
    (826.4522, 7.0),
    (840.8210, 9.0),
    (842.4648, 12.0),
    (852.1442, 6.0),
    (866.7944, 1.5),
    (912.2967, 14.0),
    (922.4499, 5.0),
)
LAMPS = {
    "Hg": _MERCURY,
    "Ne": _NEON,
    "Ar": _ARGON,
    "HgAr": _MERCURY + _ARGON,
    "HgNe": _MERCURY + _NEON,
}


def lamp_lines(name: str, seconds: float) -> Lines:
    """Return what a lamp of `LAMPS` sends through the slit in some seconds.

    Raises:
        ValueError: there is no such lamp.
    """
    if name not in LAMPS:
        raise ValueError(f"lamp: {name!r} was given, allowed is one of {', '.join(LAMPS)}")
    wavelength, intensity = np.array(LAMPS[name]).T.copy()
    photons = PHOTONS_PER_S * seconds * intensity
    return Lines(wavelength, photons, np.full(len(photons), LINE_FWHM_NM))
