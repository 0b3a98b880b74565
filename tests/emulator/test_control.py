"""Whoever asks a phone for a change gets an answer or an end, never silence."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path

import pytest

from mobilesplit.emulator.control import ControlServer, ask
from mobilesplit.emulator.faults import Faults


@pytest.mark.parametrize("line", [b"no JSON\n", b"[]\n", b"{}\n", b"x" * 70_000 + b"\n"])
def test_a_line_that_is_no_question_ends_the_connection_and_the_next_is_answered(
    line: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL + 1, "asyncio")  # it tells what the server did not catch

    async def ask_wrongly_then_rightly() -> Faults:
        async with await ControlServer(lambda _: Faults()).listen(tmp_path):
            reader, writer = await asyncio.open_unix_connection(tmp_path / "control")
            writer.write(line)
            # It may end before it has read all.
            async with asyncio.timeout(10):
                with contextlib.suppress(ConnectionResetError):
                    assert await reader.read() == b""
            writer.close()
            return await asyncio.to_thread(ask, tmp_path, {})

    assert asyncio.run(ask_wrongly_then_rightly()) == Faults()
