"""The profile under way as JSON lines: what was measured stays measured, whatever happens next.

One rule: a line is written whole, and forced to disk, before the next thing is measured. A last
line that was cut off is no line. Documented in docs/profile.md.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Annotated, Any, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError

from mobilesplit.core.documents import Document, describe
from mobilesplit.core.errors import InputFileError, UsageError
from mobilesplit.core.profiles import DeviceFacts
from mobilesplit.device.profiling.settings import ProfileSettings


class Header(Document):
    """The first line: what is measured, on what, and how."""

    record: Literal["profile"] = "profile"
    """Kind of line."""
    version: Literal[1] = 1
    """Of the journal's format."""
    program_sha256: str
    """Digest of the bundle's program."""
    cuts: tuple[str, ...]
    """The cuts wanted."""
    device: DeviceFacts
    """The device."""
    settings: ProfileSettings
    """How it is measured."""
    inputs_sha256: str
    """Digest of what the heads run on."""


class SessionStarted(Document):
    """A runner process has started."""

    record: Literal["session"] = "session"
    """Kind of line."""
    session: int
    """Its number, 0 for the first; a resumed profile goes on counting."""
    started: dict[str, Any]
    """The runner's first event."""
    load_ms: float
    """Mapping and checking the program."""


class Loaded(Document):
    """A series has been loaded and run once."""

    record: Literal["loaded"] = "loaded"
    """Kind of line."""
    session: int
    """Which runner process."""
    series: str
    """Its id."""
    methods: tuple[str, ...]
    """In the order they run."""
    load_ms: tuple[float, ...]
    """Of each method."""
    first_ms: tuple[float, ...]
    """Each method's first inference."""
    peak_rss_bytes: tuple[int, ...] = ()
    """Peak of the process after each method's first inference; empty where nobody said."""
    alone: bool
    """Whether nothing else was loaded, so that the peaks are the series' own."""


class Measured(Document):
    """Runs of one series, one after the other."""

    record: Literal["runs"] = "runs"
    """Kind of line."""
    session: int
    """Which runner process."""
    round: int
    """Which round of it."""
    series: str
    """Its id."""
    phase: Literal["warmup", "measure", "encode"]
    """What they are for."""
    latency_ms: tuple[tuple[float, ...], ...]
    """Per run: each part's time."""
    encode_ms: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    """By encoder: its time in each run."""
    at_ms: tuple[float, ...]
    """When each run ended, by the runner's clock."""


class ThermalChecked(Document):
    """The device was asked how hot it is."""

    record: Literal["thermal"] = "thermal"
    """Kind of line."""
    session: int
    """Which runner process."""
    round: int
    """All rounds up to this one, since the check before, are judged by it."""
    status: int | None
    """Android's thermal status, 0 for none; None where the device does not say."""
    celsius: float | None
    """Skin, else battery temperature."""
    throttled: bool
    """Whether Android held the device back."""
    void: bool
    """Whether the rounds since the check before do not count."""


class EnergyMeasured(Document):
    """One energy."""

    record: Literal["energy"] = "energy"
    """Kind of line."""
    cut: str
    """Of which head."""
    estimate: dict[str, Any]
    """As the estimator gave it."""


Record = Annotated[
    Header | SessionStarted | Loaded | Measured | ThermalChecked | EnergyMeasured,
    Field(discriminator="record"),
]
_RECORD: TypeAdapter[Record] = TypeAdapter(Record)


class Journal:
    """The lines of one profile, on disk and in memory."""

    def __init__(self, path: Path, file: IO[bytes], header: Header, records: list[Record]) -> None:
        self.path = path
        self._file = file
        self.header = header
        self.records = records
        """What follows the header."""

    @classmethod
    def start(cls, path: Path, header: Header) -> Self:
        """A new journal; what was at ``path`` is replaced.

        Raises:
            InputFileError: it cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            journal = cls(path, path.open("wb"), header, [])
            journal._write(header)
        except OSError as error:
            raise InputFileError(str(path), f"cannot be written ({error.strerror})") from None
        return journal

    @classmethod
    def resume(cls, path: Path, header: Header) -> Self:
        """The journal at ``path``, to go on with.

        Raises:
            InputFileError: there is none, or it is broken.
            UsageError: it is of another device, bundle, input or other settings.
        """
        written, records, whole_bytes = _read(path)
        for what, was, now in (
            ("program", written.program_sha256, header.program_sha256),
            ("input", written.inputs_sha256, header.inputs_sha256),
            ("device", _identity(written.device), _identity(header.device)),
            ("list of cuts", written.cuts, header.cuts),
            ("settings", written.settings, header.settings),
        ):
            if was != now:
                raise UsageError(
                    f"{path} was measured with another {what}.",
                    next_step="Start afresh without --resume.",
                )
        try:
            file = path.open("r+b")
            # What a crash left of a last line would make the next one unreadable.
            file.truncate(whole_bytes)
            file.seek(0, os.SEEK_END)
        except OSError as error:
            raise InputFileError(str(path), f"cannot be written ({error.strerror})") from None
        return cls(path, file, written, records)

    def add(self, record: Record) -> None:
        """Append a line; it is on disk when this returns."""
        assert not isinstance(record, Header)
        self._write(record)
        self.records.append(record)

    @property
    def next_session(self) -> int:
        """Number of the next runner process."""
        started = [r.session for r in self.records if isinstance(r, SessionStarted)]
        return max(started, default=-1) + 1

    def close(self) -> None:
        """Close the file; twice is fine."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, record: Record) -> None:
        self._file.write(record.model_dump_json(exclude_none=True).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def _read(path: Path) -> tuple[Header, list[Record], int]:
    """Header, records, and the bytes of all whole lines."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputFileError(
            str(path), f"{error.strerror}", next_step="Profile without --resume first."
        ) from None
    whole_bytes = data.rfind(b"\n") + 1
    records: list[Record] = []
    for number, line in enumerate(data[:whole_bytes].splitlines(), start=1):
        try:
            records.append(_RECORD.validate_json(line))
        except ValidationError as error:
            raise InputFileError(str(path), f"line {number}: {describe(error)}") from None
    if not records or not isinstance(records[0], Header):
        raise InputFileError(str(path), "is no journal of a profile")
    return records[0], records[1:], whole_bytes


def _identity(device: DeviceFacts) -> tuple[object, ...]:
    """What stays the same when a phone comes back, over another cable or address."""
    return (device.serial_number, device.build, device.model, device.android, device.memory_bytes)
