"""A journal survives what cut it off, and refuses to go on with something else."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilesplit.core.errors import InputFileError, UsageError
from mobilesplit.core.profiles import DeviceFacts
from mobilesplit.device.profiling.journal import (
    Header,
    Journal,
    Measured,
    SessionStarted,
    has_journal,
    previous,
)
from mobilesplit.device.profiling.settings import ProfileSettings

HEADER = Header(
    program_sha256="ab" * 32,
    cuts=("c1", "output"),
    device=DeviceFacts(name="A", model="A", android="14", serial_number="R5"),
    settings=ProfileSettings(),
    inputs_sha256="cd" * 32,
)


def measured(number: int) -> Measured:
    return Measured(
        session=0, round=number, series="chain", phase="measure",
        latency_ms=((1.5, 2.5),), at_ms=(float(number),),
    )  # fmt: skip


def written(path: Path, count: int) -> Path:
    with Journal.start(path, HEADER) as journal:
        journal.add(SessionStarted(session=0, started={"runner": "cpp"}, load_ms=1.0))
        for number in range(count):
            journal.add(measured(number))
    return path


@settings(max_examples=40)
@given(st.integers(0, 400))
def test_cut_off_anywhere_every_whole_line_is_there_once_after_resuming(cut: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder) / "journal.jsonl", 3)
        lines = path.read_bytes().splitlines(keepends=True)
        first = len(lines[0])
        data = path.read_bytes()[: first + cut]
        path.write_bytes(data)
        kept = data.count(b"\n") - 1
        with Journal.resume(path, HEADER) as journal:
            assert len(journal.records) == kept
            journal.add(measured(99))
        again = path.read_bytes().splitlines(keepends=True)
        assert again[:-1] == lines[: kept + 1]
        assert b'"round":99' in again[-1]


def test_sessions_go_on_counting(tmp_path: Path) -> None:
    with Journal.resume(written(tmp_path / "j", 1), HEADER) as journal:
        assert journal.next_session == 1


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"program_sha256": "00" * 32}, "program"),
        ({"inputs_sha256": "00" * 32}, "input"),
        ({"cuts": ("output",)}, "list of cuts"),
        ({"settings": ProfileSettings(threads=2)}, "settings"),
        ({"device": DeviceFacts(name="B", model="B")}, "device"),
    ],
)
def test_another_measurement_is_not_resumed(
    tmp_path: Path, change: dict[str, object], what: str
) -> None:
    path = written(tmp_path / "j", 1)
    before = path.read_bytes()
    with pytest.raises(UsageError, match=f"another {what}.*without --resume"):
        Journal.resume(path, HEADER.model_copy(update=change))
    assert path.read_bytes() == before


def test_the_same_device_over_another_address_is_the_same(tmp_path: Path) -> None:
    moved = HEADER.model_copy(
        update={"device": HEADER.device.model_copy(update={"serial": "10.0.0.9:5555"})}
    )
    Journal.resume(written(tmp_path / "j", 1), moved).close()


def test_no_journal_and_a_broken_one_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="Profile without --resume first"):
        Journal.resume(tmp_path / "none", HEADER)
    path = written(tmp_path / "j", 1)
    path.write_bytes(path.read_bytes().replace(b'"round":0', b'"round":"x"'))
    with pytest.raises(InputFileError, match=r"line 3: \$\.runs\.round"):
        Journal.resume(path, HEADER)
    for number, text in enumerate(("{}\n", "", '{"record":"prof')):
        other = tmp_path / f"other{number}"
        other.write_text(text)
        with pytest.raises(InputFileError, match="Start afresh without --resume"):
            Journal.resume(other, HEADER)
        assert other.read_text() == text


def test_energy_may_be_asked_for_in_other_words_when_a_profile_is_gone_on_with(
    tmp_path: Path,
) -> None:
    other = ProfileSettings(energy="none", idle_s=1, load_s=2, current_unit="ma", discharge_sign=1)
    moved = HEADER.model_copy(update={"settings": other})
    Journal.resume(written(tmp_path / "j", 1), moved).close()


def test_a_phone_that_tells_nothing_of_itself_is_known_by_its_address(tmp_path: Path) -> None:
    def silent(serial: str) -> Header:
        return HEADER.model_copy(update={"device": DeviceFacts(name="A", serial=serial)})

    Journal.start(tmp_path / "j", silent("10.0.0.1:5555")).close()
    Journal.resume(tmp_path / "j", silent("10.0.0.1:5555")).close()
    with pytest.raises(UsageError, match="another device"):
        Journal.resume(tmp_path / "j", silent("10.0.0.2:5555"))


def test_one_process_writes_a_journal_and_leaves_it_as_it_is_to_others(tmp_path: Path) -> None:
    with Journal.start(tmp_path / "j", HEADER) as journal:
        journal.add(measured(0))
        before = journal.path.read_bytes()
        for another in (Journal.start, Journal.resume):
            with pytest.raises(InputFileError, match=r"another profile .* --out"):
                another(journal.path, HEADER)
        assert journal.path.read_bytes() == before
    Journal.resume(tmp_path / "j", HEADER).close()


def test_starting_afresh_keeps_what_was_measured_before(tmp_path: Path) -> None:
    path = written(tmp_path / "p.jsonl", 2)
    before = path.read_bytes()
    with Journal.start(path, HEADER) as journal:
        assert journal.kept == previous(path) == tmp_path / "p.previous.jsonl"
        assert previous(path).read_bytes() == before
    # A header alone is nothing to keep: what was measured stays kept.
    with Journal.start(path, HEADER) as journal:
        assert journal.kept is None
    assert previous(path).read_bytes() == before


def test_a_journal_is_there_once_a_line_is_whole(tmp_path: Path) -> None:
    assert not has_journal(tmp_path / "j")
    (tmp_path / "j").write_text('{"record":"profile"')
    assert not has_journal(tmp_path / "j")
    assert has_journal(written(tmp_path / "j", 0))


def test_a_full_disk_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Journal.start(tmp_path / "j", HEADER) as journal:
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(InputFileError, match=r"No space left.*--resume"):
            journal.add(measured(0))
        assert journal.records == []
    with pytest.raises(InputFileError, match="No space left"):
        Journal.start(tmp_path / "k", HEADER)
    # What could not be started is held by nobody.
    monkeypatch.undo()
    Journal.start(tmp_path / "k", HEADER).close()
