"""Durations as people write them: ``90s``, ``5min``, ``1.5h``."""

from __future__ import annotations

import re

from mobilesplit.core.errors import UsageError

_DURATION = re.compile(r"\s*([\d.]+)\s*(s|sec|min|m|h)?\s*", re.IGNORECASE)
_SECONDS = {"s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def parse_duration_s(text: str) -> float:
    """Seconds; a number without a unit is seconds. Raises UsageError for anything else."""
    found = _DURATION.fullmatch(text)
    try:
        seconds = float(found[1]) * _SECONDS[(found[2] or "s").lower()] if found else 0.0
    except ValueError:
        seconds = 0.0
    if seconds <= 0:
        raise UsageError(f"{text!r} is no duration.", next_step="Write 90s, 5min or 1h.")
    return seconds
