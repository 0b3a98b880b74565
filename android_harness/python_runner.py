"""The runner in Python: same command line, output and session as the C++ one, no compiler needed.

It takes over where the C++ runner cannot be built, and shows what that one must do in the fewest
lines. Its times are honest but higher: see README.md. It imports nothing of mobilesplit, because
it is pushed to the (virtual) phone as one file.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import select
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

# libtorch's workers would spin against XNNPACK's otherwise; read when torch is first imported.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

PROCESS_START_S = time.perf_counter()
VERSION = "0.1.0"
MAX_LINE_BYTES = 4096
MAX_INPUT_BYTES = 1 << 30
MAX_DIRECTION_BYTES = 1 << 16
DISCARD_BYTES = 1 << 16
WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}")
PROGRAM_FORMAT = b"ET12"
"""The file identifier of the programs that ExecuTorch 1.5 writes (schema/program.fbs)."""
CAUSES = {
    0x14: "missing_operator",
    0x20: "missing_operator",  # a delegate's backend: names of methods are looked up before
    0x21: "out_of_memory", 0x23: "bad_program", 0x24: "bad_program",
    0x25: "out_of_memory", 0x30: "program_too_new", 0x31: "out_of_memory",
}  # fmt: skip
"""Words for the laptop by ExecuTorch's error code (runtime/core/error.h)."""
DTYPES = {
    0: "uint8", 1: "int8", 2: "int16", 3: "int32", 4: "int64",
    5: "float16", 6: "float32", 7: "float64", 11: "bool",
}  # fmt: skip
"""torch's names by ExecuTorch's ScalarType (runtime/core/portable_type/scalar_type.h)."""


class Failure(Exception):
    """Something failed: exit code 1. In a session, a failure of a request is answered instead.

    ``cause`` is the word by which the laptop tells it apart (README.md), "" where none fits.
    """

    def __init__(self, message: str, cause: str = "") -> None:
        super().__init__(message)
        self.cause = cause


class UsageFailure(Failure):
    """The command line or the environment asks for something that cannot be: exit code 2."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "usage")


class StreamLost(Failure):
    """Standard input ended or lost its framing: no session goes on."""


def failed(what: str, error: RuntimeError) -> Failure:
    """The failure for an error of the runtime, whose text carries its code."""
    said = str(error)
    codes = [int(code, 16) for code in re.findall(r"0x:?([0-9a-fA-F]+)", said)]
    causes = [CAUSES[code] for code in codes if code in CAUSES]
    return Failure(f"{what}: {said}", causes[-1] if causes else "")


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
        self._slowdown_file = os.environ.get("MOBILESPLIT_SLOWDOWN_FILE")
        counter = os.environ.get("MOBILESPLIT_RUN_COUNTER")
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._counter_fd = os.open(counter, flags, 0o644) if counter else None

    def account(self, host_ms: float) -> dict[str, Any]:
        """Count an inference of ``host_ms``, sleep what is missing, and say what to report."""
        self.count()
        if self._slowdown_file is not None:  # it changes when the phone throttles
            self.slowdown = float(Path(self._slowdown_file).read_text())
        timing = {"latency_ms": self.stretch(host_ms)}
        return timing if self.slowdown == 1.0 else timing | {"host_latency_ms": host_ms}

    def count(self) -> None:
        """Count an inference."""
        if self._counter_fd is not None:
            os.write(self._counter_fd, b".")

    def stretch(self, host_ms: float) -> float:
        """Sleep what is missing to work of ``host_ms``; the time in ms that it stands for."""
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


Series = list[Choice]
"""Methods that run one after the other, each on what the one before returned."""


def parse_series(text: str) -> Series:
    return [parse_choice(part) for part in text.split(":")]


class Program:
    """An ExecuTorch program; methods are loaded on first use and kept until ``release``."""

    def __init__(self, path: str, threads: int = 1) -> None:
        what = f"{path} is not a program that ExecuTorch {executorch_version()} loads"
        try:
            with Path(path).open("rb") as file:
                head = file.read(8)
        except OSError as error:
            raise Failure(f"cannot open the program {path}: {error.strerror}") from None
        if head[4:6] != b"ET":
            # The runtime would log these bytes as text, and the bindings abort if they are not.
            raise Failure(f"{what}: it does not start like one", "bad_program")
        if head[4:8] != PROGRAM_FORMAT:
            why = "the version of its format is another, so it comes of another ExecuTorch, "
            raise Failure(f"{what}: {why}most likely a newer one", "program_too_new")

        from executorch.extension.pybindings import _C  # executorch.runtime imports the exporter

        _C._unsafe_reset_threadpool(threads)
        start = time.perf_counter()
        try:
            verification = _C.Verification.InternalConsistency
            self._program = _C._load_program(path, program_verification=verification)
        except RuntimeError as error:
            raise failed(what, error) from None
        self.load_ms = (time.perf_counter() - start) * 1e3
        count = self._program.num_methods()
        self.names = sorted(self._program.get_method_name(i) for i in range(count))
        self._methods: dict[str, Any] = {}
        self._inputs: dict[str, list[Any]] = {}
        self._holds: dict[str, int] = {}

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

    def check_follows(self, method: str, follower: str) -> None:
        """Raises Failure unless ``follower`` takes exactly what ``method`` returns."""
        if self.spec(follower)["inputs"] != self.spec(method)["outputs"]:
            raise Failure(f"method {follower!r} does not take what {method!r} returns")

    def check_series(self, series: Series, num_inputs: int) -> None:
        """Raises Failure unless all names are known and each method takes what it will get."""
        before = None
        for place, (name, encoders) in enumerate(series):
            count = len(self.spec(name)["inputs"])
            if any(name == other for other, _ in series[:place]):
                raise Failure(f"method {name!r} is twice in one series")
            if before is not None:
                self.check_follows(before, name)
            elif count != num_inputs:
                what = f"method {name!r} takes {count} inputs, {num_inputs} were given"
                raise Failure(what)
            for encoder in encoders:
                self.check_follows(name, encoder)
            before = name

    def load(self, name: str) -> None:
        """Make the method ready; at once when it is."""
        if name in self._methods:
            return
        self.spec(name)
        try:
            self._methods[name] = self._program.load_method(name)
        except RuntimeError as error:
            raise failed(f"cannot load method {name!r}", error) from None

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

    def run_on(self, name: str, source: str) -> tuple[float, float]:
        """Run on what ``source`` returned last.

        The times in ms of the execution alone, and with handing over.
        """
        self.load(name)
        start = time.perf_counter()
        execute_ms = self._execute(name, self._methods[source].get_outputs(clone_outputs=False))
        return execute_ms, (time.perf_counter() - start) * 1e3

    def _execute(self, name: str, inputs: list[Any]) -> float:
        method = self._methods[name]
        try:
            method.set_inputs(inputs)
            start = time.perf_counter()
            method.execute()
            return (time.perf_counter() - start) * 1e3
        except RuntimeError as error:
            raise failed(f"method {name!r} failed", error) from None

    def outputs(self, name: str) -> list[Any]:
        """Row-major arrays that hold until the next run."""
        tensors = self._methods[name].get_outputs(clone_outputs=False)
        return [tensor.contiguous().numpy() for tensor in tensors]

    def hold(self, name: str) -> None:
        """Load the method; it stays until ``release`` was called as often."""
        self.load(name)
        self._holds[name] = self._holds.get(name, 0) + 1

    def release(self, name: str) -> None:
        self._holds[name] -= 1
        if not self._holds[name]:
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


class LoadedSeries:
    """A series with its methods in memory: run once when made, then its encoders.

    ``on_part`` gets each method's name after its first run, and the times of loading it and of
    that run in ms. ``inputs`` are the files that the first method takes.
    """

    def __init__(
        self,
        program: Program,
        series: Series,
        inputs: list[str],
        on_part: Callable[[str, float, float], None],
    ) -> None:
        self._program = program
        self._parts = [name for name, _ in series]
        self.encoders: dict[str, str] = {}
        """From an encoder to the method that it runs on: the first that names it."""
        for place, (name, encoders) in enumerate(series):
            start = time.perf_counter()
            program.hold(name)
            load_ms = (time.perf_counter() - start) * 1e3
            if place == 0:
                read_inputs(inputs, program.input_views(name))
            on_part(name, load_ms, self._run_part(place))
            for encoder in encoders:
                self.encoders.setdefault(encoder, name)
        for encoder in self.encoders:
            program.hold(encoder)
        self._run_encoders()

    def run(self) -> tuple[list[float], dict[str, float]]:
        """The times in ms: each method's execution alone, each encoder's with handing over."""
        return [self._run_part(place) for place in range(len(self._parts))], self._run_encoders()

    def unload(self) -> None:
        """Free what no other loaded series holds."""
        for name in (*self._parts, *self.encoders):
            self._program.release(name)

    def _run_part(self, place: int) -> float:
        name = self._parts[place]
        if place == 0:
            return self._program.run(name)
        execute_ms, _ = self._program.run_on(name, self._parts[place - 1])
        return execute_ms

    def _run_encoders(self) -> dict[str, float]:
        return {
            encoder: self._program.run_on(encoder, source)[1]
            for encoder, source in self.encoders.items()
        }


def read_inputs(paths: list[str], views: list[Any]) -> None:
    """Fill each input from its file, whose size must be exactly right."""
    for path, view in zip(paths, views, strict=True):
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise Failure(f"cannot open {path}: {error.strerror}") from None
        if len(data) != view.nbytes:
            raise Failure(f"{path} has {len(data)} bytes, the input takes {view.nbytes}")
        view[:] = memoryview(data)


class Rule(NamedTuple):
    """A phase goes on while (runs < min_runs or time < min_s) and time <= max_s."""

    min_runs: int
    min_s: float
    max_s: float


class Bench:
    """The series that are in memory, by id. Every call reports what it did."""

    def __init__(self, program: Program, inputs: list[str], phone: VirtualPhone) -> None:
        self._program = program
        self._inputs = inputs
        self._phone = phone
        self._series: dict[str, LoadedSeries] = {}

    def load(self, series_id: str, series: Series) -> None:
        if series_id in self._series:
            raise Failure(f"a series {series_id!r} is loaded already")
        self._program.check_series(series, len(self._inputs))
        peak_is_of_method = reset_peak_rss()

        def report(name: str, load_ms: float, first_ms: float) -> None:
            emit({"event": "part", "id": series_id, "method": name, "method_load_ms": load_ms,
                  "first_ms": self._phone.stretch(first_ms),
                  "peak_rss_bytes": peak_rss_bytes()})  # fmt: skip

        self._series[series_id] = LoadedSeries(self._program, series, self._inputs, report)
        self._phone.count()
        emit({"event": "ready", "id": series_id, "peak_rss_bytes": peak_rss_bytes(),
              "peak_rss_is_of_method": peak_is_of_method})  # fmt: skip

    def run(self, series_id: str, phase: str, rule: Rule, stop: Callable[[], bool]) -> None:
        series = self._loaded(series_id)
        event = {"event": "sample", "id": series_id, "phase": phase}
        start = time.perf_counter()
        runs = 0
        elapsed_s = 0.0
        while (runs < rule.min_runs or elapsed_s < rule.min_s) and elapsed_s <= rule.max_s:
            part_ms, encoder_ms = series.run()
            # One sleep for the whole run, so that a series of many methods is no slower.
            self._phone.account(sum(part_ms) + sum(encoder_ms.values()))
            ended_s = time.perf_counter()
            elapsed_s = ended_s - start
            at_ms = (ended_s - PROCESS_START_S) * 1e3
            emit({**event, "index": runs, **self._times(part_ms, encoder_ms), "at_ms": at_ms})
            runs += 1
            if stop():
                break
        emit({"event": "ran", "id": series_id, "phase": phase, "runs": runs,
              "elapsed_ms": elapsed_s * 1e3, "peak_rss_bytes": peak_rss_bytes()})  # fmt: skip

    def unload(self, series_id: str) -> None:
        self._loaded(series_id).unload()
        del self._series[series_id]
        emit({"event": "unloaded", "id": series_id})

    def _times(self, part_ms: list[float], encoder_ms: dict[str, float]) -> dict[str, Any]:
        slowdown = self._phone.slowdown
        times: dict[str, Any] = {"latency_ms": [ms * slowdown for ms in part_ms]}
        if slowdown != 1.0:
            times["host_latency_ms"] = part_ms
        if encoder_ms:
            times["encode_ms"] = {name: ms * slowdown for name, ms in encoder_ms.items()}
        return times

    def _loaded(self, series_id: str) -> LoadedSeries:
        if series_id not in self._series:
            raise Failure(f"no series {series_id!r} is loaded")
        return self._series[series_id]


def bench(arguments: argparse.Namespace) -> None:
    if arguments.etdump is not None:
        raise UsageFailure("the Python runner cannot trace: --etdump needs the C++ runner")
    phone = VirtualPhone()
    emit(started("started") | {"executorch": executorch_version()} | place(arguments)
         | {"slowdown": phone.slowdown, "pid": os.getpid()})  # fmt: skip
    warm_up_torch()
    program = Program(arguments.program, arguments.threads)
    emit({"event": "loaded", "load_ms": program.load_ms})
    if arguments.directed:
        direct(Bench(program, arguments.input, phone), Lines(sys.stdin.fileno()))
    else:
        bench_in_turn(program, arguments, phone)


def bench_in_turn(program: Program, arguments: argparse.Namespace, phone: VirtualPhone) -> None:
    """Each series of the command line in turn; its place there is its id."""
    for series in arguments.methods:  # all mistakes before any measurement
        program.check_series(series, len(arguments.input))
    bed = Bench(program, arguments.input, phone)
    warmup = Rule(arguments.warmup_runs, arguments.warmup_s, arguments.max_s)
    measure = Rule(arguments.min_runs, arguments.min_s, arguments.max_s)
    for index, series in enumerate(arguments.methods):
        bed.load(str(index), series)
        bed.run(str(index), "warmup", warmup, lambda: False)
        bed.run(str(index), "measure", measure, lambda: False)
        bed.unload(str(index))


class Lines:
    """Lines of a file descriptor, by blocking for the next or by a look that never waits."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._buffer = b""

    def next(self) -> str | None:
        """The next line; None at a clean end of input."""
        while b"\n" not in self._buffer:
            if len(self._buffer) > MAX_DIRECTION_BYTES:
                raise StreamLost(f"a line is longer than {MAX_DIRECTION_BYTES} bytes")
            data = os.read(self._fd, MAX_DIRECTION_BYTES)
            if not data and self._buffer:
                raise StreamLost("the input ended in the middle of a line")
            if not data:
                return None
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode("ascii", "replace")

    def take_if(self, wanted: bytes) -> bool:
        """Take the next line if it has come and is ``wanted``; leave it otherwise."""
        if b"\n" not in self._buffer and select.select([self._fd], [], [], 0)[0]:
            self._buffer += os.read(self._fd, MAX_DIRECTION_BYTES)
        line, newline, rest = self._buffer.partition(b"\n")
        if not newline or line != wanted:
            return False
        self._buffer = rest
        return True


def direct(bed: Bench, lines: Lines) -> None:
    """Do what the lines say, until ``quit`` or the end of input."""
    while (line := lines.next()) is not None:
        match line.split():
            case ["quit"]:
                return
            case ["stop"]:  # it came when its phase had just ended
                pass
            case ["load", series_id, text]:
                bed.load(word("ID", series_id), parsed(parse_series, text))
            case ["run", series_id, phase, *rule] if len(rule) == 3:
                bed.run(series_id, word("PHASE", phase), parse_rule(rule),
                        lambda: lines.take_if(b"stop"))  # fmt: skip
            case ["unload", series_id]:
                bed.unload(series_id)
            case _:
                raise StreamLost(
                    f"not a direction: {line[:80]!r}; expected: load ID SERIES, "
                    "run ID PHASE MIN_RUNS MIN_S MAX_S, stop, unload ID or quit"
                )


def word(what: str, text: str) -> str:
    if not WORD.fullmatch(text):
        allowed = "at most 64 letters, digits, '_', '.' and '-'"
        raise StreamLost(f"{what} is a word of {allowed}, not {text[:80]!r}")
    return text


def parse_rule(words: list[str]) -> Rule:
    return Rule(parsed(count, words[0]), parsed(seconds, words[1]), parsed(seconds, words[2]))


def parsed(parse: Callable[[str], Any], text: str) -> Any:
    """What ``parse`` makes of a word of a direction; what it does not take is bad usage."""
    try:
        return parse(text)
    except ValueError:
        raise UsageFailure(f"a direction takes a number >= 0, not {text[:80]!r}") from None
    except Failure as failure:
        raise UsageFailure(str(failure)) from None


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
    placed = place(arguments)
    program = Program(arguments.program, arguments.threads)
    emit(started("ready") | placed | {"load_ms": program.load_ms, "slowdown": phone.slowdown})
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
            emit({"id": request_id} | said("error", failure))
            continue
        for view in views:
            read_exactly(stream, view)
        try:
            timing = phone.account(program.run(name))
            last = name
            for last in encoders:
                timing["encode_ms"] = phone.stretch(program.run_on(last, name)[1])
            arrays = program.outputs(last)
        except Failure as failure:
            emit({"id": request_id} | said("error", failure))
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
        program.check_follows(name, encoder)
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


def said(key: str, failure: BaseException) -> dict[str, str]:
    """A failure's message under ``key``, with its cause where it has one."""
    cause = "out_of_memory" if isinstance(failure, MemoryError) else getattr(failure, "cause", "")
    return {key: str(failure) or "out of memory"} | ({"cause": cause} if cause else {})


def place(arguments: argparse.Namespace) -> dict[str, Any]:
    """Hold the process to its cores before any thread starts; what to report of it."""
    report: dict[str, Any] = {"threads": arguments.threads}
    if arguments.core_mask is not None:
        try:
            os.sched_setaffinity(0, arguments.core_mask)
        except OSError:
            there = f"there are {os.cpu_count()} cores"
            mask = format_mask(arguments.core_mask)
            raise UsageFailure(f"no core of the mask {mask} can be used here; {there}") from None
        report["core_mask"] = format_mask(os.sched_getaffinity(0))
    return report


def format_mask(cores: Iterable[int]) -> str:
    return f"{sum(1 << core for core in cores):x}"


def core_mask(text: str) -> set[int]:
    """The cores of a hexadecimal mask as taskset(1) takes it."""
    mask = int(text, 16)
    if mask < 0:
        raise ValueError(text)
    return {core for core in range(mask.bit_length()) if mask >> core & 1}


def several_series(text: str) -> list[Series]:
    try:
        return [parse_series(series) for series in text.split(",")]
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
            chosen[name].add_argument("--core-mask", type=core_mask)
    option = chosen["bench"].add_argument
    what = chosen["bench"].add_mutually_exclusive_group(required=True)
    what.add_argument("--methods", type=several_series)
    what.add_argument("--directed", action="store_true")
    option("--etdump", help=argparse.SUPPRESS)
    option("--input", action="append", default=[])
    option("--warmup-runs", type=count, default=2)
    option("--warmup-s", type=seconds, default=0.0)
    option("--min-runs", type=count, default=5)
    option("--min-s", type=seconds, default=0.5)
    option("--max-s", type=seconds, default=20.0)
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
            emit({"event": "error"} | said("message", failure))
            return 2 if isinstance(failure, UsageFailure) else 1
    except BrokenPipeError:
        # Nobody reads stdout any more; keep the interpreter from flushing into it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
