"""HORIBA spectrographs behind the ICL (Instrument Control Layer): monochromator and camera.

The public face of the driver `horiba-icl`; it fills two roles, which share a link to the ICL when
their resource (`ws://host:port`) is the same. The parts: `icl_link` (requests and replies),
`icl_device` (opening, and coming back), `icl_monochromator`, `icl_camera`, `icl_data` (frames).
"""

from instruments.drivers.icl_camera import HoribaCamera
from instruments.drivers.icl_link import IclLink, open_icl
from instruments.drivers.icl_monochromator import HoribaMonochromator

__all__ = ["HoribaCamera", "HoribaMonochromator", "IclLink", "open_icl"]
