"""A job ends in one result: split where the cloud answers, on the device where it does not."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from websockets.sync.server import ServerConnection
from websockets.sync.server import serve as serve_sync

from mobilesplit.client.connection import CloudConnection
from mobilesplit.client.samples import Photo, Tensors
from mobilesplit.client.split_job import SplitClient
from mobilesplit.core.cuts import Cut
from mobilesplit.core.errors import (
    DeviceGoneError,
    InputFileError,
    UnknownNameError,
    UsageError,
)
from mobilesplit.core.manifest import BundleCut, Deviation, Encoder, ImageInput, Manifest
from mobilesplit.core.results import Array, HeadRun
from mobilesplit.core.tensors import TensorSpec
from mobilesplit.wire import messages as m
from tests.twice import RunningServer, TwiceExecutor, X, make_manifest

IMAGE = TensorSpec(name="image", dtype="float32", shape=(1, 3, 2, 2))
SCORES = np.arange(4, dtype=np.float32)


def manifest() -> Manifest:
    """input -> block (boundary X) -> output, taking a photo of 2 x 2."""
    cuts = tuple(
        BundleCut(
            cut=Cut(id=cut_id, depth=n, boundary=(spec,), head_flops=n, tail_flops=2 - n),
            method=method,
            first_stage=n,
            max_abs_error=0.0,
        )
        for n, (cut_id, spec, method) in enumerate(
            (("input", IMAGE, None), ("block", X, "head_block"), ("output", X, "head_output"))
        )
    )
    image_input = ImageInput(
        height=2, width=2, resize_shorter=2, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
    )
    return make_manifest().model_copy(update={"cuts": cuts, "preprocess": image_input})


def photo() -> Photo:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "teal").save(file, "PNG")
    return Photo("teal.png", file.getvalue())


class Phone:
    """A HeadRunner that notes what it ran; its encoder's are the codec fp16's blobs."""

    encoded = np.ones(4, np.float16)

    def __init__(self, *, gone: bool = False) -> None:
        self.ran: list[str] = []
        self._gone = gone

    def run_head(
        self, method: str, inputs: tuple[Array, ...], encoder: str | None = None
    ) -> HeadRun:
        assert [array.shape for array in inputs] == [(1, 3, 2, 2)]
        if self._gone:
            raise DeviceGoneError("the phone left.")
        self.ran.append(method if encoder is None else f"{method}+{encoder}")
        if encoder is not None:
            return HeadRun((self.encoded,), head_ms=5.0, round_trip_ms=8.0, encode_ms=1.0)
        outputs = {"head_block": np.ones(4, np.float32), "head_output": SCORES}
        return HeadRun((outputs[method],), head_ms=5.0, round_trip_ms=7.0)


class BlockExecutor(TwiceExecutor):
    """Doubles at `block`."""

    def __init__(self) -> None:
        super().__init__()
        self.manifest = manifest()
        self.codecs = {"block": ("raw", "fp16")}

    def boundary(self, cut_id: str) -> tuple[TensorSpec, ...]:
        assert cut_id == "block"
        return (X,)


@pytest.fixture
def dying_url() -> Iterator[str]:
    """A server that welcomes everybody and leaves when a job comes."""

    def handle(connection: ServerConnection) -> None:
        connection.recv()
        welcome = m.Welcome(
            server="dying", model="twice", bundle=m.bundle_digest(manifest()),
            codecs={"block": ("raw",)},
            max_message_nbytes=2**20,
        )  # fmt: skip
        connection.send(m.encode_message(welcome))
        connection.recv()
        connection.close_socket()

    with serve_sync(handle, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
        thread.join()


def connect_to(url: str) -> Any:
    return lambda: CloudConnection.open(url, "twice")


def test_a_split_job_runs_its_head_on_the_phone_and_its_tail_in_the_cloud() -> None:
    running = RunningServer(executor=BlockExecutor())
    phone = Phone()
    try:
        with SplitClient(manifest(), phone, connect_to(f"ws://127.0.0.1:{running.port}")) as client:
            outcome = client.run(photo(), cut_id="block", codec="raw")
    finally:
        running.stop()
    assert phone.ran == ["head_block"]
    assert running.executor.tail_runs == 1
    np.testing.assert_array_equal(outcome.outputs[0], [2, 2, 2, 2])
    assert (outcome.head_ms, outcome.adb_ms) == (5.0, 2.0)
    assert outcome.uplink_bytes == X.nbytes
    assert outcome.fell_back is None
    assert outcome.total_ms == pytest.approx(
        outcome.prepare_ms + 5.0 + outcome.encode_ms + outcome.network_ms + outcome.cloud_ms
    )


def with_encoder() -> Manifest:
    """The manifest with an encoder for fp16 at `block`."""
    first, block, last = manifest().cuts
    deviation = Deviation(num_inputs=1, max_abs_error=0.0, snr_db=200.0)
    encoder = Encoder(method="encode_fp16_4", deviation=deviation)
    cuts = (first, block.model_copy(update={"encoders": {"fp16": encoder}}), last)
    return manifest().model_copy(update={"cuts": cuts})


@pytest.mark.parametrize(
    ("codec", "ran", "on_device"),
    [("fp16", "head_block+encode_fp16_4", True), ("raw", "head_block", False)],
)
def test_the_phone_encodes_where_the_program_can(codec: str, ran: str, on_device: bool) -> None:
    executor = BlockExecutor()
    executor.manifest = with_encoder()
    running = RunningServer(executor=executor)
    phone = Phone()
    try:
        connect = connect_to(f"ws://127.0.0.1:{running.port}")
        with SplitClient(executor.manifest, phone, connect) as client:
            outcome = client.run(photo(), cut_id="block", codec=codec)
    finally:
        running.stop()
    assert phone.ran == [ran]
    assert outcome.fell_back is None
    np.testing.assert_array_equal(outcome.outputs[0], [2, 2, 2, 2])
    assert outcome.uplink_bytes == (X.nbytes // 2 if on_device else X.nbytes)
    assert (outcome.head_ms, outcome.adb_ms) == (5.0, 2.0)
    # By the runner's clock there; here it is a copy of four floats.
    assert outcome.encode_ms == 1.0 if on_device else outcome.encode_ms < 1.0
    assert outcome.total_ms == pytest.approx(
        outcome.prepare_ms + 5.0 + outcome.encode_ms + outcome.network_ms + outcome.cloud_ms
    )


def test_a_value_that_the_codec_cannot_carry_is_finished_on_the_phone() -> None:
    executor = BlockExecutor()
    executor.manifest = with_encoder()
    running = RunningServer(executor=executor)
    phone = Phone()
    phone.encoded = np.full(4, np.inf, np.float16)
    try:
        connect = connect_to(f"ws://127.0.0.1:{running.port}")
        with SplitClient(executor.manifest, phone, connect) as client:
            outcome = client.run(photo(), cut_id="block", codec="fp16")
    finally:
        running.stop()
    assert phone.ran == ["head_block+encode_fp16_4", "head_output"]
    assert outcome.fell_back is not None and "does not fit into float16" in outcome.fell_back
    np.testing.assert_array_equal(outcome.outputs[0], SCORES)


def test_the_cut_output_asks_nobody_else() -> None:
    phone = Phone()
    with SplitClient(manifest(), phone, connect=None) as client:
        outcome = client.run(photo(), cut_id="output", codec="none")
    assert phone.ran == ["head_output"]
    assert (outcome.uplink_bytes, outcome.network_ms, outcome.cloud_ms) == (0, 0, 0)


def test_a_server_that_leaves_in_mid_job_leaves_the_job_to_the_phone(dying_url: str) -> None:
    phone = Phone()
    with SplitClient(manifest(), phone, connect_to(dying_url)) as client:
        outcome = client.run(photo(), cut_id="block", codec="raw")
    assert phone.ran == ["head_block", "head_output"]
    np.testing.assert_array_equal(outcome.outputs[0], SCORES)
    assert outcome.fell_back is not None and "was lost" in outcome.fell_back
    # Both heads' time is the job's; the cloud's is lost in the network.
    assert (outcome.head_ms, outcome.adb_ms, outcome.cloud_ms) == (10.0, 4.0, 0.0)
    assert outcome.network_ms > 0


def test_no_server_at_all_and_one_that_refuses_are_the_same_to_the_job() -> None:
    running = RunningServer()  # it has a tail at `input` only
    phone = Phone()
    try:
        for url in ("ws://127.0.0.1:1", f"ws://127.0.0.1:{running.port}"):
            with SplitClient(manifest(), phone, connect_to(url)) as client:
                outcome = client.run(photo(), cut_id="block", codec="raw")
            np.testing.assert_array_equal(outcome.outputs[0], SCORES)
            assert outcome.fell_back
    finally:
        running.stop()


def test_a_server_with_another_bundle_or_other_outputs_is_not_believed() -> None:
    other = BlockExecutor()
    other.manifest = manifest().model_copy(update={"weights": "retrained"})
    liar = BlockExecutor()
    liar.run_tail = lambda cut_id, arrays: ((np.zeros(7, np.float64),), 0.1)  # type: ignore
    for executor, says in ((other, "serves another bundle"), (liar, "the model returns")):
        running = RunningServer(executor=executor)
        phone = Phone()
        try:
            with SplitClient(
                manifest(), phone, connect_to(f"ws://127.0.0.1:{running.port}")
            ) as client:
                outcome = client.run(photo(), cut_id="block", codec="raw")
        finally:
            running.stop()
        assert outcome.fell_back is not None and says in outcome.fell_back
        np.testing.assert_array_equal(outcome.outputs[0], SCORES)


def test_the_next_job_finds_the_server_that_came_back() -> None:
    phone = Phone()
    urls = ["ws://127.0.0.1:1"]
    with SplitClient(manifest(), phone, lambda: CloudConnection.open(urls[0], "twice")) as client:
        assert client.run(photo(), cut_id="block", codec="raw").fell_back
        running = RunningServer(executor=BlockExecutor())
        try:
            urls[0] = f"ws://127.0.0.1:{running.port}"
            assert client.run(photo(), cut_id="block", codec="raw").fell_back is None
        finally:
            running.stop()


def test_a_user_mistake_is_an_error_and_no_reason_to_fall_back() -> None:
    phone = Phone()
    with SplitClient(manifest(), phone, connect_to("ws://127.0.0.1:1")) as client:
        with pytest.raises(UnknownNameError, match="Known: block, input, output"):
            client.run(photo(), cut_id="nowhere", codec="raw")
        with pytest.raises(UnknownNameError, match="No codec"):
            client.run(photo(), cut_id="block", codec="gzip")
        with pytest.raises(InputFileError, match="not a JPEG or PNG"):
            client.run(Photo("notes.txt", b"hello"), cut_id="block", codec="raw")
    assert phone.ran == []


def test_ready_tensors_are_run_as_they_are_but_sent_as_a_photo_by_no_codec() -> None:
    ready = Tensors("the golden input", (np.ones((1, 3, 2, 2), np.float32),))
    phone = Phone()
    with SplitClient(manifest(), phone, connect=None) as client:
        outcome = client.run(ready, cut_id="output", codec="none")
        np.testing.assert_array_equal(outcome.outputs[0], SCORES)
        assert outcome.prepare_ms == 0
        for codec in ("original", "uint8"):
            with pytest.raises(UsageError, match=f"{codec} sends a photo, and the golden input"):
                client.run(ready, cut_id="input", codec=codec)
    assert phone.ran == ["head_output"]


def test_a_phone_that_leaves_is_an_error() -> None:
    with (
        SplitClient(manifest(), Phone(gone=True), connect_to("ws://127.0.0.1:1")) as client,
        pytest.raises(DeviceGoneError),
    ):
        client.run(photo(), cut_id="block", codec="raw")
