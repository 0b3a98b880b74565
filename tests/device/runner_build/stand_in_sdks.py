"""Stand-ins for what an Android build needs: an NDK whose compiler is this machine's, and a source
tree that installs the wheel's libraries under the names of ExecuTorch's own build.

With them every command of the build really runs, and only the machine it builds for is wrong.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from mobilesplit.device.runner_build.toolchain import package_folder

INSTALLS_A_CONFIG = """\
cmake_minimum_required(VERSION 3.28)
project(executorch LANGUAGES NONE)
install(FILES executorch-config.cmake DESTINATION lib/cmake/ExecuTorch)
"""
PLAIN_NAMES = """\
set(lib "@SDK@/lib")
set(include "@SDK@/include")
add_library(executorch SHARED IMPORTED)
set_target_properties(executorch PROPERTIES
    IMPORTED_LOCATION ${lib}/libexecutorch.so
    INTERFACE_INCLUDE_DIRECTORIES
        "${include};${include}/executorch/runtime/core/portable_type/c10"
    INTERFACE_COMPILE_DEFINITIONS "C10_USING_CUSTOM_GENERATED_MACROS;ET_EVENT_TRACER_ENABLED")
foreach(pair threadpool:extension_threadpool kernels_optimized:optimized_native_cpu_ops_lib
        backend_xnnpack:xnnpack_backend kernels_quantized:quantized_ops_lib etdump:etdump)
    string(REPLACE ":" ";" pair ${pair})
    list(GET pair 0 file)
    list(GET pair 1 name)
    add_library(${name} SHARED IMPORTED)
    set_target_properties(${name} PROPERTIES
        IMPORTED_LOCATION ${lib}/libexecutorch_${file}.so INTERFACE_LINK_LIBRARIES executorch)
endforeach()
foreach(name extension_module_static extension_tensor extension_data_loader)
    add_library(${name} INTERFACE IMPORTED)
endforeach()
"""


def make_ndk(folder: Path, revision: str = "28.2.13676358") -> Path:
    """An NDK's layout; its toolchain file leaves the compiler as it is."""
    strip = folder / "toolchains" / "llvm" / "prebuilt" / "linux-x86_64" / "bin" / "llvm-strip"
    strip.parent.mkdir(parents=True)
    strip.symlink_to(shutil.which("strip") or "/usr/bin/strip")
    toolchain = folder / "build" / "cmake" / "android.toolchain.cmake"
    toolchain.parent.mkdir(parents=True)
    toolchain.write_text("set(ANDROID_ABI ${ANDROID_ABI})\n")
    text = f"Pkg.Desc = Android NDK\nPkg.Revision = {revision}\nPkg.BaseRevision = {revision}\n"
    (folder / "source.properties").write_text(text)
    return folder


def make_source(folder: Path, version: str) -> Path:
    """A source tree as far as the build looks at it."""
    xnnpack = folder / "backends" / "xnnpack" / "third-party" / "XNNPACK"
    xnnpack.mkdir(parents=True)
    (xnnpack / "CMakeLists.txt").write_text("")
    (folder / "version.txt").write_text(f"{version}\n")
    (folder / "CMakeLists.txt").write_text(INSTALLS_A_CONFIG)
    sdk = package_folder("executorch", "share/cmake/executorch-config.cmake")
    (folder / "executorch-config.cmake").write_text(PLAIN_NAMES.replace("@SDK@", str(sdk)))
    return folder
