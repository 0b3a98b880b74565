"""Every model of models/: what it says of itself is so, and any of its cuts gives the whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from mobilesplit.core.cuts import Cut
from mobilesplit.segment.cuts import find_cuts
from mobilesplit.segment.model_source import LoadedModel, known_models, load_model, model_facts
from mobilesplit.segment.trace import Graph, trace
from mobilesplit.segment.verify import verify

PUBLISHED_PARAMETERS = {
    # torchvision's documentation of densenet121, resnet50 and vit_b_16.
    "densenet-121": 7_978_856,
    "resnet-50": 25_557_032,
    "vit-base": 86_567_656,
    # torchvision's mobilenet_v2 has 3,504,872; one more class, the background, is 1280 + 1.
    "mobilenet-v2": 3_504_872 + 1281,
    # pytorch-image-models: tf_efficientnet_lite0 4.65 M, regnety_040 20.65 M; to 10,000.
    "efficientnet-lite0": 4_650_000,
    "regnet-y-040": 20_650_000,
    # The model card of all-MiniLM-L6-v2: 22.7 M, with the pooler (384 * 385) that is left out.
    "minilm": 22_700_000 - 384 * 385,
    # No publication has this size. Of a 3x3 convolution i*o*9, of a norm 2*o, of an enlarging
    # one 4*i*o + o, of the classifier 2*32 + 2.
    "unet": (
        sum(9 * (i * o + o * o) + 4 * o for i, o in ((3, 32), (32, 64), (64, 128), (128, 256)))
        + sum(9 * (2 * o * o + o * o) + 4 * o + 8 * o * o + o for o in (128, 64, 32))
        + 2 * 32
        + 2
    ),
}
ROUNDED = {"efficientnet-lite0": 10_000, "regnet-y-040": 10_000, "minilm": 50_000}
SEVERAL_TENSORS = ("densenet-121", "unet")


@dataclass(frozen=True)
class Traced:
    loaded: LoadedModel
    graph: Graph
    cuts: list[Cut]


@pytest.fixture(scope="module", params=sorted(known_models()))
def model(request: pytest.FixtureRequest) -> Iterator[Traced]:
    """One at a time in memory: pytest runs all tests of one before the next."""
    loaded = load_model(request.param)
    graph = trace(loaded.module, loaded.example_inputs)
    yield Traced(loaded, graph, find_cuts(graph))


def test_it_has_the_parameters_that_were_published(model: Traced) -> None:
    name = model.loaded.name
    counted = sum(parameter.numel() for parameter in model.loaded.module.parameters())
    assert counted == model_facts(name).parameters
    assert abs(counted - PUBLISHED_PARAMETERS[name]) <= ROUNDED.get(name, 0) / 2


def test_its_work_is_what_its_file_says(model: Traced) -> None:
    gflop = model_facts(model.loaded.name).gflop
    assert model.graph.total_flops / 1e9 == pytest.approx(gflop, abs=0.005)


def test_its_outputs_are_large_enough_to_tell_a_wrong_one(model: Traced) -> None:
    (output,) = model.graph.run(*model.loaded.example_inputs)
    # Far above what export tolerates (1e-3), far below where rounding alone exceeds it.
    assert 0.03 < float(output.std()) < 10


def test_head_then_tail_is_the_whole_at_every_kept_cut(model: Traced) -> None:
    assert len(model.cuts) >= 3
    assert set(verify(model.graph, model.cuts).values()) == {0.0}


def test_where_connections_are_dense_a_kept_cut_has_several_tensors(model: Traced) -> None:
    if model.loaded.name in SEVERAL_TENSORS:
        assert any(len(cut.boundary) >= 2 for cut in model.cuts[1:-1])


def test_random_weights_have_no_class_names_and_say_so(model: Traced) -> None:
    loaded = model.loaded
    if loaded.weights.startswith("real: "):
        assert loaded.notice is None
    else:
        assert loaded.weights == "random"
        assert loaded.labels is None
        assert loaded.notice is not None and loaded.name in loaded.notice
