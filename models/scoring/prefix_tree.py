"""The unique prefixes of many hypotheses: each is read by the model once.

Node n stands for the words on the way from its root; its children are the words that follow it in some
hypothesis. Node 0 is the start (``<s>`` alone).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.vocabulary import Sequences


@dataclass(frozen=True)
class PrefixTree:
    """Nodes in an order in which every parent stands before its children, level by level.

    words         (nodes,) word id read to get here; the start word for node 0
    parents       (nodes,) index of the parent; 0 for node 0
    levels        (depth+1,) offsets of the levels: nodes of level d are levels[d]:levels[d+1]
    last_nodes    (hypotheses,) the node in which each hypothesis ends
    """

    words: NDArray[np.int64]
    parents: NDArray[np.int64]
    levels: NDArray[np.int64]
    last_nodes: NDArray[np.int64]


def build_prefix_tree(sequences: Sequences, start_id: int) -> PrefixTree:
    """The tree of these word id sequences, built level by level over all of them at once."""
    flat, lengths, count = sequences.flat, sequences.lengths, len(sequences)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]) if count else np.zeros(0, dtype=np.int64)
    words, parents, levels = [np.asarray([start_id])], [np.zeros(1, dtype=np.int64)], [0, 1]
    at = np.zeros(count, dtype=np.int64)  # the node each hypothesis has reached
    base = max(int(flat.max()) + 1, 1) if len(flat) else 1
    for depth in range(int(lengths.max()) if count else 0):
        alive = np.flatnonzero(lengths > depth)
        next_words = flat[starts[alive] + depth]
        keys, inverse = np.unique(at[alive] * base + next_words, return_inverse=True)
        words.append(keys % base)
        parents.append(keys // base)
        at[alive] = levels[-1] + inverse
        levels.append(levels[-1] + len(keys))
    return PrefixTree(
        np.concatenate(words).astype(np.int64),
        np.concatenate(parents),
        np.asarray(levels, dtype=np.int64),
        at,
    )
