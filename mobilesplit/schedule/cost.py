"""The cost model: one (cut, codec) under one link, as distributions made from raw samples.

Pure. Every term is independent of the others; their sum is drawn ``DRAWS`` times with a fixed
seed, so the same inputs always give the same figures. All figures are *predicted*.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mobilesplit.core.cuts import OUTPUT
from mobilesplit.core.links import Link
from mobilesplit.core.plans import Job, Prediction, Term
from mobilesplit.core.profiles import CutProfile, Profile

DRAWS = 4096
FRAMING_BYTES = 512
"""Websocket, frame and message headers around a payload, rounded up."""
NO_CODEC = "none"
"""The codec of the cut ``output``: nothing is sent."""
UNPREPARED = "original"
"""The codec that sends the photo as it is, so that the cloud prepares it."""

Draws = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Candidate:
    """A cut with a codec."""

    cut: CutProfile
    codec: str

    @property
    def on_device_only(self) -> bool:
        """Nothing crosses the link."""
        return self.cut.id == OUTPUT


def candidates(profile: Profile) -> list[Candidate]:
    """Every (cut, codec) of a profile in its order; ``output`` once, with codec ``none``."""
    found = []
    for cut in profile.cuts:
        names = [NO_CODEC] if cut.id == OUTPUT else list(cut.codecs)
        found += [Candidate(cut, name) for name in names]
    return found


def predict(profile: Profile, candidate: Candidate, link: Link, job: Job) -> Prediction:
    """Latency, cloud time, device energy and bytes of a candidate for a job."""
    rng = np.random.default_rng(0)
    cut = candidate.cut
    draws = {name: np.zeros(DRAWS) for name in TERMS}
    uplink_bytes = 0
    draws["head"] = _draw(rng, cut.head_ms)
    if candidate.codec != UNPREPARED:
        draws["prepare"] = _draw(rng, profile.prepare_ms)
    if not candidate.on_device_only:
        codec = cut.codecs[candidate.codec]
        uplink_bytes = codec.bytes
        draws["encode"] = _draw(rng, codec.encode_ms)
        draws["decode"] = _draw(rng, codec.decode_ms)
        draws["tail"] = _draw(rng, cut.tail_ms["1"])
        draws["uplink"] = _transfer(rng, uplink_bytes, link.uplink_bps, link)
        draws["downlink"] = _transfer(rng, profile.output_bytes, link.downlink_bps, link)
    total = sum(draws.values(), np.zeros(DRAWS))
    cloud = draws["decode"] + draws["tail"]
    return Prediction(
        terms={name: _term(values) for name, values in draws.items()},
        total=_term(total),
        at_percentile_ms=float(np.quantile(total, job.percentile)),
        p_within_sla=float(np.mean(total <= job.sla_ms)),
        cloud_ms=float(np.median(cloud)),
        device_mj=_device_mj(profile, candidate, link, uplink_bytes, float(np.median(cloud))),
        uplink_bytes=uplink_bytes,
    )


TERMS = ("prepare", "head", "encode", "uplink", "decode", "tail", "downlink")


def radio_mj(
    link: Link, *, uplink_bytes: int, downlink_bytes: int, cloud_ms: float
) -> float | None:
    """Modelled energy of the phone's radio from the first byte up to the last byte down.

    While it waits for the answer it draws its base power. Promotion before and the tail after a
    burst are left out: they are paid per burst, however many jobs share it. None without a model.
    """
    if link.radio is None:
        return None
    energy_mj = link.radio.base_mw * (link.rtt_ms + cloud_ms) / 1e3
    for nbytes, rate_bps, slope in (
        (uplink_bytes, link.uplink_bps, link.radio.uplink_mw_per_mbps),
        (downlink_bytes, link.downlink_bps, link.radio.downlink_mw_per_mbps),
    ):
        power_mw = link.radio.base_mw + slope * rate_bps / 1e6
        energy_mj += power_mw * (nbytes * 8 / rate_bps)
    return energy_mj


def _draw(rng: np.random.Generator, samples: tuple[float, ...]) -> Draws:
    """Draws from the samples, interpolated between order statistics."""
    ordered = np.sort(np.asarray(samples, dtype=np.float64))
    return np.interp(rng.random(DRAWS), np.linspace(0, 1, len(ordered)), ordered)


def _transfer(rng: np.random.Generator, nbytes: int, rate_bps: float, link: Link) -> Draws:
    serialise_ms = (nbytes + FRAMING_BYTES) * 8 / rate_bps * 1e3
    return serialise_ms + link.rtt_ms / 2 + rng.random(DRAWS) * link.jitter_ms


def _term(values: Draws) -> Term:
    p50, p95 = np.quantile(values, (0.5, 0.95))
    return Term(p50=float(p50), p95=float(p95))


def _device_mj(
    profile: Profile, candidate: Candidate, link: Link, uplink_bytes: int, cloud_ms: float
) -> float | None:
    """Head, preparation and radio; None as soon as one that is needed is not known."""
    parts: list[float | None] = [candidate.cut.head_energy_mj]
    if candidate.codec != UNPREPARED:
        parts.append(profile.prepare_energy_mj)
    if not candidate.on_device_only:
        parts.append(
            radio_mj(
                link,
                uplink_bytes=uplink_bytes,
                downlink_bytes=profile.output_bytes,
                cloud_ms=cloud_ms,
            )
        )
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None
