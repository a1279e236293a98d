"""Clipped n-gram matches of many hypotheses at once, exact: an n-gram is its prefix plus one token.

For each order, the n-grams of all segments' references stand in one sorted table. The key of an n-gram is
the table entry of its prefix (for a single token: the segment) times the vocabulary size plus its last token.
So keys of different segments never meet, nothing is hashed, and a hypothesis n-gram is looked up only where
its prefix was found.
"""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def clipped_matches(
    hypotheses: Iterable[Sequence[str]],
    segments: Ints,
    references: Sequence[Sequence[Sequence[str]]],
    max_order: int,
) -> tuple[Ints, Ints]:
    """(N, max_order) matches of each hypothesis, clipped by the largest count in one reference; (N,) lengths.

    `hypotheses` are N token sequences, `segments` (N,) their indices into `references`, which holds for each
    segment its references as token sequences. Papineni et al. 2002, section 2.1.1.
    """
    ids: dict[str, int] = {}
    owners = np.repeat(np.arange(len(references)), [len(several) for several in references])  # (R,)
    inside = _Ngrams.start((tokens for several in references for tokens in several), owners, ids, grow=True)
    ours = _Ngrams.start(hypotheses, segments, ids, grow=False)
    words = len(ids) + 1  # the last id stands for every word that no reference has
    matches = np.zeros((len(ours.lengths), max_order), dtype=np.int64)
    for order in range(max_order):
        table, entries = np.unique(inside.keys(words), return_inverse=True)  # (E,) distinct, (P,)
        if not len(table):
            break
        limits = np.zeros(len(table), dtype=np.int64)
        _, entry, times = _occurrences(inside.texts, entries, len(table))
        np.maximum.at(limits, entry, times)

        keys = ours.keys(words)
        found = np.minimum(np.searchsorted(table, keys), len(table) - 1)
        known = table[found] == keys
        text, entry, times = _occurrences(ours.texts[known], found[known], len(table))
        clipped = np.minimum(times, limits[entry])
        matches[:, order] = np.bincount(text, weights=clipped, minlength=len(matches))  # exact below 2**53

        inside = inside.longer(entries, np.ones(len(entries), dtype=np.bool_), order + 1)
        ours = ours.longer(found, known, order + 1)
    return matches, ours.lengths


@dataclass(frozen=True)
class _Ngrams:
    """The n-grams of one order in a set of texts.

    ids       (T,) token ids of all texts, one after the other
    lengths   (N,) tokens of each text
    texts     (P,) the text each n-gram stands in
    last      (P,) where in `ids` its last token is
    prefixes  (P,) table entry of all but its last token
    """

    ids: Ints
    lengths: Ints
    texts: Ints
    last: Ints
    prefixes: Ints

    @classmethod
    def start(
        cls, texts: Iterable[Sequence[str]], owners: Ints, ids: dict[str, int], *, grow: bool
    ) -> "_Ngrams":
        """The single tokens; their prefix is the segment that owns the text. `grow` gives new words an id."""
        flat, lengths = array("q"), array("q")
        unknown = len(ids)
        for tokens in texts:
            lengths.append(len(tokens))
            flat.extend(ids.setdefault(t, len(ids)) if grow else ids.get(t, unknown) for t in tokens)
        sizes = np.array(lengths, dtype=np.int64)
        where = np.repeat(np.arange(len(sizes)), sizes)
        return cls(np.array(flat, dtype=np.int64), sizes, where, np.arange(len(flat)), owners[where])

    def keys(self, words: int) -> Ints:
        """(P,) one number for each different n-gram of each segment."""
        return self.prefixes * words + self.ids[self.last]

    def longer(self, entries: Ints, known: Bools, order: int) -> "_Ngrams":
        """The n-grams of `order` + 1 tokens whose first `order` tokens are among the `known` ones."""
        ends = np.cumsum(self.lengths)
        keep = known & (self.last + 1 < ends[self.texts])
        return _Ngrams(self.ids, self.lengths, self.texts[keep], self.last[keep] + 1, entries[keep])


def _occurrences(texts: Ints, entries: Ints, width: int) -> tuple[Ints, Ints, Ints]:
    """Distinct (text, entry) pairs and how often each occurs; entries are below `width`."""
    pairs = np.sort(texts * width + entries)
    starts = np.flatnonzero(np.diff(pairs, prepend=-1))
    times = np.diff(starts, append=len(pairs))
    distinct = pairs[starts]
    return distinct // width, distinct % width, times
