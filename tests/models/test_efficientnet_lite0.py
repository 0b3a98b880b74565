"""The demo's model with its real weights (lowering it is end-to-end work)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import Tensor

from mobilesplit.core.manifest import ImageInput
from mobilesplit.segment.cuts import find_cuts
from mobilesplit.segment.fold import fold_batch_norms
from mobilesplit.segment.model_source import LoadedModel, load_model
from mobilesplit.segment.trace import Graph, trace
from mobilesplit.segment.verify import max_abs_error

DAISY = 985


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load_model("efficientnet-lite0")


@pytest.fixture(scope="module")
def graph(loaded: LoadedModel) -> Graph:
    return trace(loaded.module, loaded.example_inputs)


def prepared(pixels: np.ndarray, how: ImageInput) -> Tensor:
    """ImageInput's docstring, line by line."""
    photo = Image.fromarray(pixels)
    scale = how.resize_shorter / min(photo.size)
    photo = photo.resize(
        (round(photo.width * scale), round(photo.height * scale)), Image.Resampling.BICUBIC
    )
    left, top = (photo.width - how.width) // 2, (photo.height - how.height) // 2
    photo = photo.crop((left, top, left + how.width, top + how.height))
    normal = (np.asarray(photo, dtype=np.float32) / 255 - how.mean) / how.std
    return torch.from_numpy(normal.astype(np.float32).transpose(2, 0, 1)[None])


def test_it_recognises_a_daisy(loaded: LoadedModel) -> None:
    assert loaded.preprocess is not None
    image = prepared(load_sample_image("flower.jpg"), loaded.preprocess)
    with torch.no_grad():
        assert int(loaded.module(image).argmax()) == DAISY


def test_its_cuts_lie_between_its_blocks(graph: Graph) -> None:
    cuts = find_cuts(graph, max_cuts=10)
    assert [cut.id for cut in cuts] == [
        "input", "blocks.1", "blocks.3", "blocks.5", "blocks.7", "blocks.9", "blocks.11",
        "blocks.12", "blocks.14", "output",
    ]  # fmt: skip
    assert all(len(cut.boundary) == 1 for cut in cuts)
    assert cuts[6].boundary[0].shape == (1, 192, 7, 7)


def test_its_work_is_what_its_authors_say(graph: Graph) -> None:
    # 407 M multiply-adds in the TensorFlow Lite repository, which counts the norms too.
    assert 2 * 380e6 < graph.total_flops < 2 * 407e6


def test_folding_its_norms_keeps_the_logits(graph: Graph, loaded: LoadedModel) -> None:
    with torch.no_grad():
        expected = loaded.module(*loaded.example_inputs)
    folded = fold_batch_norms(graph)
    assert max_abs_error(folded.run(*loaded.example_inputs), (expected,)) < 1e-4
