"""Make a running virtual phone fail, from a test or from the command line."""

from __future__ import annotations

from pathlib import Path

from mobilesplit.emulator.control import ask
from mobilesplit.emulator.faults import Faults
from mobilesplit.emulator.phones import find_phone


def set_faults(name: str, state_root: Path | None = None, /, **changes: object) -> Faults:
    """Change faults of the phone called ``name``, by their names in ``Faults``; all of them after.

    Raises:
        UnknownNameError: no such phone, or no such fault.
        UsageError: a value that a fault does not take.
    """
    Faults().changed(changes)
    return ask(find_phone(name, state_root).state, changes)


def clear_faults(name: str, state_root: Path | None = None) -> Faults:
    """Make the phone healthy again."""
    return set_faults(name, state_root, **Faults().model_dump())


def active_faults(name: str, state_root: Path | None = None) -> dict[str, object]:
    """What is wrong with it now."""
    return ask(find_phone(name, state_root).state, {}).active()
