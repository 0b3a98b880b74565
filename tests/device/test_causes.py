"""Failures are told apart by the words that adb, Android and our runner use."""

from __future__ import annotations

from typing import get_args

import pytest

from mobilesplit.core.errors import Cause
from mobilesplit.device.causes import NEXT_STEPS, cause_of_event, find_cause


@pytest.mark.parametrize(
    ("said", "exit_code", "cause"),
    [
        ("device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set", None,
         "unauthorized"),
        ("device offline", None, "offline"),
        ("device still authorizing", None, "offline"),
        ("device 'R58M' not found", None, "not_found"),
        ("couldn't create file: No space left on device", None, "no_space"),
        ("remote write failed: No space left on device", 1, "no_space"),
        ("/system/bin/sh: /data/local/tmp/runner: Exec format error", 126, "wrong_abi"),
        ("sh: ./runner: not executable: 64-bit ELF file", 126, "wrong_abi"),
        ('error: "./runner" has unexpected e_machine: 62 (EM_X86_64)', 1, "wrong_abi"),
        ('"./runner" is for EM_X86_64 (62) instead of EM_AARCH64 (183)', 1, "wrong_abi"),
        ("Illegal instruction", 132, None),
        ("sh: can't create /etc/x: Permission denied", 1, "no_permission"),
        ("sh: can't create /x: Read-only file system", 1, "no_permission"),
        ("Killed", 137, "out_of_memory"),
        ("", 137, "out_of_memory"),
        ("cannot open cpuinfo_max_freq: Permission denied", 137, "out_of_memory"),
        ("trace: Permission denied\n" + 10 * "working\n", 1, None),
        (10 * "working\n" + "trace: Permission denied\n", 1, "no_permission"),
        ("terminate called after throwing an instance of 'std::bad_alloc'", 134, "out_of_memory"),
        ("cat: /nothing: No such file or directory", 1, None),
        ("", 1, None),
        ("", 0, None),
    ],
)  # fmt: skip
def test_words_and_exit_codes_name_the_cause(
    said: str, exit_code: int | None, cause: Cause | None
) -> None:
    assert find_cause(said, exit_code) == cause


@pytest.mark.parametrize(
    ("event", "cause"),
    [
        ({"event": "error", "message": "x", "cause": "program_too_new"}, "newer_program"),
        ({"event": "error", "message": "x", "cause": "missing_operator"}, "newer_program"),
        ({"id": 1, "error": "out of memory", "cause": "out_of_memory"}, "out_of_memory"),
        ({"event": "error", "message": "x", "cause": "bad_program"}, "bad_program"),
        ({"event": "error", "message": "cannot read f: Permission denied"}, "no_permission"),
        ({"event": "error", "message": "no method head_x", "cause": "usage"}, None),
    ],
)
def test_the_runner_names_its_causes(event: dict[str, object], cause: Cause | None) -> None:
    assert cause_of_event(event) == cause


def test_every_cause_has_a_next_step() -> None:
    assert set(NEXT_STEPS) == set(get_args(Cause))
