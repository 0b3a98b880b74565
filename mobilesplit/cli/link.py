"""`mobilesplit link`: the shaping proxy in the foreground."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from mobilesplit.cli import links
from mobilesplit.core.errors import UsageError


def link(
    to: Annotated[str, typer.Option(help="HOST:PORT to forward to.")],
    link: Annotated[str, typer.Option("--link", help=links.HELP)] = "lte",
    listen: Annotated[
        str, typer.Option(help="HOST:PORT to listen on; port 0 takes a free one.")
    ] = ("127.0.0.1:0"),
) -> None:
    """Put a slow network between two programs: rate, delay and jitter on a TCP port.

    Prints one JSON line with the port when it is ready; Ctrl-C stops it.
    """
    from mobilesplit.emulator import link_shaper

    chosen = links.find_link(link)
    for option, address in (("--to", to), ("--listen", listen)):
        if re.fullmatch(r"\S+:\d{1,5}", address) is None:
            raise UsageError(f"{option}: {address!r} is not HOST:PORT.")
    code = link_shaper.main(
        ["--link-json", chosen.model_dump_json(), "--listen", listen, "--to", to]
    )
    raise typer.Exit(code)
