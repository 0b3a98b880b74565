"""`mobilesplit trace`: a model's cuts, verified, nothing written."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mobilesplit.cli import links, options
from mobilesplit.cli.console import human_bytes, print_json, print_table, single_step, stdout
from mobilesplit.cli.models import build_model
from mobilesplit.core.errors import UsageError

if TYPE_CHECKING:
    from mobilesplit.core.cuts import Cut
    from mobilesplit.core.links import Link
    from mobilesplit.core.tensors import TensorSpec
    from mobilesplit.segment.cheapest import Cheapest, Division
    from mobilesplit.segment.operators import OperatorCost


def trace(
    model: Annotated[str, typer.Argument(help="A name of `mobilesplit models`, or FILE.py:build.")],
    max_cuts: Annotated[
        int,
        typer.Option(
            min=2, help="Keep at most so many: those whose loss would cost most (docs/cuts.md)."
        ),
    ] = 16,
    max_boundary_tensors: Annotated[
        int | None,
        typer.Option(
            min=1, help="Leave out cuts where more tensors cross: 4; no limit with --all."
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="List every cut there is.")] = False,
    operators: Annotated[
        bool, typer.Option("--operators", help="List what each operator costs as well.")
    ] = False,
    max_flow: Annotated[
        bool,
        typer.Option(
            "--max-flow",
            help="Find the cheapest division of all for --device-gflops, --cloud-gflops, --link.",
        ),
    ] = False,
    device_gflops: Annotated[
        float | None, typer.Option(min=1e-3, help="Speed of the device, 10^9 operations a second.")
    ] = None,
    cloud_gflops: Annotated[
        float | None, typer.Option(min=1e-3, help="Speed of the cloud, 10^9 operations a second.")
    ] = None,
    link: Annotated[str | None, typer.Option("--link", help=links.HELP)] = None,
    weights: options.Weights = None,
    as_json: options.Json = False,
) -> None:
    """Trace a model with torch.export and list the cuts worth having.

    Each is checked: head, then tail, against the whole model.
    """
    scenario = _scenario(max_flow, device_gflops, cloud_gflops, link)
    with single_step("trace", quiet=as_json) as step:
        step.note("loading torch")
        from mobilesplit.segment.cheapest import find_cheapest
        from mobilesplit.segment.cuts import search_cuts
        from mobilesplit.segment.operators import operator_costs
        from mobilesplit.segment.trace import trace as trace_module
        from mobilesplit.segment.verify import verify

        loaded = build_model(model, weights)
        step.note("torch.export")
        graph = trace_module(loaded.module, loaded.example_inputs)
        found = search_cuts(
            graph, max_cuts=max_cuts, max_boundary_tensors=max_boundary_tensors, every=every
        )
        step.note("dividing")
        cheapest = None if scenario is None else find_cheapest(graph, **scenario)
        step.note(f"verifying {len(found.cuts)} cuts")
        errors = verify(graph, found.cuts)
        costs = operator_costs(graph) if operators else None
    if as_json:
        document: dict[str, Any] = {
            "model": loaded.name,
            "cuts": [_row(cut, errors[cut.id]) for cut in found.cuts],
            "num_over_boundary_limit": found.num_over_limit,
            "notice": found.notice,
        }
        if costs is not None:
            document["operators"] = [asdict(cost) for cost in costs]
        if cheapest is not None:
            document["max_flow"] = _max_flow(cheapest)
        print_json(json.dumps(document, indent=2))
        return
    _print_cuts(loaded.name, found.cuts, errors)
    stdout.print(f"Weights: {loaded.weights}.")
    if found.num_over_limit:
        stdout.print(
            f"Left out for their boundary: {found.num_over_limit} "
            f"(more than {found.max_boundary_tensors} tensors cross)."
        )
    if found.notice is not None:
        stdout.print(found.notice)
    if costs is not None:
        _print_operators(costs)
    if cheapest is not None:
        _print_cheapest(cheapest)


def _scenario(
    wanted: bool, device_gflops: float | None, cloud_gflops: float | None, link: str | None
) -> dict[str, Any] | None:
    """The arguments of ``find_cheapest``; None if it is not wanted."""
    given = {"--device-gflops": device_gflops, "--cloud-gflops": cloud_gflops, "--link": link}
    if not wanted:
        for option, value in given.items():
            if value is not None:
                raise UsageError(f"{option} is for --max-flow.", next_step="Add --max-flow.")
        return None
    missing = [option for option, value in given.items() if value is None]
    if missing or link is None:
        raise UsageError(
            f"--max-flow needs {', '.join(missing)} too.",
            next_step="For example: --max-flow --device-gflops 20 --cloud-gflops 2000 --link lte.",
        )
    chosen: Link = links.find_link(link)
    return {"device_gflops": device_gflops, "cloud_gflops": cloud_gflops, "link": chosen}


def _row(cut: Cut, error: float) -> dict[str, Any]:
    return {
        **cut.model_dump(),
        "boundary_nbytes": cut.boundary_nbytes,
        "device_share": cut.device_share,
        "max_abs_error": error,
    }


def _print_cuts(name: str, cuts: Sequence[Cut], errors: Mapping[str, float]) -> None:
    print_table(
        f"Cuts of {name}: {cuts[0].tail_flops / 1e9:.2f} GFLOP",
        ("cut", "boundary", "bytes", "on device"),
        [
            (
                cut.id,
                _shapes(cut.boundary),
                human_bytes(cut.boundary_nbytes),
                f"{cut.device_share:.1%}",
            )
            for cut in cuts
        ],
    )
    stdout.print("on device: share of the model's floating-point operations.")
    inexact = [f"{cut.id} by {errors[cut.id]:.1g}" for cut in cuts if errors[cut.id] > 0]
    if inexact:
        stdout.print(f"Head then tail differs from the whole: {', '.join(inexact)}.")
    else:
        stdout.print("Head then tail equals the whole exactly at every cut.")


def _shapes(boundary: Sequence[TensorSpec]) -> str:
    """``1x32 bool, 2 of 1x32x64``; float32 goes without saying."""
    described = Counter(
        "x".join(map(str, spec.shape)) + ("" if spec.dtype == "float32" else f" {spec.dtype}")
        for spec in boundary
    )
    return ", ".join(
        text if count == 1 else f"{count} of {text}" for text, count in described.items()
    )


def _print_operators(costs: Sequence[OperatorCost]) -> None:
    print_table(
        f"{len(costs)} operators",
        ("operator", "module", "MFLOP", "parameters", "output"),
        [
            (
                cost.target.removeprefix("aten.").removesuffix(".default"),
                cost.module,
                f"{cost.flops / 1e6:.2f}",
                str(cost.num_parameters),
                human_bytes(cost.output_bytes),
            )
            for cost in costs
        ],
    )


def _print_cheapest(cheapest: Cheapest) -> None:
    division, prefix = cheapest.division, cheapest.prefix
    stdout.print(f"Cheapest division by maximum flow: {_described(division)}.")
    if cheapest.saved_ms > 0:
        stdout.print(
            f"It beats the best prefix cut by {cheapest.saved_ms:.3g} ms "
            f"({cheapest.saved_ms / prefix.total_ms:.1%}). That one: {_described(prefix)}."
        )
    else:
        stdout.print("No division beats the best prefix cut: this is one.")


def _described(division: Division) -> str:
    terms = (
        f"predicted {division.total_ms:.1f} ms (head {division.head_ms:.1f}, uplink "
        f"{division.uplink_ms:.1f}, tail {division.tail_ms:.1f}, downlink "
        f"{division.downlink_ms:.1f})"
    )
    count = len(division.on_device)
    if count == division.num_operators:
        return f"{terms}, everything on the device"
    where = f"{count} of {division.num_operators} operators on the device" if count else "all cloud"
    sent = ", ".join(spec.name for spec in division.boundary)
    return f"{terms}, {where}, {human_bytes(division.boundary_nbytes)} cross ({sent})"


def _max_flow(cheapest: Cheapest) -> dict[str, Any]:
    def described(division: Division) -> dict[str, Any]:
        return {
            "on_device": division.on_device,
            "num_operators": division.num_operators,
            "boundary": [spec.model_dump() for spec in division.boundary],
            "predicted_ms": {
                "head": division.head_ms,
                "uplink": division.uplink_ms,
                "tail": division.tail_ms,
                "downlink": division.downlink_ms,
                "total": division.total_ms,
            },
        }

    return {
        "division": described(cheapest.division),
        "prefix": described(cheapest.prefix),
        "predicted_saved_ms": cheapest.saved_ms,
    }
