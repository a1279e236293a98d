"""A model of pieces as a scorer of words: a word's log-probability is the sum of its pieces'.

Texts become texts of pieces, which the scoring engine takes for words; what comes back is added up by word.
Counts are of words, so that they compare with those of models of words.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from models.checkpoint import Checkpoint, ModelCard
from models.scoring.climb import Group, GroupScores
from models.scoring.frontier import Frontier
from models.scoring.scorer import LanguageModelScorer
from models.scoring.tasks import Context, Task, TextScores, TokenScore
from models.vocabulary import Vocabulary, words_of

T = TypeVar("T")


class PieceScorer:
    """The scorer of a model whose vocabulary has a segmenter; `inner` scores texts of pieces."""

    def __init__(self, inner: LanguageModelScorer, vocabulary: Vocabulary) -> None:
        self._inner = inner
        self._vocabulary = vocabulary

    @property
    def name(self) -> str:
        """Short name; becomes the feature's name."""
        return self._inner.name

    @property
    def digest(self) -> str:
        """The model's."""
        return self._inner.digest

    @property
    def card(self) -> ModelCard:
        """What a user should know about the model."""
        return self._inner.card

    @property
    def takes_context(self) -> bool:
        """Whether a text can go on from sentences before it."""
        return self._inner.takes_context

    def score_task(self, texts: Sequence[str], contexts: Sequence[Context] | None = None) -> Task[TextScores]:
        """`score` as a task for `frontier`; contexts as of the scorer of a model of words."""
        cut = [self._vocabulary.pieces_by_word(text) for text in texts]
        inner = self._inner.score_task([_joined(words) for words in cut], self._cut(contexts))
        return _WordScores(inner, cut, self._vocabulary)

    def token_task(
        self, texts: Sequence[str], contexts: Sequence[Context] | None = None
    ) -> Task[list[list[TokenScore]]]:
        """`score_tokens` as a task for `frontier`; contexts as of `score_task`."""
        cut = [self._vocabulary.pieces_by_word(text) for text in texts]
        inner = self._inner.token_task([_joined(words) for words in cut], self._cut(contexts))
        return _WordTokens(inner, cut, texts)

    def _cut(self, contexts: Sequence[Context] | None) -> list[Context] | None:
        cut = self._vocabulary.pieces_by_word
        return (
            None
            if contexts is None
            else [tuple(_joined(cut(text)) for text in context) for context in contexts]
        )

    def frontier(self) -> Frontier:
        """Where tasks of this scorer can be worked on together."""
        return self._inner.frontier()

    def score(self, texts: Sequence[str]) -> TextScores:
        """Scores of `texts`; words are counted, and those with an unknown piece."""
        return self._inner.run(self.score_task(texts))

    def score_tokens(self, texts: Sequence[str]) -> list[list[TokenScore]]:
        """Per text, the score of each word and of ``</s>``; they add up to `score`'s."""
        return self._inner.run(self.token_task(texts))


class _OfPieces(Task[T]):
    """A task about words that is done by one about their pieces."""

    def __init__(self, inner: Task[T], cut: Sequence[Sequence[tuple[str, ...]]]) -> None:
        self._inner, self._cut = inner, cut

    def groups(self) -> Iterator[Group]:
        """The pieces'."""
        return self._inner.groups()

    def keep(self, scores: GroupScores) -> None:
        """The pieces'."""
        self._inner.keep(scores)

    @property
    def words_read(self) -> int:
        """The pieces."""
        return self._inner.words_read

    @property
    def unique_tokens(self) -> int:
        """The pieces'."""
        return self._inner.unique_tokens


class _WordScores(_OfPieces[TextScores]):
    def __init__(
        self, inner: Task[TextScores], cut: Sequence[Sequence[tuple[str, ...]]], vocabulary: Vocabulary
    ) -> None:
        super().__init__(inner, cut)
        self._is_unknown = vocabulary.is_unknown

    def result(self) -> TextScores:
        """Words are counted, and those with an unknown piece."""
        cut = self._cut
        counts = np.fromiter((len(words) + 1 for words in cut), np.int64, len(cut))
        unknown = (sum(any(map(self._is_unknown, word)) for word in words) for words in cut)
        oov_counts = np.fromiter(unknown, np.int64, len(cut))
        return replace(self._inner.result(), token_counts=counts, oov_counts=oov_counts)


class _WordTokens(_OfPieces[list[list[TokenScore]]]):
    def __init__(
        self,
        inner: Task[list[list[TokenScore]]],
        cut: Sequence[Sequence[tuple[str, ...]]],
        texts: Sequence[str],
    ) -> None:
        super().__init__(inner, cut)
        self._texts = texts

    def result(self) -> list[list[TokenScore]]:
        """A word's score is the sum of its pieces'."""
        scored = []
        for text, words, pieces in zip(self._texts, self._cut, self._inner.result(), strict=True):
            of_words, start = [], 0
            for word, parts in zip(words_of(text), words, strict=True):
                own = pieces[start : start + len(parts)]
                start += len(parts)
                total = sum(piece.nat_log_prob for piece in own)
                of_words.append(TokenScore(word, total, any(piece.is_oov for piece in own)))
            scored.append([*of_words, *pieces[start:]])  # </s>
        return scored


def of_pieces(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with its pieces as words: what scores texts of pieces."""
    return replace(checkpoint, vocabulary=replace(checkpoint.vocabulary, segmenter=None, lowercase=False))


def _joined(words: Sequence[tuple[str, ...]]) -> str:
    return " ".join(piece for word in words for piece in word)
