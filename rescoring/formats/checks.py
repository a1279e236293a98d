"""A wrong sign or base is the commonest silent mistake: what looks like one is said by the feature's name.

Three looks at the numbers, each on at most MOST hypotheses:

- costs: a column is never negative, no count, and larger for longer texts. A log-probability is negative.
- base: two language models agree but for the factor ln 10: one of them is in log10.
- total: the decoder's total is a weighted sum of the parts (least squares reproduce it), and the weight of a
  log-probability in it is negative: the part or the total has the wrong sign.
"""

import logging
import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rescoring.formats.moses import DECODER_TOTAL, MosesRecord
from rescoring.nbest import NbestLists
from rescoring.text import words

MOST = 4000  # hypotheses; enough for a correlation, and 20 ms of least squares
FEWEST = 20  # below this, anything can look like anything
_LM = re.compile(r"(?i)lm|rnn|gram|lstm|(?:^|[._-])ppl")
_LOG_PROB = re.compile(r"(?i)lm|rnn|gram|lstm|^ac$|^am$|acoustic|score|log_?prob")
_EXACT = 1e-3  # of the totals' spread: what printing to six digits leaves
_log = logging.getLogger(__name__)


def warn_of_mistakes(lists: NbestLists) -> None:
    """Logs what `mistakes` finds."""
    for message in mistakes(lists):
        _log.warning("%s: %s", lists.source, message)


def mistakes(lists: NbestLists) -> list[str]:
    """What looks like a wrong sign or base, by the names of the features."""
    count = min(len(lists.texts), MOST)
    if count < FEWEST:
        return []
    lengths = np.array([len(words(text)) for text in lists.texts[:count]], dtype=np.float64)  # (n,)
    columns = {name: lists.features[:count, k] for k, name in enumerate(lists.column_names)}
    found = [
        f"the values of {name} are positive and grow with the text: costs? A log-probability is negative"
        for name, values in columns.items()
        if look_like_costs(lengths, values)
    ]
    found += _bases({name: values for name, values in columns.items() if _LM.search(name)})
    total = _known_total(lists, count)
    if total is not None:
        parts = {name: values for name, values in columns.items() if name not in (DECODER_TOTAL, "total")}
        found += _against_total(total, parts, lists.segments[:count])
    return found


def look_like_costs(lengths: NDArray[np.float64], values: NDArray[np.float64]) -> bool:
    """Whether these (n,) are positive, no counts, and larger for longer texts: costs."""
    if (values < 0).any() or (values == np.round(values)).all() or not np.ptp(lengths) or not np.ptp(values):
        return False
    return bool(np.corrcoef(lengths, values)[0, 1] > 0.5)


def _bases(columns: dict[str, NDArray[np.float64]]) -> list[str]:
    """Pairs of language models of which one is ln 10 times the other, within 5%."""
    found: list[str] = []
    names = [name for name, values in columns.items() if np.ptp(values) and (values < 0).all()]
    for k, small in enumerate(names):
        for other in names[k + 1 :]:
            natural, tenth = sorted((small, other), key=lambda name: float(columns[name].sum()))
            ratio = float(columns[natural].sum() / columns[tenth].sum())
            same = np.corrcoef(columns[natural], columns[tenth])[0, 1] > 0.98
            if same and abs(ratio / math.log(10) - 1) < 0.05:
                found.append(
                    f"{natural} is {ratio:.2f} times {tenth}, and ln 10 is 2.30: is {tenth} in log10?"
                )
    return found


def against_totals(lists: NbestLists, vector: NDArray[np.float64]) -> str | None:
    """What to say where weights (F,) do not reproduce the decoder's totals; None where they do.

    Differences within lists are compared: what is the same throughout a list, such as the penalty of unknown
    words, is not in the features, and moves nothing.
    """
    count = min(len(lists.texts), MOST)
    total = _known_total(lists, count)
    if total is None:
        return None
    segments = lists.segments[:count]
    ours = _centred((lists.features[:count] @ vector)[:, None], segments)[:, 0]
    theirs = _centred(total[:, None], segments)[:, 0]
    far = np.abs(ours - theirs) > 0.01 + 1e-4 * np.abs(total)  # both are printed with six digits
    if far.mean() <= 0.1:
        return None
    return (
        f"the weights do not reproduce the decoder's totals on {int(far.sum())} of {count} hypotheses: other "
        "weights than the decoder's, or features that the lists do not show"
    )


def _known_total(lists: NbestLists, count: int) -> NDArray[np.float64] | None:
    """(n,) what the decoder ranked by, where the lists say it beside its parts."""
    for name in (DECODER_TOTAL, "total"):
        if any(feature.name == name and feature.width == 1 for feature in lists.schema):
            return lists.feature(name)[:count, 0]
    records = [record for record in lists.records[:count] if isinstance(record, MosesRecord)]
    return np.array([record.decoder_total for record in records]) if len(records) == count else None


def _against_total(
    total: NDArray[np.float64], parts: dict[str, NDArray[np.float64]], segments: NDArray[np.int64]
) -> list[str]:
    """Parts that are log-probabilities, and that a reproduced total holds against the hypothesis."""
    names = [name for name, values in parts.items() if np.ptp(values)]
    if not names or not np.ptp(total) or len(total) < 5 * len(names):
        return []
    matrix = np.column_stack([parts[name] for name in names])  # (n, F)
    matrix, target = _centred(matrix, segments), _centred(total[:, None], segments)[:, 0]
    scale = np.sqrt((matrix**2).mean(axis=0))
    used = scale > 0
    if not used.any() or not target.any():
        return []
    weights, _, rank, _ = np.linalg.lstsq(matrix[:, used] / scale[used], target, rcond=1e-9)
    left = target - matrix[:, used] / scale[used] @ weights
    if rank < used.sum() or np.sqrt((left**2).mean()) > _EXACT * target.std():
        return []
    kept: Sequence[str] = [name for name, is_used in zip(names, used.tolist(), strict=True) if is_used]
    return [
        f"the decoder's total falls where {name} rises: one of them has the wrong sign"
        for name, weight in zip(kept, weights.tolist(), strict=True)
        if weight < -10 * _EXACT * target.std() and _LOG_PROB.search(name)
    ]


def _centred(values: NDArray[np.float64], segments: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n, F) without the mean of each list: what ranks within lists."""
    sums = np.zeros((int(segments[-1]) + 1, values.shape[1]))
    np.add.at(sums, segments, values)
    counts = np.bincount(segments, minlength=len(sums))[:, None]
    return np.asarray(values - (sums / np.maximum(counts, 1))[segments])
