"""Scores texts as if each had been scored alone from the start state, reading each unique prefix once.

Hypotheses are taken in groups of a bounded number of words; a group's prefix tree is walked level by level,
at most `batch` prefixes a step. Memory: the states of two levels, one block of logits, and the tree.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from models.checkpoint import Checkpoint, ModelCard
from models.layers.lstm import concatenate
from models.matrices.base import forbid_materialize
from models.scoring.normalizer import constant_log_normalizer, log_normalizer
from models.scoring.prefix_tree import PrefixTree, build_prefix_tree
from models.vocabulary import words_of
from nbest.errors import ModelFileError

BATCH = 512  # prefixes a step: the fastest of 128, 256, 512, 1,024 with 256 cells and 7,447 words, one thread
GROUP_WORDS = 200_000  # words of hypotheses whose prefixes are in one tree


@dataclass(frozen=True)
class TextScores:
    """One number per text, in the order of the texts.

    nat_log_probs   (N,) ln P(words and ``</s>``), out-of-vocabulary words charged; float64, finite
    token_counts    (N,) words and ``</s>``
    oov_counts      (N,) out-of-vocabulary words
    unique_tokens   how many next-word distributions were computed for all of them
    """

    nat_log_probs: NDArray[np.float64]
    token_counts: NDArray[np.int64]
    oov_counts: NDArray[np.int64]
    unique_tokens: int


class TokenScore(NamedTuple):
    """One token of a text: a word, or ``</s>``; `nat_log_prob` holds the charge where it is unknown."""

    token: str
    nat_log_prob: float
    is_oov: bool


class LanguageModelScorer:
    """A language model as a scorer of texts.

    self_normalized  take a constant for the normaliser, which only a model trained with NCE allows; raises
                     ConfigError for any other
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        name: str,
        *,
        batch: int = BATCH,
        group_words: int = GROUP_WORDS,
        self_normalized: bool = False,
    ) -> None:
        self._checkpoint = checkpoint
        self._name = name
        self.batch = batch
        self.group_words = group_words
        self._constant: float | None = None
        if self_normalized:
            self._constant = constant_log_normalizer(checkpoint.card.training, str(checkpoint.path))

    @property
    def name(self) -> str:
        """Short name; becomes the feature's name."""
        return self._name

    @property
    def digest(self) -> str:
        """``sha256:HEX`` of configuration, weights and vocabulary; and whether scores are self-normalized."""
        return self._checkpoint.digest + ("" if self._constant is None else "+self-normalized")

    @property
    def card(self) -> ModelCard:
        """What a user should know about the model."""
        return self._checkpoint.card

    def score(self, texts: Sequence[str]) -> TextScores:
        """Scores of `texts`; each distinct text is read once."""
        vocabulary = self._checkpoint.vocabulary
        encoded = [vocabulary.encode(text) for text in texts]
        sums, unique = self._sums([ids for ids, _ in encoded])
        oov = np.fromiter((count for _, count in encoded), dtype=np.int64, count=len(encoded))
        lengths = np.fromiter((len(ids) + 1 for ids, _ in encoded), dtype=np.int64, count=len(encoded))
        totals = sums + oov * vocabulary.nat_oov_charge
        self._check_finite(totals)
        return TextScores(totals, lengths, oov, unique)

    def score_tokens(self, texts: Sequence[str]) -> list[list[TokenScore]]:
        """Per text, the score of each word and of ``</s>``; they add up to `score`'s."""
        vocabulary = self._checkpoint.vocabulary
        encoded = [vocabulary.encode(text)[0] for text in texts]
        scored: list[list[TokenScore]] = []
        for first, last in _groups(encoded, self.group_words):
            tree = build_prefix_tree(encoded[first:last], vocabulary.start_id)
            into, ends = self._walk(tree)
            for text, ids, end in zip(texts[first:last], encoded[first:last], tree.last_nodes, strict=True):
                values, node = [float(ends[end])], int(end)
                while node:
                    values.append(float(into[node]))
                    node = int(tree.parents[node])
                words = [*words_of(text), vocabulary.words[vocabulary.end_id]]
                unknown = [*(word == vocabulary.unknown_id for word in ids), False]
                charge = vocabulary.nat_oov_charge
                scored.append(
                    [
                        TokenScore(word, value + charge * oov, oov)
                        for word, value, oov in zip(words, reversed(values), unknown, strict=True)
                    ]
                )
        return scored

    def _sums(self, encoded: Sequence[Sequence[int]]) -> tuple[NDArray[np.float64], int]:
        """((N,) ln P of each id sequence with ``</s>``, distributions computed)."""
        sums = np.zeros(len(encoded))
        unique = 0
        for first, last in _groups(encoded, self.group_words):
            tree = build_prefix_tree(encoded[first:last], self._checkpoint.vocabulary.start_id)
            into, ends = self._walk(tree)
            so_far = into.copy()
            for start, stop in zip(tree.levels[1:-1], tree.levels[2:], strict=True):
                so_far[start:stop] += so_far[tree.parents[start:stop]]
            sums[first:last] = so_far[tree.last_nodes] + ends[tree.last_nodes]
            unique += len(tree.words)
        return sums, unique

    def _walk(self, tree: PrefixTree) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """((nodes,) ln P(word of node | its parent), (nodes,) ln P(</s> | node))."""
        model = self._checkpoint.model
        nodes = len(tree.words)
        into, ends = np.zeros(nodes), np.zeros(nodes)
        is_end = np.zeros(nodes, dtype=np.bool_)
        is_end[tree.last_nodes] = True
        with torch.inference_mode(), forbid_materialize():
            state = model.start_state(1)
            parent_offset = 0
            for start, stop in zip(tree.levels[:-1], tree.levels[1:], strict=True):
                states = []
                for first in range(start, stop, self.batch):
                    part = slice(first, min(first + self.batch, stop))
                    above = torch.from_numpy(tree.parents[part] - parent_offset).to(model.device)
                    words = torch.from_numpy(tree.words[part]).to(model.device)
                    hidden, after = model.step(words, state.take(above))
                    states.append(after)
                    self._score_step(tree, part, hidden, into, ends, is_end)
                state = concatenate(states)
                parent_offset = start
        return into, ends

    def _score_step(
        self,
        tree: PrefixTree,
        part: slice,
        hidden: torch.Tensor,
        into: NDArray[np.float64],
        ends: NDArray[np.float64],
        is_end: NDArray[np.bool_],
    ) -> None:
        """Fill in what follows the nodes of `part`: their children's words, and ``</s>`` where one ends."""
        model = self._checkpoint.model
        first, last = np.searchsorted(tree.parents[1:], [part.start, part.stop]) + 1
        children = np.arange(first, last)
        ending = np.flatnonzero(is_end[part])
        positions = np.concatenate([tree.parents[children] - part.start, ending])
        ids = np.concatenate([tree.words[children], np.full(len(ending), self._checkpoint.vocabulary.end_id)])
        prepared = model.prepare_output(hidden)
        where = torch.from_numpy(positions).to(model.device)
        logits = model.pairs(prepared, where, torch.from_numpy(ids).to(model.device))
        if self._constant is None:
            normalizer = log_normalizer(model, prepared, len(hidden)).double()[where]
        else:
            normalizer = torch.full_like(logits, self._constant, dtype=torch.float64)
        values = (logits.double() - normalizer).cpu().numpy()
        into[children] = values[: len(children)]
        ends[part.start + ending] = values[len(children) :]

    def _check_finite(self, totals: NDArray[np.float64]) -> None:
        if not np.isfinite(totals).all():
            raise ModelFileError(
                "the model gave a score that is not finite",
                where=str(self._checkpoint.path),
                expected="finite scores",
            )


def _groups(encoded: Sequence[Sequence[int]], group_words: int) -> list[tuple[int, int]]:
    """Ranges of consecutive sequences of at most `group_words` words together (one alone may have more)."""
    groups: list[tuple[int, int]] = []
    first, words = 0, 0
    for number, ids in enumerate(encoded):
        if number > first and words + len(ids) + 1 > group_words:
            groups.append((first, number))
            first, words = number, 0
        words += len(ids) + 1
    if first < len(encoded):
        groups.append((first, len(encoded)))
    return groups
