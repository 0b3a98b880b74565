"""`mobilesplit models`: what can be cut without writing a line."""

from __future__ import annotations

import json

from mobilesplit.cli import options
from mobilesplit.cli.console import print_json, print_table


def models(as_json: options.Json = False) -> None:
    """List the models that come with mobilesplit."""
    from mobilesplit.segment.model_source import describe_model, known_models

    found = {name: describe_model(name) for name in known_models()}
    if as_json:
        listing = [{"name": name, "description": text} for name, text in found.items()]
        print_json(json.dumps({"models": listing}, indent=2))
        return
    print_table("Models", ("name", "description"), list(found.items()))
