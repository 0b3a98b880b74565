"""The command line: one file per command; the only place where parts are wired together.

Nothing heavy is imported before a command runs: `mobilesplit --help` loads no torch.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Entry point of the console command; always ends the process with an exit code."""
    try:
        from mobilesplit.cli.app import run

        run()
    except KeyboardInterrupt:
        # Only while this imports, before anything was started: `run` sees to all the rest.
        print("mobilesplit: interrupted.", file=sys.stderr, flush=True)
        os._exit(130)
