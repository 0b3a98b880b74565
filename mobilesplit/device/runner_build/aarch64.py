"""The runner as aarch64 Linux code: cross-compiled here, run here by qemu.

For checking numbers and instructions on Arm's kernels (XNNPACK's NEON code), and for boards with
Linux. Never for time: under qemu everything is some 200 times slower. It needs Debian's
g++-aarch64-linux-gnu and qemu-user-static, and, once, ExecuTorch's aarch64 wheel from PyPI.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from mobilesplit import resources
from mobilesplit.device.runner_build.cmake_build import CMakeBuild, Progress, locked
from mobilesplit.device.runner_build.runners import BINARY_NAME, Runner, runner_cache
from mobilesplit.device.runner_build.toolchain import BuildFailed

COMPILER = "aarch64-linux-gnu-g++"
EMULATORS = ("qemu-aarch64-static", "qemu-aarch64")
WHEEL_PLATFORM = "manylinux_2_28_aarch64"
DOWNLOAD_LIMIT_S = 300.0

_SDK_FOLDERS = ("executorch/include/", "executorch/lib/", "executorch/share/cmake/")


def build_aarch64_runner(
    *, cache_root: Path | None = None, progress: Progress = lambda _: None
) -> Runner:
    """The runner for aarch64 Linux; its ``argv`` runs it on this machine, under qemu.

    Raises:
        BuildFailed: compiler, emulator or wheel cannot be had, or it does not build.
    """
    compiler, emulator = shutil.which(COMPILER), find_emulator()
    if compiler is None or emulator is None:
        raise BuildFailed(missing_tools() or "")
    cache = runner_cache(cache_root)
    try:
        sdk, wheel_sha256 = _sdk(cache, progress)
        build = CMakeBuild(
            resources.folder("android_harness"),
            BINARY_NAME,
            [compiler],
            definitions=(
                "CMAKE_SYSTEM_NAME=Linux",
                "CMAKE_SYSTEM_PROCESSOR=aarch64",
                f"executorch_DIR={sdk / 'share' / 'cmake'}",
            ),
            depends_on=(wheel_sha256,),
            starts_with=(emulator, "-L", str(_sysroot(compiler))),
        )
        binary = build.cached_binary(
            cache, progress, "Building the runner for aarch64 (once, some 10 s)."
        )
    except OSError as error:
        raise BuildFailed(f"The cache {cache} cannot be used: {error}.") from None
    return Runner.at(binary, argv=(*build.starts_with, str(binary)))


def missing_tools() -> str | None:
    """The sentence that says what of Debian's is missing; None where all is there."""
    missing = []
    if shutil.which(COMPILER) is None:
        missing.append(("the cross compiler", COMPILER, "g++-aarch64-linux-gnu"))
    if find_emulator() is None:
        missing.append(("the emulator", EMULATORS[0], "qemu-user-static"))
    if not missing:
        return None
    wanted = " and ".join(f"{what} {name}" for what, name, _ in missing)
    packages = " ".join(package for _, _, package in missing)
    return f"The aarch64 runner needs {wanted}: `apt-get install {packages}` brings it."


def find_emulator() -> str | None:
    """qemu's user-mode emulator for aarch64."""
    return next((found for name in EMULATORS if (found := shutil.which(name))), None)


def _sysroot(compiler: str) -> Path:
    """Where the compiler's C library lies: qemu looks there for what the binary loads."""
    loader = "ld-linux-aarch64.so.1"
    said = subprocess.run(
        [compiler, f"-print-file-name={loader}"], capture_output=True, text=True, check=False
    ).stdout.strip()
    path = Path(said)
    if not path.is_file():
        raise BuildFailed(
            f"{compiler} does not know its {loader}: libc6-dev-arm64-cross brings it."
        )
    return path.resolve().parent.parent


def _sdk(cache: Path, progress: Progress) -> tuple[Path, str]:
    """ExecuTorch's aarch64 wheel as a folder, of the version installed here; its sha256."""
    version = importlib.metadata.version("executorch")
    folder = cache / f"executorch-{version}-aarch64"
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / f"{folder.name}.lock"):
        if not folder.is_dir():
            progress(f"Fetching ExecuTorch {version} for aarch64 from PyPI (18 MB, once).")
            with tempfile.TemporaryDirectory(prefix="fetch-", dir=cache) as fetched:
                wheel = _download(version, Path(fetched))
                unpacked = Path(fetched) / "unpacked"
                _unpack(wheel, unpacked)
                digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
                (unpacked / "wheel.sha256").write_text(f"{digest}  {wheel.name}\n")
                unpacked.rename(folder)
    return folder / "executorch", (folder / "wheel.sha256").read_text().split()[0]


def _download(version: str, folder: Path) -> Path:
    """pip checks the file against the index's digest."""
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
        "--no-input", "--retries", "1", "--timeout", "20",
        "--platform", WHEEL_PLATFORM, "--only-binary=:all:", "--no-deps",
        "--dest", str(folder), f"executorch=={version.partition('+')[0]}",
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=DOWNLOAD_LIMIT_S, check=False
        )
        said = (done.stderr.strip().splitlines() or ["no output"])[-1][:300]
    except subprocess.TimeoutExpired:
        said = f"no answer within {DOWNLOAD_LIMIT_S:g} s"
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise BuildFailed(f"ExecuTorch's aarch64 wheel cannot be fetched from PyPI: {said}.")
    return wheels[0]


def _unpack(wheel: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.startswith(_SDK_FOLDERS)]
        archive.extractall(folder, names)
