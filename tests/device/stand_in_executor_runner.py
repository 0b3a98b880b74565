"""Prints what ExecuTorch's executor_runner prints, knows its flags and no others, runs nothing."""

import os
import re
import signal
import sys
from pathlib import Path

FLAGS = {"model_path", "method_name", "inputs", "num_executions", "cpu_threads", "output_file",
         "etdump_path", "data_path"}  # fmt: skip
FAILURES = {
    "too_large": "Loading of method too_large failed with status 0x21",
    "no_backend": "Backend XnnpackBackend is not registered.",
    "no_kernel": "Loading of method no_kernel failed with status 0x14",
    "strange": "In function main(), assert failed: something else",
}


def log(level: str, line: int, text: str) -> None:
    print(f"{level} 00:00:00.00{line:04} executorch:executor_runner.cpp:{line}] {text}",
          file=sys.stderr)  # fmt: skip


def main() -> int:
    flags = {}
    for word in sys.argv[1:]:
        name, equals, value = re.fullmatch(r"--?(\w+)(=?)(.*)", word).groups()
        if name not in FLAGS:
            print(f"ERROR: unknown command line flag '{name}'", file=sys.stderr)
            return 1
        assert equals, "this stand-in takes --flag=value only"
        flags[name] = value
    if not Path(flags["model_path"]).is_file():
        log("E", 380, f"Failed to parse model file {flags['model_path']}")
        return 1
    for path in flags["inputs"].split(","):
        if not Path(path).is_file():
            log("F", 300, f"Failed to open input file: {path}")
            return 134
    method, count = flags["method_name"], int(flags["num_executions"])
    log("I", 391, f"Using method {method}")
    if method in FAILURES:
        log("F", 450, FAILURES[method])
        return 134
    if method == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if method == "silent":
        return 0
    log("I", 460, "Model loaded in 12.500000 ms.")
    for i in range(count - (method == "stops_early")):
        log("I", 700, f"Iteration {i + 1} of {count}: {100 if i == 0 else i + 0.25:f} ms")
    log("I", 710, f"Model executed successfully {count} time(s) in 123.000000 ms.")
    print(f"OutputX 0: tensor(sizes=[1], [{flags['cpu_threads']}.])")
    return 0


if __name__ == "__main__":
    sys.exit(main())
