"""The unit and the sign of a battery gauge's current. Pure.

Android asks for microamperes and leaves the sign to the vendor; some show milliamperes. Found from
a device under load and unplugged, or forced by the user.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mobilesplit.core.statistics import median

CurrentUnit = Literal["ua", "ma"]
DischargeSign = Literal[-1, 1]

_LEAST_RAW = 20
"""A busy phone draws over 20 mA: a smaller number is in neither unit."""
_LEAST_MICROAMPERES = 10_000
"""A phone draws between 10 mA and 10 A under load, so that no number is in both units."""
_MOST_MICROAMPERES = 20_000_000
_PER_MA = {"ua": 1e3, "ma": 1.0}


@dataclass(frozen=True)
class Calibration:
    """What turns a gauge's number into the current that leaves the battery."""

    unit: CurrentUnit
    """µA or mA."""
    discharge_sign: DischargeSign
    """Of the number while the battery discharges."""

    def power_mw(self, current_raw: float, voltage_mv: float) -> float:
        """Power that leaves the battery; negative while it is charged."""
        return self.discharge_sign * current_raw / _PER_MA[self.unit] * voltage_mv / 1e3


def find_unit(load_raw: Sequence[int]) -> CurrentUnit | None:
    """The unit, by the size of the numbers under load; None where it can be neither."""
    size = abs(median(load_raw))
    if not _LEAST_RAW <= size <= _MOST_MICROAMPERES:
        return None
    return "ma" if size < _LEAST_MICROAMPERES else "ua"


def find_sign(load_raw: Sequence[int]) -> DischargeSign:
    """The sign, from a device under load with no cable."""
    return 1 if median(load_raw) > 0 else -1
