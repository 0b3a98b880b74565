"""The runner for TorchScript heads on this machine, and the folder of heads that it takes.

Its libraries are those of the installed torch, so it is for this machine and virtual phones only:
PyTorch's mobile runtime has had no release since 2.1, and a phone's app brings its own.
"""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Iterator
from pathlib import Path

from mobilesplit import resources
from mobilesplit.core.errors import UsageError
from mobilesplit.core.manifest import Bundle, Manifest
from mobilesplit.core.tensors import TensorSpec
from mobilesplit.device.runner_build.cmake_build import CMakeBuild, Progress
from mobilesplit.device.runner_build.runners import Runner, runner_cache
from mobilesplit.device.runner_build.toolchain import BuildFailed, find_compiler, package_folder

BINARY_NAME = "mobilesplit-torchscript-runner"
METHODS_FILE = "methods.txt"


def build_torchscript_runner(
    *, cache_root: Path | None = None, progress: Progress = lambda _: None
) -> Runner:
    """The runner for TorchScript heads: from the cache, or freshly built.

    Raises:
        BuildFailed: no compiler (C++20), no torch, or it does not build.
    """
    torch = package_folder("torch", "lib/libtorch_cpu.so")
    if torch is None:
        raise BuildFailed("The installed torch package carries no libtorch_cpu.so.")
    cache = runner_cache(cache_root)
    build = CMakeBuild(
        resources.folder("android_harness"),
        BINARY_NAME,
        find_compiler(),
        definitions=(
            "RUNNER_ENGINE=torchscript",
            f"TORCH_FOLDER={torch}",
            f"ENGINE_VERSION={importlib.metadata.version('torch')}",
        ),
        depends_on=(),
    )
    try:
        binary = build.cached_binary(
            cache, progress, "Building the runner for TorchScript (once, some 15 s)."
        )
    except OSError as error:
        raise BuildFailed(f"The cache {cache} cannot be used: {error}.") from None
    return Runner.at(binary, kind="torchscript", argv=(str(binary),))


def methods_text(manifest: Manifest) -> str:
    """``methods.txt``: what every TorchScript head takes and gives, a line a tensor."""
    inputs = manifest.cuts[0].cut.boundary
    lines = [
        line
        for entry in manifest.cuts
        if entry.method is not None
        for line in (
            *_lines(entry.method, "in", inputs),
            *_lines(entry.method, "out", entry.cut.boundary),
        )
    ]
    return "".join(f"{line}\n" for line in lines)


def write_script_program(bundle: Bundle, folder: Path) -> list[Path]:
    """The runner's program of a bundle with TorchScript heads: the new ``folder``; its files.

    Raises:
        UsageError: the bundle's heads have no names yet.
    """
    folder.mkdir(parents=True)
    for entry in bundle.manifest.cuts[1:]:
        if entry.method is None:
            raise UsageError(
                "this bundle's TorchScript heads have no method names: an older mobilesplit "
                "wrote it.",
                next_step="Export it again.",
            )
        script = next(name for name in entry.scripts if name.endswith(".pt"))
        shutil.copyfile(bundle.path(script), folder / f"{entry.method}.pt")
    (folder / METHODS_FILE).write_text(methods_text(bundle.manifest))
    return sorted(folder.iterdir())


def _lines(method: str, side: str, tensors: tuple[TensorSpec, ...]) -> Iterator[str]:
    for tensor in tensors:
        yield " ".join((method, side, tensor.dtype, *map(str, tensor.shape)))
