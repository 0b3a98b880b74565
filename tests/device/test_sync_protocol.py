"""Replies of the sync service, whole or in pieces; and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilesplit.core.errors import DeviceError
from mobilesplit.device.sync_protocol import (
    Reply,
    ReplyKind,
    SyncDecoder,
    encode_data,
    encode_done,
    encode_receive,
    encode_send,
)


def test_requests_are_the_bytes_that_adb_sends() -> None:
    assert encode_send("/sdcard/x", 0o644) == b"SEND\x0f\0\0\0/sdcard/x,33188"
    assert encode_receive("/x") == b"RECV\x02\0\0\0/x"
    assert encode_data(b"ab") == b"DATA\x02\0\0\0ab"
    assert encode_done(258) == b"DONE\x02\x01\0\0"


@given(st.lists(st.integers(1, 30)))
def test_replies_are_found_however_they_are_cut(cuts: list[int]) -> None:
    stream = b"DATA\x03\0\0\0abcDONE\0\0\0\0OKAY\0\0\0\0FAIL\x02\0\0\0no"
    decoder, found, at = SyncDecoder(), [], 0
    for size in [*cuts, len(stream)]:
        found += decoder.feed(stream[at : at + size])
        at += size
    assert found == [
        Reply(ReplyKind.DATA, b"abc"),
        Reply(ReplyKind.DONE, b""),
        Reply(ReplyKind.OKAY, b""),
        Reply(ReplyKind.FAIL, b"no"),
    ]


@pytest.mark.parametrize("stream", [b"WHAT\0\0\0\0", b"DATA\x01\0\x01\0", b"FAIL\xff\xff\xff\xff"])
def test_an_unknown_or_oversized_reply_is_refused(stream: bytes) -> None:
    with pytest.raises(DeviceError, match="broken sync reply"):
        list(SyncDecoder().feed(stream))


def test_a_path_that_is_too_long_is_refused_here() -> None:
    with pytest.raises(DeviceError, match="a path of over 1024 bytes"):
        encode_receive("/" + "x" * 1024)
