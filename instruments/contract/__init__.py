"""What every backend of a role must do, as test classes: for our drivers, and for a lab's own.

A backend is tested by a class derived from the contract of its role, with a fixture `mounted`:

    class TestMyShutter(ShutterContract):
        @pytest.fixture
        def mounted(self):
            with ... as instrument:
                yield Mounted(instrument, clock)

Nothing here imports pytest, or a simulator: a contract knows roles, errors and the clock. Tests
that need what a mounting does not offer (counting what went over the wire, silencing the device)
return early there; the suite of this project offers all of it in process.
"""

from instruments.contract.base import Mounted, RoleContract, refuses
from instruments.contract.cold import CryostatContract
from instruments.contract.detectors import CameraContract, StreakCameraContract
from instruments.contract.light import EnergyMeterContract, PulseGateContract, ShutterContract
from instruments.contract.motion import RotatorContract, StageContract
from instruments.contract.optics import AttenuatorContract, MonochromatorContract

BY_ROLE = {
    "attenuator": AttenuatorContract,
    "stripe": StageContract,
    "monochromator": MonochromatorContract,
    "camera": CameraContract,
    "streak": StreakCameraContract,
    "cryostat": CryostatContract,
    "energy_meter": EnergyMeterContract,
    "shutter": ShutterContract,
    "pulse_gate": PulseGateContract,
}
"""The contract of each role of a bench file (of the stage, where a role is composed of one)."""

__all__ = [
    "BY_ROLE",
    "AttenuatorContract",
    "CameraContract",
    "CryostatContract",
    "EnergyMeterContract",
    "MonochromatorContract",
    "Mounted",
    "PulseGateContract",
    "RoleContract",
    "RotatorContract",
    "ShutterContract",
    "StageContract",
    "StreakCameraContract",
    "refuses",
]
