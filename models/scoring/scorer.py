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
from torch import Tensor

from models.checkpoint import Checkpoint, ModelCard
from models.language_model import LanguageModel
from models.layers.lstm import State, concatenate
from models.matrices.base import forbid_materialize
from models.scoring.engine import Engine, Precision, TorchEngine, Walk
from models.scoring.native_engine import NativeEngine, kernels
from models.scoring.normalizer import constant_log_normalizer
from models.scoring.prefix_tree import PrefixTree, build_prefix_tree
from models.vocabulary import words_of
from nbest.errors import ConfigError, ModelFileError

BATCH = 512  # prefixes a step
GROUP_WORDS = 200_000  # words of hypotheses whose prefixes are in one tree
STATE_BYTES = 256 * 1024 * 1024  # of the states of two levels of a tree


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
    precision        `fp32` is exact; `int8` multiplies 8-bit numbers, where the compiled kernels can
    native           whether to use the compiled kernels; unless given, where they are installed
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        name: str,
        *,
        batch: int = BATCH,
        group_words: int = GROUP_WORDS,
        state_bytes: int = STATE_BYTES,
        self_normalized: bool = False,
        precision: Precision = "fp32",
        native: bool | None = None,
    ) -> None:
        self._checkpoint = checkpoint
        self._name = name
        self.batch = batch
        self.group_words = group_words
        model = checkpoint.model
        each = sum(part.nbytes for layers in model.start_state(1) for part in layers)
        self.group_texts = max(1, state_bytes // (2 * each))
        constant: float | None = None
        if self_normalized:
            constant = constant_log_normalizer(checkpoint.card.training, str(checkpoint.path))
        self.engine = _engine(model, constant, precision, native)
        self._digest = checkpoint.digest + ("+self-normalized" if self_normalized else "")
        self._digest += "" if precision == "fp32" else f"+{precision}"

    @property
    def name(self) -> str:
        """Short name; becomes the feature's name."""
        return self._name

    @property
    def digest(self) -> str:
        """``sha256:HEX`` of configuration, weights and vocabulary; and what else scores depend on."""
        return self._digest

    @property
    def card(self) -> ModelCard:
        """What a user should know about the model."""
        return self._checkpoint.card

    def score(self, texts: Sequence[str]) -> TextScores:
        """Scores of `texts`; each distinct text is read once."""
        vocabulary = self._checkpoint.vocabulary
        place: dict[str, int] = {}
        which = np.fromiter((place.setdefault(text, len(place)) for text in texts), np.int64, len(texts))
        encoded = [vocabulary.encode(text) for text in place]
        sums, unique = self._sums([ids for ids, _ in encoded])
        oov = np.fromiter((count for _, count in encoded), dtype=np.int64, count=len(encoded))
        lengths = np.fromiter((len(ids) + 1 for ids, _ in encoded), dtype=np.int64, count=len(encoded))
        totals = sums + oov * vocabulary.nat_oov_charge
        self._check_finite(totals)
        return TextScores(totals[which], lengths[which], oov[which], unique)

    def score_tokens(self, texts: Sequence[str]) -> list[list[TokenScore]]:
        """Per text, the score of each word and of ``</s>``; they add up to `score`'s."""
        vocabulary = self._checkpoint.vocabulary
        encoded = [vocabulary.encode(text)[0] for text in texts]
        scored: list[list[TokenScore]] = []
        for first, last in _groups(encoded, self.group_words, self.group_texts):
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
        for first, last in _groups(encoded, self.group_words, self.group_texts):
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
        walk = self.engine.walk()
        outputs = _Outputs(walk, tree, self._checkpoint.vocabulary.end_id, self.engine.output_rows)
        state: State | None = None
        parent_offset = 0
        with torch.inference_mode(), forbid_materialize():
            for start, stop in zip(tree.levels[:-1], tree.levels[1:], strict=True):
                states = []
                for first in range(start, stop, self.batch):
                    part = slice(first, min(first + self.batch, stop))
                    hidden, after = walk.step(tree.words[part], tree.parents[part] - parent_offset, state)
                    states.append(after)
                    outputs.add(hidden)
                state = concatenate(states)
                parent_offset = start
            outputs.flush()
        return outputs.into, outputs.ends

    def _check_finite(self, totals: NDArray[np.float64]) -> None:
        if not np.isfinite(totals).all():
            raise ModelFileError(
                "the model gave a score that is not finite",
                where=str(self._checkpoint.path),
                expected="finite scores",
            )


def _engine(
    model: LanguageModel, constant: float | None, precision: Precision, native: bool | None
) -> Engine:
    """The fastest engine there is for the model, unless it is said which."""
    if native is None:
        native = kernels() is not None and model.device.type == "cpu"
    if native:
        return NativeEngine(model, constant, precision=precision)
    if precision != "fp32":
        raise ConfigError(f"precision {precision} needs the compiled kernels, nbest-native, and a CPU")
    return TorchEngine(model, constant)


class _Outputs:
    """What follows the nodes of a tree, computed for many of them at once, in the order of the nodes.

    into  (nodes,) ln P(word of node | its parent)
    ends  (nodes,) ln P(</s> | node), where a hypothesis ends
    """

    def __init__(self, walk: Walk, tree: PrefixTree, end_id: int, rows: int) -> None:
        self._walk, self._tree, self._end_id, self._rows = walk, tree, end_id, rows
        self.into, self.ends = np.zeros(len(tree.words)), np.zeros(len(tree.words))
        self._is_end = np.zeros(len(tree.words), dtype=np.bool_)
        self._is_end[tree.last_nodes] = True
        self._held: list[Tensor] = []
        self._first = self._next = 0  # nodes whose outputs are held

    def add(self, hidden: Tensor) -> None:
        """The outputs (N, O) of the next N nodes."""
        if self._next + len(hidden) - self._first > self._rows:
            self.flush()
        self._held.append(hidden)
        self._next += len(hidden)

    def flush(self) -> None:
        """Compute what is held: the words of the nodes' children, and ``</s>`` where a hypothesis ends."""
        if not self._held:
            return
        tree, start, stop = self._tree, self._first, self._next
        first, last = np.searchsorted(tree.parents[1:], [start, stop]) + 1
        children = np.arange(first, last)
        ending = np.flatnonzero(self._is_end[start:stop])
        positions = np.concatenate([tree.parents[children] - start, ending])
        ids = np.concatenate([tree.words[children], np.full(len(ending), self._end_id)])
        hidden = self._held[0] if len(self._held) == 1 else torch.cat(self._held)
        values = self._walk.log_probs(hidden, positions, ids)
        self.into[children] = values[: len(children)]
        self.ends[start + ending] = values[len(children) :]
        self._held, self._first = [], stop


def _groups(encoded: Sequence[Sequence[int]], most_words: int, most_texts: int) -> list[tuple[int, int]]:
    """Ranges of consecutive sequences: at most so many, of so many words together (one may have more)."""
    groups: list[tuple[int, int]] = []
    first, words = 0, 0
    for number, ids in enumerate(encoded):
        if number > first and (words + len(ids) + 1 > most_words or number - first == most_texts):
            groups.append((first, number))
            first, words = number, 0
        words += len(ids) + 1
    if first < len(encoded):
        groups.append((first, len(encoded)))
    return groups
