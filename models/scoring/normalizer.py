"""ln sum over the vocabulary of exp(logit), a block of words at a time into a reused buffer.

No (N, V) tensor is made: a running maximum and a running sum per hypothesis are all that is kept between
blocks (online log-sum-exp).
"""

import torch
from torch import Tensor

from models.language_model import LanguageModel
from models.matrices.base import Prepared

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
