"""A model of pieces as a scorer of words: a word's log-probability is the sum of its pieces'.

Texts become texts of pieces, which the scoring engine takes for words; what comes back is added up by word.
Counts are of words, so that they compare with those of models of words.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from models.checkpoint import Checkpoint, ModelCard
from models.scoring.scorer import LanguageModelScorer, TextScores, TokenScore
from models.vocabulary import Vocabulary, words_of


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

    def score(self, texts: Sequence[str]) -> TextScores:
        """Scores of `texts`; words are counted, and those with an unknown piece."""
        cut = [self._vocabulary.pieces_by_word(text) for text in texts]
        scores = self._inner.score([_joined(words) for words in cut])
        counts = np.fromiter((len(words) + 1 for words in cut), np.int64, len(cut))
        is_unknown = self._vocabulary.is_unknown
        unknown = (sum(any(map(is_unknown, word)) for word in words) for words in cut)
        return replace(scores, token_counts=counts, oov_counts=np.fromiter(unknown, np.int64, len(cut)))

    def score_tokens(self, texts: Sequence[str]) -> list[list[TokenScore]]:
        """Per text, the score of each word and of ``</s>``; they add up to `score`'s."""
        cut = [self._vocabulary.pieces_by_word(text) for text in texts]
        scored = []
        for text, words, pieces in zip(
            texts, cut, self._inner.score_tokens([_joined(words) for words in cut]), strict=True
        ):
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


def _joined(words: list[tuple[str, ...]]) -> str:
    return " ".join(piece for word in words for piece in word)
