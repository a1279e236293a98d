"""Consensus: the hypothesis that is least wrong on average over its list, and how sure its words are.

The posterior of a list is the softmax of its totals times a scale. Minimum Bayes risk picks by expected loss
under it (Kumar and Byrne 2004): for WER the expected edits against every hypothesis of the list, for BLEU the
BLEU against the expected n-gram counts of the list (DeNero, Chiang and Knight 2009, section 3).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import jiwer
import numpy as np
from numpy.typing import NDArray

from nbest.errors import ConfigError, FormatError
from rescoring.metrics.base import Metric
from rescoring.metrics.bleu import ORDER, Bleu
from rescoring.nbest import NbestLists
from rescoring.text import words

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Loss = Literal["wer", "bleu"]

SCALES = tuple(np.geomspace(0.1, 100.0, 16).tolist())  # over the spread of totals: `tuned_scale`'s
BLOCK = 1 << 22  # cells of edit distances at a time


def posterior(totals: Floats, offsets: Ints, scale: float) -> Floats:
    """(N,) probabilities that sum to 1 over each list bounded by `offsets` (S+1,): softmax of scale x total.

    Raises ConfigError for a scale that is not above 0, FormatError for an empty list.
    """
    if not 0.0 < scale < np.inf:
        raise ConfigError("not a scale", where="scale", expected="more than 0", got=f"{scale:g}")
    sizes = np.diff(offsets)
    if (sizes == 0).any():
        raise FormatError("an empty list has no posterior", where=f"list {int(np.argmin(sizes))}")
    if not len(sizes):
        return np.zeros(0)
    scores = scale * (totals - np.repeat(np.maximum.reduceat(totals, offsets[:-1]), sizes))
    found = np.exp(scores)
    return np.asarray(found / np.repeat(np.add.reduceat(found, offsets[:-1]), sizes))


def consensus(lists: NbestLists, totals: Floats, scale: float, loss: Loss) -> Ints:
    """(S,) the row with the least expected loss of each list; of equals the one with the highest total.

    Raises as `posterior` does.
    """
    weights = posterior(totals, lists.offsets, scale)
    chosen = []
    for rows in lists:
        part = slice(rows.start, rows.stop)
        texts = [words(text) for text in lists.texts[part]]
        mine = weights[part]
        risk = expected_edits(texts, mine) if loss == "wer" else -expected_bleu(texts, mine)
        best = np.flatnonzero(risk <= risk.min() + 1e-12)
        chosen.append(rows.start + int(best[np.argmax(totals[part][best])]))
    return np.array(chosen, dtype=np.int64)


@dataclass(frozen=True)
class TunedScale:
    """The best scale, the metric of its consensus, and of every scale that was tried."""

    scale: float
    score: float
    tried: tuple[tuple[float, float], ...]


def tuned_scale(lists: NbestLists, totals: Floats, counts: Ints, metric: Metric, loss: Loss) -> TunedScale:
    """The scale whose consensus scores best by `counts` (N, K); of equals the smallest.

    The scales are `SCALES` over the root mean square distance of a total from its list's mean.
    """
    sizes = np.diff(lists.offsets)
    means = np.add.reduceat(totals, lists.offsets[:-1]) / sizes
    spread = float(np.sqrt(np.mean((totals - np.repeat(means, sizes)) ** 2))) or 1.0
    tried = []
    for scale in SCALES:
        rows = consensus(lists, totals, scale / spread, loss)
        tried.append((scale / spread, float(metric.score(counts[rows].sum(axis=0)))))
    scale, score = (max if metric.larger_is_better else min)(tried, key=lambda one: one[1])
    return TunedScale(scale, score, tuple(tried))


def expected_edits(texts: Sequence[Sequence[str]], weights: Floats) -> Floats:
    """(n,) the mean Levenshtein distance of each token sequence to all n, under `weights` (n,)."""
    kinds: dict[tuple[str, ...], int] = {}
    kind = np.array([kinds.setdefault(tuple(text), len(kinds)) for text in texts])
    mass = np.bincount(kind, weights=weights)  # (U,) of each distinct sequence
    return np.asarray((edit_distances(list(kinds)) @ mass)[kind])


def edit_distances(texts: Sequence[Sequence[str]]) -> Ints:
    """(n, n) Levenshtein distances between all pairs of token sequences."""
    ids: dict[str, int] = {}
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    longest = int(lengths.max(initial=0))
    codes = np.full((len(texts), longest), -1, dtype=np.int64)  # (n, T)
    for row, text in enumerate(texts):
        codes[row, : len(text)] = [ids.setdefault(token, len(ids)) for token in text]
    found = np.zeros((len(texts), len(texts)), dtype=np.int64)
    steps = np.arange(longest + 1)
    block = max(1, BLOCK // max(1, len(texts) * (longest + 1)))
    for start in range(0, len(texts), block):
        mine = slice(start, start + block)
        table = np.broadcast_to(steps, (len(codes[mine]), len(texts), longest + 1))  # (b, n, T+1)
        found[mine] = lengths  # of a text without tokens
        for place in range(int(lengths[mine].max(initial=0))):
            same = codes[mine, place][:, None, None] == codes[None]  # (b, n, T)
            next_row = table + 1
            np.minimum(next_row[..., 1:], table[..., :-1] + ~same, out=next_row[..., 1:])
            # An insertion costs 1 a step: the least of what stands to the left, each with its distance.
            table = np.minimum.accumulate(next_row - steps, axis=-1) + steps
            done = np.flatnonzero(lengths[mine] == place + 1)
            found[start + done] = np.take_along_axis(table[done], lengths[None, :, None], axis=2)[..., 0]
    return found


def expected_bleu(texts: Sequence[Sequence[str]], weights: Floats) -> Floats:
    """(n,) BLEU of each token sequence against the n-gram counts expected under `weights` (n,)."""
    grams: dict[tuple[str, ...], int] = {}
    owners, ids, times = [], [], []
    for row, text in enumerate(texts):
        counted = Counter(
            tuple(text[place : place + order])
            for order in range(1, ORDER + 1)
            for place in range(len(text) - order + 1)
        )
        for gram, count in counted.items():
            owners.append(row)
            ids.append(grams.setdefault(gram, len(grams)))
            times.append(count)
    owner, gram_id, often = np.array(owners, int), np.array(ids, int), np.array(times, np.float64)
    expected = np.bincount(gram_id, weights=weights[owner] * often, minlength=len(grams))
    order_of = np.array([len(gram) - 1 for gram in grams], dtype=np.int64)[gram_id]
    matches = np.zeros((len(texts), ORDER))
    np.add.at(matches, (owner, order_of), np.minimum(often, expected[gram_id]))
    lengths = np.array([len(text) for text in texts], dtype=np.float64)
    wanted = np.full(len(texts), float(weights @ lengths))
    totals = np.maximum(lengths[:, None] - np.arange(ORDER), 0.0)
    # One more of each above one: a short text that lacks an order is not worth nothing (Lin and Och 2004).
    matches[:, 1:] += 1.0
    totals[:, 1:] += 1.0
    return Bleu().score(np.column_stack([lengths, wanted, matches, totals]))


@dataclass(frozen=True)
class Confidence:
    """How sure one text is, from 0 to 1.

    text   posterior of all hypotheses with this text
    words  for each of its words, the posterior of the hypotheses that have it in its place
    """

    text: float
    words: tuple[float, ...]


def confidences(lists: NbestLists, weights: Floats, rows: Sequence[int]) -> list[Confidence]:
    """For each list the confidence of its hypothesis in `rows` (S,), under the posterior `weights` (N,).

    A word is in its place where a shortest alignment of the hypothesis to the text keeps it.
    """
    found = []
    for chosen, several in zip(rows, lists, strict=True):
        mass: dict[str, float] = {}
        for row in several:
            text = " ".join(words(lists.texts[row]))
            mass[text] = mass.get(text, 0.0) + float(weights[row])
        best = " ".join(words(lists.texts[chosen]))
        sure = np.zeros(len(words(best)))
        aligned = jiwer.process_words([best] * len(mass), list(mass))
        for chunks, share in zip(aligned.alignments, mass.values(), strict=True):
            for chunk in chunks:
                if chunk.type == "equal":
                    sure[chunk.ref_start_idx : chunk.ref_end_idx] += share
        found.append(Confidence(min(mass[best], 1.0), tuple(np.minimum(sure, 1.0).tolist())))
    return found
