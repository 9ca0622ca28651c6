"""What the operator may do by hand, by role: one function a deed, all within the limits.

Called in the bench's thread with the open bench. Each returns a line for the log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gui.words import plain, significant
from instruments.errors import LimitError, NotReady
from instruments.roles import Cryostat, Limits, StreakCamera

if TYPE_CHECKING:
    from instruments.bench import Bench


def open_shutter(bench: Bench) -> str:
    """Let light on the sample; shots count from here."""
    bench.need("shutter")
    if not bench.pump.is_open:
        bench.pump.open()
    return "shutter opened by hand"


def shut_shutter(bench: Bench) -> str:
    """Close the shutter, over a fresh link if it must be."""
    bench.need("shutter")
    try:
        bench.pump.shut()
    except Exception:
        bench.make_safe_for_pause()
    return "shutter closed by hand"


def home(bench: Bench, role: str) -> str:
    """Search the reference of an attenuator or a slit, the shutter closed meanwhile."""
    shutter = bench.instruments.get("shutter")
    if shutter is not None:
        bench.pump.shut()
    bench.need(role).prepare()  # type: ignore[attr-defined]
    return f"{role} homed"


def set_fluence(bench: Bench, fluence_uJ_cm2: float) -> str:
    """Turn the attenuator for a fluence (uJ/cm2)."""
    attenuator: Any = bench.need("attenuator")
    bench.pump.limits.check("fluence", fluence_uJ_cm2)
    if not attenuator.homed:
        home(bench, "attenuator")
    found = bench.pump.set_fluence(fluence_uJ_cm2)
    return f"fluence {significant(found.value_uJ_cm2)} µJ/cm² ({plain(fluence_uJ_cm2)} asked)"


def set_stripe_length(bench: Bench, length_mm: float) -> str:
    """Set the slit (mm)."""
    stripe: Any = bench.need("stripe")
    stripe.limits["length_mm"].check("stripe length", length_mm)
    if not stripe.homed:
        home(bench, "stripe")
    return f"stripe {stripe.set_length_mm(length_mm):.3f} mm"


def set_centre(bench: Bench, wavelength_nm: float) -> str:
    """Turn the spectrograph to a centre wavelength (nm)."""
    mono = bench.need("monochromator")
    limits = mono.limits.get("wavelength_nm")
    if limits is not None:
        limits.check("centre wavelength", wavelength_nm)
    if bench.spectrograph is not None:
        reached = bench.spectrograph.go_to(wavelength_nm)
    else:
        reached = mono.go_to(wavelength_nm)  # type: ignore[attr-defined]
    return f"centre wavelength {reached:.2f} nm"


def select_grating(bench: Bench, slot: int) -> str:
    """Turn to the grating in a slot."""
    bench.need("monochromator")
    mono: Any = (
        bench.spectrograph if bench.spectrograph is not None else bench.need("monochromator")
    )
    found = mono.select_grating(slot)
    return f"grating {found.slot}: {found.grooves_per_mm:g}/mm"


def set_exposure(bench: Bench, exposure_s: float) -> str:
    """Set the camera's exposure (s)."""
    return f"exposure {significant(bench.need_spectrograph().set_exposure_s(exposure_s))} s"


def set_streak_range(bench: Bench, time_range_ps: float) -> str:
    """Choose the sweep of the streak camera (ps)."""
    streak = bench.need("streak")
    assert isinstance(streak, StreakCamera)
    return f"sweep {significant(streak.select_time_range(time_range_ps))} ps"


def set_streak_gain(bench: Bench, gain: float) -> str:
    """Set the gain that images are taken with (steps)."""
    streak = bench.need("streak")
    assert isinstance(streak, StreakCamera)
    return f"gain {streak.set_mcp_gain(round(gain))}"


def set_temperature(bench: Bench, temperature_K: float) -> str:
    """Ask the cryostat for a temperature (K)."""
    cryostat = bench.need("cryostat")
    assert isinstance(cryostat, Cryostat)
    allowed = bench.config.limits
    Limits(allowed.temperature_min_K, allowed.temperature_max_K, "K").check(
        "temperature", temperature_K
    )
    cryostat.set_temperature(temperature_K)
    return f"cryostat: {temperature_K:g} K asked for"


def heater_off(bench: Bench) -> str:
    """Switch the heater off."""
    cryostat = bench.need("cryostat")
    assert isinstance(cryostat, Cryostat)
    cryostat.heater_off()
    return "heater off"


def reset_interlock(bench: Bench) -> str:
    """Allow light again, if what tripped the interlock is over."""
    watch = bench.interlock
    if watch is None:
        raise NotReady("no interlock watches this bench")
    watch.reset()
    return "interlock reset: light is allowed again"


def recover(bench: Bench, role: str) -> str:
    """Open an instrument's link again and identify it."""
    if role not in bench.instruments:
        raise NotReady(f"{role}: it is not part of this bench")
    bench.recover(role)
    return f"{role}: back"


def refuse_if_dark(bench: Bench) -> None:
    """Raise LimitError if no shutter can be closed for a background."""
    if "shutter" not in bench.instruments:
        raise LimitError("this bench has no shutter: block the beam by hand for a background")
