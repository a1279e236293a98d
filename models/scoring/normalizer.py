"""ln sum over the vocabulary of exp(logit), a block of words at a time; or the constant that NCE held it at.

No (N, V) tensor is made: a running maximum and a running sum per hypothesis are all that is kept between
blocks (online log-sum-exp).
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from models.language_model import LanguageModel
from models.matrices.base import Prepared
from nbest.errors import ConfigError, ModelFileError

BLOCK_WORDS = 2048


def log_normalizer(
    model: LanguageModel, prepared: Prepared, count: int, block_words: int = BLOCK_WORDS
) -> Tensor:
    """(count,) natural logarithm of the sum over all words."""
    top = torch.full((count,), -torch.inf, device=prepared.values.device)
    total = torch.zeros_like(top)
    vocabulary_size = model.config.vocabulary_size
    for start in range(0, vocabulary_size, block_words):
        logits = model.logits(prepared, slice(start, min(start + block_words, vocabulary_size)))  # (N, block)
        new_top = torch.maximum(top, logits.amax(1))
        total.mul_((top - new_top).exp_())
        total.add_(logits.sub_(new_top[:, None]).exp_().sum(1))
        top = new_top
    return top + total.log()


def constant_log_normalizer(training: Mapping[str, Any], where: str) -> float:
    """ln Z of a model trained with NCE, from its card's `training`; no sum over the vocabulary is needed.

    Raises ConfigError for any other model: its ln Z is not constant, and scores without it mean nothing.
    """
    loss = training.get("loss")
    if loss != "nce":
        raise ConfigError(
            "only a model trained with NCE can be scored self-normalized",
            where=where,
            expected="a card that says loss 'nce'",
            got=f"loss {loss!r}" if loss else "a card that says no loss",
        )
    spread = training.get("log_normalizer")
    constant: Any = spread.get("constant") if isinstance(spread, Mapping) else None
    is_number = isinstance(constant, int | float) and not isinstance(constant, bool)
    if not is_number or not math.isfinite(constant):
        raise ModelFileError(
            "the card of a model trained with NCE without its constant",
            where=where,
            expected="a number at /training/log_normalizer/constant",
            got=repr(constant),
        )
    return float(constant)
