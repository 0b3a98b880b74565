"""Texts become ids and mask as TextInput says."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from mobilesplit.core.manifest import TextInput
from mobilesplit.wire.texts import MAX_TEXT_NBYTES, TextEncoder, TextError

WORDS = {"[PAD]": 9, "[CLS]": 1, "[SEP]": 2, "[UNK]": 3, "head": 4, "tail": 5}
HOW = TextInput(tokenizer="tokenizer.json", length=6)


def tokenizer(*, pads: bool = True) -> Tokenizer:
    made = Tokenizer(WordLevel(WORDS, unk_token="[UNK]"))
    made.pre_tokenizer = Whitespace()
    made.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    if pads:
        made.enable_padding(pad_id=9, pad_token="[PAD]", length=50)
        made.enable_truncation(40)
    return made


@pytest.fixture
def encoder() -> TextEncoder:
    return TextEncoder(tokenizer().to_str().encode(), HOW)


@pytest.mark.parametrize(
    ("text", "ids", "mask"),
    [
        ("head tail", [1, 4, 5, 2, 9, 9], [1, 1, 1, 1, 0, 0]),
        ("", [1, 2, 9, 9, 9, 9], [1, 1, 0, 0, 0, 0]),
        ("head " * 50, [1, 4, 4, 4, 4, 2], [1, 1, 1, 1, 1, 1]),
        ("head \ud83d tail".encode("utf-16", "surrogatepass").decode("utf-16", "replace"),
         [1, 4, 3, 5, 2, 9], [1, 1, 1, 1, 1, 0]),
    ],
)  # fmt: skip
def test_a_text_is_cut_or_padded_to_the_length_whatever_the_file_says(
    encoder: TextEncoder, text: str, ids: list[int], mask: list[int]
) -> None:
    made = encoder.encode(text)
    assert [array.tolist() for array in made] == [[ids], [mask]]
    assert all(array.dtype == np.int64 and array.shape == (1, 6) for array in made)


def test_a_tokenizer_without_padding_of_its_own_pads_with_0() -> None:
    ids, mask = TextEncoder(tokenizer(pads=False).to_str().encode(), HOW).encode("head")
    assert ids.tolist() == [[1, 4, 2, 0, 0, 0]]
    assert mask.tolist() == [[1, 1, 1, 0, 0, 0]]


def test_what_is_no_tokenizer_or_too_long_a_text_is_refused(encoder: TextEncoder) -> None:
    with pytest.raises(TextError, match="no tokenizer"):
        TextEncoder(b"{}", HOW)
    with pytest.raises(TextError, match="at most"):
        encoder.encode("a" * (MAX_TEXT_NBYTES + 1))
