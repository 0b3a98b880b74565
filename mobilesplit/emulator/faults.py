"""What can be wrong with a virtual phone, as one document that may change while it runs.

Rule: every fault shows itself as it does on a phone (same words, same exit codes), and nothing in
the phone tells the client that it was made.
"""

from __future__ import annotations

from collections.abc import Mapping

import yaml
from pydantic import Field, ValidationError

from mobilesplit.core.documents import Document, describe
from mobilesplit.core.errors import UnknownNameError, UsageError

DENIED_FOLDERS = ("/sys/bus/iio", "/sys/class/power_supply", "/sys/class/thermal")
RAIL_FOLDERS = ("/sys/bus/iio",)


class Faults(Document):
    """All faults of one phone; the defaults are a healthy one."""

    charging: bool = False
    """A USB charger is connected: status Charging, its power subtracted from the current."""
    denied_sysfs: bool = False
    """Battery, rails and thermal zones cannot be read: Permission denied."""
    no_rails: bool = False
    """There are no power rails (ODPM), as on most phones."""
    frozen_gauge: bool = False
    """The gauge shows its last reading for ever."""
    thermal_status: int = Field(default=0, ge=0, le=6)
    """Android's thermal status."""
    skin_celsius: float | None = Field(default=None, ge=-20, le=120)
    """Skin temperature; None is the constant of the virtual phone."""
    slowdown_factor: float = Field(default=1.0, ge=1, le=100)
    """The runner takes this many times longer than declared, from its next inference on."""
    free_nbytes: int | None = Field(default=None, ge=0)
    """Free storage when this is set; None is plenty. Writes over it: No space left on device."""
    kill_runner_after: int | None = Field(default=None, ge=0)
    """The next program is killed (SIGKILL, as by the low memory killer) after so many inferences.
    Happens once."""
    disconnect_after_ms: int | None = Field(default=None, ge=0)
    """Every connection is dropped after this time. Happens once."""
    disconnect_after_nbytes: int | None = Field(default=None, ge=0)
    """The connections are dropped when so many more bytes came from hosts. Happens once."""
    refuse_s: float = Field(default=0.0, ge=0, le=3600)
    """For so long after such a drop, new connections end at once."""
    wrong_abi: bool = False
    """Programs are for another processor."""
    refuse_auth: bool = False
    """New connections wait for somebody to accept the key: unauthorized."""

    def changed(self, changes: Mapping[str, object]) -> Faults:
        """With ``changes`` by field name.

        Raises:
            UnknownNameError: listing the faults.
            UsageError: a value that the fault does not take.
        """
        for name in changes:
            if name not in type(self).model_fields:
                raise UnknownNameError("fault", name, type(self).model_fields)
        try:
            return Faults.model_validate({**self.model_dump(), **changes})
        except ValidationError as error:
            raise UsageError(f"That fault cannot be set: {describe(error)}.") from None

    def active(self) -> dict[str, object]:
        """Those that are not at their default."""
        return self.model_dump(exclude_defaults=True)


def parse_changes(words: list[str]) -> dict[str, object]:
    """``KEY=VALUE`` words as ``Faults.changed`` takes them; ``KEY`` alone is ``KEY=true``.

    Raises:
        UsageError: a value that is none.
    """
    changes: dict[str, object] = {}
    for word in words:
        name, equals, text = word.partition("=")
        try:
            changes[name] = yaml.safe_load(text) if equals else True
        except yaml.YAMLError:
            raise UsageError(f"{word!r} is no fault.", next_step="Write KEY=VALUE.") from None
    return changes
