"""Any scorer as one that works in steps: of each job an equal share of texts, all in one call.

Language models come with a frontier of their own, which shares prefixes; a scorer that only takes texts has
this one.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import numpy as np

from rescoring.scorer import ScoreArrays
from service.scorers import TokenScorer
from service.scoring.messages import Context

STEP_TEXTS = 1024


class PlainScorer:
    """Gives tasks and a frontier for what only takes texts."""

    takes_context = False

    def __init__(self, scorer: TokenScorer) -> None:
        self._scorer = scorer
        self.digest = scorer.digest

    def score_task(self, texts: Sequence[str], contexts: Sequence[Context] | None = None) -> "PlainTask":
        """Scores of texts; there are no contexts."""
        return PlainTask(texts, self._score)

    def token_task(self, texts: Sequence[str], contexts: Sequence[Context] | None = None) -> "PlainTask":
        """Tokens of texts."""
        return PlainTask(texts, self._scorer.score_tokens)

    def frontier(self) -> "PlainFrontier":
        """Where they are worked on together."""
        return PlainFrontier()

    def _score(self, texts: Sequence[str]) -> list[tuple[float, int, int]]:
        found = self._scorer.score(texts)
        columns = found.nat_log_probs.tolist(), found.token_counts.tolist(), found.oov_counts.tolist()
        return list(zip(*columns, strict=True))


class PlainTask:
    """Texts, each different one once, and what came of those so far."""

    def __init__(self, texts: Sequence[str], call: Callable[[Sequence[str]], Sequence[Any]]) -> None:
        self._texts = texts
        self.call = call
        self.left = list(dict.fromkeys(texts))[::-1]
        self.words_read = self.unique_tokens = 0
        self._answers: dict[str, Any] = {}

    def groups(self) -> "Iterator[PlainTask]":
        """Itself, from the first text on."""
        self.left, self._answers = list(dict.fromkeys(self._texts))[::-1], {}
        yield self

    def keep(self, answers: dict[str, Any]) -> None:
        """What came of some texts."""
        self._answers |= answers
        self.words_read = self.unique_tokens = sum(map(_tokens, self._answers))

    def result(self) -> Any:
        """The tokens; or the scores, as arrays."""
        found = [self._answers[text] for text in self._texts]
        if found and not isinstance(found[0], tuple):
            return found
        columns = list(zip(*found, strict=True)) or [(), (), ()]
        return ScoreArrays(
            np.array(columns[0], dtype=np.float64),
            np.array(columns[1], dtype=np.int64),
            np.array(columns[2], dtype=np.int64),
        )


class PlainFrontier:
    """The tasks of one scorer; a step is a call for each kind of them."""

    def __init__(self) -> None:
        self._works: dict[PlainTask, Callable[[dict[str, Any]], None]] = {}
        self.nodes_read = 0
        self.others_come = False  # all the same: every step is short

    def add(self, groups: Iterator[PlainTask], done: Callable[[Any], None], owner: Hashable) -> PlainTask:
        """Another task."""
        task = next(groups)
        self._works[task] = done
        return task

    def drop(self, task: PlainTask) -> None:
        """Forget a task."""
        del self._works[task]

    def step(self) -> list[PlainTask]:
        """Some texts of every task; those that are complete."""
        most = -(-STEP_TEXTS // max(1, len(self._works)))
        parts = {task: [task.left.pop() for _ in range(min(most, len(task.left)))] for task in self._works}
        for call in {task.call: None for task in parts}:
            asked = {task: texts for task, texts in parts.items() if task.call == call}
            texts = list(dict.fromkeys(text for part in asked.values() for text in part))
            answers = dict(zip(texts, call(texts), strict=True)) if texts else {}
            self.nodes_read += sum(map(_tokens, texts))
            for task, part in asked.items():
                self._works[task]({text: answers[text] for text in part})
        over = [task for task in self._works if not task.left]
        for task in over:
            del self._works[task]
        return over


def _tokens(text: str) -> int:
    return sum(1 for word in text.split(" ") if word) + 1
