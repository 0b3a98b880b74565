"""One server measured: its tails and decoders, and what encoding for it costs here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mobilesplit.cli.children import Child

if TYPE_CHECKING:
    from mobilesplit.client.connection import CloudConnection
    from mobilesplit.client.samples import Photo, Sample
    from mobilesplit.core.manifest import Bundle, BundleCut
    from mobilesplit.core.profiles import CodecCost, DeviceFacts
    from mobilesplit.wire.messages import TailProfile

_SIDE_SAMPLES = 8
"""Samples of the small things: encoding a boundary, decoding a photo."""


def tail_server(bundle: Path, *, wait: bool = False) -> Child:
    """A server for the bundle's tails on a free port of loopback, ending with us.

    ``wait``: it touches the bundle only after `Child.go`.
    """
    arguments = ["serve", str(bundle), "--port", "0", "--json", "--exit-with-parent"]
    arguments += ["--runs", "10"]
    return Child("the server", ["mobilesplit", *arguments, *(["--wait"] if wait else [])])


@dataclass(frozen=True)
class CloudSide:
    """What one server gave."""

    name: str
    """Its name and address."""
    tails: TailProfile
    """Its tails and decoders."""
    codecs: dict[str, dict[str, CodecCost]]
    """By cut and codec, encoded on this computer in place of the phone's app."""


def measure_cloud(
    bundle: Bundle, connection: CloudConnection, sample: Sample, facts: DeviceFacts
) -> CloudSide:
    """The tails' and codecs' times.

    ``connection`` is best without a slow link: only the server's own clock counts.
    """
    tails = connection.tail_profile()
    return CloudSide(
        name=f"{connection.welcome.server} at {connection.url}",
        tails=tails,
        codecs={
            entry.cut.id: _codecs(bundle, entry, connection, tails, sample, facts)
            for entry in bundle.manifest.cuts
        },
    )


def _codecs(
    bundle: Bundle,
    entry: BundleCut,
    connection: CloudConnection,
    tails: TailProfile,
    sample: Sample,
    facts: DeviceFacts,
) -> dict[str, CodecCost]:
    """Bytes, encode and decode samples of every codec that the server takes at a cut."""
    import numpy as np

    from mobilesplit.client.device_side import stretched
    from mobilesplit.client.samples import Photo
    from mobilesplit.core.profiles import CodecCost
    from mobilesplit.wire.codecs import encode, expected_blobs

    boundary, preprocess = entry.cut.boundary, bundle.manifest.preprocess
    costs = {}
    for name in connection.welcome.codecs.get(entry.cut.id, ()):
        if name == "original":
            if isinstance(sample, Photo):
                costs[name] = _original(connection, entry, sample)
            continue
        specs = expected_blobs(name, boundary, preprocess)
        taken = specs if name == "uint8" else boundary
        tensors = tuple(np.zeros(spec.shape, spec.dtype) for spec in taken)
        samples = [
            stretched(
                lambda n=name, t=tensors: encode(n, t, boundary, preprocess),  # type: ignore[misc]
                facts.general_slowdown,
            )[1]
            for _ in range(_SIDE_SAMPLES)
        ]
        costs[name] = CodecCost(
            bytes=sum(spec.nbytes for spec in specs),
            encode_ms=tuple(samples),
            decode_ms=tails.decode_ms[entry.cut.id][name],
        )
    # At `output` nothing is sent; the document asks for a codec all the same.
    return costs or {"raw": CodecCost(bytes=entry.cut.boundary_nbytes)}


def _original(connection: CloudConnection, entry: BundleCut, photo: Photo) -> CodecCost:
    """What this very photo costs the server to decode and prepare, by its own clock."""
    import numpy as np

    from mobilesplit.core.profiles import CodecCost
    from mobilesplit.wire.frames import Blob

    blob = Blob("photo", np.frombuffer(photo.data, np.uint8))
    answers = [
        connection.run_tail(entry.cut.id, "original", (blob,)) for _ in range(_SIDE_SAMPLES + 1)
    ]
    return CodecCost(
        bytes=len(photo.data), decode_ms=tuple(answer.decode_ms for answer in answers[1:])
    )
