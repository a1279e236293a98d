"""What is asked of a model: scores of texts, or of their tokens; groups for a frontier, then the answer."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.scoring.climb import Group, GroupScores
from models.vocabulary import Sequences, Vocabulary, words_of
from nbest.errors import ConfigError, ModelFileError

T_co = TypeVar("T_co", covariant=True)

Context = tuple[str, ...]  # the sentences before a text


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


class Task(ABC, Generic[T_co]):
    """Texts in work: a frontier takes `groups` and gives `keep` what comes of them; then comes `result`."""

    @abstractmethod
    def groups(self) -> Iterator[Group]:
        """The texts in groups of bounded size, made as they are needed."""

    @abstractmethod
    def keep(self, scores: GroupScores) -> None:
        """What came of one group."""

    @property
    @abstractmethod
    def words_read(self) -> int:
        """Words of what is kept so far, ``</s>`` counted."""

    @property
    @abstractmethod
    def unique_tokens(self) -> int:
        """How many next-word distributions were computed for it."""

    @abstractmethod
    def result(self) -> T_co:
        """The answer, once all groups are kept; raises ModelFileError where a score is not finite."""


@dataclass(frozen=True)
class Limits:
    """Of a group: words of its texts together (one text may have more), and texts."""

    words: int
    texts: int


class _TextTask(Task[T_co]):
    """Texts as groups, and what is counted on the way.

    contexts       (N,) what stands before each text, where that counts; it is read and not scored
    token_counts   (N,) words and ``</s>``
    oov_counts     (N,) out-of-vocabulary words
    """

    def __init__(
        self,
        texts: Sequence[str],
        vocabulary: Vocabulary,
        limits: Limits,
        where: str,
        contexts: Sequence[Context] | None = None,
    ) -> None:
        if contexts is not None and not vocabulary.running:
            raise ConfigError(
                "the model has learnt from single sentences", where=where, expected="texts without context"
            )
        self.texts, self.vocabulary, self._contexts = texts, vocabulary, contexts
        self.token_counts = np.zeros(len(texts), dtype=np.int64)
        self.oov_counts = np.zeros(len(texts), dtype=np.int64)
        self._unique_tokens = self._words_read = 0
        self._limits, self._where = limits, where

    def groups(self) -> Iterator[Group]:
        """The texts in alphabetic order, so that common beginnings meet; from the first again each time."""
        self._unique_tokens = self._words_read = 0
        members: list[int] = []
        words = 0
        before: Context = ()
        contexts = self._contexts
        order = self.texts if contexts is None else list(zip(contexts, self.texts, strict=True))
        for member in sorted(range(len(order)), key=order.__getitem__):
            more = self.texts[member].count(" ") + 2  # at most, with </s>
            if self._contexts is not None and (self._contexts[member] != before or not members):
                before = self._contexts[member]
                more += sum(sentence.count(" ") + 2 for sentence in before)
            if members and (words + more > self._limits.words or len(members) == self._limits.texts):
                yield self._group(members)
                members, words = [], 0
            members.append(member)
            words += more
        if members:
            yield self._group(members)

    def keep(self, scores: GroupScores) -> None:
        """As of every task."""
        self._unique_tokens += len(scores.tree.words)
        self._words_read += int(self.token_counts[scores.members].sum())

    @property
    def words_read(self) -> int:
        """As of every task."""
        return self._words_read

    @property
    def unique_tokens(self) -> int:
        """As of every task."""
        return self._unique_tokens

    def _group(self, members: Sequence[int]) -> Group:
        encoded = self.vocabulary.encode_all([self.texts[member] for member in members])
        which = np.asarray(members, dtype=np.int64)
        self.token_counts[which] = encoded.ids.lengths + 1
        self.oov_counts[which] = encoded.oov_counts
        if self._contexts is None:
            return Group(which, encoded.ids)
        place: dict[Context, int] = {}
        heads = [place.setdefault(self._contexts[member], len(place)) for member in members]
        encode, end = self.vocabulary.encode, self.vocabulary.end_id
        read = [[word for text in context for word in (*encode(text)[0], end)] for context in place]
        whole = [read[head] + own for head, own in zip(heads, encoded.ids.tolist(), strict=True)]
        return Group(which, Sequences.of(whole + read), len(members) + np.asarray(heads, dtype=np.int64))

    def _check_finite(self, values: NDArray[np.float64]) -> None:
        if not np.isfinite(values).all():
            raise ModelFileError(
                "the model gave a score that is not finite", where=self._where, expected="finite scores"
            )


class ScoreTask(_TextTask[TextScores]):
    """The scores of texts; each distinct one is read once."""

    def __init__(
        self,
        texts: Sequence[str],
        vocabulary: Vocabulary,
        limits: Limits,
        where: str,
        contexts: Sequence[Context] | None = None,
    ) -> None:
        place: dict[tuple[Context, str], int] = {}
        keys = zip(repeat(()) if contexts is None else contexts, texts, strict=contexts is not None)
        self._which = np.fromiter((place.setdefault(key, len(place)) for key in keys), np.int64, len(texts))
        different = None if contexts is None else [context for context, _ in place]
        super().__init__([text for _, text in place], vocabulary, limits, where, different)
        self._sums = np.zeros(len(place))

    def keep(self, scores: GroupScores) -> None:
        """As of every task."""
        super().keep(scores)
        self._sums[scores.members] = scores.sums()

    def result(self) -> TextScores:
        """As of every task."""
        totals = self._sums + self.oov_counts * self.vocabulary.nat_oov_charge
        self._check_finite(totals)
        which = self._which
        return TextScores(totals[which], self.token_counts[which], self.oov_counts[which], self.unique_tokens)


class TokenTask(_TextTask[list[list[TokenScore]]]):
    """Per text, the score of each word and of ``</s>``."""

    def __init__(
        self,
        texts: Sequence[str],
        vocabulary: Vocabulary,
        limits: Limits,
        where: str,
        contexts: Sequence[Context] | None = None,
    ) -> None:
        super().__init__(texts, vocabulary, limits, where, contexts)
        self._values: list[list[float]] = [[] for _ in texts]

    def keep(self, scores: GroupScores) -> None:
        """As of every task."""
        super().keep(scores)
        for member, values in zip(scores.members, scores.paths(), strict=True):
            self._values[member] = values

    def result(self) -> list[list[TokenScore]]:
        """As of every task."""
        vocabulary, charge = self.vocabulary, self.vocabulary.nat_oov_charge
        scored: list[list[TokenScore]] = []
        for text, values in zip(self.texts, self._values, strict=True):
            self._check_finite(np.asarray(values))
            words = [*words_of(text), vocabulary.words[vocabulary.end_id]]
            unknown = [*(word == vocabulary.unknown_id for word in vocabulary.encode(text)[0]), False]
            scored.append(
                [
                    TokenScore(word, value + charge * oov, oov)
                    for word, value, oov in zip(words, values, unknown, strict=True)
                ]
            )
        return scored
