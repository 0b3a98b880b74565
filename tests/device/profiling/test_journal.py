"""A journal survives what cut it off, and refuses to go on with something else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilesplit.core.errors import InputFileError, UsageError
from mobilesplit.core.profiles import DeviceFacts
from mobilesplit.device.profiling.journal import Header, Journal, Measured, SessionStarted
from mobilesplit.device.profiling.settings import ProfileSettings

HEADER = Header(
    program_sha256="ab" * 32,
    cuts=("c1", "output"),
    device=DeviceFacts(name="A", model="A", android="14"),
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
    (tmp_path / "other").write_text("{}\n")
    with pytest.raises(InputFileError, match="line 1"):
        Journal.resume(tmp_path / "other", HEADER)
