"""`mobilesplit demo`: the main job from model to report, by the same functions as the commands."""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mobilesplit import __version__
from mobilesplit.cli import links, options
from mobilesplit.cli.children import Child
from mobilesplit.cli.cloud_side import measure_cloud, tail_server
from mobilesplit.cli.comparing import JOBS_PER_MODE, WARMUP_JOBS, Bench
from mobilesplit.cli.console import (
    Progress,
    human_bytes,
    print_json,
    print_table,
    stdout,
    write_file,
)
from mobilesplit.cli.device_side import DeviceSide, measure_device
from mobilesplit.cli.emulator import DEFAULT_DEVICE
from mobilesplit.cli.models import build_model
from mobilesplit.cli.outputs import top_classes
from mobilesplit.cli.plan import print_plan
from mobilesplit.cli.profile_document import make_profile
from mobilesplit.cli.samples import load_photo
from mobilesplit.core.errors import MobilesplitError, UnknownNameError

if TYPE_CHECKING:
    from mobilesplit.client.connection import CloudConnection
    from mobilesplit.client.link_probe import LinkMeasurement
    from mobilesplit.client.samples import Photo
    from mobilesplit.core.comparison import Comparison, ModeResult, TopClass
    from mobilesplit.core.links import Link
    from mobilesplit.core.manifest import Bundle
    from mobilesplit.core.plans import Job, Plan
    from mobilesplit.core.profiles import Profile
    from mobilesplit.core.results import Array
    from mobilesplit.device.device import Device
    from mobilesplit.device.push import Pushed
    from mobilesplit.emulator.device_description import DeviceDescription
    from mobilesplit.emulator.phones import PhoneRecord
    from mobilesplit.segment.model_source import LoadedModel
    from mobilesplit.segment.trace import Graph

MODEL = "efficientnet-lite0"
NUM_STEPS = 9
MAX_CUTS = 7


def demo(
    image: options.Image = None,
    link: Annotated[str, typer.Option("--link", help=links.HELP)] = "lte",
    sla_ms: Annotated[float, typer.Option(min=1, help="The latency that is promised.")] = 300.0,
    device: Annotated[
        str, typer.Option("--device", help="Virtual phone: a description in configs/devices.")
    ] = DEFAULT_DEVICE,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for all results.")] = Path(
        "mobilesplit-out"
    ),
    as_json: options.Json = False,
) -> None:
    """Run the whole pipeline here: a real model and photo, a virtual phone, a cloud server.

    The phone is emulated and its energy modelled; the model, the runner, adb, the server and
    the websocket are real. Nothing is left running. Ctrl-C stops it at any step.
    """
    from mobilesplit.core.plans import Job
    from mobilesplit.emulator.device_description import load_description

    # Whatever the user may have got wrong is found before anything slow begins.
    chosen_link = links.find_link(link)
    job = Job(sla_ms=sla_ms)
    description = load_description(device)
    photo = load_photo(image)
    with ExitStack() as stack:
        steps = _Steps(stack, chosen_link, job, description, photo, out, quiet=as_json)
        comparison = steps.run()
    if as_json:
        print_json(comparison.save())
        return
    _print_outcome(comparison)
    stdout.print(f"\nReport: {out / 'report.html'}   Data: {out / 'demo.json'}", soft_wrap=True)


class _Steps:
    """One demo under way. ``stack`` ends whatever a step starts."""

    def __init__(
        self,
        stack: ExitStack,
        link: Link,
        job: Job,
        description: DeviceDescription,
        photo: Photo,
        out: Path,
        *,
        quiet: bool,
    ) -> None:
        self._stack = stack
        self._link = link
        self._job = job
        self._description = description
        self._photo = photo
        self._out = out
        self._quiet = quiet
        self._progress = Progress(NUM_STEPS, quiet=quiet)

    def run(self) -> Comparison:
        """All nine steps, in the order of the main job."""
        # Its imports take seconds: they can go on beside our own.
        starting = self._stack.enter_context(tail_server(self._bundle_folder, wait=True))
        loaded = self._model()
        bundle = self._export(loaded, self._trace(loaded))
        phone, device, pushed, side, server = self._profile_phone(bundle, starting)
        connect, profile, measured = self._serve(bundle, side, server)
        plan, link = self._plan(profile, measured)
        whole = _unsplit(loaded, side.inputs)
        inferences_before = self._inferences(phone)
        tails_before = _tail_runs(server)
        modes = self._run_modes(bundle, device, pushed, side, connect, profile, plan, link, whole)
        return self._report(
            loaded,
            side,
            plan=plan,
            profile=profile,
            modes=modes,
            unsplit_top=top_classes(whole, loaded.labels),
            link_measured=link,
            link_samples={
                "rtt_ms": measured.rtt_ms,
                "uplink_bps": measured.uplink_bps,
                "downlink_bps": measured.downlink_bps,
            },
            runner_inferences=self._inferences(phone) - inferences_before,
            cloud_tail_runs=_tail_runs(server) - tails_before,
        )

    def _model(self) -> LoadedModel:
        with self._progress.step("model and photo") as step:
            step.note("loading torch")
            loaded = build_model(MODEL)
            step.note(f"{loaded.name}, weights {loaded.weights}; {self._photo.name}")
        return loaded

    def _trace(self, loaded: LoadedModel) -> Graph:
        with self._progress.step("trace and cut") as step:
            step.note("torch.export")
            from mobilesplit.segment.cuts import find_cuts
            from mobilesplit.segment.trace import trace
            from mobilesplit.segment.verify import verify

            graph = trace(loaded.module, loaded.example_inputs)
            cuts = find_cuts(graph, max_cuts=MAX_CUTS)
            step.note(f"verifying {len(cuts)} cuts")
            worst = max(verify(graph, cuts).values())
            step.note(f"{len(cuts)} cuts; head then tail differ from the whole by {worst:.1g}")
        return graph

    def _export(self, loaded: LoadedModel, graph: Graph) -> Bundle:
        with self._progress.step("export") as step:
            from mobilesplit.device.push import program_name
            from mobilesplit.export.export import export_model
            from mobilesplit.export.settings import ExportSettings

            outcome = export_model(
                loaded,
                out=self._bundle_folder,
                graph=graph,
                settings=ExportSettings(max_cuts=MAX_CUTS),
                progress=step.note,
            )
            manifest = outcome.bundle.manifest
            program = outcome.bundle.path(program_name(manifest))
            size = human_bytes(program.stat().st_size)
            heads = sum(entry.method is not None for entry in manifest.cuts)
            how = "from the cache" if outcome.cached else "lowered and verified"
            step.note(f"{heads} heads in one ExecuTorch program of {size}, {how}")
        return outcome.bundle

    def _profile_phone(
        self, bundle: Bundle, starting: Child
    ) -> tuple[PhoneRecord, Device, Pushed, DeviceSide, dict[str, Any]]:
        from mobilesplit.core.cuts import OUTPUT
        from mobilesplit.device.connect import connect
        from mobilesplit.device.exclusive import exclusive
        from mobilesplit.device.facts import read_facts
        from mobilesplit.device.profiling.settings import ProfileSettings
        from mobilesplit.device.push import push_bundle
        from mobilesplit.device.runner_build import build_host_runner

        with self._progress.step("phone: push and profile") as step, ExitStack() as holding:
            step.note("building the runner")
            runner = build_host_runner()
            phone = self._start_phone({runner.sha256: list(runner.argv)})
            device = self._stack.enter_context(connect(phone.serial))
            holding.enter_context(exclusive(read_facts(device)))
            pushed = push_bundle(device, bundle, runner.path, progress=step.note)
            # Alone: the compiler and the push would disturb it, and it the heads.
            starting.go()
            step.note("waiting for the server to measure its tails")
            server = starting.ready()
            side = measure_device(
                device,
                bundle,
                pushed,
                self._photo,
                # Few samples: it is a demo, and the plan says what rests on few.
                settings=ProfileSettings(
                    min_runs=6,
                    max_runs=6,
                    min_s=0,
                    sessions=1,
                    warmup_runs=1,
                    hold_state=False,
                    idle_s=1.3,
                    load_s=1.5,
                ),
                connect=partial(connect, phone.serial),
                journal_path=self._out / "profile.jsonl",
                progress=step.note,
            )
            why = f" ({runner.why})" if runner.why else ""
            step.note(
                f"{side.facts.name} (emulated) at {phone.serial}; {runner.kind} runner{why};"
                f" {len(side.heads)} heads in one pass, {len(side.heads[OUTPUT].samples_ms)} times"
            )
        return phone, device, pushed, side, server

    def _serve(
        self, bundle: Bundle, side: DeviceSide, server: dict[str, Any]
    ) -> tuple[Callable[[], CloudConnection], Profile, LinkMeasurement]:
        from mobilesplit.client.connection import CloudConnection
        from mobilesplit.client.link_probe import measure_link

        with self._progress.step("server: tails and link") as step:
            step.note("tails and codecs")
            with CloudConnection.open(server["url"], bundle.manifest.model) as direct:
                cloud = measure_cloud(bundle, direct, self._photo, side.facts)
            profile = make_profile(side, cloud, bundle)
            arguments = [
                "mobilesplit.emulator.link_shaper", "--link-json", self._link.model_dump_json(),
                "--listen", "127.0.0.1:0", "--to", f"127.0.0.1:{server['port']}",
                "--exit-with-parent",
            ]  # fmt: skip
            shaper = self._stack.enter_context(Child("the link shaper", arguments)).ready()
            url = f"ws://127.0.0.1:{shaper['port']}"
            connect = partial(CloudConnection.open, url, bundle.manifest.model)
            step.note("measuring the link")
            with connect() as connection:
                measured = measure_link(connection, repeats=2)
            step.note(f"{server['url']} behind {self._link.name} ({self._link.describe()}, shaped)")
        return connect, profile, measured

    def _plan(self, profile: Profile, measured: LinkMeasurement) -> tuple[Plan, Link]:
        from mobilesplit.schedule.link_estimate import estimate_link
        from mobilesplit.schedule.planner import make_plan

        with self._progress.step("plan") as step:
            link = estimate_link(
                rtt_ms=measured.rtt_ms,
                uplink_bps=measured.uplink_bps,
                downlink_bps=measured.downlink_bps,
                name=f"{self._link.name}, measured",
                radio=self._link.radio,
            )
            plan = make_plan(profile, link, self._job)
            write_file(self._out / "profile.json", profile.save())
            write_file(self._out / "plan.json", plan.save())
            step.note(f"cut at {plan.cut}, codec {plan.codec}")
        if not self._quiet:
            print_plan(plan)
        return plan, link

    def _run_modes(
        self,
        bundle: Bundle,
        device: Device,
        pushed: Pushed,
        side: DeviceSide,
        connect: Callable[[], CloudConnection],
        profile: Profile,
        plan: Plan,
        link: Link,
        whole: Array,
    ) -> list[ModeResult]:
        from mobilesplit.client.split_job import SplitClient
        from mobilesplit.device.runner import RunnerSession

        slowdown = side.facts.general_slowdown
        with (
            RunnerSession.open(device, pushed) as session,
            SplitClient(bundle.manifest, session, connect, general_slowdown=slowdown) as client,
        ):
            labels = bundle.manifest.labels
            bench = Bench(client, profile, link, self._job, self._photo, labels, whole)
            with self._progress.step("run the plan") as step:
                planned = bench.run("planned", plan.cut, plan.codec, progress=step.note)
                best = planned.top[0]
                step.note(f"top-1 is class {best.index} ({best.label})")
            with self._progress.step("run the alternatives") as step:
                others = bench.alternatives(planned, progress=step.note)
                names = ", ".join(mode.mode for mode in others)
                step.note(f"{names}: {WARMUP_JOBS} + {JOBS_PER_MODE} jobs each")
        return [planned, *others]

    def _report(
        self,
        loaded: LoadedModel,
        side: DeviceSide,
        *,
        plan: Plan,
        profile: Profile,
        modes: list[ModeResult],
        unsplit_top: tuple[TopClass, ...],
        link_measured: Link,
        link_samples: dict[str, tuple[float, ...]],
        runner_inferences: int,
        cloud_tail_runs: int,
    ) -> Comparison:
        from mobilesplit.core.comparison import SCHEMA, Comparison
        from mobilesplit.report.html import comparison_html

        with self._progress.step("report") as step:
            comparison = Comparison(
                schema_=SCHEMA,
                image=self._photo.name,
                image_bytes=len(self._photo.data),
                link_requested=self._link,
                link_measured=link_measured,
                link_samples=link_samples,
                profile=profile,
                plan=plan,
                modes=tuple(modes),
                unsplit_top=unsplit_top,
                runner_inferences=runner_inferences,
                cloud_tail_runs=cloud_tail_runs,
                step_seconds=dict(self._progress.seconds),
                versions={
                    **profile.provenance["versions"],
                    "runner": str(profile.provenance["runner"].get("runner")),
                },
                notes=_notes(loaded, side),
                provenance={
                    "jobs_per_mode": JOBS_PER_MODE,
                    "warmup_jobs": WARMUP_JOBS,
                    "host": {"cores": os.cpu_count(), "machine": platform.machine()},
                    "mobilesplit": __version__,
                },
            )
            write_file(self._out / "demo.json", comparison.save())
            write_file(self._out / "report.html", comparison_html(comparison, self._photo.data))
            step.note("report.html and demo.json written")
        return comparison

    @property
    def _bundle_folder(self) -> Path:
        return self._out / "bundle"

    def _start_phone(self, allowed_programs: dict[str, list[str]]) -> PhoneRecord:
        from mobilesplit.emulator.phones import start_phone

        # Named by our process: demos side by side do not meet.
        phone = start_phone(
            self._description,
            name=f"demo-{os.getpid()}",
            allowed_programs=allowed_programs,
            exit_with_parent=True,
        )
        self._stack.callback(_stop_if_running, phone.name)
        return phone

    @staticmethod
    def _inferences(phone: PhoneRecord) -> int:
        from mobilesplit.emulator.phones import phone_stats

        return int(phone_stats(phone.name)["inferences"])


def _stop_if_running(name: str) -> None:
    from mobilesplit.emulator.phones import stop_phone

    # It may have died, which is the error to show, not that it cannot be stopped.
    with contextlib.suppress(UnknownNameError):
        stop_phone(name)


def _tail_runs(server: dict[str, Any]) -> int:
    """The server's own count, asked past the shaped link."""
    import urllib.request

    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"http://127.0.0.1:{server['port']}/healthz", timeout=5.0) as answer:
            return int(json.load(answer)["tail_runs"])
    except OSError as error:
        raise MobilesplitError(f"the server does not answer any more ({error}).") from None


def _unsplit(loaded: LoadedModel, inputs: tuple[Array, ...]) -> Array:
    """The whole model, in PyTorch, here."""
    import torch

    with torch.inference_mode():
        whole: Array = loaded.module(*(torch.from_numpy(array.copy()) for array in inputs)).numpy()
    return whole


def _notes(loaded: LoadedModel, side: DeviceSide) -> tuple[str, ...]:
    facts = side.facts
    return (
        f"The phone is emulated: the real runner ran the heads on this computer's CPU, slowed"
        f" {facts.inference_slowdown:g} times (declared), and preparing the photo"
        f" {facts.general_slowdown:g} times. Its figures stand for no real phone.",
        "CPU energy is modelled by the virtual phone and read from its power rails; radio energy"
        " is modelled from the link's power model, without the radio's promotion and tail, which"
        " are paid per burst and not per byte. Neither is measured.",
        "The link is shaped in user space on loopback; rates and delays were measured through it.",
        "Totals leave out adb, which an app on the phone would not have in between.",
        f"The server ran on the same computer, on its CPU. Weights: {loaded.weights}.",
    )


def _print_outcome(comparison: Comparison) -> None:
    from mobilesplit.report.tables import classes_table, modes_table

    for table in (classes_table(comparison), modes_table(comparison)):
        stdout.print()
        print_table(table.title, table.columns, table.rows)
    planned = comparison.modes[0]
    stdout.print(
        f"\nLogits differ from the unsplit model's by at most {planned.max_logit_difference:.2g}."
        f" Counted: {comparison.runner_inferences} heads run by the phone's runner,"
        f" {comparison.cloud_tail_runs} tails by the server.",
        soft_wrap=True,
    )
    late = sum(run.total_ms > comparison.plan.sla_ms for run in planned.runs)
    if late:
        stdout.print(
            f"SLA missed by {late} of the {len(planned.runs)} planned jobs measured: the plan rests"
            " on few samples of a slowed, shared computer.",
            soft_wrap=True,
        )
    for mode in comparison.modes:
        if mode.fell_back:
            stdout.print(f"{mode.mode} fell back to the device: {mode.fell_back}", soft_wrap=True)
