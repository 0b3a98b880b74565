"""Speaks the runner's session protocol without ExecuTorch: `double`, and ways to misbehave."""

import json
import sys


def main() -> None:
    out, inp = sys.stdout.buffer, sys.stdin.buffer

    def say(event: dict) -> None:
        out.write(json.dumps(event).encode() + b"\n")
        out.flush()

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


main()
