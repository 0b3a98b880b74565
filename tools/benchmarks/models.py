"""Every model's cuts as `trace` finds them by default, verified, as a table for docs/models.md."""

from __future__ import annotations

import argparse
import sys

import torch

from mobilesplit.segment.cuts import find_cuts
from mobilesplit.segment.model_source import known_models, load_model, model_facts
from mobilesplit.segment.trace import trace
from mobilesplit.segment.verify import verify


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", help="names; none is all of them")
    names = parser.parse_args().models or list(known_models())
    # Threads that wait for each other by spinning take several times as long on a busy machine.
    torch.set_num_threads(1)
    print("| model | weights | input | parameters | GFLOP | cuts | most tensors | max error |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    failed = False
    for name in names:
        loaded = load_model(name)
        graph = trace(loaded.module, loaded.example_inputs)
        cuts = find_cuts(graph)
        worst = max(verify(graph, cuts).values())
        failed |= worst > 0
        parameters = sum(parameter.numel() for parameter in loaded.module.parameters())
        print(
            f"| {name} | {loaded.weights.partition(':')[0]} | {model_facts(name).input_kind} |"
            f" {parameters / 1e6:.1f} M | {graph.total_flops / 1e9:.2f} | {len(cuts)} |"
            f" {max(len(cut.boundary) for cut in cuts)} | {worst:g} |",
            flush=True,
        )
    sys.exit(failed)


if __name__ == "__main__":
    main()
