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

from collections.abc import Callable, Hashable, Iterator
from functools import partial

import numpy as np
import torch

from models.matrices.base import forbid_materialize
from models.scoring.climb import Climb, Group, GroupScores, Part, Work, split
from models.scoring.engine import Engine
from models.scoring.pending_outputs import PendingOutputs, half
from models.scoring.prefix_tree import build_prefix_tree
from models.scoring.state_pool import START, StatePool
from nbest.errors import is_out_of_memory

BATCH = 512  # prefixes a step
SHARED_NODES = 16  # that one work may read in a step however few nodes the others have
SHARED_ROWS = 384  # outputs computed after a step, where there are several works, or may be;
WORKS_FOR_ROWS = 4  # as many again for each further four works, each of which waits for all others anyway
SHARED_HELD = 4  # times as many outputs may be held where there are several works
LINGER_STEPS = 3  # so long fewer outputs than that wait for those of others; a step more for each four works
MOST_NODES = 500_000  # of the trees of one work that are in memory, beyond its first group


# Appends nodes of some works to the parts, at most so many, and says how many.
Taker = tuple[Callable[[int, list[Part]], int], list[Work]]


class Frontier:
    """The works of one model and the next nodes of each.

    most_rows  states that may be held, of all works together
    batch      most nodes a step; where a step runs out of memory, half as many from then on
    """

    def __init__(
        self, engine: Engine, *, start_id: int, end_id: int, most_rows: int, batch: int = BATCH
    ) -> None:
        self.batch = batch
        self._walk = engine.walk()
        self._start_id = start_id
        self._pending = PendingOutputs(self._walk, end_id, engine.output_rows)
        self._pool = StatePool(engine.model, most_rows)
        self._works: list[Work] = []
        self.others_come = False  # between steps: then they are short even for one work alone
        self._lingered = 0  # steps that outputs of works that are read have waited
        self.nodes_read = 0  # so far, of all works

    def add(
        self, groups: Iterator[Group], done: Callable[[GroupScores], None], owner: Hashable = None
    ) -> Work:
        """A new work; it takes part from the next step on.

        owner  whose it is: the works of one owner have one share together; None: an owner of its own
        """
        work = Work(groups, done, owner)
        self._works.append(work)
        return work

    def drop(self, work: Work) -> None:
        """Forget a work, between steps: what it has not got yet it will not get."""
        for climb in work.climbs:
            self._pending.forget(climb)
            if not climb.is_read:
                self._close(climb)
        self._works = [one for one in self._works if one is not work]

    @property
    def is_idle(self) -> bool:
        """Whether no work is left."""
        return not self._works

    def step(self) -> list[Work]:
        """Read the next nodes of the works, at most `batch`; the works that this completed.

        What came of a group that is complete goes to its work's `done`, before the step ends.
        Raises MemoryError, or torch's, where not even one node can be read in the memory there is.
        """
        with torch.inference_mode(), forbid_materialize():
            parts = self._take()
            while parts:
                parts = self._read(parts)
            pending = self._pending
            complete = self._compute_of_read()
            # The outputs of one do not hold up what others wait for: they wait longer, and come in parts.
            most = pending.most_rows * (SHARED_HELD if len(self._works) > 1 else 1)
            if pending.rows + self.batch > most:
                complete += pending.compute(lambda _: True, self._rows if self._is_shared else None)
        for climb in complete:
            climb.work.climbs.remove(climb)
            climb.work.done(climb.scores())
        over = [work for work in self._works if work.is_read and not work.climbs]
        self._works = [work for work in self._works if work not in over]
        if self._works:
            self._works.append(self._works.pop(0))  # what equal shares leave over goes to the first
        return over

    def _compute_of_read(self) -> list[Climb]:
        """Outputs of works that are read to their end; climbs now complete.

        What is multiplied by bits or bytes is unpacked anew for each call: while others are on their way,
        a few outputs wait some steps for theirs. Where there are many, those of short works come first.
        """
        rows = {work: 0 for work in self._works if work.is_read}
        if not rows:
            return []
        self._pending.count(rows)
        many = sum(rows.values()) >= self._rows or len(rows) == len(self._works)
        if not many and self._lingered < LINGER_STEPS + len(self._works) // WORKS_FOR_ROWS:
            self._lingered += 1
            return []
        self._lingered = 0
        if not self._is_shared:
            return self._pending.compute(lambda part: part.climb.work in rows)
        chosen: set[Work] = set()
        room = self._rows
        for work, count in sorted(rows.items(), key=lambda item: item[1]):
            chosen.add(work)
            room -= count
            if room <= 0:
                break
        return self._pending.compute(lambda part: part.climb.work in chosen, self._rows)

    @property
    def _rows(self) -> int:
        """How many outputs are computed after a step that is shared."""
        return min(SHARED_ROWS * max(1, len(self._works) // WORKS_FOR_ROWS), self._pending.most_rows)

    @property
    def _is_shared(self) -> bool:
        """Whether others wait, or may come, for whom a step has to be short."""
        return self.others_come or len(self._works) > 1

    def _take(self) -> list[Part]:
        """The nodes of the next step: equal shares for the owners, and for the works of one."""
        owners: dict[Hashable, list[Work]] = {}
        for work in self._works:
            owners.setdefault(work if work.owner is None else work.owner, []).append(work)
        parts: list[Part] = []
        self._take_fairly(
            [(partial(self._take_of_all, works), works) for works in owners.values()], self.batch, parts
        )
        return parts

    def _take_of_all(self, works: list[Work], room: int, parts: list[Part]) -> int:
        return self._take_fairly([(partial(self._take_of, work), [work]) for work in works], room, parts)

    def _take_fairly(self, takers: list[Taker], room: int, parts: list[Part]) -> int:
        """Nodes of each taker, and how many: what those with few leave goes to the others.

        The one with the most reads no more than all others together, or SHARED_NODES: a step that is long
        for the sake of one holds up the others.
        """
        left = room
        takers = sorted(takers, key=lambda taker: sum(work.ready for work in taker[1]))
        for number, (take, _) in enumerate(takers):
            most = -(-left // (len(takers) - number))
            if 0 < number == len(takers) - 1:
                most = min(most, max(SHARED_NODES, room - left))
            left -= take(most, parts)
        return room - left

    def _take_of(self, work: Work, room: int, parts: list[Part]) -> int:
        left = room
        for climb in self._climbs(work) if room else ():
            part = climb.take(left)
            parts.append(part)
            left -= part.nodes
            if not left:
                break
        return room - left

    def _climbs(self, work: Work) -> Iterator[Climb]:
        """The climbs of a work with nodes to read; a new one at the end, where those do not fill the step."""
        yield from [climb for climb in work.climbs if climb.ready]
        if self._begin(work):
            yield work.climbs[-1]

    def _begin(self, work: Work) -> bool:
        """Begin the work's next group, if there is one and room for it."""
        if work.waiting is None and not work.exhausted:
            group = next(work.groups, None)
            if group is None:
                work.exhausted = True
            else:
                work.waiting = Climb(work, group, build_prefix_tree(group.sequences, self._start_id))
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
        if not self._is_shared:  # else a step of others would wait for it
            self._expect(climb)
        return True

    def _expect(self, climb: Climb) -> None:
        """Let the walk prepare for all words of a climb; where memory is short, steps do without."""
        try:
            self._walk.expect(climb.tree.words)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise

    def _read(self, parts: list[Part]) -> list[Part]:
        """Read nodes, as many as the batch allows; what is left."""
        now, later = split(parts, self.batch)
        words = np.concatenate([climb.tree.words[first:last] for climb, first, last in now])
        above = np.concatenate([climb.rows[climb.tree.parents[first:last]] for climb, first, last in now])
        inner = np.concatenate([climb.is_inner[first:last] for climb, first, last in now])
        rows = np.full(len(words), -1, dtype=np.int64)
        rows[inner] = self._pool.take(int(inner.sum()))
        try:
            hidden = self._walk.step(words, above, rows, self._pool.state)
        except (RuntimeError, MemoryError) as error:
            self._pool.free(rows[inner])
            self.batch = half(len(words), "prefixes a step", error)
            return parts
        at = 0
        for climb, first, last in now:
            climb.rows[first:last] = rows[at : at + last - first]
            at += last - first
            climb.read = last
            levels, level = climb.tree.levels, climb.level
            if climb.is_read:
                self._close(climb)
            elif last == levels[level + 1]:
                self._free(climb, int(levels[max(0, level - 1)]), int(levels[level]))
                climb.level += 1
        self._pending.add(hidden, now)
        self.nodes_read += len(words)
        return later

    def _close(self, climb: Climb) -> None:
        """Give back what a climb keeps of the pool."""
        self._free(climb, 0, climb.read)
        self._pool.release(climb.need)

    def _free(self, climb: Climb, first: int, last: int) -> None:
        rows = climb.rows[first:last]
        self._pool.free(rows[rows > START])
        rows[:] = -1
