"""Devices measured one or many at a time, each with what the server gave, each to its file."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mobilesplit.cli.cloud_side import CloudSide, measure_cloud, tail_server
from mobilesplit.cli.console import single_step, stderr, write_file
from mobilesplit.cli.device_side import DeviceSide, Limits, measure_device
from mobilesplit.cli.profile_document import make_profile, turning_points
from mobilesplit.core.errors import MobilesplitError

if TYPE_CHECKING:
    from mobilesplit.client.connection import CloudConnection
    from mobilesplit.client.samples import Sample
    from mobilesplit.core.links import Link
    from mobilesplit.core.manifest import Bundle
    from mobilesplit.core.plans import Job
    from mobilesplit.core.profiles import DeviceFacts, Profile
    from mobilesplit.device.device import Device
    from mobilesplit.device.profiling.heads import Head
    from mobilesplit.device.profiling.settings import ProfileSettings


@dataclass(frozen=True)
class Wanted:
    """What the command was asked to measure, whatever the device."""

    bundle: Bundle
    sample: Sample
    settings: ProfileSettings
    cut_ids: tuple[str, ...] | None
    energy_cuts: tuple[str, ...] | None
    cores: str
    budget_s: float | None
    scenarios: Sequence[tuple[Link, Job]]
    resume: bool
    per_operator: bool
    own_runner: Path | None
    stock_runner: bool


def measure_all(
    bundle: Path, wanted: Wanted, cloud: str | None, files: dict[str, Path]
) -> list[Profile]:
    """The profiles of all devices that could be measured, each written to its file.

    Raises:
        MobilesplitError: the only device could not be measured, or the server does not answer.
    """
    from mobilesplit.client.connection import CloudConnection

    with ExitStack() as stack:
        step = stack.enter_context(single_step("profile"))
        if cloud is None:
            step.note("starting a server for the tails")
            cloud = stack.enter_context(tail_server(bundle)).ready()["url"]
        model = wanted.bundle.manifest.model
        server = _Server(stack.enter_context(CloudConnection.open(cloud, model)), wanted)
        if len(files) == 1:
            ((serial, file),) = files.items()
            return [_Measurement(serial, file, wanted, server, step.note).run()]
        many = [
            _Measurement(serial, file, wanted, server, _prefixed(step.note, serial))
            for serial, file in files.items()
        ]
        return _in_parallel(many)


def _in_parallel(measurements: Sequence[_Measurement]) -> list[Profile]:
    """Those that succeed; the others' errors go to stderr."""
    made: list[Profile] = []
    with ThreadPoolExecutor(max_workers=len(measurements)) as pool:
        futures = [pool.submit(one.run) for one in measurements]
        try:
            for future in futures:
                try:
                    made.append(future.result())
                except MobilesplitError as error:
                    stderr.print(f"mobilesplit: {error}", soft_wrap=True)
        except BaseException:
            # Each then fails on its lost connection, and its guard restores the device.
            for one in measurements:
                one.abandon()
            raise
    return made


def _prefixed(note: Callable[[str], None], serial: str) -> Callable[[str], None]:
    return lambda text: note(f"{serial}: {text}")


class _Server:
    """The server's side, measured for one device at a time: its connection is for one thread."""

    def __init__(self, connection: CloudConnection, wanted: Wanted) -> None:
        self._connection = connection
        self._wanted = wanted
        self._lock = threading.Lock()

    def measure(self, facts: DeviceFacts) -> CloudSide:
        """See `measure_cloud`."""
        with self._lock:
            return measure_cloud(self._wanted.bundle, self._connection, self._wanted.sample, facts)


class _Measurement:
    """One device's profile, from connecting to the written document."""

    def __init__(
        self,
        serial: str,
        file: Path,
        wanted: Wanted,
        server: _Server,
        note: Callable[[str], None],
    ) -> None:
        self._serial = serial
        self._file = file
        self._wanted = wanted
        self._server = server
        self._note = note
        self._device: Device | None = None

    def run(self) -> Profile:
        """Measure and write. Raises MobilesplitError as `measure_device` does."""
        from mobilesplit.device.connect import connect
        from mobilesplit.device.facts import core_mask, read_facts
        from mobilesplit.device.push import push_bundle
        from mobilesplit.device.runner_build import runner_for

        wanted = self._wanted
        with connect(self._serial) as device:
            self._device = device
            facts = read_facts(device)
            runner = runner_for(
                device,
                torchscript=wanted.bundle.manifest.format == "torchscript",
                chosen=wanted.own_runner,
                progress=self._note,
            )
            pushed = push_bundle(device, wanted.bundle, runner.path, progress=self._note)
            self._note("tails")
            cloud = self._server.measure(facts)
            settings = wanted.settings
            if wanted.cores != "any":
                mask = core_mask(facts, wanted.cores)
                settings = settings.model_copy(update={"core_mask": mask})
            side = measure_device(
                device,
                wanted.bundle,
                pushed,
                wanted.sample,
                settings=settings,
                cut_ids=wanted.cut_ids,
                energy_cuts=wanted.energy_cuts,
                connect=lambda: connect(self._serial),
                journal_path=self._file.with_suffix(".jsonl"),
                resume=wanted.resume,
                per_operator=wanted.per_operator,
                stock_runner=wanted.stock_runner,
                limits=self._limits(facts, cloud, settings),
                progress=self._note,
            )
        made = make_profile(side, cloud, wanted.bundle)
        write_file(self._file, made.save())
        return made

    def abandon(self) -> None:
        """Drop the connection from another thread."""
        if self._device is not None:
            self._device.close()

    def _limits(
        self, facts: DeviceFacts, cloud: CloudSide, settings: ProfileSettings
    ) -> Limits | None:
        """With --budget: until when, and what the samples beyond the fewest are for."""
        wanted = self._wanted
        if wanted.budget_s is None:
            return None

        def so_far(heads: dict[str, Head]) -> Profile:
            side = DeviceSide(facts, (), [0.0], heads, {}, False, settings, {})
            return make_profile(side, cloud, wanted.bundle)

        return Limits(
            deadline_s=time.monotonic() + wanted.budget_s,
            depends_on=turning_points(so_far, wanted.scenarios),
        )
