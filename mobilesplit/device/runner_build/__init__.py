"""Runners for every kind of device: built once, kept in a cache, found by ABI."""

from mobilesplit.device.runner_build.choice import find_runner, runner_for
from mobilesplit.device.runner_build.host import build_host_runner
from mobilesplit.device.runner_build.runners import Runner
from mobilesplit.device.runner_build.toolchain import BuildFailed

__all__ = ["BuildFailed", "Runner", "build_host_runner", "find_runner", "runner_for"]
