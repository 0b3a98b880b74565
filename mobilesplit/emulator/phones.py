"""Start, list and stop virtual phones, each a background process with a state folder.

Rule: a phone is alive while its daemon holds the lock of its folder. So a number from an old
record is never signalled, whoever has got it since.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mobilesplit.core.documents import Document
from mobilesplit.core.errors import MobilesplitError, UnknownNameError, UsageError
from mobilesplit.emulator.daemon import ALLOWED_FILE, DESCRIPTION_FILE, LOCK_FILE, STATS_FILE
from mobilesplit.emulator.device_description import DeviceDescription
from mobilesplit.emulator.programs import RUN_COUNTER_FILE
from mobilesplit.user_folders import state_folder

_RECORD_FILE = "phone.json"
_LOG_FILE = "log"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_START_LIMIT_S = 20.0
_STOP_LIMIT_S = 5.0
_LOOPBACK = ("127.0.0.1", "::1")


@dataclass(frozen=True)
class _Child:
    """A daemon that this process started."""

    process: subprocess.Popen[bytes]
    pipe: int | None
    """Our end of its pipe, if it exits with us: the kernel closes it however this process ends,
    which is the point of it."""


_children: dict[Path, _Child] = {}
"""By state folder; whoever starts a daemon must also reap it."""


class PhoneRecord(Document):
    """``phone.json``: a virtual phone that was started."""

    schema_version: Literal[1] = 1
    """Version of this record."""
    name: str
    """The phone's name, unique on this host."""
    serial: str
    """``host:port``, as adb and ``--device`` take it."""
    pid: int
    """Process of the daemon."""
    description: str
    """Name of the device description."""
    state: Path
    """The phone's private folder."""


def phones_folder() -> Path:
    """``$XDG_STATE_HOME/mobilesplit/phones``."""
    return state_folder() / "phones"


def start_phone(
    description: DeviceDescription,
    *,
    name: str,
    host: str = "127.0.0.1",
    port: int = 0,
    auth: Literal["accept", "refuse"] = "accept",
    allowed_programs: Mapping[str, Sequence[str]],
    state_root: Path | None = None,
    seed: int = 0,
    exit_with_parent: bool = False,
    allow_remote: bool = False,
) -> PhoneRecord:
    """Start a phone in the background and wait until it accepts connections.

    ``port`` 0 takes a free one. ``allowed_programs`` maps the sha256 of a program to the host's
    argument vector that runs in its place. ``state_root`` None is ``phones_folder()``. ``seed`` is
    the battery gauge's.

    Raises:
        UsageError: a bad name, a name that is running, or a host that is not loopback.
        MobilesplitError: the port is taken, or the daemon did not come up.
    """
    if _NAME.fullmatch(name) is None:
        raise UsageError(
            f"A virtual phone cannot be called {name!r}.",
            next_step="Use a-z, 0-9, '.', '_' and '-', at most 64, first a letter or digit.",
        )
    if host not in _LOOPBACK and not allow_remote:
        raise UsageError(
            f"A virtual phone on {host} could be used by anybody who reaches this machine.",
            next_step="Leave the host at 127.0.0.1.",
        )
    state = (state_root or phones_folder()) / name
    state.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if _is_alive(state):
        raise UsageError(
            f"A virtual phone called {name!r} is running.",
            next_step=f"Stop it with `mobilesplit emulator stop {name}` or choose another name.",
        )
    _forget_child(state)
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(mode=0o700)
    (state / DESCRIPTION_FILE).write_text(description.save())
    allowed = {digest.lower(): list(argv) for digest, argv in allowed_programs.items()}
    (state / ALLOWED_FILE).write_text(json.dumps(allowed))
    process, bound_port, pipe = _launch(state, name, host, port, auth, seed)
    shown_host = f"[{host}]" if ":" in host else host
    record = PhoneRecord(
        name=name,
        serial=f"{shown_host}:{bound_port}",
        pid=process.pid,
        description=description.name,
        state=state,
    )
    part = state / f"{_RECORD_FILE}.part"
    part.write_text(record.save())
    part.replace(state / _RECORD_FILE)
    # Interrupted before this line, we leave no phone behind that nobody can find.
    if not exit_with_parent:
        os.write(pipe, b"1")
        os.close(pipe)
    _children[state] = _Child(process, pipe if exit_with_parent else None)
    return record


def list_phones(state_root: Path | None = None) -> list[PhoneRecord]:
    """The phones that are running, by name; what dead ones left is removed."""
    root = state_root or phones_folder()
    if not root.is_dir():
        return []
    found = []
    for state in sorted(root.iterdir()):
        if not _is_alive(state):
            # Without a record it may be another process's phone that is just coming up.
            if (state / _RECORD_FILE).is_file():
                shutil.rmtree(state, ignore_errors=True)
            continue
        with contextlib.suppress(OSError):
            found.append(PhoneRecord.load((state / _RECORD_FILE).read_bytes(), source=str(state)))
    return found


def stop_phone(name: str, state_root: Path | None = None) -> None:
    """Stop it (SIGTERM, after 5 s SIGKILL) and remove its state.

    Raises:
        UnknownNameError: listing the running phones.
    """
    record = find_phone(name, state_root)
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not _is_alive(record.state):
            break
        with contextlib.suppress(ProcessLookupError):
            os.kill(record.pid, number)
        _wait_until_dead(record.state, _STOP_LIMIT_S)
    _forget_child(record.state)
    shutil.rmtree(record.state, ignore_errors=True)


def phone_stats(name: str, state_root: Path | None = None) -> dict[str, int | float]:
    """``runner_starts``, ``inferences``, ``connections`` (open now), ``connections_total``, ...

    ``inferences`` is current; the others are as of the last connection, start or end of a program.

    Raises:
        UnknownNameError: listing the running phones.
    """
    state = find_phone(name, state_root).state
    stats: dict[str, int | float] = json.loads((state / STATS_FILE).read_text())
    stats["inferences"] = (state / RUN_COUNTER_FILE).stat().st_size
    return stats


def find_phone(name: str, state_root: Path | None = None) -> PhoneRecord:
    """The record of a running phone. Raises UnknownNameError, listing those that run."""
    records = list_phones(state_root)
    for record in records:
        if record.name == name:
            return record
    raise UnknownNameError("running virtual phone", name, (record.name for record in records))


def _forget_child(state: Path) -> None:
    """Reap the daemon of a folder, if it was ours; it has ended or is about to."""
    child = _children.pop(state, None)
    if child is None:
        return
    if child.pipe is not None:
        os.close(child.pipe)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.process.wait(_STOP_LIMIT_S)


def _is_alive(state: Path) -> bool:
    """Whether a daemon holds the folder's lock."""
    try:
        descriptor = os.open(state / LOCK_FILE, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Shared, so that two lookers do not take each other for a daemon.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _wait_until_dead(state: Path, limit_s: float) -> None:
    end_s = time.monotonic() + limit_s
    while _is_alive(state) and time.monotonic() < end_s:
        time.sleep(0.02)


def _launch(
    state: Path, name: str, host: str, port: int, auth: str, seed: int
) -> tuple[subprocess.Popen[bytes], int, int]:
    """Start the daemon; the process, its port, and the pipe whose end it takes for ours."""
    ready_read, ready_write = os.pipe()
    parent_read, pipe = os.pipe()
    passed = [ready_write, parent_read]
    argv = [sys.executable, "-m", "mobilesplit.emulator.daemon", "--state", str(state)]
    argv += ["--name", name, "--host", host, "--port", str(port), "--auth", auth]
    argv += ["--seed", str(seed), "--ready-fd", str(ready_write), "--parent-fd", str(parent_read)]
    with (state / _LOG_FILE).open("ab") as log:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=passed,
            start_new_session=True,
        )
    for descriptor in passed:
        os.close(descriptor)
    answer = _await_answer(ready_read)
    if "port" in answer:
        return process, int(str(answer["port"])), pipe
    process.kill()
    process.wait()
    os.close(pipe)
    log_tail = (state / _LOG_FILE).read_text(errors="replace")[-400:]
    if answer.get("error") != "running":
        shutil.rmtree(state, ignore_errors=True)
    raise _start_error(answer, name, port, log_tail)


def _start_error(
    answer: Mapping[str, object], name: str, port: int, log_tail: str
) -> MobilesplitError:
    if answer.get("error") == "port":
        return MobilesplitError(
            f"Port {port} is taken ({os.strerror(errno.EADDRINUSE)}).",
            next_step="Choose another one, or 0 for any free one.",
        )
    if answer.get("error") == "running":
        return UsageError(
            f"A virtual phone called {name!r} is running.", next_step="Choose another name."
        )
    return MobilesplitError(
        f"The virtual phone {name!r} did not come up: {answer.get('error')}.",
        next_step=f"Its log ends: {log_tail!r}." if log_tail else "It left no log.",
    )


def _await_answer(descriptor: int) -> Mapping[str, object]:
    """The daemon's ready line, or an error of our own; closes the descriptor."""
    end_s = time.monotonic() + _START_LIMIT_S
    received = b""
    try:
        while not received.endswith(b"\n"):
            left_s = end_s - time.monotonic()
            if left_s <= 0 or not select.select([descriptor], [], [], left_s)[0]:
                return {"error": f"no answer within {_START_LIMIT_S:g} s"}
            piece = os.read(descriptor, 4096)
            if not piece:
                return {"error": "it ended at once"}
            received += piece
    finally:
        os.close(descriptor)
    answer: dict[str, object] = json.loads(received)
    return answer
