"""What a runner is, once it lies on this machine; and where those that were built are kept."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from mobilesplit.user_folders import cache_folder

Kind = Literal["cpp", "python", "torchscript"]

BINARY_NAME = "mobilesplit-runner"


@dataclass(frozen=True)
class Runner:
    """A runner to push, and how it is started here."""

    kind: Kind
    """``cpp``: the native program; ``python``: the same in Python; ``torchscript``: the native
    program for TorchScript heads."""
    path: Path
    """The file that is pushed to the device."""
    argv: tuple[str, ...]
    """Command prefix that runs it on this machine; the runner's own arguments follow. Empty for
    a runner that cannot run here (Android's)."""
    sha256: str
    """Digest of the file."""
    why: str | None = None
    """Why the Python runner took over; None where nothing went wrong."""

    @classmethod
    def at(cls, path: Path, *, kind: Kind = "cpp", argv: tuple[str, ...] = ()) -> Self:
        """The runner in the file ``path``."""
        return cls(kind, path, argv, hashlib.sha256(path.read_bytes()).hexdigest())


def runner_cache(cache_root: Path | None) -> Path:
    """Folder of the built runners; ``cache_root`` None is `cache_folder`."""
    return (cache_root if cache_root is not None else cache_folder()) / "runner"
