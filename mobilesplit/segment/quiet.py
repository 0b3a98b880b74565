"""Silence for what torch and executorch say about their own internals while they work.

The rule: errors still come through - as exceptions, as ERROR logs, and as every line on stderr
that is not known to be harmless.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr

_HARMLESS = (b"[cpuinfo_utils.cpp",)
"""ExecuTorch's thread pool looks for Arm's files on every machine, and says what it misses."""


@contextmanager
def quiet(*, errors: bool = False) -> Iterator[None]:
    """No Python warnings and no log below ERROR inside.

    Args:
        errors: no ERROR logs either, and if the block raises nothing of what was printed to
            ``sys.stderr``: the caller reports what it catches in its own words.
    """
    disabled = logging.root.manager.disable
    with warnings.catch_warnings(), _held_back() if errors else nullcontext():
        warnings.simplefilter("ignore")
        logging.disable(max(disabled, logging.ERROR if errors else logging.WARNING))
        try:
            yield
        finally:
            logging.disable(disabled)


@contextmanager
def _held_back() -> Iterator[None]:
    """What is printed to ``sys.stderr`` inside comes out behind the block, unless it raises."""
    # torch.export prints the graph so far, in full, before it raises.
    with redirect_stderr(io.StringIO()) as printed:
        yield
    sys.stderr.write(printed.getvalue())


@contextmanager
def quiet_native() -> Iterator[None]:
    """``quiet``, and native code's harmless lines on file descriptor 2 left out too.

    If the block raises, its other lines become a note of the exception instead of being printed.
    """
    with quiet(), tempfile.TemporaryFile() as said:
        sys.stderr.flush()
        stderr = os.dup(2)
        os.dup2(said.fileno(), 2)
        failed: Exception | None = None
        try:
            yield
        except Exception as error:
            failed = error
            raise
        finally:
            os.dup2(stderr, 2)
            said.seek(0)
            lines = [line for line in said if not line.startswith(_HARMLESS)]
            if failed is not None:
                failed.add_note(b"".join(lines).decode(errors="replace"))
            else:
                os.write(stderr, b"".join(lines))
            os.close(stderr)
