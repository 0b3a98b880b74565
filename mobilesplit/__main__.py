"""`python -m mobilesplit` is the command `mobilesplit`."""

from mobilesplit.cli import main

main()
