"""A device of few commands, for what a virtual phone has not: strict, an unknown one raises."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Self, cast

from mobilesplit.core.errors import DeviceError
from mobilesplit.device.device import Device, ShellResult

Answer = str | ShellResult | Callable[[str], str | ShellResult]


def failing(exit_code: int, stderr: str) -> ShellResult:
    """What a command leaves that failed."""
    return ShellResult(exit_code, b"", stderr)


class ScriptedDevice:
    """Answers a command by the longest of ``answers`` that it begins with."""

    serial = "scripted"

    def __init__(
        self, answers: Mapping[str, Answer], files: Mapping[str, bytes] | None = None
    ) -> None:
        self._answers = answers
        self._files = files or {}
        self.said: list[str] = []
        self.closed = False

    def as_device(self) -> Device:
        """For those who take a `Device`; this has as much of one as they use."""
        return cast(Device, self)

    def shell(self, command: str, *, timeout_s: float = 15.0) -> ShellResult:
        self.said.append(command)
        known = [start for start in self._answers if command.startswith(start)]
        if not known:
            raise AssertionError(f"nobody scripted {command!r}")
        answer = self._answers[max(known, key=len)]
        if callable(answer):
            answer = answer(command)
        return answer if isinstance(answer, ShellResult) else ShellResult(0, answer.encode(), "")

    def check_shell(self, command: str, *, timeout_s: float = 15.0) -> str:
        result = self.shell(command)
        if result.exit_code != 0:
            raise DeviceError("the command failed.", command=command, stderr=result.stderr)
        return result.text

    def pull(self, source: str, *, timeout_s: float = 60.0) -> bytes:
        return self._files[source]

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
