"""Speaks the runner's session protocol without ExecuTorch: `double`, and ways to misbehave."""

import json
import sys
from collections.abc import Callable
from typing import BinaryIO

ENCODE_MS = {"encode_fp16_4": 0.75, "encode_int8_4": 0.25}


def main() -> None:
    out, inp = sys.stdout.buffer, sys.stdin.buffer

    def say(event: dict) -> None:
        out.write(json.dumps(event).encode() + b"\n")
        out.flush()

    if sys.argv[1] == "bench":
        bench(say, inp)
        return
    if "missing.pte" in sys.argv[3]:
        say({"event": "error", "message": "cannot open missing.pte"})
        print("mobilesplit-runner: cannot open missing.pte", file=sys.stderr)
        sys.exit(1)
    say({"event": "ready", "runner": "stand-in"})
    for line in inp:
        _, request_id, method, nbytes = line.split()
        data = inp.read(int(nbytes))
        if method == b"double":
            answer = {"dtype": "uint8", "shape": [2 * len(data)], "nbytes": 2 * len(data)}
            say({"id": int(request_id), "latency_ms": 1.25, "outputs": [answer]})
            out.write(data + data)
            out.flush()
        elif method == b"double+last":
            say({"id": int(request_id), "latency_ms": 1.25, "encode_ms": 0.5,
                 "outputs": [{"dtype": "uint8", "shape": [1], "nbytes": 1}]})  # fmt: skip
            out.write(data[-1:])
            out.flush()
        elif method == b"refuse":
            say({"id": int(request_id), "error": "no method is called 'refuse'"})
        elif method == b"lie":
            answer = {"dtype": "uint8", "shape": [4], "nbytes": 1 << 40}
            say({"id": int(request_id), "latency_ms": 1.0, "outputs": [answer]})
        elif method == b"mistake":
            say({"id": int(request_id) + 1, "latency_ms": 1.0, "outputs": []})
        elif method == b"babble":
            out.write(b"hello\n")
            out.flush()
        else:
            print("killed by the system", file=sys.stderr)
            sys.exit(9)


def bench(say: Callable[[dict], None], inp: BinaryIO) -> None:
    """The README's events, one warm-up and two samples a method, with made-up times."""
    say({"event": "started", "runner": "stand-in"})
    for choice in sys.argv[sys.argv.index("--methods") + 1].split(","):
        name, *encoders = choice.split("+")
        say({"event": "method", "method": name, "method_load_ms": 1.0, "first_ms": 20.0})
        sample = {"event": "sample", "method": name}
        if encoders:
            sample["encode_ms"] = {encoder: ENCODE_MS[encoder] for encoder in encoders}
        say(sample | {"phase": "warmup", "index": 0, "latency_ms": 9.0})
        say({"event": "waiting", "method": name})
        inp.readline()
        for index in range(2):
            say(sample | {"phase": "measure", "index": index, "latency_ms": 3.0})
        say({"event": "done", "method": name, "runs": 2, "peak_rss_bytes": 1})
        inp.readline()


main()
