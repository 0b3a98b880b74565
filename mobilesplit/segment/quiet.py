"""Silence for what torch and executorch say about their own internals while they work.

The rule: errors still come through - as exceptions, as ERROR logs, and as every line on stderr
that is not known to be harmless.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_HARMLESS = (b"[cpuinfo_utils.cpp",)
"""ExecuTorch's thread pool looks for Arm's files on every machine, and says what it misses."""


@contextmanager
def quiet(*, errors: bool = False) -> Iterator[None]:
    """No Python warnings and no log below ERROR inside.

    Args:
        errors: no ERROR logs either: the caller reports what it catches in its own words.
    """
    disabled = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(max(disabled, logging.ERROR if errors else logging.WARNING))
        try:
            yield
        finally:
            logging.disable(disabled)


@contextmanager
def quiet_native() -> Iterator[None]:
    """``quiet``, and native code's harmless lines on file descriptor 2 left out too."""
    with quiet(), tempfile.TemporaryFile() as said:
        sys.stderr.flush()
        stderr = os.dup(2)
        os.dup2(said.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            said.seek(0)
            for line in said:
                if not line.startswith(_HARMLESS):
                    os.write(stderr, line)
            os.close(stderr)
