"""How a device is profiled: part of the profile's provenance, and what --resume compares."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mobilesplit.core.documents import Document


class ProfileSettings(Document):
    """Settings of one profile. Measuring goes on while (runs < ``min_runs`` or time < ``min_s`` or
    an interval is wider than ``precision``) and neither ``max_runs`` nor ``max_s`` is reached."""

    min_runs: int = Field(default=50, ge=1)
    """Fewest samples of every head."""
    max_runs: int = Field(default=300, ge=1)
    """Most samples of every head."""
    min_s: float = Field(default=1.0, ge=0)
    """Least seconds of measuring."""
    max_s: float = Field(default=120.0, gt=0)
    """Most seconds of measuring, warm-up and loading aside."""
    precision: float = Field(default=0.02, gt=0)
    """Half width of every head's 95 % interval, as a share of its median, at which it is enough."""
    warmup_runs: int = Field(default=3, ge=0)
    """Inferences of every session before any counts, besides the first of each method."""
    warmup_s: float = Field(default=0.0, ge=0)
    """Least seconds of warm-up."""
    sessions: int = Field(default=5, ge=1, le=100)
    """Runner processes that share the samples: what differs from process to process (where
    memory lies, say) then shows in the interval."""
    threads: int = Field(default=1, ge=1, le=64)
    """Threads of the runner."""
    core_mask: str | None = Field(default=None, pattern=r"^[0-9a-f]{1,16}$")
    """Cores it may use, hexadecimal; None leaves it to the system."""
    one_by_one: bool = False
    """Measure every head alone, in random order, instead of all in one pass."""
    seed: int = 0
    """Of the random order."""
    cool_to_c: float = Field(default=37.0, gt=0)
    """Skin or battery temperature to wait for before measuring."""
    cool_max_s: float = Field(default=300.0, ge=0)
    """Longest wait for it."""
    energy: Literal["auto", "rails", "perfetto", "battery", "cmd", "none"] = "auto"
    """Where energy is read."""
    idle_s: float | None = Field(default=None, ge=0)
    """Seconds of idle baseline; None: 30, and 3 where power rails are modelled."""
    load_s: float = Field(default=45.0, gt=0)
    """Most seconds of back-to-back inferences for one energy."""
    current_unit: Literal["ua", "ma"] | None = None
    """Unit of the battery's current; None finds out."""
    discharge_sign: Literal[-1, 1] | None = None
    """Sign of the battery's current while it discharges; None finds out."""
    hold_state: bool = True
    """Hold the screen on and the clocks steady where the device allows it, and restore both."""
