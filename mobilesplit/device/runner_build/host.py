"""The runner for this machine: what the virtual phone executes.

One rule: whatever goes wrong, there is a runner: the Python one takes over, and says why.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import sys
from pathlib import Path
from typing import Literal

from mobilesplit import resources
from mobilesplit.device.runner_build.cmake_build import CMakeBuild, Progress
from mobilesplit.device.runner_build.runners import BINARY_NAME, Runner, runner_cache
from mobilesplit.device.runner_build.toolchain import BuildFailed, find_compiler, package_folder


def build_host_runner(
    *,
    prefer: Literal["cpp", "python"] = "cpp",
    cache_root: Path | None = None,
    progress: Progress = lambda _: None,
) -> Runner:
    """The runner for this machine: from the cache, freshly built, or the Python one.

    ``cache_root`` None is ``$XDG_CACHE_HOME/mobilesplit``; ``progress`` gets a sentence before
    each slow step. Never fails for want of a compiler: see ``Runner.why``.
    """
    harness = resources.folder("android_harness")
    if prefer == "python":
        return _python_runner(harness, why=None)
    try:
        binary = _host_build(harness).cached_binary(
            runner_cache(cache_root), progress, "Building the runner (once, some 10 s)."
        )
    except (BuildFailed, OSError) as error:
        return _python_runner(harness, why=str(error))
    return Runner.at(binary, argv=(str(binary),))


def _host_build(harness: Path) -> CMakeBuild:
    compiler = find_compiler()
    sdk = package_folder("executorch", "share/cmake/executorch-config.cmake")
    if sdk is None:
        raise BuildFailed("The installed executorch package carries no C++ SDK.")
    return CMakeBuild(
        harness,
        BINARY_NAME,
        compiler,
        definitions=(f"executorch_DIR={sdk / 'share' / 'cmake'}",),
        depends_on=(importlib.metadata.version("executorch"),),
    )


def _python_runner(harness: Path, *, why: str | None) -> Runner:
    path = harness / "python_runner.py"
    runner = Runner.at(path, kind="python", argv=(sys.executable, str(path)))
    return dataclasses.replace(runner, why=why)
