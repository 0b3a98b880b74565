"""A server whose tail doubles its input, waits or fails, for the tests of both sides."""

import asyncio
import threading

import numpy as np

from mobilesplit.cloud.server import serve
from mobilesplit.core.cuts import Cut
from mobilesplit.core.manifest import SCHEMA, BundleCut, Manifest
from mobilesplit.core.tensors import TensorSpec
from mobilesplit.wire import messages as m
from mobilesplit.wire.frames import Blob

X = TensorSpec(name="x", dtype="float32", shape=(4,))
PROFILE = m.TailProfile(tail_ms={"input": (1.0,)}, decode_ms={"input": {"raw": (0.1,)}})
TAIL_MS = 0.25
"""What the tail claims to have taken."""
ONES = [Blob("x", np.ones(4, np.float32))]


def make_manifest():
    cuts = tuple(
        BundleCut(
            cut=Cut(id=cut_id, depth=depth, boundary=(X,), head_flops=0, tail_flops=1),
            method=None,
            first_stage=depth,
            max_abs_error=0.0,
        )
        for depth, cut_id in enumerate(("input", "output"))
    )
    return Manifest(
        schema_=SCHEMA,
        model="twice",
        weights="random",
        backend="portable",
        program="p",
        stages=("s",),
        cuts=cuts,
        outputs=(X,),
        golden_input="i",
        golden_output="o",
        tolerance=1.0,
        sha256={},
        versions={},
    )


class TwiceExecutor:
    """What the server uses of a StageExecutor, with a tail that doubles, waits or fails."""

    def __init__(self):
        self.manifest = make_manifest()
        self.codecs = {"input": ("raw", "fp16")}
        self.tail_runs = 0
        self.go = threading.Event()
        self.go.set()
        self.running = threading.Event()

    def boundary(self, cut_id):
        assert cut_id == "input"
        return (X,)

    def run_tail(self, cut_id, arrays):
        self.running.set()
        assert self.go.wait(20)
        if arrays[0][0] < 0:
            raise RuntimeError("negative")
        self.tail_runs += 1
        return (arrays[0] * 2,), TAIL_MS


class RunningServer:
    def __init__(self, limits=None, executor=None):
        self.executor = executor or TwiceExecutor()
        self.limits = limits
        self.stopped = asyncio.Event()
        ready = threading.Event()

        async def run():
            self.loop = asyncio.get_running_loop()

            def on_ready(port):
                self.port = port
                ready.set()

            await serve(
                self.executor,
                profile=PROFILE,
                ready=on_ready,
                limits=self.limits,
                stop=self.stopped,
            )

        self.thread = threading.Thread(target=asyncio.run, args=(run(),))
        self.thread.start()
        assert ready.wait(10)

    def tell_to_stop(self):
        self.loop.call_soon_threadsafe(self.stopped.set)

    def stop(self):
        self.executor.go.set()
        if self.thread.is_alive():
            self.tell_to_stop()
        self.thread.join(20)
        assert not self.thread.is_alive()
