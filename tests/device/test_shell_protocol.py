"""Shell packets survive any chopping; broken ones are refused before anything is allocated."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilesplit.core.errors import DeviceError
from mobilesplit.device.shell_protocol import Packet, ShellDecoder, StreamId, encode_packet

packets = st.lists(
    st.builds(Packet, st.sampled_from(list(StreamId)), st.binary(max_size=300)), max_size=8
)


@given(packets, st.integers(1, 64))
def test_packets_come_out_as_they_went_in_however_chopped(sent: list[Packet], piece: int) -> None:
    stream = b"".join(encode_packet(packet.stream, packet.data) for packet in sent)
    decoder = ShellDecoder()
    received = [
        packet
        for start in range(0, len(stream), piece)
        for packet in decoder.feed(stream[start : start + piece])
    ]
    assert received == sent


def test_the_layout_is_one_byte_and_a_little_endian_length() -> None:
    assert encode_packet(StreamId.STDOUT, b"hi") == b"\x01\x02\x00\x00\x00hi"


@pytest.mark.parametrize("header", [struct.pack("<BI", 9, 1), struct.pack("<BI", 1, 0xFFFFFFFF)])
def test_an_unknown_stream_or_an_absurd_length_is_refused(header: bytes) -> None:
    with pytest.raises(DeviceError, match="broken shell packet"):
        list(ShellDecoder().feed(header))
