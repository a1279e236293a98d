"""Perplexity with the exact normaliser, from a cold start per sentence or over running text."""

import math
from dataclasses import dataclass

import torch

from models.language_model import LanguageModel
from models.training.corpus import Batch, Corpus, StateReset, sentence_batches, stream_batches
from models.training.losses import ChunkedCrossEntropy
from models.vocabulary import Vocabulary


@dataclass(frozen=True)
class Perplexity:
    """Nats over a corpus; `predictions` counts words and ``</s>``, `oov` the ``<unk>`` among them."""

    nats: float
    predictions: int
    oov: int
    nat_oov_charge: float

    @property
    def value(self) -> float:
        """exp(nats / predictions), ``<unk>`` scored as one word."""
        return _exp(self.nats / self.predictions)

    @property
    def oov_spread(self) -> float:
        """The same with P(<unk>) spread over unseen types, as rescoring charges it."""
        return _exp((self.nats - self.oov * self.nat_oov_charge) / self.predictions)


def perplexity(
    model: LanguageModel,
    vocabulary: Vocabulary,
    corpus: Corpus,
    state: StateReset,
    tokens_per_batch: int = 2048,
) -> Perplexity:
    """Exact perplexity; `stream` reads the corpus as one text with the state carried."""
    model.eval()
    loss = ChunkedCrossEntropy(model)
    if state == "sentence":
        batches = sentence_batches(
            corpus, vocabulary, tokens_per_batch=tokens_per_batch, longest=256, random=None
        )
    else:
        batches = stream_batches(corpus, vocabulary, columns=1, steps=512, random=None)
    nats = 0.0
    lstm_state = model.start_state(1)
    with torch.no_grad():
        for batch in batches:
            inputs, targets, mask = tensors(batch, model.device)
            if batch.fresh:
                lstm_state = model.start_state(inputs.shape[1])
            hidden, lstm_state = model(inputs, lstm_state)
            nats += loss.nats(hidden[mask], targets[mask])
    return Perplexity(
        nats,
        corpus.predictions,
        int((corpus.tokens == vocabulary.unknown_id).sum()),
        vocabulary.nat_oov_charge,
    )


def tensors(batch: Batch, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Inputs, targets and mask (T, B) on the device."""
    arrays = (batch.inputs, batch.targets, batch.mask)
    inputs, targets, mask = (torch.from_numpy(array).to(device) for array in arrays)
    return inputs, targets, mask


def _exp(nats: float) -> float:
    return math.exp(nats) if nats < 700 else math.inf
