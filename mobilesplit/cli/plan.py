"""`mobilesplit plan`: the decision for a job, from any profile document."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mobilesplit.cli import links, options
from mobilesplit.cli.console import print_json, print_table, read_file, stdout, write_file

if TYPE_CHECKING:
    from mobilesplit.core.plans import Plan


def plan(
    profile: Annotated[Path, typer.Option("--profile", "-p", help="A profile document.")],
    link: Annotated[str, typer.Option("--link", help=links.HELP)],
    sla_ms: Annotated[float, typer.Option(min=0.001, help="The latency that is promised.")],
    percentile: Annotated[
        float, typer.Option(min=0.01, max=0.999, help="Share of jobs that must keep it.")
    ] = 0.95,
    objective: Annotated[
        Literal["min_cloud", "min_latency", "min_energy"],
        typer.Option(help="What to minimise among the cuts that keep it."),
    ] = "min_cloud",
    allow_lossy: Annotated[
        bool,
        typer.Option("--allow-lossy", help="Allow codecs that change the tensors (fp16, int8)."),
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Also write the plan.")] = None,
    as_json: options.Json = False,
) -> None:
    """Choose cut and codec: least cloud time such that the SLA is kept at the percentile.

    Exits 1 when nothing keeps the SLA; the nearest miss is printed all the same.
    """
    from mobilesplit.core.plans import Job
    from mobilesplit.core.profiles import Profile
    from mobilesplit.schedule.planner import make_plan

    document = Profile.load(read_file(profile), source=str(profile))
    job = Job.model_validate(
        {"sla_ms": sla_ms, "percentile": percentile, "objective": objective,
         "allow_lossy": allow_lossy}
    )  # fmt: skip
    made = make_plan(document, links.find_link(link), job)
    if out is not None:
        write_file(out, made.save())
    if as_json:
        print_json(made.save())
    else:
        print_plan(made)
    if not made.feasible:
        raise typer.Exit(1)


def print_plan(made: Plan) -> None:
    """The plan as people read it: every term predicted, then the reason."""
    predicted = made.predicted
    print_table(
        f"Plan: {made.cut} ({made.codec}){'' if made.feasible else ', SLA MISSED'}; predicted, ms",
        ("", *predicted.terms, "total"),
        [
            ("p50", *(f"{term.p50:.1f}" for term in predicted.terms.values()),
             f"{predicted.total.p50:.1f}"),
            ("p95", *(f"{term.p95:.1f}" for term in predicted.terms.values()),
             f"{predicted.total.p95:.1f}"),
        ],
    )  # fmt: skip
    stdout.print(made.reason)
