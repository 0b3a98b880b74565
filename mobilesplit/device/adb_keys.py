"""This computer's adb keys: where adb keeps them, never readable by others."""

from __future__ import annotations

import logging
import os
import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from adb_shell.auth.keygen import keygen, write_public_keyfile
from adb_shell.auth.sign_pythonrsa import PythonRSASigner

from mobilesplit.core.errors import InputFileError

_log = logging.getLogger(__name__)
_making = threading.Lock()
"""Devices that are connected to at the same time share one new key."""
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def load_signers(folder: Path | None = None) -> list[PythonRSASigner]:
    """The signer of ``adbkey`` in ``folder`` (None: ``~/.android``), made there when missing, then
    those of ``ADB_VENDOR_KEYS``: files, or folders with ``*.adb_key`` in them.

    Raises:
        InputFileError: a key cannot be read, parsed or written.
    """
    own = (folder or Path.home() / ".android") / "adbkey"
    try:
        with _making:
            if not own.exists():
                _make(own)
        if own.stat().st_mode & _OTHERS:
            own.chmod(0o600)
            _log.warning("%s was readable by others; it is readable by you alone now.", own)
        return [_signer(own), *(_signer(path) for path in _vendor_keys())]
    except OSError as error:
        raise InputFileError(
            str(error.filename or own), f"adb's key cannot be used: {error.strerror}"
        ) from None


def _vendor_keys() -> Iterator[Path]:
    for text in filter(None, os.environ.get("ADB_VENDOR_KEYS", "").split(os.pathsep)):
        path = Path(text)
        if path.is_dir():
            yield from sorted(path.glob("*.adb_key"))
        else:
            yield path


def _signer(private: Path) -> PythonRSASigner:
    try:
        return _parsed(private)
    except OSError:
        raise
    except Exception as error:  # three libraries parse it: anything may come
        raise InputFileError(
            str(private),
            f"adb's key cannot be used: it cannot be parsed ({type(error).__name__})",
            next_step="Move it away: a new one is made, which the phone then asks about"
            " (a file of ADB_VENDOR_KEYS: take it out of there).",
        ) from None


def _parsed(private: Path) -> PythonRSASigner:
    public = Path(f"{private}.pub")
    if not public.exists():
        # adb derives the public key from the private one alone; adb-shell's signer wants its text.
        with tempfile.TemporaryDirectory() as scratch:
            derived = Path(scratch) / "adbkey.pub"
            write_public_keyfile(str(private), str(derived))
            return PythonRSASigner(derived.read_text(), private.read_text())
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
