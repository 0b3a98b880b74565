"""This computer's adb key: where adb keeps it, never readable by others."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from adb_shell.auth.keygen import keygen, write_public_keyfile
from adb_shell.auth.sign_pythonrsa import PythonRSASigner


def load_signer(folder: Path | None = None) -> PythonRSASigner:
    """The signer of ``adbkey`` in ``folder`` (None: ``~/.android``), made there when missing."""
    folder = folder or Path.home() / ".android"
    private = folder / "adbkey"
    if not private.exists():
        _make(private)
    public = private.with_suffix(".pub")
    if not public.exists():
        # adb derives the public key from an adbkey alone; adb-shell's signer wants the file.
        write_public_keyfile(str(private), str(public))
    return PythonRSASigner(public.read_text(), private.read_text())


def _make(private: Path) -> None:
    """A new key pair, moved into place whole: adb-shell's keygen writes 0644 and overwrites."""
    private.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=private.parent) as scratch:
        fresh = Path(scratch) / "adbkey"
        old_mask = os.umask(0o077)
        try:
            keygen(str(fresh))
        finally:
            os.umask(old_mask)
        fresh.chmod(0o600)
        fresh.with_suffix(".pub").replace(private.with_suffix(".pub"))
        fresh.replace(private)
