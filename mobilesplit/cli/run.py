"""`mobilesplit run`: one photo or text through head, link and tail."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mobilesplit.cli import options
from mobilesplit.cli.console import print_json, print_table, read_file, single_step, stderr, stdout
from mobilesplit.cli.device_choice import choose_serial
from mobilesplit.cli.outputs import are_scores, figures, top_classes
from mobilesplit.cli.samples import choose_sample
from mobilesplit.core.errors import UsageError

if TYPE_CHECKING:
    from mobilesplit.client.split_job import JobOutcome
    from mobilesplit.core.manifest import Manifest


def run(
    bundle: options.Bundle,
    image: options.Image = None,
    text: options.Text = None,
    plan: Annotated[
        Path | None, typer.Option("--plan", help="Cut and codec from a plan document.")
    ] = None,
    cut: Annotated[str | None, typer.Option("--cut", help="Cut id, when there is no plan.")] = None,
    codec: Annotated[str, typer.Option(help="Codec of the boundary.")] = "raw",
    cloud: options.Cloud = None,
    serial: options.Serial = None,
    own_runner: options.Runner = None,
    threads: options.Threads = 1,
    timeout_s: Annotated[
        float, typer.Option(min=0.1, help="Wait so long for the server before falling back.")
    ] = 30.0,
    as_json: options.Json = False,
) -> None:
    """Run a photo or a text: head on the device, boundary over the link, tail on the server.

    A model that takes neither is run on the input that its bundle was verified with.

    When the server cannot be reached, refuses or is lost, the job is finished on the device.
    """
    from mobilesplit.client.connection import CloudConnection
    from mobilesplit.client.split_job import SplitClient
    from mobilesplit.core.cuts import OUTPUT
    from mobilesplit.core.plans import Plan
    from mobilesplit.device.connect import connect
    from mobilesplit.device.exclusive import PUSH_WAIT_S, exclusive
    from mobilesplit.device.facts import read_facts
    from mobilesplit.device.push import push_bundle
    from mobilesplit.device.runner import RunnerSession
    from mobilesplit.device.runner_build import runner_for
    from mobilesplit.export.bundle import load_bundle

    if (plan is None) == (cut is None):
        raise UsageError(
            "one of --plan and --cut is needed.", next_step="See `mobilesplit run -h`."
        )
    loaded = load_bundle(bundle)
    if plan is not None:
        decided = Plan.load(read_file(plan), source=str(plan))
        cut, codec = decided.cut, decided.codec
    assert cut is not None
    loaded.manifest.find(cut)
    if cloud is None and cut != OUTPUT:
        raise UsageError(
            f"the cut {cut} has a tail, but no server was given.",
            next_step="Give --cloud URL, or --cut output to run on the device alone.",
        )
    sample = choose_sample(loaded, image, text)
    with (
        single_step("run", quiet=as_json) as step,
        connect(choose_serial(serial)) as device,
    ):
        facts = read_facts(device)
        torchscript = loaded.manifest.format == "torchscript"
        runner = runner_for(device, torchscript=torchscript, chosen=own_runner, progress=step.note)
        # Held for the push alone: a job's inputs go over its session, no file is shared.
        with exclusive(facts, wait_s=PUSH_WAIT_S):
            pushed = push_bundle(device, loaded, runner.path, progress=step.note)
        to_cloud = partial(CloudConnection.open, cloud, loaded.manifest.model) if cloud else None
        with (
            RunnerSession.open(device, pushed, threads=threads) as session,
            SplitClient(
                loaded.manifest, session, to_cloud, general_slowdown=facts.general_slowdown
            ) as client,
        ):
            step.note(f"{sample.name} at {cut}")
            outcome = client.run(sample, cut_id=cut, codec=codec, timeout_s=timeout_s)
    if outcome.fell_back:
        stderr.print(f"finished on the device instead: {outcome.fell_back}", soft_wrap=True)
    _print_outcome(loaded.manifest, sample.name, (cut, codec), outcome, facts.emulated, as_json)


def _print_outcome(
    manifest: Manifest,
    name: str,
    decided: tuple[str, str],
    outcome: JobOutcome,
    emulated: bool,
    as_json: bool,
) -> None:
    """What came out and how long it took; ``decided`` is the cut and the codec."""
    top = top_classes(outcome.outputs[0], manifest.labels) if are_scores(manifest) else ()
    given = figures(manifest, outcome.outputs)
    if as_json:
        spent = {key: value for key, value in vars(outcome).items() if key != "outputs"}
        document = {
            "sample": name, "cut": decided[0], "codec": decided[1], **spent,
            "total_ms": outcome.total_ms, "emulated": emulated,
            "top": [entry.model_dump() for entry in top], "outputs": given,
        }  # fmt: skip
        print_json(json.dumps(document, indent=2))
        return
    if top:
        print_table(
            name, ("class", "name", "logit"),
            [(str(entry.index), entry.label, f"{entry.score:.3f}") for entry in top],
        )  # fmt: skip
    else:
        print_table(
            name, ("output", "shape", "norm", "first values"),
            [(one["name"], "x".join(map(str, one["shape"])), f"{one['norm']:.4g}",
              " ".join(f"{value:.4g}" for value in one["first"])) for one in given],
        )  # fmt: skip
    kind = "measured, phone emulated" if emulated else "measured"
    stdout.print(
        f"{kind}, ms: prepare {outcome.prepare_ms:.1f}, head {outcome.head_ms:.1f}, encode"
        f" {outcome.encode_ms:.1f}, network {outcome.network_ms:.1f}, cloud {outcome.cloud_ms:.1f},"
        f" total {outcome.total_ms:.1f}"
        f" (adb, not counted: {outcome.adb_ms:.1f}); {outcome.uplink_bytes} bytes sent"
    )
