"""Speaks the runner's session protocol without ExecuTorch: `double`, and ways to misbehave."""

import json
import sys
from collections.abc import Callable
from typing import BinaryIO


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
        elif method == b"claim":
            say({"id": int(request_id), **json.loads(data)})
        elif method == b"mistake":
            say({"id": int(request_id) + 1, "latency_ms": 1.0, "outputs": []})
        elif method == b"babble":
            out.write(b"hello\n")
            out.flush()
        else:
            print("killed by the system", file=sys.stderr)
            sys.exit(9)


def bench(say: Callable[[dict], None], inp: BinaryIO) -> None:
    """The README's directed bench with made-up times, and ways to misbehave."""
    say({"event": "started", "runner": "stand-in"})
    say({"event": "loaded", "load_ms": 0.5})
    loaded: dict[str, list[list[str]]] = {}
    for line in inp:
        verb, *words = line.decode().split()
        if verb == "quit":
            return
        series = words[0]
        if verb == "load":
            loaded[series] = [part.split("+") for part in words[1].split(":")]
            for place, (method, *_) in enumerate(loaded[series], 1):
                part = {"event": "part", "id": series, "method": method, "method_load_ms": 1.0,
                        "first_ms": 20.0, "peak_rss_bytes": 1000 * place}  # fmt: skip
                if method == "lacking":
                    del part["first_ms"]
                say(part | ({"first_ms": "soon"} if method == "wrong" else {}))
            say({"event": "ready", "id": series, "peak_rss_is_of_method": True})
        elif verb == "run":
            phase, count = words[1], int(words[2])
            if phase == "die":
                sys.exit(9)
            parts = loaded[series]
            encoders = [encoder for _, *encoders in parts for encoder in encoders]
            for index in range(count):
                sample = {"event": "sample", "id": series, "phase": phase, "index": index,
                          "latency_ms": [3.0] * len(parts), "at_ms": 6.0 * index}  # fmt: skip
                say(sample | ({"encode_ms": dict.fromkeys(encoders, 0.5)} if encoders else {}))
            say({"event": "ran", "id": series, "phase": phase, "runs": count,
                 "elapsed_ms": 6.0 * count})  # fmt: skip
        elif verb == "unload":
            del loaded[series]
            say({"event": "unloaded", "id": series})


main()
