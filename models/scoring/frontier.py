"""Walks the prefix trees of several callers at once: any ready prefixes make a step, to each his share.

    work ─ group ─ group ─ ...   a work is one caller's texts, in groups with a prefix tree each
             │       │
           nodes whose parents are read, and that are not read themselves
             └───┬───┘
               step     at most `batch` nodes, round-robin over the works; states go to rows of a pool
                 │
            log-probs   once enough outputs are held, or a work is read to its end

Works join and leave between steps. Memory: the pool, the outputs held, and the trees of groups in work.
A frontier is for one thread.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.matrices.base import forbid_materialize
from models.scoring.engine import Engine, Ids
from models.scoring.prefix_tree import PrefixTree, build_prefix_tree
from models.scoring.state_pool import START, StatePool

log = logging.getLogger("nbest.scoring")

BATCH = 512  # prefixes a step
MOST_NODES = 500_000  # of the trees of one work that are in memory, beyond its first group


@dataclass(frozen=True)
class Group:
    """Some id sequences of a work.

    members    (G,) what the caller knows them by
    sequences  word ids of each, without ``<s>`` and ``</s>``
    """

    members: Ids
    sequences: Sequence[Sequence[int]]


@dataclass(frozen=True)
class GroupScores:
    """What came of a group.

    into  (nodes,) ln P(word of node | its parent); 0 for the root
    ends  (nodes,) ln P(``</s>`` | node), where a sequence ends; else 0
    """

    members: Ids
    tree: PrefixTree
    into: NDArray[np.float64]
    ends: NDArray[np.float64]

    def sums(self) -> NDArray[np.float64]:
        """(G,) ln P of each sequence with ``</s>``."""
        tree, so_far = self.tree, self.into.copy()
        for start, stop in zip(tree.levels[1:-1], tree.levels[2:], strict=True):
            so_far[start:stop] += so_far[tree.parents[start:stop]]
        return so_far[tree.last_nodes] + self.ends[tree.last_nodes]

    def path(self, node: int) -> list[float]:
        """ln P of each word on the way from the root to `node`, and of ``</s>`` after it."""
        values = [float(self.ends[node])]
        while node:
            values.append(float(self.into[node]))
            node = int(self.tree.parents[node])
        return values[::-1]


@dataclass(eq=False)
class Work:
    """One caller's groups, begun one after another; `done` gets each that is complete, in any order."""

    groups: Iterator[Group]
    done: Callable[[GroupScores], None]
    climbs: "list[_Climb]" = field(default_factory=list)  # groups in work
    waiting: "_Climb | None" = None  # the next group, for which there was no room
    exhausted: bool = False  # whether no further group can come

    @property
    def is_read(self) -> bool:
        """Whether the model has read all its nodes."""
        return self.exhausted and self.waiting is None and all(climb.is_read for climb in self.climbs)


@dataclass(eq=False)
class _Climb:
    """How far a group's tree is read; nodes are read in their order, of one level a step."""

    work: Work
    members: Ids
    tree: PrefixTree

    def __post_init__(self) -> None:
        tree, count = self.tree, len(self.tree.words)
        self.into, self.ends = np.zeros(count), np.zeros(count)
        self.is_end = np.zeros(count, dtype=np.bool_)
        self.is_end[tree.last_nodes] = True
        self.is_inner = np.zeros(count, dtype=np.bool_)  # has a child, so that its state is needed
        self.is_inner[tree.parents[1:]] = True
        inner = np.add.reduceat(self.is_inner, tree.levels[:-1], dtype=np.int64)
        self.need = int((inner + np.append(inner[1:], 0)).max())  # rows of two levels
        self.rows = np.full(count, -1, dtype=np.int64)  # the node's row in the pool
        self.rows[0] = START  # read by the root, which is its own parent
        self.level = self.read = self.computed = 0
        self.is_dropped = False

    @property
    def is_read(self) -> bool:
        """Whether the model has read all its nodes."""
        return self.read == len(self.tree.words)

    def take(self, most: int, begun: int) -> "_Part | None":
        """The next nodes from `begun` on, at most so many, whose parents are read."""
        last = min(begun + most, int(self.tree.levels[self.level + 1])) if not self.is_read else begun
        return _Part(self, begun, last) if last > begun else None


class _Part(NamedTuple):
    """Nodes first:last of a climb."""

    climb: _Climb
    first: int
    last: int


class Frontier:
    """The works of one model and the next nodes of each.

    most_rows  states that may be held, of all works together
    batch      most nodes a step; where a step runs out of memory, half as many from then on
    nodes_read  of all works so far
    """

    def __init__(
        self, engine: Engine, *, start_id: int, end_id: int, most_rows: int, batch: int = BATCH
    ) -> None:
        self.batch, self.output_rows = batch, engine.output_rows
        self._walk = engine.walk()
        self._start_id, self._end_id = start_id, end_id
        self._pool = StatePool(engine.model, most_rows)
        self._works: list[Work] = []
        self._held: list[tuple[Tensor, list[_Part]]] = []  # outputs (N, O), and whose they are
        self._held_rows = 0
        self.nodes_read = 0

    def add(self, groups: Iterator[Group], done: Callable[[GroupScores], None]) -> Work:
        """A new work; it takes part from the next step on."""
        work = Work(groups, done)
        self._works.append(work)
        return work

    def drop(self, work: Work) -> None:
        """Forget a work, between steps: what it has not got yet it will not get."""
        for climb in work.climbs:
            climb.is_dropped = True
            if not climb.is_read:
                self._close(climb)
        self._works = [one for one in self._works if one is not work]

    @property
    def is_idle(self) -> bool:
        """Whether no work is left."""
        return not self._works

    def step(self) -> None:
        """Read the next nodes of the works, at most `batch`; what became complete goes to its work's `done`.

        Raises MemoryError, or torch's, where not even one node can be read in the memory there is.
        """
        with torch.inference_mode(), forbid_materialize():
            parts = self._take()
            while parts:
                parts = self._read(parts)
            if self._held_rows + self.batch > self.output_rows or any(work.is_read for work in self._works):
                self._compute()
        self._works = [work for work in self._works if work.climbs or not work.is_read]
        if self._works:
            self._works.append(self._works.pop(0))  # what equal shares leave over goes to the first

    def _take(self) -> list[_Part]:
        """The nodes of the next step: an equal share for each work, then what is left over."""
        parts: list[_Part] = []
        taken: dict[_Climb, int] = {}  # where the next part of a climb begins
        room = self.batch
        for share in (-(-room // max(1, len(self._works))), room):
            for work in self._works:
                most = min(share, room)
                for climb in self._climbs(work) if most else ():
                    part = climb.take(most, taken.get(climb, climb.read))
                    if part is not None:
                        taken[climb] = part.last
                        parts.append(part)
                        most -= part.last - part.first
                        room -= part.last - part.first
                    if most == 0:
                        break
        return parts

    def _climbs(self, work: Work) -> Iterator[_Climb]:
        """The climbs of a work; a new one at the end, where those do not fill the step."""
        yield from tuple(work.climbs)
        if all(climb.read for climb in work.climbs) and self._begin(work):
            yield work.climbs[-1]

    def _begin(self, work: Work) -> bool:
        """Begin the work's next group, if there is one and room for it."""
        if work.waiting is None and not work.exhausted:
            group = next(work.groups, None)
            if group is None:
                work.exhausted = True
            else:
                work.waiting = _Climb(work, group.members, build_prefix_tree(group.sequences, self._start_id))
        climb = work.waiting
        if climb is None:
            return False
        if work.climbs:
            # A work's further groups leave half of the room to others, who may come yet.
            nodes = sum(len(other.tree.words) for other in (*work.climbs, climb))
            if nodes > MOST_NODES or not self._pool.reserve(climb.need, of=self._pool.most_rows // 2):
                return False
        elif not self._pool.reserve(climb.need, of=self._pool.most_rows):
            return False
        work.climbs.append(climb)
        work.waiting = None
        return True

    def _read(self, parts: list[_Part]) -> list[_Part]:
        """Read nodes, as many as the batch allows; what is left."""
        now, later = _split(parts, self.batch)
        words = np.concatenate([climb.tree.words[first:last] for climb, first, last in now])
        above = np.concatenate([climb.rows[climb.tree.parents[first:last]] for climb, first, last in now])
        inner = np.concatenate([climb.is_inner[first:last] for climb, first, last in now])
        rows = np.full(len(words), -1, dtype=np.int64)
        rows[inner] = self._pool.take(int(inner.sum()))
        try:
            hidden = self._walk.step(words, above, rows, self._pool.state)
        except (RuntimeError, MemoryError) as error:
            self._pool.free(rows[inner])
            self.batch = _half(len(words), "prefixes a step", error)
            return parts
        self.nodes_read += len(words)
        at = 0
        for climb, first, last in now:
            climb.rows[first:last] = rows[at : at + last - first]
            at += last - first
            climb.read = last
            if climb.is_read:
                self._close(climb)
            elif last == climb.tree.levels[climb.level + 1]:
                self._free(
                    climb,
                    int(climb.tree.levels[max(0, climb.level - 1)]),
                    int(climb.tree.levels[climb.level]),
                )
                climb.level += 1
        self._held.append((hidden, now))
        self._held_rows += len(words)
        return later

    def _close(self, climb: _Climb) -> None:
        """Give back what a climb keeps of the pool."""
        self._free(climb, 0, climb.read)
        self._pool.release(climb.need)

    def _free(self, climb: _Climb, first: int, last: int) -> None:
        rows = climb.rows[first:last]
        self._pool.free(rows[rows > START])
        rows[:] = -1

    def _compute(self) -> None:
        """The log-probabilities of what is held: of the words that follow, and of ``</s>`` at ends."""
        if not self._held:
            return
        hidden = self._held[0][0] if len(self._held) == 1 else torch.cat([rows for rows, _ in self._held])
        parts = [part for _, several in self._held for part in several]
        at, where = 0, list[Ids]()
        ids = list[Ids]()
        for climb, first, last in parts:
            tree = climb.tree
            children = slice(*(np.searchsorted(tree.parents[1:], [first, last]) + 1))
            ending = np.flatnonzero(climb.is_end[first:last])
            where += [tree.parents[children] + (at - first), ending + at]
            ids += [tree.words[children], np.full(len(ending), self._end_id)]
            at += last - first
        values = self._log_probs(hidden, np.concatenate(where), np.concatenate(ids))
        at = 0
        for climb, first, last in parts:
            children = slice(*(np.searchsorted(climb.tree.parents[1:], [first, last]) + 1))
            ending = first + np.flatnonzero(climb.is_end[first:last])
            count = children.stop - children.start
            climb.into[children] = values[at : at + count]
            climb.ends[ending] = values[at + count : at + count + len(ending)]
            at += count + len(ending)
            climb.computed += last - first
            if climb.computed == len(climb.tree.words) and not climb.is_dropped:
                climb.work.climbs.remove(climb)
                climb.work.done(GroupScores(climb.members, climb.tree, climb.into, climb.ends))
        self._held, self._held_rows = [], 0

    def _log_probs(self, hidden: Tensor, where: Ids, ids: Ids) -> NDArray[np.float64]:
        """(P,) as an engine's, `output_rows` outputs at a time."""
        values = np.empty(len(ids))
        first = 0
        while first < len(hidden):
            rows = slice(first, min(first + self.output_rows, len(hidden)))
            chosen = np.flatnonzero((where >= rows.start) & (where < rows.stop))
            try:
                values[chosen] = self._walk.log_probs(hidden[rows], where[chosen] - first, ids[chosen])
            except (RuntimeError, MemoryError) as error:
                self.output_rows = _half(rows.stop - rows.start, "outputs at a time", error)
            else:
                first = rows.stop
        return values


def _split(parts: list[_Part], most: int) -> tuple[list[_Part], list[_Part]]:
    """(the first `most` nodes of the parts, the others)."""
    now: list[_Part] = []
    for number, part in enumerate(parts):
        if part.last - part.first > most:
            cut = part._replace(last=part.first + most)
            now += [cut] if most else []
            return now, [part._replace(first=cut.last), *parts[number + 1 :]]
        now.append(part)
        most -= part.last - part.first
    return now, []


def _half(count: int, what: str, error: Exception) -> int:
    """Half of `count`, which took more memory than there is; raises an `error` of any other kind."""
    # CUDA has an exception of its own; the allocator of torch for the CPU says it in words.
    out = isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        words in str(error) for words in ("not enough memory", "can't allocate memory")
    )
    if not out or count == 1:
        raise error
    log.warning("out of memory with %d %s: %d from now on", count, what, count // 2)
    return count // 2
