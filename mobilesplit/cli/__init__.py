"""The command line: one file per command; the only place where parts are wired together.

Nothing heavy is imported before a command runs: `mobilesplit --help` loads no torch.
"""

from __future__ import annotations


def main() -> None:
    """Entry point of the console command; always ends the process with an exit code."""
    from mobilesplit.cli.app import run

    run()
