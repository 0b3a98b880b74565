"""One job end to end: sample, head on the device, boundary over the link, tail in the cloud.

A job ends in one result or one error: whatever goes wrong in the cloud, it is finished on the
device, and the outcome says why.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from mobilesplit.client.connection import CloudConnection
from mobilesplit.client.device_side import stretched
from mobilesplit.client.samples import (
    Photo,
    Sample,
    Tensors,
    input_tensors,
    photo_input,
    photo_pixels,
)
from mobilesplit.core.cuts import INPUT, OUTPUT
from mobilesplit.core.errors import (
    CloudError,
    RefusedError,
    UnknownNameError,
    UsageError,
    WireError,
)
from mobilesplit.core.manifest import BundleCut, Manifest
from mobilesplit.core.results import Array, HeadRunner
from mobilesplit.wire.codecs import codecs_at, encode, from_device
from mobilesplit.wire.frames import Blob
from mobilesplit.wire.messages import bundle_digest

DEFAULT_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class JobOutcome:
    """A finished job. Times in ms; the total leaves adb out, which an app would not have."""

    outputs: tuple[Array, ...]
    """What the model returns."""
    prepare_ms: float = 0.0
    """Photo or text to tensors, on the device's side."""
    head_ms: float = 0.0
    """By the runner's clock; after a fall-back of both heads that ran."""
    encode_ms: float = 0.0
    """Boundary to payload: by the runner's clock where the program has the codec's encoder, else
    here, stretched to the device's speed."""
    network_ms: float = 0.0
    """The way there and back; or what was spent on a cloud that failed."""
    tail_ms: float = 0.0
    """The tail, by the server's clock."""
    cloud_ms: float = 0.0
    """Queue, decoding and tail, by the server's clock."""
    adb_ms: float = 0.0
    """Moving tensors over adb; not in the total."""
    uplink_bytes: int = 0
    """Payload sent."""
    fell_back: str | None = None
    """Why it was finished on the device though a cloud was asked for."""

    @property
    def total_ms(self) -> float:
        """End to end without adb."""
        on_device_ms = self.prepare_ms + self.head_ms + self.encode_ms
        return on_device_ms + self.network_ms + self.cloud_ms


class SplitClient:
    """Runs jobs of one bundle on one device and, where a cut asks for it, one server.

    ``connect`` opens the connection when it is first needed, and again after it was lost; None
    means there is no cloud.
    """

    def __init__(
        self,
        manifest: Manifest,
        heads: HeadRunner,
        connect: Callable[[], CloudConnection] | None,
        *,
        general_slowdown: float = 1.0,
    ) -> None:
        self._manifest = manifest
        self._heads = heads
        self._connect = connect
        self._connection: CloudConnection | None = None
        self._slowdown = general_slowdown

    def close(self) -> None:
        """Close the connection, if any; the device stays open."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> SplitClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(
        self,
        sample: Sample,
        *,
        cut_id: str,
        codec: str,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> JobOutcome:
        """Run one sample at a cut. ``timeout_s`` bounds the wait for the cloud.

        Raises:
            UnknownNameError: no such cut or codec.
            UsageError: the model, or the codec, takes another kind of sample.
            InputFileError: the photo or text cannot be used.
            RunnerError, DeviceGoneError: the device failed (the cloud failing is no error).
        """
        entry = self._manifest.find(cut_id)
        if cut_id == OUTPUT:
            if codec not in ("none", "raw"):
                raise UnknownNameError("codec at output", codec, ("none",))
            return self._on_device(sample, JobOutcome(outputs=()))
        offered = codecs_at(entry, self._manifest.preprocess)
        if codec not in offered:
            raise UnknownNameError(f"codec at {cut_id}", codec, offered)
        if cut_id == INPUT and codec in ("original", "uint8"):
            outcome, boundary = self._payload(sample, codec, JobOutcome(outputs=()))
            tensors = None
        else:
            outcome, tensors = self._prepare(sample, JobOutcome(outputs=()))
            outcome, boundary = self._head(entry, tensors, outcome, codec)
        started_s = time.perf_counter()
        try:
            return self._tail(entry, codec, boundary, outcome, timeout_s)
        except CloudError as error:
            self.close()
            lost_ms = (time.perf_counter() - started_s) * 1e3
            lost = replace(outcome, network_ms=lost_ms, fell_back=str(error))
            return self._on_device(sample, lost, tensors)

    def _head(
        self,
        entry: BundleCut,
        tensors: tuple[Array, ...],
        outcome: JobOutcome,
        codec: str | None = None,
    ) -> tuple[JobOutcome, tuple[Array, ...]]:
        """Run the head, if the cut has one, and the codec's encoder, if the program has one.

        Their times are added to the outcome's.
        """
        if entry.method is None:
            if entry.cut.id != INPUT:
                raise UsageError(
                    f"The bundle has no method for the head of {entry.cut.id}.",
                    next_step="Export it with --format executorch.",
                )
            return outcome, tensors
        encoder = entry.encoders.get(codec) if codec is not None else None
        ran = self._heads.run_head(entry.method, tensors, encoder.method if encoder else None)
        adb_ms = ran.round_trip_ms - ran.head_ms - ran.encode_ms
        return replace(
            outcome,
            head_ms=outcome.head_ms + ran.head_ms,
            encode_ms=outcome.encode_ms + ran.encode_ms,
            adb_ms=outcome.adb_ms + max(0.0, adb_ms),
        ), ran.outputs

    def _tail(
        self,
        entry: BundleCut,
        codec: str,
        boundary: tuple[Array, ...],
        outcome: JobOutcome,
        timeout_s: float,
    ) -> JobOutcome:
        # Kept between jobs, so connecting is no part of a job that succeeds.
        connection = self._cloud()
        outcome, blobs = self._encode(entry, codec, boundary, outcome)
        started_s = time.perf_counter()
        answer = connection.run_tail(entry.cut.id, codec, blobs, timeout_s=timeout_s)
        elapsed_ms = (time.perf_counter() - started_s) * 1e3
        self._check_outputs(answer.outputs)
        cloud_ms = answer.queue_ms + answer.decode_ms + answer.tail_ms
        return replace(
            outcome,
            outputs=answer.outputs,
            network_ms=max(0.0, elapsed_ms - cloud_ms),
            tail_ms=answer.tail_ms,
            cloud_ms=cloud_ms,
            uplink_bytes=sum(blob.array.nbytes for blob in blobs),
        )

    def _encode(
        self, entry: BundleCut, codec: str, boundary: tuple[Array, ...], outcome: JobOutcome
    ) -> tuple[JobOutcome, tuple[Blob, ...]]:
        """The payload; ``boundary`` is what the device has encoded where it could."""
        specs = entry.cut.boundary
        if entry.method is not None and codec in entry.encoders:
            return outcome, from_device(codec, boundary, specs)
        blobs, encode_ms = stretched(
            lambda: encode(codec, boundary, specs, self._manifest.preprocess), self._slowdown
        )
        return replace(outcome, encode_ms=outcome.encode_ms + encode_ms), blobs

    def _check_outputs(self, outputs: tuple[Array, ...]) -> None:
        """Raises WireError unless these are what the model returns."""
        came = [(array.dtype.name, array.shape) for array in outputs]
        wanted = [(spec.dtype, spec.shape) for spec in self._manifest.outputs]
        if came != wanted:
            raise WireError(f"The server answered {came}; the model returns {wanted}.")

    def _payload(
        self, sample: Sample, codec: str, outcome: JobOutcome
    ) -> tuple[JobOutcome, tuple[Array, ...]]:
        """What ``original`` and ``uint8`` send: the file, or its pixels."""
        photo_input(self._manifest)
        if not isinstance(sample, Photo):
            raise UsageError(
                f"the codec {codec} sends a photo, and {sample.name} is none.",
                next_step="Give one with --image, or use the codec raw.",
            )
        if codec == "original":
            return outcome, (np.frombuffer(sample.data, np.uint8),)
        pixels, prepare_ms = stretched(lambda: photo_pixels(sample, self._manifest), self._slowdown)
        return replace(outcome, prepare_ms=prepare_ms), (pixels,)

    def _prepare(self, sample: Sample, outcome: JobOutcome) -> tuple[JobOutcome, tuple[Array, ...]]:
        if isinstance(sample, Tensors):
            return outcome, sample.arrays
        tensors, prepare_ms = stretched(
            lambda: input_tensors(sample, self._manifest), self._slowdown
        )
        return replace(outcome, prepare_ms=outcome.prepare_ms + prepare_ms), tensors

    def _on_device(
        self, sample: Sample, outcome: JobOutcome, tensors: tuple[Array, ...] | None = None
    ) -> JobOutcome:
        """The whole model on the device."""
        if tensors is None:
            outcome, tensors = self._prepare(sample, outcome)
        outcome, outputs = self._head(self._manifest.find(OUTPUT), tensors, outcome)
        return replace(outcome, outputs=outputs)

    def _cloud(self) -> CloudConnection:
        if self._connect is None:
            raise CloudError("no server was given.", next_step="Use --cloud URL.")
        if self._connection is None:
            connection = self._connect()
            if connection.welcome.bundle != bundle_digest(self._manifest):
                connection.close()
                raise RefusedError(
                    f"{connection.url} serves another bundle of {self._manifest.model} than the"
                    " device holds.",
                    next_step="Serve the same bundle.",
                )
            self._connection = connection
        return self._connection
