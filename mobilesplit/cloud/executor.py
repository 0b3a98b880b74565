"""Runs tails: the bundle's stages, loaded once. The only module of the server that imports torch.

Every method that computes is called from one thread at a time (the server's worker).
"""

from __future__ import annotations

import contextlib
import importlib
import io
import time
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from mobilesplit.core.errors import BundleError
from mobilesplit.core.manifest import Bundle, BundleCut, ImageInput
from mobilesplit.core.results import Array, contiguous
from mobilesplit.core.tensors import TensorSpec
from mobilesplit.wire import codecs, int8
from mobilesplit.wire.messages import TailProfile

_SAMPLE_PHOTO_SIZE = (1280, 960)


def preload() -> None:
    """Import now what torch.export.load would import on its first call, which takes a second."""
    with contextlib.suppress(ImportError):  # a private name: without it, loading is just later
        importlib.import_module("torch._export.serde.serialize")


class StageExecutor:
    """The stages of a bundle, ready to run.

    Args:
        threads: threads of one operator; None leaves torch's default. It holds for the process.

    Raises:
        BundleError: for a stage that torch cannot load.
    """

    def __init__(self, bundle: Bundle, *, threads: int | None = None) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.manifest = bundle.manifest
        self.tail_runs = 0
        """Tails run for jobs; measuring does not count."""
        self._entries = {
            entry.cut.id: entry
            for entry in self.manifest.cuts
            if entry.first_stage < len(self.manifest.stages)
        }
        self._stages = [_load(bundle, name) for name in self.manifest.stages]

    @property
    def codecs(self) -> dict[str, tuple[str, ...]]:
        """The codecs taken at each cut that has a tail, by depth."""
        return {
            cut_id: codecs.codecs_at(entry, self.manifest.preprocess)
            for cut_id, entry in self._entries.items()
        }

    def boundary(self, cut_id: str) -> tuple[TensorSpec, ...]:
        """The tensors that the tail of ``cut_id`` takes."""
        return self._entries[cut_id].cut.boundary

    def run_tail(self, cut_id: str, arrays: Sequence[Array]) -> tuple[tuple[Array, ...], float]:
        """The model's outputs from the boundary at ``cut_id``, and the tail's ms (measured)."""
        started = time.perf_counter()
        entry = self._entries[cut_id]
        tensors = tuple(_tensor(array) for array in int8.floats_of(arrays, entry.scales))
        with torch.inference_mode():
            for stage in self._stages[entry.first_stage :]:
                tensors = _run(stage, tensors)
        outputs = tuple(contiguous(tensor.numpy()) for tensor in tensors)
        self.tail_runs += 1
        return outputs, (time.perf_counter() - started) * 1e3

    def warm_and_measure(
        self, runs: int = 10, *, warm_up_runs: int = 2, pause_s: float = 0.0
    ) -> TailProfile:
        """Samples of every tail and every codec's decoding.

        One pass through all stages measures all tails: a tail's sample is the sum of its stages'
        samples in that pass. ``pause_s`` lies between passes: jobs that arrive alone find caches
        cold, and a tight loop would promise them too much. ``original`` is measured with a
        made-up photo of 1280 x 960; what a real photo took is in each result.
        """
        generator = np.random.default_rng(0)
        first = tuple(_made_up(spec, generator) for spec in self.manifest.cuts[0].cut.boundary)
        passes = []
        for _ in range(warm_up_runs + runs):
            time.sleep(pause_s)
            passes.append(self._time_stages(first))
        del passes[:warm_up_runs]
        return TailProfile(
            tail_ms={
                cut_id: tuple(
                    _time_making_floats(entry, generator) + sum(stages_ms[entry.first_stage :])
                    for stages_ms in passes
                )
                for cut_id, entry in self._entries.items()
            },
            decode_ms={
                cut_id: self._time_decoding(entry, runs, generator)
                for cut_id, entry in self._entries.items()
            },
        )

    def _time_stages(self, arrays: Sequence[Array]) -> list[float]:
        stages_ms = []
        tensors = tuple(_tensor(array) for array in arrays)
        with torch.inference_mode():
            for stage in self._stages:
                started = time.perf_counter()
                tensors = _run(stage, tensors)
                stages_ms.append((time.perf_counter() - started) * 1e3)
        return stages_ms

    def _time_decoding(
        self, entry: BundleCut, runs: int, generator: np.random.Generator
    ) -> dict[str, tuple[float, ...]]:
        boundary, preprocess = entry.cut.boundary, self.manifest.preprocess
        samples_ms = {}
        for codec in codecs.codecs_at(entry, preprocess):
            source = _source(codec, boundary, preprocess, generator)
            blobs = codecs.encode(codec, source, boundary, preprocess)
            codec_ms = []
            for _ in range(runs):
                started = time.perf_counter()
                codecs.decode(codec, blobs, boundary, preprocess)
                codec_ms.append((time.perf_counter() - started) * 1e3)
            samples_ms[codec] = tuple(codec_ms)
        return samples_ms


def _time_making_floats(entry: BundleCut, generator: np.random.Generator) -> float:
    """What an int8 head's tail does before its first stage, in ms; 0 for float heads."""
    if not entry.scales:
        return 0.0
    boundary = tuple(_made_up(spec, generator) for spec in entry.cut.boundary)
    started = time.perf_counter()
    int8.floats_of(boundary, entry.scales)
    return (time.perf_counter() - started) * 1e3


def _load(bundle: Bundle, name: str) -> torch.nn.Module:
    try:
        return torch.export.load(bundle.path(name)).module()
    except Exception as error:
        # torch.export.load fails in as many ways as a file can be wrong.
        raise BundleError(
            f"The stage {name} cannot be loaded: {error}",
            next_step="Export the model again with `mobilesplit export`.",
        ) from error


def _run(stage: torch.nn.Module, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    outputs = stage(*tensors)
    return (outputs,) if isinstance(outputs, torch.Tensor) else tuple(outputs)


def _tensor(array: Array) -> torch.Tensor:
    # What came off the wire is a read-only view; a stage may work in place.
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _made_up(spec: TensorSpec, generator: np.random.Generator) -> Array:
    """Floats as activations are, integers 0, which are valid indices for every model."""
    if spec.dtype.startswith("float"):
        return generator.standard_normal(spec.shape).astype(spec.dtype)
    return np.zeros(spec.shape, spec.dtype)


def _source(
    codec: str,
    boundary: Sequence[TensorSpec],
    preprocess: codecs.Preprocess,
    generator: np.random.Generator,
) -> tuple[Array, ...]:
    if codec == "uint8":
        assert isinstance(preprocess, ImageInput)
        shape = (preprocess.height, preprocess.width, 3)
        return (generator.integers(0, 256, shape, np.uint8),)
    if codec == "original":
        return (np.frombuffer(_made_up_photo(generator), np.uint8),)
    return tuple(_made_up(spec, generator) for spec in boundary)


def _made_up_photo(generator: np.random.Generator) -> bytes:
    # Coarse noise, enlarged: about as many bytes per pixel as a real photo.
    coarse = generator.integers(0, 256, (120, 160, 3), np.uint8)
    photo = Image.fromarray(coarse).resize(_SAMPLE_PHOTO_SIZE, Image.Resampling.BICUBIC)
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=90)
    return file.getvalue()
