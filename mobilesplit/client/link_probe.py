"""Measures the link to a server with messages of known sizes. Raw samples are kept."""

from __future__ import annotations

from dataclasses import dataclass

from mobilesplit.client.connection import CloudConnection
from mobilesplit.core.statistics import median
from mobilesplit.wire.messages import MAX_PROBE_REPLY_NBYTES

_FIRST_BULK_NBYTES = 64 * 1024
_MIN_BULK_NBYTES = 16 * 1024
_MAX_BULK_NBYTES = MAX_PROBE_REPLY_NBYTES // 2
_BULK_MS = 250.0
"""A bulk message should take about this long: much longer than the jitter, and no bore."""


@dataclass(frozen=True)
class LinkMeasurement:
    """Raw samples of one link, all measured; `schedule.link_estimate` makes a Link of them."""

    rtt_ms: tuple[float, ...]
    """Round trips of small messages."""
    uplink_bps: tuple[float, ...]
    """Rates of bulk messages to the server."""
    downlink_bps: tuple[float, ...]
    """Rates of bulk messages from the server."""
    uplink_nbytes: int
    """Size of a bulk message to the server."""
    downlink_nbytes: int
    """Size of a bulk message from the server."""


def measure_link(
    connection: CloudConnection,
    *,
    pings: int = 15,
    bulk_nbytes: int | None = None,
    repeats: int = 3,
) -> LinkMeasurement:
    """Measure round trips and both rates; takes about 3 s on a mobile link.

    A rate is the bulk message's size over what it took longer than the median small one.

    Args:
        bulk_nbytes: size of the bulk messages; None finds one that takes about 0.25 s.

    Raises:
        CloudError: as `CloudConnection.probe`.
    """
    connection.probe(0, 0)  # the first message also warms the path
    rtt_ms = tuple(connection.probe(0, 0) for _ in range(pings))
    small_ms = median(rtt_ms)

    def uplink_bps(nbytes: int) -> float:
        return _rate_bps(nbytes, connection.probe(nbytes, 0), small_ms)

    def downlink_bps(nbytes: int) -> float:
        return _rate_bps(nbytes, connection.probe(0, nbytes), small_ms)

    up_nbytes = bulk_nbytes or _bulk_nbytes(uplink_bps(_FIRST_BULK_NBYTES))
    down_nbytes = bulk_nbytes or _bulk_nbytes(downlink_bps(_FIRST_BULK_NBYTES))
    return LinkMeasurement(
        rtt_ms=rtt_ms,
        uplink_bps=tuple(uplink_bps(up_nbytes) for _ in range(repeats)),
        downlink_bps=tuple(downlink_bps(down_nbytes) for _ in range(repeats)),
        uplink_nbytes=up_nbytes,
        downlink_nbytes=down_nbytes,
    )


def _rate_bps(nbytes: int, took_ms: float, small_ms: float) -> float:
    # On a link faster than its jitter the difference may be nothing: count at least 10 us.
    return nbytes * 8e3 / max(took_ms - small_ms, 0.01)


def _bulk_nbytes(rate_bps: float) -> int:
    return int(min(max(rate_bps * _BULK_MS / 8e3, _MIN_BULK_NBYTES), _MAX_BULK_NBYTES))
