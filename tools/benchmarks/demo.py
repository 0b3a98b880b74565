"""The demo's wall time with an empty cache and with a full one, and that of --help.

Prints one JSON document: every figure beside its limit, raw samples, versions and machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

LIMITS_S = {"first_demo_s": 120.0, "second_demo_s": 30.0, "help_s": 0.5}


def timed(words: list[str], environment: dict[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "mobilesplit", *words],
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="second demos and helps")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        environment = {
            **os.environ,
            "XDG_CACHE_HOME": f"{scratch}/cache",
            "XDG_STATE_HOME": f"{scratch}/state",
            "HOME": scratch,
        }
        demo = ["demo", "--out", str(Path(scratch) / "out")]
        samples = {
            "first_demo_s": [timed(demo, environment)],
            "second_demo_s": [timed(demo, environment) for _ in range(arguments.repeats)],
            "help_s": [timed(["--help"], environment) for _ in range(5 * arguments.repeats)],
        }
    figures = {
        name: {"median": sorted(values)[len(values) // 2], "limit": LIMITS_S[name], "raw": values}
        for name, values in samples.items()
    }
    packages = ("mobilesplit", "torch", "executorch")
    print(
        json.dumps(
            {
                "measured": figures,
                "versions": {name: version(name) for name in packages},
                "machine": {
                    "cores": os.cpu_count(),
                    "processor": platform.machine(),
                    "load": os.getloadavg()[0],
                },
            },
            indent=2,
        )
    )
    for name, figure in figures.items():
        kept = "kept" if figure["median"] < figure["limit"] else "MISSED"
        print(f"{name}: {figure['median']:.2f} s, limit {figure['limit']:g} s: {kept}",
              file=sys.stderr)  # fmt: skip
    sys.exit(any(figure["median"] >= figure["limit"] for figure in figures.values()))


if __name__ == "__main__":
    main()
