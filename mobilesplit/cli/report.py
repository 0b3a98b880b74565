"""`mobilesplit report`: a document becomes one HTML file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mobilesplit.cli.console import read_file, stdout, write_file
from mobilesplit.core.errors import InputFileError


def report(
    document: Annotated[Path, typer.Argument(help="demo.json of a demo, or a profile document.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The HTML file. Default: beside it.")
    ] = None,
    image: Annotated[Path | None, typer.Option(help="The photo, to show it in the report.")] = None,
) -> None:
    """Write a self-contained HTML report of a demo or a profile."""
    from mobilesplit.core import comparison, profiles
    from mobilesplit.report.html import comparison_html, profile_html

    data = read_file(document)
    try:
        parsed = json.loads(data)
        schema = parsed.get("schema") if isinstance(parsed, dict) else None
    except ValueError:
        schema = None
    target = out or document.with_suffix(".html")
    if schema == comparison.SCHEMA:
        loaded = comparison.Comparison.load(data, source=str(document))
        html = comparison_html(loaded, read_file(image) if image is not None else None)
    elif schema == profiles.SCHEMA:
        html = profile_html(profiles.Profile.load(data, source=str(document)))
    else:
        raise InputFileError(
            str(document),
            "is neither a demo document nor a profile",
            next_step="Give the demo.json of `demo`, or what `profile` wrote.",
        )
    write_file(target, html)
    stdout.print(f"wrote {target}")
