"""One line of the doctor's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "failure"]


@dataclass(frozen=True)
class Finding:
    """Something that was looked at."""

    level: Level
    """``failure``: it stops `profile`; ``warning``: something does not work, or less well."""
    what: str
    """What was looked at, in a word or two."""
    says: str
    """What was found."""
    next_step: str = ""
    """What mends it; empty where all is well."""


def ok(what: str, says: str) -> Finding:
    """All is well."""
    return Finding("ok", what, says)


def warning(what: str, says: str, next_step: str) -> Finding:
    """Something does not work, or less well."""
    return Finding("warning", what, says, next_step)


def failure(what: str, says: str, next_step: str) -> Finding:
    """It stops `profile`."""
    return Finding("failure", what, says, next_step)
