"""Tests that need what not every machine has: skipped with the reason, or failed where asked.

MOBILESPLIT_REQUIRE names, separated by commas, the tools that must be there: a machine that is
meant to test Arm code sets MOBILESPLIT_REQUIRE=aarch64, so that a missing compiler is no silence.
"""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def skip_unless_required(tool: str, why: str) -> NoReturn:
    """Skip the test for ``why``; fail it where ``tool`` is required."""
    if tool in os.environ.get("MOBILESPLIT_REQUIRE", "").split(","):
        pytest.fail(f"MOBILESPLIT_REQUIRE names {tool}: {why}")
    pytest.skip(why)
