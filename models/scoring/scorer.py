"""Scores texts as if each had been scored alone from the start state, reading each unique prefix once.

Texts are taken in groups of a bounded number of words; several groups' prefix trees are walked at a time.
Memory: the states of the prefixes in work, one block of logits, and the trees.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.checkpoint import Checkpoint, ModelCard
from models.language_model import LanguageModel
from models.scoring.climb import Group, GroupScores
from models.scoring.engine import Engine, Precision, TorchEngine
from models.scoring.frontier import BATCH, Frontier
from models.scoring.native_engine import NativeEngine, kernels
from models.scoring.normalizer import constant_log_normalizer
from models.vocabulary import Vocabulary, words_of
from nbest.errors import ConfigError, ModelFileError, ScoringCancelledError

GROUP_WORDS = 20_000  # words of hypotheses whose prefixes are in one tree
STATE_BYTES = 256 * 1024 * 1024  # of the states of all prefixes in work
GROUPS_IN_STATES = 16  # a group may take an eighth of the states: those of two levels, a text a level


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
        self.state_rows = state_bytes // each
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

    def score(self, texts: Sequence[str], cancelled: Callable[[], bool] | None = None) -> TextScores:
        """Scores of `texts`; each distinct text is read once.

        Raises ScoringCancelledError when `cancelled` says so; it is asked between steps.
        """
        place: dict[str, int] = {}
        which = np.fromiter((place.setdefault(text, len(place)) for text in texts), np.int64, len(texts))
        sums = np.zeros(len(place))

        def keep(scores: GroupScores) -> None:
            sums[scores.members] = scores.sums()

        reading = self._read(list(place), keep, cancelled)
        totals = sums + reading.oov_counts * self._checkpoint.vocabulary.nat_oov_charge
        self._check_finite(totals)
        lengths = reading.token_counts[which]
        return TextScores(totals[which], lengths, reading.oov_counts[which], reading.unique_tokens)

    def score_tokens(self, texts: Sequence[str]) -> list[list[TokenScore]]:
        """Per text, the score of each word and of ``</s>``; they add up to `score`'s."""
        vocabulary = self._checkpoint.vocabulary
        values: list[list[float]] = [[] for _ in texts]

        def keep(scores: GroupScores) -> None:
            for member, end in zip(scores.members, scores.tree.last_nodes, strict=True):
                values[member] = scores.path(int(end))

        self._read(texts, keep)
        scored: list[list[TokenScore]] = []
        for text, found in zip(texts, values, strict=True):
            words = [*words_of(text), vocabulary.words[vocabulary.end_id]]
            unknown = [*(word == vocabulary.unknown_id for word in vocabulary.encode(text)[0]), False]
            charge = vocabulary.nat_oov_charge
            scored.append(
                [
                    TokenScore(word, value + charge * oov, oov)
                    for word, value, oov in zip(words, found, unknown, strict=True)
                ]
            )
        return scored

    def _read(
        self,
        texts: Sequence[str],
        keep: Callable[[GroupScores], None],
        cancelled: Callable[[], bool] | None = None,
    ) -> "_Reading":
        """Read all texts; `keep` gets what comes of them, group by group, members counted as in `texts`."""
        vocabulary = self._checkpoint.vocabulary
        reading = _Reading(texts, vocabulary, self.group_words, max(1, self.state_rows // GROUPS_IN_STATES))
        frontier = Frontier(
            self.engine,
            start_id=vocabulary.start_id,
            end_id=vocabulary.end_id,
            most_rows=self.state_rows,
            batch=self.batch,
        )
        frontier.add(reading.groups(), keep)
        while not frontier.is_idle:
            if cancelled is not None and cancelled():
                raise ScoringCancelledError("scoring was cancelled")
            frontier.step()
        reading.unique_tokens = frontier.nodes_read
        return reading

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


class _Reading:
    """Texts as groups of id sequences, made as they are needed; and what is counted on the way.

    token_counts   (N,) words and ``</s>``, of texts whose group was made
    oov_counts     (N,) out-of-vocabulary words, of the same
    unique_tokens  how many next-word distributions were computed
    """

    def __init__(
        self, texts: Sequence[str], vocabulary: Vocabulary, most_words: int, most_texts: int
    ) -> None:
        self.token_counts = np.zeros(len(texts), dtype=np.int64)
        self.oov_counts = np.zeros(len(texts), dtype=np.int64)
        self.unique_tokens = 0
        self._texts, self._vocabulary = texts, vocabulary
        self._most_words, self._most_texts = most_words, most_texts

    def groups(self) -> Iterator[Group]:
        """The texts in alphabetic order, so that common beginnings meet, in groups of bounded size."""
        members: list[int] = []
        words = 0
        for member in sorted(range(len(self._texts)), key=self._texts.__getitem__):
            more = self._texts[member].count(" ") + 2  # at most, with </s>
            if members and (words + more > self._most_words or len(members) == self._most_texts):
                yield self._group(members)
                members, words = [], 0
            members.append(member)
            words += more
        if members:
            yield self._group(members)

    def _group(self, members: Sequence[int]) -> Group:
        encoded = [self._vocabulary.encode(self._texts[member]) for member in members]
        which = np.asarray(members, dtype=np.int64)
        self.token_counts[which] = [len(ids) + 1 for ids, _ in encoded]
        self.oov_counts[which] = [count for _, count in encoded]
        return Group(which, [ids for ids, _ in encoded])
