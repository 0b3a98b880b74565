"""Where mobilesplit keeps what is the user's: the XDG base directories, asked for at each call."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/mobilesplit``: what can be made again. By default under ``~/.cache``."""
    return _folder("XDG_CACHE_HOME", ".cache")


def state_folder() -> Path:
    """``$XDG_STATE_HOME/mobilesplit``: what is under way. By default under ``~/.local/state``."""
    return _folder("XDG_STATE_HOME", ".local/state")


def _folder(variable: str, default: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / default) / "mobilesplit"
