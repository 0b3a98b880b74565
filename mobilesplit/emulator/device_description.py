"""What a virtual phone pretends to be: one YAML file per device in configs/devices/.

Rule: every figure is declared, none measured, and `sources` says how each came about.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from mobilesplit.core.documents import Document, describe
from mobilesplit.core.errors import InputFileError, UnknownNameError
from mobilesplit.resources import named_files

_FOLDER = "configs/devices"


class Battery(Document):
    """A full battery and where it starts."""

    capacity_mah: float = Field(gt=0)
    """Charge when full."""
    voltage_v: float = Field(gt=0)
    """Nominal voltage; the model keeps it constant."""
    start_percent: float = Field(default=80.0, gt=0, le=100)
    """Charge when the phone starts."""


class GaugeSettings(Document):
    """How the battery gauge shows the current. The defaults are a usual phone's."""

    unit: Literal["uA", "mA"] = "uA"
    """Of ``current_now``: Android says µA, some vendors write mA."""
    discharge_sign: Literal[-1, 1] = -1
    """Sign of the current while the battery discharges."""
    period_s: float = Field(default=1.0, gt=0, le=60)
    """From one refresh to the next; in between it shows the same."""
    window_s: float = Field(default=1.0, gt=0, le=60)
    """A refresh shows the mean of this long: the period for a gauge that averages, a short time
    for one that samples."""
    noise_ma: float = Field(default=3.0, ge=0)
    """Standard deviation of a refresh's error, Gaussian and independent of the others."""
    step_ma: float = Field(default=0.25, gt=0)
    """The current comes in multiples of this."""
    voltage_noise_mv: float = Field(default=2.0, ge=0)
    """The same for the voltage; the battery's own voltage is constant."""
    charge_step_uah: float = Field(default=500.0, gt=0)
    """The charge counter comes in multiples of this."""


class Power(Document):
    """The power model: idle power over wall time, active power over busy core time."""

    idle_w: float = Field(gt=0)
    """The whole phone, screen on, nothing running."""
    cpu_idle_w: float = Field(ge=0)
    """The part of ``idle_w`` that the CPU rail shows."""
    active_w_per_core: float = Field(gt=0)
    """Added by one busy core."""

    @model_validator(mode="after")
    def _cpu_is_a_part(self) -> Power:
        if self.cpu_idle_w > self.idle_w:
            raise ValueError("cpu_idle_w is a part of idle_w and cannot exceed it")
        return self


class DeviceDescription(Document):
    """One virtual phone model."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")
    """Its name here, e.g. ``midrange-2021``."""
    model: str = Field(pattern=r"^[^\n;=\]\[]{1,80}$")
    """``ro.product.model``."""
    manufacturer: str = Field(pattern=r"^[^\n;=\]\[]{1,80}$")
    """``ro.product.manufacturer``."""
    android: str
    """``ro.build.version.release``."""
    sdk: int = Field(ge=21)
    """``ro.build.version.sdk``."""
    abi: Literal["x86_64", "arm64-v8a"]
    """The host's: the virtual phone runs the host's runner."""
    max_clock_khz: tuple[int, ...] = Field(min_length=1, max_length=32)
    """Highest clock of each core."""
    memory_bytes: int = Field(gt=0)
    """RAM."""
    inference_slowdown: float = Field(ge=1)
    """The runner takes this many times as long as on one core of this host."""
    general_slowdown: float = Field(ge=1)
    """The same for the app's other work (decoding a photo)."""
    battery: Battery
    """The battery."""
    gauge: GaugeSettings = GaugeSettings()
    """What measures the battery."""
    power: Power
    """The power model."""
    sources: dict[str, str]
    """For each figure: that it is declared or assumed, and how it was derived."""

    @property
    def cores(self) -> int:
        """Number of cores."""
        return len(self.max_clock_khz)

    @model_validator(mode="after")
    def _every_figure_has_a_source(self) -> DeviceDescription:
        figures = {
            "max_clock_khz", "memory_bytes", "inference_slowdown", "general_slowdown",
            "battery", "power",
        }  # fmt: skip
        if self.gauge != GaugeSettings():
            figures.add("gauge")
        missing = sorted(figures - self.sources.keys())
        if missing:
            raise ValueError(f"sources lacks {', '.join(missing)}")
        return self


def load_description(name_or_path: str) -> DeviceDescription:
    """The description called so in configs/devices, or the YAML file at that path.

    Raises:
        UnknownNameError: listing the known names.
        InputFileError: the file cannot be read, with every mistake at once.
    """
    known = named_files(_FOLDER, ".yaml")
    path = known.get(name_or_path)
    if path is None:
        if not name_or_path.endswith((".yaml", ".yml", ".json")):
            raise UnknownNameError("device description", name_or_path, known)
        path = Path(name_or_path)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputFileError(str(path), error.strerror or "cannot be read") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputFileError(str(path), f"is not YAML: {' '.join(str(error).split())}") from None
    try:
        return DeviceDescription.model_validate(data)
    except ValidationError as error:
        raise InputFileError(str(path), describe(error)) from None


def known_descriptions() -> list[str]:
    """Names in configs/devices."""
    return sorted(named_files(_FOLDER, ".yaml"))
