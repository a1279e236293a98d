"""Perplexity with the exact normaliser, from a cold start per sentence or over running text."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from models.language_model import LanguageModel
from models.scoring.normalizer import log_normalizer
from models.training.corpus import Corpus, StateReset, sentence_batches, stream_batches
from models.training.losses import ChunkedCrossEntropy
from models.training.window import Window
from models.vocabulary import Vocabulary


@dataclass(frozen=True)
class Perplexity:
    """Nats over a corpus.

    predictions   words and ``</s>``, a word of several pieces once; `oov` of them are ``<unk>``
    nats          for all of them, ``<unk>`` scored as one word; `oov_nats` of them for the ``<unk>``
    """

    nats: float
    predictions: int
    oov: int
    nat_oov_charge: float
    oov_nats: float = 0.0

    @property
    def value(self) -> float:
        """exp(nats / predictions), ``<unk>`` scored as one word."""
        return _exp(self.nats / self.predictions)

    @property
    def oov_spread(self) -> float:
        """The same with P(<unk>) spread over unseen types."""
        return _exp(self.charged_nats / self.predictions)

    @property
    def charged_nats(self) -> float:
        """For all of them, P(<unk>) spread over unseen types, as rescoring charges it."""
        return self.nats - self.oov * self.nat_oov_charge

    @property
    def known(self) -> float:
        """Over the words of the vocabulary and ``</s>`` alone; what stands before them may be ``<unk>``."""
        return _exp((self.nats - self.oov_nats) / max(1, self.predictions - self.oov))


def perplexity(
    model: LanguageModel,
    vocabulary: Vocabulary,
    corpus: Corpus,
    state: StateReset,
    *,
    tokens_per_batch: int = 2048,
    columns: int = 1,
) -> Perplexity:
    """Exact perplexity; `stream` reads the corpus as one text with the state carried.

    columns  of running text; more than one is faster, starts each from a cold state and leaves the remainder
             that fills no row out
    """
    loss = ChunkedCrossEntropy(model)
    begins_word = torch.from_numpy(vocabulary.begins_word()).to(model.device)
    known_nats, oov_nats, count, oov = 0.0, 0.0, 0, 0
    for hidden, targets in _outputs(model, vocabulary, corpus, state, tokens_per_batch, columns):
        unknown = targets == vocabulary.unknown_id
        known_nats += loss.nats(hidden[~unknown], targets[~unknown])
        oov_nats += loss.nats(hidden[unknown], targets[unknown])
        count += int(begins_word[targets].sum())
        oov += int(unknown.sum())
    return Perplexity(known_nats + oov_nats, count, oov, vocabulary.nat_oov_charge, oov_nats)


@dataclass(frozen=True)
class NormalizerSpread:
    """How far ln Z is from the constant that NCE held it at, over the positions of a text.

    mean, standard_deviation   of ln Z - constant
    mean_absolute, percentile_99_9   of |ln Z - constant|
    """

    constant: float
    mean: float
    standard_deviation: float
    mean_absolute: float
    percentile_99_9: float

    def as_dict(self) -> dict[str, float]:
        """For a model's card."""
        return asdict(self)


def normalizer_spread(
    model: LanguageModel, vocabulary: Vocabulary, corpus: Corpus, state: StateReset, constant: float
) -> NormalizerSpread:
    """ln Z at every position of the corpus against `constant`."""
    parts = []
    with torch.no_grad():
        for hidden, _ in _outputs(model, vocabulary, corpus, state, 2048, 1):
            prepared = model.prepare_output(hidden)
            parts.append(log_normalizer(model, prepared, len(hidden)).double().cpu().numpy() - constant)
    off = np.concatenate(parts)
    return NormalizerSpread(
        constant,
        float(off.mean()),
        float(off.std()),
        float(np.abs(off).mean()),
        float(np.percentile(np.abs(off), 99.9)),
    )


def _outputs(
    model: LanguageModel,
    vocabulary: Vocabulary,
    corpus: Corpus,
    state: StateReset,
    tokens_per_batch: int,
    columns: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    """(outputs of the last layer (n, H), targets (n,)) at all positions of a corpus, window by window."""
    model.eval()
    if state == "sentence":
        batches = sentence_batches(
            corpus, vocabulary, tokens_per_batch=tokens_per_batch, longest=256, random=None
        )
    else:
        steps = max(1, 512 // columns)
        batches = stream_batches(corpus, vocabulary, columns=columns, steps=steps, random=None)
    lstm_state = model.start_state(1)
    for batch in batches:
        window = Window.of(batch, model.device)
        if window.fresh:
            lstm_state = model.start_state(window.columns)
        with torch.no_grad():
            hidden, lstm_state = model(window.inputs, lstm_state)
        yield window.flat(hidden), window.flat(window.targets)


def _exp(nats: float) -> float:
    return math.exp(nats) if nats < 700 else math.inf
