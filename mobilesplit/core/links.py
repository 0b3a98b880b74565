"""The network between phone and cloud."""

from __future__ import annotations

import math
import re
from typing import Self

from pydantic import Field

from mobilesplit.core.documents import Document
from mobilesplit.core.errors import UsageError

_RATES = {"bps": 1.0, "kbps": 1e3, "mbps": 1e6, "gbps": 1e9}
_TIMES = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_EXAMPLE = "Write it as uplink=5.9mbps,downlink=20mbps,rtt=45ms[,jitter=10ms], or name a preset."


class Radio(Document):
    """Power that a phone's radio draws while it transfers: base plus a slope per Mbit/s."""

    base_mw: float = Field(ge=0)
    """Milliwatt while the radio is in its connected state."""
    uplink_mw_per_mbps: float = Field(ge=0)
    """Added milliwatt for each Mbit/s sent."""
    downlink_mw_per_mbps: float = Field(ge=0)
    """Added milliwatt for each Mbit/s received."""
    source: str
    """Where the figures come from."""


class Link(Document):
    """Rates in bit/s (mbps is 10^6), times in ms.

    Each message is delayed one way by half of ``rtt_ms`` plus an extra drawn uniformly from
    0 to ``jitter_ms``; the shaper and the cost model both read it so.
    """

    name: str = "custom"
    """Preset name, or ``custom``."""
    uplink_bps: float = Field(gt=0)
    """Phone to cloud."""
    downlink_bps: float = Field(gt=0)
    """Cloud to phone."""
    rtt_ms: float = Field(ge=0)
    """Round trip of a small message without jitter."""
    jitter_ms: float = Field(default=0.0, ge=0)
    """Largest extra delay of a message, one way."""
    radio: Radio | None = None
    """Power model of the phone's radio on this link; None leaves radio energy out, and says so."""
    source: str = ""
    """Where the figures come from."""

    @classmethod
    def parse(cls, spec: str) -> Self:
        """``uplink=5.9mbps,downlink=20mbps,rtt=45ms[,jitter=10ms]`` as a link.

        Raises:
            UsageError: naming the part that is wrong.
        """
        fields: dict[str, float] = {}
        for part in spec.split(","):
            match = re.fullmatch(r"\s*(\w+)=([0-9.]+)([a-zA-Z%]+)\s*", part)
            if match is None:
                raise UsageError(f"Link: cannot read {part!r}.", next_step=_EXAMPLE)
            key, number, unit = match[1], match[2], match[3].lower()
            units, name = (
                (_RATES, f"{key}_bps") if key in ("uplink", "downlink") else (_TIMES, f"{key}_ms")
            )
            if key not in ("uplink", "downlink", "rtt", "jitter"):
                raise UsageError(
                    f"Link: unknown key {key!r}.",
                    next_step=f"Known: downlink, jitter, rtt, uplink. {_EXAMPLE}",
                )
            if unit not in units:
                raise UsageError(
                    f"Link: unknown unit {unit!r} in {part!r}.",
                    next_step=f"Known: {', '.join(units)}.",
                )
            if name in fields:
                raise UsageError(f"Link: {key!r} is given twice.", next_step=_EXAMPLE)
            try:
                fields[name] = float(number) * units[unit]
            except ValueError:
                raise UsageError(f"Link: cannot read {part!r}.", next_step=_EXAMPLE) from None
        missing = {"uplink_bps", "downlink_bps", "rtt_ms"} - fields.keys()
        if missing:
            names = ", ".join(sorted(name.rsplit("_", 1)[0] for name in missing))
            raise UsageError(f"Link: {names} missing in {spec!r}.", next_step=_EXAMPLE)
        if fields["uplink_bps"] <= 0 or fields["downlink_bps"] <= 0:
            raise UsageError(f"Link: a rate of 0 in {spec!r}.", next_step=_EXAMPLE)
        if not all(map(math.isfinite, fields.values())):
            raise UsageError(f"Link: a number too large in {spec!r}.", next_step=_EXAMPLE)
        return cls(
            uplink_bps=fields["uplink_bps"],
            downlink_bps=fields["downlink_bps"],
            rtt_ms=fields["rtt_ms"],
            jitter_ms=fields.get("jitter_ms", 0.0),
        )

    def describe(self) -> str:
        """``12 up / 40 down Mbit/s, RTT 50 ms, jitter 10 ms``."""
        text = f"{self.uplink_bps / 1e6:.3g} up / {self.downlink_bps / 1e6:.3g} down Mbit/s"
        text += f", RTT {self.rtt_ms:.3g} ms"
        return text + (f", jitter {self.jitter_ms:.3g} ms" if self.jitter_ms else "")
