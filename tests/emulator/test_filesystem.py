from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mobilesplit.emulator.filesystem import PhoneFilesystem


@pytest.fixture
def files(tmp_path: Path) -> PhoneFilesystem:
    (tmp_path / "secret").write_text("the host's")
    return PhoneFilesystem(tmp_path / "root")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["..", ".", "a", "", "data", "local", "tmp", "secret"])))
def test_no_path_leaves_the_root(files: PhoneFilesystem, parts: list[str]) -> None:
    root = files.host_path("/")
    host = files.host_path("/" + "/".join(parts))
    assert ".." not in host.parts
    assert host == root or root in host.parents


@pytest.mark.parametrize("target", ["/secret", "../../../../../secret", "/../secret"])
def test_a_link_is_read_as_the_phones_own_path(
    files: PhoneFilesystem, tmp_path: Path, target: str
) -> None:
    (tmp_path / "root/data/local/tmp/link").symlink_to(target)
    with pytest.raises(FileNotFoundError):
        files.open_read("/data/local/tmp/link")


def test_a_link_to_the_host_does_not_reach_it(files: PhoneFilesystem, tmp_path: Path) -> None:
    (tmp_path / "root/data/local/tmp/link").symlink_to(tmp_path / "secret")
    with pytest.raises(FileNotFoundError):
        files.open_read("/data/local/tmp/link")
    with pytest.raises(PermissionError):
        files.open_write("/data/local/tmp/link")
    assert (tmp_path / "secret").read_text() == "the host's"


def test_a_loop_of_links_is_an_error(files: PhoneFilesystem, tmp_path: Path) -> None:
    (tmp_path / "root/data/local/tmp/loop").symlink_to("loop")
    with pytest.raises(OSError, match="symbolic links"):
        files.status("/data/local/tmp/loop")


def test_only_the_shells_own_folders_can_be_written(files: PhoneFilesystem) -> None:
    for path in ("/etc/x", "/data/x", "/proc/x", "/data/local/tmp/../x"):
        with pytest.raises(PermissionError):
            files.open_write(path)


def test_a_virtual_file_is_made_on_each_read_and_listed(files: PhoneFilesystem) -> None:
    reads = iter([b"1\n", b"2\n"])
    files.add_virtual("/sys/x/value", lambda: next(reads))
    assert files.open_read("/sys/x/value").read() == b"1\n"
    assert files.open_read("/sys/x/value").read() == b"2\n"
    assert files.names("/sys") == ["x"]
    assert "sys" in files.names("/")
    assert files.status("/sys/x").is_folder


def test_a_mode_never_gets_more_than_permissions(files: PhoneFilesystem) -> None:
    files.open_write("/sdcard/x").close()
    files.change_mode("/sdcard/x", 0o104755)
    assert files.status("/sdcard/x").mode & 0o7777 == 0o755


def test_a_path_over_1024_bytes_is_refused(files: PhoneFilesystem) -> None:
    with pytest.raises(OSError, match="too long"):
        files.status("/" + "x" * 1024)
