"""What a phone remembers between connections, as commands set it."""

from __future__ import annotations

from dataclasses import dataclass, field

NAMESPACES = ("global", "secure", "system")
STAY_ON = "stay_on_while_plugged_in"
STAY_ON_BITS = {"true": 7, "false": 0, "ac": 1, "usb": 2, "wireless": 4}
"""What ``svc power stayon`` writes: BatteryManager.BATTERY_PLUGGED_*."""


def _first_settings() -> dict[str, dict[str, str]]:
    return {
        "global": {"airplane_mode_on": "0", STAY_ON: "0", "adb_enabled": "1", "wifi_on": "1"},
        "secure": {"location_mode": "0"},
        "system": {"screen_brightness": "102", "screen_off_timeout": "60000"},
    }


@dataclass
class SystemState:
    """Set by commands, gone with the phone."""

    settings: dict[str, dict[str, str]] = field(default_factory=_first_settings)
    """By namespace and key, as ``settings`` shows them."""
    fixed_performance: bool = False
    """Accepted and remembered; the declared slow-down does not change."""
    awake: bool = True
    """Whether the screen is on; the power model does not ask."""
    thermal_override: int | None = None
    """By ``cmd thermalservice override-status``."""
