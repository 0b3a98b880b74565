"""The runner in Python: same command line, output and session as the C++ one, no compiler needed.

It takes over where the C++ runner cannot be built, and shows what that one must do in the fewest
lines. Its times are honest but higher: see README.md. It imports nothing of mobilesplit, because
it is pushed to the (virtual) phone as one file.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

# libtorch's workers would spin against XNNPACK's otherwise; read when torch is first imported.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

VERSION = "0.1.0"
MAX_LINE_BYTES = 4096
MAX_INPUT_BYTES = 1 << 30
DISCARD_BYTES = 1 << 16
DTYPES = {
    0: "uint8", 1: "int8", 2: "int16", 3: "int32", 4: "int64",
    5: "float16", 6: "float32", 7: "float64", 11: "bool",
}  # fmt: skip
"""torch's names by ExecuTorch's ScalarType (runtime/core/portable_type/scalar_type.h)."""


class Failure(Exception):
    """Something failed: exit code 1. In a session, a failure of a request is answered instead."""


class UsageFailure(Failure):
    """The command line or the environment asks for something that cannot be: exit code 2."""


class StreamLost(Failure):
    """Standard input ended or lost its framing: no session goes on."""


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        raise UsageFailure(message)


def emit(fields: dict[str, Any], payload: bytes = b"") -> None:
    line = json.dumps(fields, separators=(",", ":")) + "\n"
    sys.stdout.buffer.write(line.encode() + payload)
    sys.stdout.buffer.flush()


def executorch_version() -> str:
    """As the SDK says it, so that both runners say the same: ``1.5.1+cpu``."""
    from executorch.version import __version__

    return str(__version__)


class VirtualPhone:
    """What the virtual phone asks for through the environment; unset on a real one."""

    def __init__(self) -> None:
        text = os.environ.get("MOBILESPLIT_SLOWDOWN", "1")
        try:
            self.slowdown = float(text)
        except ValueError:
            self.slowdown = 0.0
        if not 1 <= self.slowdown < float("inf"):
            raise UsageFailure(f"MOBILESPLIT_SLOWDOWN must be a number >= 1, not {text}")
        counter = os.environ.get("MOBILESPLIT_RUN_COUNTER")
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._counter_fd = os.open(counter, flags, 0o644) if counter else None

    def account(self, host_ms: float) -> dict[str, Any]:
        """Count an inference of ``host_ms``, sleep what is missing, and say what to report."""
        if self._counter_fd is not None:
            os.write(self._counter_fd, b".")
        timing = {"latency_ms": self.stretch(host_ms)}
        return timing if self.slowdown == 1.0 else timing | {"host_latency_ms": host_ms}

    def stretch(self, host_ms: float) -> float:
        """Sleep what is missing, without counting (an encoder's work), and give the time in ms."""
        if self.slowdown > 1.0:
            time.sleep(host_ms * (self.slowdown - 1) / 1e3)
        return host_ms * self.slowdown


def warm_up_torch() -> None:
    """Import torch now: it takes seconds, which are no part of any load or first inference.

    The quantized kernels come with it: int8 programs and encoders need them.
    """
    import executorch.kernels.quantized  # noqa: F401  # registers them with the runtime
    import torch

    torch.set_num_threads(1)


def describe(info: Any, which: str) -> dict[str, Any]:
    """A tensor's dtype, shape and nbytes from ExecuTorch's TensorInfo."""
    if info.dtype() not in DTYPES:
        raise Failure(f"{which} has an element type that the runner does not carry: {info}")
    shape = list(info.sizes())
    return {"dtype": DTYPES[info.dtype()], "shape": shape, "nbytes": info.nbytes()}


class Choice(NamedTuple):
    """What runs as one: a method, and encoders on its outputs. Written METHOD[+ENCODER...]."""

    method: str
    encoders: list[str]


def parse_choice(text: str) -> Choice:
    words = text.split("+")
    if not all(words):
        raise Failure(f"a method with encoders takes names separated by '+', not {text!r}")
    return Choice(words[0], words[1:])


class Program:
    """An ExecuTorch program; methods are loaded on first use and kept until ``unload``."""

    def __init__(self, path: str, threads: int = 1) -> None:
        what = f"{path} is not a program that ExecuTorch {executorch_version()} loads"
        try:
            with Path(path).open("rb") as file:
                head = file.read(8)
        except OSError as error:
            raise Failure(f"cannot open the program {path}: {error.strerror}") from None
        if head[4:6] != b"ET":
            # The runtime would log these bytes as text, and the bindings abort if they are not.
            raise Failure(f"{what}: it does not start like one")

        from executorch.extension.pybindings import _C  # executorch.runtime imports the exporter

        _C._unsafe_reset_threadpool(threads)
        start = time.perf_counter()
        try:
            verification = _C.Verification.InternalConsistency
            self._program = _C._load_program(path, program_verification=verification)
        except RuntimeError as error:
            raise Failure(f"{what}: {error}") from None
        self.load_ms = (time.perf_counter() - start) * 1e3
        count = self._program.num_methods()
        self.names = sorted(self._program.get_method_name(i) for i in range(count))
        self._methods: dict[str, Any] = {}
        self._inputs: dict[str, list[Any]] = {}

    def spec(self, name: str) -> dict[str, Any]:
        if name not in self.names:
            raise Failure(f"no method is called {name!r}; known: {', '.join(self.names)}")
        try:
            meta = self._program.method_meta(name)
            inputs = [meta.input_tensor_meta(i) for i in range(meta.num_inputs())]
            outputs = [meta.output_tensor_meta(i) for i in range(meta.num_outputs())]
        except RuntimeError as error:
            raise Failure(f"method {name!r} is not made of tensors: {error}") from None
        return {
            "name": name,
            "inputs": [describe(t, f"input {i} of method {name!r}") for i, t in enumerate(inputs)],
            "outputs": [
                describe(t, f"output {i} of method {name!r}") for i, t in enumerate(outputs)
            ],
        }

    def check_encoder(self, method: str, encoder: str) -> None:
        """Raises Failure unless ``encoder`` takes exactly what ``method`` returns."""
        if self.spec(encoder)["inputs"] != self.spec(method)["outputs"]:
            raise Failure(f"method {encoder!r} does not take what {method!r} returns")

    def load(self, name: str) -> None:
        """Make the method ready; at once when it is."""
        if name in self._methods:
            return
        self.spec(name)
        try:
            self._methods[name] = self._program.load_method(name)
        except RuntimeError as error:
            raise Failure(f"cannot load method {name!r}: {error}") from None

    def input_views(self, name: str) -> list[Any]:
        """Writable bytes of the method's inputs, which are kept between runs."""
        import torch

        self.load(name)
        if name not in self._inputs:
            self._inputs[name] = [
                torch.zeros(tensor["shape"], dtype=getattr(torch, tensor["dtype"]))
                for tensor in self.spec(name)["inputs"]
            ]
        return [tensor.reshape(-1).numpy().view("uint8") for tensor in self._inputs[name]]

    def run(self, name: str) -> float:
        """Run with the inputs as they stand; the time of the execution alone in ms."""
        return self._execute(name, self._inputs[name])

    def run_on(self, name: str, source: str) -> float:
        """Run on what ``source`` returned last; the time in ms is with handing it over."""
        self.load(name)
        start = time.perf_counter()
        self._execute(name, self._methods[source].get_outputs(clone_outputs=False))
        return (time.perf_counter() - start) * 1e3

    def _execute(self, name: str, inputs: list[Any]) -> float:
        method = self._methods[name]
        try:
            method.set_inputs(inputs)
            start = time.perf_counter()
            method.execute()
            return (time.perf_counter() - start) * 1e3
        except RuntimeError as error:
            raise Failure(f"method {name!r} failed: {error}") from None

    def outputs(self, name: str) -> list[Any]:
        """Row-major arrays that hold until the next run."""
        tensors = self._methods[name].get_outputs(clone_outputs=False)
        return [tensor.contiguous().numpy() for tensor in tensors]

    def unload(self, name: str) -> None:
        self._methods.pop(name, None)
        self._inputs.pop(name, None)


def reset_peak_rss() -> bool:
    """Start a new peak; False where the kernel does not allow it (proc(5): clear_refs)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_rss_bytes() -> int:
    import resource

    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run_phase(
    run: Callable[[], dict[str, Any]], event: dict[str, Any], min_runs: int, min_s: float,
    max_s: float,
) -> int:  # fmt: skip
    """Go on while (runs < min_runs or time < min_s) and time <= max_s; the number of runs."""
    start = time.perf_counter()
    runs = 0
    elapsed_s = 0.0
    while (runs < min_runs or elapsed_s < min_s) and elapsed_s <= max_s:
        emit({**event, "index": runs, **run()})
        runs += 1
        elapsed_s = time.perf_counter() - start
    return runs


def bench(arguments: argparse.Namespace) -> None:
    phone = VirtualPhone()
    emit(started("started") | {
        "executorch": executorch_version(), "threads": arguments.threads,
        "slowdown": phone.slowdown, "pid": os.getpid(),
    })  # fmt: skip
    warm_up_torch()
    program = Program(arguments.program, arguments.threads)
    emit({"event": "loaded", "load_ms": program.load_ms})
    for (
        name,
        encoders,
    ) in arguments.methods:  # all mistakes in names and counts before any measurement
        count = len(program.spec(name)["inputs"])
        if count != len(arguments.input):
            what = f"method {name!r} takes {count} inputs, {len(arguments.input)} were given"
            raise Failure(what)
        for encoder in encoders:
            program.check_encoder(name, encoder)
    for choice in arguments.methods:
        bench_method(program, choice, arguments, phone)


def bench_method(
    program: Program, choice: Choice, arguments: argparse.Namespace, phone: VirtualPhone
) -> None:
    name = choice.method
    peak_is_of_method = reset_peak_rss()
    start = time.perf_counter()
    views = program.input_views(name)
    method_load_ms = (time.perf_counter() - start) * 1e3
    for path, view in zip(arguments.input, views, strict=True):
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise Failure(f"cannot open {path}: {error.strerror}") from None
        if len(data) != view.nbytes:
            raise Failure(f"{path} has {len(data)} bytes, the input takes {view.nbytes}")
        view[:] = memoryview(data)

    def run() -> dict[str, Any]:
        timing = phone.account(program.run(name))
        if choice.encoders:
            timing["encode_ms"] = {
                encoder: phone.stretch(program.run_on(encoder, name)) for encoder in choice.encoders
            }
        return timing

    first_ms = phone.account(program.run(name))["latency_ms"]
    emit({"event": "method", "method": name, "method_load_ms": method_load_ms,
          "first_ms": first_ms})  # fmt: skip
    for encoder in choice.encoders:
        program.load(encoder)
    sample = {"event": "sample", "method": name}
    run_phase(run, sample | {"phase": "warmup"},
              arguments.warmup_runs, arguments.warmup_s, arguments.max_s)  # fmt: skip
    if arguments.wait:
        emit({"event": "waiting", "method": name})
        wait_for_line()
    runs = run_phase(run, sample | {"phase": "measure"},
                     arguments.min_runs, arguments.min_s, arguments.max_s)  # fmt: skip
    emit({"event": "done", "method": name, "runs": runs, "peak_rss_bytes": peak_rss_bytes(),
          "peak_rss_is_of_method": peak_is_of_method})  # fmt: skip
    if arguments.wait:
        wait_for_line()
    for loaded in (name, *choice.encoders):
        program.unload(loaded)


def wait_for_line() -> None:
    """Block until the other side, which reads a gauge meanwhile, sends a line."""
    if not sys.stdin.buffer.readline():
        raise StreamLost("the input ended while the benchmark waited for a line")


def read_exactly(stream: BinaryIO, view: Any) -> None:
    target = memoryview(view)
    done = 0
    while done < len(target):
        count = stream.readinto(target[done:])  # type: ignore[attr-defined]
        if not count:
            missing = len(target) - done
            what = (
                f"the input ended in the middle of a request: {missing} more bytes were announced"
            )
            raise StreamLost(what)
        done += count


def parse_request(line: bytes) -> tuple[int, str, list[int]]:
    """A line that cannot be read does not say how many bytes follow: the framing is lost."""
    if len(line.rstrip(b"\n")) > MAX_LINE_BYTES:
        raise StreamLost(f"a request line is longer than {MAX_LINE_BYTES} bytes")
    if not line.endswith(b"\n"):
        raise StreamLost("the input ended in the middle of a line")
    words = line.decode("ascii", "replace").split()
    numbers = [*words[1:2], *words[3:]]
    if len(words) < 3 or words[0] != "run" or not all(n.isdecimal() for n in numbers):
        shown = line[:80].decode("ascii", "replace").strip()
        raise StreamLost(f"not a request: {shown!r}; expected: run <id> <method> <nbytes> ...")
    return int(words[1]), words[2], [int(n) for n in words[3:]]


def session(arguments: argparse.Namespace) -> None:
    phone = VirtualPhone()
    warm_up_torch()
    program = Program(arguments.program, arguments.threads)
    emit(started("ready") | {"load_ms": program.load_ms, "slowdown": phone.slowdown})
    stream = sys.stdin.buffer
    while (line := stream.readline(MAX_LINE_BYTES + 2)) not in (b"", b"quit\n"):
        request_id, text, sizes = parse_request(line)
        if max(sizes, default=0) > MAX_INPUT_BYTES:
            message = f"an input of {max(sizes)} bytes is over the limit of 1 GiB"
            emit({"id": request_id, "error": message})
            raise StreamLost(message)
        try:
            name, encoders = parse_choice(text)
            views = request_views(program, name, encoders, sizes)
        except Failure as failure:
            pending = sum(sizes)
            while pending:  # whatever a request announces is consumed, so that the next is found
                count = min(pending, DISCARD_BYTES)
                read_exactly(stream, bytearray(count))
                pending -= count
            emit({"id": request_id, "error": str(failure)})
            continue
        for view in views:
            read_exactly(stream, view)
        try:
            timing = phone.account(program.run(name))
            last = name
            for last in encoders:
                timing["encode_ms"] = phone.stretch(program.run_on(last, name))
            arrays = program.outputs(last)
        except Failure as failure:
            emit({"id": request_id, "error": str(failure)})
            continue
        specs = [
            {"dtype": str(a.dtype), "shape": list(a.shape), "nbytes": a.nbytes} for a in arrays
        ]
        payload = b"".join(a.tobytes() for a in arrays)
        emit({"id": request_id, **timing, "outputs": specs}, payload)


def request_views(program: Program, name: str, encoders: list[str], sizes: list[int]) -> list[Any]:
    """Where the request's inputs go, once it is known to fit the program."""
    expected = [tensor["nbytes"] for tensor in program.spec(name)["inputs"]]
    if len(encoders) > 1:
        raise Failure(f"a request takes one encoder, not {len(encoders)}")
    for encoder in encoders:
        program.check_encoder(name, encoder)
    if len(sizes) != len(expected):
        raise Failure(f"method {name!r} takes {len(expected)} inputs, not {len(sizes)}")
    for i, (size, wanted) in enumerate(zip(sizes, expected, strict=True)):
        if size != wanted:
            raise Failure(f"input {i} of method {name!r} takes {wanted} bytes, not {size}")
    return program.input_views(name)


def info(arguments: argparse.Namespace) -> None:
    program = Program(arguments.program)
    emit({"event": "info", "methods": [program.spec(name) for name in program.names]})


def started(event: str) -> dict[str, Any]:
    return {"event": event, "runner": "python", "version": VERSION}


def choices(text: str) -> list[Choice]:
    try:
        return [parse_choice(choice) for choice in text.split(",")]
    except Failure as failure:
        raise argparse.ArgumentTypeError(str(failure)) from None


def count(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(text)
    return int(text)


def threads(text: str) -> int:
    if not 1 <= int(text) <= 64:
        raise ValueError(text)
    return int(text)


def seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError(text)
    return value


def parse(words: list[str]) -> argparse.Namespace:
    parser = Parser(prog="mobilesplit-runner", allow_abbrev=False)
    parser.add_argument("--version", action="store_true")
    commands = parser.add_subparsers(dest="command")
    chosen = {}
    for name in ("info", "bench", "session"):
        chosen[name] = commands.add_parser(name, allow_abbrev=False)
        chosen[name].add_argument("--program", required=True)
        if name != "info":
            chosen[name].add_argument("--threads", type=threads, default=1)
    option = chosen["bench"].add_argument
    option("--methods", type=choices, required=True)
    option("--input", action="append", default=[])
    option("--warmup-runs", type=count, default=2)
    option("--warmup-s", type=seconds, default=0.0)
    option("--min-runs", type=count, default=5)
    option("--min-s", type=seconds, default=0.5)
    option("--max-s", type=seconds, default=20.0)
    option("--wait", action="store_true")
    arguments = parser.parse_args(words)
    if not arguments.version and arguments.command is None:
        parser.error("a command is missing: info, bench, session or --version")
    return arguments


def run(words: list[str]) -> None:
    arguments = parse(words)
    if arguments.version:
        emit(started("version") | {"executorch": executorch_version()})
    else:
        {"info": info, "bench": bench, "session": session}[arguments.command](arguments)


def main() -> int:
    try:
        try:
            run(sys.argv[1:])
        except BrokenPipeError:
            raise
        except (Failure, OSError, MemoryError) as failure:
            print(f"mobilesplit-runner: {failure}", file=sys.stderr)
            emit({"event": "error", "message": str(failure)})
            return 2 if isinstance(failure, UsageFailure) else 1
    except BrokenPipeError:
        # Nobody reads stdout any more; keep the interpreter from flushing into it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
