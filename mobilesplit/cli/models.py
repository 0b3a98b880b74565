"""`mobilesplit models`: what can be cut without writing a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from mobilesplit.cli import options
from mobilesplit.cli.console import print_json, print_table, stderr

if TYPE_CHECKING:
    from mobilesplit.segment.model_source import LoadedModel


def models(as_json: options.Json = False) -> None:
    """List the models that come with mobilesplit.

    Random weights: give `trace` and `export` real ones with --weights.
    """
    from mobilesplit.segment.model_source import known_models, model_facts

    listing = [model_facts(name) for name in known_models()]
    if as_json:
        print_json(json.dumps({"models": [vars(facts) for facts in listing]}, indent=2))
        return
    print_table(
        "Models",
        ("name", "parameters", "GFLOP", "input", "weights", "description"),
        [
            (
                facts.name,
                f"{facts.parameters / 1e6:.1f} M",
                f"{facts.gflop:.1f}",
                facts.input_kind,
                facts.weights.partition(":")[0],
                facts.description,
            )
            for facts in listing
        ],
    )


def build_model(reference: str, weights: Path | None = None) -> LoadedModel:
    """`load_model`, with a word on stderr when its weights are random."""
    from mobilesplit.segment.model_source import load_model

    loaded = load_model(reference, weights=weights)
    if loaded.notice:
        stderr.print(loaded.notice, soft_wrap=True)
    return loaded
