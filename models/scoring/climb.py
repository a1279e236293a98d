"""Works: texts in groups, how far each group's prefix tree is read, and what came of it."""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.scoring.engine import Ids
from models.scoring.prefix_tree import PrefixTree
from models.scoring.state_pool import START
from models.vocabulary import Sequences


@dataclass(frozen=True)
class Group:
    """Some id sequences of a work.

    members    (G,) what the caller knows them by
    sequences  word ids of each, without ``<s>`` and without the last ``</s>``; and behind them the heads that
               members begin with
    heads      (G,) which of the sequences a member begins with: it is read, and its words are not scored;
               None where no member has a head
    """

    members: Ids
    sequences: Sequences
    heads: Ids | None = None


@dataclass(frozen=True)
class GroupScores:
    """What came of a group.

    into  (nodes,) ln P(word of node | its parent); 0 for the root
    ends  (nodes,) ln P(``</s>`` | node), where a sequence ends; else 0
    """

    group: Group
    tree: PrefixTree
    into: NDArray[np.float64]
    ends: NDArray[np.float64]

    @property
    def members(self) -> Ids:
        """(G,) as of the group."""
        return self.group.members

    @property
    def ends_of(self) -> Ids:
        """(G,) the node in which each member ends."""
        return self.tree.last_nodes[: len(self.members)]

    @property
    def heads(self) -> Ids:
        """(G,) the node behind which each member's own words begin."""
        which = self.group.heads
        return np.zeros(len(self.members), np.int64) if which is None else self.tree.last_nodes[which]

    def sums(self) -> NDArray[np.float64]:
        """(G,) ln P of each member with ``</s>``, after its head."""
        tree, so_far = self.tree, self.into.copy()
        for start, stop in zip(tree.levels[1:-1], tree.levels[2:], strict=True):
            so_far[start:stop] += so_far[tree.parents[start:stop]]
        return so_far[self.ends_of] - so_far[self.heads] + self.ends[self.ends_of]

    def paths(self) -> Iterator[list[float]]:
        """Of each member, ln P of each of its own words and of ``</s>``."""
        for end, head in zip(self.ends_of.tolist(), self.heads.tolist(), strict=True):
            node, values = end, [float(self.ends[end])]
            while node != head:
                values.append(float(self.into[node]))
                node = int(self.tree.parents[node])
            yield values[::-1]


@dataclass(eq=False)
class Work:
    """One caller's groups, begun one after another; `done` gets each that is complete, in any order."""

    groups: Iterator[Group]
    done: Callable[[GroupScores], None]
    owner: Hashable = None  # whose works have one share together; None: nobody else's
    climbs: "list[Climb]" = field(default_factory=list)  # groups in work
    waiting: "Climb | None" = None  # the next group, for which there was no room
    exhausted: bool = False  # whether no further group can come

    @property
    def ready(self) -> int:
        """How many nodes of the groups in work can be read now."""
        return sum(climb.ready for climb in self.climbs)

    @property
    def is_read(self) -> bool:
        """Whether the model has read all its nodes."""
        return self.exhausted and self.waiting is None and all(climb.is_read for climb in self.climbs)


@dataclass(eq=False)
class Climb:
    """How far a group's tree is read; nodes are read in their order, of one level a step."""

    work: Work
    group: Group
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

    @property
    def is_read(self) -> bool:
        """Whether the model has read all its nodes."""
        return self.read == len(self.tree.words)

    def scores(self) -> GroupScores:
        """What came of the group, once all is computed."""
        return GroupScores(self.group, self.tree, self.into, self.ends)

    @property
    def ready(self) -> int:
        """How many nodes can be read now: the rest of a level."""
        return int(self.tree.levels[self.level + 1]) - self.read

    def take(self, most: int) -> "Part":
        """The next nodes, at most so many."""
        return Part(self, self.read, self.read + min(most, self.ready))


class Part(NamedTuple):
    """Nodes first:last of a climb."""

    climb: Climb
    first: int
    last: int

    @property
    def nodes(self) -> int:
        """How many."""
        return self.last - self.first


def split(parts: list[Part], most: int) -> tuple[list[Part], list[Part]]:
    """(the first `most` nodes of the parts, the others)."""
    now: list[Part] = []
    for number, part in enumerate(parts):
        if part.nodes > most:
            cut = part._replace(last=part.first + most)
            now += [cut] if most else []
            return now, [part._replace(first=cut.last), *parts[number + 1 :]]
        now.append(part)
        most -= part.nodes
    return now, []
