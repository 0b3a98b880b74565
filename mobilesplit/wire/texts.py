"""A text becomes the model's inputs, the same on the phone's side and for calibration.

Pure: a tokenizer's file as bytes and a text in, arrays out.

Shapes: ids_1T and mask_1T are int64, T being `TextInput.length`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from mobilesplit.core.manifest import TextInput

Tokens = npt.NDArray[np.int64]

MAX_TEXT_NBYTES = 1024 * 1024


class TextError(ValueError):
    """What is wrong with a tokenizer or a text, without a full stop."""


class TextEncoder:
    """One model's tokenizer, read once.

    Args:
        tokenizer: the file, as the ``tokenizers`` library saves it.

    Raises:
        TextError: it is no such file.
    """

    def __init__(self, tokenizer: bytes, text_input: TextInput) -> None:
        try:
            self._tokenizer = Tokenizer.from_buffer(tokenizer)
        except Exception as error:  # the library raises nothing narrower
            raise TextError(f"no tokenizer of the tokenizers library ({error})") from None
        padding = self._tokenizer.padding or {}
        self._tokenizer.enable_truncation(text_input.length)
        self._tokenizer.enable_padding(
            length=text_input.length,
            pad_id=padding.get("pad_id", 0),
            pad_token=padding.get("pad_token", "[PAD]"),
        )

    def encode(self, text: str) -> tuple[Tokens, Tokens]:
        """``(ids_1T, mask_1T)``, cut or padded to the length; the mask is 1 for tokens.

        Raises:
            TextError: too long to be read.
        """
        if len(text.encode()) > MAX_TEXT_NBYTES:
            raise TextError(f"a text has at most {MAX_TEXT_NBYTES} bytes")
        encoded = self._tokenizer.encode(text)
        return (
            np.array([encoded.ids], np.int64),
            np.array([encoded.attention_mask], np.int64),
        )
