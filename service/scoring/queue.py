"""One model's jobs: what they will take is estimated, and refused where that is too long."""

import asyncio
import itertools
import time
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from nbest.errors import BusyError
from rescoring.scorer import ScoreArrays
from service.scoring.messages import Context, Opened, Scored, Step, Token
from service.scoring.pool import Job, Pool
from service.together import together

CALLER: ContextVar[str | None] = ContextVar("caller", default=None)  # the name of the request's key
_FIRST_SECONDS_PER_WORD = 1 / 20_000  # before anything was measured
_MEASURED_WORDS = 2000  # what is learnt from fewer is mostly noise
_SMOOTHING = 0.3  # weight of the newest measurement
_PART_WORDS = 8192  # a job is spread over several processes in parts of at least so many

_alone = itertools.count(1)


class QueueObserver(Protocol):
    """Is told what becomes of jobs."""

    def waited(self, seconds: float) -> None:
        """A job is in work, after so long."""

    def abandoned(self) -> None:
        """Nobody waits for a job any more."""


@dataclass(frozen=True)
class Answers:
    """Scores of texts in their order, and how long they took.

    unique_tokens  next-word distributions that were computed: common beginnings once
    """

    scores: ScoreArrays
    unique_tokens: int
    queue_seconds: float
    compute_seconds: float


class ModelQueue:
    """Jobs for one opened model.

    queue_words  words that may be in work; more raise BusyError. A job always fits an empty queue.
    """

    def __init__(self, pool: Pool, opened: Opened, queue_words: int, observer: QueueObserver) -> None:
        self._pool = pool
        self._opened = opened
        self._queue_words = queue_words
        self._observer = observer
        self._seconds_per_word = _FIRST_SECONDS_PER_WORD
        self._measured = [0, 0.0]
        self.words = 0  # of all jobs in work

    async def scores(
        self,
        texts: Sequence[str],
        contexts: Sequence[Context] | None = None,
        *,
        deadline_seconds: float | None = None,
    ) -> Answers:
        """The scores of `texts` (N,), each after its context (N,) where there are any.

        Raises BusyError where the queue is full or the answer would come after the deadline; and as
        Pool.score.
        """
        asked = time.monotonic()
        if not texts:
            nothing = np.zeros(0, dtype=np.int64)
            return Answers(ScoreArrays(np.zeros(0), nothing, nothing), 0, 0.0, 0.0)
        found = await self._ask(texts, contexts, False, deadline_seconds)
        parts = [one.scores for one in found if one.scores is not None]
        began = min(one.began for one in found)
        return Answers(
            ScoreArrays(
                np.concatenate([part.nat_log_probs for part in parts]),
                np.concatenate([part.token_counts for part in parts]),
                np.concatenate([part.oov_counts for part in parts]),
            ),
            sum(one.unique_tokens for one in found),
            began - asked,
            time.monotonic() - began,
        )

    async def tokens(
        self, texts: Sequence[str], contexts: Sequence[Context] | None = None
    ) -> list[Sequence[Token]]:
        """The tokens of each of `texts`; raises as `scores` does."""
        found = await self._ask(texts, contexts, True, None) if texts else []
        return [text for one in found for text in one.tokens or ()]

    def admit(self, words: int, deadline_seconds: float | None) -> None:
        """Raises BusyError where so many words would not fit the queue, or come after the deadline."""
        self._admit(words, self._most_parts(words), _owner(), deadline_seconds)

    def stepped(self, step: Step) -> None:
        """A step of this model: how long its words take is learnt from that."""
        measured = self._measured
        measured[0] += step.words
        measured[1] += step.seconds
        if measured[0] >= _MEASURED_WORDS:
            now = measured[1] / measured[0]
            self._seconds_per_word += _SMOOTHING * (now - self._seconds_per_word)
            self._measured = [0, 0.0]

    async def _ask(
        self,
        texts: Sequence[str],
        contexts: Sequence[Context] | None,
        tokens: bool,
        deadline_seconds: float | None,
    ) -> list[Scored]:
        """What came of the texts, in one part or several."""
        words = count_words(texts, contexts)
        owner = _owner()
        parts = min(self._most_parts(words), len(texts))
        self._admit(words, parts, owner, deadline_seconds)
        jobs = [
            Job(
                self._opened.model,
                texts[part],
                words // parts * self._seconds_per_word,
                contexts and contexts[part],
                tokens,
                owner,
                deadline_seconds,
            )
            for part in _neighbours(len(texts), parts)
        ]
        self.words += words
        asked = time.monotonic()
        try:
            found = await together(*map(self._pool.score, jobs))
        except asyncio.CancelledError:
            self._observer.abandoned()
            raise
        finally:
            self.words -= words
        self._observer.waited(min(one.began for one in found) - asked)
        return found

    def _most_parts(self, words: int) -> int:
        return max(1, min(self._pool.size, words // _PART_WORDS))

    def _admit(self, words: int, parts: int, owner: str, deadline_seconds: float | None) -> None:
        share = words // parts * self._seconds_per_word
        seconds, late = self._pool.wait(
            Job(self._opened.model, (), share, owner=owner, deadline_seconds=deadline_seconds)
        )
        if self.words and self.words + words > self._queue_words:
            raise BusyError("the model's queue is full", retry_after_seconds=seconds)
        if deadline_seconds is not None and late:
            raise BusyError(
                "the answer, or others', would come after the deadline", retry_after_seconds=seconds
            )


def _owner() -> str:
    """Whose share the job that is asked for now is to have."""
    caller = CALLER.get()
    return f"key {caller}" if caller is not None else f"job {next(_alone)}"


def _neighbours(count: int, parts: int) -> Iterator[slice]:
    """Neighbours stay together: they are of one list, and share beginnings."""
    for part in range(parts):
        yield slice(count * part // parts, count * (part + 1) // parts)


def count_words(texts: Sequence[str], contexts: Sequence[Context] | None = None) -> int:
    """What texts cost: the words of different ones, and the ends of sentences; of contexts the same."""
    before = {} if contexts is None else dict.fromkeys(text for context in set(contexts) for text in context)
    return sum(text.count(" ") + 2 for text in (*dict.fromkeys(texts), *before))
