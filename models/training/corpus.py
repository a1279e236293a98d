"""Token ids of a text and the batches that a training run walks through.

Two orders: `stream`, where B columns of running text carry their state from window to window, and
`sentence`, where each sentence starts from the start state. Both depend on (seed, epoch) alone, so a run
can be taken up anywhere.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.vocabulary import Vocabulary
from nbest.errors import ConfigError

StateReset = Literal["sentence", "stream"]


@dataclass(frozen=True)
class Corpus:
    """Token ids of all lines, ``</s>`` not included, and offsets (lines+1,)."""

    tokens: NDArray[np.int32]
    offsets: NDArray[np.int64]

    @classmethod
    def from_lines(cls, vocabulary: Vocabulary, lines: Iterable[str], where: str | None = None) -> "Corpus":
        """Every line is a sentence; empty lines are left out."""
        tokens, offsets = vocabulary.encode_corpus(lines)
        keep = np.concatenate([[True], np.diff(offsets) > 0])
        corpus = cls(tokens, offsets[keep])
        if not len(corpus.tokens):
            raise ConfigError("no word in the text", where=where)
        return corpus

    @property
    def sentences(self) -> int:
        """Number of sentences."""
        return len(self.offsets) - 1

    @property
    def predictions(self) -> int:
        """Number of scored tokens: every word and every ``</s>``."""
        return len(self.tokens) + self.sentences

    def line_of_tokens(self) -> NDArray[np.int64]:
        """(tokens,) index of each token's sentence."""
        return np.repeat(np.arange(self.sentences, dtype=np.int64), np.diff(self.offsets))


@dataclass(frozen=True)
class Batch:
    """Inputs and targets (T, B); `mask` (T, B) is False where a sentence has ended.

    fresh  whether the state before it is the start state; else the one after the batch before
    """

    inputs: NDArray[np.int64]
    targets: NDArray[np.int64]
    mask: NDArray[np.bool_]
    fresh: bool


def sentence_batches(
    corpus: Corpus,
    vocabulary: Vocabulary,
    *,
    tokens_per_batch: int,
    longest: int,
    random: np.random.Generator | None,
) -> Iterator[Batch]:
    """Sentences of like length together, in random order, at most `tokens_per_batch` tokens a batch.

    A sentence of more than `longest` tokens comes in several windows that carry its state.
    Without `random`: by length, for evaluation.
    """
    lengths = np.diff(corpus.offsets) + 1  # </s> counted
    order = np.arange(corpus.sentences) if random is None else random.permutation(corpus.sentences)
    order = order[np.argsort(lengths[order], kind="stable")]
    groups: list[NDArray[np.int64]] = []
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and (stop + 1 - start) * lengths[order[stop]] <= tokens_per_batch:
            stop += 1
        groups.append(order[start:stop])
        start = stop
    turns = range(len(groups)) if random is None else random.permutation(len(groups)).tolist()
    for turn in turns:
        yield from _windows(corpus, vocabulary, groups[turn], longest)


def _windows(
    corpus: Corpus, vocabulary: Vocabulary, sentences: NDArray[np.int64], longest: int
) -> Iterator[Batch]:
    starts, stops = corpus.offsets[sentences], corpus.offsets[sentences + 1]
    steps = int((stops - starts).max()) + 1
    inputs = np.full((steps, len(sentences)), vocabulary.end_id, dtype=np.int64)  # (T, B)
    targets = np.full_like(inputs, vocabulary.end_id)
    mask = np.zeros(inputs.shape, dtype=np.bool_)
    inputs[0] = vocabulary.start_id
    for column, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        words = corpus.tokens[start:stop]
        inputs[1 : len(words) + 1, column] = words
        targets[: len(words), column] = words
        mask[: len(words) + 1, column] = True
    for first in range(0, steps, longest):
        part = slice(first, first + longest)
        yield Batch(inputs[part], targets[part], mask[part], first == 0)


def stream_batches(
    corpus: Corpus, vocabulary: Vocabulary, *, columns: int, steps: int, random: np.random.Generator | None
) -> Iterator[Batch]:
    """Running text in `columns` columns, windows of `steps` tokens; ``</s>`` stands between sentences.

    With `random`, the text is turned by a random offset each epoch, so that windows do not always start at
    the same words. The remainder that fills no column is left out (never in evaluation, where columns is 1).
    """
    ids = np.full(corpus.predictions, vocabulary.end_id, dtype=np.int64)
    ids[np.arange(len(corpus.tokens)) + corpus.line_of_tokens()] = corpus.tokens
    if random is not None:
        ids = np.roll(ids, -int(random.integers(len(ids))))
    columns = min(columns, len(ids))
    length = len(ids) // columns
    targets = ids[: length * columns].reshape(columns, length).T  # (length, B)
    first = np.concatenate([[vocabulary.end_id], targets[-1, :-1]])[None]
    inputs = np.concatenate([first, targets[:-1]])
    for start in range(0, length, steps):
        part = slice(start, start + steps)
        yield Batch(inputs[part], targets[part], np.ones(targets[part].shape, dtype=np.bool_), start == 0)
