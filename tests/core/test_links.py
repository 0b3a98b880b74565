"""Links: what can be written, and what each mistake says."""

from __future__ import annotations

import pytest

from mobilesplit.core.errors import UsageError
from mobilesplit.core.links import Link


def test_a_specification_is_read_in_bit_per_second_and_ms() -> None:
    link = Link.parse("uplink=5.9mbps, downlink=20mbps,rtt=45ms,jitter=0.01s")
    assert link.uplink_bps == pytest.approx(5.9e6)
    assert link.downlink_bps == pytest.approx(20e6)
    assert (link.rtt_ms, link.jitter_ms) == (45.0, 10.0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("uplink=5mbps,downlink=5mbps", "rtt missing"),
        ("uplink=5mbps,downlink=5mbps,rtt=45", "cannot read"),
        ("uplink=5mbps,downlink=5mbps,rtt=45min", "unknown unit"),
        ("uplink=5mbps,downlink=5mbps,rtt=1ms,speed=4mbps", "unknown key"),
        ("uplink=5mbps,uplink=6mbps,downlink=5mbps,rtt=1ms", "given twice"),
        ("uplink=0mbps,downlink=5mbps,rtt=1ms", "rate of 0"),
        ("uplink=1.2.3mbps,downlink=5mbps,rtt=1ms", "cannot read"),
        ("=", "cannot read"),
    ],
)
def test_each_mistake_is_named_in_one_line(text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        Link.parse(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
