"""`mobilesplit runner`: runners for this machine, for Arm under qemu, and for Android."""

from __future__ import annotations

import json
import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mobilesplit.cli import options
from mobilesplit.cli.console import print_json, single_step, stderr, stdout
from mobilesplit.core.errors import MobilesplitError

if TYPE_CHECKING:
    from mobilesplit.device.runner_build import Runner
    from mobilesplit.device.runner_build.prerequisites import Prerequisite

app = typer.Typer(help="Build the program that runs on the device.", no_args_is_help=True)


class Target(StrEnum):
    """What a runner is built for without anything but compilers and wheels."""

    HOST = "host"
    AARCH64_LINUX = "aarch64-linux"
    TORCHSCRIPT = "torchscript"


@app.command()
def build(
    target: Annotated[
        Target,
        typer.Argument(
            help="This machine, aarch64 Linux (run here by qemu), or TorchScript heads."
        ),
    ] = Target.HOST,
    as_json: options.Json = False,
) -> None:
    """Build a runner, or take it from the cache, and say where it lies and how it is started."""
    from mobilesplit.device.runner_build import BuildFailed, build_host_runner
    from mobilesplit.device.runner_build.aarch64 import build_aarch64_runner
    from mobilesplit.device.runner_build.torchscript import build_torchscript_runner

    builders = {
        Target.HOST: build_host_runner,
        Target.AARCH64_LINUX: build_aarch64_runner,
        Target.TORCHSCRIPT: build_torchscript_runner,
    }
    with single_step("build", quiet=as_json) as step:
        try:
            runner = builders[target](progress=step.note)
        except BuildFailed as error:
            raise _failed(error) from error
    if runner.why is not None:
        raise _failed(runner.why)
    _print_runner(runner, as_json)


@app.command("build-android")
def build_android(
    abi: Annotated[
        str, typer.Option(help="The device's ro.product.cpu.abi: arm64-v8a or x86_64.")
    ] = "arm64-v8a",
    executorch_source: Annotated[
        Path | None,
        typer.Option(help="ExecuTorch's source with submodules. Default: cloned, at the tag."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where the runner goes. Default: where `push` looks.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Only say what is missing.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print the commands of the build.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Build the runner for Android devices: ExecuTorch with the NDK, then the runner against it."""
    import os

    from mobilesplit.device.runner_build import BuildFailed
    from mobilesplit.device.runner_build.android import android_build
    from mobilesplit.device.runner_build.ndk import find_ndk

    plan = android_build(abi, source=executorch_source, out=out)
    prerequisites = plan.prerequisites()
    complete = all(one.found is not None for one in prerequisites)
    if check or not complete:
        _print_prerequisites(prerequisites, as_json)
    if not complete:
        raise MobilesplitError(
            "the runner for Android cannot be built yet.",
            next_step="Get what is missing above; docs/runner.md says more.",
        )
    ndk = find_ndk(os.environ)
    assert ndk is not None  # it is one of the prerequisites
    if dry_run:
        for command in plan.commands(ndk):
            print(shlex.join(command))
    elif not check:
        try:
            runner = plan.run(ndk, lambda text: stderr.print(text, soft_wrap=True))
        except BuildFailed as error:
            raise _failed(error) from error
        _print_runner(runner, as_json)


def _failed(why: object) -> MobilesplitError:
    return MobilesplitError(
        f"no runner was built: {why}", next_step="docs/runner.md lists what each one needs."
    )


def _print_runner(runner: Runner, as_json: bool) -> None:
    if as_json:
        print_json(json.dumps({"kind": runner.kind, "path": str(runner.path),
                               "argv": list(runner.argv), "sha256": runner.sha256}))  # fmt: skip
        return
    stdout.print(f"{runner.path}", soft_wrap=True)
    if runner.argv and runner.argv != (str(runner.path),):
        stdout.print(f"started here with: {shlex.join(runner.argv)}", soft_wrap=True)


def _print_prerequisites(prerequisites: list[Prerequisite], as_json: bool) -> None:
    if as_json:
        listing = [{"name": one.name, "found": one.found, "missing": one.missing or None}
                   for one in prerequisites]  # fmt: skip
        print_json(json.dumps(listing))
        return
    for one in prerequisites:
        state = f"ok       {one.name}: {one.found}" if one.found else f"missing  {one.missing}"
        stdout.print(state, soft_wrap=True)
