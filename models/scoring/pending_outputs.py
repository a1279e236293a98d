"""Outputs of nodes that are read, kept until enough of them are together for their normalisers."""

import logging
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from models.scoring.climb import Climb, Part, Work
from models.scoring.engine import Ids, Walk
from nbest.errors import is_out_of_memory

log = logging.getLogger("nbest.scoring")


class PendingOutputs:
    """Outputs in the order in which they came.

    most_rows  how many are computed at once; where that takes more memory than there is, half as many from
               then on
    """

    def __init__(self, walk: Walk, end_id: int, most_rows: int) -> None:
        self.most_rows = most_rows
        self.rows = 0
        self._walk, self._end_id = walk, end_id
        self._held: list[tuple[Tensor, Part]] = []

    def add(self, hidden: Tensor, parts: Sequence[Part]) -> None:
        """Outputs (N, O) of the nodes of all parts, one after another."""
        at = 0
        for part in parts:
            self._held.append((hidden[at : at + part.nodes], part))
            at += part.nodes
        self.rows += at

    def forget(self, climb: Climb) -> None:
        """Drop what belongs to a climb."""
        self._keep(lambda part: part.climb is not climb)

    def count(self, rows: dict[Work, int]) -> None:
        """Adds to each of these works how many rows are held of it."""
        for _, part in self._held:
            if part.climb.work in rows:
                rows[part.climb.work] += part.nodes

    def compute(self, wanted: Callable[[Part], bool], most: int | None = None) -> list[Climb]:
        """Log-probabilities of the parts wanted, oldest first, about `most` rows; climbs now complete."""
        chosen: list[tuple[Tensor, Part]] = []
        rows = 0
        for hidden, part in self._held:
            if wanted(part) and (most is None or rows < most):
                chosen.append((hidden, part))
                rows += part.nodes
        if not chosen:
            return []
        taken = {id(part) for _, part in chosen}
        self._keep(lambda part: id(part) not in taken)
        of_climb: dict[Climb, list[tuple[Tensor, Part]]] = {}
        for hidden, part in chosen:
            of_climb.setdefault(part.climb, []).append((hidden, part))
        # Nodes are read in their order, and computed in that: those of a climb are one range.
        ranges = [Part(climb, held[0][1].first, held[-1][1].last) for climb, held in of_climb.items()]
        hidden = self._walk.joined([hidden for held in of_climb.values() for hidden, _ in held])
        return self._compute(hidden, ranges)

    def _keep(self, which: Callable[[Part], bool]) -> None:
        self._held = [(hidden, part) for hidden, part in self._held if which(part)]
        self.rows = sum(part.nodes for _, part in self._held)

    def _compute(self, hidden: Tensor, parts: Sequence[Part]) -> list[Climb]:
        """Of the words that follow, and of ``</s>`` at ends."""
        at = 0
        where, ids, ranges = list[Ids](), list[Ids](), list[tuple[slice, Ids]]()
        for climb, first, last in parts:
            tree = climb.tree
            children = slice(*(np.searchsorted(tree.parents[1:], [first, last]) + 1))
            ending = first + np.flatnonzero(climb.is_end[first:last])
            where += [tree.parents[children] + (at - first), ending + (at - first)]
            ids += [tree.words[children], np.full(len(ending), self._end_id)]
            ranges.append((children, ending))
            at += last - first
        values = self._log_probs(hidden, np.concatenate(where), np.concatenate(ids))
        complete, at = [], 0
        for (climb, first, last), (children, ending) in zip(parts, ranges, strict=True):
            middle = at + children.stop - children.start
            climb.into[children] = values[at:middle]
            climb.ends[ending] = values[middle : middle + len(ending)]
            at = middle + len(ending)
            climb.computed += last - first
            if climb.computed == len(climb.tree.words):
                complete.append(climb)
        return complete

    def _log_probs(self, hidden: Tensor, where: Ids, ids: Ids) -> NDArray[np.float64]:
        """(P,) as a walk's, `most_rows` outputs at a time."""
        values = np.empty(len(ids))
        first = 0
        while first < len(hidden):
            rows = slice(first, min(first + self.most_rows, len(hidden)))
            chosen = np.flatnonzero((where >= rows.start) & (where < rows.stop))
            try:
                values[chosen] = self._walk.log_probs(hidden[rows], where[chosen] - first, ids[chosen])
            except (RuntimeError, MemoryError) as error:
                self.most_rows = half(rows.stop - rows.start, "outputs at a time", error)
            else:
                first = rows.stop
        return values


def half(count: int, what: str, error: Exception) -> int:
    """Half of `count`, which took more memory than there is; raises an `error` of any other kind."""
    if not is_out_of_memory(error) or count == 1:
        raise error
    log.warning("out of memory with %d %s: %d from now on", count, what, count // 2)
    return count // 2
