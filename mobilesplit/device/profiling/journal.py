"""The profile under way as JSON lines: what was measured stays measured, whatever happens next.

One rule: a line is written whole, and forced to disk, before the next thing is measured. A last
line that was cut off is no line. One process writes a journal at a time. What users are told
of it is in docs/profiling.md.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO, Annotated, Any, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError

from mobilesplit.core.documents import Document, describe
from mobilesplit.core.errors import InputFileError, UsageError
from mobilesplit.core.profiles import DeviceFacts
from mobilesplit.device.identity import known_as
from mobilesplit.device.profiling.settings import ProfileSettings

_ENERGY_SETTINGS = {"energy", "idle_s", "load_s", "current_unit", "discharge_sign"}
"""What may differ when a profile is gone on with: no latency depends on it."""
_AFRESH = "Start afresh without --resume, or name another file with --out."


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
        self.kept: Path | None = None
        """Where the journal is that was at ``path`` before; None where there was none."""

    @classmethod
    def start(cls, path: Path, header: Header) -> Self:
        """A new journal; one that was at ``path`` is kept beside it (`previous`).

        Raises:
            InputFileError: it cannot be written, or another process writes it.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = _open_locked(path, "a+b")
        except OSError as error:
            raise _unwritable(path, error) from None
        try:
            journal = cls(path, file, header, [])
            journal.kept = _keep(path)
            file.truncate(0)
            journal._write(header)
        except OSError as error:
            file.close()
            raise _unwritable(path, error) from None
        except BaseException:
            file.close()
            raise
        return journal

    @classmethod
    def resume(cls, path: Path, header: Header) -> Self:
        """The journal at ``path``, to go on with.

        Raises:
            InputFileError: there is none, it is broken, or another process writes it.
            UsageError: it is of another device, bundle, input or other settings.
        """
        try:
            file = _open_locked(path, "r+b")
        except FileNotFoundError as error:
            raise InputFileError(
                str(path), f"{error.strerror}", next_step="Profile without --resume first."
            ) from None
        except OSError as error:
            raise _unwritable(path, error) from None
        try:
            written, records, whole_bytes = _read(path)
            _check_same(path, written, header)
            # What a crash left of a last line would make the next one unreadable.
            file.truncate(whole_bytes)
            file.seek(0, os.SEEK_END)
        except OSError as error:
            file.close()
            raise _unwritable(path, error) from None
        except BaseException:
            file.close()
            raise
        return cls(path, file, written, records)

    def add(self, record: Record) -> None:
        """Append a line; it is on disk when this returns.

        Raises:
            InputFileError: the disk is full, or gone.
        """
        assert not isinstance(record, Header)
        try:
            self._write(record)
        except OSError as error:
            raise _unwritable(self.path, error) from None
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
        line = record.model_dump_json(exclude_none=True).encode() + b"\n"
        left = memoryview(line)
        while left:
            left = left[self._file.write(left) :]
        os.fsync(self._file.fileno())


def has_journal(path: Path) -> bool:
    """Whether there is anything at ``path`` to go on with: a whole line."""
    try:
        return b"\n" in path.read_bytes()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise InputFileError(str(path), f"{error.strerror}", next_step=_AFRESH) from None


def previous(path: Path) -> Path:
    """Where the journal before the one at ``path`` is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def _open_locked(path: Path, mode: str) -> IO[bytes]:
    """Open unbuffered, so that a line that could not be written is not tried again, and hold it:
    the kernel lets go if the process dies. Raises OSError, and InputFileError if it is held."""
    file: IO[bytes] = path.open(mode, buffering=0)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise InputFileError(
            str(path),
            "another profile is being written there",
            next_step="Wait for its end, or name another file with --out.",
        ) from None
    return file


def _keep(path: Path) -> Path | None:
    """Copy what was measured to where a new journal does not overwrite it. Raises OSError."""
    data = path.read_bytes()
    if data.count(b"\n") < 2:  # a header alone is nothing measured
        return None
    # Copied, not renamed: the lock is on the file at ``path``.
    kept = previous(path)
    kept.write_bytes(data)
    return kept


def _read(path: Path) -> tuple[Header, list[Record], int]:
    """Header, records, and the bytes of all whole lines. Raises OSError, and InputFileError."""
    data = path.read_bytes()
    whole_bytes = data.rfind(b"\n") + 1
    records: list[Record] = []
    for number, line in enumerate(data[:whole_bytes].splitlines(), start=1):
        try:
            records.append(_RECORD.validate_json(line))
        except ValidationError as error:
            raise InputFileError(
                str(path), f"line {number}: {describe(error)}", next_step=_AFRESH
            ) from None
    if not records or not isinstance(records[0], Header):
        raise InputFileError(str(path), "is no journal of a profile", next_step=_AFRESH)
    return records[0], records[1:], whole_bytes


def _check_same(path: Path, written: Header, header: Header) -> None:
    """Raises UsageError where the journal is of something else."""
    for what, was, now in (
        ("program", written.program_sha256, header.program_sha256),
        ("input", written.inputs_sha256, header.inputs_sha256),
        ("device", _identity(written.device), _identity(header.device)),
        ("list of cuts", written.cuts, header.cuts),
        ("settings", _of_latency(written.settings), _of_latency(header.settings)),
    ):
        if was != now:
            raise UsageError(
                f"{path} was measured with another {what}.",
                next_step="Start afresh without --resume.",
            )


def _of_latency(settings: ProfileSettings) -> dict[str, Any]:
    return settings.model_dump(exclude=_ENERGY_SETTINGS)


def _identity(device: DeviceFacts) -> tuple[object, ...]:
    """What stays the same when a phone comes back, over another cable or address if it has a
    serial number of its own."""
    return (known_as(device), device.build, device.model, device.android, device.memory_bytes)


def _unwritable(path: Path, error: OSError) -> InputFileError:
    return InputFileError(
        str(path),
        f"cannot be written ({error.strerror})",
        next_step="Make room or name another file with --out; --resume goes on with what is there.",
    )
