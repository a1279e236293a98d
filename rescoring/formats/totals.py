"""Which feature is the score that a decoder ranked by."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nbest.errors import ConfigError
from rescoring.formats.moses import DECODER_TOTAL
from rescoring.nbest import Feature, NbestLists

TOTAL = "total"  # a weighted sum of the other features: it ranks, but is not tuned
SCORE = "score"  # all that a recogniser says of a hypothesis: it ranks, and is tuned like any other feature
SUMS = (DECODER_TOTAL, TOTAL)
RANKING = (*SUMS, SCORE)


def total_name(schema: Sequence[Feature]) -> str | None:
    """The first of `decoder_total`, `total` and `score` that the lists have."""
    present = {feature.name for feature in schema if feature.width == 1}
    return next((name for name in RANKING if name in present), None)


def one_score(lists: NbestLists, format_name: str) -> tuple[str, NDArray[np.float64]]:
    """The one score that a format has a place for: the total, or the only feature; its name and (N,) values.

    Raises ConfigError where the lists have neither.
    """
    name = total_name(lists.schema)
    if name is None and len(lists.schema) == 1 and lists.schema[0].width == 1:
        name = lists.schema[0].name
    if name is None:
        raise ConfigError(
            f"{format_name} has one score a hypothesis, and the lists do not say which",
            where=lists.source,
            expected=f"totals, a feature {', '.join(RANKING)}, or one feature only (--features NAME)",
            got=", ".join(feature.name for feature in lists.schema) or "no features",
        )
    return name, lists.feature(name)[:, 0]
