"""`mobilesplit serve`: the cloud server in the foreground."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from typing import Annotated

import typer

from mobilesplit.cli import options
from mobilesplit.cli.console import stderr

PAUSE_S = 0.1
"""Between two passes through the tails, as between jobs that arrive alone."""


def serve(
    bundle: options.Bundle,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8765,
    threads: Annotated[int, typer.Option(min=1, max=256, help="Threads that a tail may use.")] = 1,
    runs: Annotated[int, typer.Option(min=3, help="Samples of every tail at start.")] = 20,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen beyond loopback without TLS and tokens.")
    ] = False,
    as_json: options.Json = False,
    exit_with_parent: Annotated[bool, typer.Option(hidden=True)] = False,
    wait: Annotated[bool, typer.Option("--wait", hidden=True)] = False,
) -> None:
    """Serve a bundle's tails over a websocket until Ctrl-C.

    At start every tail is warmed and measured. With --json the line that says "ready" is JSON.
    """
    from mobilesplit.cloud.executor import StageExecutor, preload
    from mobilesplit.cloud.server import serve as serve_bundle
    from mobilesplit.export.bundle import load_bundle

    if wait:
        # The bundle may still be in the making: import what loading it will need.
        preload()
        if not os.read(0, 64):
            return  # whoever started us has gone
    loaded = load_bundle(bundle)
    if not as_json:
        stderr.print(f"loading and measuring the tails of {loaded.manifest.model} ...")
    executor = StageExecutor(loaded, threads=threads)
    measured = executor.warm_and_measure(runs, pause_s=PAUSE_S)

    def ready(bound_port: int) -> None:
        url = f"ws://{host}:{bound_port}"
        if as_json:
            print(json.dumps({"event": "ready", "url": url, "port": bound_port}), flush=True)
        else:
            stderr.print(f"serving {loaded.manifest.model} on {url} (Ctrl-C stops)")

    if exit_with_parent:
        threading.Thread(target=_exit_at_end_of_stdin, daemon=True).start()
    asyncio.run(
        serve_bundle(
            executor, host=host, port=port, profile=measured, insecure=insecure, ready=ready
        )
    )


def _exit_at_end_of_stdin() -> None:
    # Not through sys.stdin: its lock, held by this thread, would abort the interpreter's exit.
    while os.read(0, 4096):
        pass
    os._exit(0)
