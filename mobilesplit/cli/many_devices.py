"""Devices measured one or many at a time, each with what the server gave, each to its file.

One rule: nothing here waits but through `Stop`, so that Ctrl-C ends every thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mobilesplit.cli.cloud_side import CloudSide, measure_cloud, tail_server
from mobilesplit.cli.console import single_step, stderr, write_file
from mobilesplit.cli.device_side import DeviceSide, Limits, measure_device
from mobilesplit.cli.profile_document import make_profile, turning_points
from mobilesplit.core.errors import DeviceGoneError, MobilesplitError, RunnerError

if TYPE_CHECKING:
    from mobilesplit.cli.children import Child
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

    def within_budget(self, *, emulated: bool) -> tuple[ProfileSettings, float]:
        """The settings, and until when (``time.monotonic``) heads are measured. Of a budget at
        most half goes to energy, whose phases are shortened to that."""
        settings = self.settings
        if self.budget_s is None:
            return settings, float("inf")
        energy_s = 0.0
        if settings.energy != "none" and not self.stock_runner:
            idle_s = settings.idle_s if settings.idle_s is not None else 3.0 if emulated else 30.0
            phase_s = self.budget_s / 6
            idle_s, load_s = min(idle_s, phase_s), min(settings.load_s, phase_s)
            settings = settings.model_copy(update={"idle_s": idle_s, "load_s": load_s})
            energy_s = 2 * idle_s + load_s
        return settings, time.monotonic() + self.budget_s - energy_s


@contextmanager
def _telling_to_resume(journal: Path) -> Iterator[None]:
    """Around measuring: what cuts it off names the way to go on."""
    try:
        yield
    except (DeviceGoneError, RunnerError) as error:
        if journal.exists():
            error.next_step = f"{error.next_step} What was measured is in {journal}: add --resume."
        raise
    except KeyboardInterrupt:
        if journal.exists():
            stderr.print(f"what was measured is in {journal}: add --resume.", soft_wrap=True)
        raise


def measure_all(
    bundle: Path, wanted: Wanted, cloud: str | None, files: dict[str, Path]
) -> list[tuple[Profile, Path]]:
    """The profiles of all devices that could be measured, each with the file it was written to.

    Raises:
        MobilesplitError: the only device could not be measured, or the server does not answer.
    """
    with ExitStack() as stack:
        step = stack.enter_context(single_step("profile"))
        # Its imports take seconds; it touches the bundle only when the devices are ready.
        starting = stack.enter_context(tail_server(bundle, wait=True)) if cloud is None else None
        server = _Server(stack, starting, cloud, wanted)
        stop = Stop()
        if len(files) == 1:
            ((serial, file),) = files.items()
            return [(_Measurement(serial, file, wanted, server, step.note, stop).run(), file)]
        many = [
            _Measurement(serial, file, wanted, server, _prefixed(step.note, serial), stop)
            for serial, file in files.items()
        ]
        return _in_parallel(many, stop)


class Stop:
    """Asks every thread to end; each does when it next waits, or says what it is doing."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def ask(self) -> None:
        """From the thread that Ctrl-C reaches."""
        self._asked.set()

    def check(self) -> None:
        """Raises KeyboardInterrupt once somebody has asked: no failure of a device's."""
        if self._asked.is_set():
            raise KeyboardInterrupt

    def sleep(self, seconds: float) -> None:
        """Wait, or raise as `check` does."""
        self._asked.wait(seconds)
        self.check()


def _in_parallel(measurements: Sequence[_Measurement], stop: Stop) -> list[tuple[Profile, Path]]:
    """Those that succeed; the others' errors go to stderr."""
    made: list[tuple[Profile, Path]] = []
    with ThreadPoolExecutor(max_workers=len(measurements)) as pool:
        futures = [pool.submit(one.run) for one in measurements]
        try:
            for one, future in zip(measurements, futures, strict=True):
                try:
                    made.append((future.result(), one.file))
                except MobilesplitError as error:
                    stderr.print(f"mobilesplit: {error}", soft_wrap=True)
        except BaseException:
            # Each ends where it waits or on its lost connection, and its guard restores the device.
            stop.ask()
            for one in measurements:
                one.abandon()
            raise
    return made


def _prefixed(note: Callable[[str], None], serial: str) -> Callable[[str], None]:
    return lambda text: note(f"{serial}: {text}")


class _Server:
    """The server's side, measured for one device at a time: its connection is for one thread.

    It is connected to when it is first needed: a device that cannot be used is known by then.
    """

    def __init__(
        self, stack: ExitStack, starting: Child | None, url: str | None, wanted: Wanted
    ) -> None:
        """``starting`` is a server of ours, or ``url`` says where one is; ``stack`` closes."""
        self._stack = stack
        self._starting = starting
        self._url = url
        self._connection: CloudConnection | None = None
        self._wanted = wanted
        self._lock = threading.Lock()

    def measure(self, facts: DeviceFacts, stop: Stop) -> CloudSide:
        """See `measure_cloud`."""
        with self._lock:
            stop.check()
            if self._connection is None:
                self._connection = self._connect()
            return measure_cloud(self._wanted.bundle, self._connection, self._wanted.sample, facts)

    def _connect(self) -> CloudConnection:
        from mobilesplit.client.connection import CloudConnection

        if self._starting is not None:
            self._starting.go()
            self._url = str(self._starting.ready()["url"])
        assert self._url is not None
        model = self._wanted.bundle.manifest.model
        return self._stack.enter_context(CloudConnection.open(self._url, model))


class _Measurement:
    """One device's profile, from connecting to the written document."""

    def __init__(
        self,
        serial: str,
        file: Path,
        wanted: Wanted,
        server: _Server,
        note: Callable[[str], None],
        stop: Stop,
    ) -> None:
        self.file = file
        """Where the document goes."""
        self._serial = serial
        self._wanted = wanted
        self._server = server
        self._show = note
        self._stop = stop
        self._devices: list[Device] = []

    def run(self) -> Profile:
        """Measure and write. Raises MobilesplitError as `measure_device` does."""
        from mobilesplit.device.exclusive import exclusive
        from mobilesplit.device.facts import core_mask, read_facts
        from mobilesplit.device.push import push_bundle
        from mobilesplit.device.runner_build import runner_for

        wanted = self._wanted
        with ExitStack() as stack:
            device = stack.enter_context(self._connect())
            facts = read_facts(device)
            runner = runner_for(
                device,
                torchscript=wanted.bundle.manifest.format == "torchscript",
                chosen=wanted.own_runner,
                progress=self._note,
            )
            # Before the push: another command's runner and settings are not to be touched.
            stack.enter_context(exclusive(facts))
            pushed = push_bundle(device, wanted.bundle, runner.path, progress=self._note)
            self._note("tails")
            cloud = self._server.measure(facts, self._stop)
            settings, deadline_s = wanted.within_budget(emulated=facts.emulated)
            if wanted.cores != "any":
                mask = core_mask(facts, wanted.cores)
                settings = settings.model_copy(update={"core_mask": mask})
            with _telling_to_resume(self.file.with_suffix(".jsonl")):
                side = measure_device(
                    device,
                    wanted.bundle,
                    pushed,
                    wanted.sample,
                    settings=settings,
                    cut_ids=wanted.cut_ids,
                    energy_cuts=wanted.energy_cuts,
                    connect=self._connect,
                    journal_path=self.file.with_suffix(".jsonl"),
                    resume=wanted.resume,
                    per_operator=wanted.per_operator,
                    stock_runner=wanted.stock_runner,
                    limits=self._limits(facts, cloud, settings, deadline_s),
                    progress=self._note,
                    sleep=self._stop.sleep,
                )
        made = make_profile(side, cloud, wanted.bundle)
        write_file(self.file, made.save())
        return made

    def abandon(self) -> None:
        """Drop the connections from another thread, once that has asked to stop."""
        for device in list(self._devices):
            device.close()

    def _connect(self) -> Device:
        """A connection to the device, which ends with `abandon`."""
        from mobilesplit.device.connect import connect

        device = connect(self._serial)
        self._devices.append(device)
        # Whoever abandoned this before the line above could not close it.
        try:
            self._stop.check()
        except KeyboardInterrupt:
            device.close()
            raise
        return device

    def _note(self, text: str) -> None:
        self._stop.check()
        self._show(text)

    def _limits(
        self, facts: DeviceFacts, cloud: CloudSide, settings: ProfileSettings, deadline_s: float
    ) -> Limits | None:
        """With --budget: until when, and what the samples beyond the fewest are for."""
        wanted = self._wanted
        if wanted.budget_s is None:
            return None

        def so_far(heads: dict[str, Head]) -> Profile:
            side = DeviceSide(facts, (), [0.0], heads, {}, False, settings, {})
            return make_profile(side, cloud, wanted.bundle)

        return Limits(
            budget_s=wanted.budget_s,
            deadline_s=deadline_s,
            depends_on=turning_points(so_far, wanted.scenarios),
        )
